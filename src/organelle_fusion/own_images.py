"""Stacks with faults in them, for the chapter on one's own images, and a terminal to meet them in.

They are planes of the phantom, sorted into folders as people sort theirs, some of them spoilt.
"""

import os
import shlex
import shutil
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from matplotlib.figure import Figure

from organelle_fusion.config import PhantomSettings, Profile, UserError
from organelle_fusion.earlier import read_whole_folds
from organelle_fusion.folds import fold_parts
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import open_image
from organelle_fusion.pages import Run
from organelle_fusion.phantom import CHANNELS, simulate_stack
from organelle_fusion.plots_predictions import prediction_figure
from organelle_fusion.predicted_files import TABLE
from organelle_fusion.provenance import FILES_VARIABLE, atomic_path, read_csv
from organelle_fusion.volumes import open_volume, write_ome_tiff

TAKEN = PhantomSettings(
    images_per_class=(1,),
    contact_images_per_class=(1, 1, 1),
    shape_zyx=(2, 200, 200),
    pixel_size_um=0.10602,
    z_step_um=0.5,
    seed=15,
)
"""Stacks that are large enough for the largest patch, and fast to write."""

PHENOTYPE = {"control": "tubular-perinuclear", "treated": "fragmented-scattered"}
SLIDES = {"control": (1, 2, 3, 4, 5), "treated": (6, 7, 8, 9, 10)}
COARSE_UM = 2 * TAKEN.pixel_size_um
BARE, BRIGHT, COPIED, COPY = 2, 4, 1, 11
"""Slides whose file says nothing of itself; is overexposed; was saved twice; its second copy."""

_COLUMNS = 76  # of a terminal, as many as a page of the book shows


def write_stacks(folder: Path) -> None:
    """Write stacks of two classes, with faults, one a slide: ``stacks/label/slide N/file``.

    One is an ImageJ TIFF without names or sizes, one is overexposed, one was saved again under the
    other class, and all treated ones were taken at another zoom than the controls. Stacks and
    manifest.csv of an earlier time are removed.
    """
    shutil.rmtree(folder / "stacks", ignore_errors=True)
    (folder / "manifest.csv").unlink(missing_ok=True)
    for label, slides in SLIDES.items():
        for slide in slides:
            size = COARSE_UM if label == "treated" else TAKEN.pixel_size_um
            stack = _stack(label, slide, size)
            if slide == BARE:
                _write_bare(_path(folder, label, slide, ".tif"), stack)
                continue
            if slide == BRIGHT:
                stack = np.minimum(stack * 4.0, 4095).astype(np.uint16)  # all of 12 bits
            _write(_path(folder, label, slide), stack, size)
    copied = _stack("control", COPIED, TAKEN.pixel_size_um)
    _write(_path(folder, "treated", COPY), copied, TAKEN.pixel_size_um)
    (folder / "stacks" / "exposure times.txt").write_text(
        "slide 4: 400 ms, all others 100 ms\n", "utf-8"
    )


def take_again(folder: Path) -> None:
    """Replace the overexposed stack, and those of the other zoom, by stacks taken as the rest."""
    again = [("control", BRIGHT), *(("treated", slide) for slide in SLIDES["treated"])]
    for label, slide in again:
        size = TAKEN.pixel_size_um
        _write(_path(folder, label, slide), _stack(label, slide, size), size)


def terminal(command: str, folder: Path) -> str:
    """Run a command of this package in a folder.

    Parameters
    ----------
    command
        As typed: ``organelle-fusion check manifest.csv``.
    folder
        The working directory meanwhile.

    Returns
    -------
    str
        What a terminal shows: the command, its output, and the exit code.
    """
    from typer.testing import CliRunner

    from organelle_fusion.cli import app

    # What the command reads was noted when it was written; paths noted from here would be relative
    # to another folder than those of the chapter.
    environment = {"COLUMNS": str(_COLUMNS), FILES_VARIABLE: None}
    with chdir(folder):
        result = CliRunner().invoke(app, shlex.split(command)[1:], env=environment)
    shown, code = result.output, result.exit_code
    if isinstance(result.exception, UserError):
        shown, code = f"{shown}error: {result.exception}\n", 1
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return f"$ {command}\n{shown}$ echo $?\n{code}"


def unseen_image(run: Run, profile: Profile) -> pd.Series:
    """Row of the manifest, see `read_manifest`, of the first test image of fold 0 of chapter 6.

    Raises
    ------
    PageError
        The chapter has not been run.
    """
    folds = read_whole_folds(run, profile)
    images = run.read()
    return images[fold_parts(folds, images["group"], 0) == "test"].iloc[0]


def clear_predictions(folder: Path) -> None:
    """Remove the network and the predictions of an earlier time, which are never overwritten."""
    (folder / "network.keras").unlink(missing_ok=True)
    shutil.rmtree(folder / "predictions", ignore_errors=True)


def read_predicted(folder: Path) -> pd.DataFrame:
    """Rows of the ``predictions.csv`` that ``predict`` has written in a folder."""
    return read_csv(folder / "predictions" / TABLE, text=("image", "label"))


def predict_arguments(image: pd.Series, folder: Path) -> str:
    """What ``predict`` is to be told in a folder of an image: its path, and what its file lacks.

    Parameters
    ----------
    image
        Row of a manifest, see `unseen_image`.
    folder
        Where it is run.
    """
    words = [shlex.quote(os.path.relpath(image["path"], folder))]
    if isinstance(image["channel_map"], dict):
        text = ";".join(f"{ours}={theirs}" for ours, theirs in image["channel_map"].items())
        words.append(f"--channel-map {shlex.quote(text)}")
    if not np.isnan(image["pixel_size_um"]):
        words.append(f"--pixel-size-um {image['pixel_size_um']:g}")
    return " ".join(words)


def predicted_figure(folder: Path, image: pd.Series, channels: Sequence[str]) -> Figure | None:
    """Draw the picture that ``predict`` makes, of the files that it has written of its one image.

    Nothing, if it has no class: the command has said why.

    Parameters
    ----------
    folder
        Where it was run.
    image
        Row of the image, see `unseen_image`.
    channels
        Those of the network.
    """
    path = next((folder / "predictions").glob("*/probabilities.ome.tif"), None)
    if path is None:
        return None
    maps, volume = open_volume(path), open_image(image).select(channels)
    patches = read_csv(path.with_name("patches.csv"))
    predicted = read_predicted(folder).iloc[0]
    z = int(patches.groupby("z")["counted"].sum().idxmax())
    return prediction_figure(
        display_plane(volume, z, stack_statistics(volume)),
        maps.plane(z),
        [predicted[f"p:{name}"] for name in maps.channels],
        channels=volume.channels,
        classes=maps.channels,
        cell_px=round(maps.pixel_size_um / volume.pixel_size_um),
        pixel_size_um=volume.pixel_size_um,
        z=z,
    )


def shown_prediction(predicted: pd.DataFrame, label: str) -> pd.DataFrame:
    """Table of the page: one row of ``predictions.csv`` as two columns, and the true class."""
    row = predicted.iloc[0]
    names = {name: f"probability of {name[2:]}" for name in predicted if name.startswith("p:")}
    shown = {
        "image": row["image"],
        "class it has": label,
        "class predicted": row["label"],
        **{words: f"{row[name]:.2f}" for name, words in names.items()},
        "patches": row["patches"],
        "share kept": f"{row['share_kept']:.2f}",
    }
    return pd.DataFrame({"Column": list(shown), "Value": [str(value) for value in shown.values()]})


def _path(folder: Path, label: str, slide: int, suffix: str = ".ome.tif") -> Path:
    return folder / "stacks" / label / f"slide {slide}" / f"{label[0]}{slide}{suffix}"


def _stack(label: str, slide: int, pixel_um: float) -> np.ndarray:
    """uint16 (C, Z, Y, X) of the same field of view at any pixel size."""
    planes, *edges = TAKEN.shape_zyx
    edges = [round(edge * TAKEN.pixel_size_um / pixel_um) for edge in edges]
    settings = TAKEN.model_copy(update={"shape_zyx": (planes, *edges), "pixel_size_um": pixel_um})
    return simulate_stack(PHENOTYPE[label], index=slide, settings=settings).image


def _write(path: Path, stack: np.ndarray, pixel_um: float) -> None:
    write_ome_tiff(path, stack, CHANNELS, pixel_size_um=pixel_um, z_step_um=TAKEN.z_step_um)


def _write_bare(path: Path, stack: np.ndarray) -> None:
    """An ImageJ TIFF that names no channel and no size, only the order of its axes."""
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary, stack.transpose(1, 0, 2, 3), imagej=True, metadata={"axes": "ZCYX"}
        )
