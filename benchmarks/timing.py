"""How the side-by-side scripts time: all ways in turn, the fastest run of each counts."""

import time
import tracemalloc
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

OURS = "organelle-fusion"


def compare_ways(
    benchmark: str,
    task: str,
    ways: Mapping[str, Callable[[], np.ndarray]],
    *,
    units: int = 1,
    repeats: int = 5,
) -> pd.DataFrame:
    """Time several ways to the same array, and say how far each agrees with ours.

    Parameters
    ----------
    benchmark, task
        Names; the task names the unit that the seconds are of.
    ways
        Name → function without arguments. One is called "organelle-fusion".
    units
        How many units one call does.
    repeats
        Rounds, after one that is not timed. In each round every way runs once, so that whatever
        else the machine does meets all of them.

    Returns
    -------
    DataFrame
        benchmark, task, who, seconds (per unit, of the fastest run), equal (see `agreement`),
        peak_mb (what the call allocated at its peak beyond what was there, by tracemalloc, which
        sees NumPy's arrays and not those of other libraries), in a run of its own.
    """
    found, peaks = {}, {}
    for name, way in ways.items():
        tracemalloc.start()
        found[name] = way()
        peaks[name] = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return pd.DataFrame(
        {
            "benchmark": benchmark,
            "task": task,
            "who": list(ways),
            "seconds": [min(seconds[name]) / units for name in ways],
            "equal": ["" if name == OURS else agreement(found[OURS], found[name]) for name in ways],
            "peak_mb": [peaks[name] for name in ways],
        }
    )


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Say whether two arrays are the same, or by how much they differ at most."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return f"another shape, {theirs.shape} and not {ours.shape}"
    missing = np.issubdtype(ours.dtype, np.floating)
    if np.array_equal(ours, theirs, equal_nan=missing):
        return "identical"
    if missing and not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return "other values are missing"
    deviation = np.nanmax(np.abs(ours.astype(np.float64) - theirs))
    return f"within {deviation:.0e} of values up to {np.nanmax(np.abs(ours)):.2g}"


def print_table(frame: pd.DataFrame) -> None:
    """Print the rows of a side-by-side script, with the ratio to ours."""
    from organelle_fusion.speed import with_ratios

    for task, rows in with_ratios(frame).groupby("task", sort=False):
        print(task)
        for row in rows.itertuples():
            print(f"  {row.who:40} {row.seconds:12.6f} s  ×{row.ratio:6.2f}  {row.equal}")
