"""The networks: single-channel, early, intermediate and spatial fusion; the MLP of features.

Every network of images takes them as 0..255 with all their channels, scales and augments them
inside, and returns logits; softmax belongs to whoever asks for probabilities. The encoders of
`encoders` carry their own names, and the head is always ``fusion_head``, so that a feature map can
be traced to the logits in a model read back from a file as well.

Keras 3 only: nothing here knows the backend.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, get_args

import keras
import numpy as np
import pandas as pd
from keras import layers

from organelle_fusion.augmentation import augment
from organelle_fusion.config import ORGANELLES, EncoderSettings, TrainingSettings
from organelle_fusion.encoders import BATCH_NORM_MOMENTUM, ModelError, build_encoder
from organelle_fusion.initial import FlatGlorotUniform, drawn_seed, seed_networks
from organelle_fusion.mixing import MIXING_SHARE, build_mixer, split_encoder
from organelle_fusion.settings import ONE_ENCODER, Strategy

HEAD = "fusion_head"


def set_seed(seed: int) -> None:
    """Seed whatever initial values, order of the patches, augmentation and dropout are drawn by.

    As `keras.utils.set_random_seed`, which imports TensorFlow, for seconds, on any backend; on JAX
    nothing draws from it.
    """
    seed_networks(seed)
    if keras.backend.backend() == "jax":
        np.random.seed(seed)  # noqa: NPY002 - Keras draws from it
    else:
        keras.utils.set_random_seed(seed)


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
        and classified together (paper, Fig 3). ``spatial`` (not in the paper): as intermediate,
        and beside it the feature maps before the last stage of the encoders are concatenated and
        mixed by convolution before pooling, see `mixing.build_mixer`; it has a few percent more
        parameters.
    channels
        Names of the channels, in the order of the last axis. They differ; encoders are called by
        them, so that for intermediate and spatial they hold no ``/``.
    n_classes
        Number of logits.
    encoder, training
        Kind, stem, weights and input size of the encoder; dropout, L2 and width of the head, the
        random changes of the images in training, and the precision of the encoders. Whatever that
        is, weights, statistics of the batches, embeddings, head and logits are float32.

    Returns
    -------
    keras.Model
        Not compiled; its initial values follow from the last `set_seed`. Nested in it are
        ``encoder`` (single, early) or ``encoder_<channel>`` (intermediate, spatial), the ``mixer``
        of spatial fusion, and the head ``fusion_head``.

    Raises
    ------
    ModelError
        The strategy is not known or does not fit the number of channels, their names are no such
        names, there is no class, or the encoder cannot be built, see `encoders.build_encoder` and
        `mixing.split_encoder`.
    """
    if strategy not in get_args(Strategy):
        raise ModelError(
            f"strategy: expected {', '.join(get_args(Strategy))}, found {strategy!r}; "
            "late fusion combines the predictions of single models and has no network of its own"
        )
    _check_channels(strategy, channels)
    _check_classes(n_classes)
    size = encoder.input_px
    image = keras.Input((size, size, len(channels)), name="image")
    scaled = layers.Rescaling(1 / 255, name="scale")(image)
    # Before the channels part, so that all of an image change alike.
    changed = augment(scaled, training.augmentation)

    def encoder_of(n_channels: int, name: str) -> keras.Model:
        with _precision(training.precision):
            return build_encoder(
                encoder.kind,
                (size, size, n_channels),
                name=name,
                filters=encoder.filters,
                stem_stride=encoder.stem_stride,
                weights=encoder.weights,
            )

    if strategy in ONE_ENCODER:
        embedding = encoder_of(len(channels), "encoder")(changed)[1]
    else:
        planes = keras.ops.split(changed, len(channels), axis=-1)
        encoders = [encoder_of(1, f"encoder_{channel}") for channel in channels]
        if strategy == "intermediate":
            embeddings = [each(plane)[1] for each, plane in zip(encoders, planes, strict=True)]
            embedding = layers.Concatenate(name="fusion")(embeddings)
        elif strategy == "spatial":
            with _precision(training.precision):
                embedding = _mixed(encoders, planes, encoder.kind)
        else:
            raise ModelError(
                f"strategy {strategy}: expected a way to join encoders in build_model, found none; "
                "write it there"
            )
    head = _fusion_head(embedding.shape[-1], n_classes, training.head_width(strategy), training)
    logits = head(embedding)
    return keras.Model(image, logits, name=strategy)


def _check_channels(strategy: Strategy, channels: Sequence[str]) -> None:
    """Refuse channels that the strategy has no use for, or that layers cannot be called by."""
    if isinstance(channels, str):
        raise ModelError(
            f"channels: expected a list of names, found {channels!r}; write [{channels!r}]"
        )
    names, single = [str(name) for name in channels], strategy == "single"
    if (len(names) != 1) if single else (len(names) < 2):
        raise ModelError(
            f"strategy {strategy}: expected {'one channel' if single else 'at least two channels'}"
            f", found {names}; use single for one channel, another for more"
        )
    called = strategy not in ONE_ENCODER  # Keras takes / for the path of a layer
    if len(set(names)) < len(names) or (called and any("/" in name for name in names)):
        raise ModelError(
            f"channels: expected names that differ and hold no /, found {names}; rename them"
        )


def _check_classes(n_classes: int) -> None:
    """Refuse a number of logits that no layer can have."""
    if not isinstance(n_classes, int | np.integer) or n_classes < 1:
        raise ModelError(
            f"n_classes: expected a whole number, 1 or more, found {n_classes!r}; count the classes"
        )


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Keras' policy for the layers that are built inside, and for no others.

    The networks of `keras.applications` take it in no other way.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _mixed(encoders: Sequence[keras.Model], planes, kind: str):
    """Embedding of spatial fusion."""
    lowers, uppers = zip(*(split_encoder(encoder, kind) for encoder in encoders), strict=True)
    spent = MIXING_SHARE * sum(count_parameters(encoder)["trainable"] for encoder in encoders)
    maps = [lower(plane)[0] for lower, plane in zip(lowers, planes, strict=True)]
    return build_mixer(uppers, spent)(maps)[1]


def build_mlp(n_features: int, n_classes: int, training: TrainingSettings) -> keras.Model:
    """Classifier of measured features: standardised (N, n_features) → logits (N, n_classes).

    Two hidden layers of equal width, each with ReLU, batch normalisation and dropout; the second
    of them is that of the head of the other networks. The paper and its sources do not give the
    layers of their DNN.

    Parameters
    ----------
    n_features, n_classes
        Number of columns and of logits.
    training
        Dropout, L2 and ``dense_units``, the width of both hidden layers.

    Returns
    -------
    keras.Model
        Not compiled, named ``mlp``; nested in it is the head ``fusion_head``.

    Raises
    ------
    ModelError
        ``dense_units`` is not one number, or there is no class.
    """
    _check_classes(n_classes)
    width = training.dense_units
    if not isinstance(width, int):
        raise ModelError(
            "mlp: expected one number for dense_units, found a width for each strategy; give one"
        )
    features = keras.Input((n_features,), name="features")
    hidden = features
    for layer in _hidden_layers(width, training, prefix="first_"):
        hidden = layer(hidden)
    logits = _fusion_head(width, n_classes, width, training)(hidden)
    return keras.Model(features, logits, name="mlp")


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


def paper_parameters(
    strategy: Literal["early", "intermediate", "late", "spatial"], dense_units: int
) -> int:
    """Trainable parameters of a strategy built as in the paper, with a head of one hidden layer.

    ResNet50 encoders for three channels and six classes (paper: Network architecture, training,
    and validation). The paper does not give the width of the dense layer.

    Parameters
    ----------
    strategy
        ``late`` counts its three single-channel classifiers, not the few weights that join them.
        ``spatial`` is not in the paper; it is counted on the same encoders.
    dense_units
        Width of the hidden layer.
    """
    encoder = EncoderSettings(kind="resnet50", input_px=224)
    head = TrainingSettings(
        epochs=1, patience=1, batch_size=1, learning_rate=1, decay_rate=1, decay_steps=1,
        dropout=0, l2=0, dense_units=dense_units,
    )  # fmt: skip
    copies, channels = (3, ORGANELLES[:1]) if strategy == "late" else (1, ORGANELLES)
    model = without_values(
        lambda: build_model(
            "single" if strategy == "late" else strategy,
            channels=channels,
            n_classes=6,
            encoder=encoder,
            training=head,
        )
    )
    return copies * count_parameters(model)["trainable"]


def without_values(build: Callable[[], keras.Model]) -> keras.Model:
    """Build a network whose weights have shapes and no values, which take most of the time."""

    def build_it() -> keras.Model:
        with keras.StatelessScope(initialize_variables=False):
            return build()

    # Keras keeps a list of weights without values, and gives them some when it next traces a
    # network, of which JAX makes errors. The list is of one thread, and so ends with this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(build_it).result()


def _fusion_head(
    n_features: int, n_classes: int, width: int, training: TrainingSettings
) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((n_features,), name="embedding"),
            *_hidden_layers(width, training),
            _dense(int(n_classes), None, "logits", training),
        ],
        name=HEAD,
    )


def _hidden_layers(
    width: int, training: TrainingSettings, prefix: str = ""
) -> tuple[layers.Layer, ...]:
    return (
        _dense(width, "relu", f"{prefix}dense", training),
        layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{prefix}dense_norm"),
        layers.Dropout(training.dropout, seed=drawn_seed(), name=f"{prefix}dropout"),
    )


def _dense(
    units: int, activation: str | None, name: str, training: TrainingSettings
) -> layers.Layer:
    # One regulariser per layer: Keras would otherwise share, and save, a single object.
    return layers.Dense(
        units,
        activation=activation,
        kernel_initializer=FlatGlorotUniform(),
        kernel_regularizer=keras.regularizers.L2(training.l2),
        name=name,
    )
