"""The phantom's microscope against its stated resolution and noise."""

import numpy as np
import pytest

from organelle_fusion.microscope import Grid, detect, label_points, render_points


def _width_at_half_height(profile, step):
    """Full width at half maximum, by linear interpolation between samples."""
    half = profile.max() / 2
    above = np.flatnonzero(profile >= half)
    first, last = above[0], above[-1]
    left = first - (profile[first] - half) / (profile[first] - profile[first - 1])
    right = last + (profile[last] - half) / (profile[last] - profile[last + 1])
    return (right - left) * step


def test_one_point_is_as_wide_as_stated():
    grid = Grid((41, 61, 61), 0.02, 0.05)
    centre = np.array([[0.0, 30.5 * 0.02, 30.5 * 0.02]])
    image = render_points(centre, np.array([200.0]), 0.0, grid)
    assert image.max() == pytest.approx(200, rel=0.01)
    assert _width_at_half_height(image[:, 30, 30], 0.05) == pytest.approx(0.40, rel=0.01)
    assert _width_at_half_height(image[20, :, 30], 0.02) == pytest.approx(0.14, rel=0.01)
    assert _width_at_half_height(image[20, 30, :], 0.02) == pytest.approx(0.14, rel=0.01)


def test_coarse_pixels_keep_centre_and_spread():
    # Variance of the sampled image: that of the PSF plus that of a square pixel, p²/12.
    pixel = 0.10602
    grid = Grid((1, 21, 21), pixel, 0.5)
    image = render_points(np.array([[0.0, 1.10, 1.17]]), np.array([1.0]), 0.0, grid)[0]
    x = grid.centres(2)
    weight = image.sum(0) / image.sum()
    mean = (weight * x).sum()
    assert mean == pytest.approx(1.17, abs=0.002)
    sigma = 0.14 / 2.3548
    assert (weight * (x - mean) ** 2).sum() == pytest.approx(sigma**2 + pixel**2 / 12, rel=0.02)


def test_three_binned_pixels_are_one_coarse_pixel():
    points = np.random.default_rng(1).uniform([-0.2, 0, 0], [0.2, 3, 3], (40, 3))
    brightness = np.linspace(5, 20, 40)
    fine = render_points(points, brightness, 0.2, Grid((3, 90, 90), 1 / 30, 0.2))
    coarse = render_points(points, brightness, 0.2, Grid((3, 30, 30), 0.1, 0.2))
    binned = fine.reshape(3, 30, 3, 30, 3).mean((2, 4))
    np.testing.assert_allclose(coarse, binned, atol=0.02)


def test_ball_of_some_radius_adds_its_variance():
    grid = Grid((1, 101, 101), 0.02, 0.5)
    image = render_points(np.array([[0.0, 1.01, 1.01]]), np.array([1.0]), 0.4, grid)
    # standard deviations 0.2 of the ball and 0.0594 of the PSF: FWHM 2.3548 * 0.2087
    assert _width_at_half_height(image[0, 50], 0.02) == pytest.approx(0.4913, rel=0.01)


def test_counts_have_the_mean_and_variance_of_the_detector():
    # 20 photons of structure and 3 of haze: mean 100 + 10 * 23, variance 100 * 23 + 15² + 1/12.
    signal = np.full(400_000, 20.0, dtype=np.float32)
    zone = np.ones(signal.shape, dtype=np.uint8)
    counts = detect(np.random.default_rng(0), signal, zone, (1.0, 3.0)).astype(float)
    assert counts.mean() == pytest.approx(330.0, abs=0.4)
    assert counts.var() == pytest.approx(2525.08, rel=0.01)
    # 2.5 photons of haze alone: mean 125, variance 100 * 2.5 + 225 + 1/12.
    dark = np.zeros_like(signal)
    counts = detect(np.random.default_rng(0), dark, zone, (1.0, 2.5)).astype(float)
    assert counts.mean() == pytest.approx(125.0, abs=0.2)
    assert counts.var() == pytest.approx(475.08, rel=0.01)


def test_haze_is_poisson_distributed():
    zone = np.zeros(400_000, dtype=np.uint8)
    counts = detect(np.random.default_rng(3), zone.astype(np.float32), zone, (0.05,))
    # Read noise of 1.5 photons blurs single photons; the third central moment of a Poisson
    # variable is λ, of the normal noise 0: 10³ * 0.05 = 50.
    centred = counts.astype(float) - 100.5
    assert centred.mean() == pytest.approx(0, abs=0.1)
    assert (centred**3).mean() == pytest.approx(50, abs=60)


def test_labels_of_a_ball_counted_by_hand():
    grid = Grid((3, 9, 9), 0.1, 0.5)
    points = np.array([[0.0, 0.45, 0.45], [0.0, 50.0, 0.0]])
    allowed = np.ones(grid.shape, dtype=bool)
    labels = label_points(points, np.array([4, 2]), 0.2001, allowed, grid)
    # Within two pixels of a pixel's centre lie 13 pixels: 1 + 4 + 4 + 4.
    assert labels.dtype == np.uint16
    assert np.count_nonzero(labels) == np.count_nonzero(labels[1]) == 13
    assert labels.max() == 1  # the other object is out of view, and numbers have no gaps
    allowed[1, :, :4] = False
    assert np.count_nonzero(label_points(points, np.array([4, 2]), 0.2001, allowed, grid)) == 9
