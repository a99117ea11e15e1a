"""LSM files, written byte by byte as Zeiss wrote them, come back plane by plane, or not at all."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from organelle_fusion.volumes import VolumeError, open_volume

STACK = np.random.default_rng(0).integers(0, 4096, (3, 4, 21, 34), np.uint16)  # C, Z, Y, X
NAMES = ("Ch1-T1", "Ch2-T2", "ChS1-T3")


def refusal(path):
    with pytest.raises(VolumeError) as caught:
        open_volume(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected "), message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("options", [{}, {"strips": 3}, {"lzw": True}, {"lzw": True, "strips": 3}])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_planes_names_and_sizes(tmp_path, write_lsm, channels, options):
    array = STACK[:channels]
    volume = open_volume(write_lsm(tmp_path / "a.lsm", array, NAMES[:channels], **options))
    assert volume.shape == (channels, 4, 21, 34)
    assert volume.dtype == np.dtype(np.uint16)
    assert volume.channels == NAMES[:channels]
    assert volume.pixel_size_um == pytest.approx(0.1)
    assert volume.z_step_um == pytest.approx(0.5)
    for z in (3, 0, 1, 2):
        np.testing.assert_array_equal(volume.plane(z), array[:, z])
    last = volume.select([NAMES[channels - 1]])
    np.testing.assert_array_equal(last.plane(2), array[[channels - 1], 2])


def test_the_file_is_an_lsm_to_tifffile_too(tmp_path, write_lsm):
    """tifffile finds the same pixels and four thumbnails, so the hand-written file is one."""
    with tifffile.TiffFile(write_lsm(tmp_path / "a.lsm", STACK, NAMES, lzw=True)) as tiff:
        assert [series.kind for series in tiff.series] == ["lsm", "lsm"]
        assert tiff.series[0].axes == "ZCYX"
        np.testing.assert_array_equal(tiff.series[0].asarray(), STACK.transpose(1, 0, 2, 3))
        assert len(tiff.series[1].pages) == 4
        assert tiff.lsm_metadata["ChannelColors"]["ColorNames"] == list(NAMES)


def test_a_time_series_of_one_and_eight_bits(tmp_path, write_lsm):
    array = (STACK >> 4).astype(np.uint8)
    volume = open_volume(write_lsm(tmp_path / "a.lsm", array, NAMES, ScanType=6))
    assert volume.dtype == np.dtype(np.uint8)
    np.testing.assert_array_equal(volume.plane(1), array[:, 1])


def test_names_that_are_missing(tmp_path, write_lsm):
    volume = open_volume(write_lsm(tmp_path / "a.lsm", STACK, NAMES[:2]))
    assert volume.channels == ("channel 0", "channel 1", "channel 2")


def test_only_the_channel_asked_for_is_read(tmp_path, write_lsm):
    """Everything but plane 2 of the last channel is wiped out after opening."""
    path = write_lsm(tmp_path / "a.lsm", STACK, NAMES)
    volume = open_volume(path)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[4].dataoffsets[2]
    content = path.read_bytes()
    kept = content[start : start + 21 * 34 * 2]
    path.write_bytes(bytes(start) + kept + bytes(len(content) - start - len(kept)))
    np.testing.assert_array_equal(volume.select([NAMES[2]]).plane(2)[0], STACK[2, 2])


def test_threads_read_the_same_file_at_once(tmp_path, write_lsm):
    volume = open_volume(write_lsm(tmp_path / "a.lsm", STACK, NAMES, lzw=True))
    with ThreadPoolExecutor(8) as executor:
        for place, plane in enumerate(executor.map(volume.plane, [*range(4)] * 20)):
            np.testing.assert_array_equal(plane, STACK[:, place % 4])


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"DimensionTime": 3}, "a series of 3"),
        ({"ScanType": 1}, "a scan of type 1"),
        ({"DimensionP": 2}, "2 positions"),
        ({"DimensionM": 4}, "4 tiles"),
        ({"VoxelSizeX": 0.0}, "X 0 m"),
        ({"VoxelSizeX": 2e-7}, "0.2 × 0.1 µm"),
        ({"DimensionZ": 5}, "pages (4, 3, 21, 34) of (5, 3, 21, 34)"),
        ({"DimensionChannels": 2}, "pages (4, 3, 21, 34) of (4, 2, 21, 34)"),
        ({"MagicNumber": 1}, "damaged"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path, write_lsm, changed, found):
    assert found in refusal(write_lsm(tmp_path / "a.lsm", STACK, NAMES, **changed))


def test_a_size_in_the_manifest_takes_the_place_of_a_missing_one(tmp_path, write_lsm):
    path = write_lsm(tmp_path / "a.lsm", STACK, NAMES, VoxelSizeX=0.0, VoxelSizeZ=0.0)
    assert open_volume(path, pixel_size_um=0.2).z_step_um is None
    assert "pixel_size_um" in refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("lzw", [False, True])
def test_a_file_cut_short_is_refused(tmp_path, write_lsm, share, lzw):
    path = write_lsm(tmp_path / "a.lsm", STACK, NAMES, lzw=lzw)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


def test_damaged_pixels_are_found_when_read(tmp_path, write_lsm):
    path = write_lsm(tmp_path / "a.lsm", STACK, NAMES, lzw=True)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[4].dataoffsets[1]
    content = bytearray(path.read_bytes())
    content[start : start + 60] = bytes([255]) * 60
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.plane(1), STACK[:, 1])
    with pytest.raises(VolumeError, match=r"damaged one \(plane 2: ") as caught:
        volume.plane(2)
    assert "\n" not in str(caught.value)
