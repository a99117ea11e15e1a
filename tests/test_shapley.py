"""Shapley values of channels: games solved by hand, and by all orders."""

from itertools import permutations

import numpy as np
import pytest

from organelle_fusion.shapley import ShapleyError, absent_patches, shapley_values

RNG = np.random.default_rng(0)
PATCHES = RNG.integers(1, 200, (5, 2, 2, 3)).astype(np.uint8)
BLACK = np.zeros_like(PATCHES)


def of(patches, channel):
    return patches[..., channel].mean(axis=(-2, -1), dtype=float)


def test_additive_score_gives_each_channel_its_own_part():
    """Nothing is shared where nothing is joined; an idle channel gets nothing."""
    found = shapley_values(lambda p: 5 + 2 * of(p, 0) - of(p, 1), PATCHES, BLACK)
    expected = np.stack([2 * of(PATCHES, 0), -of(PATCHES, 1), np.zeros(5)], axis=1)
    np.testing.assert_allclose(found.parts, expected, atol=1e-9)
    np.testing.assert_allclose(found.baseline, 5)


def test_an_interaction_is_shared_equally():
    """A product of two channels is nobody's alone."""
    found = shapley_values(lambda p: of(p, 0) * of(p, 2), PATCHES, BLACK)
    half = of(PATCHES, 0) * of(PATCHES, 2) / 2
    np.testing.assert_allclose(found.parts, np.stack([half, 0 * half, half], axis=1))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_values_are_the_mean_over_all_orders_and_add_up(channels):
    """Against the definition: what a channel adds when its turn comes."""
    patches = RNG.random((4, 3, 3, channels))
    absent = RNG.random(patches.shape)

    def score(p):
        m = p.mean(axis=(-3, -2))
        return np.sin(m.sum(axis=-1) * 3) + m.prod(axis=-1) + m[..., 0] ** 2

    found = shapley_values(score, patches, absent)
    expected = np.zeros((4, channels))
    orders = list(permutations(range(channels)))
    for order in orders:
        shown = absent.copy()
        for channel in order:
            before = score(shown)
            shown[..., channel] = patches[..., channel]
            expected[:, channel] += (score(shown) - before) / len(orders)
    np.testing.assert_allclose(found.parts, expected, atol=1e-12)
    np.testing.assert_allclose(found.parts.sum(axis=1), found.score - found.baseline, atol=1e-12)
    np.testing.assert_allclose(found.score, score(patches))
    np.testing.assert_allclose(found.baseline, score(absent))


def test_what_stands_for_an_absent_channel():
    """Black, the rounded mean of training patches, or a training patch for each channel."""
    training = RNG.integers(0, 255, (6, 2, 2, 3)).astype(np.uint8)
    assert not absent_patches(PATCHES, training, "black", 0).any()
    mean = absent_patches(PATCHES, training, "mean", 0)
    assert mean.dtype == np.uint8
    expected = np.rint(training.reshape(-1, 3).mean(axis=0))
    np.testing.assert_array_equal(mean, np.broadcast_to(expected, PATCHES.shape))
    drawn = absent_patches(PATCHES, training, "another patch", 0)
    sources = [
        [int((training[..., c] == patch[..., c]).all(axis=(1, 2)).argmax()) for c in (0, 1, 2)]
        for patch in drawn
    ]  # fmt: skip
    assert len({tuple(row) for row in sources}) > 1
    assert any(len(set(row)) > 1 for row in sources)  # channels are drawn apart
    np.testing.assert_array_equal(drawn, absent_patches(PATCHES, training, "another patch", 0))
    with pytest.raises(ShapleyError, match="expected one of black, mean, another patch, found 'x'"):
        absent_patches(PATCHES, training, "x", 0)
