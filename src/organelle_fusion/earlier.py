"""What earlier chapters have left for later ones: folds, predictions and weights of networks.

A file that is not there is an error that names the chapter to run first.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from organelle_fusion.config import Profile
from organelle_fusion.folds import read_folds
from organelle_fusion.pages import Run
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, checked_weights, read_predictions


def read_patches(run: Run, profile: Profile) -> PatchSet:
    """Patches of the profile's size, which chapter 2 has cut from the images of a run."""
    folder = run.folder / "patches" / f"{profile.patches.size_px}px"
    return PatchSet.load(run.require(folder, "02"), run.read())


def read_whole_folds(run: Run, profile: Profile) -> pd.DataFrame:
    """The folds that keep images whole, which chapter 6 has written, see `folds.read_folds`."""
    name = f"cv{profile.folds.n_splits}.csv"
    return read_folds(run.require(run.folder / "folds" / name, "06"))


def fold_cells(
    model: str, folds: pd.DataFrame, seed: int, *, size_px: int, dataset: str = "cv5"
) -> dict[int, Cell]:
    """The trainings of one model, one for each fold.

    Parameters
    ----------
    model
        Its name.
    folds
        Of `folds.make_folds`.
    seed
        Of the division.
    size_px, dataset
        Patch size, and the name that the trainings are stored under.

    Returns
    -------
    dict
        Fold → cell, in the order of the folds.
    """
    numbers = sorted(folds["fold"].unique().tolist())
    return {fold: Cell(dataset, size_px, model, fold, seed) for fold in numbers}


def read_cells(run: Run, cells: Iterable[Cell], folder: Path, chapter: str) -> pd.DataFrame:
    """Predictions of some cells, see `predictions.read_predictions`.

    Parameters
    ----------
    run
        The run that they belong to.
    cells
        Of `fold_cells`, or several of them.
    folder
        Root of the stored files.
    chapter
        Number of the chapter that writes them.

    Raises
    ------
    PageError
        A file is not there.
    """
    return read_predictions([run.require(cell.path(folder), chapter) for cell in cells])


def find_weights(
    run: Run, cells: Mapping[int, Cell], folder: Path, chapter: str
) -> dict[int, Path]:
    """Files of the trained weights of the cells of `fold_cells`; arguments as `read_cells`.

    They are checked, see `predictions.checked_weights`.
    """
    for cell in cells.values():
        run.require(cell.weights_path(folder), chapter)
    return {fold: checked_weights(cell, folder) for fold, cell in cells.items()}
