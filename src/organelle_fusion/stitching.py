"""Whole planes covered by tiles, and the tiles' small maps blended into one map of the plane.

Arrays and frames only: what a map shows does not matter here.
"""

import numpy as np
import pandas as pd
from skimage.transform import integral_image, integrate
from threadpoolctl import threadpool_limits

from organelle_fusion.config import UserError


class StitchingError(UserError):
    """Tiles that cannot cover a plane; the message is one line."""


def tile_table(shape: tuple[int, int], z: int, size_px: int, *, overlap: bool) -> pd.DataFrame:
    """Squares that cover a whole plane, as a table for `patches.extract_patches`.

    Parameters
    ----------
    shape
        Height and width of the plane, pixels, each at least `size_px`.
    z
        Number of the plane.
    size_px
        Edge of a tile, pixels.
    overlap
        Step by half a tile instead of a whole one; the paper gives no step.

    Returns
    -------
    DataFrame
        z, y, x, size_px, kept (true), row by row. Tiles start at 0, step, 2 · step…; the last
        row and column are moved inwards to end at the border.

    Raises
    ------
    StitchingError
        The plane is smaller than a tile.
    """
    if min(shape) < size_px:
        raise StitchingError(
            f"plane: expected at least {size_px} px along each edge, as a tile has, found "
            f"{shape[0]} × {shape[1]} px; choose a smaller patch size"
        )
    y, x = (_starts(length, size_px, overlap=overlap) for length in shape)
    return pd.DataFrame(
        {"z": z, "y": np.repeat(y, len(x)), "x": np.tile(x, len(y)), "size_px": size_px}
    ).assign(kept=True)


def tile_foreground(mask: np.ndarray, tiles: pd.DataFrame) -> np.ndarray:
    """Share of true pixels in every tile of a plane, float64 (n,), in the order of `tiles`.

    Parameters
    ----------
    mask : (H, W) bool
        Of the plane.
    tiles
        Of `tile_table` for it.
    """
    size = int(tiles["size_px"].iloc[0])
    corners = tiles[["y", "x"]].to_numpy()
    return integrate(integral_image(mask), corners, corners + size - 1) / size**2


def _starts(length: int, size: int, *, overlap: bool) -> np.ndarray:
    step = max(1, size // 2) if overlap else size
    # The last start is the border's, and no other lies as far.
    return np.append(np.arange(0, length - size, step), length - size)


def blending_windows(length: int, size: int, *, overlap: bool) -> dict[int, np.ndarray]:
    """Weights of the tiles along one axis of a plane, which sum to one at every pixel.

    The weights of a tile in the plane are the products of those along its two axes.

    Parameters
    ----------
    length, size
        Of the plane and of a tile along the axis, pixels.
    overlap
        As in `tile_table`. Then a tile weighs most in its middle, falling linearly to its edges;
        else all its pixels weigh alike.

    Returns
    -------
    dict
        Start of a tile → its weights, float64 (size,).
    """
    index = np.arange(size)
    profile = np.minimum(index + 0.5, size - index - 0.5) if overlap else np.ones(size)
    starts = _starts(length, size, overlap=overlap)
    total = np.zeros(length)
    for start in starts:
        total[start : start + size] += profile
    return {int(start): profile / total[start : start + size] for start in starts}


def add_tiles(plane: np.ndarray, maps: np.ndarray, tiles: pd.DataFrame, *, overlap: bool) -> None:
    """Lay the small maps of some tiles over their places in a plane, in place.

    Each map is resized bilinearly (centres of pixels aligned, held constant beyond the outermost
    centres) and weighted by `blending_windows`. Once all tiles of the plane are added, however
    many at a time, the plane holds their weighted mean.

    Parameters
    ----------
    plane : (E, H, W) float
        Zeros before the first tile.
    maps : (N, E, h, w) float
        Of the tiles, in their order.
    tiles
        Rows of `tile_table` for this plane, with the same `overlap`.
    overlap
        See `blending_windows`.
    """
    size = int(tiles["size_px"].iloc[0])
    of_y, of_x = (blending_windows(length, size, overlap=overlap) for length in plane.shape[1:])
    if maps.shape[2:] == (size, size):  # nothing to resize
        for pixels, y, x in zip(maps, tiles["y"], tiles["x"], strict=True):
            window = np.outer(of_y[y], of_x[x]).astype(plane.dtype)
            plane[:, y : y + size, x : x + size] += pixels * window
        return
    rows, columns = (_bilinear_weights(length, size) for length in maps.shape[2:])
    # The products are small: on a busy machine, threads that wait for each other cost a multiple.
    with threadpool_limits(1, "blas"):
        for small, y, x in zip(maps, tiles["y"], tiles["x"], strict=True):
            large = (of_y[y][:, None] * rows) @ small @ (of_x[x][:, None] * columns).T
            plane[:, y : y + size, x : x + size] += large


def stitch(
    maps: np.ndarray, table: pd.DataFrame, shape: tuple[int, int], *, overlap: bool
) -> np.ndarray:
    """Lay the small maps of all tiles of a plane over it at once, see `add_tiles`.

    Parameters
    ----------
    maps : (N, E, h, w) float
        Of the tiles of `table`, in its order.
    table
        Of `tile_table`, with the same `overlap`.
    shape
        Height and width of the plane, pixels.
    overlap
        See `blending_windows`.

    Returns
    -------
    (E, H, W) float32
    """
    plane = np.zeros((maps.shape[1], *shape), np.float32)
    add_tiles(plane, maps, table, overlap=overlap)
    return plane


def _bilinear_weights(length: int, size: int) -> np.ndarray:
    """Share of every old pixel in every new one along one axis, (size, length); rows sum to 1."""
    place = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(length)))
