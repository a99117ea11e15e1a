"""Hyperband over the settings of a training, whatever the network.

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pandas as pd

from organelle_fusion.config import TrainingSettings, TuningSettings, UserError
from organelle_fusion.devices import backend_name, keras_device
from organelle_fusion.locks import run_lock
from organelle_fusion.models import set_seed
from organelle_fusion.patchset import take_rows
from organelle_fusion.provenance import code_version, hash_of, is_current, record_files
from organelle_fusion.training import compile_model, fit_model
from organelle_fusion.trials import OBJECTIVE, SEARCHED, with_values

_RECORD = "done.json"


# Fatal, since Keras-Tuner notes any other error of a trial and goes on with the next one.
class TuningError(UserError, keras_tuner.errors.FatalError):
    """A search that failed; the message is one line."""


def search_settings(
    build: Callable[[TrainingSettings], keras.Model],
    data: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    training: TrainingSettings,
    settings: TuningSettings,
    inputs: Mapping[str, Any],
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
    build
        Settings of a trial → network, not compiled.
    data
        What the network takes, (N, ...): patches or features.
    labels
        Class numbers, int (N,).
    parts
        ``train``, ``validation`` or ``test``, (N,).
    training
        Settings that are not searched, such as the decay of the learning rate. Its epochs do not
        count; those of `settings` do.
    settings
        Values to search between, length of the search, and seed.
    inputs
        What else the trials depend on: all that `build` uses, and the version of its code.
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
    LockError
        Another run searches in `folder`.
    """
    parts = np.asarray(parts)
    used = np.flatnonzero(parts != "test")
    data, labels, parts = take_rows(data, used), labels[used], parts[used]
    whole = hash_of(
        {
            "data": data,
            "labels": labels.tolist(),
            "parts": parts.tolist(),
            "settings": [training, settings],
            "search": code_version("batches", "hyperband", "training", "trials"),
            "backend": backend_name(),
            "device": keras_device(),
            **inputs,
        }
    )
    name = f"search-{whole[:16]}"
    with run_lock(folder):
        for earlier in folder.glob("search-*"):
            if earlier.name != name:
                shutil.rmtree(earlier)
        search = _open_search(_Networks(build, training, settings), settings, folder, name)
        gc.freeze()  # Keras-Tuner collects garbage twice a trial; all modules take half a second
        try:
            search.search(data, labels, parts)
        finally:
            gc.unfreeze()
        for weights in (folder / name).glob("trial_*/*.weights.h5"):
            weights.unlink()
        record_files(folder / name / _RECORD, name, _trial_files(folder / name))
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


class _Networks(keras_tuner.HyperModel):
    """The networks among which Hyperband chooses: one architecture, the settings of a trial."""

    def __init__(
        self,
        build: Callable[[TrainingSettings], keras.Model],
        training: TrainingSettings,
        settings: TuningSettings,
    ) -> None:
        super().__init__()
        self._network = build
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
        training = self._of_trial(hp)
        # One seed for all trials, so that they differ by their settings alone; but one that goes on
        # does not see the same augmentation and dropout once more, which are seeded here.
        set_seed(self._settings.seed + hp.values.get("tuner/initial_epoch", 0))  # noqa: PD011
        return compile_model(self._network(training), training)

    def fit(
        self, hp, model, data, labels, parts, *, epochs: int, initial_epoch: int, callbacks
    ) -> keras.callbacks.History:
        return fit_model(
            model,
            data,
            labels,
            parts,
            settings=self._of_trial(hp).model_copy(update={"epochs": epochs}),
            # Nor the same order.
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

    record, files = folder / name / _RECORD, _trial_files(folder / name)
    _, damage = is_current(record, name, files)
    if damage:
        print(f"searched anew, {damage}")
        return opened(overwrite=True)
    try:
        return opened(overwrite=False)
    except json.JSONDecodeError as error:  # stopped while Keras-Tuner wrote it
        print(f"{folder / name}: searched anew, since what was kept is not whole ({error})")
        return opened(overwrite=True)


def _trial_files(place: Path) -> list[Path]:
    """Files from which Keras-Tuner takes the trials that are done, in the order of their names."""
    return sorted(place.glob("trial_*/trial.json"))


def _number(trial) -> int:
    """Number of a trial from 1; Keras-Tuner counts from 0."""
    return int(trial.trial_id) + 1
