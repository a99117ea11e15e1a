"""Maps of probabilities: by hand for two squares, and as the mean of what `stitching` gives."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.probability_maps import cell_px, probability_map
from organelle_fusion.stitching import stitch, tile_table


def table_of(shape, size, kept, values):
    depth, *plane = shape
    table = pd.concat([tile_table(plane, z, size, overlap=True) for z in range(depth)])
    table = table.reset_index(drop=True).assign(kept=kept)
    values = np.where(np.asarray(kept)[:, None], values, np.nan)
    return table.assign(**{"p:x": values[:, 0], "p:y": values[:, 1]})


def test_two_squares_by_hand():
    """Squares of rows 0–3 and 2–5; weights along y are ½, 1½, 1½, ½ each."""
    table = table_of((1, 6, 4), 4, [True, True], [[1, 0.2], [0, 0.8]])
    found = probability_map(table, ("x", "y"), (1, 6, 4))
    assert found.dtype == np.float32
    assert found.shape == (2, 1, 6, 4)
    np.testing.assert_allclose(found[0, 0].T, [[1, 1, 0.75, 0.25, 0, 0]] * 4, atol=1e-6)
    np.testing.assert_allclose(found[1, 0, 2], 0.75 * 0.2 + 0.25 * 0.8, atol=1e-6)


def test_sparse_squares_do_not_count():
    """Only the first square is kept: it alone tells of its rows, and nothing of those beyond."""
    table = table_of((1, 6, 4), 4, [True, False], [[1, 0.2], [0, 0.8]])
    found = probability_map(table, ("x", "y"), (1, 6, 4))[0, 0]
    np.testing.assert_allclose(found[:4], 1, atol=1e-6)
    assert np.isnan(found[4:]).all()


@pytest.mark.parametrize("size", [32, 37])
def test_pixels_are_means_over_the_stack(size):
    """Of what `stitching` lays over the plane, two pixels each way, the border by itself."""
    shape, cell = (2, 51, 40), 2
    assert cell_px(size) == cell
    random = np.random.default_rng(1)
    count = len(tile_table(shape[1:], 0, size, overlap=True)) * 2
    kept = random.random(count) < 0.7
    values = random.random((count, 2))
    table = table_of(shape, size, kept, values)
    found = probability_map(table, ("x", "y"), shape)
    assert found.shape == (2, 2, 26, 20)
    for z in range(2):
        rows = (table["z"] == z).to_numpy()
        maps = np.column_stack([values * kept[:, None], kept])[rows][:, :, None, None]
        large = stitch(maps, table[rows], shape[1:], overlap=True)
        large = np.pad(large, ((0, 0), (0, 1), (0, 0)))
        sums = large.reshape(3, 26, 2, 20, 2).sum(axis=(2, 4))
        covered = sums[2] > 1e-6
        expected = np.where(covered, sums[:2] / np.where(covered, sums[2], 1), np.nan)
        np.testing.assert_allclose(found[:, z], expected, atol=1e-4)
