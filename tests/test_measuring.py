"""Images of a manifest measured into files, and the tables of their topology."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from organelle_fusion import measuring, phantom
from organelle_fusion.cells import segment_cells
from organelle_fusion.config import ORGANELLES, load_profile
from organelle_fusion.handcrafted import MEASURED, TPG
from organelle_fusion.manifest import read_manifest
from organelle_fusion.objects import TOO_SMALL
from organelle_fusion.predictions import SweepError
from organelle_fusion.topologies import class_topologies, measured_table, planted_table
from organelle_fusion.volumes import open_volume, write_ome_tiff

SETTINGS = load_profile("smoke").handcrafted


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two small phantoms that hold a whole cell or more each."""
    settings = load_profile("smoke").phantom
    settings = settings.model_copy(update={"images_per_class": (1, 1, 0, 0, 0, 0)})
    folder = tmp_path_factory.mktemp("phantom")
    return read_manifest(phantom.simulate_dataset(folder, settings, progress=False))


def measure(manifest, folder, workers):
    return measuring.measure_images(
        manifest, channels=ORGANELLES, settings=SETTINGS, folder=folder, workers=workers
    )


def test_one_process_or_two_measure_the_same_once(manifest, tmp_path, capsys):
    objects, dropped = measure(manifest, tmp_path / "one", 1)
    assert set(objects["kind"]) == {*ORGANELLES, *measuring.contact_kinds(ORGANELLES)}
    assert objects["image"].unique().tolist() == manifest["image"].tolist()
    assert (
        objects["cell"].str.startswith(tuple(f"{name} cell " for name in manifest["image"])).all()
    )
    kept = objects.groupby("image")["cell"].nunique()
    assert (kept >= 1).all()
    borders = dropped[dropped["reason"] == "touches the border of the image"]
    assert (borders["number"] > 0).all()
    assert borders["image"].tolist() == manifest["image"].tolist()
    again, lost = measure(manifest, tmp_path / "two", 2)
    pd.testing.assert_frame_equal(again, objects)
    pd.testing.assert_frame_equal(lost, dropped)
    capsys.readouterr()
    measure(manifest, tmp_path / "two", 2)
    assert "2 images: 2 stored, 0 to compute" in capsys.readouterr().out


def test_images_without_objects_have_empty_tables(manifest, tmp_path):
    """None is as large as a cubic millimetre; tables of none count 0."""
    settings = SETTINGS.model_copy(update={"min_volume_um3": 1e9})
    objects, dropped = measuring.measure_images(
        manifest, channels=ORGANELLES, settings=settings, folder=tmp_path, workers=1
    )
    assert len(objects) == 0
    assert {*MEASURED, "kind", "object", "cell", "image", "label", "group"} <= set(objects)
    assert (dropped["reason"] == TOO_SMALL).any()
    kinds = [*ORGANELLES, *measuring.contact_kinds(ORGANELLES)]
    assert [len(part) for part in measuring.topology(objects, kinds)] == [0, 0, 0]
    assert measured_table(objects, kinds)["objects"].tolist() == [0] * len(kinds)
    folds = manifest[["group", "label"]].assign(fold=0, part="train")
    tables, report = class_topologies(objects, {"all": kinds}, [folds])
    assert (tables, len(report)) == ({}, 0)
    planted = pd.DataFrame({"image": "full-000", "kind": ["er"], "planted": [4]})
    assert planted_table(planted, objects)["measured"].tolist() == [0]


def test_planted_objects_are_counted_in_the_cells_that_are_found(manifest):
    """The labels with a voxel in a cell, one by one."""
    folder = Path(manifest["path"].iloc[0]).parents[1] / "labels"
    found = measuring.count_planted(
        manifest, folder, channels=ORGANELLES[:2], settings=SETTINGS
    ).set_index(["image", "kind"])["planted"]
    assert len(found) == 4
    row = manifest.iloc[0]
    cells = segment_cells(open_volume(row["path"]), ORGANELLES[:2], reach_um=SETTINGS.cell_reach_um)
    with tifffile.TiffFile(folder / f"{row['image']}.ome.tif") as file:
        truth = file.asarray()[:, 1]  # mitochondria of every plane
    inside = {int(label) for plane in truth for label in plane[cells.labels > 0]} - {0}
    assert found[row["image"], "mitochondria"] == len(inside) > 0


def test_what_keeps_a_stack_from_being_measured_is_said(manifest, tmp_path):
    """No nucleus, no z-step, one plane; and nothing where all is there."""
    assert measuring.measuring_obstacle(manifest) == ""
    bare = manifest.assign(channel_map=[{"core": "nucleus"}] * len(manifest))
    assert "full-000 has no channel named nucleus" in measuring.measuring_obstacle(bare)
    for planes, z_step_um, words in (
        (3, None, "image x does not have it; the manifest column z_step_um"),
        (1, 0.5, "two planes or more, and image x has one"),
    ):
        path = tmp_path / "x.ome.tif"
        write_ome_tiff(
            path,
            np.zeros((1, planes, 8, 8), np.uint8),
            ["nucleus"],
            pixel_size_um=0.1,
            z_step_um=z_step_um,
        )
        (tmp_path / "x.csv").write_text("image,path,label\nx,x.ome.tif,a\n", "utf-8")
        assert words in measuring.measuring_obstacle(read_manifest(tmp_path / "x.csv"))


def test_an_image_without_nuclei_is_named(manifest, tmp_path):
    bare = manifest.assign(channel_map=[{"nucleus": "none"}] * len(manifest))
    with pytest.raises(SweepError, match=r"objects of full-000: VolumeError: .*nucleus"):
        measure(bare, tmp_path, 1)


def test_topology_takes_neighbours_of_the_same_kind_and_cell():
    """Two kinds in one cell, on lines 1 µm and 2 µm apart: each has its own distances."""
    place = np.arange(4.0)
    columns = {
        name: 1.0
        for name in (
            "area_um2", "volume_um3", "triangles", "voxels", "distance_to_nucleus_um",
            *(f"ellipsoid_axis_{axis}_um" for axis in "abc"),
            *(f"bbox_aa_{axis}_um" for axis in "xyz"),
            *(f"bbox_oo_{axis}_um" for axis in "abc"),
        )
    }  # fmt: skip
    frames = [
        pd.DataFrame(
            {
                "kind": kind, "image": "i", "cell": "i cell 1", "label": "a", "group": "i",
                "position_x_um": step * place, "position_y_um": 0.0, "position_z_um": 1.0,
                **columns,
            }
        )
        for kind, step in (("a", 1.0), ("b", 2.0), ("c", 5.0))
    ]  # fmt: skip
    objects = pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)
    features, table, report = measuring.topology(objects, ["a", "b"])
    assert list(features.columns) == [*TPG, "a", "b"]
    assert len(features) == len(table) == 8
    assert report["objects"].sum() == 0
    of_a = features["a"] == 1
    assert (features["a"] + features["b"] == 1).all()
    assert sorted(features.loc[of_a, "Sum"]) == [4, 4, 6, 6]
    assert sorted(features.loc[~of_a, "Sum"]) == [8, 8, 12, 12]
    alone, _, _ = measuring.topology(objects, ["c"])
    assert list(alone.columns) == list(TPG)
    assert sorted(alone["Min"]) == [5, 5, 5, 5]
    gone, nobody, why = measuring.topology(objects[objects["kind"] == "a"].head(2), ["a"])
    assert len(gone) == len(nobody) == 0
    assert why.set_index("reason")["objects"].to_dict()["fewer than 3 objects in the cell"] == 2
    assert [len(part) for part in measuring.topology(objects, ["none"])] == [0, 0, 0]
