"""Settings of a training found by search: Hyperband over those that the paper says it tuned.

Hyperband (Li et al. 2018, JMLR 18:185) draws settings at random and stops bad ones early. Each of
its brackets trains many trials for a few epochs and lets the best go on for a multiple of them, and
so forth; the next bracket starts with fewer trials and more epochs. The search is Keras-Tuner's,
the networks and their training are ours.
"""

import contextlib
import gc
import io
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd

from organelle_fusion.config import (
    EncoderSettings,
    Profile,
    TrainingSettings,
    TuningSettings,
    UserError,
)
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.models import Strategy, build_model
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.provenance import code_version, file_hash, hash_of, note_file
from organelle_fusion.sweep import backend_name, network_seed, run_cells
from organelle_fusion.training import (
    compile_model,
    compiled_model,
    device,
    fit_model,
    reset_model,
    train_fold,
)
from organelle_fusion.trials import (
    COLUMNS,
    OBJECTIVE,
    SEARCHED,
    candidate_settings,
    read_trials,
    with_values,
)

__all__ = [
    "SEARCHED",
    "TuningError",
    "candidate_settings",
    "read_trials",
    "train_chosen",
    "tune",
    "tune_folds",
]

# Modules that a trained network depends on.
_CODE = ("augmentation", "encoders", "models", "training")


# Fatal, since Keras-Tuner notes any other error of a trial and goes on with the next one.
class TuningError(UserError, keras_tuner.errors.FatalError):
    """A search that failed; the message is one line."""


class _Networks(keras_tuner.HyperModel):
    """The networks among which Hyperband chooses: one architecture, the settings of a trial."""

    def __init__(
        self,
        strategy: Strategy,
        channels: tuple[str, ...],
        n_classes: int,
        encoder: EncoderSettings,
        training: TrainingSettings,
        settings: TuningSettings,
    ) -> None:
        super().__init__()
        self._architecture = (strategy, channels, n_classes, encoder)
        self._training = training
        self._settings = settings

    def _of_trial(self, hp: keras_tuner.HyperParameters) -> TrainingSettings:
        own = self._settings
        values = {
            "learning_rate": hp.Float("learning_rate", *own.learning_rate, sampling="log"),
            "dropout": hp.Float("dropout", *own.dropout),
            "dense_units": hp.Choice("dense_units", list(own.dense_units)),
            "l2": hp.Float("l2", *own.l2, sampling="log"),
            "batch_size": hp.Choice("batch_size", list(own.batch_size)),
        }
        return with_values(self._training, values)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        strategy, channels, n_classes, encoder = self._architecture
        training = self._of_trial(hp)
        # One seed for all trials, so that they differ by their settings alone.
        keras.utils.set_random_seed(self._settings.seed)
        model = build_model(
            strategy, channels=channels, n_classes=n_classes, encoder=encoder, training=training
        )
        return compile_model(model, training)

    def fit(
        self, hp, model, patches, labels, parts, *, epochs: int, initial_epoch: int, callbacks
    ) -> keras.callbacks.History:
        return fit_model(
            model,
            patches,
            labels,
            parts,
            settings=self._of_trial(hp).model_copy(update={"epochs": epochs}),
            # A trial that goes on does not see the same order and augmentation once more.
            seed=self._settings.seed + initial_epoch,
            initial_epoch=initial_epoch,
            callbacks=callbacks,
        )


class _Hyperband(keras_tuner.Hyperband):
    """Hyperband that ends at the first error and says little."""

    def run_trial(self, trial, *arguments, **options):
        try:
            return super().run_trial(trial, *arguments, **options)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise TuningError(
                f"{self.project_dir}: trial {_number(trial)}: {type(error).__name__}: {reason}; "
                "the trials finished before are kept, run again to go on"
            ) from error

    def on_trial_end(self, trial) -> None:
        super().on_trial_end(trial)
        epochs, score = trial.hyperparameters.get("tuner/epochs"), f"{trial.score:.2f}"
        print(f"trial {_number(trial)}: {epochs} epochs, validation accuracy {score}", flush=True)


def tune(
    patches: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    strategy: Strategy,
    channels: tuple[str, ...],
    n_classes: int,
    encoder: EncoderSettings,
    training: TrainingSettings,
    settings: TuningSettings,
    folder: Path,
) -> pd.DataFrame:
    """Search learning rate, dropout, dense units, L2 and batch size by Hyperband.

    Every trial trains as `training.train_fold` does, on the training part, and is judged by the
    accuracy on the validation part. Rows of the test part are dropped before anything else. A
    trial that Hyperband lets go on starts from the best weights of its first stretch, with a fresh
    optimiser: so does Keras-Tuner.

    The search is kept in a folder named for a hash of all inputs. An interrupted one goes on after
    the last finished trial; other inputs start anew, and what was kept of the earlier ones is
    removed. Weights are kept until the search is done.

    Parameters
    ----------
    patches
        uint8 (N, H, W, C).
    labels
        Class numbers, int (N,).
    parts
        ``train``, ``validation`` or ``test``, (N,).
    strategy, channels, n_classes, encoder
        As in `models.build_model`.
    training
        Settings that are not searched, such as the decay of the learning rate. Its epochs do not
        count; those of `settings` do.
    settings
        Values to search between, length of the search, and seed.
    folder
        Where the search is kept.

    Returns
    -------
    pandas.DataFrame
        One row per trial, in the order in which they ran: trial (from 1), bracket (that of most
        trials has the highest number, the last is 0), epochs (at most; those before the trial went
        on included), learning_rate, dropout, dense_units, l2, batch_size, val_accuracy (of the best
        epoch since the trial began or went on).

    Raises
    ------
    TuningError
        A trial failed; the message names it, and the cause is attached.
    """
    parts = np.asarray(parts)
    used = parts != "test"
    patches, labels, parts = patches[used], labels[used], parts[used]
    inputs = hash_of(
        {
            "patches": patches,
            "labels": labels.tolist(),
            "parts": parts.tolist(),
            "settings": [strategy, channels, n_classes, encoder, training, settings],
            "weights": _weights_hash(encoder),
            "code": code_version(*_CODE, "tuning"),
            "backend": backend_name(),
        }
    )
    name = f"search-{inputs[:16]}"
    for earlier in folder.glob("search-*"):
        if earlier.name != name:
            shutil.rmtree(earlier)
    networks = _Networks(strategy, channels, n_classes, encoder, training, settings)
    search = _open_search(networks, settings, folder, name)
    gc.freeze()  # Keras-Tuner collects garbage twice a trial; all modules would take half a second
    try:
        search.search(patches, labels, parts)
    finally:
        gc.unfreeze()
    for weights in (folder / name).glob("trial_*/*.weights.h5"):
        weights.unlink()
    rows = []
    for trial in search.oracle.trials.values():
        value_of = trial.hyperparameters.get
        rows.append(
            {
                "trial": _number(trial),
                "bracket": value_of("tuner/bracket"),
                "epochs": value_of("tuner/epochs"),
                **{name: value_of(name) for name in SEARCHED},
                OBJECTIVE: float(trial.score),
            }
        )
    return pd.DataFrame(rows).sort_values("trial", ignore_index=True)


def tune_folds(
    patch_set: PatchSet,
    folds: pd.DataFrame,
    numbers: Iterable[int],
    *,
    profile: Profile,
    folder: Path,
) -> pd.DataFrame:
    """Search for intermediate fusion inside the training side of some folds, in each anew.

    Parameters
    ----------
    patch_set
        Patches, with a row of its table for each.
    folds
        Frame of `folds.make_folds`; checked for leakage first.
    numbers
        Folds to search in.
    profile
        Its encoder, training and tuning settings count.
    folder
        Where the searches are kept, one folder for each fold.

    Returns
    -------
    pandas.DataFrame
        fold, and the columns of `tune`.
    """
    check_no_leakage(folds, patch_set.table)
    frames = [
        tune(
            patch_set.patches,
            _class_numbers(patch_set),
            fold_parts(folds, patch_set.table["group"], number),
            strategy="intermediate",
            channels=patch_set.channels,
            n_classes=len(patch_set.classes),
            encoder=profile.encoder,
            training=profile.training,
            settings=profile.tuning,
            folder=folder / f"fold-{number:02d}",
        ).assign(fold=number)
        for number in numbers
    ]
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def train_chosen(
    patch_set: PatchSet,
    folds: pd.DataFrame,
    chosen: Mapping[int, TrainingSettings],
    *,
    encoder: EncoderSettings,
    dataset: str,
    size_px: int,
    folder: Path,
    seed: int,
) -> pd.DataFrame:
    """Train intermediate fusion with settings of each fold's own, as far as that is not stored.

    A network starts from the seed that `sweep.train_cells` gives the network of its fold, so that
    the two differ by their settings alone.

    Parameters
    ----------
    patch_set, folds, size_px, folder, seed
        As in `sweep.train_cells`; the folds are checked for leakage first.
    chosen
        Fold → settings of the training.
    encoder
        Kind and input size of the encoder.
    dataset
        Name that the files are sorted under; of its own, since the settings are others.

    Returns
    -------
    pandas.DataFrame
        Predictions of the folds in `chosen`, see `predictions.read_predictions`.
    """
    check_no_leakage(folds, patch_set.table)
    classes, channels = patch_set.classes, patch_set.channels
    labels = _class_numbers(patch_set)

    def compute(cell: Cell) -> pd.DataFrame:
        training, own_seed = chosen[cell.fold], network_seed(cell.seed, cell.fold)
        model, build = compiled_model("intermediate", channels, len(classes), encoder, training)
        reset_model(model, build, own_seed)
        parts = fold_parts(folds, patch_set.table["group"], cell.fold)
        probabilities, history = train_fold(
            model, patch_set.patches, labels, parts, settings=training, seed=own_seed
        )
        rows = np.flatnonzero(parts != "train")
        frame = patch_set.table[["image", "group", "label"]].iloc[rows].reset_index(drop=True)
        frame.insert(0, "patch", rows)
        frame["part"] = parts[rows]
        frame[[f"p:{name}" for name in classes]] = probabilities
        frame.attrs = {"history": history.to_dict("records")}
        return frame

    inputs = {  # as those of `sweep.train_cells`
        "data": patch_set.data_hash,
        "folds": hash_of(folds),
        "weights": _weights_hash(encoder),
        "code": code_version(*_CODE, "predictions", "sweep", "tuning"),
        "backend": backend_name(),
    }
    paths = run_cells(
        [Cell(dataset, size_px, "intermediate", number, seed) for number in chosen],
        compute,
        folder,
        inputs=lambda cell: inputs | {"settings": hash_of([encoder, chosen[cell.fold], channels])},
        device=device,
    )
    return read_predictions(paths)


def _open_search(
    networks: _Networks, settings: TuningSettings, folder: Path, name: str
) -> _Hyperband:
    """Begin a search, or take up what is kept of it."""

    def opened(*, overwrite: bool) -> _Hyperband:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras-Tuner names the file it reads
            search = _Hyperband(
                networks,
                objective=keras_tuner.Objective(OBJECTIVE, "max"),
                max_epochs=settings.max_epochs,
                factor=settings.factor,
                hyperband_iterations=1,
                seed=settings.seed,
                directory=folder,
                project_name=name,
                overwrite=overwrite,
            )
        search.oracle.verbose = 0
        return search

    try:
        return opened(overwrite=False)
    except json.JSONDecodeError as error:  # stopped while Keras-Tuner wrote it
        print(f"{folder / name}: searched anew, since what was kept is not whole ({error})")
        return opened(overwrite=True)


def _class_numbers(patch_set: PatchSet) -> np.ndarray:
    return np.searchsorted(patch_set.classes, patch_set.table["label"].to_numpy(dtype=str))


def _weights_hash(encoder: EncoderSettings) -> str:
    """Hash of a file of weights, of which the settings hold the path; `encoders` misses it."""
    path = Path(encoder.weights or "")
    return file_hash(note_file(path)) if path.is_file() else ""


def _number(trial) -> int:
    """Number of a trial from 1; Keras-Tuner counts from 0."""
    return int(trial.trial_id) + 1
