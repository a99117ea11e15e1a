"""Convolutional encoders: image → (feature map, embedding), from random or ImageNet weights.

Keras 3 only: nothing here knows the backend.
"""

import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import Literal

import keras
import numpy as np
from keras import layers

from organelle_fusion.config import UserError
from organelle_fusion.provenance import file_state, note_file

IMAGENET = "imagenet"

IMAGENET_MEANS = (103.939, 116.779, 123.68)
"""Mean of blue, green and red over ImageNet, 0..255, which Keras' ResNet50 was trained without."""

# Keras' default of 0.99 needs hundreds of steps before the running statistics used at prediction
# are those of the data; a quick training has about 300 steps in all, a smoke one four.
BATCH_NORM_MOMENTUM = 0.9

_RESNET50_STEM = "conv1_conv"
_RESNET50_SMALLEST = 32


class ModelError(UserError):
    """A network that cannot be built as asked; the message is one line."""


def build_encoder(
    kind: Literal["compact", "resnet50"],
    input_shape: tuple[int, int, int],
    *,
    name: str,
    filters: Sequence[int] = (8, 16, 32),
    stem_stride: Literal[1, 2] = 2,
    weights: str | None = None,
) -> keras.Model:
    """Convolutional encoder: image → (feature map, embedding).

    Parameters
    ----------
    kind
        ``compact``, a small residual network for a laptop, or ``resnet50``, the paper's backbone
        without its classifier.
    input_shape
        (height, width, channels); pixels are expected in 0..1.
    name
        Name of the encoder in the model it is nested in; must be unique there.
    filters
        Widths of ``compact``: the stem, then one residual block each. ``resnet50`` has its own.
    stem_stride
        Stride of the first convolution. With 1 every feature map has twice the edge.
    weights
        Initial weights of ``resnet50``. None: random. ``imagenet``: those that Keras downloads,
        and keeps. Else the path of a file that Keras' ``ResNet50(include_top=False)`` for three
        channels can read, such as the one it downloads.

    Returns
    -------
    keras.Model
        Two outputs, float32: the feature map (N, h, w, f) before pooling, and its global average
        (N, f), the embedding that is classified or fused (paper: Deep learning classification
        framework, Figs 2 and 3).

    Raises
    ------
    ModelError
        The kind is not known, the image is too small for it, or the weights cannot be had.

    Notes
    -----
    With ``weights``, for three channels the kernels of the first convolution are as in the file,
    whose channels are blue, green and red. For any other number C of channels, each one gets the
    sum of these three kernels, divided by C; for one channel that is their sum. So an image with
    equal channels gives the same first activation, whatever the number of channels.

    Such an encoder brings its input to the scale of its weights: times 255, less the mean of
    ImageNet. That is one number, the mean of the published means of the three colours, since
    our channels are no colours. Encoders with random weights see 0..1.
    """
    if kind == "compact":
        if weights is not None:
            raise ModelError(
                f"encoder.weights: expected none for the encoder compact, found {weights!r}; "
                "use encoder.kind resnet50, or remove the weights"
            )
        return _compact_encoder(input_shape, name, filters, stem_stride)
    if kind == "resnet50":
        return _resnet50_encoder(input_shape, name, stem_stride, weights)
    raise ModelError(f"encoder kind: expected compact or resnet50, found {kind!r}; choose one")


def _compact_encoder(
    input_shape: tuple[int, int, int], name: str, filters: Sequence[int], stem_stride: int
) -> keras.Model:
    halvings = len(filters) - 2 + stem_stride
    smallest = 2**halvings
    if min(input_shape[:2]) < smallest:
        raise ModelError(
            f"encoder {name}: expected images of at least {smallest} px for {halvings} "
            f"halvings, found {input_shape[0]} × {input_shape[1]}; raise encoder.input_px"
        )
    image = keras.Input(input_shape, name="plane")
    x = layers.ReLU(name="stem_relu")(_convolution(image, filters[0], 3, stem_stride, "stem"))
    for number, width in enumerate(filters[1:], start=1):
        block = f"block{number}"
        # One 3 × 3 convolution a block and no normalisation of the shortcut: a third less time than
        # with the usual two, at no loss of accuracy on the phantoms used for calibration.
        shortcut = layers.Conv2D(width, 1, 2, name=f"{block}_shortcut")(x)
        y = _convolution(x, width, 3, 2, f"{block}_conv")
        x = layers.ReLU(name=f"{block}_relu")(layers.Add(name=f"{block}_add")([shortcut, y]))
    return keras.Model(image, (x, _pooled(x)), name=name)


def _convolution(x, width: int, kernel: int, stride: int, name: str):
    """Convolution and batch normalisation, which makes a bias needless."""
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)


def _pooled(feature_map):
    return layers.GlobalAveragePooling2D(name="embedding")(feature_map)


def _resnet50_encoder(
    input_shape: tuple[int, int, int], name: str, stem_stride: int, weights: str | None
) -> keras.Model:
    if min(input_shape[:2]) < _RESNET50_SMALLEST:
        raise ModelError(
            f"encoder {name}: expected images of at least {_RESNET50_SMALLEST} px for resnet50, "
            f"found {input_shape[0]} × {input_shape[1]}; raise encoder.input_px"
        )
    scaled = None
    if weights is not None:
        scale = layers.Rescaling(255, offset=-np.mean(IMAGENET_MEANS), name="imagenet_scale")
        scaled = scale(keras.Input(input_shape, name="plane"))
    backbone = keras.applications.ResNet50(
        include_top=False,
        weights=None,
        input_tensor=scaled,
        input_shape=input_shape,
        name=f"{name}_backbone",
    )
    if stem_stride != 2:
        backbone = keras.models.clone_model(
            backbone, clone_function=lambda layer: _with_stem_stride(layer, stem_stride)
        )
    if weights is not None:
        path = None if weights == IMAGENET else Path(weights)
        stored = _read_weights(path, file_state(path) if path else None)
        for layer in backbone.layers:
            if layer.name == _RESNET50_STEM:
                kernels, bias = stored[layer.name]
                layer.set_weights([_kernels_for(input_shape[-1], kernels), bias])
            elif layer.weights:
                layer.set_weights(stored[layer.name])
    return keras.Model(backbone.input, (backbone.output, _pooled(backbone.output)), name=name)


def _with_stem_stride(layer: layers.Layer, stride: int) -> layers.Layer:
    """Copy of a layer of ResNet50, with another stride if it is the first convolution."""
    config = layer.get_config()
    if layer.name == _RESNET50_STEM:
        config["strides"] = (stride, stride)
    return type(layer).from_config(config)


def _kernels_for(channels: int, kernels: np.ndarray) -> np.ndarray:
    """Kernels (h, w, 3, f) of three colours for this number of channels, see `build_encoder`."""
    if channels == 3:
        return kernels
    return np.repeat(kernels.sum(axis=2, keepdims=True) / channels, channels, axis=2)


# The state of the file belongs to the key: a file that has changed is read again.
@lru_cache(maxsize=1)
def _read_weights(
    path: Path | None, state: tuple[int | None, int | None] | None
) -> dict[str, list[np.ndarray]]:
    """Arrays of ResNet50 for three channels, by layer: of a file, or without one of ImageNet."""
    if path is not None and not note_file(path).is_file():
        raise ModelError(
            f"encoder.weights: expected {IMAGENET} or a file of weights, found no file {path}; "
            "check the path"
        )
    # Building draws initial values, here for nothing. What is built next must not depend on
    # whether the weights were read before.
    before = random.getstate()
    try:
        network = keras.applications.ResNet50(
            include_top=False,
            weights=path or IMAGENET,
            input_shape=(_RESNET50_SMALLEST, _RESNET50_SMALLEST, 3),
        )
    except Exception as error:
        # Keras turns a failed download into a bare Exception. Damage to a file shows as one of the
        # first three, and weights of another network as a ValueError.
        expected = OSError | RuntimeError | KeyError | ValueError
        if type(error) is not Exception and not isinstance(error, expected):
            raise
        reason = shorten(str(error), 200, placeholder=" …")
        if path is None:
            raise ModelError(
                f"encoder.weights {IMAGENET}: expected Keras' file or a connection to download it, "
                f"found neither ({reason}); connect once, so that Keras can download and keep it, "
                "or set encoder.weights to the path of the file"
            ) from error
        raise ModelError(
            f"encoder.weights {path}: expected weights of Keras' ResNet50 without top for three "
            f"channels, found others or a damaged file ({reason}); choose another file or get it "
            "again"
        ) from error
    finally:
        random.setstate(before)
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
