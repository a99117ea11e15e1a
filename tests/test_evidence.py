"""What speaks for the class on whole planes, against sums by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import evidence
from organelle_fusion.bootstrap import mean_interval


def of_plane(maps, sparse, **more):
    found = evidence.plane_evidence(np.array(maps, np.float32), np.array(sparse), ["x", "y"])
    return found.assign(**more)


ONE = of_plane(
    [[[1, 3], [0, -4]], [[0, 0], [1, 0]]], [[False, True], [False, False]], image="i", squares="s"
)
TWO = of_plane(
    [[[1, 0], [0, 0]], [[1, -1], [0, 0]]], [[False, True], [False, True]], image="j", squares="s"
)
NONE = of_plane(-np.ones((2, 2, 2)), np.ones((2, 2), bool), image="k", squares="s")


def test_shares_of_a_plane_by_hand():
    """One pixel of four with 3 of 5 of what is positive in the sum; the rest half by half."""
    assert ONE.iloc[0].tolist() == [0.25, 0.6, 0.5, 0.5, "i", "s"]
    assert TWO[["sparse", "heat"]].iloc[0].tolist() == [0.5, 0]
    np.testing.assert_array_equal(
        NONE[["sparse", "heat", "x", "y"]].to_numpy(float), [[1, *[np.nan] * 3]]
    )


def test_sparse_shares_are_said_for_every_way_to_cover():
    """Means over images; one without a positive place has no share of it."""
    rows = pd.concat([ONE, TWO, NONE, NONE.assign(squares="t")])
    assert evidence.sparse_sentence(rows) == (
        "Where squares are s, sparse ones alone cover 58% of the planes of all images, with 30% of "
        "what speaks for the class in the fused maps; where squares are t, sparse ones alone cover "
        "100% of the planes of all images."
    )


def test_shares_of_organelles_are_of_places_that_are_not_sparse():
    """1 of 4 and 3 of 4 there, and all of it; a plane that is sparse throughout does not count."""
    one = of_plane([[[1, 9], [0, -4]], [[2, 0], [1, 0]]], [[False, True], [False, False]])
    two = of_plane([[[0, 0], [5, 5]], [[-1, 0], [0, 9]]], [[False, False], [False, True]])
    rows = pd.concat([one, two, NONE]).assign(label="a", group=["i", "j", "k"])
    found = evidence.organelle_shares(rows, ["x", "y"], repeats=99, seed=1)
    for row, values in zip(found.itertuples(), ([0.25, 1.0], [0.75, 0.0]), strict=True):
        expected = mean_interval(
            np.array(values), np.array(["a", "a"]), np.array(["i", "j"]), repeats=99, seed=1
        )
        assert (row.value, row.low, row.high) == pytest.approx(expected)
    assert found["value"].tolist() == pytest.approx([0.625, 0.375])
    assert evidence.shares_sentence(found.assign(low=[0.2, np.nan], high=[1.0, np.nan])) == (
        "What speaks for the class where squares are not sparse is shared by the organelles like "
        "this (equal shares would be 0.50): x 0.62 (95 % interval 0.20 to 1.00); y 0.38 "
        "(without an interval)."
    )
    none = evidence.organelle_shares(rows.tail(1), ["x", "y"], repeats=9, seed=1)
    assert evidence.shares_sentence(none) == ""
