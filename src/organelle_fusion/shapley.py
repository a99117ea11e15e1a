"""Which channel speaks for a class: exact Shapley values over all sets of channels."""

from collections.abc import Callable
from itertools import product
from math import factorial
from typing import NamedTuple

import numpy as np

from organelle_fusion.config import UserError

ABSENT = ("black", "mean", "another patch")
"""What can stand for an absent channel, see `absent_patches`."""


class ShapleyError(UserError):
    """Channels that cannot be valued as asked; the message is one line."""


class ShapleyValues(NamedTuple):
    """Parts of the channels in a score: ``parts.sum(axis=1)`` is ``score - baseline``."""

    parts: np.ndarray  # (N, C)
    baseline: np.ndarray  # (N,) score with all channels absent
    score: np.ndarray  # (N,) score with all channels there


def absent_patches(patches: np.ndarray, training: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Stand-ins for absent channels, of the shape and type of `patches`.

    Parameters
    ----------
    patches : (N, H, W, C) uint8
        To be explained.
    training : (M, H, W, C) uint8
        Patches that the network was trained on.
    kind
        ``black``: 0. ``mean``: the mean of each channel over `training`, rounded. ``another
        patch``: a training patch drawn for each patch and channel; it looks like an organelle, but
        says nothing of this patch.
    seed
        Of the drawing.

    Returns
    -------
    (N, H, W, C) uint8

    Raises
    ------
    ShapleyError
        The kind is not known.
    """
    if kind == "black":
        return np.zeros_like(patches)
    if kind == "mean":
        means = np.rint(training.mean(axis=(0, 1, 2))).astype(patches.dtype)
        return np.broadcast_to(means, patches.shape).copy()
    if kind == "another patch":
        rng = np.random.default_rng(seed)
        drawn = [
            training[rng.integers(len(training), size=len(patches)), ..., channel]
            for channel in range(patches.shape[3])
        ]
        return np.stack(drawn, axis=-1)
    raise ShapleyError(
        f"absent channel: expected one of {', '.join(ABSENT)}, found {kind!r}; choose one of these"
    )


def shapley_values(
    score: Callable[[np.ndarray], np.ndarray], patches: np.ndarray, absent: np.ndarray
) -> ShapleyValues:
    """Exact Shapley values (Shapley 1953) of the channels, over all 2ᶜ sets of them.

    The part of a channel is what it adds to the score, averaged over the orders in which channels
    can be added. Parts add up to the whole, two channels that add alike have equal parts, and one
    that adds nothing to any set has none.

    Parameters
    ----------
    score
        States of the patches (S, N, H, W, C) → their scores (S, N), such as the logit of each
        patch's true class.
    patches : (N, H, W, C)
        To be explained.
    absent : (N, H, W, C)
        What stands in for absent channels, see `absent_patches`. No value is right as such: it
        decides what "absent" means, so state it, and vary it.

    Returns
    -------
    ShapleyValues
    """
    n_channels = patches.shape[3]
    sets = list(product((0, 1), repeat=n_channels))
    states = np.stack([np.where(np.array(present, bool), patches, absent) for present in sets])
    scores = dict(zip(sets, np.asarray(score(states), np.float64), strict=True))
    parts = np.zeros((len(patches), n_channels))
    for present, without in scores.items():
        size = sum(present)
        weight = factorial(size) * factorial(n_channels - size - 1) if size < n_channels else 0
        for channel in range(n_channels):
            if not present[channel]:
                joined = (*present[:channel], 1, *present[channel + 1 :])
                gain = scores[joined] - without
                parts[:, channel] += weight / factorial(n_channels) * gain
    return ShapleyValues(parts, scores[(0,) * n_channels], scores[(1,) * n_channels])
