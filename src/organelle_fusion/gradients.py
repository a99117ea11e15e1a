"""The way forward and back through the networks of `models`: feature maps, logits, gradients.

Keras 3; the one function that takes gradients knows TensorFlow and JAX.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import keras
import numpy as np
from keras import ops

from organelle_fusion.batches import native
from organelle_fusion.config import UserError
from organelle_fusion.mixing import MIXER
from organelle_fusion.models import HEAD

BATCH = 32
"""Patches explained at once: a plane has tens of them, and every batch is filled up to this."""

_ROUNDING = 0.05  # of the largest logit


class ExplainError(UserError):
    """A network or an image that cannot be explained as asked; the message is one line."""


def encoder_names(model: keras.Model) -> list[str]:
    """Names of the encoders of a model, in the order in which their embeddings are joined.

    Raises
    ------
    ExplainError
        The model has no encoder or no head of these names.
    """
    names = [layer.name for layer in model.layers]
    found = [name for name in names if name == "encoder" or name.startswith("encoder_")]
    if not found or HEAD not in names:
        raise ExplainError(
            f"model {model.name}: expected encoders (encoder or encoder_<channel>) and the head "
            f"{HEAD}, found {', '.join(names)}; explain models of build_model"
        )
    return found


def feature_maps(model: keras.Model, patches) -> list:
    """Last feature map of every encoder, as at prediction: scaled, not flipped.

    Parameters
    ----------
    model
        Of `models.build_model`.
    patches : (N, H, W, C), uint8 or float
        Intensities of 0..255.

    Returns
    -------
    list of tensors, float32 (N, h, w, f)
        One per encoder, in the order of `encoder_names`. For spatial fusion these are the maps
        that enter the mixing.
    """
    patches = native(patches) if isinstance(patches, np.ndarray) else patches
    scaled = model.get_layer("scale")(ops.convert_to_tensor(patches))
    names = encoder_names(model)
    planes = [scaled] if names == ["encoder"] else ops.split(scaled, len(names), axis=-1)
    return [
        ops.cast(model.get_layer(name)(plane, training=False)[0], "float32")
        for name, plane in zip(names, planes, strict=True)
    ]


def tail_logits(model: keras.Model, maps: Sequence):
    """Logits (N, K) of the feature maps: pooled and joined, or mixed, and through the head."""
    if any(layer.name == MIXER for layer in model.layers):
        embedding = model.get_layer(MIXER)(list(maps), training=False)[1]
    else:
        pooled = [ops.mean(feature_map, axis=(1, 2)) for feature_map in maps]
        embedding = ops.concatenate(pooled, axis=-1)
    return model.get_layer(HEAD)(embedding, training=False)


@lru_cache(maxsize=16)
def gradient_function(model: keras.Model, of: str) -> Callable:
    """Compile the way forward and back of a model into one function.

    It is compiled once for a model and takes the weights that the model has when it is called.

    Parameters
    ----------
    model
        Of `models.build_model`.
    of
        What the logit is differentiated by: ``maps``, those of `feature_maps`, or ``pixels``.

    Returns
    -------
    callable
        Patches, float32 (N, H, W, C), and classes, int32 (N,) → list of points and list of
        gradients of each patch's logit at them, tensors of equal shapes: (N, h, w, f) for each
        encoder, or (N, H, W, C).

    Raises
    ------
    ExplainError
        Keras computes on another backend than TensorFlow or JAX; or the model joins its encoders in
        another way than `tail_logits`, so that another network would be explained.
    """
    run = _way_and_back(model, of)
    random = np.random.default_rng(0)
    patches = random.integers(0, 256, (BATCH, *model.input_shape[1:])).astype(np.float32)
    targets = np.arange(BATCH, dtype=np.int32) % model.output_shape[-1]
    logits = model.predict_on_batch(patches)
    try:
        found = ops.convert_to_numpy(run(patches, targets)[2])
    except ValueError as error:  # a head of another width
        raise _joined_otherwise(model, "a head that does not take these") from error
    difference = np.abs(found - logits[np.arange(BATCH), targets])
    # Far more than what rounding does, and less than another way of joining.
    if np.nanmax(difference, initial=0) > _ROUNDING * np.nanmax(np.abs(logits), initial=0) + 1e-6:
        raise _joined_otherwise(model, f"logits that are off by up to {np.nanmax(difference):.2g}")
    return lambda patches, targets: run(patches, targets)[:2]


def _joined_otherwise(model: keras.Model, found: str) -> ExplainError:
    return ExplainError(
        f"model {model.name}: expected encoders that are pooled and joined, or mixed, found "
        f"{found}; teach gradients.tail_logits how this model joins them"
    )


def _way_and_back(model: keras.Model, of: str) -> Callable:
    """Compile what `gradient_function` describes, and the patches' logits as a third result."""

    def points_of(patches):
        return feature_maps(model, patches) if of == "maps" else [ops.convert_to_tensor(patches)]

    def score(points, targets):
        logits = tail_logits(model, points if of == "maps" else feature_maps(model, *points))
        of_patches = ops.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
        # Patches do not see each other at prediction, so the gradient of the sum holds each one's.
        return ops.sum(of_patches), of_patches

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def run(patches, targets):
            points = points_of(patches)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(points)
                total, logits = score(points, targets)
            return points, tape.gradient(total, points), logits

        return run
    if backend == "jax":
        import jax

        variables = model.variables

        @jax.jit
        def run_with(values, patches, targets):
            # Weights enter as arguments: compiled in, they would stay what they were.
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                points = points_of(patches)
                gradients, logits = jax.grad(score, has_aux=True)(points, targets)
                return points, gradients, logits

        return lambda patches, targets: run_with([v.value for v in variables], patches, targets)
    raise ExplainError(
        f"Keras backend: expected tensorflow or jax for gradients, found {backend}; "
        "set KERAS_BACKEND to one of these"
    )


def target_logits(model: keras.Model, patches: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Logit of its target class for every patch, also of several states of the same patches.

    Parameters
    ----------
    model
        Of `models.build_model`.
    patches : (…, N, H, W, C), uint8 or float
        Intensities of 0..255. States of few patches are computed in full batches, and so faster
        together than one after another.
    targets : (N,) int
        Class of each patch.

    Returns
    -------
    (…, N) float32

    Raises
    ------
    ExplainError
        The patches do not fit the model, or the targets are no numbers of its classes.
    """
    one_by_one = patches.reshape(-1, *patches.shape[-3:])
    check_patches(model, one_by_one)
    check_targets(model, patches, targets)
    classes_of_all = np.broadcast_to(targets, patches.shape[:-3]).reshape(-1)
    found = [
        model.predict_on_batch(batch)[np.arange(BATCH), classes][:size]
        for batch, classes, size in batches(one_by_one, classes_of_all)
    ]
    return np.concatenate(found).reshape(patches.shape[:-3])


def check_channels(model: keras.Model, channels: Sequence[str], where: object) -> None:
    """Refuse channels that are not the model's, or in another order, by an `ExplainError`.

    Only networks with an encoder for each channel know their names; of others the number counts.
    """
    encoders = encoder_names(model)
    named = [f"encoder_{channel}" for channel in channels]
    if encoders != ["encoder"] and encoders != named:
        raise ExplainError(
            f"{where}: expected the channels of {', '.join(encoders)}, found "
            f"{', '.join(channels)}; select them in this order"
        )
    if len(channels) != model.input_shape[-1]:
        raise ExplainError(
            f"{where}: expected {model.input_shape[-1]} channels after model {model.name}, found "
            f"{', '.join(channels)}; select those it was trained on"
        )


def check_patches(model: keras.Model, patches: np.ndarray) -> None:
    """Refuse patches of another size or other channels than the model's by an `ExplainError`."""
    if patches.shape[1:] != model.input_shape[1:]:
        raise ExplainError(
            f"model {model.name}: expected patches (N, H, W, C) = (N, "
            f"{', '.join(map(str, model.input_shape[1:]))}), found {patches.shape}; extract them "
            "at the size and with the channels it was trained on"
        )


def check_targets(model: keras.Model, patches: np.ndarray, targets: np.ndarray) -> None:
    """Refuse targets that are not the number of a class for each patch by an `ExplainError`.

    For a class that there is not TensorFlow takes the logit of another patch, whose map changes.
    """
    targets, expected = np.asarray(targets), patches.shape[-4:-3]
    last, found = model.output_shape[-1] - 1, None
    if targets.shape != expected or (targets.size and targets.dtype.kind not in "iu"):
        found = f"{targets.dtype} {targets.shape}"
    elif (outside := (targets < 0) | (targets > last)).any():
        found = f"{targets[outside][0]} for patch {outside.argmax()}"
    if found:
        raise ExplainError(
            f"targets: expected integers from 0 to {last} after model {model.name}, (N,) = "
            f"{expected}, found {found}; give each patch the number of a class"
        )


def batches(
    patches: np.ndarray, targets: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Batches of one size, float32 and int32, and how many patches of each are real ones.

    Operations are compiled for each size and type anew. Of no patches there is one batch with none
    that is real, so that what is computed of it has the shape of a result.
    """
    targets = np.asarray(targets, np.int32)
    for start in range(0, max(len(patches), 1), BATCH):
        batch = np.asarray(patches[start : start + BATCH], np.float32)
        missing = BATCH - len(batch)
        yield (
            np.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)]),
            np.pad(targets[start : start + BATCH], (0, missing)),
            len(batch),
        )
