"""Rotated copies of whole images."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.manifest import open_image, read_manifest
from organelle_fusion.rotation import rotate_dataset, rotate_plane
from organelle_fusion.volumes import write_ome_tiff


@pytest.fixture
def manifest(tmp_path):
    """Two images of two channels, the second named by a map."""
    generator = np.random.default_rng(3)
    stack = generator.integers(0, 5000, (3, 2, 9, 9)).astype(np.uint16)
    for name in ("a", "b"):
        write_ome_tiff(
            tmp_path / f"{name}.ome.tif",
            stack,
            ["mito", "other", "endo"],
            pixel_size_um=0.1,
            z_step_um=0.4,
        )
    frame = pd.DataFrame(
        {
            "image": ["1/ä", "b"],
            "path": ["a.ome.tif", "b.ome.tif"],
            "label": ["x", "y"],
            "group": ["g1", "g2"],
            "channel_map": ["mitochondria=mito"] * 2,
        }
    )
    frame.to_csv(tmp_path / "m.csv", index=False)
    return read_manifest(tmp_path / "m.csv"), stack


def test_quarter_turn_is_numpys():
    """By 90° a plane turns counter-clockwise, as ``numpy.rot90`` does it, without a new value."""
    plane = np.random.default_rng(0).integers(0, 60000, (2, 7, 7)).astype(np.uint16)
    assert np.array_equal(rotate_plane(plane, 90), np.rot90(plane, axes=(1, 2)))


def test_point_goes_where_trigonometry_says():
    """A spot 30 px right of the middle lies, after 30°, at (30 cos 30°, 30 sin 30°) above it."""
    y, x = np.mgrid[-50:51, -50:51]
    spot = 1000 * np.exp(-((x - 30) ** 2 + y**2) / 18)
    turned = rotate_plane(spot[None].astype(np.float32), 30)[0].astype(float)
    total = turned.sum()
    assert (turned * x).sum() / total == pytest.approx(30 * np.cos(np.pi / 6), abs=0.05)
    assert (turned * y).sum() / total == pytest.approx(-30 * np.sin(np.pi / 6), abs=0.05)


def test_corners_are_mirrored_and_values_stay_in_range():
    """No empty corner, nothing beyond the brightest and darkest pixel, the type kept."""
    plane = np.random.default_rng(1).integers(900, 1100, (1, 40, 40)).astype(np.uint16)
    turned = rotate_plane(plane, 45)
    assert turned.dtype == np.uint16
    assert plane.min() <= turned.min()
    assert turned.max() <= plane.max()


def test_type_is_not_overstepped():
    """A saturated 8-bit plane stays saturated."""
    assert (rotate_plane(np.full((1, 11, 11), 255, np.uint8), 17) == 255).all()


def test_copies_keep_names_groups_channels_and_scale(tmp_path, manifest):
    """The copies are listed like the images, and hold their planes turned, channel by channel."""
    frame, stack = manifest
    path = rotate_dataset(
        frame, tmp_path / "r", degrees=90, channels=("endo", "mitochondria"), progress=False
    )
    copies = read_manifest(path)
    assert copies[["image", "label", "group"]].equals(frame[["image", "label", "group"]])
    volume = open_image(copies.iloc[0])
    assert volume.channels == ("endo", "mitochondria")
    assert (volume.pixel_size_um, volume.z_step_um) == pytest.approx((0.1, 0.4))
    assert np.array_equal(volume.plane(1), np.rot90(stack[[2, 0], 1], axes=(1, 2)))


def test_copies_are_made_once(tmp_path, manifest):
    """A copy is left alone as long as image, angle and its own bytes are the same."""
    frame, _ = manifest
    options = {"channels": ("endo",), "progress": False}
    folder = tmp_path / "r"
    rotate_dataset(frame, folder, degrees=20, **options)
    first, second = (folder / "stacks" / name for name in ("000.ome.tif", "001.ome.tif"))
    times = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    whole = second.read_bytes()
    second.write_bytes(whole[:-1])
    rotate_dataset(frame, folder, degrees=20, **options)
    assert first.stat().st_mtime_ns == times[0]
    assert second.read_bytes() == whole
    rotate_dataset(frame, folder, degrees=21, **options)
    assert first.stat().st_mtime_ns != times[0]


def test_a_copy_is_made_again_for_another_scene_or_chunk(tmp_path, write_czi, write_ome_zarr):
    """Which scene of a file, and what lies in a folder, are part of what a copy was made from."""
    stacks = [np.full((1, 2, 9, 9), value, np.uint16) for value in (5, 6)]
    write_czi(tmp_path / "a.czi", {0: (stacks[0], (0, 0)), 1: (stacks[1], (50, 0))}, ["endo"])
    write_ome_zarr(tmp_path / "b.zarr", stacks[0], ["endo"])

    def copied(scene):
        rows = ["image,path,label", f"a,a.czi#scene={scene},x", "b,b.zarr,y"]
        (tmp_path / "m.csv").write_text("\n".join(rows), "utf-8")
        frame = read_manifest(tmp_path / "m.csv")
        options = {"degrees": 30, "channels": ("endo",), "progress": False}
        copies = read_manifest(rotate_dataset(frame, tmp_path / "r", **options))
        return [open_image(row).plane(1).max() for row in copies.itertuples()]

    assert copied(0) == [5, 5]
    assert copied(1) == [6, 5]
    write_ome_zarr(tmp_path / "b.zarr", stacks[1] + 1, ["endo"])
    assert copied(1) == [6, 7]
