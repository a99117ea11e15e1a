"""What is said of divisions: words by hand."""

import re

import pandas as pd
import pytest

from organelle_fusion import leakage_words
from organelle_fusion.coverage import Coverage

IMAGES = pd.DataFrame({"image": ["i1", "i2", "i3"], "label": ["a", "a", "b"]})


def test_the_unit_is_the_image_unless_groups_are_named():
    assert leakage_words.unit_of(IMAGES.assign(group=IMAGES["image"])) == "image"
    assert leakage_words.unit_of(IMAGES.assign(group=["i1", "i2", "day 1"])) == "group"


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (26, "cannot each keep .*: 26 images fill 26 test parts, and 4 would be empty"),
        (30, "can keep images whole"),
        (31, "can keep images whole"),
    ],
)
def test_folds_need_a_group_each(groups, words):
    sentence = leakage_words.whole_sentence(groups, 30, "image")
    assert sentence.startswith("**30 folds ")
    assert re.search(words, sentence)


def test_a_class_of_few_groups_must_be_lacking():
    """Four of five test parts can hold a class of four, three one of three."""
    sentence = leakage_words.lacking_sentence(pd.Series({"x": 4, "y": 5, "z": 3}), 5, "image")
    assert "or more lack it: x 1, z 2. Scores are therefore" in sentence
    assert leakage_words.lacking_sentence(pd.Series({"x": 5, "y": 9}), 5, "group") == (
        "**No test part need lack a class**, since every class has 5 groups or more."
    )


def test_stacks_can_be_cut_where_they_are_deep_enough():
    """Three slabs and two gaps of two planes need seven."""
    own = IMAGES.assign(group=IMAGES["image"])
    found = leakage_words.stack_groupings(own, 1234, 7, slabs=3, gap=2)
    assert found == (
        "yes, 1,234 patches",
        "yes, 3 slabs in 7 planes or more",
        "yes, 3 images",
        "no: none is named, each image is a group",
    )
    days = IMAGES.assign(group=["d1", "d2", "d2"])
    found = leakage_words.stack_groupings(days, 10, 6, slabs=3, gap=2)
    assert found.by_slab == "no: 3 slabs and gaps need more than 6 planes"
    assert found.by_image == "yes, 2 groups"
    assert found.by_batch.startswith("no: group d2 alone holds b, so that")


def test_crops_and_objects_say_what_they_hold():
    crops = pd.DataFrame(
        {"label": [*"aabb"], "group": [*"1234"], "keep": [True, True, True, False]}
    )
    assert leakage_words.crop_groupings(crops)[::2] == (
        "yes, 3 crops",
        "yes, 4 acquisitions; each holds one class, so that no acquisition compares classes",
    )
    objects = pd.DataFrame({"label": [*"aabb"], "image": [*"1123"], "batch": [*"xyxy"]})
    assert leakage_words.object_groupings(objects)[::2] == ("yes, 4 objects", "yes, 3 images")
    assert leakage_words.object_groupings(objects).by_batch == "yes, 2 zooms"


def test_answers_make_a_table():
    answers = {"own": leakage_words.Groupings(*"1234"), "paper": leakage_words.PAPER}
    table = leakage_words.grouping_table(answers)
    assert table.columns.tolist() == [
        "data set", "by patch, crop or object", "by z-slab", "by image or acquisition",
        "by imaging batch",
    ]  # fmt: skip
    assert table.iloc[0].tolist() == ["own", *"1234"]
    assert table.iloc[1, 2] == "yes, 43 planes or more"


ROWS = pd.DataFrame(
    {
        "data": ["real", "null"], "grouping": ["by patch", "whole"], "value": [0.75, 0.5],
        "low": [0.625, 0.375], "high": [0.875, 0.625], "chance": 0.5,
        "difference": [0.25, float("nan")], "difference_low": [0.125, float("nan")],
        "difference_high": [0.375, float("nan")],
    }
)  # fmt: skip


def test_what_a_grouping_adds_stands_beside_what_it_trains_on():
    shares = {("real", "by patch"): Coverage(0.9, 0.8), ("real", "whole"): Coverage(0.9, 0.506)}
    (line,) = leakage_words.difference_lines(ROWS.head(1), {"real": "whole"}, shares)
    assert line.startswith("Real, by patch minus whole: +0.25 in balanced accuracy")
    assert line.endswith(
        "the interval lies above 0. Share of the tested class that is trained on: 80% against 51%."
    )


def test_scores_stand_beside_chance():
    assert leakage_words.chance_lines(ROWS, ["p", "w"], "{} ({})") == [
        "p 0.75 [0.62, 0.88] (above chance)",
        "w 0.50 [0.38, 0.62] (not to be told from chance)",
    ]
    assert leakage_words.nothing_lines(ROWS.tail(1)) == [
        "Where nothing can be learnt and chance is 0.50 (null): whole 0.50 [0.38, 0.62], not to be "
        "told from chance."
    ]
    assert leakage_words.nothing_lines(ROWS.head(0)) == []
