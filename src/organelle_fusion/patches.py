"""From stacks to patches: the grid, the sparsity filter, the pixels to train on.

Paper, "Dataset optimization" and Fig 1: every stack is cut into planes and these into square
patches; one Otsu threshold per channel from the whole stack gives the organelle masks; patches
with too little foreground are left out.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion.intensity import PatchError, stack_statistics
from organelle_fusion.streaming import map_planes
from organelle_fusion.volumes import Volume

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, never line up with the columns of a grid."""


def patch_grid(height: int, width: int, size_px: int) -> np.ndarray:
    """Top left corners ``(y, x)`` of the patches that fit side by side, int, (n, 2).

    They start in the top left corner, do not overlap and run row by row; what remains at the
    right and lower border is left out.
    """
    y = np.arange(height // size_px) * size_px
    x = np.arange(width // size_px) * size_px
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def foreground_ratio(mask: np.ndarray, size_px: int) -> np.ndarray:
    """Share of true pixels in every patch of `patch_grid`, in its order.

    Parameters
    ----------
    mask
        Boolean, `(…, H, W)`; numbers count as true where they are not 0.
    size_px
        Edge of a patch, pixels.

    Returns
    -------
    ndarray of float64, (…, n)
    """
    from organelle_fusion.kernels import count_foreground

    *leading, height, width = mask.shape
    planes = np.ascontiguousarray(mask, bool).view(np.uint8).reshape(-1, height, width)
    counts = count_foreground(planes, np.zeros(len(planes), np.uint8), np.array([size_px]))[:-1]
    return counts.reshape(*leading, -1) / size_px**2


def patch_table(
    volume: Volume,
    size_um: float,
    *,
    min_foreground: float,
    statistics: pd.DataFrame | None = None,
    max_patches: int | None = None,
) -> pd.DataFrame:
    """All patches of one stack at one size, kept or not; see `patch_tables`."""
    return patch_tables(
        volume,
        [size_um],
        min_foreground=min_foreground,
        statistics=statistics,
        max_patches=max_patches,
    )[0]


def patch_tables(
    volume: Volume,
    sizes_um: Sequence[float],
    *,
    min_foreground: float,
    statistics: pd.DataFrame | None = None,
    max_patches: int | None = None,
) -> list[pd.DataFrame]:
    """All patches of one stack, kept or not, at several sizes in one pass over the planes.

    Parameters
    ----------
    volume
        The stack with the organelle channels only (``volume.select``).
    sizes_um
        Edges of the patches, µm; rounded to whole pixels of the stack.
    min_foreground
        A patch is sparse if the union of the organelle masks covers a smaller share of it.
    statistics
        Of `stack_statistics`, if at hand; else they are computed here.
    max_patches
        If more than this many are not sparse, the list of these (by z, y, x) is cut into this many
        equal stretches and one is kept of each, at a place that wanders from stretch to stretch,
        as a constant step would keep to a column of the grid.

    Returns
    -------
    list of DataFrame
        One per size, one row per patch: ``z``, ``y``, ``x``, ``size_px``,
        ``foreground_<channel>``, ``foreground`` (share of the union), ``kept`` and ``reason``
        ("", "sparse" or "over the limit").

    Raises
    ------
    PatchError
        A patch is larger than the image, `min_foreground` no share, or what `stack_statistics`
        raises.
    """
    from organelle_fusion.kernels import count_foreground

    check_share(min_foreground)
    sizes = np.array([patch_size_px(volume, size_um) for size_um in sizes_um], np.int64)
    thresholds = _per_channel(volume, statistics, "otsu")
    _, n_planes, height, width = volume.shape
    grids = [patch_grid(height, width, size) for size in sizes]
    counts = np.stack(
        list(map_planes(volume, lambda _, plane: count_foreground(plane, thresholds, sizes))),
        axis=1,
    )
    of_sizes = np.split(counts, np.cumsum([len(corners) for corners in grids])[:-1], axis=2)
    names = [*(f"foreground_{channel}" for channel in volume.channels), "foreground"]
    tables = []
    for of_size, corners, size in zip(of_sizes, grids, sizes, strict=True):
        ratios = of_size.reshape(len(names), -1) / size**2
        table = pd.DataFrame(
            {
                "z": np.repeat(np.arange(n_planes), len(corners)),
                "y": np.tile(corners[:, 0], n_planes),
                "x": np.tile(corners[:, 1], n_planes),
                "size_px": size,
                **dict(zip(names, ratios, strict=True)),
            }
        )
        dense = (table["foreground"] >= min_foreground).to_numpy()
        table["kept"] = _spread(dense, max_patches)
        table["reason"] = np.select([~dense, ~table["kept"]], ["sparse", "over the limit"], "")
        tables.append(table)
    return tables


def check_share(min_foreground: float) -> None:
    """Refuse a least foreground that is no share by a `PatchError`."""
    if not 0 <= min_foreground <= 1:
        raise PatchError(
            f"min_foreground: expected a share from 0 to 1, found {min_foreground}; write it like "
            "0.1"
        )


def patch_size_px(volume: Volume, size_um: float) -> int:
    """Edge of a patch in whole pixels of a stack; an error if it does not fit into a plane."""
    size = round(size_um / volume.pixel_size_um)
    if not 1 <= size <= min(volume.shape[2:]):
        raise PatchError(
            f"{volume.path}: a patch of {size_um:.4g} µm is {size} px, expected 1 to "
            f"{min(volume.shape[2:])} in an image of {volume.shape[2]}×{volume.shape[3]} px; "
            "choose another patch size or check pixel_size_um"
        )
    return size


def _per_channel(volume: Volume, statistics: pd.DataFrame | None, column: str) -> np.ndarray:
    """One column of the statistics, in the stack's own type if that is an integer."""
    if statistics is None:
        statistics = stack_statistics(volume)
    if tuple(statistics["channel"]) != tuple(volume.channels):
        raise PatchError(
            f"{volume.path}: expected statistics of {', '.join(volume.channels)}, found them of "
            f"{', '.join(statistics['channel'])}; compute them with stack_statistics"
        )
    values = statistics[column].to_numpy()
    return values.astype(volume.dtype) if volume.dtype.kind in "iu" else values


def _spread(dense: np.ndarray, limit: int | None) -> np.ndarray:
    """Which of the true entries of `dense` stay if no more than `limit` may."""
    candidates = np.flatnonzero(dense)
    if limit is None or len(candidates) <= limit:
        return dense
    bounds = np.arange(limit + 1) * len(candidates) // limit
    offsets = (np.arange(limit) * GOLDEN % 1 * np.diff(bounds)).astype(int)
    kept = np.zeros(len(dense), bool)
    kept[candidates[bounds[:-1] + offsets]] = True
    return kept


def extract_patches(
    volume: Volume, table: pd.DataFrame, *, output_px: int, statistics: pd.DataFrame
) -> np.ndarray:
    """Pixels of the kept patches, scaled per channel and brought to one size.

    Each channel is scaled by ``(v - low) / (high - low)`` to 0…255 with clipping, and resized by
    area averaging, as ``skimage.transform.resize_local_mean`` does it.

    Parameters
    ----------
    volume
        The stack, organelle channels only.
    table
        Of `patch_table`.
    output_px
        Edge of the patches to be returned, pixels.
    statistics
        Of `stack_statistics`.

    Returns
    -------
    ndarray of uint8, (N, output_px, output_px, C)
        The rows of `table` with ``kept``, in its order.

    Raises
    ------
    PatchError
        `output_px` is no edge, a patch lies outside the stack, or the statistics are of other
        channels.
    """
    from organelle_fusion.kernels import average_areas

    if output_px < 1:
        raise PatchError(f"output_px: expected a pixel or more, found {output_px}; enlarge it")
    kept = table[table["kept"]]
    _check_places(volume, kept)
    low = _per_channel(volume, statistics, "low")
    high = _per_channel(volume, statistics, "high")
    result = np.empty((len(kept), output_px, output_px, len(volume.channels)), np.uint8)
    z, size = kept["z"].to_numpy(), kept["size_px"].to_numpy()
    corners = kept[["y", "x"]].to_numpy(np.int64)
    weights = {edge: _area_weights(int(edge), output_px) for edge in np.unique(size)}

    def cut(level: int, plane: np.ndarray) -> None:
        for edge, (shares, bounds) in weights.items():
            rows = np.flatnonzero((z == level) & (size == edge))
            result[rows] = average_areas(plane, corners[rows], low, high, shares, bounds)

    deque(map_planes(volume, cut, np.unique(z)), maxlen=0)
    return result


def _check_places(volume: Volume, places: pd.DataFrame) -> None:
    """Refuse patches that are not wholly in the stack: compiled loops would not notice."""
    _, planes, height, width = volume.shape
    z, y, x, size = places[["z", "y", "x", "size_px"]].to_numpy(np.int64).T
    inside = (z >= 0) & (z < planes) & (y >= 0) & (x >= 0) & (size >= 1)
    inside &= (y + size <= height) & (x + size <= width)
    if not inside.all():
        row = int(np.argmin(inside))
        raise PatchError(
            f"{volume.path}: row {places.index[row]}: expected a patch within {planes} planes of "
            f"{height}×{width} px, found {size[row]} px at z, y, x = {z[row]}, {y[row]}, {x[row]}; "
            "cut it from the image that its place was chosen in"
        )


def _area_weights(size: int, output: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of every old pixel in every new one along one axis, and where it is not zero.

    The shares are (output, size) and rows sum to 1; the stretches (output, 2).
    """
    old = np.arange(size + 1, dtype=np.float64)
    new = np.linspace(0, size, output + 1)
    overlap = np.minimum(new[1:, None], old[1:]) - np.maximum(new[:-1, None], old[:-1])
    weights = np.maximum(overlap, 0)
    some = weights > 0
    bounds = np.stack([some.argmax(axis=1), size - some[:, ::-1].argmax(axis=1)], axis=1)
    return weights / weights.sum(axis=1, keepdims=True), bounds
