"""What a run will train, before it does: counted from the profile and the shapes of the stacks.

The chapters decide what is trained; here stands how much each of them does. A test compares the
count with the files that a run leaves, see `compare_with_files`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, log
from pathlib import Path

import numpy as np
import pandas as pd

from organelle_fusion.config import FUSIONS, JOINED, NUCLEUS, Profile, TuningSettings
from organelle_fusion.pages import Run
from organelle_fusion.plan_data import (
    contact_patches,
    count_patches,
    has_nucleus,
    public_crops,
)
from organelle_fusion.subsets import channel_subsets


def hyperband_rounds(settings: TuningSettings) -> list[tuple[int, int]]:
    """Rounds of a Hyperband search: number of trials, and epochs that each of them trains.

    This is Keras-Tuner's arithmetic for one iteration. A trial that goes on to a next round trains
    the epochs that are new there.
    """
    longest, factor = settings.max_epochs, settings.factor
    brackets = 0
    while longest / factor**brackets >= 1:
        brackets += 1
    last = ceil(1 + log(longest, factor))  # trials in the only round of the last bracket
    rounds = []
    for bracket in reversed(range(brackets)):
        before = 0
        for number in range(bracket + 1):
            trials = ceil(last / (bracket + 1) * factor ** (bracket - number))
            epochs = ceil(longest / factor ** (bracket - number))
            rounds.append((trials, epochs - before))
            before = epochs
    return rounds


def planned_trainings(profile: Profile, stacks: pd.DataFrame, run: Run) -> pd.DataFrame:
    """All trainings of a run, each in the chapter that comes first to it; later ones take it over.

    Parameters
    ----------
    profile
        The settings.
    stacks
        Of `manifest.validate_manifest` or `plan_data.phantom_stacks`.
    run
        Of `pages.open_run`.

    Returns
    -------
    DataFrame
        One row per chapter, set of folds, patch size and network: ``chapter``; ``what`` (in
        words); ``folder`` of the files, below the results of the profile; ``dataset``, ``size_px``
        and ``model`` as in `predictions.Cell`; ``network`` (single, early, intermediate, spatial;
        nothing for late fusion, which trains none); ``trainings``; ``files`` (of predictions: the
        trials of a search leave none); ``train``, ``validation``, ``test`` (patches of each
        training, by the shares of the profile; folds that keep images whole deviate);
        ``epochs_least`` (early stopping at once), ``epochs_most``; ``edge_px`` and ``channels`` of
        the network's input.
    """
    counts = count_patches(stacks, profile.patches)["used"]
    rows = partial(
        _rows,
        folder=f"{run.folder.name}/predictions",
        size_px=profile.patches.size_px,
        patches=int(counts[profile.patches.size_px]),
        runs=profile.folds.n_splits,
        tested=1 / profile.folds.n_splits,
        epochs=profile.training.epochs,
        edge_px=profile.encoder.input_px,
        channels=profile.channels,
    )
    frame = pd.DataFrame(
        [
            *_size_rows(profile, counts, rows, run),
            *_tuning_rows(profile, rows, run),
            *_fusion_rows(profile, stacks, rows),
            *_crop_rows(profile, rows),
            *_leakage_rows(profile, stacks, rows, run),
            *_planted_rows(profile, rows, run),
            *_beyond_rows(profile, rows),
        ]
    )
    left = frame["patches"] * (1 - frame.pop("tested"))
    aside = np.where(frame["validated"], profile.folds.validation_share, 0)
    frame["train"] = np.floor(left * (1 - aside)).astype(int)
    frame["validation"] = np.floor(left).astype(int) - frame["train"]
    frame["test"] = frame.pop("patches") - frame["train"] - frame["validation"]
    stopped = np.where(frame.pop("validated"), profile.training.patience + 1, frame["epochs_most"])
    frame["epochs_least"] = np.minimum(frame["epochs_most"], stopped)
    return frame


def _rows(
    chapter: str,
    what: str,
    dataset: str,
    models: Sequence[str],
    *,
    runs: int,
    patches: int,
    tested: float,
    channels: tuple[str, ...],
    epochs: int,
    share: float = 1.0,
    files: int | None = None,
    validated: bool = True,
    **place,
) -> list[dict]:
    """One row per model, for that share of the patches; `place`: folder, size_px and edge_px."""
    return [
        {
            "chapter": chapter,
            "what": what,
            "dataset": dataset,
            "model": model,
            "network": {"late": "", "student": "early"}.get(
                model, "single" if model in channels else model
            ),
            "trainings": 0 if model == "late" else runs,
            "files": runs if files is None else files,
            "patches": int(patches * share),
            "tested": tested,
            "validated": validated,
            "epochs_most": epochs,
            "channels": 1 if model in channels else len(channels),
            **place,
        }
        for model in models
    ]


def _size_rows(profile: Profile, counts: pd.Series, rows: Callable, run: Run) -> list[dict]:
    """Chapter 03: intermediate fusion at every patch size."""
    kinds = [("patch sizes", "cv5", {})]
    if run.is_phantom:
        apart = profile.selection.n_splits
        of_apart = {"runs": apart, "tested": 1 / apart}
        kinds.append(("patch sizes, second phantom", "selection", of_apart))
    for angle in profile.patches.rotations_deg:
        kinds.append((f"patch sizes, images turned {angle:g}°", f"cv5-rotated-{angle:g}", {}))
    return [
        row
        for what, dataset, options in kinds
        for size, patches in counts.items()
        for row in rows(
            "03", what, dataset, ["intermediate"], size_px=size, patches=patches, **options
        )
    ]


def _tuning_rows(profile: Profile, rows: Callable, run: Run) -> list[dict]:
    """Chapter 04: one search on the second phantom, or one inside each fold of own stacks."""
    searches = 1 if run.is_phantom else profile.folds.n_splits
    found = []
    for trials, epochs in hyperband_rounds(profile.tuning):
        of_round = {"runs": searches * trials, "epochs": epochs, "files": 0}
        found += rows("04", "search for settings", "cv5-tuned", ["intermediate"], **of_round)
    return found + rows("04", "the settings found", "cv5-tuned", ["intermediate"])


def _fusion_rows(profile: Profile, stacks: pd.DataFrame, rows: Callable) -> list[dict]:
    """Chapters 06 and 07: all networks in few folds and in many, and what preprocessing adds."""
    many, models = profile.many_folds, [*profile.channels, *FUSIONS]
    # Intermediate fusion is there from 03.
    first = [name for name in models if name != "intermediate"]
    found = rows("06", "all networks", "cv5", first)
    found += rows("06", "without the sparsity filter", "cv5-unfiltered", ["intermediate"])
    if has_nucleus(profile, stacks):
        wider = (*profile.channels, NUCLEUS)
        found += rows("06", "with the nucleus", "cv5-nucleus", ["intermediate"], channels=wider)
    if not many.spatial:
        models.remove("spatial")
    # The first repeat is there from 06.
    again = profile.folds.n_splits * (many.repeats - 1)
    found += rows("07", f"all networks, {many.repeats} times", "cv5", models, runs=again)
    by_patch = _nearly_all(profile, many.n_splits)
    name = f"cv{many.n_splits}-by-patch"
    return found + rows("07", "all networks, folds by patch", name, models, **by_patch)


def _crop_rows(profile: Profile, rows: Callable) -> list[dict]:
    """Chapter 09: all networks on public crops of single cells."""
    name = "cell-lines-9"
    options = _of_crops(profile, name, f"{name}/predictions")
    models = [*options["channels"], *FUSIONS]
    return rows("09", f"real cells, {name}", name, models, **options)


def _leakage_rows(profile: Profile, stacks: pd.DataFrame, rows: Callable, run: Run) -> list[dict]:
    """Chapter 10: early fusion in folds of several kinds, and among settings to choose from."""
    many, leakage = profile.many_folds, profile.leakage
    thirty = _nearly_all(profile, many.n_splits)
    repeated = {"runs": profile.folds.n_splits * many.repeats}
    kinds = [("one left out", "leave-one-out", _nearly_all(profile, stacks["group"].nunique()))]
    gaps = leakage.guard_planes * (leakage.slabs - 1)
    if stacks["z"].min() >= leakage.slabs + gaps:
        left = 1 - gaps / stacks["z"].mean()  # share of the planes, which train for longer
        slabs = {"share": left, "epochs": round(many.epochs / left)}
        kinds.append(("folds by slab", f"cv{many.n_splits}-by-slab", thirty | slabs))
    kinds += [
        ("choice of settings", f"candidate-{number}", {})
        for number in range(1, leakage.candidates + 1)
    ]
    if run.is_phantom:
        null = {"folder": f"{run.folder.name}/null/predictions"}
        # For the run's own images these are there from 07.
        more = [
            ("folds by patch", f"cv{many.n_splits}-by-patch", thirty),
            (f"folds by image, {many.repeats} times", "cv5", repeated),
        ]
        kinds += [
            (f"null phantom, {what}", dataset, options | null)
            for what, dataset, options in [*more, *kinds]
        ]
    name = "mcf10a-mcf7"
    crops = _of_crops(profile, name, name)
    kinds += [
        (f"{name}, {what}", dataset, options | crops)
        for what, dataset, options in (
            ("by crop", f"cv{many.n_splits}-by-crop", thirty),
            ("by acquisition", f"cv{many.n_splits}-by-acquisition", thirty),
            ("by acquisition, few folds", "cv5", {}),
        )
    ]
    return [
        row
        for what, dataset, options in kinds
        for row in rows("10", what, dataset, ["early"], **options)
    ]


def _planted_rows(profile: Profile, rows: Callable, run: Run) -> list[dict]:
    """Chapter 11: networks on phantoms whose truth is known."""
    if not run.is_phantom:
        return []
    folder, planted = run.folder.name, profile.planted
    singles = list(profile.channels)
    contact = {
        "folder": f"{folder}/contact/predictions",
        "patches": contact_patches(profile),
    }
    nothing = {"folder": f"{folder}/null/predictions"}
    half = {"runs": 1, "tested": 1 / 2, "validated": False}
    found = rows("11", "labels drawn by lot", "by-lot", ["intermediate"], **half)
    found += rows("11", "nothing planted", "cv5-same-places", [*singles, "intermediate"], **nothing)
    for name in singles:
        only = {"folder": f"{folder}/only-{name}/predictions"}
        found += rows("11", f"planted in {name} only", "cv5", ["intermediate"], **only)
    found += rows("11", "planted contacts", "cv5", [*singles, *JOINED], **contact)
    found += rows("11", "contacts, wide head", "cv5-wide-head", ["intermediate"], **contact)
    fewer = {"share": 1 / planted.fewer}
    return found + rows("11", "contacts, fewer patches", "cv5-fewer", JOINED, **contact, **fewer)


def _beyond_rows(profile: Profile, rows: Callable) -> list[dict]:
    """Chapter 12: fewer organelles, a small network and another backbone."""
    found = [
        row
        for some in channel_subsets(profile.channels)
        for row in rows(
            "12", "fewer organelles", f"cv5-{'+'.join(some)}", ["intermediate"], channels=some
        )
    ]
    found += rows("12", "small network, on labels and taught", "cv5-student", ["early", "student"])
    return found + rows("12", "another backbone", "cv5-backbone", ["early"])


def _nearly_all(profile: Profile, runs: int) -> dict:
    """Folds so many that each trains on nearly all, for fewer epochs."""
    return {"runs": runs, "tested": 1 / runs, "epochs": profile.many_folds.epochs}


def _of_crops(profile: Profile, name: str, folder: str) -> dict:
    crops = public_crops(profile)[name]
    return {
        "folder": folder,
        "size_px": crops.edge_px,
        "edge_px": crops.edge_px,
        "patches": crops.number,
        "channels": crops.channels,
    }


def compare_with_files(plan: pd.DataFrame, results: Path) -> pd.DataFrame:
    """Set the planned files of predictions beside those that are there.

    Parameters
    ----------
    plan
        Of `planned_trainings`.
    results
        Folder of all results of the profile, ``data/runs/<profile>``.

    Returns
    -------
    DataFrame
        Index folder, dataset, size_px, model; ``planned`` and ``found`` files. Folders that the
        plan does not name are not looked at, such as those of classifiers that are no networks.
    """
    keys = ["folder", "dataset", "size_px", "model"]
    rows = []
    for folder in plan["folder"].unique():
        for path in (results / folder).glob("*/*px/*/fold-*-seed-*.parquet"):
            dataset, size, model = path.relative_to(results / folder).parts[:3]
            rows.append((folder, dataset, int(size.removesuffix("px")), model))
    found = pd.DataFrame(rows, columns=keys).groupby(keys).size()
    planned = plan.groupby(keys)["files"].sum()
    both = pd.DataFrame({"planned": planned[planned > 0], "found": found})
    return both.fillna(0).astype(int)
