"""Whole cells found in phantoms whose cells are known, and in pictures drawn by hand."""

import numpy as np
import pytest

from organelle_fusion import phantom
from organelle_fusion.cells import BORDER, NO_NUCLEUS, CellError, segment_cells
from organelle_fusion.config import ORGANELLES, load_profile
from organelle_fusion.volumes import open_volume, write_ome_tiff

PIXEL = 0.2


def discs(shape, places):
    """1 inside discs (y, x, radius) in µm, (Y, X)."""
    y, x = (np.arange(n) * PIXEL for n in shape)
    found = np.zeros(shape)
    for cy, cx, radius in places:
        found[np.hypot(y[:, None] - cy, x[None] - cx) <= radius] = 1
    return found


def stack_of(tmp_path, nuclei, cytoplasm):
    image = 100 + 1000 * np.stack([cytoplasm, nuclei])[:, None].repeat(2, 1)
    rng = np.random.default_rng(0)
    path = tmp_path / "cells.ome.tif"
    write_ome_tiff(
        path,
        np.rint(image + rng.normal(0, 5, image.shape)).astype(np.uint16),
        ["a", "nucleus"],
        pixel_size_um=PIXEL,
        z_step_um=0.5,
    )
    return open_volume(path)


def test_two_touching_nuclei_a_cut_cell_and_a_cell_without_nucleus(tmp_path):
    """40 × 60 µm: two cells with touching nuclei, one at the border, one without a nucleus."""
    shape = (200, 300)
    nuclei = discs(shape, [(20, 15, 4), (20, 22.5, 4), (20, 58, 4), (5, 5, 1)])
    cytoplasm = discs(shape, [(20, 14, 8), (20, 23.5, 8), (20, 58, 8), (20, 42, 4)])
    cells = segment_cells(stack_of(tmp_path, nuclei, cytoplasm), ["a"], reach_um=10)
    assert cells.dropped == {BORDER: 1, NO_NUCLEUS: 1}
    assert cells.labels.max() == 2
    # Two discs of radius 8 that meet at x = 18.75 µm, where they are 9.5 µm apart; coarse pixels.
    assert cells.labels[100, 70] != cells.labels[100, 118]
    assert set(np.unique(cells.labels[:, 200:])) == {0}
    union = discs(shape, [(20, 14, 8), (20, 23.5, 8)]).sum() * PIXEL**2
    assert np.count_nonzero(cells.labels) * PIXEL**2 == pytest.approx(union, rel=0.06)
    assert np.count_nonzero(cells.nuclei) * PIXEL**2 == pytest.approx(
        discs(shape, [(20, 15, 4), (20, 22.5, 4)]).sum() * PIXEL**2, rel=0.06
    )
    left = cells.labels == cells.labels[100, 70]
    assert np.flatnonzero(left[100]).max() * PIXEL == pytest.approx(18.75, abs=1)
    # What is beyond the reach belongs to no cell: 3 µm beyond a nucleus of 4 µm.
    near = segment_cells(stack_of(tmp_path, nuclei, cytoplasm), ["a"], reach_um=3)
    assert np.bincount(near.labels.ravel())[1:].max() * PIXEL**2 < np.pi * 7.5**2


@pytest.mark.parametrize("index", [1, 2])
def test_cells_of_a_phantom_are_the_planted_ones(tmp_path, index):
    """Every cell found lies wholly inside the image in truth and overlaps it well."""
    profile = load_profile("quick")
    # Images of the seed that settings are chosen on, which are never scored.
    settings = profile.phantom.model_copy(
        update={"seed": profile.selection.seed, "shape_zyx": (6, 416, 416)}
    )
    made = phantom.simulate_stack("looped-clustered", index=index, settings=settings)
    path = tmp_path / "phantom.ome.tif"
    write_ome_tiff(
        path,
        made.image,
        made.channels,
        pixel_size_um=settings.pixel_size_um,
        z_step_um=settings.z_step_um,
    )
    cells = segment_cells(open_volume(path), ORGANELLES, reach_um=profile.handcrafted.cell_reach_um)
    truth = made.cells.max(0)
    edge = np.concatenate([truth[0], truth[-1], truth[:, 0], truth[:, -1]])
    assert cells.labels.max() >= 1
    for number in range(1, cells.labels.max() + 1):
        found = cells.labels == number
        match = np.bincount(truth[found])[1:].argmax() + 1
        planted = truth == match
        assert match not in edge
        assert 2 * (found & planted).sum() / (found.sum() + planted.sum()) > 0.75  # Dice
        assert (found & planted).sum() / found.sum() > 0.85
        assert (cells.nuclei[found] > 0).any()


def test_the_dark_between_cells_is_a_border_whatever_the_offset(tmp_path):
    """Two cells with a valley at 16 µm, nearer to one nucleus; with 100 counts below, or none."""
    shape = (160, 200)
    nuclei = discs(shape, [(16, 11, 3), (16, 26, 3)])
    cytoplasm = discs(shape, [(16, 11, 9), (16, 26, 9)])
    x = np.arange(shape[1]) * PIXEL
    cytoplasm *= 1 - 0.8 * np.exp(-(((x - 16) / 0.8) ** 2))
    borders = []
    for offset in (0, 100):
        image = np.stack([cytoplasm, nuclei])[:, None].repeat(2, 1) * 1000 + offset
        path = tmp_path / f"{offset}.ome.tif"
        write_ome_tiff(
            path, image.astype(np.uint16), ["a", "nucleus"], pixel_size_um=PIXEL, z_step_um=0.5
        )
        cells = segment_cells(open_volume(path), ["a"], reach_um=10)
        row = cells.labels[80]
        assert row[55] != row[130]
        borders.append(np.flatnonzero(row == row[55]).max() * PIXEL)
    assert borders[0] == borders[1] == pytest.approx(16, abs=1)


def test_a_cell_near_the_border_is_whole_and_one_cell_is_no_cell_without_nucleus(tmp_path):
    """1.4 µm from the border; cytoplasm beyond the reach of its nucleus is no other cell."""
    shape = (160, 160)
    nuclei, cytoplasm = discs(shape, [(16, 8, 3)]), discs(shape, [(16, 8, 6.6)])
    found = segment_cells(stack_of(tmp_path, nuclei, cytoplasm), ["a"], reach_um=10)
    assert (found.labels.max(), found.dropped) == (1, {BORDER: 0, NO_NUCLEUS: 0})
    wide = discs(shape, [(16, 16, 14)])
    found = segment_cells(stack_of(tmp_path, discs(shape, [(16, 16, 3)]), wide), ["a"], reach_um=4)
    assert (found.labels.max(), found.dropped) == (1, {BORDER: 0, NO_NUCLEUS: 0})


def test_an_empty_channel_is_refused(tmp_path):
    path = tmp_path / "dark.ome.tif"
    image = np.zeros((2, 2, 60, 60), np.uint16)
    image[0, :, 20:40, 20:40] = 9
    write_ome_tiff(path, image, ["a", "nucleus"], pixel_size_um=PIXEL, z_step_um=0.5)
    with pytest.raises(CellError, match="channel nucleus: expected signal"):
        segment_cells(open_volume(path), ["a"], reach_um=5)


def test_a_channel_with_nan_is_refused(tmp_path):
    path = tmp_path / "nan.ome.tif"
    image = np.random.default_rng(0).random((2, 2, 60, 60)).astype(np.float32)
    image[1, 1, 5, 5] = np.nan
    write_ome_tiff(path, image, ["a", "nucleus"], pixel_size_um=PIXEL, z_step_um=0.5)
    with pytest.raises(CellError, match="channel nucleus: expected finite intensities"):
        segment_cells(open_volume(path), ["a"], reach_um=5)
