"""Cells, and what is strewn and walks in them."""

import numpy as np
import pytest

from organelle_fusion import mosaic


@pytest.fixture(scope="module")
def tissue():
    return mosaic.draw_tissue(np.random.default_rng(5), 40.0, 40.0)


def _open_water():
    """One cell without walls or nucleus, 100 µm high."""
    shape = (400, 400)
    maps = (np.ones(shape, int), np.full(shape, 100.0), np.zeros(shape), np.zeros(shape))
    empty = np.zeros((1, 2, 2))
    return mosaic.Tissue(np.zeros((1, 2)), empty, empty, np.ones(1), np.zeros((0, 2, 3)), maps)


def test_nuclei_lie_in_their_cells(tissue):
    y = np.arange(0, 40, 0.25)
    cell, height, nucleus, beyond = mosaic.cell_maps(tissue, y, y)
    assert set(np.unique(cell[nucleus > 0])) == set(np.unique(cell[nucleus > 0.1]))
    assert np.all(cell[nucleus > 0] > 0)
    assert np.all(height[cell == 0] == 0)
    assert np.all(beyond[nucleus > 0] == 0)
    inside = cell > 0
    assert 0.85 < inside.mean() < 1  # confluent, with gaps between
    assert height[inside].min() >= mosaic.CELL_EDGE_HEIGHT - 1e-5
    assert height.max() <= mosaic.CELL_TOP_HEIGHT + 1e-5


def test_mosaic_is_as_dense_as_its_spacing(tissue):
    # A hexagonal lattice of spacing 18 µm gives a cell 18² * √3/2 = 281 µm².
    y = np.arange(0, 40, 0.25)
    cell = mosaic.cell_maps(tissue, y, y)[0]
    sizes = np.bincount(cell.ravel())[1:] / 16
    whole = [
        size
        for k, size in enumerate(sizes, start=1)
        if size and not np.any(np.concatenate([cell[0], cell[-1], cell[:, 0], cell[:, -1]]) == k)
    ]
    assert np.mean(whole) == pytest.approx(281, rel=0.25)


def test_points_stay_in_the_cytoplasm_and_pull_draws_them_to_the_nucleus(tissue):
    cells = np.repeat(np.unique(mosaic.cell_maps(tissue, *[np.arange(10, 30.0)] * 2)[0])[1:], 200)
    distances = []
    for pull in (0.0, 0.3, 1.0):
        points = mosaic.scatter(np.random.default_rng(0), tissue, cells, np.full(len(cells), pull))
        found, beyond = mosaic.look_up(tissue, points)
        np.testing.assert_array_equal(found, cells)
        distances.append(beyond.mean())
    assert distances[0] > 1.3 * distances[1] > 1.3 * 1.3 * distances[2]


def test_clouds_stay_in_their_cell(tissue):
    cells = np.repeat(np.unique(mosaic.cell_maps(tissue, *[np.arange(10, 30.0)] * 2)[0])[1:], 50)
    rng = np.random.default_rng(0)
    centres = mosaic.scatter(rng, tissue, cells, np.zeros(len(cells)))
    points = mosaic.near(rng, tissue, centres, cells, 0.5)
    np.testing.assert_array_equal(mosaic.look_up(tissue, points)[0], cells)
    assert 0.3 < np.std((points - centres)[:, 1]) <= 0.52


def test_walks_keep_step_length_and_cell(tissue):
    cells = np.repeat(np.unique(mosaic.cell_maps(tissue, *[np.arange(10, 30.0)] * 2)[0])[1:], 20)
    rng = np.random.default_rng(0)
    n = len(cells)
    starts = mosaic.scatter(rng, tissue, cells, np.zeros(n))
    steps = np.arange(n) % 60 + 2
    points, owner = mosaic.walk(rng, tissue, starts, cells, steps, np.full(n, 1.0))
    np.testing.assert_array_equal(np.bincount(owner), steps)
    np.testing.assert_array_equal(mosaic.look_up(tissue, points)[0], cells[owner])
    path = points[owner == 58]
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    # A walk that is shut in on all sides waits; otherwise each step is as long as stated.
    assert np.all(np.isclose(lengths, mosaic.WALK_STEP, atol=1e-3) | (lengths == 0))
    assert np.isclose(lengths, mosaic.WALK_STEP, atol=1e-3).mean() > 0.95


def test_persistence_is_the_decay_of_direction():
    # Directions decorrelate as exp(-s / persistence) in the plane: after 1 µm at 2 µm, exp(-1/2).
    n, start = 4000, [50.0, 10.0, 10.0]
    points, _ = mosaic.walk(
        np.random.default_rng(2),
        _open_water(),
        np.tile(start, (n, 1)),
        np.ones(n, int),
        np.full(n, 12),
        np.full(n, 2.0),
    )
    paths = points.reshape(12, n, 3)
    moves = np.diff(paths[..., 1:], axis=0)
    moves /= np.linalg.norm(moves, axis=-1, keepdims=True)
    assert (moves[0] * moves[10]).sum(-1).mean() == pytest.approx(np.exp(-0.5), abs=0.04)


def test_no_room_is_refused_by_name(tissue):
    walled = tissue.maps[0] * 0
    shut = mosaic.Tissue(
        tissue.centres,
        tissue.shapes,
        tissue.nuclei,
        tissue.nucleus_heights,
        tissue.waves,
        (walled, *tissue.maps[1:]),
    )
    with pytest.raises(mosaic.PhantomError, match="found none in cell 3; choose another seed"):
        mosaic.scatter(np.random.default_rng(0), shut, np.array([3]), np.zeros(1))
