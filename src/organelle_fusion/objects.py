"""Organelles and their contacts as objects, measured in raw stacks cell by cell.

An open stand-in for the surfaces that the handcrafted pipeline (OTCCP: Wang et al., iScience
26:107229, 2023) makes in commercial software. In memory are the raw stack and one cell.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from skimage.filters import threshold_otsu
from skimage.measure import label

from organelle_fusion.cells import Cells
from organelle_fusion.config import NUCLEUS, UserError
from organelle_fusion.resampling import cell_boxes, resample
from organelle_fusion.surfaces import (
    DESCRIBED,
    Mesh,
    describe_objects,
    drop_small,
    mesh_objects,
    mesh_voxels,
    places,
    signed_distances,
)
from organelle_fusion.volumes import Volume

# Gaps and shells of contacts are counted in voxels: centres of voxels nearer than this touch.
CONTACT_VOXELS = 1.5
# A level that stands out less from the dark, in its robust standard deviations, parts noise.
_LEAST_CONTRAST = 3.0

BETWEEN = " × "
"""Stands between the two organelles in the name of their contacts."""

NO_CONTRAST = "no contrast in the cell"
TOO_SMALL = "smaller than the cut-off"
NO_NUCLEUS = "nucleus without contrast"
Fields = Iterable[tuple[str, np.ndarray]]


class ObjectError(UserError):
    """A stack whose objects cannot be measured; the message is one line."""


class _Body(NamedTuple):
    """One organelle of a cell, or its nucleus: labels, and what is derived from them."""

    labels: np.ndarray
    mesh: Mesh
    surface: cKDTree | None


def measure_stack(
    volume: Volume, channels: Sequence[str], cells: Cells, *, voxel_um: float, min_volume_um3: float
) -> pd.DataFrame:
    """Measure the objects of several organelles, and their contacts, in all cells of a stack.

    In every cell, a channel is resampled to isotropic voxels by cubic splines, smoothed (see
    `resampling.resample`), and cut at the middle between the medians of the two parts that Otsu's
    threshold makes of the cell: the half height of an object with a plateau. Connected voxels are
    one object.

    Parameters
    ----------
    volume
        A stack with the channels and ``nucleus``.
    channels
        The organelles.
    cells
        Of `cells.segment_cells`; a cell whose pixels were set to 0 is left out.
    voxel_um
        Edge of the isotropic voxels, µm.
    min_volume_um3
        Smaller objects are dropped; contacts are kept at any size.

    Returns
    -------
    DataFrame
        One row per object: kind (a channel, or ``first × second`` for contacts), cell (str), object
        (str, its number within kind and cell); the columns of `surfaces.describe_objects` without
        the centre; position_x_um, y, z: the centroid from that of the nucleus, with x along the
        nucleus' long axis, on the side where the cell reaches farther; distance_to_nucleus_um and
        distance_to_<channel>_um, see `surfaces.signed_distances` (NaN to itself, of contacts, and
        where a cell has none of it). For contacts area_um2 is the contact area and volume_um3
        that of their voxels. Without objects there are the columns, and no rows.
        ``attrs["dropped"]``: a list of what, reason and number of all that was left out.

    Raises
    ------
    ObjectError
        The z-step is not known, there are fewer than two planes, or a channel is constant.
    VolumeError
        A channel is missing.
    """
    dropped: dict[tuple[str, str], int] = {("cells", why): n for why, n in cells.dropped.items()}
    frames = []
    for number, fields, territory in _isotropic_cells(volume, channels, cells, voxel_um):
        found = _measure_cell(fields, territory, voxel_um, min_volume_um3, dropped)
        frames.append(found.assign(cell=str(number)))
    empty = no_objects(channels)
    objects = pd.concat(frames, ignore_index=True) if any(map(len, frames)) else empty
    objects = objects.reindex(columns=objects.columns.union(empty.columns, sort=False))
    objects.attrs["dropped"] = [
        {"what": what, "reason": why, "number": int(number)}
        for (what, why), number in dropped.items()
        if number
    ]
    return objects


def no_objects(channels: Sequence[str]) -> pd.DataFrame:
    """Make a table of `measure_stack` without rows."""
    columns = dict.fromkeys(DESCRIBED, float) | {"triangles": int, "voxels": int}
    columns |= {f"position_{axis}_um": float for axis in "xyz"}
    columns |= {f"distance_to_{name}_um": float for name in (NUCLEUS, *channels)}
    columns |= dict.fromkeys(("kind", "object", "cell"), str)
    return pd.DataFrame(columns=list(columns)).astype(columns)


def cell_pictures(
    volume: Volume,
    channels: Sequence[str],
    cells: Cells,
    number: int,
    *,
    voxel_um: float,
    min_volume_um3: float,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Intensities and labels of one cell, to look at what `measure_stack` measures.

    Parameters
    ----------
    volume, channels, cells, voxel_um, min_volume_um3
        As in `measure_stack`.
    number
        Of the cell, as in ``cells.labels``.

    Returns
    -------
    fields
        Channel, and the nucleus → float32 (Z', Y', X').
    labels
        Channel, nucleus and contacts → int (Z', Y', X'); kinds of which there is none are missing.

    Raises
    ------
    ObjectError, VolumeError
        As `measure_stack`, or there is no such cell.
    """
    for which, fields, territory in _isotropic_cells(volume, channels, cells, voxel_um):
        if which == number:
            fields = dict(fields)
            bodies, _ = _find_bodies(fields.items(), territory, min_volume_um3 / voxel_um**3)
            contacts = _find_contacts({k: v for k, v in bodies.items() if k != NUCLEUS})
            # Without the planes that were put above and below.
            labels = {kind: body.labels[1:-1] for kind, body in (bodies | contacts).items()}
            return fields, labels
    raise ObjectError(
        f"{volume.path}: cell {number}: expected a number in cells.labels, found none; take another"
    )


def _isotropic_cells(
    volume: Volume, channels: Sequence[str], cells: Cells, voxel_um: float
) -> Iterator[tuple[int, Fields, np.ndarray]]:
    """Number, resampled channels and territory of each cell; the stack is checked first.

    Channels are resampled when they are asked for, so that one is in memory and not all.
    """
    names = (*channels, NUCLEUS)
    volume = volume.select(names)
    if volume.z_step_um is None:
        raise ObjectError(
            f"{volume.path}: expected the distance of two planes in µm, found none; give the "
            "manifest column z_step_um"
        )
    if volume.shape[1] < 2:
        raise ObjectError(
            f"{volume.path}: expected two planes or more, found {volume.shape[1]}; leave it out"
        )
    stack = np.empty(volume.shape, volume.dtype)
    for z, plane in enumerate(volume.planes()):
        stack[:, z] = plane
    for name, of_channel in zip(names, stack, strict=True):
        ends = of_channel.min(), of_channel.max()  # NaN is both
        if not np.isfinite(ends).all():
            raise ObjectError(
                f"{volume.path}: channel {name}: expected finite intensities, found NaN or "
                "infinity; mend the file, or leave the image out"
            )
        if ends[0] == ends[1]:
            raise ObjectError(
                f"{volume.path}: channel {name}: expected signal, found {of_channel.flat[0]} "
                "everywhere; check channel_map, or leave the image out"
            )
    spacing = (volume.z_step_um, volume.pixel_size_um, volume.pixel_size_um)
    for number, box, territory in cell_boxes(cells.labels, volume.pixel_size_um, voxel_um):
        fields = (
            (name, resample(part[:, *box].astype(np.float32), spacing, voxel_um))
            for name, part in zip(names, stack, strict=True)
        )
        yield number, fields, territory


def object_level(values: np.ndarray) -> tuple[float, float]:
    """Height at which objects are cut, and how far it stands out.

    Parameters
    ----------
    values
        Intensities of a cell.

    Returns
    -------
    level
        Middle between the medians below and above Otsu's threshold.
    contrast
        Its distance from the lower median, in robust standard deviations of the lower part (1.4826
        times the median absolute deviation; of noise alone about 1.1); infinite where that is 0,
        and 0 where all values are equal.
    """
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-5 * max(abs(low), abs(high)):
        return high, 0.0
    above = values > threshold_otsu(values)
    if above.all() or not above.any():
        return high, 0.0
    below = values[~above]
    base = np.median(below)
    level = (base + np.median(values[above])) / 2
    deviation = 1.4826 * np.median(np.abs(below - base))
    return float(level), float((level - base) / deviation) if deviation else np.inf


def contact_objects(primary: np.ndarray, secondary: np.ndarray) -> np.ndarray:
    """Contacts of two organelles: what of the second lies in a thin shell around the first.

    The shell is 0 < d ≤ 1.5 voxels, d being the distance to the nearest voxel of the first. What
    both share is no part of it, so that of two that intersect the seam counts.

    Parameters
    ----------
    primary, secondary
        int or bool (Z, Y, X), isotropic voxels; not 0 where an object is.

    Returns
    -------
    ndarray
        int (Z, Y, X): contacts numbered from 1, each of connected voxels.
    """
    inside = np.pad(primary > 0, 1)
    z, y, x = places((secondary > 0) & ~(primary > 0))
    near = np.zeros(len(z), bool)
    for dz, dy, dx in product((0, 1, 2), repeat=3):
        if (dz - 1) ** 2 + (dy - 1) ** 2 + (dx - 1) ** 2 <= CONTACT_VOXELS**2:
            near |= inside[z + dz, y + dy, x + dx]
    contact = np.zeros(primary.shape, bool)
    contact[z[near], y[near], x[near]] = True
    return label(contact, connectivity=3)


def _measure_cell(
    fields: Fields,
    territory: np.ndarray,
    voxel: float,
    min_volume_um3: float,
    dropped: dict[tuple[str, str], int],
) -> pd.DataFrame:
    """Objects and contacts of one cell; adds to `dropped` what is left out."""
    bodies, counted = _find_bodies(fields, territory, min_volume_um3 / voxel**3)
    core = bodies.pop(NUCLEUS, None)
    if core is None:
        dropped["cells", NO_NUCLEUS] = dropped.get(("cells", NO_NUCLEUS), 0) + 1
        return pd.DataFrame()
    for key, number in counted.items():
        dropped[key] = dropped.get(key, 0) + number
    contacts = _find_contacts(bodies)
    frames = []
    for kind, body in (bodies | contacts).items():
        found = describe_objects(body.labels, body.mesh, voxel)
        if kind in contacts:
            found["area_um2"] = found["voxels"] * voxel**2
            found["volume_um3"] = found["voxels"] * voxel**3
        found = _place(found, core, territory, voxel)
        for name, other in {NUCLEUS: core, **bodies}.items():
            if name == kind or (kind in contacts and name != NUCLEUS):
                continue
            distance = signed_distances(body.labels, body.mesh, other.labels > 0, other.surface)
            found[f"distance_to_{name}_um"] = distance * voxel
        numbers = np.arange(1, len(found) + 1).astype(str)
        frames.append(found.assign(kind=kind, object=numbers))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _find_bodies(
    fields: Fields, territory: np.ndarray, least_voxels: float
) -> tuple[dict[str, _Body], dict[tuple[str, str], int]]:
    """Objects of every channel of a cell, and its nucleus; and what was dropped: what, reason."""
    bodies, counted = {}, {}
    for name, field in fields:
        least, largest = (0, True) if name == NUCLEUS else (least_voxels, False)
        body, reasons = _find_objects(field, territory, least, largest=largest)
        counted |= {(name, why): number for why, number in reasons.items()}
        if body is not None:
            bodies[name] = body
    return bodies, counted


def _find_contacts(bodies: Mapping[str, _Body]) -> dict[str, _Body]:
    """Contacts of every two organelles that have any."""
    contacts = {}
    for first, second in combinations(bodies, 2):
        labels = contact_objects(bodies[first].labels, bodies[second].labels)
        if labels.any():
            contacts[f"{first}{BETWEEN}{second}"] = _Body(labels, mesh_voxels(labels), None)
    return contacts


def _find_objects(
    field: np.ndarray, territory: np.ndarray, least_voxels: float, *, largest: bool
) -> tuple[_Body | None, dict[str, int]]:
    """Objects of one channel in one cell, the largest alone if asked; and what was dropped."""
    values = field[:, territory]
    level, contrast = object_level(values)
    if contrast < _LEAST_CONTRAST:
        return None, {NO_CONTRAST: 1}
    floor = np.float32(2 * values.min() - level)  # below the level, and all values
    # A plane above and below closes the surfaces of what touches the ends of the stack.
    padded = np.full((len(field) + 2, *territory.shape), floor)
    np.copyto(padded[1:-1], field, where=territory)
    labels = label(padded > level, connectivity=3)
    sizes = np.bincount(labels.ravel())
    kept = np.arange(len(sizes)) == sizes[1:].argmax() + 1 if largest else sizes >= least_voxels
    kept[0] = False
    found = len(sizes) - 1
    if not kept.any():
        return None, {TOO_SMALL: found}
    labels = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]
    labels, mesh = drop_small(labels, mesh_objects(padded, level, labels), least_voxels)
    if not len(mesh.volume):
        return None, {TOO_SMALL: found}
    body = _Body(labels, mesh, cKDTree(mesh.points, balanced_tree=False, compact_nodes=False))
    small = found - len(mesh.volume)
    return body, {} if largest or not small else {TOO_SMALL: small}


def _place(objects: pd.DataFrame, core: _Body, territory: np.ndarray, voxel: float) -> pd.DataFrame:
    """Put the position in the frame of the nucleus in place of the centre in voxels."""
    points = np.column_stack(places(core.labels))
    middle = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(points[:, 1:].T))
    long = axes[:, 1]  # (y, x) of the greatest spread
    reach = np.column_stack(np.nonzero(territory)).mean(axis=0) - middle[1:]
    if reach @ long < 0:
        long = -long
    offset = (objects[["centre_z", "centre_y", "centre_x"]].to_numpy() - middle) * voxel
    y, x = offset[:, 1], offset[:, 2]
    return objects.drop(columns=["centre_z", "centre_y", "centre_x"]).assign(
        position_x_um=y * long[0] + x * long[1],
        position_y_um=y * long[1] - x * long[0],
        position_z_um=offset[:, 0],
    )
