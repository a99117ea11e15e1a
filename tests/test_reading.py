"""Pages as they lie in files of several makers, read into a given array, by threads as well."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from organelle_fusion.volumes import VolumeError, open_volume

STACK = np.random.default_rng(0).integers(0, 65_536, (3, 5, 40, 64), np.uint16)  # C, Z, Y, X
SIZES = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}


def save(path, array=STACK, axes="CZYX", **options):
    tifffile.imwrite(
        path, array, ome=True, photometric="minisblack", metadata={"axes": axes, **SIZES}, **options
    )
    return open_volume(path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"compression": "zlib", "byteorder": ">", "predictor": True},
        {"rowsperstrip": 7},
        {"compression": "lzw", "rowsperstrip": 7},
        {"tile": (16, 16)},
        {"compression": "zlib", "tile": (32, 16)},
    ],
)
def test_pages_of_all_layouts_are_read(tmp_path, options):
    volume = save(tmp_path / "a.ome.tif", **options)
    assert volume.dtype == np.dtype(np.uint16)
    assert volume.dtype.isnative
    out = np.empty((3, 40, 64), np.uint16)
    for z in (3, 0, 4):
        assert volume.plane(z, out=out) is out
        np.testing.assert_array_equal(out, STACK[:, z])
    np.testing.assert_array_equal(volume.plane(1), STACK[:, 1])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_threads_read_the_same_file_at_once(tmp_path, options):
    """Each plane forty times, by eight threads that share the volume."""
    volume = save(tmp_path / "a.ome.tif", **options)
    with ThreadPoolExecutor(8) as executor:
        for place, plane in enumerate(executor.map(volume.plane, [*range(5)] * 40)):
            np.testing.assert_array_equal(plane, STACK[:, place % 5])


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_that_are_samples_of_a_page(tmp_path, compression):
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK[:, 0].transpose(1, 2, 0),
        photometric="minisblack",
        planarconfig="contig",
        description="ImageJ=1.54f\nimages=1\nchannels=3\nunit=micron\n",
        metadata=None,
        resolution=(4, 4),
        compression=compression,
    )
    volume = open_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.plane(0), STACK[:, 0])
    last_first = volume.select([volume.channels[2], volume.channels[0]])
    np.testing.assert_array_equal(last_first.plane(0), STACK[[2, 0], 0])


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX"])
def test_split_gives_each_channel_by_itself(tmp_path, axes):
    array = STACK if axes == "CZYX" else STACK.transpose(1, 0, 2, 3)
    volume = save(tmp_path / "a.ome.tif", array, axes)
    parts = volume.select(["channel 2", "channel 0"]).split()
    assert [part.channels for part in parts] == [("channel 2",), ("channel 0",)]
    assert [part.shape for part in parts] == [(1, 5, 40, 64)] * 2
    np.testing.assert_array_equal(parts[0].plane(4), STACK[[2], 4])
    np.testing.assert_array_equal(parts[1].plane(1), STACK[[0], 1])


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_a_file_cut_short_since_it_was_opened(tmp_path, kind):
    path, array = tmp_path / "a.tif", STACK.transpose(1, 0, 2, 3)
    if kind == "ome":
        volume = save(path, array, "ZCYX")
    else:
        metadata = {"axes": "ZCYX", "unit": "um"}
        tifffile.imwrite(path, array, imagej=True, resolution=(10, 10), metadata=metadata)
        volume = open_volume(path)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.series[0].dataoffset
    with open(path, "r+b") as stream:
        stream.truncate(start + 14 * 5120 + 100)  # 40 × 64 pixels of two bytes are a page
    np.testing.assert_array_equal(volume.plane(3), STACK[:, 3])
    with pytest.raises(VolumeError, match=r"damaged one \(page 14: 100 bytes of 5120\)") as caught:
        volume.plane(4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_a_file_removed_since_it_was_opened(tmp_path, options):
    volume = save(tmp_path / "a.ome.tif", **options)
    (tmp_path / "a.ome.tif").unlink()
    with pytest.raises(VolumeError, match=r"damaged one \(page 10: .*No such file"):
        volume.select(["channel 2"]).plane(0)
