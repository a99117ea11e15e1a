"""Measured times, as `make bench` leaves them, for the page on speed. Frames in, frames out."""

import json
import math
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
PIPELINE = "input pipeline"
"""Benchmark of epochs as they are fed, beside their training steps alone, which nobody can beat."""
READING = "reading once"
TABLE = "thresholds and patch table"
"""Tasks of the benchmark ``preprocessing``, of one stack."""
PARTS = (" without its steps", " without their steps")
"""In the names of tasks that are a part of another, such as a fold without its training steps."""


class SpeedError(UserError):
    """Measured times that are missing or cannot be used; the message is one line."""


class Measured(NamedTuple):
    """All that one `make bench` has measured."""

    side_by_side: pd.DataFrame  # COLUMNS
    functions: pd.DataFrame  # name, unit, seconds (median), rounds
    stages: pd.DataFrame  # stage, profile, unit, seconds, per_stack, mb; see `scaling`
    machine: dict[str, Any]
    gpu: pd.DataFrame | None  # task, network, way, precision, batch, per_second, share, ratio
    gpu_machine: dict[str, Any]  # empty where no GPU was at hand


def read_measured(root: Path) -> Measured:
    """Read what `make bench` has written below `root`, the folder of the repository.

    And what ``python -m benchmarks.gpu`` has, if it has ever been run.

    Raises
    ------
    SpeedError
        A file is missing.
    """
    folder = Path(root) / FOLDER
    tables = [
        pd.read_csv(_require(folder / f"{name}.csv"), dtype={"equal": str, "profile": str})
        for name in ("side-by-side", "functions", "stages")
    ]
    side_by_side, functions, stages = tables
    machine = json.loads(_require(folder / "machine.json").read_text("utf-8"))
    gpu, gpu_machine = None, {}
    if note_file(folder / "gpu.csv").is_file():
        gpu = pd.read_csv(folder / "gpu.csv").fillna({"network": ""})  # of a matrix product
        gpu_machine = json.loads(_require(folder / "gpu.json").read_text("utf-8"))
    return Measured(
        side_by_side.fillna({"equal": ""}),
        functions,
        stages.fillna({"profile": ""}),
        machine,
        gpu,
        gpu_machine,
    )


def _require(path: Path) -> Path:
    if not path.is_file():
        raise SpeedError(
            f"{path.name}: expected in {FOLDER}/, found nothing; it is written by `make bench`"
        )
    return note_file(path)


def compared(side_by_side: pd.DataFrame) -> pd.DataFrame:
    """Rows of peers in tasks that ours does too, with their ``ratio``."""
    rated = with_ratios(side_by_side)
    return rated[(rated["who"] != OURS) & rated["ratio"].notna()].reset_index(drop=True)


def shown_ratios(side_by_side: pd.DataFrame) -> pd.DataFrame:
    """Table of the page: one row per peer, or one where ours has none; empty is what is not known.

    Peak memory is ours.
    """
    rows = []
    for (_, task), found in with_ratios(side_by_side).groupby(["benchmark", "task"], sort=False):
        ours = found[found["who"] == OURS]
        own, mb = (ours[name].iloc[0] if len(ours) else math.nan for name in ("seconds", "peak_mb"))
        peers = found[found["who"] != OURS]
        for peer in peers.to_dict("records") or [{"who": "", "equal": ours["equal"].item()}]:
            numbers = (peer.get("ratio", math.nan), own, peer.get("seconds", math.nan), mb)
            rows.append((task, peer["who"], *map(two_digits, numbers), peer["equal"]))
    columns = ["Task", "Peer", "Ratio", "Ours, s", "Theirs, s", "Ours, MB", "Results"]
    return pd.DataFrame(rows, columns=columns)


def whole_tasks(side_by_side: pd.DataFrame) -> pd.DataFrame:
    """One row for each task: the fastest of its peers and of their variants, with its ``ratio``.

    Tasks that are a part of another (`PARTS`) are left out, so that nothing counts twice.
    """
    peers = compared(side_by_side)
    part = peers["task"].map(lambda task: any(words in task for words in PARTS)).astype(bool)
    fastest = peers[~part].groupby(["benchmark", "task"], sort=False)["ratio"].idxmin()
    return peers.loc[fastest].reset_index(drop=True)


def verdict_sentence(side_by_side: pd.DataFrame) -> str:
    """Say in how many of the `whole_tasks` we are faster, and where we are slowest."""
    peers = whole_tasks(side_by_side)
    faster = peers["ratio"] > 1
    words = f"In {faster.sum()} of {len(peers)} tasks this package is faster than the fastest peer"
    if faster.any():
        best = peers.loc[peers["ratio"].idxmax()]
        words += f", by a factor of up to {two_digits(best['ratio'])} ({_named(best)})"
    if faster.all():
        return words + "."
    worst = peers.loc[peers["ratio"].idxmin()]
    others = "the other" if (~faster).sum() == 1 else "the others"
    most = "" if (~faster).sum() == 1 else "up to "
    return (
        f"{words}. In {others} it is slower, by a factor of {most}"
        f"{two_digits(1 / worst['ratio'])} ({_named(worst)})."
    )


def _named(row: pd.Series) -> str:
    return f"{without_unit(row['task'])}; {row['who']}"


def without_unit(task: str) -> str:
    """Name of a task without the unit of its seconds, which is of no matter to a ratio."""
    return task.partition(", s per ")[0]


def reading_sentence(side_by_side: pd.DataFrame) -> str:
    """Say how much longer thresholds and patch table take than reading the file once.

    Raises
    ------
    SpeedError
        One of the two was not measured.
    """
    rows = side_by_side.set_index("task")["seconds"]
    ours = side_by_side[side_by_side["who"] == OURS].set_index("task")["seconds"]
    if READING not in rows.index or TABLE not in ours.index:
        raise SpeedError(
            f"side-by-side.csv: expected the tasks {READING} and {TABLE}, found not both; run "
            "`make bench`"
        )
    return (
        "Thresholds and patch table of a stack, which is read twice for them, take "
        f"{two_digits(ours[TABLE] / rows[READING])} times as long as merely reading its file once, "
        "from memory."
    )


def pipeline_sentence(side_by_side: pd.DataFrame) -> str:
    """Say how much longer epochs take than their training steps alone, by the benchmark `PIPELINE`.

    Tasks are named "<network>, <backend>, s per epoch".

    Raises
    ------
    SpeedError
        There are no such rows.
    """
    rows = compared(side_by_side[side_by_side["benchmark"] == PIPELINE])
    if rows.empty:
        raise SpeedError(
            f"side-by-side.csv: expected benchmark {PIPELINE}, found none; run `make bench`"
        )
    parts = rows["task"].map(without_unit).str.rsplit(", ", n=1, expand=True)
    rows = rows.assign(network=parts[0], backend=parts[1], more=1 / rows["ratio"] - 1)
    listed = [
        f"on {backend} by "
        + ", ".join(f"{row.more:.0%} ({row.network})" for row in of_backend.itertuples())
        for backend, of_backend in rows.groupby("backend", sort=False)
    ]
    return (
        "An epoch of the small networks, as Keras feeds it, takes longer than its training steps "
        f"alone on batches that are at hand: {'; '.join(listed)}."
    )


def shown_functions(functions: pd.DataFrame) -> pd.DataFrame:
    """Table of the page: hot functions with their median in ms."""
    return pd.DataFrame(
        {
            "Function": functions["name"],
            "On": functions["unit"],
            "Median, ms": [two_digits(1000 * value) for value in functions["seconds"]],
            "Rounds": functions["rounds"],
        }
    )


def gpu_sentence(measured: Measured) -> str:
    """Say on what device networks of the paper's size were timed, or that this is outstanding."""
    about = measured.gpu_machine
    if measured.gpu is None:
        return (
            "Not done yet: no GPU was at hand. `python -m benchmarks.gpu` times training and "
            "prediction with ResNet50 encoders there, beside plain Keras, and this section will "
            "show it."
        )
    return (
        f"Measured on {about['created'][:10]} on {about['device']} ({about['device_kind']}), by "
        f"Keras {about['keras']} on {about['backend']}."
    )


def shown_gpu(gpu: pd.DataFrame) -> pd.DataFrame:
    """Table of the page: a row for everything that was timed on a GPU."""
    numbers = {
        "Per second": gpu["per_second"],
        "Ratio": gpu["ratio"],
        "Share of matrix rate": gpu["share"],
    }
    return gpu[["task", "network", "way", "precision", "batch"]].assign(
        **{name: [two_digits(value) for value in values] for name, values in numbers.items()}
    )


def machine_sentence(machine: dict[str, Any]) -> str:
    """Say where, when and with what was measured."""
    used = ("Python", "numpy", "numba", "keras", "jax", "tensorflow")
    named = ", ".join(f"{name} {machine['versions'][name]}" for name in used)
    return (
        f"Measured on {machine['date']} on {machine['cores']} cores ({machine['processor']}) "
        f"with {machine['memory_gb']:.0f} GB of memory under {machine['system']}, by version "
        f"{machine['organelle_fusion']} (code {machine['code']}) with {named}."
    )


def two_digits(value: float) -> str:
    """Write a positive number with two digits, or all before the point; never with an exponent.

    NaN becomes nothing.
    """
    if math.isnan(value):
        return ""
    places = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:,.{places}f}"


def with_ratios(side_by_side: pd.DataFrame) -> pd.DataFrame:
    """Add ``ratio``: the seconds of a row over ours in the same task, measured in the same run.

    Parameters
    ----------
    side_by_side
        `COLUMNS`; in each task of each benchmark one row at most is ours.

    Returns
    -------
    DataFrame
        The same rows, ours first in each task. Above 1 we are faster; NaN where ours does not do
        the task.

    Raises
    ------
    SpeedError
        A task has several rows of ours.
    """
    frames = [side_by_side[:0].assign(ratio=pd.Series(dtype=float))]
    for (benchmark, task), rows in side_by_side.groupby(["benchmark", "task"], sort=False):
        ours = rows["who"] == OURS
        if ours.sum() > 1:
            raise SpeedError(
                f"benchmark {benchmark}, {task}: expected one row of {OURS}, found {ours.sum()}; "
                f"correct benchmarks/{benchmark}.py and run `make bench`"
            )
        ratio = rows["seconds"] / (rows.loc[ours, "seconds"].item() if ours.any() else math.nan)
        frames.append(pd.concat([rows[ours], rows[~ours]]).assign(ratio=ratio))
    return pd.concat(frames, ignore_index=True)
