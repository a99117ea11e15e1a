"""Resampling to isotropic voxels: polynomials and edges."""

import numpy as np
import pytest

from organelle_fusion.resampling import cell_boxes, resample


def test_resampling_leaves_planes_of_cubics_and_the_middle_of_an_edge():
    """A cubic along z passes exactly; a step stays half-way where it was."""
    z = np.arange(9) * 0.4
    stack = np.broadcast_to((z**3 - 2 * z)[:, None, None], (9, 12, 12)).astype(np.float32)
    found = resample(stack, (0.4, 0.1, 0.1), 0.1)
    assert found.shape == (33, 12, 12)
    wanted = np.arange(33) * 0.1
    # The kernel has no second moment, and a cubic no fourth: only the ends are bent.
    np.testing.assert_allclose(found[5:-5, 6, 6], (wanted**3 - 2 * wanted)[5:-5], atol=2e-3)
    step = np.zeros((4, 8, 40), np.float32)
    step[..., 20:] = 1
    flat = resample(step, (0.1, 0.1, 0.1), 0.1)[2, 4]
    assert flat[19] + flat[20] == pytest.approx(1, abs=1e-5)
    assert flat[19] < 0.5 < flat[20]


def test_boxes_of_cells_keep_their_numbers_where_one_is_missing():
    """Of three cells the second was removed; voxels are pixels, and margins 4."""
    labels = np.zeros((30, 40), np.uint16)
    labels[10:14, 6:9], labels[18:21, 30:35] = 1, 3
    first, second = cell_boxes(labels, 1.0, 1.0)
    assert first[:2] == (1, (slice(6, 18), slice(2, 13)))
    assert second[:2] == (3, (slice(14, 25), slice(26, 39)))
    assert [cell[2].sum() for cell in (first, second)] == [12, 15]
    assert list(cell_boxes(np.zeros_like(labels), 1.0, 1.0)) == []
