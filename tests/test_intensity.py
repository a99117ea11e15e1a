from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from skimage.filters import threshold_otsu

from organelle_fusion import streaming
from organelle_fusion.intensity import (
    PatchError,
    binned_histograms,
    channel_histograms,
    count_channels,
    display_plane,
    otsu_thresholds,
    stack_statistics,
)
from organelle_fusion.volumes import open_volume, write_ome_tiff


def stack(tmp_path, array):
    names = [f"channel-{index}" for index in range(len(array))]
    path = tmp_path / "stack.ome.tif"
    write_ome_tiff(path, array, names, pixel_size_um=0.1, z_step_um=0.5)
    return open_volume(path)


def blobs(dtype, scale, offset=0):
    """Two channels of unlike brightness, (2, 5, 31, 40), whose planes differ in mean."""
    rng = np.random.default_rng(3)
    background = rng.normal(20, 4, (2, 5, 31, 40)) + np.arange(5)[:, None, None]
    bright = rng.random((2, 5, 31, 40)) < 0.2
    values = (background + bright * rng.gamma(4, 10, bright.shape)) * scale + offset
    values[1] *= 0.7
    return values.round().astype(dtype) if np.dtype(dtype).kind in "iu" else values.astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"), [("uint8", 1, 0), ("uint16", 90, 0), ("int16", 40, -5000)]
)
def test_threshold_of_planes_is_that_of_the_whole_stack(tmp_path, dtype, scale, offset):
    array = blobs(dtype, scale, offset)
    found = otsu_thresholds(stack(tmp_path, array))
    for channel, threshold in zip(array, found, strict=True):
        whole = threshold_otsu(channel)
        assert threshold == whole
        np.testing.assert_array_equal(channel > threshold, channel > whole)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_every_value_of_a_type_is_counted(tmp_path, dtype):
    """Random integers of the whole range with both extremes; an odd number of pixels a plane."""
    limits = np.iinfo(dtype)
    array = np.random.default_rng(4).integers(limits.min, limits.max, (2, 3, 31, 41), dtype)
    array[:, 1, 5, :9], array[0, 2, 30, 38:] = limits.max, limits.min
    volume = stack(tmp_path, array)
    for channel, (counts, values) in zip(array, channel_histograms(volume), strict=True):
        present, expected = np.unique(channel, return_counts=True)
        np.testing.assert_array_equal(values[counts > 0], present)
        np.testing.assert_array_equal(counts[counts > 0], expected)
    assert otsu_thresholds(volume).tolist() == [threshold_otsu(channel) for channel in array]
    assert stack_statistics(volume)["saturated"].tolist() == [
        (channel == limits.max).mean() for channel in array
    ]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_the_number_of_threads_changes_nothing(tmp_path, monkeypatch, dtype):
    volume = stack(tmp_path, blobs(dtype, 1))
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(streaming, "thread_count", lambda threads=threads: threads)
        found.append(stack_statistics(volume))
    pd.testing.assert_frame_equal(found[1], found[0], check_exact=True)
    pd.testing.assert_frame_equal(found[2], found[0], check_exact=True)


def test_threshold_of_floats_is_that_of_65536_bins(tmp_path):
    array = blobs("float32", 0.01)
    found = otsu_thresholds(stack(tmp_path, array))
    expected = [threshold_otsu(channel.astype(float), nbins=65_536) for channel in array]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_percentiles_are_values_of_the_stack(tmp_path):
    array = blobs("uint16", 90)
    statistics = stack_statistics(stack(tmp_path, array))
    for channel, row in zip(array, statistics.itertuples(), strict=True):
        expected = np.percentile(channel, [1, 99.9], method="inverted_cdf")
        assert [row.low, row.high] == expected.tolist()


def test_statistics_counted_by_hand(tmp_path):
    # 200 voxels: 2 of 0 (the first percentile is the second smallest), 190 of 10, 8 of 255
    array = np.full((1, 2, 10, 10), 10, np.uint8)
    array[0, 0, 0, :2] = 0
    array[0, 1, 5, :8] = 255
    (row,) = stack_statistics(stack(tmp_path, array)).itertuples(index=False)
    assert row == ("channel-0", 10, 0, 255, 8 / 200)


def test_range_falls_back_to_the_extremes_where_the_percentiles_coincide(tmp_path):
    array = np.zeros((1, 2, 50, 50), np.uint16)
    array[0, 0, 0, 0] = 40  # one voxel in 5,000 lies above the 99.9 percentile
    (row,) = stack_statistics(stack(tmp_path, array)).itertuples(index=False)
    assert (row.low, row.high) == (0, 40)


def ramp(*others):
    """Two planes of the numbers 0 to 49, each 100 times, the first of which are replaced."""
    array = (np.arange(5000, dtype=np.float32) % 50).reshape(1, 2, 50, 50)
    array[0, 0, 0, 10 : 10 + len(others)] = others
    return array


@pytest.mark.parametrize("far", [131_072, -131_072])
def test_floats_beside_one_far_voxel_are_refused(tmp_path, far):
    """Bins are 2 wide: 0 to 49 lie in 25 of them (below, from −131,072, 49 is in the last)."""
    message = r"ome.tif: channel channel-0: .* 65,536 bins .* in 25 of the bins 98.9 % of .*; repl"
    with pytest.raises(PatchError, match=message) as error:
        stack_statistics(stack(tmp_path, ramp(far)))
    assert "\n" not in str(error.value)


def test_floats_beside_a_voxel_that_is_not_so_far_are_counted(tmp_path):
    """Bins are 1 wide, and numbers half a bin from their middles."""
    (row,) = stack_statistics(stack(tmp_path, ramp(65_536))).itertuples(index=False)
    assert row == ("channel-0", 49.5, 0.5, 49.5, 1 / 5000)


def test_floats_of_one_value_but_for_a_few_are_told_apart(tmp_path):
    """Bins are 2 wide, in the middle of which all the percentiles are equal."""
    array = np.full((1, 2, 50, 50), 0.25)
    array[0, 0, 0, :2] = -65_536, 65_536
    (row,) = stack_statistics(stack(tmp_path, array)).itertuples(index=False)
    assert (row.low, row.high, row.saturated) == (-65_535, 65_535, 1 / 5000)
    array[0, 1, 4, 4] = 0.5  # in the same bin
    with pytest.raises(PatchError, match="in 1 of the bins 98"):
        stack_statistics(stack(tmp_path, array))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_constant_channel_is_refused_in_one_line(tmp_path, dtype):
    array = blobs(dtype, 1)
    array[1] = 7
    with pytest.raises(PatchError, match=r"stack.ome.tif: channel channel-1: .* found 7.* every"):
        stack_statistics(stack(tmp_path, array))


@pytest.mark.parametrize("values", [(0.3, 0.1 + 0.2), (-1.7e308, 1.7e308), (0, 5e-324)])
def test_floats_that_bins_cannot_tell_apart_are_refused(tmp_path, values):
    """A constant up to rounding, and the ends of what there is."""
    array = blobs("float64", 1)
    array[1] = np.where(array[0] > np.median(array[0]), *values)
    with pytest.raises(PatchError, match=r"channel channel-1: expected intensities that 65,536 b"):
        stack_statistics(stack(tmp_path, array))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_voxel_that_is_no_number_is_refused(tmp_path, bad):
    array = blobs("float32", 1)
    array[1, 3, 0, 0] = bad
    with pytest.raises(PatchError, match=r"channel channel-1: expected finite .* in plane 3;"):
        stack_statistics(stack(tmp_path, array))


def test_other_types_are_refused(tmp_path):
    volume = replace(stack(tmp_path, blobs("uint16", 1)), dtype=np.dtype("uint32"))
    with pytest.raises(PatchError, match="found uint32; convert"):
        stack_statistics(volume)


def test_display_plane_is_scaled_between_low_and_high(tmp_path):
    """Each channel is scaled by its own range, and what lies beyond is clipped."""
    array = np.zeros((2, 1, 1, 4), np.uint16)
    array[0, 0, 0] = [0, 10, 20, 30]
    array[1, 0, 0] = [100, 200, 300, 400]
    volume = stack(tmp_path, array)
    statistics = stack_statistics(volume).assign(low=[10, 0], high=[20, 400])
    np.testing.assert_array_equal(
        display_plane(volume, 0, statistics), [[[0, 0, 1, 1]], [[0.25, 0.5, 0.75, 1]]]
    )


def test_bins_hold_equally_many_grey_levels_and_the_threshold_is_an_edge(tmp_path):
    """Of five grey levels, two in a bin; Otsu's threshold is 2, above which are two voxels."""
    array = np.array([0, 0, 1, 2, 4, 4], np.uint8).reshape(1, 1, 2, 3)
    volume = stack(tmp_path, array)
    statistics = stack_statistics(volume)
    assert statistics["otsu"].tolist() == [2]
    edges, counts = binned_histograms(volume, statistics, bins=3)["channel-0"]
    np.testing.assert_array_equal(edges, [-1.5, 0.5, 2.5, 4.5])
    np.testing.assert_array_equal(counts, [2, 2, 2])


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 1), ("uint16", 30), ("float32", 0.01)])
def test_bins_above_the_threshold_hold_the_foreground(tmp_path, dtype, scale):
    """Also where one hot pixel makes the bins wide; and every voxel is in a bin."""
    array = blobs(dtype, scale)
    array[:, 0, 0, 0] = {"uint8": 255, "uint16": 65535, "float32": 100}[dtype]
    volume = stack(tmp_path, array)
    statistics = stack_statistics(volume)
    found = binned_histograms(volume, statistics)
    for channel, otsu, values in zip(found, statistics["otsu"], array, strict=True):
        edges, counts = found[channel]
        assert counts.sum() == values.size
        foreground = (values > otsu).sum()
        # Of floats, Otsu's threshold is the middle of one of its fine bins, which goes one way.
        unsure = (np.abs(values - otsu) < 2e-3).sum() if dtype == "float32" else 0
        assert abs(counts[edges[:-1] > otsu].sum() - foreground) <= unsure
        assert len(counts) <= 202


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_second_look_is_given_every_page_once_and_constant_channels_are_counted(tmp_path, dtype):
    array = blobs(dtype, 1)
    array[1] = 7
    seen = {}

    def note(z, channel, pixels):
        assert (z, channel) not in seen
        seen[z, channel] = pixels.sum(dtype=float)

    volume = stack(tmp_path, array)
    first, second = count_channels(volume, note)
    assert seen == {(z, c): array[c, z].sum(dtype=float) for z in range(5) for c in (0, 1)}
    assert first[0].sum() == array[0].size
    assert second[1][0] == second[1][-1] == 7
    assert second[0].sum() == array[1].size
    with pytest.raises(PatchError, match="found 7"):
        channel_histograms(volume)
