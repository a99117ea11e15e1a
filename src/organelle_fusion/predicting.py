"""Images of other people predicted by a network from a file: tables, maps and reports."""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion import __version__
from organelle_fusion.config import UserError
from organelle_fusion.image_checks import FitError, check_fits, image_warnings, patch_warnings
from organelle_fusion.image_paths import image_hash, split_path
from organelle_fusion.intensity import PERCENTILES, display_plane, stack_statistics
from organelle_fusion.locks import run_lock
from organelle_fusion.manifest import open_image, read_manifest
from organelle_fusion.model_file import ModelFacts
from organelle_fusion.patches import patch_size_px
from organelle_fusion.probability_maps import cell_px, probability_map
from organelle_fusion.provenance import atomic_path, file_hash, write_csv
from organelle_fusion.volumes import Volume, write_ome_tiff

if TYPE_CHECKING:
    import keras

TABLE = "predictions.csv"


class PredictError(UserError):
    """Images that cannot be predicted as asked; the message is one line."""


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


def list_images(
    paths: Sequence[Path],
    *,
    channel_map: Mapping[str, str] | None = None,
    pixel_size_um: float | None = None,
) -> pd.DataFrame:
    """Images to predict, as rows of a manifest, from their paths and from manifests.

    Parameters
    ----------
    paths
        Images, named after their files; or manifests (``.csv``), whose rows say all themselves.
    channel_map, pixel_size_um
        Of the images that are named by their path.

    Returns
    -------
    DataFrame
        ``image``, ``path``, ``channel_map``, ``pixel_size_um`` and ``z_step_um``, as
        `manifest.read_manifest` gives them.

    Raises
    ------
    PredictError
        Two images have one name; or all are of manifests, which the options are not for.
    ManifestError
        A manifest cannot be used.
    """
    columns = ["image", "path", "channel_map", "pixel_size_um", "z_step_um"]
    frames, named = [], 0
    for path in map(Path, paths):
        if path.suffix.lower() == ".csv":
            frames.append(read_manifest(path)[columns])
            continue
        file, number = split_path(path)
        name = re.sub(r"(\.ome)?\.[^.]+$", "", file.name, flags=re.IGNORECASE) or file.name
        name += "" if number is None else f"-{number}"
        # It stands in a table and in lines of text; see `manifest_cells.name_of`.
        name = re.sub(r"^[=@+]", "_", "".join(c if c.isprintable() else "_" for c in name))
        size = np.nan if pixel_size_um is None else pixel_size_um
        row = [name, str(path), dict(channel_map or {}) or None, size, np.nan]
        frames.append(pd.DataFrame([row], columns=columns).astype({"channel_map": object}))
        named += 1
    if not named and (channel_map or pixel_size_um is not None):
        raise PredictError(
            "--channel-map, --pixel-size-um: expected with images named by their path, found "
            "manifests only; fill in the columns of the manifest instead"
        )
    images = pd.concat(frames, ignore_index=True)
    folders = images["image"].map(folder_name).str.lower()
    if folders.duplicated().any():
        first = images[folders == folders[folders.duplicated()].iloc[0]]
        raise PredictError(
            f"{first['path'].iloc[1]}: expected a name of its own for each image, found "
            f"{first['image'].iloc[1]} as of {first['path'].iloc[0]}; name them in a manifest "
            "(columns image, path, label)"
        )
    return images


def folder_name(image: str) -> str:
    """Name of the folder of an image's files: letters, digits, dots, dashes and underscores."""
    name = re.sub(r"[^\w.-]|^\.", "_", image)
    return f"{name}_" if name.lower() == TABLE else name  # where the table lies


def predict_image(
    network: "keras.Model", volume: Volume, facts: ModelFacts, *, progress: str = ""
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
    maps: bool = True,
) -> Iterator[dict]:
    """Predict images one after the other, and write what is found of each as soon as it is.

    An image that cannot be predicted does not stop the others: its row says why.

    Parameters
    ----------
    network, facts
        Of `model_file.read_model`.
    images
        Of `list_images`.
    output
        A new or empty folder. Into it go ``predictions.csv``, one row per image, and a folder per
        image: ``patches.csv`` and, if `maps`, ``probabilities.ome.tif`` (a channel per class, µm
        kept, NaN where no patch is kept), ``probabilities.png`` and ``report.html``.
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
        The folder holds something; the file scales intensities in another way than this version.
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
        # Hidden files, such as those that desktops leave, are no results.
        if any(not entry.name.startswith(".") for entry in output.iterdir()):
            raise PredictError(
                f"{output}: expected a new or an empty folder, so that results of two calls do not "
                "mix, found something there; name another by --output, or delete it"
            )
        yield from _each_image(network, facts, images, output, model, maps)


def _each_image(
    network: "keras.Model",
    facts: ModelFacts,
    images: pd.DataFrame,
    output: Path,
    model: Path,
    maps: bool,
) -> Iterator[dict]:
    rows, sources = [], _model_sources(model, facts)
    for number, image in enumerate(images.itertuples(), start=1):
        row = {"image": image.image, "label": "", **{f"p:{name}": np.nan for name in facts.classes}}
        row |= {"patches": 0, "share_kept": np.nan, "warnings": "", "error": ""}
        try:
            volume = open_image(image)
            found, statistics = predict_image(
                network, volume, facts, progress=f"{image.image} ({number} of {len(images)})"
            )
            row |= {
                "label": found.label,
                **{f"p:{name}": value for name, value in found.probabilities.items()},
                "patches": found.patches,
                "share_kept": found.share_kept,
                "warnings": "; ".join(found.warnings),
            }
            folder = output / folder_name(image.image)
            write_csv(folder / "patches.csv", found.table)
            if not found.patches:
                raise FitError(
                    f"{volume.path}: expected patches with foreground of "
                    f"{facts.min_foreground:.0%} or more, found none; no class is given"
                )
            if maps:
                shown = volume.select(facts.channels)
                _write_maps(folder, image.image, network, shown, statistics, facts, found, sources)
        except (UserError, OSError) as error:
            row["error"] = " ".join(str(error).split())
        rows.append(row)
        write_csv(output / TABLE, pd.DataFrame(rows))
        yield row


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
        folder / "probabilities.ome.tif",
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
    with atomic_path(folder / "probabilities.png") as temporary:
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
        sources={
            "Image": f"{volume.path}; {_description(volume)}",
            "SHA-256 of the image": image_hash(volume.path),
            **sources,
            "Predicted": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    with atomic_path(folder / "report.html") as temporary:
        temporary.write_text(page, "utf-8")


def _description(volume: Volume) -> str:
    _, depth, height, width = volume.shape
    step = f", planes {volume.z_step_um:.4g} µm apart" if volume.z_step_um else ""
    return (
        f"{depth} planes of {height} × {width} pixels of {volume.pixel_size_um:.4g} µm{step}, "
        f"{volume.dtype}"
    )


def _model_sources(model: Path, facts: ModelFacts) -> dict[str, str]:
    import keras

    return {
        "Network": str(model),
        "SHA-256 of the network": file_hash(model),
        **{f"Hash, {name}": text for name, text in sorted(facts.hashes.items())},
        "Trained with": ", ".join(
            f"{name} {text}" for name, text in sorted(facts.versions.items())
        ),
        "Predicted with": f"organelle_fusion {__version__}, keras {keras.__version__} on "
        f"{keras.backend.backend()}",
    }
