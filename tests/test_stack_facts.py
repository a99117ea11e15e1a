"""What is said of stacks: sizes, planes that are shown, and times, by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import stack_facts
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import read_manifest
from organelle_fusion.volumes import open_volume, write_ome_tiff


def test_sizes_in_words():
    """Every extent and pixel size once; of slices the fewest and the most."""
    overview = pd.DataFrame(
        {"z": [7, 5, 6], "y": [20, 10, 20], "x": [30, 40, 30], "pixel_size_um": [0.2, 0.10604, 0.2]}
    )
    words = "5 to 7 slices of 10 × 40 or 20 × 30 pixels of 0.1060 or 0.2000 µm"
    assert stack_facts.size_words(overview) == words
    alike = overview.iloc[[0, 0]]
    assert stack_facts.size_words(alike) == "7 slices of 20 × 30 pixels of 0.2000 µm"


def test_pixel_size_of_the_first_image_of_each_class():
    """Of b 0.2 µm, and not the 0.1 µm of its second image."""
    overview = pd.DataFrame({"label": ["b", "a", "b"], "pixel_size_um": [0.2, 0.3, 0.1]})
    assert stack_facts.pixel_sizes(overview) == {"b": 0.2, "a": 0.3}


def test_middle_planes_of_the_first_image_of_each_class(tmp_path):
    """Of three and of four planes; channels as asked for; the second image is not read."""
    rng = np.random.default_rng(0)
    for name, slices in (("one", 3), ("two", 4)):
        array = rng.integers(0, 999, (2, slices, 8, 9), dtype=np.uint16)
        path = tmp_path / f"{name}.ome.tif"
        write_ome_tiff(path, array, ("a", "b"), pixel_size_um=0.1, z_step_um=0.5)
    (tmp_path / "other.ome.tif").touch()
    (tmp_path / "manifest.csv").write_text(
        "image,path,label\none,one.ome.tif,y\nother,other.ome.tif,y\ntwo,two.ome.tif,x\n", "utf-8"
    )
    images = read_manifest(tmp_path / "manifest.csv")
    found = stack_facts.middle_planes(images, ("b", "a"))
    assert list(found) == ["x", "y"]
    for label, name, middle in (("x", "two", 2), ("y", "one", 1)):
        volume = open_volume(tmp_path / f"{name}.ome.tif").select(("b", "a"))
        expected = display_plane(volume, middle, stack_statistics(volume))
        np.testing.assert_array_equal(found[label], expected)


def test_the_plane_where_half_is_dropped():
    """Shares 0, 2/3, 1/3 and 1 of sparse patches; those over the limit are not sparse."""
    reasons = {3: ["", "over the limit", ""], 1: ["sparse", "sparse", ""],
               2: ["sparse", "over the limit", ""], 0: ["sparse"] * 3}  # fmt: skip
    rows = [(z, reason) for z, of_plane in reasons.items() for reason in of_plane]
    table = pd.DataFrame(rows, columns=["z", "reason"])
    assert stack_facts.half_dropped_plane(table[table["z"] != 1]) == 2
    assert stack_facts.half_dropped_plane(table) == 1  # 1/6 away as plane 2 is
    assert stack_facts.half_dropped_plane(table[table["z"] == 3]) == 3


def test_a_plane_that_keeps_a_patch_goes_before_one_that_keeps_none():
    """Shares 1 and 0 are as near to one half, as in a stack that begins below the cells."""
    table = pd.DataFrame({"z": [0, 0, 1], "reason": ["sparse", "sparse", "over the limit"]})
    assert stack_facts.half_dropped_plane(table) == 1
    assert stack_facts.half_dropped_plane(table[table["z"] == 0]) == 0


def test_a_cell_that_is_empty_is_not_filled_from_another_image(tmp_path):
    """The first image of a class has its names in the file; the second says another order."""
    array = np.stack([np.full((1, 8, 9), 100), np.full((1, 8, 9), 900)]).astype(np.uint16)
    array[:, 0, 0, 0] = 0  # or there would be nothing to threshold
    for name in ("one", "two"):
        path = tmp_path / f"{name}.ome.tif"
        write_ome_tiff(path, array, ("a", "b"), pixel_size_um=0.1, z_step_um=0.5)
    rows = "one,one.ome.tif,y,\ntwo,two.ome.tif,y,a=1;b=0\n"
    (tmp_path / "manifest.csv").write_text("image,path,label,channel_map\n" + rows, "utf-8")
    images = read_manifest(tmp_path / "manifest.csv")
    (shown,) = stack_facts.middle_planes(images, ("a", "b")).values()
    (alone,) = stack_facts.middle_planes(images.iloc[:1], ("a", "b")).values()
    np.testing.assert_array_equal(shown, alone)


def test_times_are_scaled_by_voxels():
    """Half a million voxels in 2 s: 4 s for each million of the paper's."""
    measured, smallest, largest = stack_facts.time_findings(2.0, 500_000, "phantom")
    assert measured["measure"] == (
        "preprocessing of one stack of 0.5 million voxels a channel, in one process, s"
    )
    assert (measured["value"], measured["claim"], measured["data"]) == (2.0, "C11", "phantom")
    assert smallest["measure"].endswith("fixed costs too, to the paper's smallest stack, s")
    assert smallest["value"] == pytest.approx(4 * 66.972672)  # 1248 × 1248 × 43
    assert largest["value"] == pytest.approx(4 * 385.122672)  # 1364 × 1364 × 207
