"""Grad-CAM: where in an image the evidence of a network for a class lies.

Selvaraju et al. 2017 (Grad-CAM), applied to the encoders of `models.build_model` and stitched to
whole planes (paper, Fig 6). Logits are explained, not probabilities: softmax would mix in the
evidence for all other classes.

Keras 3; the one function that takes gradients knows TensorFlow and JAX.
"""

from collections.abc import Sequence

import keras
import numpy as np
import pandas as pd
from keras import ops

from organelle_fusion.bootstrap import draw_groups, interval
from organelle_fusion.config import UserError
from organelle_fusion.models import HEAD
from organelle_fusion.patches import extract_patches, patch_size_px
from organelle_fusion.volumes import Volume

BATCH = 32
"""Patches explained at once: a plane has tens of them, and every batch is filled up to this."""

WITH_OTHERS = "the other organelles"
WITH_FUSED = "the fused map"


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


def feature_maps(model: keras.Model, patches: np.ndarray) -> list:
    """Last feature map of every encoder, as at prediction: scaled, not flipped.

    Parameters
    ----------
    model
        Of `models.build_model`.
    patches : (N, H, W, C) uint8
        Intensities of 0..255.

    Returns
    -------
    list of tensors, float32 (N, h, w, f)
        One per encoder, in the order of `encoder_names`.
    """
    scaled = model.get_layer("scale")(ops.convert_to_tensor(patches))
    names = encoder_names(model)
    planes = [scaled] if names == ["encoder"] else ops.split(scaled, len(names), axis=-1)
    return [
        model.get_layer(name)(plane, training=False)[0]
        for name, plane in zip(names, planes, strict=True)
    ]


def tail_logits(model: keras.Model, maps: Sequence):
    """Logits (N, K) from the feature maps: pooled, joined in order, and through the head."""
    pooled = [ops.mean(feature_map, axis=(1, 2)) for feature_map in maps]
    return model.get_layer(HEAD)(ops.concatenate(pooled, axis=-1), training=False)


def logit_gradients(model: keras.Model, maps: Sequence, targets: np.ndarray) -> list[np.ndarray]:
    """Gradient of each patch's target logit with respect to its feature maps.

    Parameters
    ----------
    model, maps
        A model, and what `feature_maps` gives for it.
    targets : (N,) int
        Class whose logit is explained, for each patch.

    Returns
    -------
    list of ndarray, float32 (N, h, w, f)

    Raises
    ------
    ExplainError
        Keras computes on another backend than TensorFlow or JAX.
    """
    places = ops.convert_to_tensor(np.asarray(targets, dtype=np.int32)[:, None])

    def score(maps):
        # Patches do not see each other at prediction, so the gradient of the sum holds each one's.
        return ops.sum(ops.take_along_axis(tail_logits(model, maps), places, axis=1))

    maps = list(maps)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = score(maps)
        gradients = tape.gradient(total, maps)
    elif backend == "jax":
        import jax

        gradients = jax.grad(score)(maps)
    else:
        raise ExplainError(
            f"Keras backend: expected tensorflow or jax for gradients, found {backend}; "
            "set KERAS_BACKEND to one of these"
        )
    return [ops.convert_to_numpy(gradient) for gradient in gradients]


def weighted_map(feature_map: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Grad-CAM before its ReLU: features weighted by the spatial mean of their gradient.

    Parameters
    ----------
    feature_map, gradient
        Float (N, h, w, f) each.

    Returns
    -------
    (N, h, w) float32
        Σ_k α_k A_k with α_k = mean over the map of ∂logit/∂A_k (Selvaraju et al. 2017, eqs 1, 2).
    """
    alpha = gradient.mean(axis=(1, 2))
    return np.einsum("nhwf,nf->nhw", feature_map, alpha).astype(np.float32)


def grad_cam(model: keras.Model, patches: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Grad-CAM of every encoder of a model, before ReLU, so that encoders share one scale.

    The paper does not say how it fuses the organelles' maps. Here the fused map of intermediate
    fusion is Grad-CAM of the concatenated feature maps, which is the sum of the organelles' maps
    before ReLU: ``grad_cam(…).sum(axis=1)``.

    Parameters
    ----------
    model
        Of `models.build_model`, also read back from a file.
    patches : (N, H, W, C) uint8
        Patches as the network gets them.
    targets : (N,) int
        Class whose logit is explained, for each patch.

    Returns
    -------
    (N, E, h, w) float32
        One map per encoder, in the order of the model's channels; one encoder in single-channel
        models and early fusion.

    Raises
    ------
    ExplainError
        The patches do not fit the model, or the backend gives no gradients here.
    """
    if patches.shape[1:] != model.input_shape[1:]:
        raise ExplainError(
            f"model {model.name}: expected patches (N, H, W, C) = (N, "
            f"{', '.join(map(str, model.input_shape[1:]))}), found {patches.shape}; extract them "
            "at the size and with the channels it was trained on"
        )
    targets = np.asarray(targets)
    results = []
    for start in range(0, len(patches), BATCH):
        batch, of_batch = patches[start : start + BATCH], targets[start : start + BATCH]
        missing = BATCH - len(batch)
        # One size of batch: operations are compiled for each size anew.
        maps = feature_maps(model, np.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)]))
        gradients = logit_gradients(model, maps, np.pad(of_batch, (0, missing)))
        cams = [
            weighted_map(ops.convert_to_numpy(feature_map), gradient)
            for feature_map, gradient in zip(maps, gradients, strict=True)
        ]
        results.append(np.stack(cams, axis=1)[: len(batch)])
    return np.concatenate(results)


# --- a whole plane ------------------------------------------------------------------------------


def tile_table(shape: tuple[int, int], z: int, size_px: int, *, overlap: bool) -> pd.DataFrame:
    """Squares that cover a whole plane, as a table for `patches.extract_patches`.

    Parameters
    ----------
    shape
        Height and width of the plane, pixels, each at least `size_px`.
    z
        Number of the plane.
    size_px
        Edge of a tile, pixels.
    overlap
        Step by half a tile instead of a whole one; the paper gives no step.

    Returns
    -------
    DataFrame
        z, y, x, size_px, kept (true), row by row. Tiles start at 0, step, 2 · step…; the last
        row and column are moved inwards to end at the border.
    """
    step = max(1, size_px // 2) if overlap else size_px
    # The last start is the border's, and no other lies as far.
    y, x = (np.append(np.arange(0, length - size_px, step), length - size_px) for length in shape)
    return pd.DataFrame(
        {"z": z, "y": np.repeat(y, len(x)), "x": np.tile(x, len(y)), "size_px": size_px}
    ).assign(kept=True)


def stitch(
    maps: np.ndarray, table: pd.DataFrame, shape: tuple[int, int], *, overlap: bool
) -> np.ndarray:
    """Lay the small maps of all tiles over their places in the plane.

    Each map is resized bilinearly (centres of pixels aligned, held constant beyond the outermost
    centres), and where tiles overlap their mean is taken.

    Parameters
    ----------
    maps : (N, E, h, w) float
        Of the tiles of `table`, in its order.
    table
        Of `tile_table`, with the same `overlap`.
    shape
        Height and width of the plane, pixels.
    overlap
        Weight by a pyramid that is highest in the middle of a tile; else all pixels alike.

    Returns
    -------
    (E, H, W) float32
    """
    size = int(table["size_px"].iloc[0])
    rows, columns = (_bilinear_weights(length, size) for length in maps.shape[2:])
    index = np.arange(size)
    profile = np.minimum(index + 0.5, size - index - 0.5) if overlap else np.ones(size)
    window = np.outer(profile, profile)
    total = np.zeros((maps.shape[1], *shape))
    weight = np.zeros(shape)
    for tile, y, x in zip(maps, table["y"], table["x"], strict=True):
        place = np.s_[y : y + size, x : x + size]
        total[:, *place] += window * (rows @ tile @ columns.T)
        weight[place] += window
    return (total / weight).astype(np.float32)


def _bilinear_weights(length: int, size: int) -> np.ndarray:
    """Share of every old pixel in every new one along one axis, (size, length); rows sum to 1."""
    place = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(length)))


def plane_maps(
    model: keras.Model,
    volume: Volume,
    z: int,
    target: int,
    *,
    size_um: float,
    statistics: pd.DataFrame,
    overlap: bool,
) -> np.ndarray:
    """Grad-CAM of a whole plane, before ReLU, stitched from tiles of the size of a patch.

    Tiles are scaled and resized as training patches are; sparse ones are explained as well.

    Parameters
    ----------
    model
        Of `models.build_model`.
    volume, z
        The stack with the model's channels only, in its order (``volume.select``), and the plane.
    target
        Number of the class whose logit is explained.
    size_um
        Edge of a patch, µm; rounded to whole pixels of the stack.
    statistics
        Of `intensity.stack_statistics` for this volume.
    overlap
        See `tile_table`.

    Returns
    -------
    (E, Y, X) float32
        One map per encoder.

    Raises
    ------
    ExplainError
        The volume's channels are not the model's.
    PatchError
        A tile is larger than the plane.
    """
    encoders = encoder_names(model)
    named = [f"encoder_{channel}" for channel in volume.channels]
    if encoders != ["encoder"] and encoders != named:
        raise ExplainError(
            f"{volume.path}: expected the channels of {', '.join(encoders)}, found "
            f"{', '.join(volume.channels)}; select them in this order"
        )
    shape = volume.shape[2:]
    size_px = patch_size_px(volume, size_um)
    table = tile_table(shape, z, size_px, overlap=overlap)
    patches = extract_patches(volume, table, output_px=model.input_shape[1], statistics=statistics)
    maps = grad_cam(model, patches, np.full(len(patches), target))
    return stitch(maps, table, shape, overlap=overlap)


# --- do the maps resemble each other? -----------------------------------------------------------


def map_similarity(maps: np.ndarray, channels: Sequence[str]) -> pd.DataFrame:
    """How much each organelle's map of one image resembles the others and the fused map.

    The fused map contains the organelle's own, so that the two correlate even where organelles
    have nothing in common (a part with its whole). The correlation with the sum of the *other*
    maps is free of that.

    Parameters
    ----------
    maps : (C, H, W) float
        Before ReLU, two organelles or more.
    channels
        Names of the C organelles.

    Returns
    -------
    DataFrame
        organelle, compared_with (`WITH_OTHERS` or `WITH_FUSED`), value: Pearson's correlation
        over the pixels, NaN where one of the two maps is constant.
    """
    flat = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
    fused = flat.sum(axis=0)
    rows = []
    for channel, own in zip(channels, flat, strict=True):
        rows.append((channel, WITH_OTHERS, _pearson(own, fused - own)))
        rows.append((channel, WITH_FUSED, _pearson(own, fused)))
    return pd.DataFrame(rows, columns=["organelle", "compared_with", "value"])


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def mean_similarity(similarities: pd.DataFrame, *, repeats: int, seed: int) -> pd.DataFrame:
    """Mean correlation over images, with a 95 % bootstrap interval over groups within classes.

    Parameters
    ----------
    similarities
        Rows of `map_similarity` for every image, with the columns ``label`` and ``group``.
    repeats, seed
        Number of resamples, and their seed.

    Returns
    -------
    DataFrame
        organelle, compared_with, value, low, high, images: how many have a correlation. Images
        without one (NaN) are left out.

    Raises
    ------
    ExplainError
        An organelle has no correlation in any image.
    """
    rows = []
    compared = ["organelle", "compared_with"]
    for (organelle, other), found in similarities.groupby(compared, sort=False):
        known = found.dropna(subset="value")
        if known.empty:
            raise ExplainError(
                f"Grad-CAM of {organelle}: expected maps that vary, found them constant in all "
                f"{len(found)} images; train the network longer"
            )
        groups = known.groupby("group", sort=True)
        # A group that holds several classes ties them together, as in count_groups.
        tied = groups["label"].nunique().max() > 1
        stratum = np.zeros(len(groups)) if tied else pd.factorize(groups["label"].first())[0]
        weights = draw_groups(stratum, repeats, seed)
        sums, sizes = groups["value"].sum().to_numpy(), groups["value"].size().to_numpy()
        drawn = (weights @ sums) / (weights @ sizes)
        rows.append((organelle, other, known["value"].mean(), *interval(drawn), len(known)))
    return pd.DataFrame(rows, columns=[*compared, "value", "low", "high", "images"])
