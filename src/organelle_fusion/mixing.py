"""Spatial fusion: feature maps of the organelles joined and mixed by convolution, before pooling.

Not in the paper. Global pooling forgets where a feature was, so that what is joined after it hardly
says whether two organelles lie at the same place; here they meet while it is still known.

Keras 3 only: nothing here knows the backend.
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

from organelle_fusion.encoders import BATCH_NORM_MOMENTUM, ModelError
from organelle_fusion.initial import FlatGlorotUniform

MIXER = "mixer"

MIXING_SHARE = 0.07
"""Parameters of the mixing, as a share of those of the encoders."""

# Where the last stage of an encoder begins, as the name of the layer whose output it takes.
_LAST_STAGE_INPUT = {"resnet50": "conv4_block6_out"}


def split_encoder(encoder: keras.Model, kind: str) -> tuple[keras.Model, keras.Model]:
    """Part an encoder of `encoders.build_encoder` before its last stage.

    Parameters
    ----------
    encoder
        Image → (feature map, embedding).
    kind
        ``compact`` or ``resnet50``.

    Returns
    -------
    lower : keras.Model
        Image → (feature map, its global average), named as the encoder.
    upper : keras.Model
        This feature map → (feature map, embedding) of the whole encoder; its name begins with
        ``last_stage``.

    Raises
    ------
    ModelError
        Of this kind it is not known where the last stage begins, or the encoder has a stem alone.
    """
    if kind == "compact":
        blocks = [layer.name for layer in encoder.layers if layer.name.endswith("_shortcut")]
        if not blocks:
            raise ModelError(
                "encoder.filters: expected two or more, as spatial fusion needs, found 1; add that "
                "of a block"
            )
        cut = encoder.get_layer(blocks[-1]).input
    elif kind in _LAST_STAGE_INPUT:
        cut = encoder.get_layer(_LAST_STAGE_INPUT[kind]).output
    else:
        raise ModelError(
            f"strategy spatial: expected an encoder of compact or {', '.join(_LAST_STAGE_INPUT)}, "
            f"found {kind}; choose one of these"
        )
    pooled = layers.GlobalAveragePooling2D(name="lower_embedding", dtype="float32")(cut)
    lower = keras.Model(encoder.input, (cut, pooled), name=encoder.name)
    name = encoder.name.replace("encoder", "last_stage", 1)
    return lower, keras.Model(cut, encoder.output, name=name)


def build_mixer(uppers: Sequence[keras.Model], parameters: float) -> keras.Model:
    """Pool what organelles show together beside what each shows alone.

    Each organelle's map is taken through the last stage of its encoder and pooled, as in
    intermediate fusion. Beside them the maps are joined and mixed by two convolutions, 1 × 1 and
    3 × 3, which see all organelles at a place and around it, and only then pooled. All embeddings
    together are classified.

    Parameters
    ----------
    uppers
        Of `split_encoder`, one per organelle: the last stages, all of one size.
    parameters
        What both convolutions may have together; their width is the one that comes nearest.

    Returns
    -------
    keras.Model
        List of maps (N, h, w, f) → (mixed map, joined embeddings); named ``mixer``.
    """
    maps = [
        keras.Input(upper.input_shape[1:], name=f"map_{number}")
        for number, upper in enumerate(uppers)
    ]
    x = layers.Concatenate(name="joined")(maps)
    # The root of 9 h² + joined h = parameters.
    joined = x.shape[-1]
    width = max(1, round((math.sqrt(joined**2 + 36 * parameters) - joined) / 18))
    for name, kernel in (("mix1", 1), ("mix2", 3)):
        x = layers.Conv2D(
            width,
            kernel,
            padding="same",
            use_bias=False,
            kernel_initializer=FlatGlorotUniform(),
            name=name,
        )(x)
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    embeddings = [upper(each)[1] for upper, each in zip(uppers, maps, strict=True)]
    embeddings.append(layers.GlobalAveragePooling2D(name="mixed", dtype="float32")(x))
    fused = layers.Concatenate(name="fusion", dtype="float32")(embeddings)
    return keras.Model(maps, (x, fused), name=MIXER)
