"""Sweeps: many trainings, one file each, resumed where they were interrupted.

A cell is one training: data set × patch size × model × fold × seed. Its predictions lie in one
parquet file that says in its metadata what it came from, and a cell is left alone if that still
holds. Everything that is scored or drawn later is read from these files.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organelle_fusion.cluster import HERE, network_workers
from organelle_fusion.config import FUSIONS, EncoderSettings, Profile
from organelle_fusion.devices import backend_name, device_name, keras_device
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.locks import run_lock
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import (
    Cell,
    SweepError,
    read_cell,
    read_predictions,
    singles_hash,
    stored_provenance,
    write_predictions,
)
from organelle_fusion.provenance import (
    atomic_path,
    code_version,
    file_hash,
    hash_of,
    note_file,
    provenance,
)
from organelle_fusion.workers import asked_of_workers, on_workers, one_by_one

Inputs = Mapping[str, str]


def run_cells(
    cells: Sequence[Cell],
    compute: Callable[[Cell], pd.DataFrame],
    folder: Path,
    *,
    inputs: Inputs | Callable[[Cell], Inputs],
    beside: Callable[[Cell], Iterable[Path]] = lambda cell: (),
    device: Callable[[], str] | None = None,
    workers: int = HERE,
    unit: str = "cell",
) -> list[Path]:
    """Compute the cells that are not there yet, or came from something else.

    A cell is skipped if its file and those `beside` it are as they were written, by their
    checksums, and its stored inputs equal `inputs`; a line names a file that was damaged. Where
    `device` is given, one run does not mix devices either: as long as everything is stored, and of
    one kind of device, it is taken as it is; as soon as anything must be computed, `device` is
    asked, and cells of another device are computed again too. So a run that finds everything done
    need not load Keras to learn where it would have computed.

    Files appear whole or not at all: an exception, Ctrl-C or the end of the process loses the
    running cells only. Two runs in one folder at once are refused, see `locks.run_lock`.

    Parameters
    ----------
    cells
        What to compute, in this order. `Cell`, or another frozen dataclass that can be printed and
        has such a ``path``.
    compute
        Cell → frame, of predictions for instance. What it puts into ``frame.attrs`` (JSON) is
        stored under ``details`` of the provenance. What it reads is noted (`note_file`) only where
        it runs, so note for yourself what a stored cell depends on.
    folder
        Root of the files, see `Cell.path`.
    inputs
        Hashes of everything the result depends on; or a function that gives them per cell.
    beside
        Cell → further files that `compute` writes and that belong to a whole cell.
    device
        Gives the kind of device computed on; asked only if something is computed.
    workers
        `HERE`: this process computes. Else so many workers do, see `cluster.connect`, and a bar
        shows how far it is; `compute` is sent to them with all that it refers to. The results are
        the same for any number; this process may have more threads, and round otherwise.
    unit
        What a cell is called where its progress is printed.

    Returns
    -------
    list of pathlib.Path
        One file per cell, in the order of `cells`.

    Raises
    ------
    SweepError
        A cell failed; the message names it, and the cause is attached. Or no worker could
        compute it, or its file could not be written.
    LockError
        Another run is at work in `folder`.
    """
    with run_lock(folder):
        inputs_of = inputs if callable(inputs) else lambda cell: inputs
        devices = {}
        for cell in cells:
            try:
                stored = stored_provenance(cell.path(folder), cell, inputs_of(cell), beside(cell))
            except SweepError as error:
                print(f"{cell}: computed again, {error}")
                continue
            if stored is not None:
                devices[cell] = stored["device"]
        stale = [cell for cell in cells if cell not in devices]
        here = None
        if device is not None and (stale or len(set(devices.values())) > 1):
            here = device() if workers == HERE else asked_of_workers(device, workers)
            stale = [cell for cell in cells if devices.get(cell) != here]
        if cells:
            there = len(cells) - len(stale)
            print(f"{len(cells)} {unit}s: {there} stored, {len(stale)} to compute")
        started = time.perf_counter()
        alone = workers == HERE or not stale
        results = (
            one_by_one(compute, stale)
            if alone
            else on_workers(compute, stale, workers, folder, unit=unit)
        )
        done = 0
        try:
            with closing(results):
                for cell, frame, seconds in results:
                    facts = provenance(
                        cell=asdict(cell),
                        inputs=dict(inputs_of(cell)),
                        device=here,
                        seconds=seconds,
                    )
                    write_predictions(frame, cell.path(folder), facts, beside(cell))
                    done += 1
        except SweepError as error:
            raise SweepError(
                f"{error}; {done} {unit}s computed before are kept, run again to go on"
            ) from error.__cause__
        if stale:
            seconds = time.perf_counter() - started
            print(f"{len(stale)} {unit}s computed in {seconds:.1f} s")
    for cell in cells:
        for path in (cell.path(folder), *beside(cell)):
            note_file(path)
    return [cell.path(folder) for cell in cells]


def train_cells(
    patch_set: PatchSet,
    folds: pd.DataFrame,
    *,
    models: Sequence[str],
    profile: Profile,
    dataset: str,
    size_px: int,
    folder: Path,
    seed: int,
    workers: int | None = None,
    only_folds: Sequence[int] | None = None,
    keep_weights: bool = True,
) -> pd.DataFrame:
    """Train and predict every model on every fold, as far as that is not stored.

    The networks of one architecture share one compiled model: the organelles' classifiers are
    one network reset between them. Late fusion trains nothing: it combines the stored
    predictions of the single channels in the same fold, with weights fitted on its validation
    part. The trained weights lie beside the predictions, ``<cell>.weights.h5``.

    Parameters
    ----------
    patch_set
        Patches, with a row of its table for each.
    folds
        Frame of `folds.make_folds`; checked for leakage first.
    models
        Names of channels (one classifier each), ``early``, ``intermediate``, ``late``, ``spatial``.
    profile
        Its encoder and training settings count; a change elsewhere trains nothing again.
    dataset, size_px
        Name and patch size (paper pixels) that the files are sorted under.
    folder
        Root of the files.
    seed
        Together with the number of the fold it seeds initial values, order and augmentation, so
        each fold starts from its own network.
    workers
        See `run_cells`; by `cluster.network_workers` unless given.
    only_folds
        Numbers of the folds to train now; all unless given.
    keep_weights
        Whether trained weights are stored; if not, they need not be there either.

    Returns
    -------
    pandas.DataFrame
        Predictions of all models and folds, see `read_predictions`: patch (row in `patch_set`),
        image, group, label, part (validation or test), and ``p:<class>`` float32 per class.

    Raises
    ------
    SweepError
        A model is not known, there is no file of weights, or a cell failed.
    FoldError
        The folds leak, or do not fit the patches.
    """
    channels = patch_set.channels
    known = (*channels, *FUSIONS)
    for name in models:
        if name not in known:
            raise SweepError(
                f"model {name}: expected one of {', '.join(known)}; choose among these"
            )
    size = profile.encoder.input_px
    if patch_set.patches.shape[1:3] != (size, size):
        raise SweepError(
            f"patches of {dataset}: expected {size} × {size} px after encoder.input_px, found "
            f"{patch_set.patches.shape[1]} × {patch_set.patches.shape[2]}; extract them again"
        )
    check_no_leakage(folds, patch_set.table)
    numbers = sorted(folds["fold"].unique().tolist()) if only_folds is None else only_folds
    trained = [name for name in models if name != "late"]
    if "late" in models:
        trained += [channel for channel in channels if channel not in trained]

    def cells(names: Iterable[str]) -> list[Cell]:
        return [Cell(dataset, size_px, name, fold, seed) for name in names for fold in numbers]

    inputs = training_inputs(profile, channels, patch_set.data_hash, folds)
    run_cells(
        cells(trained),
        lambda cell: _train(cell, patch_set, folds, profile, folder if keep_weights else None),
        folder,
        inputs=inputs,
        beside=lambda cell: (cell.weights_path(folder),) if keep_weights else (),
        device=keras_device,
        workers=default_workers(profile) if workers is None else workers,
    )
    if "late" in models:

        def singles(cell: Cell) -> list[Path]:
            own = [Cell(dataset, size_px, name, cell.fold, seed) for name in channels]
            return [single.path(folder) for single in own]

        run_cells(
            cells(["late"]),
            lambda cell: _combine(singles(cell), channels),
            folder,
            inputs=lambda cell: {**inputs, "singles": singles_hash(singles(cell))},
        )
    return read_predictions([cell.path(folder) for cell in cells(models)])


def training_inputs(
    profile: Profile, channels: Sequence[str], data_hash: str, folds: pd.DataFrame
) -> dict[str, str]:
    """Hashes of everything that a training of `train_cells` depends on.

    Late fusion depends on its ``singles`` besides.
    """
    return {
        "settings": hash_of([profile.encoder, profile.training, tuple(channels)]),
        "data": data_hash,
        "folds": hash_of(folds),
        "code": code_version(
            *("augmentation", "batches", "encoders", "initial", "mixing", "models", "predictions"),
            *("sweep", "training"),
        ),
        "backend": backend_name(),
        **weights_inputs(profile.encoder),
    }


def train_sizes(
    patch_sets: Iterable[tuple[int, PatchSet]], folds: pd.DataFrame, **options: Any
) -> pd.DataFrame:
    """Train on patches of several sizes in the same folds, with one size in memory at a time.

    Parameters
    ----------
    patch_sets
        Pairs of a size in the paper's pixels and its patches, all of the same groups; see
        `preprocessing.each_patch_set`.
    folds
        Frame of `folds.make_folds`.
    options
        Of `train_cells`, all but ``size_px``.

    Returns
    -------
    pandas.DataFrame
        Predictions of all sizes, told apart by ``size_px``.
    """
    frames = []
    for size, patch_set in patch_sets:
        frames.append(train_cells(patch_set, folds, size_px=size, **options))
        del patch_set  # or it would be held while the next is cut
    return pd.concat(frames, ignore_index=True)


def network_seed(seed: int, fold: int) -> int:
    """Seed of one fold's network: of its own for each fold, the same for all models of the fold."""
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(fold,)).generate_state(1)[0])


def default_workers(profile: Profile) -> int:
    """Workers that networks of a profile are trained on, see `cluster.network_workers`."""
    return network_workers(profile.encoder.kind, backend_name())


def weights_inputs(encoder: EncoderSettings) -> dict[str, str]:
    """Hash of the file of weights that an encoder starts from, as ``weights``; else nothing.

    The settings hold the path only. What Keras downloads, it checks by a hash of its own.
    """
    if encoder.weights in (None, "imagenet"):
        return {}
    path = note_file(Path(encoder.weights))
    if not path.is_file():
        raise SweepError(
            f"encoder.weights: expected imagenet or a file of weights, found no file {path}; "
            "check the path"
        )
    return {"weights": file_hash(path)}


def _train(
    cell: Cell, patch_set: PatchSet, folds: pd.DataFrame, profile: Profile, folder: Path | None
) -> pd.DataFrame:
    from organelle_fusion import training

    classes = patch_set.classes
    if cell.model in FUSIONS:
        strategy, channels, patches = cell.model, patch_set.channels, patch_set.patches
    else:
        # One name for whichever channel it is: the same architecture, compiled once for all.
        position = patch_set.channels.index(cell.model)
        strategy, channels = "single", ("channel",)
        patches = patch_set.patches[..., position : position + 1]
    labels = np.searchsorted(classes, patch_set.table["label"].to_numpy(dtype=str))
    parts = fold_parts(folds, patch_set.table["group"], cell.fold)
    own_seed = network_seed(cell.seed, cell.fold)
    model, build = training.compiled_model(
        strategy, channels, len(classes), profile.encoder, profile.training
    )
    training.reset_model(model, build, own_seed)
    probabilities, history = training.train_fold(
        model, patches, labels, parts, settings=profile.training, seed=own_seed
    )
    if folder is not None:
        with atomic_path(cell.weights_path(folder)) as temporary:
            model.save_weights(temporary)
    rows = np.flatnonzero(parts != "train")
    frame = patch_set.table.loc[:, ["image", "group", "label"]].iloc[rows].reset_index(drop=True)
    frame.insert(0, "patch", rows)
    frame["part"] = parts[rows]
    for column, name in enumerate(classes):
        frame[f"p:{name}"] = probabilities[:, column]
    frame.attrs = {
        "network_seed": own_seed,
        "device_name": device_name(),
        "history": history.to_dict("records"),
    }
    return frame


def _combine(paths: Sequence[Path], channels: Sequence[str]) -> pd.DataFrame:
    """Late fusion of one fold from the files of its single-channel classifiers."""
    from organelle_fusion.training import combine, fit_late_weights

    frames = [read_cell(path)[1].to_pandas() for path in paths]
    frame = frames[0]
    for path, other in zip(paths, frames, strict=True):
        if not np.array_equal(other["patch"], frame["patch"]):
            raise SweepError(
                f"{path}: expected the patches of {paths[0]}, found others; delete both"
            )
    columns = [name for name in frame.columns if name.startswith("p:")]
    classes = [name.removeprefix("p:") for name in columns]
    probabilities = np.stack([other[columns].to_numpy() for other in frames])
    validation = (frame["part"] == "validation").to_numpy()
    labels = np.searchsorted(classes, frame["label"].to_numpy(dtype=str))
    weights = fit_late_weights(probabilities[:, validation], labels[validation])
    frame[columns] = combine(probabilities, weights)
    frame.attrs = {"late_weights": dict(zip(channels, weights.tolist(), strict=True))}
    return frame
