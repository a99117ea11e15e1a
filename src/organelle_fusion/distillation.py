"""Distillation: a small network taught by a large one, each in the fold of the other.

Hinton, Vinyals and Dean 2015 (arXiv:1503.02531): beside the labels, the student is given the
probabilities of the teacher, softened by a temperature, which say more of a patch than its class.
The teacher of a fold has learnt from the training part of that fold only, and what it says of any
other part is not shown to the student.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import softmax

from organelle_fusion.computing import run_cells
from organelle_fusion.config import EncoderSettings, Profile, StudentSettings, TrainingSettings
from organelle_fusion.devices import backend_name, keras_device
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, checked_weights, prediction_frame, read_predictions
from organelle_fusion.provenance import atomic_path, code_version, file_hash, hash_of
from organelle_fusion.sweep import NETWORK_CODE, default_workers, network_seed

if TYPE_CHECKING:
    import keras

STRATEGY = "early"
"""What the student is: one encoder of all channels, so that nothing is paid for each organelle."""

MODEL = "student"
"""Name of the taught student in files and predictions."""


def student_profile(profile: Profile) -> Profile:
    """Give the profile with the encoder and the head of the student, as `sweep.train_cells` takes.

    The student is compact and starts at random, whatever the encoder of the profile.
    """
    own = profile.beyond.student
    encoder = {"kind": "compact", "filters": own.filters, "stem_stride": 2, "weights": None}
    head = {"dense_units": own.dense_units}
    return profile.model_copy(
        update={
            "encoder": profile.encoder.model_copy(update=encoder),
            "training": profile.training.model_copy(update=head),
        }
    )


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature, float32 (N, K): softmax of the logits divided by it.

    They follow from those at temperature 1, as p^(1/T) with a sum of 1 (Hinton et al. 2015, eq 1).
    """
    # Far below what float32 tells from 0 beside 1; zero itself has no logarithm.
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    return softmax(logs, axis=1).astype(np.float32)


def distillation_loss(
    settings: StudentSettings,
) -> Callable[["keras.KerasTensor", "keras.KerasTensor"], "keras.KerasTensor"]:
    """Loss of the student: cross-entropy with the labels and with the softened teacher.

    Parameters
    ----------
    settings
        Temperature T, and the weight w of the teacher.

    Returns
    -------
    callable
        (targets (N, 1 + K), logits (N, K)) → loss (N,). Targets hold the number of the class and
        the teacher's probabilities at T. The loss is (1 − w) · cross-entropy of the labels
        + w · T² · cross-entropy of the teacher with the student at T. The square keeps the size of
        the second part's gradients whatever T is (Hinton et al. 2015, section 2).
    """
    from keras import losses, ops

    def loss(targets, logits):
        classes = ops.cast(targets[:, 0], "int32")
        hard = losses.sparse_categorical_crossentropy(classes, logits, from_logits=True)
        student = ops.log_softmax(logits / settings.temperature, axis=-1)
        soft = -ops.sum(targets[:, 1:] * student, axis=-1)
        weight = settings.teacher_weight
        return (1 - weight) * hard + weight * settings.temperature**2 * soft

    return loss


def distill_cells(
    patch_set: PatchSet,
    folds: pd.DataFrame,
    *,
    teachers: Mapping[int, Cell],
    profile: Profile,
    dataset: str,
    folder: Path,
    seed: int,
    workers: int | None = None,
) -> pd.DataFrame:
    """Train and predict a student on every fold, as far as that is not stored.

    Initial values and order of the patches are those of the same student trained on labels alone
    by `sweep.train_cells` with `student_profile` and the same seed.

    Parameters
    ----------
    patch_set, folds, dataset, folder, seed, workers
        As in `sweep.train_cells`.
    teachers
        Fold → cell of intermediate fusion, trained by `sweep.train_cells` with this profile on the
        same patches and folds; its weights lie in `folder`.
    profile
        Encoder and training settings of the teacher; its ``beyond.student`` is the student.

    Returns
    -------
    DataFrame
        Predictions of the model `MODEL`, see `predictions.read_predictions`. The weights lie beside
        the files.

    Raises
    ------
    SweepError
        A teacher's weights are not there, or a training failed.
    FoldError
        The folds leak, or do not fit the patches.
    """
    check_no_leakage(folds, patch_set.table)
    classes, channels = patch_set.classes, patch_set.channels
    labels = patch_set.class_numbers
    own, student = student_profile(profile), profile.beyond.student
    weights = {fold: checked_weights(cell, folder) for fold, cell in teachers.items()}

    def compute(cell: Cell) -> pd.DataFrame:
        from organelle_fusion import training

        parts = fold_parts(folds, patch_set.table["group"], cell.fold)
        own_seed = network_seed(cell.seed, cell.fold)
        teacher, _ = training.compiled_model(
            "intermediate", channels, len(classes), profile.encoder, profile.training
        )
        teacher.load_weights(weights[cell.fold])
        # Stopping looks at the labels of the validation part, so that its targets can stay 0; its
        # loss is then that of the labels alone.
        shown = parts == "train"
        targets = np.zeros((len(labels), 1 + len(classes)), np.float32)
        targets[:, 0] = labels
        targets[shown, 1:] = soften(
            training.predict_proba(teacher, patch_set.patches, np.flatnonzero(shown)),
            student.temperature,
        )
        network, build = _compiled_student(
            channels, len(classes), own.encoder, own.training.of_any_length(), student
        )
        training.reset_model(network, build, own_seed)
        history = training.fit_model(
            network,
            patch_set.patches,
            labels,
            parts,
            settings=own.training,
            seed=own_seed,
            targets=targets,
        )
        with atomic_path(cell.weights_path(folder)) as temporary:
            network.save_weights(temporary)
        rows = np.flatnonzero(parts != "train")
        probabilities = training.predict_proba(network, patch_set.patches, rows)
        frame = prediction_frame(patch_set.table, rows, parts, classes, probabilities)
        epochs = training.epochs_of(history).to_dict("records")
        frame.attrs = {"network_seed": own_seed, "history": epochs}
        return frame

    inputs = {
        "settings": hash_of([own.encoder, own.training, profile.encoder, student, channels]),
        "data": patch_set.data_hash,
        "folds": hash_of(folds),
        "code": code_version(*NETWORK_CODE, "distillation", "predictions", "sweep"),
        "backend": backend_name(),
    }
    size_px = next(iter(teachers.values())).size_px
    paths = run_cells(
        [Cell(dataset, size_px, MODEL, fold, seed) for fold in teachers],
        compute,
        folder,
        inputs=lambda cell: {
            **inputs,
            "teacher": file_hash(teachers[cell.fold].weights_path(folder)),
        },
        beside=lambda cell: (cell.weights_path(folder),),
        device=keras_device,
        # Each process holds a teacher too, which may be large.
        workers=default_workers(profile) if workers is None else workers,
    )
    return read_predictions(paths)


@lru_cache(maxsize=2)
def _compiled_student(
    channels: tuple[str, ...],
    n_classes: int,
    encoder: EncoderSettings,
    training: TrainingSettings,
    student: StudentSettings,
) -> tuple["keras.Model", Callable[[], "keras.Model"]]:
    """The compiled student, and the function that builds it anew; see `training.compiled_model`."""
    import keras

    from organelle_fusion.models import build_model
    from organelle_fusion.training import compile_model

    def build() -> "keras.Model":
        return build_model(
            STRATEGY, channels=channels, n_classes=n_classes, encoder=encoder, training=training
        )

    def accuracy(targets, logits):
        return keras.metrics.sparse_categorical_accuracy(targets[:, 0], logits)

    network = compile_model(
        build(),
        training,
        loss=distillation_loss(student),
        metric=keras.metrics.MeanMetricWrapper(accuracy, name="accuracy"),
    )
    return network, build
