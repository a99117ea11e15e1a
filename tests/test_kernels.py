"""Compiled loops give the numbers of NumPy and scikit-image."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.transform import resize_local_mean

import organelle_fusion
from organelle_fusion.kernels import average_areas, count_foreground, count_values


@pytest.mark.parametrize("length", [0, 1, 2, 1001])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_are_counted_as_by_numpy(dtype, length):
    largest = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, largest, length, dtype, endpoint=True)
    pixels[:1], pixels[-1:] = 0, largest  # the extremes have their bins
    counts = np.zeros((2, largest + 1), np.int32)
    count_values(pixels, counts)
    count_values(pixels, counts)  # added to what is there
    expected = 2 * np.bincount(pixels, minlength=largest + 1)
    np.testing.assert_array_equal(counts.sum(axis=0), expected)


@pytest.mark.parametrize("sizes", [[1, 5, 8, 24], [7], [5, 9]])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_foreground_is_the_mean_of_a_mask_at_several_sizes(dtype, sizes):
    """Sizes that divide the plane, that do not (and leave rows or columns), that are all of it."""
    plane = np.random.default_rng(1).integers(0, 100, (3, 24, 31)).astype(dtype)
    plane[0] -= 50 if np.dtype(dtype).kind == "i" else 0
    thresholds = np.array([20, 60, 99], dtype)  # of the last channel nothing is above
    masks = plane > thresholds[:, None, None]
    masks = np.concatenate([masks, masks.any(axis=0, keepdims=True)])
    expected = [
        masks[:, y : y + size, x : x + size].sum(axis=(1, 2))
        for size in sizes
        for y in range(0, 24 - size + 1, size)
        for x in range(0, 31 - size + 1, size)
    ]
    found = count_foreground(plane, thresholds, np.array(sizes))
    np.testing.assert_array_equal(found, np.transpose(expected))


def test_the_extremes_of_the_type_are_compared_as_numbers():
    plane = np.array([[[0, 65_535], [65_534, 1]]], np.uint16)
    for threshold, expected in ((0, 3), (65_534, 1), (65_535, 0)):
        found = count_foreground(plane, np.array([threshold], np.uint16), np.array([2]))
        assert found.tolist() == [[expected], [expected]]


def test_columns_may_hold_more_than_16_bits():
    """A plane of 70,000 rows that is bright all over."""
    plane = np.ones((1, 70_000, 2), np.uint8)
    found = count_foreground(plane, np.zeros(1, np.uint8), np.array([1, 2]))
    assert (found[:, :140_000] == 1).all()
    assert (found[:, 140_000:] == 4).all()
    assert found.shape[1] == 140_000 + 35_000


@pytest.mark.parametrize(("size", "output"), [(3, 7), (7, 3), (6, 3), (5, 1), (4, 4)])
def test_areas_are_averaged_as_by_scikit_image(size, output):
    plane = np.random.default_rng(2).integers(0, 1000, (2, 9, 12), np.uint16)
    corners = np.array([[0, 0], [9 - size, 12 - size]])
    edges = np.linspace(0, size, output + 1)
    pixel = np.arange(size)
    shares = np.clip(
        np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel), 0, 1
    )
    bounds = np.array([[np.flatnonzero(row)[0], np.flatnonzero(row)[-1] + 1] for row in shares])
    low, high = np.array([100, 0], np.uint16), np.array([800, 999], np.uint16)
    found = average_areas(
        plane, corners, low, high, shares / shares.sum(axis=1, keepdims=True), bounds
    )
    assert (found.dtype, found.shape) == (np.uint8, (2, output, output, 2))
    for of_patch, (y, x) in zip(found, corners, strict=True):
        for channel in range(2):
            pixels = plane[channel, y : y + size, x : x + size].astype(float)
            scaled = np.clip((pixels - low[channel]) / (high[channel] - low[channel]), 0, 1) * 255
            expected = resize_local_mean(scaled, (output, output), preserve_range=True)
            np.testing.assert_array_equal(of_patch[..., channel], np.rint(expected.round(6)))


def test_a_package_that_is_read_only_is_compiled_into_the_cache_of_the_user(tmp_path):
    """A file stands where the folder beside the module would be, so that not even root writes."""
    package = tmp_path / "package"
    package.mkdir()
    source = Path(organelle_fusion.__file__).parent / "kernels.py"
    shutil.copy(source, package / "kernels.py")
    (package / "__pycache__").write_text("no folder")
    script = (
        "import numpy, kernels; counts = numpy.zeros((2, 256), numpy.int32);"
        "kernels.count_values(numpy.array([7, 7, 9], numpy.uint8), counts);"
        "print(counts.sum(axis=0)[[7, 9]].tolist())"
    )
    variables = {
        **{name: text for name, text in os.environ.items() if name != "NUMBA_CACHE_DIR"},
        "PYTHONPATH": str(package),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[2, 1]"
    assert list(tmp_path.rglob("kernels.count_values*.nbc"))
