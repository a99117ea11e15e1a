"""Measured objects divided, trained on and told of: by hand, and by the functions beneath."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion import protocols
from organelle_fusion.comparisons import folding_difference
from organelle_fusion.folds import FoldError, fold_parts
from organelle_fusion.forests import UNCHANGED, predict_shuffled, train_forests
from organelle_fusion.sweep import network_seed

NAMES = ("by object", "left out")


@pytest.fixture
def measured():
    """60 objects of two classes in six images; the first of two features tells a little."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(6), 10)
    values = rng.normal(size=(60, 2))
    values[:, 0] += image % 2
    names = [f"i{k}" for k in image]
    table = pd.DataFrame({"image": names, "label": np.array(["a", "b"])[image % 2]})
    return pd.DataFrame(values, columns=["area", "x"]), table.assign(group=names)


def test_objects_become_groups_of_their_own(measured):
    """Named by their row of the table, not by their place in what is left of it."""
    _, table = measured
    parted = protocols.part_objects(table.iloc[[3, 59]])
    assert parted["group"].tolist() == ["i0 object 3", "i5 object 59"]
    assert table["group"].tolist() == table["image"].tolist()


def test_one_division_parts_images_and_one_keeps_them(measured):
    _, table = measured
    found = protocols.divide_objects(table, NAMES, n_splits=4, seed=2)
    assert list(found) == list(NAMES)
    parted, whole = found.values()
    assert parted.folds["fold"].nunique() == 4
    assert parted.folds["group"].nunique() == 60
    assert set(parted.folds["part"]) == {"train", "test"}  # nothing validates
    tested = whole.folds[whole.folds["part"] == "test"]
    assert tested["group"].tolist() == [f"i{k}" for k in range(6)]
    assert set(whole.folds["part"]) == {"train", "test"}
    with pytest.raises(FoldError, match="class 'a': expected at least 2 groups"):
        protocols.divide_objects(table.head(20), NAMES, n_splits=4, seed=2)


def test_a_part_of_the_objects_is_trained_on_its_own_features(measured, tmp_path):
    """Every other object: forests grown here on those rows, and images as groups."""
    features, table = measured
    some = protocols.divide_objects(table.iloc[1::2], NAMES, n_splits=3, seed=2)["by object"]
    found = protocols.train_objects(
        train_forests, features, some, name="every other, one", folder=tmp_path, trees=5, seed=4
    )
    assert (found["dataset"] == "every-other-one").all()
    assert (found["group"] == found["image"]).all()
    values, labels = features.to_numpy()[1::2], table["label"].to_numpy(str)[1::2]
    train = fold_parts(some.folds, some.table["group"], 1) == "train"
    forest = RandomForestClassifier(5, class_weight="balanced", random_state=network_seed(4, 1))
    forest.fit(values[train], labels[train])
    rows = found[found["fold"] == 1]
    assert rows["image"].tolist() == table["image"].iloc[1::2][~train].tolist()
    np.testing.assert_array_equal(rows[["p:a", "p:b"]], forest.predict_proba(values[~train]))


def test_predictions_as_they_are_are_those_of_plain_forests(measured, tmp_path):
    features, table = measured
    whole = protocols.divide_objects(table, NAMES, n_splits=3, seed=2)["left out"]
    options = {"name": "All", "folder": tmp_path, "trees": 3, "seed": 4}
    shuffled = protocols.train_objects(
        predict_shuffled, features, whole, groups={"g": ["x"]}, shuffles=2, **options
    )
    assert len(shuffled) == 3 * 60
    plain = protocols.train_objects(train_forests, features, whole, **options)
    found = protocols.as_they_are(shuffled)
    assert (found["shuffled"] == UNCHANGED).all()
    columns = ["fold", "patch", "image", "group", "p:a", "p:b"]
    pd.testing.assert_frame_equal(found[columns].reset_index(drop=True), plain[columns])


def test_objects_are_counted_by_zoom_and_line():
    """Cells of three, one and two objects; one name of a cell in two lines."""
    rows = [("3x", "A", "i1", "c1")] * 3 + [("3x", "A", "i2", "c2")] + [("4x", "B", "i3", "c1")] * 2
    table = protocols.object_counts(pd.DataFrame(rows, columns=["batch", "label", "image", "cell"]))
    assert table.to_dict("list") == {
        "zoom": ["3x", "4x"],
        "line": ["A", "B"],
        "images": [2, 1],
        "cells": [2, 1],
        "objects": [4, 2],
        "objects in a cell": ["1 to 3", "2"],
    }


def test_contact_is_a_distance_of_nothing_or_less():
    """Of the first cell one object touches, of the second both, of the third none."""
    objects = pd.DataFrame(
        {
            "image": "i",
            "cell": [*"aaaabbcc"],
            "distance_to_er_um": [0.1, 0.0, 2, 3, -1, -0.1, 0.01, 5],
        }
    )
    found = protocols.contact_choices(objects, ["er"], seed=3)
    assert list(found) == ["all objects", "touching er", "as many at random (er)"]
    assert found["all objects"].tolist() == [True] * 8
    assert found["touching er"].tolist() == [0, 1, 0, 0, 1, 1, 0, 0]
    drawn = pd.Series(found["as many at random (er)"]).groupby(objects["cell"]).sum()
    assert drawn.tolist() == [1, 2, 0]
    draws = [
        protocols.contact_choices(objects, ["er"], seed=seed)["as many at random (er)"][:4].argmax()
        for seed in range(20)
    ]
    assert set(draws) == {0, 1, 2, 3}


def predictions(hits):
    """Two classes; `hits` tells of each image which of its objects are told rightly."""
    rows = [(image, hit) for image, of_image in hits.items() for hit in of_image]
    right_a = [float((image[0] == "a") == bool(hit)) for image, hit in rows]
    names = [image for image, _ in rows]
    return pd.DataFrame(
        {
            "model": "forest", "fold": 0, "seed": 0, "patch": range(len(rows)), "image": names,
            "group": names, "label": [name[0] for name in names], "part": "test",
            "p:a": right_a, "p:b": [1 - p for p in right_a],
        }
    )  # fmt: skip


FOUND = {
    ("by object", "All"): predictions({"a0": [1, 1], "a1": [1, 1], "b0": [1, 1], "b1": [1, 0]}),
    ("by object", "few"): predictions({"a0": [1, 0], "a1": [1, 1], "b0": [1, 1], "b1": [0, 0]}),
    ("left out", "All"): predictions({"a0": [1, 0], "a1": [0, 0], "b0": [1, 1], "b1": [1, 0]}),
    ("left out", "few"): predictions({"a0": [1, 0], "a1": [0, 0], "b0": [1, 0], "b1": [0, 0]}),
}
"""Balanced accuracies 7/8, 5/8, 1/2 and 1/4."""


def test_gaps_between_protocols_and_between_subsets():
    found = protocols.protocol_gaps(FOUND, ["few", "All"], repeats=50, seed=1)
    assert {words: gap["value"] for words, gap in found.items()} == {
        "few, by object minus left out": 3 / 8,
        "All, by object minus left out": 3 / 8,
    }
    pair = FOUND["by object", "All"], FOUND["left out", "All"]
    assert found["All, by object minus left out"] == folding_difference(*pair, repeats=50, seed=1)
    found = protocols.subset_gaps(FOUND, "All", "few", repeats=50, seed=1)
    assert {words: gap["value"] for words, gap in found.items()} == {
        "All minus few, by object": 1 / 4,
        "All minus few, left out": 1 / 4,
    }


def scored(**values):
    """Scores by object and by image of "<panel>: <row>"; ends 0.1 away, by image 0.2 more."""
    return pd.DataFrame(
        [
            (*place.split(": "), level, value + more, value + more - 0.1, value + more + 0.1, 0.25)
            for place, value in values.items()
            for level, more in (("object", 0.0), ("image vote", 0.2))
        ],
        columns=["panel", "row", "level", "value", "low", "high", "chance"],
    )


def test_scores_are_listed_by_what_they_are_called():
    table = scored(**{"p: All": 0.5, "p: few": 0.3, "q: All": 0.4})
    rows = {"few": ("p", "few"), "of q": ("q", "All")}
    assert protocols.listed_scores(table, rows) == ("few 0.30 [0.20, 0.40], of q 0.40 [0.30, 0.50]")
    found = protocols.listed_scores(table, {"x:": ("p", "All")}, with_chance=True)
    assert found == "x: 0.50 [0.40, 0.60] (chance 0.25)"


def test_forests_are_told_of_by_protocol_and_networks_in_one_line():
    table = scored(**{
        "forest, p: All": 0.5, "forest, p: few": 0.3, "forest, q: All": 0.4, "forest, q: few": 0.2,
        "MLP, p: All": 0.6, "MLP, q: All": 0.7,
    })  # fmt: skip
    assert protocols.accuracy_lines(table, ["p", "q"], ["All", "few"]) == [
        "By object, p: All 0.50 [0.40, 0.60], few 0.30 [0.20, 0.40].",
        "By object, q: All 0.40 [0.30, 0.50], few 0.20 [0.10, 0.30].",
        "MLP, All, by object: p 0.60 [0.50, 0.70], q 0.70 [0.60, 0.80].",
    ]


def test_the_group_missed_most_is_named_in_every_panel():
    """Groups that are not compared do not count, however much they are missed."""
    rows = [("p", "x", 0.1), ("p", "y", 0.3), ("p", "z", 0.9), ("b", "x", 0.2), ("b", "y", 0.1),
            ("c", "x", -0.1), ("c", "y", 0.0), ("d", "x", np.nan), ("d", "y", 0.2)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["panel", "group", "value"])
    table = table.assign(low=table["value"] - 0.05, high=table["value"] + 0.05)
    assert protocols.most_missed(table, ["x", "y"]) == (
        "y in p (loss 0.30 [0.25, 0.35]); x in b (loss 0.20 [0.15, 0.25]); none in c; "
        "y in d (loss 0.20 [0.15, 0.25])"
    )
