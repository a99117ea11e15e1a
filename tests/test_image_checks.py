"""Which images fit a network, by limits worked out by hand, and what is said of others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.image_checks import (
    FitError,
    check_fits,
    image_warnings,
    noise_warnings,
    patch_warnings,
)
from organelle_fusion.volumes import Volume


def volume(size=0.5, channels=("a", "b"), dtype="uint16"):
    return Volume(
        Path("x.tif"), (len(channels), 1, 9, 9), np.dtype(dtype), channels, size, None, None, ()
    )


def table(**changes):
    row = {"otsu": 20.0, "low": 0.0, "high": 95.0, "saturated": 0.0}
    return pd.DataFrame([{"channel": "a"} | row, {"channel": "b"} | row | changes])


@pytest.mark.parametrize(
    ("changes", "allowed", "refused"),
    [
        # 10 µm in 16 pixels are 0.625 µm each, more than the stacks' 0.5: twice that at most
        ({}, [0.125, 0.5, 1.25], [0.1249, 1.251]),
        # 10 µm in 40 pixels are finer than the stacks, whose 0.5 µm count then
        ({"input_px": 40}, [0.125, 1.0], [0.124, 1.001]),
        ({"seen": {"pixel_size_um": (0.2, 2.0)}}, [0.05, 4.0], [0.049, 4.01]),
    ],
)
def test_pixel_sizes_have_limits(facts_of, changes, allowed, refused):
    facts = facts_of(**changes)
    for size in allowed:
        check_fits(volume(size), facts)
    for size in refused:
        with pytest.raises(
            FitError, match=r"^x\.tif: expected pixels of .* found .*; check"
        ) as error:
            check_fits(volume(size), facts)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("channels", "remedy"),
    [
        (("a", "c"), "--channel-map, or .* such as b=c$"),
        (("c", "b", "b"), "such as b=1;a=c$"),
        (("b", "b"), "such as b=0;a=1$"),
        (("b",), "; leave the image out, or save all of its channels in one file$"),
    ],
)
def test_channels_must_be_there_once(facts_of, channels, remedy):
    with pytest.raises(FitError, match=rf"x\.tif: expected the channels a, b .*{remedy}"):
        check_fits(volume(channels=channels), facts_of())


def test_further_channels_and_another_order_are_no_matter(facts_of):
    check_fits(volume(channels=("dapi", "b", "a")), facts_of())


def test_an_image_like_those_of_the_training_gets_no_warning(facts_of):
    """Ranges are widened by their own width: 0 to 50 allows 100, and 90 to 100 allows 80."""
    assert image_warnings(volume(), table(), facts_of()) == []
    assert image_warnings(volume(), table(otsu=100.0, high=80.0), facts_of()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"otsu": 101.0}, "channel b: intensities out of range: threshold 101 (training 0 to 50)"),
        (
            {"low": 1.0, "high": 79.0},
            "channel b: intensities out of range: percentile 1 1 (training 0), "
            "percentile 99.9 79 (training 90 to 100)",
        ),
    ],
)
def test_intensities_out_of_range_are_named(facts_of, changes, words):
    assert image_warnings(volume(), table(**changes), facts_of()) == [words]


def test_a_single_value_of_the_training_allows_a_tenth(facts_of):
    ranges = {"low": (0, 0), "otsu": (0, 50), "high": (100, 100), "saturated": (0, 0)}
    facts = facts_of(seen={"intensities": {"a": ranges, "b": ranges}})
    assert image_warnings(volume(), table(high=110.0), facts) == []
    assert len(image_warnings(volume(), table(high=111.0), facts)) == 1


def test_type_size_and_saturation_are_told(facts_of):
    ranges = {"low": (0, 0), "otsu": (0, 50), "high": (90, 100), "saturated": (0, 0.002)}
    facts = facts_of(seen={"intensities": {"a": ranges, "b": ranges}})
    found = image_warnings(volume(0.4, dtype="uint8"), table(saturated=0.0123), facts)
    assert found == [
        "pixels are uint8, those of the training uint16",
        "pixel size 0.4 µm, in training 0.5 µm",
        "channel b: 1.2% of the voxels hold its largest value: saturated",
    ]
    assert image_warnings(volume(0.46), table(saturated=0.002), facts) == []


@pytest.mark.parametrize(
    ("patches", "share", "words"),
    [
        (20, 0.8, []),
        (10, 0.4, []),
        (9, 0.4, ["9 patches kept, fewer than 10, so that chance moves the mean"]),
        (1, 0.4, ["1 patch kept, fewer than in any image of the training (2)"]),
        (20, 0.81, ["81% of the patches kept, more than of any image of the training (80%)"]),
        (20, 0.39, ["39% of the patches kept, less than of any image of the training (40%)"]),
    ],
)
def test_few_patches_are_told(facts_of, patches, share, words):
    facts = facts_of(seen={"share_kept": (0.4, 0.8)})
    assert patch_warnings(patches, share, facts) == words


def test_noise_in_the_middle_plane_is_told():
    """About the mean of 2, pairs of equal pixels count 1 and others -1, out of 7 in a row.

    In a these are 4 - 3 = 1, of 7 a share of 0.14; in b 6 - 1 = 5; c is flat, and no noise.
    """
    rows = ([0, 0, 0, 4, 4, 0, 4, 4], [0, 0, 0, 0, 4, 4, 4, 4], [7] * 8)
    planes = np.zeros((3, 3, 2, 8), np.uint16)  # Z, C, Y, X
    planes[1] = np.array(rows)[:, None]

    def read(z, indices, out):
        out[:] = planes[z]

    dtype, names = np.dtype(np.uint16), ("a", "b", "c")
    stack = Volume(Path("x.tif"), (3, 3, 2, 8), dtype, names, 0.5, None, read, (0, 1, 2))
    assert noise_warnings(stack) == [
        "channel a: noise without an image in the middle plane: pixels side by side are unrelated "
        "(correlation 0.14)"
    ]
