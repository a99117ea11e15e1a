"""OME-Zarr of both versions comes back plane by plane, or not at all."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.registry import get_numcodec

from organelle_fusion import ome_zarr
from organelle_fusion.volumes import VolumeError, open_volume

STACK = np.random.default_rng(0).integers(0, 65_536, (3, 5, 40, 54), np.uint16)  # C, Z, Y, X
NAMES = ("early", "mito", "nucleus")
VERSIONS = ("0.4", "0.5")


def refusal(path, **keywords):
    with pytest.raises(VolumeError) as caught:
        open_volume(path, **keywords)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected "), message
    assert "\n" not in message
    return message


def metadata(path, change, version="0.5"):
    """Change the metadata of the image in its file."""
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    content = json.loads(file.read_text())
    change(content if version == "0.4" else content["attributes"]["ome"])
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("version", VERSIONS)
def test_planes_names_and_sizes(tmp_path, write_ome_zarr, version):
    volume = open_volume(write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES, version=version))
    assert volume.shape == (3, 5, 40, 54)
    assert volume.dtype == np.dtype(np.uint16)
    assert volume.channels == NAMES
    assert volume.pixel_size_um == pytest.approx(0.1)
    assert volume.z_step_um == pytest.approx(0.5)
    out = np.empty((3, 40, 54), np.uint16)
    for z in (3, 0, 4):
        assert volume.plane(z, out=out) is out
        np.testing.assert_array_equal(out, STACK[:, z])
    picked = volume.select(["nucleus", "early"])
    np.testing.assert_array_equal(picked.plane(2), STACK[[2, 0], 2])
    np.testing.assert_array_equal(picked.split()[0].plane(1), STACK[[2], 1])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "chunks", [(1, 1, 16, 16), (1, 2, 40, 54), (2, 1, 40, 20), (2, 3, 17, 54), (3, 5, 40, 54)]
)
@pytest.mark.parametrize("limit", [0, 2**20])
def test_chunks_of_any_shape(tmp_path, write_ome_zarr, monkeypatch, version, chunks, limit):
    """Whether decoded chunks are kept, or each plane reads its own."""
    monkeypatch.setattr(ome_zarr, "SLAB_BYTES", limit)
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES, version=version, chunks=chunks)
    volume = open_volume(path)
    for z in (4, 0, 1, 2, 3, 0):
        np.testing.assert_array_equal(volume.plane(z), STACK[:, z])
    np.testing.assert_array_equal(volume.select(["mito"]).plane(2), STACK[[1], 2])


def test_deep_chunks_are_decoded_once(tmp_path, write_ome_zarr, monkeypatch):
    """Six chunks of 2 or 3 planes are read once; if they are not kept, fifteen times a plane's."""
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES, chunks=(1, 3, 40, 54))
    calls, real = [], zarr.Array.__getitem__

    def counted(array, selection):
        calls.append(selection)
        return real(array, selection)

    monkeypatch.setattr(zarr.Array, "__getitem__", counted)
    for limit, expected in ((4 * 3 * 40 * 54 * 2, 6), (4 * 3 * 40 * 54 * 2 - 1, 15)):
        monkeypatch.setattr(ome_zarr, "SLAB_BYTES", limit)
        calls.clear()
        planes = list(open_volume(path).planes())
        np.testing.assert_array_equal(np.stack(planes, axis=1), STACK)
        assert len(calls) == expected


def test_shards_compression_and_byte_order(tmp_path, write_ome_zarr):
    sharded = write_ome_zarr(
        tmp_path / "a.zarr", STACK, NAMES, chunks=(1, 1, 20, 27), shards=(1, 2, 40, 54)
    )
    big = write_ome_zarr(tmp_path / "b.zarr", STACK.astype(">u2"), NAMES, version="0.4")
    for path in (sharded, big):
        volume = open_volume(path)
        assert volume.dtype.isnative
        for z in range(5):
            np.testing.assert_array_equal(volume.plane(z), STACK[:, z])


@pytest.mark.parametrize(
    ("axes", "part", "shape"),
    [
        ("yx", STACK[0, 0], (1, 1, 40, 54)),
        ("zyx", STACK[0], (1, 5, 40, 54)),
        ("cyx", STACK[:, 0], (3, 1, 40, 54)),
        ("tczyx", STACK[None], (3, 5, 40, 54)),
        ("zcyx", STACK.swapaxes(0, 1), (3, 5, 40, 54)),
    ],
)
def test_axes_in_the_order_that_they_are_named(tmp_path, write_ome_zarr, axes, part, shape):
    chunks = (1,) * (part.ndim - 2) + (20, 54)
    path = write_ome_zarr(tmp_path / "a.zarr", part, axes=axes, chunks=chunks)
    volume = open_volume(path)
    assert volume.shape == shape
    assert volume.z_step_um == (pytest.approx(0.5) if "z" in axes else None)
    expected = STACK[: shape[0], : shape[1]]
    np.testing.assert_array_equal(np.stack(list(volume.planes()), axis=1), expected)


def test_scales_of_dataset_and_image_are_multiplied(tmp_path, write_ome_zarr):
    """0.1 nm × 500 = 0.05 µm; along z 0.5 nm × 200 = 0.1 µm."""
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES, unit="nanometer")

    def change(about):
        whole = {"type": "scale", "scale": [1.0, 200.0, 500.0, 500.0]}
        about["multiscales"][0]["coordinateTransformations"] = [whole]
        moved = {"type": "translation", "translation": [0, 5, 5, 5]}
        about["multiscales"][0]["datasets"][0]["coordinateTransformations"].append(moved)

    metadata(path, change)
    volume = open_volume(path)
    assert volume.pixel_size_um == pytest.approx(0.05)
    assert volume.z_step_um == pytest.approx(0.1)


@pytest.mark.parametrize("unit", [None, "pixel"])
def test_a_unit_that_is_missing_is_not_guessed(tmp_path, write_ome_zarr, unit):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES, unit=unit)
    message = refusal(path)
    assert f"x 0.1 {unit or 'without a unit'}" in message
    assert "pixel_size_um" in message
    volume = open_volume(path, pixel_size_um=0.2)
    assert (volume.pixel_size_um, volume.z_step_um) == (0.2, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_full_resolution_is_read(tmp_path, write_ome_zarr, version):
    """The first dataset, whatever its name, and not a reduced one."""
    path = write_ome_zarr(tmp_path / "a.zarr", STACK[..., ::2, ::2], NAMES, version=version)
    group = zarr.open_group(path, mode="r+")
    group.create_array("full", data=STACK, chunks=(1, 1, 40, 54))

    def change(about):
        datasets = about["multiscales"][0]["datasets"]
        datasets.insert(0, {**datasets[0], "path": "full"})

    metadata(path, change, version)
    np.testing.assert_array_equal(open_volume(path).plane(1), STACK[:, 1])


def several(path, write_ome_zarr, listed):
    """Three images in a folder, as bioformats2raw writes them."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for number in range(3):
        write_ome_zarr(path / str(number), STACK + number, NAMES, version="0.4")
    if listed:
        group.create_group("OME").attrs["series"] = ["2", "0"]
    return path


def test_several_images_are_told_apart_by_the_path(tmp_path, write_ome_zarr):
    path = several(tmp_path / "a.zarr", write_ome_zarr, listed=False)
    message = refusal(path)
    assert "found 3 images" in message
    assert "a.zarr#image=0 (0 to 2)" in message
    np.testing.assert_array_equal(open_volume(f"{path}#image=2").plane(1), STACK[:, 1] + 2)
    np.testing.assert_array_equal(open_volume(path / "1").plane(1), STACK[:, 1] + 1)
    path = several(tmp_path / "b.zarr", write_ome_zarr, listed=True)
    np.testing.assert_array_equal(open_volume(f"{path}#image=0").plane(1), STACK[:, 1] + 2)


def test_one_image_in_a_folder_of_images(tmp_path, write_ome_zarr):
    path = several(tmp_path / "a.zarr", write_ome_zarr, listed=False)
    for number in (1, 2):
        shutil.rmtree(path / str(number))
    np.testing.assert_array_equal(open_volume(path).plane(1), STACK[:, 1])


def test_two_entries_of_multiscales(tmp_path, write_ome_zarr):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES)
    metadata(path, lambda about: about["multiscales"].append(about["multiscales"][0]))
    assert "found 2 images" in refusal(path)
    assert open_volume(f"{path}#image=1").channels == NAMES


def test_plates_and_other_groups(tmp_path, write_ome_zarr):
    for name in ("plate", "well"):
        group = zarr.open_group(tmp_path / name, mode="w", zarr_format=2)
        group.attrs[name] = {"version": "0.4"}
        message = refusal(tmp_path / name)
        assert "a plate of wells" in message
        assert "plate.zarr/A/1/0" in message
    zarr.open_group(tmp_path / "plain.zarr", mode="w")
    assert "no multiscales" in refusal(tmp_path / "plain.zarr")
    zarr.save_array(tmp_path / "array.zarr", STACK)
    refusal(tmp_path / "array.zarr")
    (tmp_path / "empty").mkdir()
    assert "without zarr.json or .zgroup" in refusal(tmp_path / "empty")


def rename_axes(*names):
    def change(about):
        about["multiscales"][0]["axes"] = list(names)

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (rename_axes(), "found none"),
        (rename_axes("c", "z", "y", "x"), "None, None, None, None"),  # version 0.3
        (rename_axes(*({"name": name} for name in ("q", "z", "y", "x"))), "q, z, y, x"),
        (rename_axes(*({"name": name} for name in ("z", "z", "y", "x"))), "z, z, y, x"),
        (rename_axes(*({"name": name} for name in ("c", "z", "x", "y"))), "c, z, x, y"),
        (rename_axes(*({"name": name} for name in "zyx")), "damaged"),
        (rename_axes({"name": "t"}, *({"name": name} for name in "zyx")), "a series of 3"),
        (lambda about: about.update(multiscales=[]), "no image in it"),
        (lambda about: about.update(multiscales="a"), "damaged"),
        (lambda about: about.update(multiscales=[{}]), "damaged"),
        (lambda about: about["multiscales"][0].update(datasets=[{"path": "9"}]), "damaged"),
        (lambda about: about["multiscales"][0].update(datasets=[]), "damaged"),
    ],
)
def test_metadata_that_describe_no_stack(tmp_path, write_ome_zarr, change, found):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES)
    metadata(path, change)
    assert found in refusal(path, pixel_size_um=0.1)


def test_an_array_without_pixels(tmp_path, write_ome_zarr):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK[:, :0], NAMES)
    assert "damaged" in refusal(path)


def test_dataset_without_a_scale(tmp_path, write_ome_zarr):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES)
    metadata(path, lambda about: about["multiscales"][0].update(datasets=[{"path": "0"}]))
    assert "pixel_size_um" in refusal(path)
    assert open_volume(path, pixel_size_um=0.1).z_step_um is None


def test_names_that_do_not_fit_the_channels(tmp_path, write_ome_zarr):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES[:2])
    assert open_volume(path).channels == ("channel 0", "channel 1", "channel 2")
    path = write_ome_zarr(tmp_path / "b.zarr", STACK)
    assert open_volume(path).channels == ("channel 0", "channel 1", "channel 2")


@pytest.mark.parametrize("dtype", ["int64", "complex64", "bool"])
def test_types_that_are_no_intensities(tmp_path, write_ome_zarr, dtype):
    path = write_ome_zarr(tmp_path / "a.zarr", STACK.astype(dtype), NAMES)
    assert dtype in refusal(path)


def chunk_file(path, version, c, z, y=0):
    return path / "0" / (f"{c}.{z}.{y}.0" if version == "0.4" else f"c/{c}/{z}/{y}/0")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plane_without_any_chunk_is_no_black_plane(tmp_path, write_ome_zarr, version):
    """Of one chunk of two that is missing the pixels are the fill value, as the format says."""
    path = write_ome_zarr(
        tmp_path / "a.zarr", STACK, NAMES, version=version, chunks=(1, 1, 20, 54), fill_value=7
    )
    chunk_file(path, version, 1, 3, 0).unlink()
    plane = open_volume(path).plane(3)
    assert (plane[1, :20] == 7).all()
    np.testing.assert_array_equal(plane[1, 20:], STACK[1, 3, 20:])
    chunk_file(path, version, 1, 3, 1).unlink()
    message = refusal(path)
    assert "found none of those at c=1 z=3" in message
    assert "write_empty_chunks" in message


@pytest.mark.parametrize("version", VERSIONS)
def test_metadata_that_are_missing_or_damaged(tmp_path, write_ome_zarr, version):
    names = (
        [".zgroup", ".zattrs", "0/.zarray"] if version == "0.4" else ["zarr.json", "0/zarr.json"]
    )
    for number, name in enumerate(names):
        for content in (None, b"", b'{"zarr_format": ', b"[]", b'"text"', b"\xff\x00"):
            path = write_ome_zarr(tmp_path / f"{number}.zarr", STACK, NAMES, version=version)
            (path / name).unlink()
            if content is not None:
                (path / name).write_bytes(content)
            refusal(path)


COMPRESSORS = {
    "0.4": [None, *(get_numcodec({"id": name}) for name in ("blosc", "zstd", "zlib", "lz4"))],
    "0.5": [None, BloscCodec(), ZstdCodec(), GzipCodec()],
}


@pytest.mark.parametrize("share", [0, 0.002, 0.3, 0.5, 0.999])
@pytest.mark.parametrize(
    ("version", "compressor"), [(v, c) for v, codecs in COMPRESSORS.items() for c in codecs]
)
def test_chunks_cut_short_are_found_when_read(tmp_path, write_ome_zarr, version, compressor, share):
    """Blosc by itself would decode what lies in memory behind a chunk that was cut short."""
    for depth in (1, 2):
        path = write_ome_zarr(
            tmp_path / f"{depth}.zarr",
            STACK >> 4,
            NAMES,
            version=version,
            chunks=(1, depth, 40, 54),
            compressors=compressor,
        )
        file = chunk_file(path, version, 1, 1)
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        volume = open_volume(path)
        np.testing.assert_array_equal(volume.plane(0), STACK[:, 0] >> 4)
        with pytest.raises(VolumeError, match=rf"damaged one \(plane {depth}: ") as caught:
            volume.plane(depth)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chunks", [(1, 1, 40, 54), (1, 2, 40, 54)])
def test_threads_read_the_same_stack_at_once(tmp_path, write_ome_zarr, chunks):
    volume = open_volume(write_ome_zarr(tmp_path / "a.zarr", STACK, NAMES, chunks=chunks))
    with ThreadPoolExecutor(8) as executor:
        for place, plane in enumerate(executor.map(volume.plane, [*range(5)] * 20)):
            np.testing.assert_array_equal(plane, STACK[:, place % 5])


def test_real_file(microscope_files):
    """Two planes of 100 × 100, in chunks of 50 rows by Blosc, which imagecodecs decodes too."""
    path = microscope_files / "image-03.zarr"
    volume = open_volume(path)
    assert volume.shape == (1, 2, 100, 100)
    assert volume.dtype == np.dtype(np.float64)
    assert (volume.pixel_size_um, volume.z_step_um) == (1.0, 1.0)
    for z in (0, 1):
        chunks = [(path / "0" / str(z) / str(y) / "0").read_bytes() for y in (0, 1)]
        halves = [imagecodecs.blosc_decode(chunk) for chunk in chunks]
        expected = np.frombuffer(b"".join(halves)).reshape(100, 100)
        np.testing.assert_array_equal(volume.plane(z)[0], expected)
