"""Maps of class probabilities over a stack, from squares that overlap by half."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion.stitching import blending_windows

CELLS = 16
"""Pixels of a map along the edge of a square, at least: more would show nothing more."""


def cell_px(size_px: int) -> int:
    """Edge of a pixel of the map in whole pixels of the stack, for squares of `size_px`."""
    return max(1, size_px // CELLS)


def probability_map(
    table: pd.DataFrame, classes: Sequence[str], shape: tuple[int, int, int]
) -> np.ndarray:
    """Mean probabilities of the squares over each place, weighted as in `stitching`.

    Only squares that are not sparse count. A pixel of the map is the mean over `cell_px` pixels of
    the stack each way, fewer at the lower and right border. Where squares have 160 pixels or more,
    that is 100 pixels of the stack or more for each of the map, so that a whole stack's is small.

    Parameters
    ----------
    table
        Of `prediction.predict_stack` with ``overlap=True``, all planes.
    classes
        Names of the classes.
    shape
        Planes, height and width of the stack, pixels.

    Returns
    -------
    (K, Z, ⌈Y / cell⌉, ⌈X / cell⌉) float32
        NaN where every square over a place is sparse.
    """
    depth, *plane = shape
    size = int(table["size_px"].iloc[0])
    of_y, of_x = (_summed_windows(length, size) for length in plane)
    kept = table["kept"].to_numpy(float)
    columns = [f"p:{name}" for name in classes]
    values = np.column_stack([table[columns].fillna(0).to_numpy(float), kept])
    values = values.reshape(depth, len(of_y), len(of_x), len(columns) + 1)
    result = np.empty((len(columns), depth, of_y.shape[1], of_x.shape[1]), np.float32)
    for z, of_plane in enumerate(values):
        sums = np.einsum("ijk,iy,jx->kyx", of_plane, of_y, of_x, optimize=True)
        covered = sums[-1] > 1e-9  # what rounding leaves of a weight is none
        result[:, z] = np.divide(
            sums[:-1], sums[-1], out=np.full_like(sums[:-1], np.nan), where=covered
        )
    return result


def _summed_windows(length: int, size: int) -> np.ndarray:
    """Weights of the squares along one axis, summed over the pixels of the map, (n, cells)."""
    windows = blending_windows(length, size, overlap=True)
    weights = np.zeros((len(windows), length))
    for row, (start, window) in zip(weights, windows.items(), strict=True):
        row[start : start + size] = window
    return np.add.reduceat(weights, np.arange(0, length, cell_px(size)), axis=1)
