"""One look at every voxel finds what is cut off, empty, noise, or seen before."""

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.filters import threshold_otsu

from organelle_fusion.inspecting import acquisition_date, image_suffix, inspect_channels
from organelle_fusion.volumes import open_volume, write_ome_tiff

RNG = np.random.default_rng(5)
NOISE = RNG.normal(1000, 30, (3, 40, 50))
IMAGE = 1000 + 4000 * ndimage.gaussian_filter(
    (RNG.random((3, 40, 50)) > 0.98) * 30.0, (0, 1.5, 1.5)
)


def look(tmp_path, *channels, dtype=np.uint16):
    path = tmp_path / "a.ome.tif"
    array = np.array(channels).round().astype(dtype)
    names = [f"c{index}" for index in range(len(array))]
    write_ome_tiff(path, array, names, pixel_size_um=0.1, z_step_um=None)
    return inspect_channels(open_volume(path))


def test_range_foreground_and_correlation_are_those_of_the_whole_array(tmp_path):
    found = look(tmp_path, IMAGE, NOISE)
    for row, channel in zip(found.itertuples(), (IMAGE.round(), NOISE.round()), strict=True):
        assert (row.smallest, row.largest) == (channel.min(), channel.max())
        low, high = np.percentile(channel, [1, 99.9], method="inverted_cdf")
        assert row.range == high - low
        otsu = threshold_otsu(channel.astype(np.uint16))
        assert row.foreground == (channel > otsu).mean()
        whole = channel - channel.mean(axis=(1, 2), keepdims=True)
        left, right = whole[..., :-1].ravel(), whole[..., 1:].ravel()
        expected = left @ right / ((left @ left + right @ right) / 2)
        assert row.correlation == pytest.approx(expected, abs=1e-5)
    assert found["correlation"][0] > 0.7
    assert abs(found["correlation"][1]) < 0.1


@pytest.mark.parametrize(
    ("dtype", "limit"), [("uint16", 4095), ("uint16", 16383), ("uint16", 65535), ("uint8", 255)]
)
def test_what_a_detector_cuts_is_a_pile_up_at_any_bit_depth(tmp_path, dtype, limit):
    scaled = (IMAGE - IMAGE.min()) / np.ptp(IMAGE)
    cut = np.minimum(scaled * 3 * limit, limit)
    found = look(tmp_path, cut, scaled * limit * 0.9, dtype=dtype)
    share = (cut.round() == limit).mean()
    assert share > 0.01
    assert found["saturated"].tolist() == [pytest.approx(share), 0]


def test_a_dark_image_is_not_saturated(tmp_path):
    """Few photons: many voxels share the largest value, and more the one below it."""
    photons = np.minimum(RNG.poisson(0.5, (3, 40, 50)), 2)
    assert (photons == 2).mean() > 0.05
    assert look(tmp_path, photons, dtype=np.uint8)["saturated"].tolist() == [0]


def test_constant_channels_and_planes(tmp_path):
    steps = np.broadcast_to(np.arange(3)[:, None, None], (3, 40, 50))
    found = look(tmp_path, np.full((3, 40, 50), 7), steps)
    assert (found["smallest"][0], found["largest"][0]) == (7, 7)
    assert np.isnan(found["foreground"][0])
    assert found["saturated"].tolist() == [0, 0]
    assert found["correlation"].tolist() == [0, 0]


def test_equal_numbers_have_equal_hashes_in_all_types(tmp_path):
    small = RNG.integers(0, 200, (2, 3, 8, 9))
    types = ("uint8", "uint16", "float32", "float64")
    found = [look(tmp_path, *small, dtype=dtype) for dtype in types]
    assert len({tuple(each["sha256"]) for each in found}) == 1
    path = tmp_path / "finer.ome.tif"  # as floats of 32 bits they are equal
    write_ome_tiff(path, small + 1e-10, ["a", "b"], pixel_size_um=0.1, z_step_um=None)
    finer = inspect_channels(open_volume(path))
    assert set(finer["sha256"]).isdisjoint(found[0]["sha256"])
    assert found[0]["sha256"].nunique() == 2
    swapped = look(tmp_path, small[0][[1, 0, 2]], small[0].reshape(3, 9, 8).transpose(0, 2, 1))
    assert set(swapped["sha256"]).isdisjoint(found[0]["sha256"])


def test_suffixes():
    assert image_suffix("a/B.OME.TIF") == ".ome.tif"
    assert image_suffix("b.lsm") == ".lsm"
    assert image_suffix("b.czi#scene=2") == ".czi"
    assert image_suffix("b.ome.zarr") == ".ome.zarr"
    assert image_suffix("b.png") == ""


def test_the_day_an_ome_tiff_was_taken(tmp_path):
    path, plain = tmp_path / "a.ome.tif", tmp_path / "b.tif"
    date = {"axes": "YX", "AcquisitionDate": "2024-03-05T10:11:12"}
    tifffile.imwrite(path, np.zeros((4, 5), np.uint8), ome=True, metadata=date)
    tifffile.imwrite(plain, np.zeros((4, 5), np.uint8), imagej=True)
    assert acquisition_date(str(path)) == "2024-03-05"
    assert acquisition_date(str(plain)) is None
    assert acquisition_date("none.czi") is None
    other = tmp_path / "other.tif"
    other.write_bytes(b"ZISRAWFILE" + bytes(100))  # of another format, by its content
    assert acquisition_date(str(other)) is None


def test_the_date_is_that_of_the_image_which_is_named(tmp_path):
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for day in ("2020-01-01", "2021-02-02"):
            about = {"axes": "YX", "AcquisitionDate": f"{day}T10:11:12"}
            writer.write(np.zeros((4, 4), np.uint8), metadata=about)
    assert acquisition_date(f"{path}#image=1") == "2021-02-02"
    assert acquisition_date(str(path)) == acquisition_date(f"{path}#image=0") == "2020-01-01"


def test_planes_of_one_value_are_counted_whatever_rounding_makes_of_their_mean(tmp_path):
    """The mean of equal numbers in 32 bits, here 1001.1, is not quite theirs."""
    array = np.random.default_rng(0).random((1, 4, 170, 170)).astype(np.float32)
    array[0, 1] = 1001.1
    array[0, 3] = array[0, 2]
    write_ome_tiff(tmp_path / "a.ome.tif", array, ["a"], pixel_size_um=0.1, z_step_um=None)
    (row,) = inspect_channels(open_volume(tmp_path / "a.ome.tif")).itertuples()
    assert (row.planes, row.flat_planes, row.repeated_planes) == (4, 1, 2)
