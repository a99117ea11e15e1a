"""Measured times, as `make bench` leaves them, for the page on speed. Frames in, frames out."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from organelle_fusion.config import UserError
from organelle_fusion.provenance import note_file

OURS = "organelle-fusion"
FOLDER = Path("data/benchmarks")
"""Where `make bench` writes, below the folder of the repository."""
COLUMNS = ("benchmark", "task", "who", "seconds", "equal", "peak_mb")
"""Of the side-by-side scripts."""


class SpeedError(UserError):
    """Measured times that are missing or cannot be used; the message is one line."""


class Measured(NamedTuple):
    """All that one `make bench` has measured."""

    side_by_side: pd.DataFrame  # COLUMNS
    functions: pd.DataFrame  # name, unit, seconds (median), rounds
    stages: pd.DataFrame  # stage, profile, unit, seconds, per_stack, mb; see `scaling`
    machine: dict[str, Any]


def read_measured(root: Path) -> Measured:
    """Read what `make bench` has written below `root`, the folder of the repository.

    Raises
    ------
    SpeedError
        A file is missing.
    """
    folder = Path(root) / FOLDER
    frames = (
        pd.read_csv(_require(folder / f"{name}.csv"), keep_default_na=False, na_values=["NaN"])
        for name in ("side-by-side", "functions", "stages")
    )
    return Measured(*frames, json.loads(_require(folder / "machine.json").read_text("utf-8")))


def _require(path: Path) -> Path:
    if not path.is_file():
        raise SpeedError(
            f"{path.name}: expected in {FOLDER}/, found nothing; it is written by `make bench`"
        )
    return note_file(path)


def with_ratios(side_by_side: pd.DataFrame) -> pd.DataFrame:
    """Add ``ratio``: the seconds of a row over ours in the same task, measured in the same run.

    Parameters
    ----------
    side_by_side
        `COLUMNS`; in each task of each benchmark one row is ours.

    Returns
    -------
    DataFrame
        The same rows, ours first in each task. Above 1 we are faster.

    Raises
    ------
    SpeedError
        A task has no row of ours, or several.
    """
    frames = []
    for (benchmark, task), rows in side_by_side.groupby(["benchmark", "task"], sort=False):
        ours = rows["who"] == OURS
        if ours.sum() != 1:
            raise SpeedError(
                f"benchmark {benchmark}, {task}: expected one row of {OURS}, found {ours.sum()}; "
                f"correct benchmarks/{benchmark}.py and run `make bench`"
            )
        ratio = rows["seconds"] / rows.loc[ours, "seconds"].item()
        frames.append(pd.concat([rows[ours], rows[~ours]]).assign(ratio=ratio))
    return pd.concat(frames, ignore_index=True)
