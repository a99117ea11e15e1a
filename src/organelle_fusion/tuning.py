"""Settings of the networks found by search: Hyperband over those that the paper says it tuned.

The search itself is in `hyperband`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from organelle_fusion.computing import run_cells
from organelle_fusion.config import EncoderSettings, Profile, TrainingSettings, TuningSettings
from organelle_fusion.devices import backend_name, keras_device
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.hyperband import search_settings
from organelle_fusion.models import Strategy, build_model
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, prediction_frame, read_predictions
from organelle_fusion.provenance import code_version, hash_of
from organelle_fusion.sweep import NETWORK_CODE, network_seed, weights_inputs
from organelle_fusion.training import compiled_model, reset_model, train_fold
from organelle_fusion.trials import COLUMNS


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
    """Search learning rate, dropout, dense units, L2 and batch size of a network by Hyperband.

    Parameters
    ----------
    patches
        uint8 (N, H, W, C).
    labels, parts, training, settings, folder
        As in `hyperband.search_settings`, which says how trials are judged and what is kept.
    strategy, channels, n_classes, encoder
        As in `models.build_model`.

    Returns
    -------
    pandas.DataFrame
        One row per trial, see `hyperband.search_settings`.

    Raises
    ------
    TuningError
        A trial failed; the message names it, and the cause is attached.
    SweepError
        There is no file of weights where the encoder names one.
    """

    def build(own: TrainingSettings) -> keras.Model:
        return build_model(
            strategy, channels=channels, n_classes=n_classes, encoder=encoder, training=own
        )

    return search_settings(
        build,
        patches,
        labels,
        parts,
        training=training,
        settings=settings,
        inputs={
            "network": [strategy, channels, n_classes, encoder],
            "code": code_version(*NETWORK_CODE),
            **weights_inputs(encoder),
        },
        folder=folder,
    )


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
            patch_set.class_numbers,
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
    labels = patch_set.class_numbers

    def compute(cell: Cell) -> pd.DataFrame:
        training, own_seed = chosen[cell.fold], network_seed(cell.seed, cell.fold)
        model, build = compiled_model("intermediate", channels, len(classes), encoder, training)
        reset_model(model, build, own_seed)
        parts = fold_parts(folds, patch_set.table["group"], cell.fold)
        probabilities, history = train_fold(
            model, patch_set.patches, labels, parts, settings=training, seed=own_seed
        )
        rows = np.flatnonzero(parts != "train")
        frame = prediction_frame(patch_set.table, rows, parts, classes, probabilities)
        frame.attrs = {"history": history.to_dict("records")}
        return frame

    inputs = {  # as those of `sweep.train_cells`
        "data": patch_set.data_hash,
        "folds": hash_of(folds),
        "code": code_version(*NETWORK_CODE, "predictions", "sweep", "tuning"),
        "backend": backend_name(),
        **weights_inputs(encoder),
    }
    paths = run_cells(
        [Cell(dataset, size_px, "intermediate", number, seed) for number in chosen],
        compute,
        folder,
        inputs=lambda cell: inputs | {"settings": hash_of([encoder, chosen[cell.fold], channels])},
        device=keras_device,
    )
    return read_predictions(paths)
