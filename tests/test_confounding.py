"""Batches that give the class away are found, and the ways everybody sorts files are none."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.confounding import (
    attributes_of,
    chance_of,
    confounded,
    date_in,
    folder_beside_label,
)


def table(paths, labels, **columns):
    """Images alike in all but what is given."""
    count = len(labels)
    alike = {
        "z": 10, "y": 100, "x": 100, "pixel_size_um": 0.1, "z_step_um": 0.5, "dtype": "uint16",
        "format": ".tif", "date": None,
    }  # fmt: skip
    frame = pd.DataFrame({"path": paths, "label": list(labels)})
    frame["group"] = [f"g{index}" for index in range(count)]
    for name, value in (alike | columns).items():
        frame[name] = value if isinstance(value, list | pd.Series) else [value] * count
    return frame


def flat(count):
    return [f"/data/x{index}.tif" for index in range(count)]


def names(findings):
    return [finding.attribute for finding in findings]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("run/2024-03-05_a.tif", "2024-03-05"),
        ("x_20240305.czi", "2024-03-05"),
        ("2024_03_05", "2024-03-05"),
        ("slide 05.03.2024 b", "2024-03-05"),
        ("2024-0305", None),
        ("2024-13-05", None),
        ("320240305", None),
        ("240305", None),
    ],
)
def test_dates_in_names(text, date):
    assert date_in(text) == date


@pytest.mark.parametrize(
    ("folder", "label", "rest"),
    [
        ("control", "control", ""),
        ("Control", "control", ""),
        ("ctrl", "control", ""),
        ("trt", "treated", ""),
        ("MCF-7", "mcf7", ""),
        ("mcf7 day2", "MCF 7", "day2"),
        ("control_day1", "control", "day1"),
        ("2024-01-05 control", "control", "2024 01 05"),
        ("batch1", "a", "batch1"),
        ("day1", "control", "day1"),
        ("uncontrolled", "control", "uncontrolled"),
        ("A", "MCF10A", "A"),  # as often a batch
        ("b", "MDA-MB-231", "b"),
        ("1", "MCF10A", "1"),
        ("231", "MDA-MB-231", ""),
        ("rol", "control", "rol"),
        ("day1", "+", "day1"),
    ],
)
def test_what_a_folder_says_beside_the_class(folder, label, rest):
    assert folder_beside_label(folder, label) == rest


def test_a_zoom_of_its_own_for_each_class_is_found_with_its_numbers():
    """Of the 20 ways to deal two classes of three images, two divide as the zoom does."""
    (found,) = confounded(table(flat(6), "aaabbb", pixel_size_um=[0.1] * 3 + [0.2] * 3))
    assert (found.attribute, found.told, found.images, found.commonest) == ("pixel size", 6, 6, 3)
    assert found.table.to_numpy().tolist() == [["0.1 µm", "a", 3], ["0.2 µm", "b", 3]]
    assert found.chance == pytest.approx(2 / 20, abs=0.01)
    assert found.alone == ("a", "b")
    assert "0.1 µm: a 3 | 0.2 µm: b 3" in found.what
    assert "in place of the cells" in found.remedy


def test_attributes_that_divide_alike_are_one_finding():
    images = table(flat(6), "aaabbb", dtype=["uint8"] * 3 + ["uint16"] * 3, z=[5] * 3 + [7] * 3)
    (found,) = confounded(images)
    assert (found.attribute, found.also) == ("data type", ("number of planes",))


def test_a_zoom_in_both_classes_tells_nothing():
    assert confounded(table(flat(6), "aaabbb", pixel_size_um=[0.1, 0.1, 0.2, 0.1, 0.2, 0.2])) == []


def test_values_that_occur_once_say_nothing():
    """Every image has another number of planes; and one odd zoom is no division."""
    assert confounded(table(flat(6), "aaabbb", z=list(range(6)))) == []
    assert confounded(table(flat(6), "aaabbb", pixel_size_um=[0.1] * 5 + [0.2])) == []


def test_a_date_for_each_class_is_found_in_names_and_metadata():
    paths = [f"/data/2024-03-0{day}_{index}.tif" for index, day in enumerate([1, 1, 1, 2, 2, 2])]
    assert names(confounded(table(paths, "aaabbb"))) == ["date"]
    dates = ["2024-03-01"] * 3 + ["2024-03-02"] * 3
    assert names(confounded(table(flat(6), "aaabbb", date=dates))) == ["date"]
    # where some images say it themselves, the names of the others count as before
    some = ["2024-03-01", *[None] * 5]
    assert names(confounded(table(paths, "aaabbb", date=some))) == ["date"]
    assert names(confounded(table(paths, "aaabbb", date=pd.Series(some, dtype="str")))) == ["date"]
    # the metadata count more than the name
    assert confounded(table(paths, "aaabbb", date="2024-03-01")) == []


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (["control", "control", "control", "treated", "treated", "treated"], []),
        (["ctrl"] * 3 + ["trt"] * 3, []),
        (["day1"] * 3 + ["day2"] * 3, ["folder"]),
        (["control_day1"] * 3 + ["treated_day2"] * 3, ["folder"]),
        (["control_day1"] * 2 + ["control_day2"] + ["treated_day1"] + ["treated_day2"] * 2, []),
        (["scope1", "scope1", "scope2", "scope1", "scope2", "scope2"], []),
        (["control/day1"] * 3 + ["treated/day2"] * 3, ["folder at level 2"]),
    ],
)
def test_folders(folders, found):
    """A folder for each class is no batch, unless it says something beside the class."""
    paths = [f"/data/{folder}/x{index}.tif" for index, folder in enumerate(folders)]
    labels = ["control"] * 3 + ["treated"] * 3
    assert names(confounded(table(paths, labels))) == found


def test_days_within_classes_should_be_the_group_and_are_fine_if_they_are():
    """Two days of two images in each class: folds can keep them whole, if they are told."""
    days = ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04"]
    images = table(flat(8), "aaaabbbb", date=np.repeat(days, 2).tolist())
    (found,) = confounded(images)
    assert found.attribute == "date"
    assert found.alone == ()
    assert "column group" in found.remedy
    assert confounded(images.assign(group=images["date"])) == []
    # one day for each class cannot be helped by grouping
    one = table(flat(6), "aaabbb", date=["2024-03-01"] * 3 + ["2024-03-02"] * 3)
    (found,) = confounded(one.assign(group=one["date"]))
    assert found.alone == ("a", "b")
    assert found.chance == 1  # two groups divide two classes however they are dealt


def test_an_attribute_that_nearly_tells_needs_many_images():
    """19 of 20, as zoom in the study's tables; of 6 images 5 would say nothing."""
    zooms = [0.1] * 10 + [0.2] * 9 + [0.1]
    (found,) = confounded(table(flat(20), "a" * 10 + "b" * 10, pixel_size_um=zooms))
    assert (found.told, found.images, found.commonest) == (19, 20, 10)
    assert found.chance < 0.001
    assert "less than 0.1%" in found.what
    few = [0.1] * 3 + [0.2, 0.2, 0.1]
    assert confounded(table(flat(6), "aaabbb", pixel_size_um=few)) == []


def test_images_of_one_group_are_dealt_together():
    """Three images each of two specimens: two ways to deal two classes, and both divide."""
    images = table(flat(6), "aaabbb", pixel_size_um=[0.1] * 3 + [0.2] * 3)
    (found,) = confounded(images.assign(group=list("uuuvvv")))
    assert found.chance == 1


def test_chance_is_that_of_all_orders():
    """Of 6 orders of two a and two b over values x, x, y, y, two tell all and four tell two."""
    assert chance_of(np.array(list("xxyy")), np.array(list("aabb"))) == pytest.approx(
        2 / 6, abs=0.02
    )
    assert chance_of(np.array(list("xxyy")), np.array(list("abab"))) == 1


def test_what_is_not_known_is_no_value():
    frame = attributes_of(
        table(flat(2), "ab", z_step_um=[np.nan, 0.5], pixel_size_um=[0.1, np.nan])
    )
    assert frame["pixel size"].tolist() == ["0.1 µm", None]
    assert frame["z-step"].tolist() == ["none", "0.5 µm"]
    assert frame["date"].tolist() == [None, None]
    assert "folder" not in frame
