"""Cells of an adherent layer: found by their nuclei, each with the territory around it.

The outlines are those of a projection along z, as hand-drawn ones are: cells that grow on glass lie
side by side, and what lies above or below a pixel of a cell belongs to that cell.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import closing, disk
from skimage.segmentation import watershed
from skimage.transform import downscale_local_mean

from organelle_fusion.config import NUCLEUS, UserError
from organelle_fusion.volumes import Volume

# Cells are found on pixels of about this size: far below a nucleus, and quick.
_COARSE_UM = 0.4
_SMOOTHING_UM = 0.4
# Two peaks of the distance inside one blob are two nuclei if they are farther apart than this.
_NUCLEUS_SPACING_UM = 3.0
_SMALLEST_NUCLEUS_UM2 = 20.0
# Gaps between the organelles of a cell are no gaps between cells.
_CLOSING_UM = 2.0
_SMALLEST_CELL_UM2 = 20.0
# A border between cells follows the dark between them: so many µm of the way to a nucleus weigh as
# much as the range of light, which is averaged over all channels and about the other length.
_DARKNESS_UM, _DARKNESS_SMOOTHING_UM = 12.0, 0.6

BORDER, NO_NUCLEUS = "touches the border of the image", "no nucleus"


class CellError(UserError):
    """A stack in which no cells can be looked for; the message is one line."""


class Cells(NamedTuple):
    """Cells of one stack.

    Attributes
    ----------
    labels
        uint16 (Y, X): id of the cell at each pixel, 0 outside. Only cells that are kept have one.
    nuclei
        uint16 (Y, X): the same ids, within the outlines of the nuclei.
    dropped
        Reason → number of cells left out for it.
    """

    labels: np.ndarray
    nuclei: np.ndarray
    dropped: dict[str, int]


def segment_cells(volume: Volume, channels: Sequence[str], *, reach_um: float) -> Cells:
    """Find whole cells by a watershed that starts at the nuclei.

    Nuclei are what exceeds Otsu's threshold in the mean projection of their channel; touching ones
    are parted at the peaks of the distance inside. The cytoplasm is what exceeds Otsu's threshold
    in the mean projection of any organelle, with gaps closed. It is shared out among the nuclei by
    a watershed on the distance from them, which prefers dark borders. This stands in for outlines
    drawn by hand (OTCCP: Wang et al., iScience 26:107229, 2023).

    Parameters
    ----------
    volume
        A stack with these channels and ``nucleus``.
    channels
        Organelles, whose signal marks the cytoplasm.
    reach_um
        What is farther than this beyond the outline of a nucleus belongs to no cell. Without it, a
        cell would take in what the border has left of a neighbour, and be taken for one that it
        cuts.

    Returns
    -------
    Cells
        Those that lie wholly inside the image, as far as the reach. Cells that touch its lateral
        border, and stretches of cytoplasm without a nucleus, are counted under ``dropped``.

    Raises
    ------
    CellError
        A channel is constant or not finite.
    VolumeError
        A channel is missing.
    """
    names = (NUCLEUS, *channels)
    volume = volume.select(names)
    factor = max(1, round(_COARSE_UM / volume.pixel_size_um))
    pixel = factor * volume.pixel_size_um
    total = np.zeros((len(names), *volume.shape[2:]))
    for plane in volume.planes():
        total += plane
    if not np.isfinite(total).all():
        name = names[int(np.argmin(np.isfinite(total).all(axis=(1, 2))))]
        raise CellError(
            f"{volume.path}: channel {name}: expected finite intensities, found NaN or infinity; "
            "mend the file, or leave the image out"
        )
    projection = [_coarse(one, factor, _SMOOTHING_UM / pixel) for one in total / volume.shape[1]]
    masks = []
    for name, one in zip(names, projection, strict=True):
        if one.min() == one.max():
            raise CellError(
                f"{volume.path}: channel {name}: expected signal, found the same value everywhere; "
                "check channel_map, or leave the image out"
            )
        masks.append(one > threshold_otsu(one))
    nuclei = _part_nuclei(ndimage.binary_fill_holes(masks[0]), pixel)
    # Beyond the border there is nothing, or closing would lead every cell near it up to it.
    reach = round(_CLOSING_UM / pixel)
    cytoplasm = closing(np.pad(np.any(masks, axis=0), reach), disk(reach))
    cytoplasm = cytoplasm[reach:-reach, reach:-reach] | (nuclei > 0)
    away = ndimage.distance_transform_edt(nuclei == 0) * pixel
    light = np.mean([_relative(one) for one in projection[1:]], axis=0)
    light = ndimage.gaussian_filter(light, _DARKNESS_SMOOTHING_UM / pixel)
    near = cytoplasm & (away < reach_um)
    territories = watershed(away - _DARKNESS_UM * light, nuclei, mask=near)
    stretches = label(cytoplasm)
    bare = np.setdiff1d(stretches, np.append(stretches[nuclei > 0], 0))
    orphans = int((np.bincount(stretches.ravel())[bare] * pixel**2 >= _SMALLEST_CELL_UM2).sum())
    edge = np.ones(territories.shape, bool)
    edge[1:-1, 1:-1] = False
    cut = np.setdiff1d(territories[edge], 0)
    whole = np.setdiff1d(territories, np.append(cut, 0))
    numbers = np.zeros(territories.max() + 1, np.uint16)
    numbers[whole] = np.arange(1, len(whole) + 1)
    labels, nuclei = (
        _enlarge(numbers[part], factor, volume.shape[2:]) for part in (territories, nuclei)
    )
    return Cells(labels, nuclei, {BORDER: len(cut), NO_NUCLEUS: orphans})


def _coarse(one: np.ndarray, factor: int, sigma: float) -> np.ndarray:
    """Average blocks of pixels, those at the end filled up with their edge, and smooth."""
    missing = [(0, -length % factor) for length in one.shape]
    blocks = downscale_local_mean(np.pad(one, missing, mode="edge"), (factor, factor))
    return ndimage.gaussian_filter(blocks, sigma)


def _relative(one: np.ndarray) -> np.ndarray:
    """Light of a channel from its median, in units of the range of all but its extremes."""
    low, middle, high = np.percentile(one, [5, 50, 95])
    return np.clip((one - middle) / max(high - low, 1e-9), -2, 2)


def _part_nuclei(mask: np.ndarray, pixel: float) -> np.ndarray:
    """Number the nuclei of a mask from 1; those that touch each other are parted, (Y, X)."""
    blobs = label(mask)
    areas = np.bincount(blobs.ravel()) * pixel**2
    at_edge = np.unique(np.concatenate([blobs[0], blobs[-1], blobs[:, 0], blobs[:, -1]]))
    small = areas < _SMALLEST_NUCLEUS_UM2
    small[at_edge] = False  # the border may have cut it
    blobs[small[blobs]] = 0
    inside = ndimage.distance_transform_edt(np.pad(blobs > 0, 1, mode="edge"))[1:-1, 1:-1]
    smooth = ndimage.gaussian_filter(inside, 1 / pixel)
    peaks = peak_local_max(
        smooth,
        min_distance=round(_NUCLEUS_SPACING_UM / pixel),
        labels=blobs,
        exclude_border=False,
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-smooth, seeds, mask=blobs > 0)


def _enlarge(labels: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Repeat coarse pixels; they cover the image, the last of them beyond its border."""
    return labels.repeat(factor, 0).repeat(factor, 1)[: shape[0], : shape[1]]
