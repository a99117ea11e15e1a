"""What speaks for the class on whole planes, against sums by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import evidence
from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.plots_maps import ExplainedPlane


def explained(maps, sparse):
    maps = np.array(maps, np.float32)
    return ExplainedPlane("a", "a", np.zeros(maps.shape), maps, 0.5, np.array(sparse))


def test_shares_of_what_is_sparse():
    """One pixel of four with 3 of 5 of what is positive; two of four with none of it."""
    one = explained([[[1, 3], [0, -4]], [[0, 0], [1, 0]]], [[False, True], [False, False]])
    two = explained([[[1, 0], [0, 0]], [[1, -1], [0, 0]]], [[False, True], [False, True]])
    none = explained(-np.ones((2, 2, 2)), [[True, True], [False, False]])
    assert evidence.sparse_shares({"i": one, "j": two}) == pytest.approx((3 / 8, 0.3))
    assert evidence.sparse_shares({"i": one, "k": none}) == pytest.approx((3 / 8, 0.6))
    assert evidence.sparse_shares({"k": none}) == pytest.approx((0.5, np.nan), nan_ok=True)


def test_sparse_shares_are_said_for_every_way_to_cover():
    """A quarter of the plane is sparse; without a positive place there is no share of it."""
    sparse = np.zeros((2, 2), bool)
    sparse[0, 0] = True
    heat = explained(np.array([[[3.0, 1.0], [0.0, 0.0]]]), sparse)
    cold = explained(np.full((1, 2, 2), -1.0), sparse)
    found = evidence.sparse_sentence({"side by side": {"i": heat}, "overlapping": {"i": cold}})
    assert found == (
        "Where squares are side by side, sparse ones alone cover 25% of the planes of all images, "
        "with 75% of what speaks for the class in the fused maps; where squares are overlapping, "
        "sparse ones alone cover 25% of the planes of all images."
    )


def test_shares_of_organelles_are_of_places_that_are_not_sparse():
    """1 of 4 and 3 of 4 there, and all of it; a plane that is sparse throughout does not count."""
    one = explained([[[1, 9], [0, -4]], [[2, 0], [1, 0]]], [[False, True], [False, False]])
    two = explained([[[0, 0], [5, 5]], [[-1, 0], [0, 9]]], [[False, False], [False, True]])
    no = explained(np.ones((2, 2, 2)), np.ones((2, 2), bool))
    images = pd.DataFrame({"image": ["k", "j", "i"], "label": "a", "group": ["k", "j", "i"]})
    planes = {"i": one, "j": two, "k": no}
    found = evidence.organelle_shares(planes, images, ["x", "y"], repeats=99, seed=1)
    values = {"x": [0.25, 1.0], "y": [0.75, 0.0]}
    for row in found.itertuples():
        expected = mean_interval(
            np.array(values[row.organelle]), np.array(["a", "a"]), np.array(["i", "j"]),
            repeats=99, seed=1,
        )  # fmt: skip
        assert (row.value, row.low, row.high) == pytest.approx(expected)
    assert found["value"].tolist() == pytest.approx([0.625, 0.375])
    assert evidence.shares_sentence(found.assign(low=[0.2, np.nan], high=[1.0, np.nan])) == (
        "Of what speaks for the class where squares are not sparse, the organelles have these "
        "shares, of which all alike would be 0.50: x 0.62 (95 % interval 0.20 to 1.00); y 0.38 "
        "(without an interval)."
    )
    none = evidence.organelle_shares({"k": no}, images, ["x", "y"], repeats=9, seed=1)
    assert evidence.shares_sentence(none) == ""
