"""The reference run: large networks on full-resolution phantoms and real crops, in short steps.

It answers what the quick profile cannot: whether spatial fusion keeps up with early fusion where
contacts are planted, and with intermediate fusion elsewhere, with networks of the paper's size.
A call lasts minutes, stops in time, and the next one goes on. Only predictions are kept, in
``data/reference``, so that they can be committed and the run can go on on another machine.
`reference_results` reads what is found here.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from organelle_fusion.cluster import HERE
from organelle_fusion.config import Profile, UserError
from organelle_fusion.devices import backend_name, device_name, keras_device
from organelle_fusion.folds import make_folds, read_folds, write_folds
from organelle_fusion.locks import run_lock
from organelle_fusion.patchset import PatchSet
from organelle_fusion.plan_data import public_crops
from organelle_fusion.predictions import (
    Cell,
    SweepError,
    read_provenance,
    singles_hash,
    stored_provenance,
)
from organelle_fusion.provenance import hash_of, provenance, read_json, write_json
from organelle_fusion.reference_data import (
    CROPS,
    Image,
    crop_patches,
    crops_at_hand,
    cut_folder,
    cut_images,
    is_cut,
    phantom_patches,
    planned_images,
    recipe,
)
from organelle_fusion.reference_results import RESULTS, RUN_FILE, folds_file, predictions_folder
from organelle_fusion.repository import COMPILED
from organelle_fusion.settings import SMALL_KINDS
from organelle_fusion.sources import DATA_VARIABLE
from organelle_fusion.sweep import train_cells, training_inputs

_LOGGER = logging.getLogger(__name__)

IMAGES = "images"
"""Kind of the tasks that cut stacks; those of trainings are called as their networks."""

# Fixed beforehand, so that a strategy added later does not change the run.
COMPARED = ("early", "intermediate", "spatial")
FIXED = ("early", "intermediate", "late", "spatial")

WORK = {"single": 1.0, "early": 1.0, "intermediate": 3.0, "spatial": 3.25, "late": 0.0}
"""Multiplications of a network for a patch, in those of a ResNet50 encoder; mixing, by 4.9 million
weights at 14 × 14 places, takes a quarter of them."""

IMAGE_SECONDS = 10.0
"""A stack of 12 × 1248 × 1248 voxels simulated and cut on one core, measured."""


class ReferenceRunError(UserError):
    """A reference run that cannot go on; the message is one line."""


class Planned(NamedTuple):
    """One training of the run."""

    step: str  # what it is part of, in words
    dataset: str  # folder of its data: phantom, contact or the crops
    cell: Cell
    network: str  # single, early, intermediate, late or spatial
    profile: Profile  # its settings


class Task(NamedTuple):
    """Something to do that is not worth beginning if time is short."""

    name: str
    kind: tuple[str, str]  # things of one kind take about as long
    seconds: float  # expected
    do: Callable[[], object]


def planned_trainings(profile: Profile) -> list[Planned]:
    """All trainings of the run, in its order.

    First what decides most, should there be a GPU for a while only: planted contacts. Then
    five folds of everything else, and those of further seeds for the strategies that are compared:
    with the first they are the runs of chapter 07 that keep images whole. One network after the
    other, since each is compiled once in a call.

    Returns
    -------
    list of Planned

    Raises
    ------
    ReferenceRunError
        The profile has no section ``reference``, or no phantom.
    """
    if profile.reference is None or profile.phantom is None:
        raise ReferenceRunError(
            f"profile {profile.name}: expected sections reference and phantom, found not both; "
            "choose the profile reference, or add what is missing"
        )
    crops = public_crops(profile)[CROPS]
    of_crops = profile.for_crops(crops.channels, crops.edge_px)
    wide = profile.training.model_copy(update={"dense_units": profile.planted.wide_head})
    with_wide_head = profile.model_copy(update={"training": wide})

    def step(
        name: str,
        dataset: str,
        folding: str,
        models: Sequence[str],
        settings: Profile = profile,
        size_px: int = profile.patches.size_px,
        repeat: int = 0,
    ) -> list[Planned]:
        return [
            Planned(
                name,
                dataset,
                Cell(folding, size_px, model, fold, profile.folds.seed + repeat),
                model if model in FIXED else "single",
                settings,
            )
            for model in models
            for fold in range(profile.folds.n_splits)
        ]

    planned = [
        *step("planted contacts", "contact", "cv5", COMPARED),
        *step("contacts, wide head", "contact", "cv5-wide-head", ["intermediate"], with_wide_head),
        *step("all networks", CROPS, CROPS, [*crops.channels, *FIXED], of_crops, crops.edge_px),
        *step("all networks", "phantom", "cv5", [*profile.channels, *FIXED]),
    ]
    for repeat in range(1, profile.many_folds.repeats):
        planned += step("further seeds", "phantom", "cv5", COMPARED, repeat=repeat)
    return planned


def stored_facts(training: Planned, root: Path) -> dict | None:
    """Provenance of a training whose predictions are there and still hold; else None.

    Patches need not be at hand: what they were made from is recorded beside the predictions.
    """
    place = root / RESULTS / training.dataset
    path = training.cell.path(predictions_folder(place))
    record = read_json(place / "patches.json")
    folds = folds_file(place, training.cell.seed)
    if not (record and folds.is_file() and path.is_file()):
        return None
    if record["recipe"] != recipe(training.profile, training.dataset):
        return None
    channels = training.profile.channels
    inputs = training_inputs(training.profile, channels, record["data_hash"], read_folds(folds))
    if training.network == "late":
        singles = [
            Cell(**{**vars(training.cell), "model": channel}).path(predictions_folder(place))
            for channel in channels
        ]
        if not all(single.is_file() for single in singles):
            return None
        try:
            inputs["singles"] = singles_hash(singles)
        except SweepError:  # not whole, as below
            return None
    try:
        return stored_provenance(path, training.cell, inputs)
    except SweepError:  # not whole: `run_cells` says so when it computes it again
        return None


# --- doing it -----------------------------------------------------------------------------------


def run_steps(
    profile: Profile,
    root: Path,
    *,
    minutes: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Do as much of the run as there is time for.

    Nothing is begun that would not be done in time if it took as long as the longest of its kind
    so far; but for the first thing and the first training of a call, so that every call gets on,
    even on a machine on which all stacks have to be cut again. `config.use_backend`
    comes first.

    Parameters
    ----------
    profile
        With a section ``reference``.
    root
        Folder of the repository: results go to ``data/reference``, patches to ``data/runs``.
    minutes
        Time for this call; the profile's unless given.
    clock
        Gives seconds.

    Returns
    -------
    str
        How much is done, in one line.

    Raises
    ------
    ReferenceRunError
        The profile has no such run, or results of another kind of device are there.
    LockError
        Another call is at work.
    """
    planned = planned_trainings(profile)
    limit = 60 * (profile.reference.minutes if minutes is None else minutes)
    began, first, trained = clock(), True, False
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / COMPILED))
    with run_lock(root / RESULTS):
        longest = longest_so_far(planned, root)
        for task in _tasks(profile, planned, root):
            expected = longest.get(task.kind, task.seconds)
            training = task.kind[1] != IMAGES
            if not (first or (training and not trained)) and clock() - began + expected > limit:
                break
            first, trained, begun = False, trained or training, clock()
            _LOGGER.info("%s begins, about %.0f s", task.name, expected)
            task.do()
            longest[task.kind] = max(longest.get(task.kind, 0.0), clock() - begun)
    left = [training for training in planned if stored_facts(training, root) is None]
    return f"{len(planned) - len(left)} of {len(planned)} cells are done; {next_step(left, root)}"


def next_step(left: Sequence[Planned], root: Path) -> str:
    """What to do about the trainings that are left: nothing, run again, or bring the crops."""
    if not left:
        return "nothing is left"
    if {training.dataset for training in left} == {CROPS} and not crops_at_hand(root):
        return f"{CROPS} is outstanding, set {DATA_VARIABLE} to a folder that holds it"
    return "run again to go on"


def longest_so_far(planned: Sequence[Planned], root: Path) -> dict[tuple[str, str], float]:
    """Seconds of the longest stored training of each data set and network."""
    longest: dict[tuple[str, str], float] = {}
    for training in planned:
        facts = stored_facts(training, root)
        if facts is not None:
            kind = (training.dataset, training.network)
            longest[kind] = max(longest.get(kind, 0.0), facts["seconds"])
    return longest


def stated_seconds(training: Planned, patches: int) -> float:
    """Expected time of a training as far as none of its kind is timed, compilation left out.

    All epochs, in proportion to pixels and encoders, at the speed that the profile states for
    intermediate fusion; to predict a patch takes a third of what it takes to train on it.
    """
    settings = training.profile
    trained = patches * (1 - 1 / settings.folds.n_splits) * (1 - settings.folds.validation_share)
    validated = patches * (1 - 1 / settings.folds.n_splits) - trained
    epochs = settings.training.epochs
    seen = epochs * (trained + validated / 3) + (patches - trained) / 3
    work = WORK[training.network] / WORK["intermediate"]
    pixels = (settings.encoder.input_px / 224) ** 2
    return seen * work * pixels / settings.reference.patches_per_second


def _tasks(profile: Profile, planned: Sequence[Planned], root: Path) -> Iterator[Task]:
    """Give what is not done yet; each is done before the next is asked for."""
    checked = False
    for dataset, of_dataset in groupby(planned, lambda training: training.dataset):
        left = [training for training in of_dataset if stored_facts(training, root) is None]
        if not left:
            continue
        if dataset == CROPS and not crops_at_hand(root):
            _LOGGER.info("%s is not here: %d cells are outstanding", CROPS, len(left))
            continue
        if not checked:  # only where something is computed, since it loads JAX
            _check_device(planned, root)
            checked = True
        if dataset == CROPS:
            patch_set = crop_patches(profile, root)
        else:
            folder = cut_folder(profile, dataset, root)
            yield from _image_tasks(profile, dataset, folder)
            patch_set = phantom_patches(profile, dataset, folder)
        _record(profile, dataset, patch_set, root)
        for training in left:
            if stored_facts(training, root) is None:  # it may hold of patches cut again
                yield Task(
                    f"{dataset}, {training.step}: {training.cell}",
                    (dataset, training.network),
                    stated_seconds(training, len(patch_set.table)),
                    lambda training=training, patch_set=patch_set: _train(
                        training, patch_set, root
                    ),
                )


def _image_tasks(profile: Profile, dataset: str, folder: Path) -> Iterator[Task]:
    """Give the stacks that are not cut, as many at once as there are processors."""
    import joblib

    left = [
        image
        for image in planned_images(profile, dataset)
        if not is_cut(image, profile, dataset, folder)
    ]
    at_once = joblib.cpu_count()
    for start in range(0, len(left), at_once):
        some: list[Image] = left[start : start + at_once]
        yield Task(
            f"{dataset}: {len(some)} stacks from {some[0]}",
            (dataset, IMAGES),
            IMAGE_SECONDS,
            lambda some=some: cut_images(some, profile, dataset, folder),
        )


def _check_device(planned: Sequence[Planned], root: Path) -> None:
    """Refuse a device of another kind than that of any result, and large networks without a GPU."""
    here, kinds = keras_device(), set()
    encoder = planned[0].profile.encoder.kind
    if here == "cpu" and encoder not in SMALL_KINDS:
        raise ReferenceRunError(
            f"device: expected a GPU to train {encoder} encoders, found that Keras on "
            f"{backend_name()} sees the processor only; install the backend with support for it"
        )
    for training in planned:
        path = training.cell.path(predictions_folder(root / RESULTS / training.dataset))
        try:
            kinds.add(read_provenance(path)["device"])
        except SweepError:  # not there, or not whole: it is computed again
            continue
    kinds.discard(None)  # late fusion is computed from files
    if kinds - {here}:
        raise ReferenceRunError(
            f"{RESULTS.as_posix()}: expected to go on on a {' or '.join(sorted(kinds))}, as its "
            f"results were computed, found a {here}; go on there, or move the folder away to "
            "begin anew"
        )


def _record(profile: Profile, dataset: str, patch_set: PatchSet, root: Path) -> None:
    """Write down what the patches are, their folds, the settings, and what computes."""
    place = root / RESULTS / dataset
    facts = {
        "recipe": recipe(profile, dataset),
        "data_hash": patch_set.data_hash,
        "patches": len(patch_set.table),
    }
    before = read_json(place / "patches.json")
    if before and before["recipe"] == facts["recipe"] and before != facts:
        _LOGGER.info(
            "%s: its patches are not those recorded, as on a processor that rounds in another "
            "order; what was trained on those is trained again",
            dataset,
        )
    repeats = profile.many_folds.repeats if dataset == "phantom" else 1
    for seed in range(profile.folds.seed, profile.folds.seed + repeats):
        path = folds_file(place, seed)
        if before != facts or not path.is_file():
            own = profile.folds.model_dump() | {"seed": seed}
            write_folds(path, make_folds(patch_set.table, **own))
    write_json(place / "patches.json", facts)
    write_json(
        root / RESULTS / RUN_FILE,
        provenance(
            profile=hash_of(profile),
            settings=profile.model_dump(mode="json"),
            backend=backend_name(),
            device=device_name(),
        ),
    )


def _train(training: Planned, patch_set: PatchSet, root: Path) -> None:
    place, cell = root / RESULTS / training.dataset, training.cell
    train_cells(
        patch_set,
        read_folds(folds_file(place, cell.seed)),
        models=[cell.model],
        profile=training.profile,
        dataset=cell.dataset,
        size_px=cell.size_px,
        folder=predictions_folder(place),
        seed=cell.seed,
        workers=HERE,
        only_folds=[cell.fold],
        keep_weights=False,
    )
