"""CZI files, written by libCZI and by microscopes, come back plane by plane, or not at all."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from organelle_fusion.czi import _check_dimensions
from organelle_fusion.volumes import VolumeError, open_volume

STACK = np.random.default_rng(0).integers(0, 4096, (3, 4, 50, 61), np.uint16)  # C, Z, Y, X
NAMES = ("AF488", "AF568", "DAPI")


def refusal(path, **keywords):
    with pytest.raises(VolumeError) as caught:
        open_volume(path, **keywords)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected "), message
    assert "\n" not in message
    return message


def direct(path, **place):
    """Pixels as pylibCZIrw gives them by itself."""
    from pylibCZIrw.czi import open_czi

    scene = place.pop("scene", None)
    with open_czi(str(path)) as document:
        return document.read(plane=place, scene=scene)[..., 0]


@pytest.mark.parametrize("compression", [None, "zstd0:ExplicitLevel=3", "zstd1:ExplicitLevel=2"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_planes_names_and_sizes(tmp_path, write_czi, dtype, compression):
    array = (STACK >> 4).astype(dtype)
    path = write_czi(tmp_path / "a.czi", array, NAMES, compression=compression)
    volume = open_volume(path)
    assert volume.shape == (3, 4, 50, 61)
    assert volume.dtype == np.dtype(dtype)
    assert volume.channels == NAMES
    assert volume.pixel_size_um == pytest.approx(0.1)
    assert volume.z_step_um == pytest.approx(0.5)
    out = np.empty((3, 50, 61), dtype)
    for z in (3, 0, 1, 2):
        assert volume.plane(z, out=out) is out
        np.testing.assert_array_equal(out, array[:, z])
    np.testing.assert_array_equal(volume.select(["DAPI", "AF488"]).plane(2), array[[2, 0], 2])
    np.testing.assert_array_equal(volume.split()[1].plane(1), array[[1], 1])


def test_a_czi_by_another_name_is_known_by_its_content(tmp_path, write_czi):
    path = write_czi(tmp_path / "a.czi", STACK, NAMES).rename(tmp_path / "a.img")
    np.testing.assert_array_equal(open_volume(path).plane(1), STACK[:, 1])


def test_channels_without_names_and_one_plane(tmp_path, write_czi):
    volume = open_volume(write_czi(tmp_path / "a.czi", STACK[:, :1], NAMES[:1]))
    assert volume.channels == ("AF488", "channel 1", "channel 2")
    assert volume.shape == (3, 1, 50, 61)
    mapped = open_volume(tmp_path / "a.czi", channel_map={"mitochondria": "2"})
    np.testing.assert_array_equal(mapped.select(["mitochondria"]).plane(0), STACK[[2], 0])


def test_scenes_are_told_apart_by_the_path(tmp_path, write_czi):
    """The second scene is smaller, has one plane less and lies elsewhere."""
    second = STACK[:, :3, :40, :45] + 1
    scenes = {0: (STACK, (0, 0)), 1: (second, (900, -70))}
    path = write_czi(tmp_path / "a.czi", scenes, NAMES)
    message = refusal(path)
    assert "found 2 scenes" in message
    assert "a.czi#scene=0 (0 to 1)" in message
    for number, array in ((0, STACK), (1, second)):
        volume = open_volume(f"{path}#scene={number}")
        assert volume.shape == array.shape
        np.testing.assert_array_equal(np.stack(list(volume.planes()), axis=1), array)
    np.testing.assert_array_equal(direct(path, scene=1, C=2, Z=1), second[2, 1])
    with pytest.raises(VolumeError, match=r"scene 0 to 1, found #scene=2 asked for"):
        open_volume(f"{path}#scene=2")


def test_scenes_that_overlap_are_not_mixed(tmp_path, write_czi):
    scenes = {0: (STACK, (0, 0)), 1: (STACK + 7, (5, 5))}
    path = write_czi(tmp_path / "a.czi", scenes, NAMES)
    for number in (0, 1):
        np.testing.assert_array_equal(
            open_volume(f"{path}#scene={number}").plane(2), STACK[:, 2] + 7 * number
        )


def write_tiles(path, tiles):
    """Tiles: (x, y, channel, plane, pixels)."""
    from pylibCZIrw.czi import create_czi

    with create_czi(str(path)) as document:
        for x, y, c, z, pixels in tiles:
            document.write(pixels, location=(x, y), plane={"C": c, "Z": z})
        document.write_metadata(scale_x=1e-7, scale_y=1e-7)
    return path


def test_tiles_left_of_the_origin_are_joined(tmp_path):
    """Two tiles beside each other, the left one beginning at (-30, -20) and one row lower."""
    left, right = STACK[0, 0, :, :30], STACK[0, 0, :, 30:]
    path = write_tiles(tmp_path / "a.czi", [(-30, -20, 0, 0, left), (0, -21, 0, 0, right)])
    volume = open_volume(path)
    assert volume.shape == (1, 1, 51, 61)
    assert volume.z_step_um is None
    plane = volume.plane(0)[0]
    np.testing.assert_array_equal(plane[1:, :30], left)
    np.testing.assert_array_equal(plane[:50, 30:], right)
    assert not plane[0, :30].any()
    assert not plane[50, 30:].any()


def test_missing_planes_and_tiles_are_not_black(tmp_path):
    every = [(0, 0, c, z, STACK[c, z]) for c in range(2) for z in range(3)]
    path = write_tiles(tmp_path / "a.czi", every[:4] + every[5:])
    assert "channel 1, plane 1: 0 tiles of 1" in refusal(path)
    path = write_tiles(tmp_path / "b.czi", [*every, (61, 0, 0, 0, STACK[0, 0])])
    assert "channel 0, plane 1: 1 tiles of 2" in refusal(path)


def test_colours_and_mixed_types_are_refused(tmp_path):
    colours = np.zeros((20, 30, 3), np.uint8)
    assert "Bgr24" in refusal(write_tiles(tmp_path / "a.czi", [(0, 0, 0, 0, colours)]))
    mixed = [(0, 0, 0, 0, STACK[0, 0]), (0, 0, 1, 0, STACK[0, 0].astype(np.uint8))]
    assert "Gray16, Gray8" in refusal(write_tiles(tmp_path / "b.czi", mixed))


def test_time_series_is_refused(tmp_path):
    from pylibCZIrw.czi import create_czi

    with create_czi(str(tmp_path / "a.czi")) as document:
        for t in range(3):
            document.write(STACK[0, 0], plane={"T": t})
    assert "a series of 3" in refusal(tmp_path / "a.czi")


def test_dimensions_that_are_no_channels_nor_planes(tmp_path):
    """libCZI writes only T, C, Z and S; so from the places of blocks as it lists them."""
    blocks = [
        {"C": 0, "Z": z, "B": 0, "V": v, "I": i} for z in (0, 1) for v in (0, 1) for i in (4, 5)
    ]
    path = tmp_path / "a.czi"
    with pytest.raises(VolumeError, match=r"found also I \(2\), V \(2\); save the part") as caught:
        _check_dimensions(path, blocks)
    assert "\n" not in str(caught.value)
    phases = [{"C": 0, "H": phase, "T": t} for phase in range(32) for t in (0, 1)]
    with pytest.raises(VolumeError, match=r"32 detector phases.*process it first in ZEN"):
        _check_dimensions(path, phases)
    assert _check_dimensions(path, [{"C": 0, "Z": z, "B": 0, "T": 3} for z in (0, 1)]) == {
        "T": 3,
        "B": 0,
    }


def test_a_size_in_the_manifest_takes_the_place_of_a_missing_one(tmp_path, write_czi):
    path = write_czi(tmp_path / "a.czi", STACK, NAMES, scale_um=(0, 0))
    assert "pixel_size_um" in refusal(path)
    assert open_volume(path, pixel_size_um=0.2, z_step_um=0.4).z_step_um == 0.4


def test_threads_read_the_same_file_at_once(tmp_path, write_czi):
    volume = open_volume(write_czi(tmp_path / "a.czi", STACK, NAMES, compression="zstd1:"))
    with ThreadPoolExecutor(8) as executor:
        for place, plane in enumerate(executor.map(volume.plane, [*range(4)] * 20)):
            np.testing.assert_array_equal(plane, STACK[:, place % 4])


@pytest.mark.parametrize("share", [0, 0.0005, 0.002, 0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, write_czi, share):
    path = write_czi(tmp_path / "a.czi", STACK, NAMES)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


def test_garbage_is_refused(tmp_path):
    (tmp_path / "a.czi").write_bytes(bytes(range(256)) * 40)
    refusal(tmp_path / "a.czi")
    (tmp_path / "b.czi").write_bytes(b"ZISRAWFILE" + bytes(range(256)) * 40)
    refusal(tmp_path / "b.czi")


def test_damaged_pixels_are_found_when_read(tmp_path, write_czi):
    path = write_czi(tmp_path / "a.czi", STACK, NAMES, compression="zstd1:")
    content = bytearray(path.read_bytes())
    start = content.index(b"\x28\xb5\x2f\xfd", len(content) // 2)  # how a Zstd frame begins
    content[start : start + 400] = bytes([255]) * 400
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.plane(0)[0], STACK[0, 0])
    failed = []
    for z in range(4):
        try:
            volume.plane(z)
        except VolumeError as error:
            failed.append(str(error))
    assert len(failed) == 1
    assert "damaged one (plane " in failed[0]
    assert "\n" not in failed[0]


# Files from microscopes. Their pixels are not compressed, so the file holds them as read.


def test_real_raw_airyscan_asks_to_be_processed(microscope_files):
    message = refusal(microscope_files / "LSM880_AiryScan.czi")
    assert "32 detector phases" in message
    assert "Airyscan Processing" in message


@pytest.mark.parametrize("name", ["Airyscan.czi", "CellDivision_T3_Z5_CH2_X240_Y170.czi"])
def test_real_time_series_are_refused(microscope_files, name):
    assert "a series of 3" in refusal(microscope_files / name)


def test_real_file_with_two_scenes(microscope_files):
    path = microscope_files / "xyz__multiple_images.czi"
    assert "found 2 scenes" in refusal(path)
    for number in (0, 1):
        volume = open_volume(f"{path}#scene={number}")
        assert volume.shape == (1, 2, 251, 251)
        assert volume.channels == ("ChA",)
        assert volume.pixel_size_um == pytest.approx(0.195644, abs=1e-6)
        assert volume.z_step_um == pytest.approx(0.3)
        for z in (0, 1):
            np.testing.assert_array_equal(volume.plane(z)[0], direct(path, scene=number, Z=z))
    # where the first plane of the second scene begins
    assert path.read_bytes().find(volume.plane(0).tobytes()) == 318_144
    assert volume.plane(0).sum(dtype=int) == 785_984_609


def test_real_file_without_a_scale(microscope_files):
    """Two channels, of which only the first is named (in the settings of the display)."""
    path = microscope_files / "DAPI_GFP.czi"
    assert "no scaling" in refusal(path)
    volume = open_volume(path, pixel_size_um=0.1)
    assert volume.shape == (2, 1, 640, 640)
    assert volume.channels == ("DAPI", "channel 1")
    for channel in (0, 1):
        np.testing.assert_array_equal(volume.plane(0)[channel], direct(path, C=channel))
    content = path.read_bytes()
    places = [content.find(plane.tobytes()) for plane in volume.plane(0)]
    assert places == [7_052, 416_972]
