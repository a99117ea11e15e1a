"""Are maps true to the network and to what was planted? Measures of maps that others have made.

Maps have one row per patch; what is positive speaks for the class that is explained.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import rankdata


def organelle_mass(maps: np.ndarray) -> np.ndarray:
    """Share of each organelle's map in all that speaks for the class.

    Parameters
    ----------
    maps : (N, E, h, w) float
        Before ReLU, on one scale.

    Returns
    -------
    (N, E) float64
        Shares of the positive mass, which add up to 1; equal where nothing is positive.
    """
    mass = np.maximum(maps, 0).sum(axis=(2, 3), dtype=np.float64)
    total = mass.sum(axis=1, keepdims=True)
    equal = np.full_like(mass, 1 / mass.shape[1])
    return np.divide(mass, total, out=equal, where=total > 0)


def enlarge(maps: np.ndarray, size: int) -> np.ndarray:
    """Bring maps to the size of their patch: every pixel takes the cell it lies in.

    Parameters
    ----------
    maps : (…, h, w)
        With h, w ≤ `size`.
    size
        Edge of the patch, pixels.

    Returns
    -------
    (…, size, size)
    """
    rows, columns = (np.arange(size) * length // size for length in maps.shape[-2:])
    return maps[..., rows[:, None], columns]


def mass_in_mask(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """How much denser the positive mass lies inside a mask than outside, as a share.

    Parameters
    ----------
    maps : (N, H, W) float
        Of one organelle, see `enlarge`.
    masks : (N, H, W) bool
        Where it was planted.

    Returns
    -------
    (N,) float64
        Share of the positive mass inside the mask less the share of the area that it covers: 0 if
        the map does not know of the mask; NaN where nothing is positive, or the mask is empty or
        full.
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    total, area = positive.sum(axis=(1, 2)), masks.mean(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    known = (total > 0) & (area > 0) & (area < 1)
    share = np.divide(inside, total, out=np.full(len(maps), np.nan), where=known)
    return share - area


def pointing(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pointing game (Zhang et al. 2018): is the highest place of the map inside the mask?

    Parameters
    ----------
    maps, masks
        As in `mass_in_mask`.

    Returns
    -------
    (N,) float64
        1 for a hit and 0 for a miss, shares of it where several pixels are highest, less the share
        of the area that the mask covers: 0 on average for a map that points anywhere. NaN where
        the map is constant, or the mask is empty or full.
    """
    flat, inside = maps.reshape(len(maps), -1), masks.reshape(len(maps), -1)
    highest = flat == flat.max(axis=1, keepdims=True)
    area = inside.mean(axis=1)
    known = (np.ptp(flat, axis=1) > 0) & (area > 0) & (area < 1)
    hits = (highest & inside).sum(axis=1) / highest.sum(axis=1)
    return np.where(known, hits - area, np.nan)


def removal_curves(
    score: Callable[[np.ndarray], np.ndarray],
    patches: np.ndarray,
    maps: np.ndarray,
    baseline: np.ndarray,
    *,
    steps: int,
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Deletion and insertion (Petsiuk et al. 2018) by a map, and by places drawn by lot.

    Pixels of each channel are replaced by the baseline, highest places of the map first
    (deletion); or brought back into the baseline in the same order (insertion). A map that knows
    what the score rests on lets it fall sooner, and rise sooner, than a random order of places
    that are as large.

    Parameters
    ----------
    score
        States of the patches (S, N, H, W, C) → their scores (S, N).
    patches, baseline : (N, H, W, C)
        What is explained, and what stands for a pixel that is taken away.
    maps : (N, C, h, w) float
        A map per channel, on one scale; a place is one of its cells in one channel.
    steps
        Number of equal portions that all places are taken in.
    seed
        Of the random order.

    Returns
    -------
    dict
        ``deletion`` and ``insertion`` → ``map`` and ``lot`` → (N, steps + 1) float64, the score
        after so many portions, with none taken first and all taken last.
    """
    size = patches.shape[1]
    flat = maps.reshape(len(maps), -1)
    random = np.random.default_rng(seed).random(flat.shape)
    curves: dict[str, dict[str, np.ndarray]] = {"deletion": {}, "insertion": {}}
    for name, ranked in (("map", flat), ("lot", random)):
        # Ties are broken by lot, so that a constant map is no better than chance.
        order = np.argsort(np.lexsort((-random, -ranked), axis=1), axis=1) / flat.shape[1]
        place = enlarge(order.reshape(maps.shape), size).transpose(0, 2, 3, 1)
        taken = np.stack([place < step / steps for step in range(steps + 1)])
        deleted = score(np.where(taken, baseline, patches))
        inserted = score(np.where(taken, patches, baseline))
        curves["deletion"][name] = np.asarray(deleted, np.float64).T
        curves["insertion"][name] = np.asarray(inserted, np.float64).T
    return curves


def removal_gain(curves: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """How much better than lot a map is at deletion and insertion.

    Parameters
    ----------
    curves
        Of `removal_curves`.

    Returns
    -------
    dict
        ``deletion`` and ``insertion``, (N,) float64: by how much the mean score along the curve,
        without its two ends, is lower, or higher, by the map than by lot; positive is better in
        both.
    """
    mean = {
        kind: {name: curve[:, 1:-1].mean(axis=1) for name, curve in of_kind.items()}
        for kind, of_kind in curves.items()
    }
    return {
        "deletion": mean["deletion"]["lot"] - mean["deletion"]["map"],
        "insertion": mean["insertion"]["map"] - mean["insertion"]["lot"],
    }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two sets of maps, patch by patch.

    For the sanity checks of Adebayo et al. (2018): maps of a network that has learnt nothing, or
    learnt labels drawn by lot, should not resemble those of the trained one.

    Parameters
    ----------
    a : (N, …) float
        Maps.
    b : (N, …) float
        Other maps of the same patches.

    Returns
    -------
    (N,) float64
        Absolute value, since a map of reversed sign shows the same places; NaN where a map is
        constant.
    """
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (a, b)]
    centred = [of_map - of_map.mean(axis=1, keepdims=True) for of_map in ranks]
    size = np.sqrt([(of_map**2).sum(axis=1) for of_map in centred])
    known = size.prod(axis=0) > 0
    together = (centred[0] * centred[1]).sum(axis=1)
    none = np.full(len(a), np.nan)
    return np.abs(np.divide(together, size.prod(axis=0), out=none, where=known))
