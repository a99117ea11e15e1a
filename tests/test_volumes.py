"""Stacks written by tifffile and by microscopes come back as the same numbers, or not at all."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from organelle_fusion.volumes import VolumeError, open_volume, volume_from_array, write_ome_tiff

STACK = np.arange(3 * 4 * 50 * 60, dtype=np.uint16).reshape(3, 4, 50, 60)  # C, Z, Y, X
NAMES = ("early", "mito", "nucleus")


def save(path, channels=NAMES, **keywords):
    write_ome_tiff(path, STACK, channels, **{"pixel_size_um": 0.1, "z_step_um": 0.5, **keywords})
    return path


def save_imagej(path, array, axes, resolution=(10.0, 10.0), unit="um", **metadata):
    # ImageJ writes its files big-endian.
    metadata = {"axes": axes, "unit": unit, **metadata}
    tifffile.imwrite(
        path, array, imagej=True, byteorder=">", resolution=resolution, metadata=metadata
    )
    return path


def save_ome(path, array=STACK[:, 0], axes="CYX", **metadata):
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}
    tifffile.imwrite(
        path,
        array,
        ome=True,
        photometric="minisblack",
        metadata={"axes": axes, **sizes, **metadata},
    )
    return path


def refusal(path, **keywords):
    with pytest.raises(VolumeError) as caught:
        open_volume(path, **keywords)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected "), message
    assert "found" in message
    assert "\n" not in message
    return message


# What lies in memory is as what lies in a file.


def test_an_array_is_a_volume(tmp_path):
    """The same channels, sizes and planes as when it is written first; in any order of bytes."""
    filed = open_volume(save(tmp_path / "a.ome.tif")).select(["nucleus", "early"])
    for array in (STACK, STACK.astype(">u2"), STACK[:, :, ::-1][:, :, ::-1]):
        found = volume_from_array(array, NAMES, 0.1, 0.5).select(["nucleus", "early"])
        for name in ("shape", "dtype", "channels", "pixel_size_um", "z_step_um"):
            assert getattr(found, name) == getattr(filed, name)
        for ours, theirs in zip(found.planes(), filed.planes(), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
    assert volume_from_array(STACK, NAMES, 0.1).z_step_um is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array": STACK[0]}, r"\(C, Z, Y, X\) .*found shape \(4, 50, 60\)"),
        (
            {"channels": ("a", "b")},
            r"\(C, Z, Y, X\) and a name of its own per channel, found .*'a', 'b'",
        ),
        ({"channels": ("a", "b", "a")}, r"\(C, Z, Y, X\) and a name of its own per channel, found"),
        ({"array": STACK[:, :0]}, "pixels, found none"),
        ({"array": STACK.astype(complex)}, "one of uint8, .*found complex128"),
        ({"pixel_size_um": 0}, "pixel_size_um to be a positive length, found 0"),
        ({"pixel_size_um": None}, "a pixel size in µm, found none"),
        ({"z_step_um": -1}, "z_step_um to be a positive length, found -1"),
    ],
)
def test_arrays_that_are_no_stack_are_refused(change, message):
    arguments = {"array": STACK, "channels": NAMES, "pixel_size_um": 0.1} | change
    with pytest.raises(VolumeError, match=f"^mine: expected {message}.*; ") as error:
        volume_from_array(**arguments, name="mine")
    assert "\n" not in str(error.value)


# What was written is what is read.


def test_written_stack_is_read_plane_by_plane(tmp_path):
    volume = open_volume(save(tmp_path / "a.ome.tif"))
    assert volume.shape == (3, 4, 50, 60)
    assert volume.dtype == np.uint16
    assert volume.channels == NAMES
    assert (volume.pixel_size_um, volume.z_step_um) == (0.1, 0.5)
    for z, plane in enumerate(volume.planes()):
        np.testing.assert_array_equal(plane, STACK[:, z])
    np.testing.assert_array_equal(volume.plane(2), STACK[:, 2])


def test_tifffile_reads_what_was_written(tmp_path):
    with tifffile.TiffFile(save(tmp_path / "a.ome.tif")) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "ZCYX"
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        np.testing.assert_array_equal(tiff.asarray(), STACK.transpose(1, 0, 2, 3))
        assert 'Name="mito"' in tiff.ome_metadata
        assert 'PhysicalSizeZ="0.5" PhysicalSizeZUnit="µm"' in tiff.ome_metadata


def test_equal_input_gives_equal_bytes(tmp_path):
    one, two = save(tmp_path / "a" / "s.ome.tif"), save(tmp_path / "b" / "s.ome.tif")
    assert one.read_bytes() == two.read_bytes()
    other = save(tmp_path / "c" / "s.ome.tif", channels=("x", "y", "z"))
    assert one.read_bytes() != other.read_bytes()
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["s.ome.tif"]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_pixel_types_survive(tmp_path, dtype):
    array = STACK.astype(dtype)
    write_ome_tiff(tmp_path / "a.ome.tif", array, NAMES, pixel_size_um=1, z_step_um=None)
    volume = open_volume(tmp_path / "a.ome.tif")
    assert (volume.dtype, volume.z_step_um) == (np.dtype(dtype), None)
    np.testing.assert_array_equal(volume.plane(3), array[:, 3])


@pytest.mark.parametrize("shape", [(1, 1, 7, 9), (1, 3, 7, 9), (2, 1, 7, 9)])
def test_axes_of_length_one_survive(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    names = [f"c{index}" for index in range(shape[0])]
    write_ome_tiff(tmp_path / "a.ome.tif", array, names, pixel_size_um=1, z_step_um=1)
    volume = open_volume(tmp_path / "a.ome.tif")
    assert volume.shape == shape
    np.testing.assert_array_equal(np.stack(list(volume.planes()), axis=1), array)


def test_only_the_plane_asked_for_is_read(tmp_path, monkeypatch):
    volume = open_volume(save(tmp_path / "a.ome.tif"))
    read = []
    for kind in (tifffile.TiffPage, tifffile.TiffFrame):
        original = kind.asarray

        def counted(page, *args, _original=original, **keywords):
            read.append(page.index)
            return _original(page, *args, **keywords)

        monkeypatch.setattr(kind, "asarray", counted)
    volume.select(["nucleus"]).plane(2)
    assert set(read) == {2 * 3 + 2}  # pages in order Z, C: plane 2, channel 2 of 3


def test_plane_outside_the_stack(tmp_path):
    volume = open_volume(save(tmp_path / "a.ome.tif"))
    for z in (-1, 4):
        with pytest.raises(IndexError, match="expected 0 to 3"):
            volume.plane(z)


# Channels by name.


def test_select_gives_channels_in_the_order_asked(tmp_path):
    volume = open_volume(save(tmp_path / "a.ome.tif")).select(["nucleus", "early"])
    assert (volume.channels, volume.shape) == (("nucleus", "early"), (2, 4, 50, 60))
    np.testing.assert_array_equal(volume.plane(1), STACK[[2, 0], 1])
    np.testing.assert_array_equal(volume.select(["early"]).plane(1), STACK[[0], 1])


def test_select_names_what_is_missing(tmp_path):
    path = save(tmp_path / "a.ome.tif")
    with pytest.raises(VolumeError) as caught:
        open_volume(path).select(["mito", "golgi"])
    message = str(caught.value)
    for part in (str(path), "golgi", "early, mito, nucleus", "channel_map"):
        assert part in message
    assert "\n" not in message


def test_select_takes_a_list(tmp_path):
    """A text is a sequence of letters, none of which is meant."""
    with pytest.raises(VolumeError, match=r"found the text 'mito'; write select\(\['mito'\]\)"):
        open_volume(save(tmp_path / "a.ome.tif")).select("mito")


@pytest.mark.parametrize(
    "out",
    [
        np.empty((3, 50, 60), np.float64),
        np.empty((3, 50, 60), ">u2"),
        np.empty((2, 50, 60), np.uint16),
        np.empty((3, 60, 50), np.uint16),
        np.empty((3, 60, 50), np.uint16).transpose(0, 2, 1),
    ],
    ids=["type", "byte order", "channels", "size", "order"],
)
def test_a_plane_fills_no_other_array(tmp_path, out):
    """It would be filled with bytes that stand for something else."""
    volume = open_volume(save(tmp_path / "a.ome.tif"))
    with pytest.raises(ValueError, match=r"expected out to be uint16 \(3, 50, 60\), contiguous"):
        volume.plane(1, out=out)


def test_name_that_stands_twice_cannot_be_selected_but_mapped(tmp_path):
    path = save_ome(tmp_path / "a.ome.tif", Channel={"Name": ["GFP", "GFP", "DAPI"]})
    with pytest.raises(VolumeError, match="each once"):
        open_volume(path).select(["GFP"])
    assert 'channel_map "mito=GFP"' in refusal(path, channel_map={"mito": "GFP"})
    assert open_volume(path, channel_map={"mito": 1}).channels[1] == "mito"
    volume = open_volume(path, channel_map={"mito": "1"}).select(["mito"])
    np.testing.assert_array_equal(volume.plane(0), STACK[[1], 0])


def test_a_map_says_which_of_two_channels_is_meant(tmp_path):
    """By its own name, too; the other is then called by its index."""
    path = save_imagej(tmp_path / "a.tif", STACK[:2, 0], "CYX", Labels=["GFP\nexposure 5", "mito"])
    volume = open_volume(path, channel_map={"mito": "GFP"})
    assert volume.channels == ("mito", "channel 1")
    np.testing.assert_array_equal(volume.select(["mito"]).plane(0), STACK[[0], 0])
    path = save_ome(tmp_path / "b.ome.tif", STACK[:, 0], Channel={"Name": ["mito", "mito", "x"]})
    volume = open_volume(path, channel_map={"mito": "1"}).select(["mito"])
    np.testing.assert_array_equal(volume.plane(0), STACK[[1], 0])


def test_channel_map_by_name_and_by_index(tmp_path):
    path = save(tmp_path / "a.ome.tif", channels=("AF488", "AF568", "DAPI"))
    volume = open_volume(path, channel_map={"mitochondria": "AF568", "nucleus": "2"})
    assert volume.channels == ("AF488", "mitochondria", "nucleus")
    np.testing.assert_array_equal(volume.select(["mitochondria"]).plane(0), STACK[[1], 0])


def test_names_of_channels_have_one_form_of_their_letters(tmp_path):
    """ö as two signs in the file or in the map is ö as one."""
    path = save(tmp_path / "a.ome.tif", channels=("AF488", "Mito\u0308", "DAPI"))
    assert open_volume(path).channels[1] == "Mit\u00f6"
    for theirs in ("Mito\u0308", "Mit\u00f6"):
        assert open_volume(path, channel_map={"mito": theirs}).channels[1] == "mito"


def test_channel_map_prefers_a_name_to_an_index(tmp_path):
    path = save(tmp_path / "a.ome.tif", channels=("2", "1", "0"))
    volume = open_volume(path, channel_map={"ours": "0"})
    assert volume.channels == ("2", "1", "ours")


@pytest.mark.parametrize("theirs", ["Tom20", "3", "-1", ""])
def test_channel_map_to_nothing(tmp_path, theirs):
    message = refusal(save(tmp_path / "a.ome.tif"), channel_map={"mitochondria": theirs})
    for part in (f'"mitochondria={theirs}"', '"early", "mito", "nucleus"', "0–2"):
        assert part in message
    assert message.endswith("; mend channel_map")


def test_a_channel_map_with_commas_is_told_to_take_semicolons(tmp_path):
    path = save(tmp_path / "a.ome.tif")
    message = refusal(path, channel_map={"a": "early, b=1,c=nucleus"})
    remedy = "part the entries of channel_map by semicolons: a=early;b=1;c=nucleus"
    assert message.endswith(f"; {remedy}")
    path = save(tmp_path / "b.ome.tif", channels=("x,y=1", "b", "c"))
    assert open_volume(path, channel_map={"a": "x,y=1"}).channels == ("a", "b", "c")


def test_two_names_for_one_channel(tmp_path):
    message = refusal(save(tmp_path / "a.ome.tif"), channel_map={"a": "mito", "b": "1"})
    assert "a and b both on channel 1" in message


def test_channels_without_names_can_only_be_mapped(tmp_path):
    path = save_ome(tmp_path / "a.ome.tif")
    assert open_volume(path).channels == ("channel 0", "channel 1", "channel 2")
    with pytest.raises(VolumeError, match="channel_map"):
        open_volume(path).select(["mito"])
    assert open_volume(path, channel_map={"mito": "1"}).channels[1] == "mito"


# ImageJ.


def test_imagej_hyperstack(tmp_path):
    labels = ["EEA1", "Tom20", "DAPI"] * 4
    path = save_imagej(
        tmp_path / "a.tif", STACK.transpose(1, 0, 2, 3), "ZCYX", Labels=labels, spacing=0.5
    )
    volume = open_volume(path)
    assert volume.shape == (3, 4, 50, 60)
    assert volume.channels == ("EEA1", "Tom20", "DAPI")
    assert volume.pixel_size_um == pytest.approx(0.1)
    assert volume.z_step_um == pytest.approx(0.5)
    assert volume.dtype == np.dtype(np.uint16)  # native, though the file is big-endian
    for z in range(4):
        np.testing.assert_array_equal(volume.plane(z), STACK[:, z])


def test_imagej_slice_labels_are_not_channel_names(tmp_path):
    labels = [f"slice {index}" for index in range(12)]
    path = save_imagej(tmp_path / "a.tif", STACK.transpose(1, 0, 2, 3), "ZCYX", Labels=labels)
    assert open_volume(path).channels == ("channel 0", "channel 1", "channel 2")


def test_imagej_interleaved_channels(tmp_path):
    # Pages (Y, X, 3) with the number of channels in the description, as ImageJ saves composites.
    pages = STACK.transpose(1, 2, 3, 0)
    description = (
        "ImageJ=1.54f\nimages=4\nchannels=3\nslices=4\nmode=composite\nunit=nm\nspacing=200\n"
    )
    tifffile.imwrite(
        tmp_path / "a.tif",
        pages,
        photometric="rgb",
        description=description,
        metadata=None,
        resolution=(0.01, 0.01),
    )
    volume = open_volume(tmp_path / "a.tif")
    assert volume.shape == (3, 4, 50, 60)
    assert volume.pixel_size_um == pytest.approx(0.1)
    assert volume.z_step_um == pytest.approx(0.2)
    np.testing.assert_array_equal(volume.plane(2), STACK[:, 2])
    np.testing.assert_array_equal(volume.select(["channel 2"]).plane(1), STACK[[2], 1])


def test_imagej_stack_with_one_header_for_all_planes(tmp_path):
    # Above 4 GB, ImageJ writes one header and all planes after it.
    path = save_imagej(tmp_path / "a.tif", STACK.transpose(1, 0, 2, 3), "ZCYX")
    with tifffile.TiffFile(path) as tiff:
        start, first = tiff.series[0].dataoffset, tiff.pages[0]
        next_header = first.offset + 2 + 12 * len(first.tags)
    content = bytearray(path.read_bytes()[: start + STACK.nbytes])
    content[next_header : next_header + 4] = bytes(4)
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.plane(3), STACK[:, 3])
    path.write_bytes(content[:-1])
    assert "damaged" in refusal(path)


def test_imagej_rgb_picture_is_refused(tmp_path):
    picture = np.zeros((20, 30, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", picture, imagej=True, resolution=(1, 1))
    assert "colour samples" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("unit", ["micron", "µm", "\\u00B5m"])
def test_imagej_spellings_of_the_micrometre(tmp_path, unit):
    description = f"ImageJ=1.54f\nimages=3\nchannels=3\nunit={unit}\n".encode("latin-1")
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK[:, 0],
        photometric="minisblack",
        description=description,
        metadata=None,
        resolution=(4, 4),
    )
    assert open_volume(tmp_path / "a.tif").pixel_size_um == 0.25


@pytest.mark.parametrize("unit", ["pixel", ""])
def test_imagej_without_a_length_unit(tmp_path, unit):
    path = save_imagej(tmp_path / "a.tif", STACK[:, 0], "CYX", unit=unit)
    assert "pixel_size_um" in refusal(path)
    assert open_volume(path, pixel_size_um=0.2, z_step_um=0.3).z_step_um == 0.3


# Sizes.


@pytest.mark.parametrize(
    ("size", "unit", "um"),
    [
        (100, "nm", 0.1),
        (0.25, "µm", 0.25),
        (2e-4, "mm", 0.2),
        (1000, "Å", 0.1),
        (1e-5, "in", 0.254),
        (3e-7, "m", 0.3),
    ],
)
def test_ome_units_are_converted(tmp_path, size, unit, um):
    sizes = {}
    for axis in "XYZ":
        sizes |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    volume = open_volume(save_ome(tmp_path / "a.ome.tif", **sizes))
    assert volume.pixel_size_um == pytest.approx(um)
    assert volume.z_step_um == pytest.approx(um)


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "Mm"])
def test_ome_unit_that_is_no_length_of_a_cell(tmp_path, unit):
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    message = refusal(save_ome(tmp_path / "a.ome.tif", **units))
    assert unit in message
    assert "pixel_size_um" in message


def test_pixels_that_are_not_square(tmp_path):
    path = save_ome(tmp_path / "a.ome.tif", PhysicalSizeY=0.2)
    assert "0.1 × 0.2 µm" in refusal(path)
    # A size that is given says nothing of the shape.
    assert "0.1 × 0.2 µm" in refusal(path, pixel_size_um=0.1)
    # 0.2 mm against 0.2 µm: equal numbers in unequal units.
    path = save_ome(tmp_path / "b.ome.tif", PhysicalSizeXUnit="mm")
    assert "square" in refusal(path)


def test_given_sizes_replace_those_of_the_file(tmp_path):
    volume = open_volume(save(tmp_path / "a.ome.tif"), pixel_size_um=0.2, z_step_um=1)
    assert (volume.pixel_size_um, volume.z_step_um) == (0.2, 1.0)


def test_a_size_that_is_no_number_is_not_known(tmp_path):
    """A decimal comma makes no damaged file; what it says is shown, and a size can be given."""
    texts = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ"), "0,106")
    path = save_ome(tmp_path / "a.ome.tif", STACK, "CZYX", **texts)
    message = refusal(path)
    assert "expected a pixel size in µm, found X 0,106 µm" in message
    assert "--pixel-size-um" in message
    volume = open_volume(path, pixel_size_um=0.106)
    assert (volume.pixel_size_um, volume.z_step_um) == (0.106, None)
    path = save_imagej(tmp_path / "b.tif", STACK[0], "ZYX", spacing="0,3")
    assert open_volume(path).z_step_um is None


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), "0.1"])
def test_given_size_must_be_a_length(tmp_path, value):
    assert "pixel_size_um" in refusal(save(tmp_path / "a.ome.tif"), pixel_size_um=value)
    with pytest.raises(VolumeError, match="positive"):
        save(tmp_path / "b.ome.tif", pixel_size_um=value)
    assert not (tmp_path / "b.ome.tif").exists()


# What is refused.


def test_time_series(tmp_path):
    ome = save_ome(tmp_path / "a.ome.tif", STACK, "TCYX")
    assert "a series of 3" in refusal(ome)
    imagej = save_imagej(tmp_path / "a.tif", STACK[0], "TYX")
    assert "a series of 4" in refusal(imagej)


def test_tiff_that_names_no_axes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[:, 0], photometric="minisblack", metadata=None)
    assert "names no axes" in refusal(tmp_path / "a.tif", pixel_size_um=0.1)


def test_several_images_in_one_file_are_told_apart_by_the_path(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, image in enumerate(STACK[:2]):
            sizes = {f"PhysicalSize{axis}": 0.1 * (number + 1) for axis in "XY"}
            metadata = {"axes": "ZYX", "Channel": {"Name": [f"dye {number}"]}, **sizes}
            writer.write(image, photometric="minisblack", metadata=metadata)
    message = refusal(path)
    assert "2 images" in message
    assert "a.ome.tif#image=0 (0 to 1)" in message
    for number in (0, 1):
        volume = open_volume(f"{path}#image={number}")
        assert volume.channels == (f"dye {number}",)
        assert volume.pixel_size_um == pytest.approx(0.1 * (number + 1))
        assert volume.path == Path(f"{path}#image={number}")
        np.testing.assert_array_equal(volume.plane(3)[0], STACK[number, 3])
    with pytest.raises(VolumeError, match=r"expected image 0 to 1, found #image=2 asked for"):
        open_volume(f"{path}#image=2")


def test_the_only_image_may_be_named(tmp_path):
    path = save(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(open_volume(f"{path}#image=0").plane(1), STACK[:, 1])
    with pytest.raises(VolumeError, match="image 0 to 0"):
        open_volume(f"{path}#image=1")
    # Only these words part the path: a name may hold the sign.
    (tmp_path / "b#1.ome.tif").write_bytes(path.read_bytes())
    assert open_volume(tmp_path / "b#1.ome.tif").channels == NAMES


def test_unusual_axes(tmp_path):
    path = save_ome(tmp_path / "a.ome.tif", STACK, "ACYX")
    assert "ACYX" in refusal(path)


@pytest.mark.parametrize("name", ["a.nd2", "a.LIF", "a.ims"])
def test_formats_that_are_not_read(tmp_path, name):
    (tmp_path / name).touch()
    message = refusal(tmp_path / name)
    assert "OME-TIFF, ImageJ TIFF, LSM, CZI or OME-Zarr" in message
    assert "save it as OME-TIFF" in message


def test_missing_empty_and_foreign_files(tmp_path):
    assert "check the path" in refusal(tmp_path / "none.tif")
    (tmp_path / "empty.tif").touch()
    refusal(tmp_path / "empty.tif")
    (tmp_path / "text.tif").write_text("no picture")
    assert "not a TIFF" in refusal(tmp_path / "text.tif")
    refusal(tmp_path)


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["ours", "imagej", "ome"])
def test_file_cut_short_is_refused(tmp_path, kind, share):
    path = tmp_path / "a.ome.tif"
    if kind == "ours":
        save(path)
    elif kind == "imagej":
        save_imagej(path, STACK.transpose(1, 0, 2, 3), "ZCYX")
    else:
        save_ome(path, STACK, "CZYX")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


def test_missing_pages_are_no_black_planes(tmp_path):
    path = save_ome(tmp_path / "a.ome.tif", STACK[:, :3], "CZYX")
    content = path.read_bytes()
    assert content.count(b'SizeZ="3"') == 1
    assert content.count(b'PlaneCount="9"') == 1
    path.write_bytes(content.replace(b'SizeZ="3"', b'SizeZ="5"'))
    assert "9 pages of 15" in refusal(path)


def test_damaged_pixels_are_found_when_read(tmp_path):
    path = save(tmp_path / "a.ome.tif")
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[4].dataoffsets[0], tiff.pages[4].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes([255]) * count
    path.write_bytes(content)
    volume = open_volume(path)
    np.testing.assert_array_equal(volume.plane(0), STACK[:, 0])
    with pytest.raises(VolumeError, match=r"damaged one \(page 4") as caught:
        volume.plane(1)  # page 4: plane 1, channel 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "names"),
    [
        (STACK[0], NAMES),
        (STACK, NAMES[:2]),
        (STACK, ("a", "a", "b")),
        (STACK > 3, NAMES),
        (STACK[:, :0], NAMES),
    ],
)
def test_arrays_that_are_no_stack_are_not_written(tmp_path, array, names):
    with pytest.raises(VolumeError, match=r"a\.ome\.tif: expected"):
        write_ome_tiff(tmp_path / "a.ome.tif", array, names, pixel_size_um=1, z_step_um=1)
    assert list(tmp_path.iterdir()) == []


# Files from microscopes.


@pytest.mark.parametrize(
    ("name", "sizes", "channels_last"),
    [
        ("xyc_16bit__cell_dna_mts_actin.tif", {}, False),
        ("xyc_16bit__hela-cells.tif", {}, True),
        ("multi-channel.ome.tif", {"pixel_size_um": 0.1}, False),
    ],
)
def test_real_files_agree_with_tifffile(microscope_files, name, sizes, channels_last):
    volume = open_volume(microscope_files / name, **sizes)
    expected = tifffile.imread(microscope_files / name)
    if channels_last:
        expected = np.moveaxis(expected, -1, 0)
    np.testing.assert_array_equal(volume.plane(0), expected)


def test_real_files_have_their_sizes(microscope_files):
    # X resolution 7547649/1000000 and 19420064/1000000 pixels per µm
    volume = open_volume(microscope_files / "xyc_16bit__cell_dna_mts_actin.tif")
    assert volume.pixel_size_um == pytest.approx(0.132492, abs=1e-6)
    volume = open_volume(microscope_files / "xyc_16bit__hela-cells.tif")
    assert volume.pixel_size_um == pytest.approx(0.051493, abs=1e-6)
    assert "pixel_size_um" in refusal(microscope_files / "multi-channel.ome.tif")
