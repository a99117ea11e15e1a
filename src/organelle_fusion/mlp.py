"""The other classifier of measured features: a small network, one for each fold.

The paper trains a DNN on the features of the OTCCP and gives neither its layers nor its training;
ours is `models.build_mlp`. Features differ in unit and in size by powers of ten, so each is given
to the network by its rank among the training rows, as the normal deviate of that rank. Many values
equal to the smallest or the largest get the deviate of the end, and so does a constant.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.preprocessing import QuantileTransformer

from organelle_fusion.computing import run_cells
from organelle_fusion.config import TrainingSettings, TuningSettings, UserError
from organelle_fusion.devices import backend_name, keras_device
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.predictions import Cell, prediction_frame, read_predictions
from organelle_fusion.provenance import code_version, hash_of
from organelle_fusion.sweep import network_seed
from organelle_fusion.trials import candidate_settings

if TYPE_CHECKING:
    import keras

QUANTILES = 1000
"""Most quantiles that a feature is described by."""

LIMIT = 3.0
"""Largest deviate, beyond which lies one training row in 370. The transform gives ±5.2 to all that
lies outside them, and there the network would have seen next to nothing."""

# Modules that a trained MLP depends on.
_CODE = ("batches", "encoders", "initial", "mlp", "models", "training")


class MlpError(UserError):
    """Features that no MLP can be trained on; the message is one line."""


def standardise(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Normal deviates of the ranks that features have among the training rows.

    scikit-learn's ``QuantileTransformer``, fitted on the training rows alone. Values tied at either
    end, and those of a constant feature, get the limit there and not the middle of their ranks.

    Parameters
    ----------
    values
        float (N, F), finite.
    train
        bool (N,), at least one of them true.

    Returns
    -------
    numpy.ndarray
        float32 (N, F), between -`LIMIT` and `LIMIT`.

    Raises
    ------
    MlpError
        There are no training rows.
    """
    if not train.any():
        raise MlpError("parts: expected training rows, found none; use fewer folds")
    transform = QuantileTransformer(
        n_quantiles=min(QUANTILES, int(train.sum())), output_distribution="normal", subsample=None
    )
    deviates = transform.fit(values[train]).transform(values)
    return np.clip(deviates, -LIMIT, LIMIT).astype(np.float32)


def train_mlps(
    features: pd.DataFrame,
    table: pd.DataFrame,
    folds: pd.DataFrame,
    *,
    training: TrainingSettings | Mapping[int, TrainingSettings],
    dataset: str,
    folder: Path,
    seed: int,
    model: str = "mlp",
) -> pd.DataFrame:
    """Train and predict an MLP on every fold, as far as that is not stored.

    Classes are weighted inversely to their frequency. Where a fold has a validation part, that says
    when to stop and which weights to keep; where it has none, all epochs are run.

    Parameters
    ----------
    features
        float, one row per object and a column per feature.
    table
        ``image``, ``label`` and ``group`` of each object, and ``cell`` if there is such a column.
    folds
        Of `folds.make_folds` or `folds.leave_one_group_out`; checked for leakage first.
    training
        Settings of all folds, or those of each: fold → settings.
    dataset
        Name that the files are sorted under.
    folder
        Root of the files, see `predictions.Cell`; the patch size there is 0.
    seed
        Together with the number of the fold it seeds the network, as in `sweep.train_cells`.
    model
        Name of the model in files and predictions.

    Returns
    -------
    DataFrame
        Predictions, see `predictions.read_predictions`; ``patch`` is the row in `features`. The
        cell of an object is in ``cell``.

    Raises
    ------
    MlpError
        The features are not finite or do not fit the table, or a fold has no settings.
    SweepError
        A training failed.
    FoldError
        The folds leak, or do not fit the table.
    """
    values = _checked(features, len(table))
    check_no_leakage(folds, table)
    labels = table["label"].to_numpy(dtype=str)
    classes = np.unique(labels)
    if len(classes) < 2:
        raise MlpError(
            f"labels: expected two classes or more, found {', '.join(classes) or 'none'}; there is "
            "nothing to tell apart"
        )
    numbers = sorted(int(fold) for fold in folds["fold"].unique())
    given = training if isinstance(training, Mapping) else dict.fromkeys(numbers, training)
    if not given.keys() >= set(numbers):
        raise MlpError(
            f"training: expected settings for the folds {numbers}, found those of {sorted(given)}; "
            "choose some for each"
        )
    kept = ["image", *(["cell"] if "cell" in table.columns else []), "group", "label"]

    def compute(cell: Cell) -> pd.DataFrame:
        from organelle_fusion.training import reset_model, train_fold

        parts = fold_parts(folds, table["group"], cell.fold)
        own, own_seed = given[cell.fold], network_seed(cell.seed, cell.fold)
        network, build = compiled_mlp(values.shape[1], len(classes), own)
        reset_model(network, build, own_seed)
        probabilities, history = train_fold(
            network,
            standardise(values, parts == "train"),
            np.searchsorted(classes, labels),
            parts,
            settings=own,
            seed=own_seed,
            validated=bool((parts == "validation").any()),
        )
        rows = np.flatnonzero(parts != "train")
        frame = prediction_frame(table, rows, parts, classes, probabilities, kept)
        frame.attrs = {"network_seed": own_seed, "history": history.to_dict("records")}
        return frame

    inputs = {
        "data": hash_of([features.columns.tolist(), values, table[kept]]),
        "folds": hash_of(folds),
        "code": code_version(*_CODE, "predictions", "sweep"),
        "backend": backend_name(),
    }
    paths = run_cells(
        [Cell(dataset, 0, model, fold, seed) for fold in numbers],
        compute,
        folder,
        inputs=lambda cell: inputs | {"settings": hash_of(given[cell.fold])},
        device=keras_device,
    )
    return read_predictions(paths)


def tune_mlp(
    features: pd.DataFrame,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    training: TrainingSettings,
    settings: TuningSettings,
    folder: Path,
) -> pd.DataFrame:
    """Search the settings of an MLP by Hyperband, on training and validation rows.

    Parameters
    ----------
    features
        float, one row per object and a column per feature. Those of the test part are not used.
    labels
        Classes, str (N,).
    parts
        ``train``, ``validation`` or ``test``, (N,).
    training, settings, folder
        As in `hyperband.search_settings`.

    Returns
    -------
    DataFrame
        One row per trial, see `hyperband.search_settings`; `trials.candidate_settings` ranks them.

    Raises
    ------
    MlpError
        The features are not finite or do not fit the labels.
    TuningError
        A trial failed.
    """
    from organelle_fusion.hyperband import search_settings
    from organelle_fusion.models import build_mlp

    values = _checked(features, len(labels))
    parts, labels = np.asarray(parts), np.asarray(labels, dtype=str)
    used = parts != "test"
    values, labels, parts = values[used], labels[used], parts[used]
    classes, codes = np.unique(labels, return_inverse=True)
    return search_settings(
        lambda own: build_mlp(values.shape[1], len(classes), own),
        standardise(values, parts == "train"),
        codes,
        parts,
        training=training,
        settings=settings,
        inputs={"network": "mlp", "code": code_version(*_CODE)},
        folder=folder,
    )


def tune_folds(
    features: pd.DataFrame,
    table: pd.DataFrame,
    folds: pd.DataFrame,
    *,
    training: TrainingSettings,
    settings: TuningSettings,
    folder: Path,
) -> dict[int, TrainingSettings]:
    """Settings for each fold, searched on its own training and validation rows by `tune_mlp`.

    A fold whose validation images have no rows keeps the settings given, and a line says so.

    Parameters
    ----------
    features, table, folds
        As in `train_mlps`.
    training, settings
        As in `tune_mlp`.
    folder
        Where the searches are kept, one folder for each fold.

    Returns
    -------
    dict
        Fold → settings of its best trial.
    """
    check_no_leakage(folds, table)
    found = {}
    for fold in sorted(int(number) for number in folds["fold"].unique()):
        parts = fold_parts(folds, table["group"], fold)
        if not (parts == "validation").any():
            print(f"fold {fold}: nothing measured to judge settings by; those given are taken")
            found[fold] = training
            continue
        trials = tune_mlp(
            features,
            table["label"],
            parts,
            training=training,
            settings=settings,
            folder=folder / f"fold-{fold:02d}",
        )
        found[fold] = candidate_settings(trials, training, 1)[0]
    return found


def compiled_mlp(
    n_features: int, n_classes: int, training: TrainingSettings
) -> tuple["keras.Model", Callable[[], "keras.Model"]]:
    """The compiled MLP of some settings, and the function that builds it anew.

    As `training.compiled_model` does for networks of images.
    """
    return _compiled_mlp(n_features, n_classes, training.of_any_length())


@lru_cache(maxsize=16)  # small, and chapter 05 goes to and fro between a dozen
def _compiled_mlp(
    n_features: int, n_classes: int, training: TrainingSettings
) -> tuple["keras.Model", Callable[[], "keras.Model"]]:
    from organelle_fusion.models import build_mlp
    from organelle_fusion.training import compile_model

    def build() -> "keras.Model":
        return build_mlp(n_features, n_classes, training)

    return compile_model(build(), training), build


def _checked(features: pd.DataFrame, n_rows: int) -> np.ndarray:
    """Features as float64 (N, F): one row for each label, and finite."""
    values = features.to_numpy(dtype=np.float64)
    if len(values) != n_rows:
        raise MlpError(
            f"features: expected {n_rows} rows, one for each label, found {len(values)}; "
            "drop the same rows from both"
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise MlpError(
            f"features: row {row}: {features.columns[column]}: expected a finite number, found "
            f"{values[row, column]}; drop such rows first"
        )
    return values
