"""Measures of maps: small ones worked out by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from organelle_fusion import faithfulness
from organelle_fusion.bootstrap import mean_interval


def test_mass_of_organelles():
    """3 of 4 that is positive lies with the first; nothing positive is shared equally."""
    maps = np.zeros((2, 2, 2, 2))
    maps[0, 0, 0] = 1, 2
    maps[0, 1, 1] = 1, -9
    maps[1] = -1
    np.testing.assert_allclose(faithfulness.organelle_mass(maps), [[0.75, 0.25], [0.5, 0.5]])


def test_enlarged_maps_keep_their_cells():
    """2 cells on 5 pixels: the first takes three."""
    found = faithfulness.enlarge(np.array([[[1, 2], [3, 4]]]), 5)
    np.testing.assert_array_equal(found[0, 0], [1, 1, 1, 2, 2])
    np.testing.assert_array_equal(found[0, :, 0], [1, 1, 1, 3, 3])


def test_mass_and_pointing_against_the_share_of_the_area():
    """A quarter is masked and holds 3/4 of the mass and the maximum; a miss; what is unknown."""
    maps = np.array([[[3.0, 1], [0, -5]], [[0, 2], [0, 0]], [[-1, -1], [-1, -1]], [[1, 2], [3, 4]]])
    masks = np.zeros((4, 2, 2), bool)
    masks[:3, 0, 0] = True
    mass = faithfulness.mass_in_mask(maps, masks)
    np.testing.assert_allclose(mass, [0.75 - 0.25, 0 - 0.25, np.nan, np.nan])
    hits = faithfulness.pointing(maps, masks)
    np.testing.assert_allclose(hits, [1 - 0.25, 0 - 0.25, np.nan, np.nan])
    tie = np.array([[[2.0, 2], [0, 0]]])
    assert faithfulness.pointing(tie, masks[:1]) == pytest.approx([0.5 - 0.25])


def test_maps_that_know_the_score_remove_and_bring_back_better_than_lot():
    """The score is the sum of a linear model; its own map falls and rises fastest, by hand."""
    weights = np.zeros((1, 2, 2, 2))
    weights[0, 0, 0, 0], weights[0, 1, 1, 1] = 6, 2
    patches = np.ones((1, 2, 2, 2))

    def score(p):
        return (p * weights).sum(axis=(-3, -2, -1))

    own = weights.transpose(0, 3, 1, 2)
    arguments = {"baseline": np.zeros_like(patches), "steps": 8, "seed": 3}
    curves = faithfulness.removal_curves(score, patches, own, **arguments)
    gain = faithfulness.removal_gain(curves)
    # Eight places one by one; by the map 6 goes at once and 2 next: left are 2, 0, 0…
    by_map = {"deletion": np.mean([2, 0, 0, 0, 0, 0, 0]), "insertion": np.mean([6] + [8] * 6)}
    order = np.argsort(np.argsort(-np.random.default_rng(3).random((1, 8)), axis=1), axis=1)[0]
    first, second = order[0], order[7]  # places of 6 and of 2 in the random order
    left = [6 * (first >= step) + 2 * (second >= step) for step in range(1, 8)]
    np.testing.assert_allclose(curves["deletion"]["map"], [[8, 2, 0, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(curves["deletion"]["lot"], [[8, *left, 0]])
    np.testing.assert_allclose(curves["insertion"]["map"], [[0, 6, 8, 8, 8, 8, 8, 8, 8]])
    assert gain["deletion"] == pytest.approx([np.mean(left) - by_map["deletion"]])
    assert gain["insertion"] == pytest.approx([by_map["insertion"] - (8 - np.mean(left))])
    opposite = faithfulness.removal_gain(
        faithfulness.removal_curves(score, patches, -own, **arguments)
    )
    assert opposite["deletion"] < gain["deletion"]
    constant = faithfulness.removal_gain(
        faithfulness.removal_curves(score, patches, 0 * own, **arguments)
    )
    assert constant["deletion"] == pytest.approx([0])
    ends = faithfulness.removal_curves(score, patches, own, **arguments | {"steps": 1})
    np.testing.assert_allclose(ends["deletion"]["map"], [[8, 0]])  # nothing taken, and all


def test_rank_correlation_is_scipys():
    """Patch by patch, its absolute value; none for a constant map."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (2, 4, 2, 3, 3)).astype(float)
    b[1] = -a[1]
    b[3] = 1
    found = faithfulness.rank_correlation(a, b)
    expected = [
        abs(spearmanr(x.ravel(), y.ravel()).statistic) for x, y in zip(a[:3], b[:3], strict=True)
    ]
    np.testing.assert_allclose(found[:3], expected)
    assert found[1] == pytest.approx(1)
    assert np.isnan(found[3])


def test_interval_of_a_mean_resamples_groups_within_classes():
    """Two groups of 0 and 4 in each class: means from 0 to 4; patches of a group stay together."""
    values = np.array([0.0, 0, 4, 4, 0, 0, 4, 4])
    labels = np.repeat(["a", "b"], 4)
    groups = np.repeat(["p", "q", "r", "s"], 2)
    value, low, high = mean_interval(values, labels, groups, repeats=4000, seed=0)
    assert (value, low, high) == (2, 0, 4)
    # One group per class can only be drawn as it is, which tells nothing.
    found = mean_interval(values, labels, labels, repeats=100, seed=0)
    np.testing.assert_array_equal(found, (2, np.nan, np.nan))
