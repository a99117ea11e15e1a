"""Thousands of stacks on many workers, projected from what one stack and one patch cost here.

Frames and numbers in, frames out. Nothing is measured in this module, see `speed` for that.
"""

from collections.abc import Sequence

import pandas as pd

from organelle_fusion.config import Profile
from organelle_fusion.speed import SpeedError, compared, two_digits

BENCHMARK = "scaling"
"""The side-by-side script whose own rows are of `WORKERS` workers, beside `ONE_WORKER`."""
WORKERS = 2
ONE_WORKER = "one worker"
DISK_MB = 500
"""MB per second of a disk, for comparison."""


def efficiency(side_by_side: pd.DataFrame) -> float:
    """How much of a worker is left when several share a machine, as it was measured.

    Parameters
    ----------
    side_by_side
        `speed.COLUMNS`, with rows of the benchmark ``scaling``.

    Returns
    -------
    float
        Speed-up of `WORKERS` workers over one, divided by their number; the smallest of all tasks,
        and 1 at most.

    Raises
    ------
    SpeedError
        There are no such rows.
    """
    beside = compared(side_by_side[side_by_side["benchmark"] == BENCHMARK])
    beside = beside[beside["who"] == ONE_WORKER]
    if beside.empty:
        raise SpeedError(
            f"side-by-side.csv: expected benchmark {BENCHMARK} with {ONE_WORKER} beside {WORKERS}, "
            "found none; run `make bench`"
        )
    return float(min(1.0, beside["ratio"].min() / WORKERS))


def planned_work(stages: pd.DataFrame, stacks: int, profile: Profile) -> pd.DataFrame:
    """What the study costs on so many stacks, stage by stage, with one encoder.

    Parameters
    ----------
    stages
        stage, profile, unit, seconds, per_stack, mb, as `make bench` writes them.
    stacks
        Number of stacks.
    profile
        Whose encoder, epochs, folds and validation part are meant.

    Returns
    -------
    DataFrame
        stage; units (how many of what ``unit`` names); seconds (of one); hours (of all, on one
        worker); at_most (workers that can share the stage: one per stack, or one per training,
        which predicts its own part as well).
    """
    shared, own = _by_stage(stages, ""), _by_stage(stages, profile.name)
    measured = stages[stages["stage"] == "measure"].iloc[0]
    patches = stacks * own.loc["cut", "per_stack"]
    folds = profile.folds
    in_training = (1 - 1 / folds.n_splits) * (1 - folds.validation_share)
    trained = patches * in_training * folds.n_splits * profile.training.epochs
    preparing = shared.loc[["statistics", "table"], "seconds"].sum()
    rows = [
        ("thresholds and patch table", stacks, "stack", preparing, stacks),
        ("cutting patches", patches, "patch", own.loc["cut", "seconds"], stacks),
        ("measuring objects", stacks, measured["unit"], measured["seconds"], stacks),
        (f"training, {profile.encoder.kind}", trained, "patch and epoch",
         own.loc["train", "seconds"], folds.n_splits),
        (f"predicting, {profile.encoder.kind}", patches, "patch",
         own.loc["predict", "seconds"], folds.n_splits),
    ]  # fmt: skip
    work = pd.DataFrame(rows, columns=["stage", "units", "unit", "seconds", "at_most"])
    work["units"] = work["units"].round().astype(int)
    return work.assign(hours=work["units"] * work["seconds"] / 3600)


def projected_hours(work: pd.DataFrame, workers: Sequence[int], share: float) -> pd.DataFrame:
    """Hours of every stage on so many workers.

    Parameters
    ----------
    work
        Of `planned_work`.
    workers
        Numbers of workers, each of one thread, as the costs were measured in.
    share
        Of `efficiency`: n workers together do as much as n times this share of one.

    Returns
    -------
    DataFrame
        stage, workers, busy (those that the stage can use), hours.
    """
    rows = []
    for number in workers:
        for stage in work.itertuples():
            busy = min(number, stage.at_most)
            speed_up = max(1.0, busy * share)
            rows.append((stage.stage, number, busy, stage.hours / speed_up))
    return pd.DataFrame(rows, columns=["stage", "workers", "busy", "hours"])


def storage_table(stages: pd.DataFrame, stacks: int, profiles: Sequence[Profile]) -> pd.DataFrame:
    """Space that stacks and patches take, TB of 10¹² bytes, uncompressed.

    Returns
    -------
    DataFrame
        what, tb; the stacks first, then the patches at the input size of each profile.
    """
    rows = [("stacks, 16 bits", stacks * _by_stage(stages, "").loc["read", "mb"] / 1e6)]
    for profile in profiles:
        cut = _by_stage(stages, profile.name).loc["cut"]
        edge = profile.encoder.input_px
        name = f"patches of {edge} × {edge} px, 8 bits"
        rows.append((name, stacks * cut["per_stack"] * cut["mb"] / 1e6))
    return pd.DataFrame(rows, columns=["what", "tb"])


def _by_stage(stages: pd.DataFrame, profile: str) -> pd.DataFrame:
    rows = stages[stages["profile"] == profile].set_index("stage")
    needed = ("cut", "train", "predict") if profile else ("read", "statistics", "table")
    missing = [name for name in needed if name not in rows.index]
    if missing:
        raise SpeedError(
            f"stages.csv: expected {', '.join(needed)} of profile {profile or 'none'}, found no "
            f"{', '.join(missing)}; run `make bench`"
        )
    return rows


def assumption_lines(stages: pd.DataFrame, share: float, profiles: Sequence[Profile]) -> list[str]:
    """What a projection takes for granted, a sentence or two each, with the numbers it rests on.

    Parameters
    ----------
    stages
        As in `planned_work`.
    share
        Of `efficiency`.
    profiles
        Those that are projected.
    """
    read = _by_stage(stages, "").loc["read"]
    kept = _by_stage(stages, profiles[0].name).loc["cut", "per_stack"]
    measured = stages[stages["stage"] == "measure"].iloc[0]
    folds, epochs = profiles[0].folds.n_splits, [found.training.epochs for found in profiles]
    kinds = [found.encoder.kind for found in profiles]
    return [
        f"A stack has {read['mb'] / 1000:.2g} GB, as one of 125 planes of 1364 × 1364 px and "
        f"three channels in 16 bits, and {kept:,.0f} patches that are not sparse, as the phantom's "
        "planes that were repeated in it have; no limit per stack is set. Real stacks may have "
        "more or fewer.",
        "Files are uncompressed and were in the memory of the machine, so that a stack was read "
        f"in {read['seconds']:.2g} s. A disk or a network that brings {DISK_MB:,} MB per second to "
        f"each worker needs {read['mb'] / DISK_MB:.2g} s for every pass over a stack.",
        f"Objects were measured in a phantom stack of {measured['mb']:.2g} MB, which is smaller; "
        "that line is a lower bound.",
        f"Training is of one network, intermediate fusion, in {folds} folds, for all of its epochs "
        f"({' or '.join(f'{n} with {kind}' for n, kind in zip(epochs, kinds, strict=True))}), on "
        "all patches of the training part; validation after each epoch is not counted. "
        "Early stopping would end it sooner. "
        f"One training, and the prediction of its test part, run on one worker, so that more than "
        f"{folds} workers do not shorten them.",
        "A cost per patch is taken to stay the same however many patches there are, though they "
        "no longer fit into memory and would have to be read in each epoch.",
        "A worker is a process of one thread, as Dask's are here, and costs were measured in such "
        f"ones. Two workers on one machine did {share:.0%} each of what one does alone, and every "
        "number of workers is taken to lose as much: on machines of their own they lose less, "
        "until the disk that they share is slower than they.",
    ]


def shown_hours(projected: dict[str, pd.DataFrame], work: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Table of the page: a row per stage, the hours on each number of workers in columns.

    Parameters
    ----------
    projected, work
        Name of an encoder → frames of `projected_hours` and `planned_work`. A stage that does not
        depend on the encoder stands there once.
    """
    rows = {}
    for name, frame in projected.items():
        hours = frame.set_index(["stage", "workers"])["hours"]
        for stage in work[name].itertuples():
            label = stage.stage
            if stage.stage == "cutting patches":
                label = f"{stage.stage}, {name}"
            rows[label] = {
                "Stage": label,
                "Units": f"{stage.units:,} × {stage.unit}",
                "Seconds each": two_digits(stage.seconds),
                **{
                    f"{number} worker{'s' * (number > 1)}, h": two_digits(value)
                    for number, value in hours.loc[stage.stage].items()
                },
            }
    return pd.DataFrame(rows.values())


def answer_sentence(projected: dict[str, pd.DataFrame], stacks: int) -> str:
    """Say how long preprocessing takes on the most workers, and how long training takes."""
    most = next(iter(projected.values()))["workers"].max()
    prepared, trainings = [], []
    for name, found in projected.items():
        hours = found[found["workers"] == most].set_index("stage")["hours"]
        both = hours["thresholds and patch table"] + hours["cutting patches"]
        prepared.append(f"{_duration(both)} for {name}")
        training = hours[hours.index.str.startswith("training")].item()
        trainings.append(f"{_duration(training)} with {name}")
    return (
        f"Projected, {stacks:,} stacks are thresholded and cut in {' and '.join(prepared)} on "
        f"{most} workers, once they are in memory. Training does not gain from so many and takes "
        f"{' and '.join(trainings)}, on processors like this one: training is what needs a GPU."
    )


def _duration(hours: float) -> str:
    for unit, length in (("years", 24 * 365.25), ("days", 24), ("hours", 1)):
        if hours >= 2 * length:
            return f"{two_digits(hours / length)} {unit}"
    return f"{two_digits(60 * hours)} minutes"
