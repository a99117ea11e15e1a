"""Where in a patch the evidence of a network for a class lies: four methods on one interface.

Grad-CAM and HiRes-CAM look at the last feature map of each encoder of `models.build_model`,
integrated gradients and occlusion at the pixels of each channel. Logits are explained, not
probabilities: softmax would mix in the evidence for all other classes. In every map, what is
positive speaks for the class and what is negative against it.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import keras
import numpy as np
import pandas as pd
from keras import ops

from organelle_fusion.gradients import (
    ExplainError,
    batches,
    check_patches,
    check_targets,
    gradient_function,
    target_logits,
)

# --- methods on feature maps --------------------------------------------------------------------


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


def product_map(feature_map: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """HiRes-CAM before its ReLU: features times their gradient at the same place.

    Parameters
    ----------
    feature_map, gradient
        Float (N, h, w, f) each.

    Returns
    -------
    (N, h, w) float32
        Σ_k A_k ∂logit/∂A_k (Draelos & Carin 2020, eq. 4).
    """
    return np.einsum("nhwf,nhwf->nhw", feature_map, gradient).astype(np.float32)


def _activation_map(
    model: keras.Model, patches: np.ndarray, targets: np.ndarray, combine: Callable
) -> np.ndarray:
    check_patches(model, patches)
    check_targets(model, patches, targets)
    run = gradient_function(model, "maps")
    results = []
    for batch, classes, size in batches(patches, targets):
        cams = [
            combine(ops.convert_to_numpy(feature_map), ops.convert_to_numpy(gradient))
            for feature_map, gradient in zip(*run(batch, classes), strict=True)
        ]
        results.append(np.stack(cams, axis=1)[:size])
    return np.concatenate(results)


def grad_cam(model: keras.Model, patches: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017) of every encoder, before ReLU, on one scale.

    The paper does not say how it fuses the organelles' maps. Here the fused map of intermediate
    fusion is Grad-CAM of the concatenated feature maps, which is the sum of the organelles' maps
    before ReLU: ``grad_cam(…).sum(axis=1)``. Parameters and errors as `explain_patches`.

    Returns
    -------
    (N, E, h, w) float32
        One map per encoder, in the order of the model's channels; one encoder in single-channel
        models and early fusion.
    """
    return _activation_map(model, patches, targets, weighted_map)


def hires_cam(model: keras.Model, patches: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """HiRes-CAM (Draelos & Carin 2020) of every encoder; all else as `grad_cam`.

    The two are equal where the maps are pooled by their mean right away, since all places then
    have one gradient. They differ for spatial fusion, whose mixing sees places.
    """
    return _activation_map(model, patches, targets, product_map)


# --- methods on pixels --------------------------------------------------------------------------


def integrated_gradients(
    model: keras.Model,
    patches: np.ndarray,
    targets: np.ndarray,
    *,
    baseline: float | np.ndarray = 0,
    steps: int = 32,
) -> np.ndarray:
    """Integrated gradients (Sundararajan et al. 2017, eq. 1), for every pixel of every channel.

    Parameters
    ----------
    model, patches, targets
        As in `explain_patches`.
    baseline
        Intensities, 0..255, of a patch without evidence, which the path begins at: 0 is black;
        ``patches.mean(axis=(0, 1, 2))`` is the mean of each channel, ``patches.mean(axis=0)``
        that of each pixel. Anything that broadcasts to (N, H, W, C).
    steps
        Points on the path, in the middles of as many equal stretches.

    Returns
    -------
    (N, C, H, W) float32
        In logits; the sum over channels and pixels is the logit less that of the baseline, up to
        what the finite number of steps leaves, see `completeness`.

    Raises
    ------
    ExplainError
        There is no step, or a part of one; patches, targets or backend, see `explain_patches`.
    """
    check_patches(model, patches)
    check_targets(model, patches, targets)
    if not steps >= 1 or steps % 1:
        raise ExplainError(
            f"steps: expected a whole number, 1 or more, found {steps}; give the number of "
            "points on the path"
        )
    run = gradient_function(model, "pixels")
    start = np.broadcast_to(np.asarray(baseline, np.float32), patches.shape)
    results = []
    for (batch, classes, size), (origin, _, _) in zip(
        batches(patches, targets), batches(start, targets), strict=True
    ):
        total = np.zeros_like(batch)
        for share in (np.arange(steps, dtype=np.float32) + 0.5) / steps:
            _, (gradient,) = run(origin + share * (batch - origin), classes)
            total += ops.convert_to_numpy(gradient)
        results.append(((batch - origin) * total / steps)[:size].transpose(0, 3, 1, 2))
    return np.concatenate(results)


def completeness(
    model: keras.Model,
    patches: np.ndarray,
    targets: np.ndarray,
    attributions: np.ndarray,
    *,
    baseline: float | np.ndarray = 0,
) -> pd.DataFrame:
    """Whether attributions add up to what they explain (Sundararajan et al. 2017, prop. 1).

    Parameters
    ----------
    model, patches, targets, baseline
        What the attributions were computed with.
    attributions : (N, C, H, W) float
        Of `integrated_gradients`.

    Returns
    -------
    DataFrame
        One row per patch: attributed, the sum; difference, logit of the patch less that of the
        baseline. Equal where the path has enough steps.

    Raises
    ------
    ExplainError
        See `gradients.target_logits`.
    """
    start = np.broadcast_to(np.asarray(baseline, np.float32), patches.shape)
    difference = target_logits(model, patches, targets) - target_logits(model, start, targets)
    attributed = attributions.sum(axis=(1, 2, 3), dtype=np.float64)
    return pd.DataFrame({"attributed": attributed, "difference": difference})


def occlusion(
    model: keras.Model,
    patches: np.ndarray,
    targets: np.ndarray,
    *,
    baseline: float | np.ndarray = 0,
    cells: int = 7,
) -> np.ndarray:
    """Drop of the logit when a square of one channel is covered (Zeiler & Fergus 2014).

    The squares lie side by side, and where the patch cannot be cut evenly they differ by a pixel.

    Parameters
    ----------
    model, patches, targets
        As in `explain_patches`.
    baseline
        Intensities, 0..255, that cover a square; see `integrated_gradients`.
    cells
        Squares along an edge, at most as many as pixels.

    Returns
    -------
    (N, C, cells, cells) float32
        In logits.

    Raises
    ------
    ExplainError
        `cells` is no whole number, or there are more squares than pixels along an edge; or what
        `gradients.target_logits` raises.
    """
    check_patches(model, patches)
    height, width, channels = patches.shape[1:]
    if not isinstance(cells, int | np.integer) or not 1 <= cells <= min(height, width):
        raise ExplainError(
            f"cells: expected a whole number from 1 to {min(height, width)}, the pixels along an "
            f"edge, found {cells}; choose another"
        )
    start = np.broadcast_to(np.asarray(baseline, np.float32), patches.shape)
    whole = target_logits(model, patches, targets)
    rows, columns = (np.arange(cells + 1) * length // cells for length in (height, width))
    result = np.empty((len(patches), channels, cells, cells), np.float32)
    for channel, row in np.ndindex(channels, cells):
        covered = np.repeat(patches[None].astype(np.float32), cells, axis=0)
        for column, state in enumerate(covered):
            square = np.s_[
                :, rows[row] : rows[row + 1], columns[column] : columns[column + 1], channel
            ]
            state[square] = start[square]
        result[:, channel, row] = (whole - target_logits(model, covered, targets)).T
    return result


# --- the one interface --------------------------------------------------------------------------

METHODS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        "grad_cam": grad_cam,
        "hires_cam": hires_cam,
        "integrated_gradients": integrated_gradients,
        "occlusion": occlusion,
    }
)
"""Name → function of (model, patches, targets) and options of its own."""


def explain_patches(
    model: keras.Model,
    patches: np.ndarray,
    targets: np.ndarray,
    method: str = "grad_cam",
    **options,
) -> np.ndarray:
    """Maps of patches by one of `METHODS`.

    Parameters
    ----------
    model
        Of `models.build_model`, also read back from a file.
    patches : (N, H, W, C), uint8 or float
        Patches as the network gets them, 0..255.
    targets : (N,) int
        Class whose logit is explained, for each patch.
    method
        Name of the method.
    options
        ``baseline`` and ``steps`` or ``cells``, for the methods on pixels.

    Returns
    -------
    (N, E, h, w) float32
        Positive where something speaks for the class. ``grad_cam`` and ``hires_cam``: one map per
        encoder, of the size of its feature map; ``integrated_gradients`` and ``occlusion``: one
        per channel, of the size of the patch and of the grid of squares.

    Raises
    ------
    ExplainError
        The method is not known, the patches do not fit the model, the targets are no numbers of
        its classes, an option is out of its range, or the backend gives no gradients here.
    """
    if method not in METHODS:
        raise ExplainError(
            f"method: expected {', '.join(METHODS)}, found {method!r}; choose one of these"
        )
    return METHODS[method](model, patches, targets, **options)
