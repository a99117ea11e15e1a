"""What one look at every pixel of an image tells: range, saturation, structure, content."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import tifffile
from skimage.filters import threshold_otsu

from organelle_fusion.config import NUCLEUS, Profile, paper_px_to_um
from organelle_fusion.image_paths import split_path
from organelle_fusion.intensity import (
    PatchError,
    count_channels,
    histogram_percentiles,
    stack_statistics,
)
from organelle_fusion.patches import patch_tables
from organelle_fusion.volumes import Volume
from organelle_fusion.wording import percent

PILED_UP = 2
"""So many times the voxels of the next lower value make those of the largest a pile-up: what a
detector or a conversion has cut lies all there, while the tail of a whole image falls."""

SATURATED = 0.001
"""Share of voxels at the largest value that is worth a warning: patches clip the brightest 0.1 %
of a channel in any case (`intensity.PERCENTILES`), so fewer change nothing that a network sees."""

UNRELATED = 0.2
"""Correlation of pixels side by side below which a channel is noise. That of the real cells in
chapter 9 is 0.4 and more, that of the phantom 0.75; a detector's noise alone has 0."""

SUFFIXES = (".ome.tif", ".ome.tiff", ".ome.zarr", ".tif", ".tiff", ".lsm", ".czi", ".zarr")
"""Ends of names of images, the longer before those that they end in; Zarr ones are folders."""


def image_suffix(path: str) -> str:
    """End of an image's path out of `SUFFIXES`, whichever image of the file it names, or ""."""
    name = str(split_path(path)[0]).lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def acquisition_date(path: str) -> str | None:
    """Day on which an OME-TIFF says that its image was taken, YYYY-MM-DD; None if it does not."""
    if image_suffix(path) not in (".ome.tif", ".ome.tiff", ".tif", ".tiff"):
        return None
    file, number = split_path(path)
    try:
        with tifffile.TiffFile(file) as tiff:
            text = tiff.ome_metadata
    except tifffile.TiffFileError:  # of another format, whatever it is called
        return None
    if not text:
        return None
    images = [
        node
        for node in ElementTree.fromstring(text).findall("{*}Image")
        if node.find("{*}Pixels") is not None
    ]
    chosen = images[number or 0 : (number or 0) + 1]
    node = chosen[0].find("{*}AcquisitionDate") if chosen else None
    return node.text[:10] if node is not None and node.text else None


def inspect_channels(volume: Volume) -> pd.DataFrame:
    """Look at every voxel of a stack once, a page for each thread in memory.

    Parameters
    ----------
    volume
        The stack.

    Returns
    -------
    DataFrame
        One row per channel: ``channel``; ``smallest``, ``largest`` (of floats the middles of the
        first and last bin of `intensity.count_channels`); ``range`` (between the
        percentiles that become 0 and 255 in patches); ``saturated`` (share of the voxels at the
        largest value, if that is the last one of the data type or they are a pile-up, see
        `PILED_UP`; else 0; so cut 12- and 14-bit data are found in 16 bits as well);
        ``foreground`` (share above Otsu's threshold; NaN where constant); ``correlation`` (of
        pixels side by side, within planes: noise has 0, an image spreads a point over several
        pixels); ``planes``, and of these ``flat_planes`` (one value in all of it) and
        ``repeated_planes`` (others with the pixels of another); ``sha256`` (of the numbers,
        whatever their type, and of the shape: equal in all formats).

    Raises
    ------
    PatchError, VolumeError
        NaN, floats that cannot be told apart, or a type that is not analysed; the file is damaged.
    """
    digests: dict[tuple[int, int], bytes] = {}
    moments: dict[tuple[int, int], tuple[float, float]] = {}
    flat: set[tuple[int, int]] = set()

    def look(z: int, channel: int, pixels: np.ndarray) -> None:
        # 32 bits hold every integer of 16, are faster to hash, and often all that 64 hold.
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(pixels, "<f4")
        if pixels.dtype == np.float64 and not np.array_equal(numbers, pixels):
            numbers = np.ascontiguousarray(pixels, "<f8")
        digests[z, channel] = hashlib.sha256(numbers.data).digest()
        if (pixels == pixels[0, 0]).all():  # the mean of equal numbers is theirs but for rounding
            flat.add((z, channel))
        moments[z, channel] = _moments(numbers)

    rows = []
    for index, (counts, values) in enumerate(count_channels(volume, look)):
        planes = range(volume.shape[1])
        together, alone = np.sum([moments[z, index] for z in planes], axis=0)
        uneven = [z for z in planes if (z, index) not in flat]
        alike = Counter(digests[z, index] for z in uneven)
        content = hashlib.sha256(str(volume.shape[1:]).encode())
        for z in planes:
            content.update(digests[z, index])
        rows.append(
            {
                "channel": volume.channels[index],
                **_of_histogram(counts, values, volume.dtype),
                "correlation": together / alone if alone > 0 else 0.0,
                "planes": len(planes),
                "flat_planes": len(planes) - len(uneven),
                "repeated_planes": sum(count for count in alike.values() if count > 1),
                "sha256": content.hexdigest(),
            }
        )
    return pd.DataFrame(rows)


def plane_correlation(pixels: np.ndarray) -> float:
    """Correlation of pixels side by side in one plane of a channel; NaN where all are equal."""
    if (pixels == pixels[0, 0]).all():
        return math.nan
    together, alone = _moments(np.asarray(pixels, np.float64))
    return together / alone


def _moments(numbers: np.ndarray) -> tuple[float, float]:
    """Sums about the mean: of products of pixels side by side, and of the squares of either."""
    numbers = numbers - numbers.mean()
    left, right = numbers[:, :-1], numbers[:, 1:]
    squares = (np.vdot(left, left) + np.vdot(right, right)) / 2
    return float(np.einsum("ij,ij->", left, right)), float(squares)


def inspect_analysed(volume: Volume, wanted: Sequence[str]) -> pd.DataFrame:
    """`inspect_channels` of all channels, or of those that are analysed if others prevent it.

    Parameters
    ----------
    volume
        The stack.
    wanted
        The channels that are analysed, beside the nucleus.

    Returns
    -------
    DataFrame
        Of `inspect_channels`.

    Raises
    ------
    PatchError, VolumeError
        As `inspect_channels`, of a channel that is analysed, or of any where one is missing.
    """
    try:
        return inspect_channels(volume)
    except PatchError:
        others = set(volume.channels) - {*wanted, NUCLEUS}
        analysed = [name for name in volume.channels if name not in others]
        # Where a name is missing, or stands there twice, any channel may be the one.
        unsure = not set(wanted).issubset(analysed) or len(analysed) > len(set(analysed))
        if unsure or not others:
            raise
        return inspect_channels(volume.select(analysed))


def sizes_without_patches(volume: Volume, profile: Profile) -> Iterator[tuple[str, str]]:
    """Say of which sizes the sparsity filter keeps no patch of a stack, as chapters 2 and 3 ask.

    Nothing is said of a stack that lacks a channel, has one twice or a constant one, or is smaller
    than the largest patch, which is told of it in any case.

    Yields
    ------
    tuple of str
        What was found, and what to do.
    """
    channels, settings = profile.channels, profile.patches
    if sorted(name for name in volume.channels if name in channels) != sorted(channels):
        return
    volume = volume.select(channels)
    sizes = sorted({settings.size_px, *settings.sizes_px})
    try:
        statistics = stack_statistics(volume)
        tables = patch_tables(
            volume,
            [paper_px_to_um(size) for size in sizes],
            min_foreground=settings.min_foreground,
            statistics=statistics,
        )
    except PatchError:
        return
    empty = [(size, len(t)) for size, t in zip(sizes, tables, strict=True) if not t["kept"].any()]
    if empty:
        listed = ", ".join(f"{size} px (none of {count})" for size, count in empty)
        yield (
            f"keeps no patch of {listed}: organelles cover less than "
            f"{percent(settings.min_foreground)} of each",
            "lower patches.min_foreground or choose smaller patches in a profile of your own, or "
            "leave the image out",
        )


def _of_histogram(counts: np.ndarray, values: np.ndarray, dtype: np.dtype) -> dict[str, Any]:
    total = counts.sum()
    low, high = histogram_percentiles(counts, values)
    smallest, largest = float(values[0]), float(values[-1])
    described = {"smallest": smallest, "largest": largest, "range": float(high - low)}
    if smallest == largest:
        return described | {"saturated": 0.0, "foreground": math.nan}
    next_lower = counts[np.flatnonzero(counts)[-2]]
    last = dtype.kind in "iu" and largest == np.iinfo(dtype).max
    cut = last or counts[-1] > PILED_UP * next_lower
    otsu = threshold_otsu(hist=(counts, values))
    return described | {
        "saturated": float(counts[-1] / total) if cut else 0.0,
        "foreground": float(counts[values > otsu].sum() / total),
    }
