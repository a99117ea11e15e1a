"""Tiles over a plane and their blending, against sums done by hand and scikit-image."""

import numpy as np
import pytest
from skimage.transform import resize

from organelle_fusion.stitching import (
    StitchingError,
    add_tiles,
    blending_windows,
    stitch,
    tile_foreground,
    tile_table,
)


def test_tiles_cover_the_plane_up_to_its_border():
    """Height 10 and width 12 in tiles of 4: the last row is moved inwards, the last column fits."""
    table = tile_table((10, 12), 7, 4, overlap=False)
    assert table["y"].tolist() == [0, 0, 0, 4, 4, 4, 6, 6, 6]
    assert table["x"].tolist() == [0, 4, 8] * 3
    assert set(table["z"]) == {7}
    assert set(table["size_px"]) == {4}
    assert table["kept"].all()
    half = tile_table((4, 11), 7, 4, overlap=True)
    assert half["y"].tolist() == [0] * 5
    assert half["x"].tolist() == [0, 2, 4, 6, 7]
    odd = tile_table((5, 11), 7, 5, overlap=True)
    assert odd["x"].tolist() == [0, 2, 4, 6]


def test_foreground_of_tiles_is_counted():
    """Of 3 × 5 pixels, tiles of 2 in steps of 1: four pixels of the mask, counted by eye."""
    mask = np.array([[1, 0, 0, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 1]], bool)
    found = tile_foreground(mask, tile_table((3, 5), 0, 2, overlap=True))
    assert found.tolist() == [0.5, 0, 0.25, 0.25, 0.25, 0, 0.25, 0.5]
    larger = np.random.default_rng(0).random((40, 50)) < 0.3
    tiles = tile_table((40, 50), 0, 7, overlap=False)
    cut = [larger[tile.y : tile.y + 7, tile.x : tile.x + 7] for tile in tiles.itertuples()]
    assert tile_foreground(larger, tiles).tolist() == [part.mean() for part in cut]


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("length", "size"), [(23, 9), (31, 8), (7, 7), (5, 1), (10, 3)])
def test_windows_sum_to_one(length, size, overlap):
    """At every pixel, the first and the last included."""
    total = np.zeros(length)
    for start, weights in blending_windows(length, size, overlap=overlap).items():
        assert weights.min() > 0
        total[start : start + size] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-12)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("shape", [(23, 31), (9, 9), (10, 40)])
def test_a_constant_map_stays_constant(overlap, shape):
    """Edges and corners included, of odd and even planes."""
    table = tile_table(shape, 0, 9, overlap=overlap)
    maps = np.full((len(table), 2, 3, 3), 0.7)
    maps[:, 1] = -4
    found = stitch(maps, table, shape, overlap=overlap)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], np.full(shape, 0.7), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.full(shape, -4), rtol=1e-6)


def test_a_plane_smaller_than_a_tile_is_refused():
    """Its tiles would begin outside."""
    with pytest.raises(StitchingError, match=r"at least 64 px .* found 40 × 100 px"):
        tile_table((40, 100), 0, 64, overlap=True)


def test_tiles_may_come_some_at_a_time():
    """Two by two they make the same plane as at once."""
    table = tile_table((20, 25), 0, 9, overlap=True)
    maps = np.random.default_rng(3).normal(size=(len(table), 2, 3, 4))
    plane = np.zeros((2, 20, 25))
    for start in range(0, len(table), 2):
        some = slice(start, start + 2)
        add_tiles(plane, maps[some], table[some], overlap=True)
    np.testing.assert_allclose(plane, stitch(maps, table, (20, 25), overlap=True), atol=1e-6)


def test_one_tile_is_resized_bilinearly():
    """(0, 4) over four pixels is 0, 1, 3, 4; a larger map as scikit-image does it."""
    table = tile_table((4, 4), 0, 4, overlap=False)
    found = stitch(np.array([[[[0.0, 4.0]]]]), table, (4, 4), overlap=False)
    np.testing.assert_allclose(found[0], [[0, 1, 3, 4]] * 4)
    small = np.random.default_rng(1).normal(size=(7, 7))
    table = tile_table((39, 39), 0, 39, overlap=True)
    expected = resize(small, (39, 39), order=1, mode="edge", anti_aliasing=False)
    found = stitch(small[None, None], table, (39, 39), overlap=True)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def test_tiles_are_blended_as_by_hand():
    """Two tiles of 4 over 6 columns, of values 0 and 8, meet in the columns 2 and 3."""
    table = tile_table((4, 6), 0, 4, overlap=False)
    assert table["x"].tolist() == [0, 2]
    maps = np.array([0.0, 8.0]).reshape(2, 1, 1, 1)
    plain = stitch(maps, table, (4, 6), overlap=False)
    np.testing.assert_allclose(plain[0], [[0, 0, 4, 4, 8, 8]] * 4)
    # Window ½, 1½, 1½, ½: in column 2 the second tile weighs ½ of 2, in column 3 it weighs 1½.
    blended = stitch(maps, table, (4, 6), overlap=True)
    np.testing.assert_allclose(blended[0], [[0, 0, 2, 6, 8, 8]] * 4)
    # The same of maps that have the size of their tile already.
    large = np.broadcast_to(maps, (2, 1, 4, 4))
    np.testing.assert_array_equal(stitch(large, table, (4, 6), overlap=False), plain)
    np.testing.assert_allclose(stitch(large, table, (4, 6), overlap=True), blended, rtol=1e-6)
