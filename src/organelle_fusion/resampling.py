"""Stacks on isotropic voxels, on which surfaces are measured."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.interpolate import make_interp_spline

SMOOTHING_VOXELS = 0.7
_MARGIN = 4


def resample(stack: np.ndarray, spacing: tuple[float, float, float], voxel: float) -> np.ndarray:
    """Resample a stack to isotropic voxels and smooth it without moving curved surfaces.

    Along each axis a cubic spline is put through the planes, rows or columns. A Gaussian G would
    make balls smaller; twice its image minus the image smoothed twice, 2G − G∗G, has no
    second moment, and leaves them their size but for terms of fourth order.

    Parameters
    ----------
    stack
        float32 (Z, Y, X).
    spacing, voxel
        Distances of planes, rows and columns, and those wanted, in one unit.

    Returns
    -------
    ndarray
        float32 (Z', Y', X'); the first voxel lies where the first was.
    """
    sums = []
    for factor, sigma in ((2, SMOOTHING_VOXELS), (-1, SMOOTHING_VOXELS * np.sqrt(2))):
        smooth = stack * np.float32(factor)
        # Planes last, as they grow in number; where the step is that of a voxel, nothing does.
        for axis in (1, 2, 0):
            weights = _spline_weights(stack.shape[axis], spacing[axis] / voxel, sigma)
            smooth = np.moveaxis(np.tensordot(weights, smooth, (1, axis)), 0, axis)
        sums.append(smooth)
    return sums[0] + sums[1]


def cell_boxes(
    labels: np.ndarray, pixel: float, voxel: float
) -> Iterator[tuple[int, tuple[slice, slice], np.ndarray]]:
    """Number and box of every cell, with a margin around it, and where in it the cell is.

    Parameters
    ----------
    labels
        int (Y, X), the numbers of the cells, from 1; 0 outside. Some may be missing.
    pixel, voxel
        Edges of a pixel and of an isotropic voxel, in one unit.

    Yields
    ------
    number
        Of the cell.
    box
        Rows and columns of `labels`.
    territory
        bool (Y', X'), on the voxels that `resample` makes of the box; the cell, but for voxels at
        the border, as surfaces have to close within. They are of the cell only where it reaches
        to a voxel from the border of the image.
    """
    # The last voxel may lie by nearly one voxel before the last pixel.
    margin = max(_MARGIN, int(np.ceil(voxel / pixel + 0.5)))
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        if found is None:
            continue
        box = tuple(slice(max(0, one.start - margin), one.stop + margin) for one in found)
        part = labels[box]
        y, x = (
            isotropic_places(length, pixel / voxel).round().astype(int) for length in part.shape
        )
        territory = part[np.ix_(y, x)] == number
        territory[[0, -1]] = territory[:, [0, -1]] = False
        yield number, box, territory


def isotropic_places(length: int, step: float) -> np.ndarray:
    """Where voxels of edge 1 lie among `length` samples that are `step` apart, in samples."""
    return np.arange(0, (length - 1) * step + 1e-6) / step


@lru_cache(maxsize=64)
def _spline_weights(length: int, step: float, sigma: float) -> np.ndarray:
    """Weights (voxels, samples) of a spline through the samples, smoothed by `sigma` voxels."""
    wanted = isotropic_places(length, step)
    spline = make_interp_spline(np.arange(length), np.eye(length), k=min(3, length - 1))(wanted)
    return ndimage.gaussian_filter1d(spline, sigma, axis=0, mode="nearest").astype(np.float32)
