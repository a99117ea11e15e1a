"""Threshold and intensity range of every channel of a stack, by one pass over its planes."""

import math
import threading
from collections import deque
from collections.abc import Callable
from functools import reduce

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from organelle_fusion.config import UserError
from organelle_fusion.streaming import map_channels, map_planes
from organelle_fusion.volumes import Volume

FLOAT_BINS = 65_536
"""Bins of the histogram of a float channel, from its smallest to its largest value."""
FEWEST_BINS = 32
"""So many bins apart are the two `PERCENTILES` of floats at least, each off by half a bin: together
by 3 % of the range between them. One voxel far from all others makes the bins wide."""
PERCENTILES = (1.0, 99.9)
"""Intensities that become 0 and 255 in a patch; what lies beyond is clipped."""


class PatchError(UserError):
    """A stack that gives no patches, or a patch set that cannot be used; one line."""


def stack_statistics(volume: Volume) -> pd.DataFrame:
    """Threshold and intensity range of every channel, over the whole stack.

    Integers of 8 and 16 bits are counted exactly, one bin per value, so that the threshold is
    that of ``skimage.filters.threshold_otsu`` of the whole array. Floats are counted in 65,536
    bins between their extremes; threshold, percentiles and extremes are then bin centres, and the
    voxels of the last bin count as those with the largest value.

    Parameters
    ----------
    volume
        The stack, `(C, Z, Y, X)`; one channel of one plane is in memory for each thread.

    Returns
    -------
    DataFrame
        One row per channel: ``channel``; ``otsu`` (foreground is above it); ``low``, ``high`` (1
        and 99.9 percentile, or the extremes where these two coincide); ``saturated`` (share of
        the voxels that hold the channel's largest value, whatever the bit depth).

    Raises
    ------
    PatchError
        A channel is constant, or holds NaN, infinity or floats that the bins cannot tell apart; or
        the data type is none of the above.
    """
    rows = []
    for channel, (counts, values) in zip(volume.channels, channel_histograms(volume), strict=True):
        low, high = histogram_percentiles(counts, values)
        if low == high:
            low, high = values[0], values[-1]
        rows.append(
            {
                "channel": channel,
                "otsu": threshold_otsu(hist=(counts, values)),
                "low": low,
                "high": high,
                "saturated": counts[-1] / counts.sum(),
            }
        )
    return pd.DataFrame(rows)


def histogram_percentiles(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The two `PERCENTILES` of what was counted, each a value of those that were found."""
    below = np.cumsum(counts)
    return values[np.searchsorted(below, np.ceil(np.array(PERCENTILES) / 100 * below[-1]))]


def channel_histograms(volume: Volume) -> list[tuple[np.ndarray, np.ndarray]]:
    """Counts and intensities of each channel over the whole stack, as `stack_statistics` counts."""
    found = count_channels(volume)
    for channel, (_, values) in zip(volume.channels, found, strict=True):
        _check_varies(volume, channel, values[0], values[-1])
    return found


def count_channels(
    volume: Volume, each: Callable[[int, int, np.ndarray], None] | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Count as `channel_histograms` does, constant channels as well, and look at every page once.

    Parameters
    ----------
    volume
        The stack.
    each
        Called in a thread with the number of a plane, that of a channel and the pixels ``(Y, X)``,
        which it must not keep, when they are counted: a second look needs no second reading.

    Returns
    -------
    list of (counts, values)
        One pair for each channel; the first and last value are the extremes of integers, and of
        floats the middles of the first and last bin. They are equal in a constant channel.

    Raises
    ------
    PatchError
        A channel holds NaN, infinity or floats that the bins cannot tell apart, or the data type is
        none of `stack_statistics`'s.
    """
    if volume.dtype.kind in "iu" and volume.dtype.itemsize <= 2:
        return _integer_histograms(volume, each)
    if volume.dtype.kind == "f":
        return _float_histograms(volume, each)
    raise PatchError(
        f"{volume.path}: expected 8- or 16-bit integers or floats, found {volume.dtype}; "
        "convert the stack to uint16 or float32"
    )


def binned_histograms(
    volume: Volume, statistics: pd.DataFrame, bins: int = 200
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Histogram of each channel in bins to look at, none of which its threshold divides.

    Parameters
    ----------
    volume, statistics
        A stack, and what `stack_statistics` gives of it.
    bins
        About how many; all hold equally many grey levels, or a comb would be seen.

    Returns
    -------
    dict
        Channel → edges (B + 1,) and voxel counts (B,).
    """
    result = {}
    thresholds = statistics.set_index("channel")["otsu"]
    for channel, (counts, values) in zip(volume.channels, channel_histograms(volume), strict=True):
        step = values[1] - values[0]
        width = step * -(-len(values) // bins)
        above = thresholds[channel] + step / 2  # between two values
        lower = -(-(above - values[0] + step / 2) // width)  # whole bins below it, and above
        upper = -(-(values[-1] + step / 2 - above) // width)
        edges = above + width * np.arange(-lower, upper + 1)
        result[channel] = (edges, np.histogram(values, edges, weights=counts)[0])
    return result


def display_plane(volume: Volume, z: int, statistics: pd.DataFrame) -> np.ndarray:
    """One plane scaled as the patches are, float64 (C, Y, X) of 0…1: `low` is 0, `high` is 1."""
    low, high = (
        statistics.set_index("channel").loc[list(volume.channels), name].to_numpy()[:, None, None]
        for name in ("low", "high")
    )
    return np.clip((volume.plane(z) - low) / (high - low), 0, 1)


def display_projection(volume: Volume) -> np.ndarray:
    """Maximum along z to look at, float64 (C, Y, X) of 0…1: 0 is percentile 1, 1 is 99.7."""
    greatest = reduce(np.maximum, volume.planes()).astype(np.float64)
    low, high = np.percentile(greatest, [1, 99.7], axis=(1, 2))[..., None, None]
    return np.clip((greatest - low) / np.maximum(high - low, 1e-9), 0, 1)


def _integer_histograms(
    volume: Volume, each: Callable[[int, int, np.ndarray], None] | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Counts and values of each channel, from its smallest to its largest value."""
    from organelle_fusion.kernels import count_values

    limits = np.iinfo(volume.dtype)
    size = limits.max - limits.min + 1
    # half the memory is nearly twice as fast, where no count can exceed it
    narrow = np.int32 if math.prod(volume.shape[1:]) < 2**31 else np.int64

    def count(channel: int, pixels: np.ndarray, counts: np.ndarray) -> None:
        count_values(pixels.reshape(-1).view(f"u{pixels.itemsize}"), counts)

    counts = _total_of_pages(volume, count, (2, size), narrow, each).sum(axis=1)
    # negative numbers were counted as those above the largest
    counts = np.roll(counts, -limits.min, axis=1)
    found = []
    for of_channel in counts:
        present = np.flatnonzero(of_channel)
        first, last = present[0], present[-1]
        found.append((of_channel[first : last + 1], np.arange(first, last + 1) + limits.min))
    return found


def _float_histograms(
    volume: Volume, each: Callable[[int, int, np.ndarray], None] | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Counts and bin centres of each channel; the extremes need a pass of their own."""

    def extremes(z: int, plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bad = ~np.isfinite(plane).all(axis=(1, 2))
        if bad.any():
            channel = volume.channels[int(np.argmax(bad))]
            raise PatchError(
                f"{volume.path}: channel {channel}: expected finite intensities, found NaN or "
                f"infinity in plane {z}; replace them or leave the image out"
            )
        return plane.min(axis=(1, 2)), plane.max(axis=(1, 2))

    lows, highs = zip(*map_planes(volume, extremes), strict=True)
    low, high = (found.astype(np.float64) for found in (np.min(lows, 0), np.max(highs, 0)))
    for channel, first, last in zip(volume.channels, low, high, strict=True):
        bin_width = last / FLOAT_BINS - first / FLOAT_BINS
        told_apart = np.spacing(max(abs(first), abs(last))) <= bin_width
        if first < last and not (told_apart and np.isfinite(bin_width * FLOAT_BINS)):
            raise PatchError(
                f"{volume.path}: channel {channel}: expected intensities that {FLOAT_BINS:,} bins "
                f"can tell apart, found {first:.17g} to {last:.17g}; check the column channel_map, "
                "scale the channel or leave the image out"
            )

    def count(channel: int, pixels: np.ndarray, counts: np.ndarray) -> None:
        # 64 bits: neighbouring bin edges can be equal in 32
        limits = (low[channel], high[channel])
        counts += np.histogram(pixels.astype(np.float64), FLOAT_BINS, limits)[0]

    counts = _total_of_pages(volume, count, (FLOAT_BINS,), np.int64, each)
    edges = np.linspace(low, high, FLOAT_BINS + 1, axis=1)
    for single, found, of_channel in zip(volume.split(), counts, edges, strict=True):
        _check_resolved(single, found, of_channel)
    return list(zip(counts, (edges[:, 1:] + edges[:, :-1]) / 2, strict=True))


def _check_resolved(volume: Volume, counts: np.ndarray, edges: np.ndarray) -> None:
    """Refuse a channel of which nearly all voxels share a few bins, unless they have one value."""
    first, last = histogram_percentiles(counts, np.arange(FLOAT_BINS))
    if edges[0] == edges[-1] or last - first >= FEWEST_BINS:
        return
    lower, upper = edges[first], edges[last + 1] if last + 1 < FLOAT_BINS else np.inf

    def extremes(_: int, plane: np.ndarray) -> tuple[float, float]:
        inside = plane[(plane >= lower) & (plane < upper)]
        return inside.min(initial=np.inf), inside.max(initial=-np.inf)

    lows, highs = zip(*map_planes(volume, extremes), strict=True)
    if min(lows) < max(highs):
        raise PatchError(
            f"{volume.path}: channel {volume.channels[0]}: expected intensities that "
            f"{FLOAT_BINS:,} bins can tell apart, found {edges[0]:.6g} to {edges[-1]:.6g} and in "
            f"{last - first + 1} of the bins {PERCENTILES[1] - PERCENTILES[0]:g} % of the voxels; "
            "replace the voxels that lie far from all others, or leave the image out"
        )


def _total_of_pages(
    volume: Volume,
    add: Callable[[int, np.ndarray, np.ndarray], None],
    shape: tuple[int, ...],
    dtype: type[np.signedinteger],
    each: Callable[[int, int, np.ndarray], None] | None,
) -> np.ndarray:
    """Let ``add(channel, pixels, counts)`` count every page; int64 (C, *shape).

    Each thread counts into an array of its own, of the type given, so that none waits.
    """
    own, of_threads = threading.local(), []

    def add_page(z: int, channel: int, pixels: np.ndarray) -> None:
        if not hasattr(own, "counts"):
            own.counts = np.zeros((len(volume.channels), *shape), dtype)
            of_threads.append(own.counts)
        add(channel, pixels, own.counts[channel])
        if each is not None:
            each(z, channel, pixels)

    deque(map_channels(volume, add_page), maxlen=0)
    return np.sum(of_threads, axis=0, dtype=np.int64)


def _check_varies(volume: Volume, channel: str, low: float, high: float) -> None:
    if low == high:
        raise PatchError(
            f"{volume.path}: channel {channel}: expected intensities that vary, found {low} in "
            "every voxel; check the column channel_map or leave the image out"
        )


def otsu_thresholds(volume: Volume) -> np.ndarray:
    """Otsu threshold of every channel over the whole stack, (C,); foreground is above it."""
    return stack_statistics(volume)["otsu"].to_numpy()
