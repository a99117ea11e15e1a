"""Convolutional encoders: image → (feature map, embedding), from random or ImageNet weights.

Keras 3 only; what they compute does not depend on the backend.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from typing import Literal, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from organelle_fusion.config import UserError
from organelle_fusion.initial import FlatGlorotUniform, drawn_seed
from organelle_fusion.provenance import file_state, note_file
from organelle_fusion.settings import EncoderKind

IMAGENET = "imagenet"

IMAGENET_MEANS = (103.939, 116.779, 123.68)
"""Mean of blue, green and red over ImageNet, 0..255, which Keras' ResNet50 was trained without."""

CONVNEXT_MEANS = (0.485, 0.456, 0.406)
CONVNEXT_DEVIATIONS = (0.229, 0.224, 0.225)
"""Mean and standard deviation of red, green and blue over ImageNet, 0..1, as ConvNeXt has them."""

# Keras' default of 0.99 needs hundreds of steps before the running statistics used at prediction
# are those of the data; a quick training has about 300 steps in all, a smoke one four.
BATCH_NORM_MOMENTUM = 0.9

_SMALLEST_PX = 32
"""Edge of the smallest image that the networks of `keras.applications` here take."""


class _Published(NamedTuple):
    """A network of `keras.applications`, used without its classifier."""

    name: str
    stem: str  # layer whose first weights are the kernels over the channels
    scale: float  # input = scale × (0..1) + offset, as its weights were trained with
    offset: float


_PUBLISHED = {
    "resnet50": _Published("ResNet50", "conv1_conv", 255.0, -float(np.mean(IMAGENET_MEANS))),
    "convnext_tiny": _Published(
        "ConvNeXtTiny",
        "convnext_tiny_stem",
        1 / float(np.mean(CONVNEXT_DEVIATIONS)),
        -float(np.mean(CONVNEXT_MEANS) / np.mean(CONVNEXT_DEVIATIONS)),
    ),
}


class ModelError(UserError):
    """A network that cannot be built as asked; the message is one line."""


def build_encoder(
    kind: EncoderKind,
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
        ``compact``, a small residual network for a laptop; ``resnet50``, the paper's backbone
        without its classifier; ``convnext_tiny`` (Liu et al. 2022, CVPR: A ConvNet for the 2020s),
        likewise; ``compact_convnext``, blocks of the same kind for a laptop.
    input_shape
        (height, width, channels); pixels are expected in 0..1.
    name
        Name of the encoder in the model it is nested in; must be unique there.
    filters
        Widths of ``compact``: the stem, then one residual block each; of ``compact_convnext``: one
        stage each. The published networks have their own.
    stem_stride
        Stride of the first convolution; ``compact_convnext`` cuts squares of twice this edge. With
        1 every feature map has twice the edge. ``convnext_tiny`` takes 2 only, which stands for its
        squares of 4 pixels.
    weights
        Initial weights of a published network. None: random. ``imagenet``: those that Keras
        downloads, and keeps. Else the path of a file that Keras' ``ResNet50(include_top=False)``,
        or ``ConvNeXtTiny``, for three channels can read, such as the one it downloads.

    Returns
    -------
    keras.Model
        Two outputs: the feature map (N, h, w, f) before pooling, in the precision that the layers
        compute in; and its global average, float32 (N, f), the embedding that is classified or
        fused (paper: Deep learning classification framework, Figs 2 and 3).

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

    Such an encoder brings its input to the scale of its weights: ResNet50 times 255, less the mean
    of ImageNet; ConvNeXt less the mean, by the standard deviation. Each is one number, the mean of
    those published for the three colours, since our channels are no colours. Encoders with random
    weights see 0..1.
    """
    compact = {"compact": _compact_encoder, "compact_convnext": _compact_convnext_encoder}
    if kind in compact:
        if weights is not None:
            raise ModelError(
                f"encoder.weights: expected none for the encoder {kind}, found {weights!r}; "
                f"use encoder.kind {' or '.join(_PUBLISHED)}, or remove the weights"
            )
        return compact[kind](input_shape, name, filters, stem_stride)
    if kind in _PUBLISHED:
        return _published_encoder(kind, input_shape, name, stem_stride, weights)
    raise ModelError(
        f"encoder kind: expected {', '.join(compact)}, {' or '.join(_PUBLISHED)}, found {kind!r}; "
        "choose one"
    )


def _compact_encoder(
    input_shape: tuple[int, int, int], name: str, filters: Sequence[int], stem_stride: int
) -> keras.Model:
    _check_halvings(input_shape, name, len(filters) - 2 + stem_stride)
    image = keras.Input(input_shape, name="plane")
    x = layers.ReLU(name="stem_relu")(_convolution(image, filters[0], 3, stem_stride, "stem"))
    for number, width in enumerate(filters[1:], start=1):
        block = f"block{number}"
        # One 3 × 3 convolution a block and no normalisation of the shortcut: a third less time than
        # with the usual two, at no loss of accuracy on the phantoms used for calibration.
        shortcut = layers.Conv2D(
            width, 1, 2, kernel_initializer=FlatGlorotUniform(), name=f"{block}_shortcut"
        )(x)
        y = _convolution(x, width, 3, 2, f"{block}_conv")
        x = layers.ReLU(name=f"{block}_relu")(layers.Add(name=f"{block}_add")([shortcut, y]))
    return keras.Model(image, (x, _pooled(x)), name=name)


@keras.saving.register_keras_serializable(package="organelle_fusion")
class PlaneConvolution(layers.Conv2D):
    """`keras.layers.Conv2D`; of one channel, padded to ``same``, it is a matrix product on JAX.

    The convolution itself, of a single channel, takes XLA so long on a processor that it was a
    fifth of a training of intermediate fusion in the quick profile. The product is that of the
    pixels under the kernel, (N, h, w, places), and the kernel, (places, filters).
    """

    def convolution_op(self, inputs, kernel):
        as_product = (
            keras.backend.backend() == "jax"
            and (self.padding, self.data_format) == ("same", "channels_last")
            and (tuple(self.dilation_rate), inputs.shape[-1]) == ((1, 1), 1)
        )
        if not as_product:
            return super().convolution_op(inputs, kernel)
        margins, starts = [(0, 0)], []
        for edge, size, stride in zip(
            inputs.shape[1:3], self.kernel_size, self.strides, strict=True
        ):
            length = (-(-edge // stride) - 1) * stride  # from the first kernel to the last
            missing = max(length + size - edge, 0)
            margins.append((missing // 2, missing - missing // 2))
            starts.append([slice(k, k + length + 1, stride) for k in range(size)])
        plane = ops.pad(inputs[..., 0], margins)
        under = ops.stack([plane[:, y, x] for y in starts[0] for x in starts[1]], axis=-1)
        return ops.matmul(under, ops.reshape(kernel, (-1, self.filters)))


@keras.saving.register_keras_serializable(package="organelle_fusion")
class BandedDepthwise(layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`; of stride 1, padded to ``same``, a matrix product on JAX.

    XLA on a processor loops over the channels and pixels of such a convolution. Here the rows under
    the kernel, (f, N h, k w), are multiplied by one band matrix for each channel, (f, k w, w). That
    is more arithmetic, and five times as fast for a step of early fusion with ``compact_convnext``.
    """

    def call(self, inputs):
        as_product = (
            keras.backend.backend() == "jax"
            and (self.padding, self.data_format) == ("same", "channels_last")
            and {*self.strides, *self.dilation_rate, self.depth_multiplier} == {1}
            and self.kernel_size[0] == self.kernel_size[1]
            and self.use_bias
            and self.activation is keras.activations.linear
        )
        if not as_product:
            return super().call(inputs)
        size = self.kernel_size[0]
        before = (size - 1) // 2
        _, height, width, channels = inputs.shape
        column = np.arange(width)
        # 1 where the kernel's column j takes the image's column u to the result's column v.
        band = column[:, None] - column + before == np.arange(size)[:, None, None]
        band = ops.cast(band, self.compute_dtype)
        bands = ops.einsum("ijf,juv->fiuv", self.kernel[..., 0], band)
        padded = ops.pad(inputs, ((0, 0), (before, size - 1 - before), (0, 0), (0, 0)))
        rows = ops.stack([padded[:, k : k + height] for k in range(size)], axis=2)
        rows = ops.reshape(ops.transpose(rows, (4, 0, 1, 2, 3)), (channels, -1, size * width))
        result = ops.matmul(rows, ops.reshape(bands, (channels, size * width, width)))
        result = ops.reshape(result, (channels, -1, height, width))
        return ops.transpose(result, (1, 2, 3, 0)) + self.bias


def _convolution(x, width: int, kernel: int, stride: int, name: str):
    """Convolution and batch normalisation, which makes a bias needless."""
    layer = PlaneConvolution if x.shape[-1] == 1 else layers.Conv2D
    x = layer(
        width,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=FlatGlorotUniform(),
        name=name,
    )(x)
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)


def _pooled(feature_map):
    # float32 in mixed precision too: what is classified, or joined, is a mean of many pixels.
    return layers.GlobalAveragePooling2D(name="embedding", dtype="float32")(feature_map)


def _check_halvings(input_shape: tuple[int, int, int], name: str, halvings: int) -> None:
    smallest = 2**halvings
    if min(input_shape[:2]) < smallest:
        raise ModelError(
            f"encoder {name}: expected images of at least {smallest} px for {halvings} "
            f"halvings, found {input_shape[0]} × {input_shape[1]}; raise encoder.input_px"
        )


def _compact_convnext_encoder(
    input_shape: tuple[int, int, int], name: str, filters: Sequence[int], stem_stride: int
) -> keras.Model:
    """ConvNeXt with one block a stage.

    Without the layer scale of the original, which starts every block near nothing and so needs
    more steps than a quick training has, and without its stochastic depth.
    """
    _check_halvings(input_shape, name, len(filters) + stem_stride - 1)
    image = keras.Input(input_shape, name="plane")
    edge = 2 * stem_stride
    x = _squares(filters[0], edge, "stem")(image)
    x = _layer_norm(x, "stem_norm")
    for number, width in enumerate(filters):
        stage = f"stage{number}"
        if number:
            x = _squares(width, 2, f"{stage}_down")(_layer_norm(x, f"{stage}_down_norm"))
        y = BandedDepthwise(
            7,
            padding="same",
            depthwise_initializer=FlatGlorotUniform(),
            name=f"{stage}_depthwise",
        )(x)
        y = _layer_norm(y, f"{stage}_norm")
        y = layers.Dense(
            4 * width, "gelu", kernel_initializer=FlatGlorotUniform(), name=f"{stage}_wide"
        )(y)
        y = layers.Dense(width, kernel_initializer=FlatGlorotUniform(), name=f"{stage}_narrow")(y)
        x = layers.Add(name=f"{stage}_add")([x, y])
    x = _layer_norm(x, "norm")
    return keras.Model(image, (x, _pooled(x)), name=name)


def _squares(width: int, edge: int, name: str) -> layers.Layer:
    """Convolution of squares side by side."""
    return layers.Conv2D(width, edge, edge, kernel_initializer=FlatGlorotUniform(), name=name)


def _layer_norm(x, name: str):
    return layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def _published_encoder(
    kind: str, input_shape: tuple[int, int, int], name: str, stem_stride: int, weights: str | None
) -> keras.Model:
    if min(input_shape[:2]) < _SMALLEST_PX:
        raise ModelError(
            f"encoder {name}: expected images of at least {_SMALLEST_PX} px for {kind}, "
            f"found {input_shape[0]} × {input_shape[1]}; raise encoder.input_px"
        )
    if kind == "convnext_tiny" and stem_stride != 2:
        raise ModelError(
            f"encoder.stem_stride: expected 2 for convnext_tiny, found {stem_stride}; set it to 2"
        )
    published = _PUBLISHED[kind]
    scaled = None
    if weights is not None:
        scale = layers.Rescaling(
            published.scale, published.offset, name="imagenet_scale", dtype="float32"
        )
        scaled = scale(keras.Input(input_shape, name="plane"))
    backbone = _application(kind, weights=None, input_tensor=scaled, input_shape=input_shape)
    if stem_stride != 2:
        _check_stem(kind, backbone)
    if stem_stride != 2 or weights is None:
        backbone = keras.models.clone_model(
            backbone, clone_function=lambda layer: _own_copy(layer, published.stem, stem_stride)
        )
    if weights is not None:
        path = None if weights == IMAGENET else Path(weights)
        stored = _read_weights(kind, path, file_state(path) if path else None)
        # By their order: ConvNeXt's last layer is numbered by what was built before it.
        own = [layer for layer in backbone.layers if layer.weights]
        for layer, arrays in zip(own, stored, strict=True):
            if layer.name == published.stem:
                arrays = [_kernels_for(input_shape[-1], arrays[0]), *arrays[1:]]
            layer.set_weights(arrays)
    return keras.Model(backbone.input, (backbone.output, _pooled(backbone.output)), name=name)


def _application(kind: str, **options) -> keras.Model:
    """Network of `keras.applications` without classifier; its layers are named as in the file."""
    if kind == "convnext_tiny":
        options["include_preprocessing"] = False  # for three colours only; we scale ourselves
    build = getattr(keras.applications, _PUBLISHED[kind].name)
    return build(include_top=False, name=kind, **options)


def _check_stem(kind: str, backbone: keras.Model) -> None:
    """Refuse to change the stride of a network that has no convolution of the stem's name."""
    stem = _PUBLISHED[kind].stem
    strided = [layer.name for layer in backbone.layers if "strides" in layer.get_config()]
    if stem not in strided:
        raise ModelError(
            f"encoder.stem_stride: expected the stem {stem} among the layers of {kind} with a "
            f"stride, found {', '.join(strided[:3])} and others; set it to 2, or mend the name in "
            "encoders"
        )


def _own_copy(layer: layers.Layer, stem: str, stem_stride: int) -> layers.Layer:
    """Copy of a layer with seeds of ours; of the stem with another stride, with this one."""
    config = layer.get_config()
    if stem_stride != 2 and layer.name == stem:
        config["strides"] = (stem_stride, stem_stride)
    for value in config.values():
        initial = value.get("config", {}) if isinstance(value, dict) else {}
        if "seed" in initial:
            initial["seed"] = drawn_seed()
    return type(layer).from_config(config)


def _kernels_for(channels: int, kernels: np.ndarray) -> np.ndarray:
    """Kernels (h, w, 3, f) of three colours for this number of channels, see `build_encoder`."""
    if channels == 3:
        return kernels
    return np.repeat(kernels.sum(axis=2, keepdims=True) / channels, channels, axis=2)


# The state of the file belongs to the key: a file that has changed is read again.
@lru_cache(maxsize=1)
def _read_weights(
    kind: str, path: Path | None, state: tuple[int | None, int | None] | None
) -> list[list[np.ndarray]]:
    """Arrays of a network for three channels, of each layer: of a file, or else of ImageNet."""
    if path is not None and not note_file(path).is_file():
        raise ModelError(
            f"encoder.weights: expected {IMAGENET} or a file of weights, found no file {path}; "
            "check the path"
        )
    try:
        network = _application(
            kind, weights=path or IMAGENET, input_shape=(_SMALLEST_PX, _SMALLEST_PX, 3)
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
            f"encoder.weights {path}: expected weights of Keras' {_PUBLISHED[kind].name} without "
            f"top for three channels, found others or a damaged file ({reason}); choose another "
            "file or get it again"
        ) from error
    return [layer.get_weights() for layer in network.layers if layer.weights]
