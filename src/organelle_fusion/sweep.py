"""Sweeps: many trainings, one file each, resumed where they were interrupted.

A cell is one training: data set × patch size × model × fold × seed. Its predictions lie in one
parquet file that says in its metadata what it came from, and a cell is left alone if that still
holds. Everything that is scored or drawn later is read from these files.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.cluster import network_workers
from organelle_fusion.computing import CellSet, Compute, run_cell_sets
from organelle_fusion.config import FUSIONS, EncoderSettings, Profile
from organelle_fusion.devices import backend_name, device_name, keras_device
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import (
    Cell,
    SweepError,
    prediction_frame,
    read_cell,
    read_predictions,
    singles_hash,
)
from organelle_fusion.provenance import (
    atomic_path,
    code_version,
    file_hash,
    hash_of,
    note_file,
)

NETWORK_CODE = (
    *("augmentation", "batches", "encoders", "initial", "late_fusion", "mixing", "models"),
    "training",
)
"""Modules that a trained network depends on, for `provenance.code_version`."""


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
        Frame of `folds.make_folds`; checked for leakage first. Where they have no validation part,
        nothing stops a training early, and its last weights stay.
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
        See `computing.run_cell_sets`; by `cluster.network_workers` unless given.
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
    training = {
        "patch_set": patch_set, "folds": folds, "models": models, "dataset": dataset,
        "size_px": size_px, "folder": folder, "seed": seed, "only_folds": only_folds,
        "keep_weights": keep_weights,
    }  # fmt: skip
    return train_all([(dataset, training)], profile=profile, workers=workers)[dataset]


def train_all(
    trainings: Iterable[tuple[Hashable, Mapping[str, Any]]],
    *,
    profile: Profile,
    workers: int | None = None,
    **common: Any,
) -> dict[Hashable, pd.DataFrame]:
    """Train as several calls of `train_cells` would, with no worker idle between two of them.

    Parameters
    ----------
    trainings
        Pairs of a name of any kind and arguments of `train_cells`. A generator is asked for the
        next pair when no cell is left waiting for a worker and the patches of the one before are
        not held any longer, so that not all are in memory.
    profile
        That of each training which has none of its own.
    workers
        See `computing.run_cell_sets`; unless given by `cluster.network_workers` for the encoder of
        `profile`, whatever encoders others have.
    common
        Arguments of `train_cells` for each training which does not say otherwise.

    Returns
    -------
    dict
        Name → predictions of all its models and folds.

    Raises
    ------
    SweepError, FoldError
        See `train_cells`.
    """
    late, files = [], {}

    def networks() -> Iterator[tuple[CellSet, Compute]]:
        for name, own in trainings:
            if name in files:
                raise SweepError(f"training {name}: expected once, found twice; name one otherwise")
            trained, of_late, files[name] = _plan(**{"profile": profile, **common, **own})
            late.extend(of_late)
            yield trained
            del own, trained  # and the patches, before the next are made

    run_cell_sets(networks(), workers=default_workers(profile) if workers is None else workers)
    run_cell_sets(late)
    return {name: read_predictions(paths) for name, paths in files.items()}


class _Plan(NamedTuple):
    """What a call of `train_cells` computes: networks, then late fusion where it is asked for."""

    trained: tuple[CellSet, Compute]
    late: list[tuple[CellSet, Compute]]
    files: list[Path]


def _plan(
    patch_set: PatchSet,
    folds: pd.DataFrame,
    models: Sequence[str],
    profile: Profile,
    dataset: str,
    size_px: int,
    folder: Path,
    seed: int,
    only_folds: Sequence[int] | None = None,
    keep_weights: bool = True,
) -> _Plan:
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

    def singles(cell: Cell) -> list[Path]:
        own = [Cell(dataset, size_px, name, cell.fold, seed) for name in channels]
        return [single.path(folder) for single in own]

    inputs = training_inputs(profile, channels, patch_set.data_hash, folds)
    networks = CellSet(
        cells(trained),
        folder,
        inputs,
        beside=lambda cell: (cell.weights_path(folder),) if keep_weights else (),
        device=keras_device,
    )
    late = CellSet(
        cells(["late"]),
        folder,
        inputs=lambda cell: {**inputs, "singles": singles_hash(singles(cell))},
    )
    return _Plan(
        (
            networks,
            lambda cell: _train(cell, patch_set, folds, profile, folder if keep_weights else None),
        ),
        [(late, lambda cell: _combine(singles(cell), channels))] if "late" in models else [],
        [cell.path(folder) for cell in cells(models)],
    )


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
        "code": code_version(*NETWORK_CODE, "predictions", "sweep"),
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

    def trainings() -> Iterator[tuple[int, dict[str, Any]]]:
        for size, patch_set in patch_sets:
            yield size, {"patch_set": patch_set, "size_px": size}
            del patch_set  # before the next is cut

    of_sizes = train_all(trainings(), folds=folds, **options)
    return pd.concat(of_sizes.values(), ignore_index=True)


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
    labels = patch_set.class_numbers
    parts = fold_parts(folds, patch_set.table["group"], cell.fold)
    own_seed = network_seed(cell.seed, cell.fold)
    model, build = training.compiled_model(
        strategy, channels, len(classes), profile.encoder, profile.training
    )
    training.reset_model(model, build, own_seed)
    probabilities, history = training.train_fold(
        model,
        patches,
        labels,
        parts,
        settings=profile.training,
        seed=own_seed,
        validated=bool((folds["part"] == "validation").any()),
    )
    if folder is not None:
        with atomic_path(cell.weights_path(folder)) as temporary:
            model.save_weights(temporary)
    rows = np.flatnonzero(parts != "train")
    frame = prediction_frame(patch_set.table, rows, parts, classes, probabilities)
    frame.attrs = {
        "network_seed": own_seed,
        "device_name": device_name(),
        "history": history.to_dict("records"),
    }
    return frame


def _combine(paths: Sequence[Path], channels: Sequence[str]) -> pd.DataFrame:
    """Late fusion of one fold from the files of its single-channel classifiers."""
    from organelle_fusion.late_fusion import combine, fit_late_weights

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
