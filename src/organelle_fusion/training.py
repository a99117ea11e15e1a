"""Training one network on one fold.

A network is compiled once per architecture and reset between folds: tracing costs seconds, and
more than a quick training itself. Batches are always full for the same reason, since a batch of
another size is traced, and on an accelerator compiled, again.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import keras
import numpy as np
import pandas as pd
from scipy.special import softmax

from organelle_fusion.batches import batch_source, filling, full_batches, native
from organelle_fusion.config import EncoderSettings, TrainingSettings, UserError
from organelle_fusion.models import Strategy, build_model, set_seed
from organelle_fusion.settings import SMALL_KINDS

PREDICTION_BATCH = 128

HISTORY = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
"""Columns of `epochs_of`, the last two where there is validation."""


class TrainingError(UserError):
    """A fold that cannot be trained; the message is one line."""


def compile_model(
    model: keras.Model,
    settings: TrainingSettings,
    *,
    loss: Callable | None = None,
    metric: keras.metrics.Metric | None = None,
) -> keras.Model:
    """Compile `model` as the paper trains: Adam, exponential decay, categorical cross-entropy.

    Labels are class numbers, and logits enter the loss, unless another `loss` is given, and a
    `metric` named ``accuracy`` that suits it. Returns the same model.
    """
    # Not staircase: the paper says "0.95 every 175 steps" and no more; Keras' default is smooth.
    schedule = keras.optimizers.schedules.ExponentialDecay(
        settings.learning_rate, decay_steps=settings.decay_steps, decay_rate=settings.decay_rate
    )
    # Keras would number it, so that files of equal weights differed by what was built before.
    optimizer = keras.optimizers.Adam(schedule, name="adam")
    model.compile(
        optimizer,
        loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # Weighted, so that the patches which only fill up the last validation batch do not count.
        weighted_metrics=[metric or keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=settings.steps_per_execution,
        # "auto" is XLA on a GPU and under JAX. Not for TensorFlow on a CPU, where a step of the
        # quick encoder was measured to take as long with it, after seconds more of compiling.
        jit_compile=settings.jit,
    )
    optimizer.build(model.trainable_variables)
    return model


def compiled_model(
    strategy: Strategy,
    channels: tuple[str, ...],
    n_classes: int,
    encoder: EncoderSettings,
    training: TrainingSettings,
) -> tuple[keras.Model, Callable[[], keras.Model]]:
    """The compiled model of an architecture, and the function that builds it anew.

    One process compiles an architecture once, however many folds, patch sizes and data sets it
    is trained on; `reset_model` stands between two trainings. How long a training lasts is no
    matter of the model, so trainings that differ only in that share it.
    """
    kept = _many_compiled if encoder.kind in SMALL_KINDS else _few_compiled
    return kept(strategy, tuple(channels), n_classes, encoder, training.of_any_length())


def _compile(
    strategy: Strategy,
    channels: tuple[str, ...],
    n_classes: int,
    encoder: EncoderSettings,
    training: TrainingSettings,
) -> tuple[keras.Model, Callable[[], keras.Model]]:
    def build() -> keras.Model:
        return build_model(
            strategy, channels=channels, n_classes=n_classes, encoder=encoder, training=training
        )

    return compile_model(build(), training), build


# The chapters come back to the same small networks; large ones would fill the memory.
_many_compiled = lru_cache(maxsize=32)(_compile)
_few_compiled = lru_cache(maxsize=4)(_compile)


def reset_model(model: keras.Model, build: Callable[[], keras.Model], seed: int) -> None:
    """Make a compiled model what a newly built and compiled one with this seed would be.

    All variables are assigned, the states of the random layers among them: these are variables,
    not weights, so ``set_weights`` alone is no reset. The optimiser's variables go back too.

    Parameters
    ----------
    model
        Compiled, of the architecture that `build` builds.
    build
        Builds the same architecture, not compiled.
    seed
        Seed of the fresh initial values.
    """
    set_seed(seed)
    fresh = build()
    for variable, initial in zip(model.variables, fresh.variables, strict=True):
        variable.assign(initial)
    # Adam begins with zeros; its learning rate follows a schedule and so is no variable. Asking a
    # copy of it for them would import TensorFlow on any backend, for seconds.
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))


def class_weights(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Weights inverse to the class frequency, one per class.

    They are scaled so that their mean over the patches is 1: the loss keeps its size, and with
    it the meaning of learning rate and L2. A class without patches gets weight 0.

    Parameters
    ----------
    labels
        Class numbers, int (N,), of the training patches.
    n_classes
        Number of classes K.

    Returns
    -------
    numpy.ndarray
        float32 (K,).

    Raises
    ------
    TrainingError
        A label is none of these classes.
    """
    check_labels(labels, np.arange(len(labels)), n_classes)
    counts = np.bincount(labels, minlength=n_classes)
    present = counts > 0
    weights = np.zeros(n_classes, dtype=np.float32)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights


def check_labels(labels: np.ndarray, rows: np.ndarray, n_classes: int) -> None:
    """Refuse labels of `rows` that are no class numbers; those of others may be unknown."""
    given, found = np.asarray(labels)[rows], None
    if given.dtype.kind not in "iu":
        found = f"{given.dtype}"
    elif (outside := (given < 0) | (given >= n_classes)).any():
        found = f"{given[outside][0]} for patch {rows[outside][0]}"
    if found:
        raise TrainingError(
            f"labels: expected integers from 0 to {n_classes - 1} for {n_classes} classes, found "
            f"{found}; number the classes from 0"
        )


def _check_intensities(patches: np.ndarray, rows: np.ndarray) -> None:
    """Refuse images of 0..1: the network divides by 255, and would see next to nothing."""
    if patches.ndim == 4 and patches.dtype.kind == "f":
        some = patches[rows[:64]]
        if some.max() <= 1:
            raise TrainingError(
                f"patches: expected intensities of 0 to 255, found {some.min():g} to "
                f"{some.max():g}; scale them to that range, as the network divides by 255"
            )


def train_fold(
    model: keras.Model,
    patches: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    settings: TrainingSettings,
    seed: int,
    validated: bool = True,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Train on the training part of a fold, stop by the validation part, predict the rest.

    Parameters
    ----------
    model, patches, labels, parts, settings, seed, validated
        As in `fit_model`.

    Returns
    -------
    probabilities : numpy.ndarray
        Softmax, float32 (rows not in ``train``, K), in the order of the rows.
    history : pandas.DataFrame
        One row per epoch: epoch (from 1), loss, accuracy, and where it is `validated` val_loss and
        val_accuracy. The first two are weighted by class, as the loss that is minimised; the last
        two are plain.

    Raises
    ------
    TrainingError
        A part that is needed is empty, or one of its labels is none of the model's classes.
    """
    parts = np.asarray(parts)
    history = fit_model(
        model, patches, labels, parts, settings=settings, seed=seed, validated=validated
    )
    return predict_proba(model, patches, np.flatnonzero(parts != "train")), epochs_of(history)


def epochs_of(history: keras.callbacks.History) -> pd.DataFrame:
    """The history of `fit_model` as a frame: the second result of `train_fold`."""
    frame = pd.DataFrame(history.history)
    frame.insert(0, "epoch", np.arange(1, len(frame) + 1))
    return frame[[name for name in HISTORY if name in frame]]


def fit_model(
    model: keras.Model,
    patches: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    settings: TrainingSettings,
    seed: int,
    validated: bool = True,
    targets: np.ndarray | None = None,
    initial_epoch: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.callbacks.History:
    """Train on the training part of a fold, and keep the weights of the best validation accuracy.

    Parameters
    ----------
    model
        Compiled and fresh (`compile_model` or `reset_model`).
    patches
        uint8 (N, H, W, C); or whatever the model takes, such as features (N, F). If they exceed
        `patchset.MEMORY_SHARE`, no part of them is copied, and a batch at a time is read.
    labels
        Class numbers, int (N,); those of rows that do not take part may be unknown.
    parts
        ``train``, ``validation`` or ``test``, (N,).
    settings
        Epochs, patience and batch size.
    seed
        Seed of the order of the patches. Augmentation and dropout follow the seed that was set when
        the model was built, or by `reset_model`.
    validated
        Whether the validation part says when to stop and which weights to keep. If not, it has no
        part in the training: all epochs are run, and the last weights stay.
    targets
        What loss and metrics compare the logits with, (N, …), if that is more than the labels.
    initial_epoch
        Epochs that `model` was trained before; they count among those of `settings`.
    callbacks
        Further callbacks of Keras.

    Returns
    -------
    keras.callbacks.History
        loss and accuracy of each epoch, and where it is `validated` val_loss and val_accuracy.

    Raises
    ------
    TrainingError
        The training part is empty, or the validation part where it is needed; a label in these is
        none of the model's classes; the model was trained before, perhaps on what is tested now; or
        images are floats of 0..1.

    Notes
    -----
    Patches that are read a batch at a time come in the same order as others on JAX. On TensorFlow
    that order is another, as if by another seed, and so are the scores.
    """
    parts = np.asarray(parts)
    n_classes = model.output_shape[-1]
    if not initial_epoch and int(model.optimizer.iterations.numpy()):
        raise TrainingError(
            f"model {model.name}: expected a fresh one, found one that was trained before, perhaps "
            "on what is tested now; call reset_model between two trainings"
        )
    for part in ("train", "validation") if validated else ("train",):
        rows = np.flatnonzero(parts == part)
        if len(rows) == 0:
            raise TrainingError(
                f"part {part}: expected at least one patch, found none among {len(parts)}; "
                "use fewer folds or another validation share"
            )
        check_labels(labels, rows, n_classes)
        _check_intensities(patches, rows)
    set_seed(seed)
    targets = native(labels if targets is None else targets)
    train = np.flatnonzero(parts == "train")
    weights = class_weights(labels[train], n_classes)
    # The last batch is filled up with training patches drawn once more: up to one batch of them
    # is seen twice per epoch, and no batch has a size of its own.
    train = np.concatenate([train, filling(train, settings.batch_size, seed)])
    validation_data, stop = None, []
    source = partial(batch_source, patches, batch_size=settings.batch_size)
    if validated:
        validation, counted = full_batches(
            np.flatnonzero(parts == "validation"), settings.batch_size
        )
        validation_data = source(validation, targets[validation], counted, shuffled=False)
        stop = [
            keras.callbacks.EarlyStopping(
                "val_accuracy", patience=settings.patience, mode="max", restore_best_weights=True
            )
        ]
    # Seeded twice: TensorFlow fixes the order of the patches before training begins; on JAX the
    # first `fit` of a model draws one order more, to build its metrics, than later ones do.
    seed_again = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: set_seed(seed))
    data = source(train, targets[train], weights[labels[train]], shuffled=True)
    copied = isinstance(data, tuple)
    x, y, sample_weight = data if copied else (data, None, None)
    return model.fit(
        x,
        y,
        sample_weight=sample_weight,
        validation_data=validation_data,
        shuffle=copied,  # else Keras would shuffle whole batches once more
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        initial_epoch=initial_epoch,
        callbacks=[seed_again, *callbacks, *stop],
        verbose=0,
    )


def predict_proba(
    model: keras.Model, patches: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """Class probabilities, float32 (N, K), of patches (N, H, W, C) or features (N, F).

    Of all, or of `rows` only, in their order; a batch at a time is read.
    """
    rows = np.arange(len(patches)) if rows is None else rows
    batches = []
    for start in range(0, len(rows), PREDICTION_BATCH):
        batch = native(patches[rows[start : start + PREDICTION_BATCH]])
        missing = PREDICTION_BATCH - len(batch)
        padded = np.pad(batch, [(0, missing), *[(0, 0)] * (batch.ndim - 1)])
        # Not `predict`: its set-up costs as much as the prediction of a fold, and with several
        # steps per execution it is traced again for every other number of batches.
        batches.append(model.predict_on_batch(padded)[: len(batch)])
    logits = np.concatenate(batches) if batches else np.empty((0, model.output_shape[-1]))
    return softmax(logits.astype(np.float64), axis=1).astype(np.float32)
