"""The networks: encoders, and the single-channel, early and intermediate fusion models.

Every model takes images of 0..255 with all its channels, scales and flips them inside, and
returns logits; softmax belongs to whoever asks for probabilities. Encoders give (feature map,
embedding) and carry their own names, and the head is always ``fusion_head``, so that a feature
map can be traced to the logits in a model read back from a file as well.

Keras 3 only: nothing here knows the backend.
"""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np
import pandas as pd
from keras import layers

from organelle_fusion.config import ORGANELLES, EncoderSettings, TrainingSettings, UserError

Strategy = Literal["single", "early", "intermediate"]

HEAD = "fusion_head"

# Keras' default of 0.99 needs hundreds of steps before the running statistics used at prediction
# are those of the data; a quick training has about 300 steps in all, a smoke one four.
_BATCH_NORM_MOMENTUM = 0.9


class ModelError(UserError):
    """A network that cannot be built as asked; the message is one line."""


def build_encoder(
    kind: Literal["compact", "resnet50"],
    input_shape: tuple[int, int, int],
    *,
    name: str,
    filters: Sequence[int] = (8, 16, 32),
) -> keras.Model:
    """Convolutional encoder: image → (feature map, embedding).

    Parameters
    ----------
    kind
        ``compact``, a small residual network for a laptop, or ``resnet50``, the paper's backbone
        without its classifier, from random weights.
    input_shape
        (height, width, channels); pixels are expected in 0..1.
    name
        Name of the encoder in the model it is nested in; must be unique there.
    filters
        Widths of ``compact``: the stem, then one residual block each. ``resnet50`` has its own.

    Returns
    -------
    keras.Model
        Two outputs, float32: the feature map (N, h, w, f) before pooling, and its global average
        (N, f), the embedding that is classified or fused (paper: Deep learning classification
        framework, Figs 2 and 3).

    Raises
    ------
    ModelError
        The kind is not known, or the image is too small for it.
    """
    if kind == "compact":
        return _compact_encoder(input_shape, name, filters)
    if kind == "resnet50":
        return _resnet50_encoder(input_shape, name)
    raise ModelError(f"encoder kind: expected compact or resnet50, found {kind!r}; choose one")


def build_model(
    strategy: Strategy,
    *,
    channels: Sequence[str],
    n_classes: int,
    encoder: EncoderSettings,
    training: TrainingSettings,
) -> keras.Model:
    """Classifier of patches: image (N, H, W, channels) of 0..255 → logits (N, n_classes).

    Parameters
    ----------
    strategy
        ``single``: one channel, one encoder. ``early``: all channels stacked into one encoder
        (paper, Fig 2). ``intermediate``: one encoder per channel, their embeddings concatenated
        and classified together (paper, Fig 3).
    channels
        Names of the channels, in the order of the last axis.
    n_classes
        Number of logits.
    encoder, training
        Kind and input size of the encoder; dropout, L2 and width of the head.

    Returns
    -------
    keras.Model
        Not compiled. Nested in it are ``encoder`` (single, early) or ``encoder_<channel>``
        (intermediate), and the head ``fusion_head``.

    Raises
    ------
    ModelError
        The strategy is not known or does not fit the number of channels.
    """
    if strategy not in ("single", "early", "intermediate"):
        raise ModelError(
            f"strategy: expected single, early or intermediate, found {strategy!r}; "
            "late fusion combines the predictions of single models and has no network of its own"
        )
    if (strategy == "single") != (len(channels) == 1):
        expected = "one channel" if strategy == "single" else "at least two channels"
        raise ModelError(
            f"strategy {strategy}: expected {expected}, found {list(channels)}; "
            "use single for one channel, early or intermediate for more"
        )
    size = encoder.input_px
    image = keras.Input((size, size, len(channels)), name="image")
    scaled = layers.Rescaling(1 / 255, name="scale")(image)
    # Two layers, since RandomFlip("horizontal_and_vertical") of Keras 3 draws once per image for
    # both axes: it turns by 180 degrees or not at all, and never mirrors.
    flipped = layers.RandomFlip("horizontal", name="flip_horizontal")(scaled)
    flipped = layers.RandomFlip("vertical", name="flip_vertical")(flipped)
    if strategy == "intermediate":
        planes = keras.ops.split(flipped, len(channels), axis=-1)
        embeddings = []
        for channel, plane in zip(channels, planes, strict=True):
            encode = build_encoder(
                encoder.kind, (size, size, 1), name=f"encoder_{channel}", filters=encoder.filters
            )
            embeddings.append(encode(plane)[1])
        embedding = layers.Concatenate(name="fusion")(embeddings)
    else:
        encode = build_encoder(
            encoder.kind, (size, size, len(channels)), name="encoder", filters=encoder.filters
        )
        embedding = encode(flipped)[1]
    logits = _fusion_head(embedding.shape[-1], n_classes, training)(embedding)
    return keras.Model(image, logits, name=strategy)


def layer_summary(model: keras.Model) -> pd.DataFrame:
    """What a model is made of, for the architecture figures.

    Returns
    -------
    pandas.DataFrame
        One row per layer, nested ones in place of the encoder or head that holds them, in the
        order of the data: ``part`` (name of the encoder or head, empty outside), ``layer``,
        ``kind``, ``output shape`` (a tuple without the batch axis; of the first output) and
        ``parameters``.
    """
    rows = []
    for layer in model.layers:
        nested = isinstance(layer, keras.Model)
        for inner in layer.layers if nested else [layer]:
            output = inner.output[0] if isinstance(inner.output, list | tuple) else inner.output
            rows.append(
                {
                    "part": layer.name if nested else "",
                    "layer": inner.name,
                    "kind": type(inner).__name__,
                    "output shape": tuple(output.shape[1:]),
                    "parameters": inner.count_params(),
                }
            )
    return pd.DataFrame(rows)


def count_parameters(model: keras.Model) -> dict[str, int]:
    """Number of trainable and of all parameters, without the seeds of the random layers."""
    sizes = {
        "trainable": sum(int(np.prod(weight.shape)) for weight in model.trainable_weights),
        "total": sum(int(np.prod(weight.shape)) for weight in model.weights),
    }
    return sizes


def paper_parameters(strategy: Literal["early", "intermediate", "late"], dense_units: int) -> int:
    """Trainable parameters of a strategy built as in the paper, with a head of one hidden layer.

    ResNet50 encoders for three channels and six classes (paper: Network architecture, training,
    and validation). The paper does not give the width of the dense layer.

    Parameters
    ----------
    strategy
        ``late`` counts its three single-channel classifiers, not the few weights that join them.
    dense_units
        Width of the hidden layer.
    """
    encoder = EncoderSettings(kind="resnet50", input_px=224)
    head = TrainingSettings(
        epochs=1, patience=1, batch_size=1, learning_rate=1, decay_rate=1, decay_steps=1,
        dropout=0, l2=0, dense_units=dense_units,
    )  # fmt: skip
    copies, channels = (3, ORGANELLES[:1]) if strategy == "late" else (1, ORGANELLES)
    model = build_model(
        "single" if strategy == "late" else strategy,
        channels=channels,
        n_classes=6,
        encoder=encoder,
        training=head,
    )
    return copies * count_parameters(model)["trainable"]


def _compact_encoder(
    input_shape: tuple[int, int, int], name: str, filters: Sequence[int]
) -> keras.Model:
    smallest = 2 ** len(filters)
    if min(input_shape[:2]) < smallest:
        raise ModelError(
            f"encoder {name}: expected images of at least {smallest} px for {len(filters)} "
            f"halvings, found {input_shape[0]} × {input_shape[1]}; raise encoder.input_px"
        )
    image = keras.Input(input_shape, name="plane")
    x = layers.ReLU(name="stem_relu")(_convolution(image, filters[0], 3, 2, "stem"))
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
    return layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)


def _resnet50_encoder(input_shape: tuple[int, int, int], name: str) -> keras.Model:
    if min(input_shape[:2]) < 32:
        raise ModelError(
            f"encoder {name}: expected images of at least 32 px for resnet50, "
            f"found {input_shape[0]} × {input_shape[1]}; raise encoder.input_px"
        )
    backbone = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=input_shape, name=f"{name}_backbone"
    )
    return keras.Model(backbone.input, (backbone.output, _pooled(backbone.output)), name=name)


def _pooled(feature_map):
    return layers.GlobalAveragePooling2D(name="embedding")(feature_map)


def _fusion_head(n_features: int, n_classes: int, training: TrainingSettings) -> keras.Model:
    def dense(units: int, activation: str | None, name: str) -> layers.Layer:
        # One regulariser per layer: Keras would otherwise share, and save, a single object.
        return layers.Dense(
            units,
            activation=activation,
            kernel_regularizer=keras.regularizers.L2(training.l2),
            name=name,
        )

    return keras.Sequential(
        [
            keras.Input((n_features,), name="embedding"),
            dense(training.dense_units, "relu", "dense"),
            layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name="dense_norm"),
            layers.Dropout(training.dropout, name="dropout"),
            dense(n_classes, None, "logits"),
        ],
        name=HEAD,
    )
