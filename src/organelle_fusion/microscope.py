"""The microscope of the phantom: its point spread function, its detector, and true labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from organelle_fusion.mosaic import PhantomError

FWHM_LATERAL_UM = 0.14
FWHM_AXIAL_UM = 0.40
SIGMA_LATERAL, SIGMA_AXIAL = np.array([FWHM_LATERAL_UM, FWHM_AXIAL_UM]) / np.sqrt(8 * np.log(2))

SIGMAS = 3.5  # beyond these, an image is taken as dark

OFFSET_COUNTS = 100.0
COUNTS_PER_PHOTON = 10.0
READ_NOISE_COUNTS = 15.0


class Grid(NamedTuple):
    """The voxels: shape (Z, Y, X), edge of a pixel, distance of planes, height of the middle.

    Lengths in µm. The field starts at 0 in y and x.
    """

    shape: tuple[int, int, int]
    pixel: float
    z_step: float
    z_middle: float = 0.0

    @property
    def z(self) -> np.ndarray:
        """Height of each plane, µm."""
        return self.z_middle + (np.arange(self.shape[0]) - (self.shape[0] - 1) / 2) * self.z_step

    def centres(self, axis: int) -> np.ndarray:
        """Position of the pixels' centres along axis 1 or 2, µm."""
        return (np.arange(self.shape[axis]) + 0.5) * self.pixel


def render_points(
    points: np.ndarray, brightness: np.ndarray, radius_um: float, grid: Grid
) -> np.ndarray:
    """Image of small round objects under the microscope's point spread function.

    The objects are Gaussian balls of standard deviation `radius_um` / 2, so that the image of one
    is the Gaussian whose variance is the sum of both. A pixel averages over its area, a plane is
    an optical section; hence the intensity does not depend on the size of the voxels.

    Parameters
    ----------
    points
        (N, 3): z, y, x in µm.
    brightness
        (N,): photons at the peak of each object's image, if sampled finely.
    radius_um
        Radius of the objects, µm; 0 gives the point spread function itself.
    grid
        The voxels.

    Returns
    -------
    ndarray
        float32 (Z, Y, X), expected photons.
    """
    image = np.zeros((grid.shape[0], grid.shape[1] * grid.shape[2]))
    axial, lateral = (np.hypot(sigma, radius_um / 2) for sigma in (SIGMA_AXIAL, SIGMA_LATERAL))
    depth = SIGMAS * axial
    reach = int(np.ceil(SIGMAS * lateral / grid.pixel))
    seen = (points[:, 0] > grid.z[0] - depth) & (points[:, 0] < grid.z[-1] + depth)
    for axis in (1, 2):
        place = points[:, axis] / grid.pixel
        seen &= (place > -reach) & (place < grid.shape[axis] + reach)
    seen = np.flatnonzero(seen)
    parts = max(1, len(seen) * (2 * reach + 1) ** 2 // 2_000_000)  # a part fits into memory
    for part in np.array_split(seen, parts):
        rows, across = _pixel_means(points[part, 1], lateral, reach, grid.pixel, grid.shape[1])
        columns, along = _pixel_means(points[part, 2], lateral, reach, grid.pixel, grid.shape[2])
        at = rows[:, :, None] * grid.shape[2] + columns[:, None, :]
        spots = (brightness[part, None] * across)[:, :, None] * along[:, None, :]
        for k, z in enumerate(grid.z):
            offset = z - points[part, 0]
            lit = np.abs(offset) < depth
            section = np.exp(-0.5 * (offset[lit] / axial) ** 2)
            light = section[:, None, None] * spots[lit]
            image[k] += np.bincount(at[lit].ravel(), light.ravel(), image.shape[1])
    return image.reshape(grid.shape).astype(np.float32)


def _pixel_means(
    centre: np.ndarray, sigma: float, reach: int, pixel: float, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels about each centre, and the means over them of a Gaussian of height 1; both (N, w).

    Pixels beyond the border of an axis of `length` get 0.
    """
    index = np.floor(centre / pixel).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    edge = (index * pixel - centre[:, None]) / sigma
    mean = special.ndtr(edge + pixel / sigma) - special.ndtr(edge)
    mean *= np.sqrt(2 * np.pi) * sigma / pixel
    mean[(index < 0) | (index >= length)] = 0
    return index.clip(0, length - 1), mean


def detect(
    rng: np.random.Generator, signal: np.ndarray, zone: np.ndarray, levels: Sequence[float]
) -> np.ndarray:
    """Counts of the detector: Poisson photons, a gain, an offset and normal read noise.

    Parameters
    ----------
    rng
        Source of the noise.
    signal
        Expected photons of the structures, any shape; 0 where there are none.
    zone, levels
        uint8 of the same shape, and for each of its values the expected photons of the diffuse
        light in that zone.

    Returns
    -------
    ndarray
        uint16. A pixel of λ photons in all has the mean o + g λ and the variance g² λ + r² + 1/12
        (rounding), with o `OFFSET_COUNTS`, g `COUNTS_PER_PHOTON` and r `READ_NOISE_COUNTS`.
    """
    # Poisson variables add: the diffuse light has few levels and is drawn from a table of 2^16
    # quantiles, ten times faster than one by one; only pixels with a structure need the generator.
    quantiles = (np.arange(65536) + 0.5) / 65536
    reach = np.arange(int(max(levels) + 12 * np.sqrt(max(levels)) + 12))
    table = np.stack([np.searchsorted(special.pdtr(reach, level), quantiles) for level in levels])
    at = rng.integers(0, 65536, signal.shape, dtype=np.uint32)
    at += zone.astype(np.uint32) << 16
    photons = table.astype(np.float32).ravel()[at]
    lit = np.flatnonzero(signal)
    photons.ravel()[lit] += rng.poisson(signal.ravel()[lit])
    counts = rng.standard_normal(signal.shape, dtype=np.float32)
    counts *= READ_NOISE_COUNTS
    counts += OFFSET_COUNTS
    counts += COUNTS_PER_PHOTON * photons
    return np.rint(counts, out=counts).clip(0, 65535).astype(np.uint16)


def label_points(
    points: np.ndarray, owner: np.ndarray, radius: float, allowed: np.ndarray, grid: Grid
) -> np.ndarray:
    """Voxels filled by balls about points, under the number of the object they belong to.

    Parameters
    ----------
    points, owner
        (P, 3) z, y, x in µm, and for each the number of its object, from 0.
    radius
        Radius of the balls, µm.
    allowed
        bool (Z, Y, X): where objects may be; their balls are clipped to it.
    grid
        The voxels.

    Returns
    -------
    ndarray
        uint16 (Z, Y, X): 0 outside, objects numbered from 1 without gaps.

    Raises
    ------
    PhantomError
        There are more objects than numbers.
    """
    labels = np.zeros(grid.shape, dtype=np.int32)
    # Objects that cannot be seen need no voxels searched.
    margin = radius + grid.pixel
    seen = (points[:, 1:] > -margin).all(1) & (points[:, 1] < grid.shape[1] * grid.pixel + margin)
    seen &= points[:, 2] < grid.shape[2] * grid.pixel + margin
    points, owner = points[seen], owner[seen]
    plane = np.rint((points[:, 0] - grid.z[0]) / grid.z_step).astype(int)
    voxel = np.floor(points[:, 1:] / grid.pixel).astype(int)
    depth, reach = (int(np.ceil(radius / step)) for step in (grid.z_step, grid.pixel))
    for dz in range(-depth, depth + 1):
        z = np.clip(plane + dz, 0, len(labels) - 1)
        # A slab of the thickness of a plane is filled where the ball cuts it.
        gap = (np.abs(grid.z[z] - points[:, 0]) - grid.z_step / 2).clip(0)
        limit = np.maximum(radius**2 - gap**2, 0.5 * grid.pixel**2)
        in_plane = (gap < radius) & (z == plane + dz)
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                y, x = voxel[:, 0] + dy, voxel[:, 1] + dx
                far = ((y + 0.5) * grid.pixel - points[:, 1]) ** 2
                far += ((x + 0.5) * grid.pixel - points[:, 2]) ** 2
                here = in_plane & (far <= limit)
                here &= (y >= 0) & (y < grid.shape[1]) & (x >= 0) & (x < grid.shape[2])
                labels[z[here], y[here], x[here]] = owner[here] + 1
    labels[~allowed] = 0
    # Objects out of view, or hidden by others, leave gaps in the numbers.
    present = np.bincount(labels.ravel(), minlength=1) > 0
    present[0] = False
    if present.sum() > np.iinfo(np.uint16).max:
        raise PhantomError(
            f"phantom labels: expected at most 65535 objects in view, found {present.sum()}; "
            "make the field smaller"
        )
    return np.where(present, np.cumsum(present), 0).astype(np.uint16)[labels]
