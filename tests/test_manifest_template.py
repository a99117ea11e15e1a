"""A folder of images becomes a manifest that can be read, and says what it lacks."""

import os
import sys

import numpy as np
import pytest
import tifffile

from organelle_fusion.config import ORGANELLES
from organelle_fusion.manifest import ManifestError, read_leniently, read_manifest
from organelle_fusion.manifest_template import find_images, write_template
from organelle_fusion.volumes import write_ome_tiff


def image(path, names=ORGANELLES):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((len(names), 1, 4, 5), np.uint8)
    write_ome_tiff(path, array, names, pixel_size_um=0.1, z_step_um=None)


def test_folders_become_labels_and_groups(tmp_path):
    for name in ("treated/slide 1/a.ome.tif", "control/s2/x/c.ome.tif", "control/s2/b.ome.tif"):
        image(tmp_path / "img" / name)
    template = write_template(tmp_path / "img", tmp_path / "m.csv")
    lines = (
        "image,path,label,group,channel_map,pixel_size_um,z_step_um\n"
        "b,img/control/s2/b.ome.tif,control,s2,,,\n"
        "c,img/control/s2/x/c.ome.tif,control,s2,,,\n"
        "a,img/treated/slide 1/a.ome.tif,treated,slide 1,,,\n"
    )
    assert (tmp_path / "m.csv").read_text("utf-8") == lines
    assert (template.skipped, template.notes) == ({}, [])
    # Beside its images a manifest names them in full, or it would be refused.
    write_template(tmp_path / "img", tmp_path / "lists" / "m.csv")
    full = lines.replace(",img/", f",{os.path.realpath(tmp_path)}/img/")
    assert (tmp_path / "lists" / "m.csv").read_text("utf-8") == full
    assert len(read_manifest(tmp_path / "lists" / "m.csv")) == 3


@pytest.mark.parametrize(
    "name",
    ["a b,c", 'quo"ted', "naïve µm 細胞", " spaces ", "semi;colon", "#hash", "it's", "-dash"],
)
def test_any_name_survives_the_way_there_and_back(tmp_path, name):
    folder = tmp_path / name
    image(folder / name / name / f"{name}.ome.tif")
    image(folder / name / f"{name}2.ome.tif")
    write_template(folder, tmp_path / "m.csv")
    frame = read_manifest(tmp_path / "m.csv")
    assert frame["path"].tolist() == [
        str(folder / name / name / f"{name}.ome.tif"),
        str(folder / name / f"{name}2.ome.tif"),
    ]
    assert frame["label"].tolist() == [name.strip()] * 2
    assert frame["group"][0] == name.strip()
    assert frame["image"][0] == name.strip()
    # from within the folder of the images
    write_template(folder, folder / "m.csv")
    assert read_manifest(folder / "m.csv")["path"].tolist() == frame["path"].tolist()


def test_names_occur_once(tmp_path):
    for name in ("a/x.tif", "b/x.tif", "b/x.ome.tif", "b/y.tif", "c-d/z.tif", "c/d/z.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = write_template(tmp_path, tmp_path / "m.csv").manifest["image"].tolist()
    assert names == ["a-x", "b-x.ome.tif", "b-x.tif", "y", "c-d-z.tif 5", "c-d-z.tif 6"]


def test_what_is_passed_over_is_counted(tmp_path):
    image(tmp_path / "img" / "a" / "1.ome.tif")
    (tmp_path / "img" / "a" / "deep.zarr" / "0").mkdir(parents=True)
    (tmp_path / "img" / "a" / "deep.zarr" / "0" / "inside.tif").touch()
    (tmp_path / "img" / ".git").mkdir()
    (tmp_path / "img" / ".git" / "x.tif").touch()
    for name in ("._1.ome.tif", "notes.txt", "more.txt", "README", "file.zarr", "photo.PNG"):
        (tmp_path / "img" / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "img" / "link").symlink_to(tmp_path / "elsewhere")
    paths, skipped = find_images(tmp_path / "img")
    assert [path.as_posix() for path in paths] == ["a/1.ome.tif", "a/deep.zarr"]
    assert skipped == {
        "files .PNG": 1,
        "files .txt": 2,
        "files .zarr": 1,
        "files without suffix": 1,
        "hidden files": 1,
        "hidden folders": 1,
        "linked folders": 1,
    }


def test_what_has_to_be_filled_in_is_said(tmp_path):
    image(tmp_path / "loose.ome.tif")
    image(tmp_path / "a" / "day1" / "named.ome.tif", ("Tom20", "EEA1"))
    image(tmp_path / "b" / "day1" / "good.ome.tif")
    bare = np.zeros((3, 4, 5), np.uint8)
    tifffile.imwrite(
        tmp_path / "b" / "day1" / "bare.tif", bare, imagej=True, metadata={"axes": "CYX"}
    )
    (tmp_path / "b" / "day1" / "broken.tif").write_bytes(b"II*\0")
    template = write_template(tmp_path, tmp_path / "m.csv")
    label, group, shared, size, theirs, nothing, broken = template.notes
    assert label.startswith("label: the class of loose,")
    assert group.startswith("group: specimen, slide or day of loose;")
    assert shared.startswith("group: day1 in several classes is one group")
    assert size == "pixel_size_um: the files of bare do not say it"
    assert theirs.startswith("channel_map: which channels of named are early_endosomes, ")
    assert "called Tom20, EEA1, which are too few: leave these images out" in theirs
    assert nothing.startswith("channel_map: which channels of bare are ")
    assert "(such as early_endosomes=channel 0;mitochondria=channel 1;" in nothing
    assert broken.startswith(f"broken cannot be read: {tmp_path}")
    frame, problems = read_leniently(tmp_path / "m.csv")
    assert len(frame) == 5
    (problem,) = problems
    assert "row 6, label" in str(problem)


def test_a_channel_that_stands_twice_is_said(tmp_path):
    """Its name alone says not which one is meant."""
    image(tmp_path / "a.ome.tif", (*ORGANELLES, "x"))
    meta = {"axes": "CYX", "Channel": {"Name": [*ORGANELLES, "mitochondria"]}}
    meta |= dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY"), 0.1)
    tifffile.imwrite(tmp_path / "b.ome.tif", np.zeros((4, 4, 5), "u1"), ome=True, metadata=meta)
    (note,) = [n for n in write_template(tmp_path, tmp_path / "m.csv").notes if "channel_map" in n]
    assert note.startswith("channel_map: which channels of b are ")
    assert note.endswith("(such as mitochondria=1)")


def test_a_size_that_cannot_be_filled_in_is_not_asked_for(tmp_path):
    """Pixels that are no squares need another remedy than those whose size the file lacks."""
    lengths = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2}
    tifffile.imwrite(
        tmp_path / "flat.ome.tif", np.zeros((3, 4, 5), "u1"), ome=True, photometric="minisblack",
        metadata={"axes": "CYX", **lengths},
    )  # fmt: skip
    notes = write_template(tmp_path, tmp_path / "m.csv").notes
    assert not [note for note in notes if note.startswith("pixel_size_um")]
    assert "found 0.1 × 0.2 µm; resample the stack" in notes[-1]


def test_refusals_are_one_line_and_leave_no_file(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.png").touch()
    (tmp_path / "there.csv").write_text("mine")
    for folder, output, words in (
        ("empty", "m.csv", r"found files \.png \(1\); check the path"),
        ("none", "m.csv", "expected a folder with images, found none"),
        ("empty", "there.csv", "expected no such file, found one"),
    ):
        with pytest.raises(ManifestError, match=words) as caught:
            write_template(tmp_path / folder, tmp_path / output)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has no such names")
def test_a_name_that_is_no_text_is_passed_over(tmp_path):
    image(tmp_path / "a" / "1.ome.tif")
    (tmp_path / "a" / os.fsdecode(b"\xff.tif")).touch()
    paths, skipped = find_images(tmp_path)
    assert [path.name for path in paths] == ["1.ome.tif"]
    assert skipped == {"files whose name is not UTF-8": 1}
