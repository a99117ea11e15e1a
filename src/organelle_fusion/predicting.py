"""Images of other people predicted by a network from a file: tables, maps and reports."""

import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion import __version__
from organelle_fusion.config import UserError, system_error
from organelle_fusion.image_checks import (
    FitError,
    check_fits,
    image_warnings,
    noise_warnings,
    patch_warnings,
)
from organelle_fusion.image_paths import image_hash
from organelle_fusion.intensity import PERCENTILES, display_plane, stack_statistics
from organelle_fusion.locks import run_lock
from organelle_fusion.manifest import open_image
from organelle_fusion.model_file import ModelFacts
from organelle_fusion.patches import patch_size_px
from organelle_fusion.predicted_files import (
    MAPS,
    RECORD,
    TABLE,
    TABLES,
    PredictError,
    call_of,
    clear_image,
    folder_name,
    keep_row,
    kept_row,
    read_table,
    take_folder,
)
from organelle_fusion.probability_maps import cell_px, probability_map
from organelle_fusion.provenance import atomic_path, code_version, hash_of, write_csv
from organelle_fusion.volumes import READERS, Volume, write_ome_tiff
from organelle_fusion.wording import percent

if TYPE_CHECKING:
    import keras

_LOGGER = logging.getLogger(__name__)

_CODE = (
    *("augmentation", "encoders"),  # layers, of which the file of a network has names alone
    *("image_checks", "inspecting", "intensity", "kernels", "model_file", "patches", "plots_maps"),
    *("plots_predictions", "predicting", "prediction", "prediction_report", "probability_maps"),
    *("stitching", "streaming", "style", "training", *READERS),
)
"""Modules whose changes make images be predicted again."""


class Predicted(NamedTuple):
    """What a network says of one image."""

    table: pd.DataFrame  # of `predict_stack`, and `counted`: kept, and a patch of the grid
    probabilities: dict[str, float]  # class → mean over the patches that count; NaN if none does
    patches: int  # that count
    share_kept: float  # of the patches of the grid
    warnings: list[str]

    @property
    def label(self) -> str:
        """The class of the largest probability; empty where no patch counts."""
        return max(self.probabilities, key=self.probabilities.get) if self.patches else ""


def predict_image(
    network: "keras.Model", volume: Volume, facts: ModelFacts, *, progress: str
) -> tuple[Predicted, pd.DataFrame]:
    """Predict one image as the images of the training were: by the patches of the grid.

    The probability of a class is its mean over the kept patches, as in `metrics.pooled`. Patches
    that were moved inwards to cover the border are listed and do not count: training had none.

    Parameters
    ----------
    network, facts
        Of `model_file.read_model`.
    volume
        The image, with the network's channels and perhaps others.
    progress
        See `prediction.predict_stack`.

    Returns
    -------
    Predicted
    DataFrame
        Of `intensity.stack_statistics`.

    Raises
    ------
    FitError, VolumeError, PatchError
        The image does not fit the network, cannot be read, has a constant channel, or is smaller
        than a patch.
    """
    from organelle_fusion.prediction import predict_stack

    check_fits(volume, facts)
    volume = volume.select(facts.channels)
    patch_size_px(volume, facts.patch_um)  # refused before all planes are read
    statistics = stack_statistics(volume)
    table = predict_stack(network, volume, statistics=statistics, progress=progress, **_how(facts))
    in_grid = (table["y"] % table["size_px"] == 0) & (table["x"] % table["size_px"] == 0)
    table.insert(6, "counted", table["kept"] & in_grid)
    counted = table[table["counted"]]
    share_kept = len(counted) / int(in_grid.sum())
    means = counted[[f"p:{name}" for name in facts.classes]].mean()
    found = image_warnings(volume, statistics, facts)
    found += noise_warnings(volume)
    found += patch_warnings(len(counted), share_kept, facts)
    probabilities = dict(zip(facts.classes, means.tolist(), strict=True))
    return Predicted(table, probabilities, len(counted), share_kept, found), statistics


def predict_images(
    network: "keras.Model",
    facts: ModelFacts,
    images: pd.DataFrame,
    output: Path,
    *,
    model: Path,
    maps: bool,
) -> Iterator[dict]:
    """Predict images one after the other, and write what is found of each as soon as it is.

    An image that cannot be predicted does not stop the others: its row says why.

    Parameters
    ----------
    network, facts
        Of `model_file.read_model`.
    images
        Of `listing.list_images`.
    output
        A new or empty folder, or one in which the same call was interrupted: what it has finished
        is kept. Into it go ``predictions.csv``, one row per image, and a folder per
        image: ``patches.csv`` and, if `maps`, ``probabilities.ome.tif`` (a channel per class, µm
        kept, NaN where no patch is kept), ``probabilities.png`` and ``report.html``; and in both
        ``provenance.json``, by which a damaged or edited file is found and made again.
    model
        The file of the network.
    maps
        Whether maps and reports are made, for which four times as many squares are predicted.

    Yields
    ------
    dict
        Row of an image in ``predictions.csv``: image, label, p:<class>…, patches, share_kept,
        warnings, error; the last two are empty where there are none.

    Raises
    ------
    PredictError
        The folder holds something else; the file scales intensities in another way than this
        version.
    """
    if facts.percentiles != PERCENTILES:
        raise PredictError(
            f"{model}: expected intensities scaled by the percentiles {PERCENTILES}, found "
            f"{facts.percentiles}; use the version of organelle-fusion that wrote it"
        )
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise PredictError(f"{output}: expected a folder, found a file; name another by --output")
    with run_lock(output):
        call = call_of(model, images, maps=maps)
        if take_folder(output, call):
            _LOGGER.info("%s: goes on with what an earlier call has left", output)
        yield from _each_image(network, facts, images, output, model, call)


def _each_image(
    network: "keras.Model",
    facts: ModelFacts,
    images: pd.DataFrame,
    output: Path,
    model: Path,
    call: dict,
) -> Iterator[dict]:
    sources = _model_sources(model, call["network"], facts)
    depends = [call["network"], code_version(*_CODE), sources["Predicted with"]]
    rows, before = [], read_table(output)
    for number, image in enumerate(images.itertuples(), start=1):
        folder = output / folder_name(image.image)
        row = {"image": image.image, "label": "", **{f"p:{name}": np.nan for name in facts.classes}}
        row |= {"patches": 0, "share_kept": np.nan, "warnings": "", "error": ""}
        try:
            volume = open_image(image)
            content = image_hash(volume.path)
            inputs = hash_of([*depends, call["images"][number - 1], content])
            kept, line = kept_row(folder, inputs, maps=call["maps"])
            if line:
                _LOGGER.info(line)
            if kept is None:
                clear_image(folder)  # what an earlier image of this name has left
                about = {"Image": f"{volume.path}; {_description(volume)}"}
                about |= {"SHA-256 of the image": content, **sources}
                progress = f"{image.image} ({number} of {len(images)})"
                _predict_into(folder, network, facts, volume, row, about, progress, call["maps"])
                keep_row(folder, inputs, row, maps=call["maps"])
            else:
                row |= kept
        except UserError as error:
            row["error"] = " ".join(str(error).split())
        except OSError as error:  # perhaps of writing, after the class was found
            row |= {"patches": 0, "share_kept": np.nan, "warnings": ""}
            row["error"] = system_error(error)
        if row["error"]:
            row |= {"label": "", **{f"p:{name}": np.nan for name in facts.classes}}
            if os.path.isfile(folder / RECORD):  # which answers for any name
                row["error"] += f"; the files in {folder.name} are those of an earlier call"
        rows.append(row)
        # Those not reached yet keep the rows that an earlier call has left.
        later = before[~before["image"].isin(images["image"][:number])].to_dict("records")
        write_csv(output / TABLE, pd.DataFrame([*rows, *later], columns=list(row)))
        yield row


def _predict_into(
    folder: Path,
    network: "keras.Model",
    facts: ModelFacts,
    volume: Volume,
    row: dict,
    about: Mapping[str, str],
    progress: str,
    maps: bool,
) -> None:
    """Predict an image, fill in its row, and write its files."""
    found, statistics = predict_image(network, volume, facts, progress=progress)
    row |= {f"p:{name}": value for name, value in found.probabilities.items()}
    row |= {"label": found.label, "patches": found.patches, "share_kept": found.share_kept}
    row["warnings"] = "; ".join(found.warnings)
    write_csv(folder / TABLES[0], found.table)
    if not found.patches:
        raise FitError(
            f"{volume.path}: expected patches with foreground of "
            f"{percent(facts.min_foreground)} or more, found none; no class is given"
        )
    if maps:
        shown = volume.select(facts.channels)
        _write_maps(folder, row["image"], network, shown, statistics, facts, found, about)


def _how(facts: ModelFacts) -> dict:
    return {
        "classes": facts.classes,
        "size_um": facts.patch_um,
        "min_foreground": facts.min_foreground,
    }


def _write_maps(
    folder: Path,
    name: str,
    network: "keras.Model",
    volume: Volume,
    statistics: pd.DataFrame,
    facts: ModelFacts,
    found: Predicted,
    sources: Mapping[str, str],
) -> None:
    """Write the maps of an image, their picture and the report."""
    from organelle_fusion.plots_predictions import prediction_figure
    from organelle_fusion.prediction import predict_stack
    from organelle_fusion.prediction_report import report_page

    table = predict_stack(
        network,
        volume,
        statistics=statistics,
        overlap=True,
        progress=f"{name}: maps",
        **_how(facts),
    )
    maps = probability_map(table, facts.classes, volume.shape[1:])
    cell = cell_px(int(table["size_px"].iloc[0]))
    write_ome_tiff(
        folder / MAPS[0],
        maps,
        facts.classes,
        pixel_size_um=cell * volume.pixel_size_um,
        z_step_um=volume.z_step_um,
    )
    z = int(found.table.groupby("z")["counted"].sum().idxmax())
    figure = prediction_figure(
        display_plane(volume, z, statistics),
        maps[:, z],
        list(found.probabilities.values()),
        channels=volume.channels,
        classes=facts.classes,
        cell_px=cell,
        pixel_size_um=volume.pixel_size_um,
        z=z,
    )
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # Of letters of a name that the font lacks; they are shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(stream, format="png", metadata={"Software": None})
    with atomic_path(folder / MAPS[1]) as temporary:
        temporary.write_bytes(stream.getvalue())
    page = report_page(
        facts,
        image=name,
        label=found.label,
        probabilities=found.probabilities,
        patches=found.patches,
        share_kept=found.share_kept,
        warnings=found.warnings,
        picture=stream.getvalue(),
        sources={**sources, "Predicted": datetime.now(UTC).isoformat(timespec="seconds")},
    )
    with atomic_path(folder / MAPS[2]) as temporary:
        temporary.write_text(page, "utf-8")


def _description(volume: Volume) -> str:
    _, depth, height, width = volume.shape
    step = f", planes {volume.z_step_um:.4g} µm apart" if volume.z_step_um else ""
    return (
        f"{depth} planes of {height} × {width} pixels of {volume.pixel_size_um:.4g} µm{step}, "
        f"{volume.dtype}"
    )


def _model_sources(model: Path, sha256: str, facts: ModelFacts) -> dict[str, str]:
    import keras

    return {
        "Network": str(model),
        "SHA-256 of the network": sha256,
        **{f"Hash, {name}": text for name, text in sorted(facts.hashes.items())},
        "Trained with": ", ".join(
            f"{name} {text}" for name, text in sorted(facts.versions.items())
        ),
        "Predicted with": f"organelle_fusion {__version__}, keras {keras.__version__} on "
        f"{keras.backend.backend()}",
    }
