"""The spoilt stacks have the faults that the chapter tells of, and a check finds just these."""

import shlex

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import own_images
from organelle_fusion.checking import check_data_set
from organelle_fusion.config import load_profile
from organelle_fusion.inputs import noted_files
from organelle_fusion.manifest import read_manifest
from organelle_fusion.pages import PageError, Run
from organelle_fusion.volumes import VolumeError, open_volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoilt")
    (folder / "manifest.csv").touch()  # of an earlier time
    own_images.write_stacks(folder)
    assert not (folder / "manifest.csv").exists()
    return folder


def of_slide(folder, label, slide):
    (path,) = (folder / "stacks" / label / f"slide {slide}").iterdir()
    return path


def whole(volume):
    return np.stack(list(volume.planes()), axis=1)


def test_the_faults(folder):
    with pytest.raises(VolumeError, match="a pixel size in µm"):
        open_volume(of_slide(folder, "control", own_images.BARE))
    bright = whole(open_volume(of_slide(folder, "control", own_images.BRIGHT)))
    assert bright.max() == 4095
    assert (bright == 4095).mean() > 0.002
    origin = open_volume(of_slide(folder, "control", own_images.COPIED))
    copy = open_volume(of_slide(folder, "treated", own_images.COPY))
    np.testing.assert_array_equal(whole(copy), whole(origin))
    treated = open_volume(of_slide(folder, "treated", 6))
    assert (treated.shape, origin.shape) == ((4, 2, 100, 100), (4, 2, 200, 200))
    assert treated.pixel_size_um == pytest.approx(2 * origin.pixel_size_um)


def test_the_way_of_the_chapter(folder):
    """init, check, and a check of stacks taken again; all of it in a folder of its own."""
    shown = own_images.terminal("organelle-fusion init stacks --output m.csv", folder)
    assert shown.startswith("$ organelle-fusion init stacks --output m.csv\nm.csv: 11 images of 2 ")
    assert shown.endswith("\n$ echo $?\n0")
    again = own_images.terminal("organelle-fusion init stacks --output m.csv", folder)
    assert "error: m.csv: expected no such file, found one" in again
    assert again.endswith("\n1")
    report = check_data_set(folder / "m.csv", load_profile("quick"))
    errors = [problem.where for problem in report.problems if problem.severity == "error"]
    assert errors == ["c2", "c2", "t11"]
    saturated = {p.where for p in report.problems if "saturated" in p.what}
    assert saturated == {"c4"}
    found = [(batch.attribute, batch.told, batch.images) for batch in report.confounding]
    assert found == [("pixel size", 9, 9), ("image size", 10, 10)]  # of one no pixel size is known
    with noted_files() as files:
        shown = own_images.terminal("organelle-fusion check m.csv", folder)
    assert files == {}
    assert max(map(len, shown.splitlines())) <= 76
    assert shown.endswith("\n1")
    own_images.take_again(folder)
    report = check_data_set(folder / "m.csv", load_profile("quick"))
    assert report.confounding == []
    left = {(problem.severity, problem.where) for problem in report.problems}
    assert left == {("error", "c2"), ("error", "t11"), ("warning", "all images")}
    assert report.problems[-1].what == "no z-step is known of c2"


def test_the_image_to_predict_is_one_of_the_test_part(tmp_path):
    """Of fold 0, the first in the manifest; the folds are those of chapter 6."""
    profile = load_profile("smoke")
    images = pd.DataFrame({"image": ["a", "b", "c"], "path": ["a.tif", "b.tif", "c.tif"]})
    images = images.assign(label="x", group=images["image"])
    for path in images["path"]:
        (tmp_path / path).touch()
    images.to_csv(tmp_path / "manifest.csv", index=False)
    run = Run(tmp_path, tmp_path / "manifest.csv", is_phantom=True)
    with pytest.raises(PageError, match="06"):
        own_images.unseen_image(run, profile)
    folds = pd.DataFrame(
        {"fold": [0, 0, 0, 1, 1, 1], "group": list("abcabc"), "label": "x"}
        | {"part": ["train", "test", "test", "test", "train", "validation"]}
    )
    (tmp_path / "folds").mkdir()
    folds.to_csv(tmp_path / "folds" / f"cv{profile.folds.n_splits}.csv", index=False)
    assert own_images.unseen_image(run, profile)["image"] == "b"


def test_predict_is_told_what_the_file_lacks(tmp_path):
    """Channel map and pixel size of the manifest's row; a shell reads them as they are."""
    text = (
        "image,path,label,channel_map,pixel_size_um\n"
        'a,my stack.tif,x,"nucleus=0;mitochondria=Tom 20",0.1\n'
        "b,b.tif,y,,\n"
    )
    (tmp_path / "m.csv").write_text(text, "utf-8")
    for name in ("my stack.tif", "b.tif"):
        (tmp_path / name).touch()
    (tmp_path / "own").mkdir()
    first, second = (row for _, row in read_manifest(tmp_path / "m.csv").iterrows())
    assert shlex.split(own_images.predict_arguments(first, tmp_path / "own")) == [
        "../my stack.tif", "--channel-map", "nucleus=0;mitochondria=Tom 20",
        "--pixel-size-um", "0.1",
    ]  # fmt: skip
    assert own_images.predict_arguments(second, tmp_path) == "b.tif"


def test_an_image_without_a_class_has_no_picture(tmp_path):
    assert own_images.predicted_figure(tmp_path, pd.Series({"image": "a"}), ["x"]) is None


def test_a_prediction_is_shown_as_a_column(tmp_path):
    row = {"image": "b", "label": "x", "p:x": 0.751, "p:y": 0.249, "patches": 9, "share_kept": 0.5}
    shown = own_images.shown_prediction(pd.DataFrame([row]), "y")
    assert dict(shown.itertuples(index=False)) == {
        "image": "b", "class it has": "y", "class predicted": "x", "probability of x": "0.75",
        "probability of y": "0.25", "patches": "9", "share kept": "0.50",
    }  # fmt: skip
    (tmp_path / "predictions" / "b").mkdir(parents=True)
    (tmp_path / "network.keras").touch()
    own_images.clear_predictions(tmp_path)
    own_images.clear_predictions(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["NA", "null", "None", "nan", "01", ""])
def test_a_class_of_any_name_is_read_as_it_is(tmp_path, label):
    """And so is an image; empty is the class of one without a patch, which has no chances."""
    chance = np.nan if label == "" else 0.75
    row = {"image": "007", "label": label, f"p:{label}": chance, "patches": 9, "share_kept": 1}
    (tmp_path / "predictions").mkdir()
    pd.DataFrame([row]).to_csv(tmp_path / "predictions" / "predictions.csv", index=False)
    found = own_images.read_predicted(tmp_path)
    shown = dict(own_images.shown_prediction(found, "x").itertuples(index=False))
    assert shown["image"] == "007"
    assert shown["class predicted"] == label
    assert shown[f"probability of {label}"] == f"{chance:.2f}"
