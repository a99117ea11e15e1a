"""Topologies classified, counted and scored: by the functions beneath, and by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import topologies
from organelle_fusion.comparisons import rival_difference
from organelle_fusion.config import load_profile
from organelle_fusion.evaluation import score_table
from organelle_fusion.handcrafted import MEASURED
from organelle_fusion.measuring import topology
from organelle_fusion.mlp import MlpError

SETTINGS = load_profile("smoke").handcrafted


@pytest.fixture
def stacks():
    """Six images of two classes with five objects of each of two kinds, and lone ones of a third.

    Of the third kind only class a has a whole cell.
    """
    rng = np.random.default_rng(1)
    images = [f"{label}{k}" for label in "ab" for k in range(3)]
    counts = {"x": 5, "y_z": 5, "rare": 4}
    rows = [
        (kind, image)
        for image in images
        for kind, number in counts.items()
        for _ in range(number if kind != "rare" or image[0] == "a" else 1)
    ]
    values = pd.DataFrame(rng.uniform(0.5, 2, (len(rows), len(MEASURED))), columns=list(MEASURED))
    kinds, names = (list(column) for column in zip(*rows, strict=True))
    return values.assign(
        kind=kinds, image=names, group=names, label=[name[0] for name in names],
        cell=[f"{name} cell 1" for name in names],
    )  # fmt: skip


def test_settings_are_judged_by_the_images_named(stacks, tmp_path, monkeypatch):
    """What the search is given: features of one kind, and their images' parts."""
    given = {}

    def search(features, labels, parts, **options):
        given.update(features=features, labels=labels, parts=parts, **options)
        return "trials"

    monkeypatch.setattr(topologies, "tune_mlp", search)
    own = {"training": SETTINGS.training, "settings": SETTINGS.tuning, "folder": tmp_path}
    assert topologies.tune_topology(stacks, "x", ["a2", "b1"], **own) == "trials"
    values, table, _ = topology(stacks, ["x"])
    pd.testing.assert_frame_equal(given["features"], values)
    assert given["labels"].tolist() == ["a"] * 15 + ["b"] * 15
    expected = np.where(np.isin(table["image"], ["a2", "b1"]), "validation", "train")
    assert given["parts"].tolist() == expected.tolist()
    assert given.items() >= own.items()


def one_fold(parts):
    """A fold of groups, of the class that their first letter is."""
    return pd.DataFrame(
        [(0, group, group[0], part) for group, part in parts.items()],
        columns=["fold", "group", "label", "part"],
    )


def thirds(*images):
    """Three folds, of which each tests the images of one number and validates the next."""
    images = images or [f"{label}{k}" for label in "ab" for k in range(3)]
    part = {0: "test", 1: "validation", 2: "train"}
    return pd.concat(
        one_fold({name: part[(int(name[1]) - fold) % 3] for name in images}).assign(fold=fold)
        for fold in range(3)
    )


def test_models_that_lack_a_class_are_left_out(stacks):
    """Of the rare kind one object of each image of b: too few in a cell, and said so."""
    kinds = {"m_x": ["x"], "m_rare": ["rare"], "m_two": ["x", "y_z"]}
    tables, report = topologies.class_topologies(stacks, kinds, [thirds()])
    assert list(tables) == ["m_x", "m_two"]
    assert [len(table) for _, table in tables.values()] == [30, 60]
    left = report[report["objects"] > 0]
    assert left[["model", "objects", "cells"]].to_numpy().tolist() == [["m_rare", 3, 3]]
    third = thirds(*(f"{label}{k}" for label in "abc" for k in range(3)))
    assert topologies.class_topologies(stacks, kinds, [thirds(), third])[0] == {}


def test_a_class_that_some_fold_does_not_train_on_is_not_classified(stacks):
    """Of b two images hold objects: a fold tests one and validates the other, another does not."""
    without = stacks[stacks["image"] != "b2"]
    training = one_fold({"a0": "train", "a1": "test", "b0": "train", "b1": "test"})
    idle = one_fold({"a0": "train", "a1": "train", "b0": "test", "b1": "validation", "b2": "train"})
    for objects, splits, classified in (
        (without, [training], True),
        (without, [idle], False),
        (without, [training, idle], False),
        (without, [thirds()], False),
        (stacks, [training, idle, thirds()], True),
    ):
        found, _ = topologies.class_topologies(objects, {"m_x": ["x"]}, splits)
        assert list(found) == ["m_x"] * classified


def test_settings_are_not_searched_without_objects(tmp_path):
    """No image of the second phantom holds a whole cell, or a whole object of this kind."""
    given = {"validation": [], "training": SETTINGS.training, "settings": SETTINGS.tuning}
    for objects in (pd.DataFrame(), pd.DataFrame({"kind": ["y"]})):
        with pytest.raises(MlpError, match=r"expected objects of x .* found none; make"):
            topologies.tune_topology(objects, "x", **given, folder=tmp_path)


def test_every_model_is_trained_in_the_same_folds(stacks, tmp_path, monkeypatch):
    tables, _ = topologies.class_topologies(stacks, {"m_x": ["x"], "m_y": ["y_z"]}, [thirds()])
    given = []
    monkeypatch.setattr(
        topologies, "train_mlps", lambda *places, **named: given.append((places, named)) or "made"
    )
    own = {"training": SETTINGS.training, "dataset": "d", "folder": tmp_path, "seed": 3}
    found = topologies.train_topologies(tables, "folds", **own)
    assert found == {"m_x": "made", "m_y": "made"}
    for (places, named), (model, (values, table)) in zip(given, tables.items(), strict=True):
        assert places[0] is values
        assert places[1] is table
        assert places[2] == "folds"
        assert named == {**own, "model": model}


@pytest.mark.parametrize("tuning", [None, SETTINGS.tuning])
def test_repeats_have_folds_and_settings_of_their_own(stacks, tmp_path, monkeypatch, tuning):
    """Settings are searched in the folds of every seed if that is asked for, on the first model."""
    tables, _ = topologies.class_topologies(stacks, {"m_x": ["x"], "m_y": ["y_z"]}, [thirds()])
    given, searched = [], []

    def search(values, table, split, *, training, settings, folder):
        assert (training, settings) == (SETTINGS.training, tuning)
        searched.append((values is tables["m_x"][0], split, folder))
        return f"settings of {folder.name}"

    def train(values, table, split, **named):
        given.append((split, named))
        return (named["model"], named["seed"])

    monkeypatch.setattr(topologies, "tune_folds", search)
    monkeypatch.setattr(topologies, "train_mlps", train)
    options = {"training": SETTINGS.training, "tuning": tuning, "folder": tmp_path}
    found = topologies.train_repeats(tables, {4: "four", 5: "five"}, **options)
    assert found == [{model: (model, seed) for model in tables} for seed in (4, 5)]
    for (split, named), expected in zip(given, ("four", "four", "five", "five"), strict=True):
        assert split == expected
        assert named["folder"] == tmp_path / "predictions"
        own = SETTINGS.training if tuning is None else f"settings of seed-{named['seed']}"
        assert named["training"] == own
    if tuning is None:
        assert searched == []
    else:
        assert [(first, folder) for first, _, folder in searched] == [
            (True, tmp_path / "tuning" / f"seed-{seed}") for seed in (4, 5)
        ]
    assert topologies.train_repeats({}, {4: "four"}, **options) == [{}]


def frame(model, hits):
    """Two classes; `hits` tells of each image which of its objects, a cell, are told rightly."""
    rows = [(image, hit) for image, of_image in hits.items() for hit in of_image]
    right_a = [float((image[0] == "a") == bool(hit)) for image, hit in rows]
    names = [image for image, _ in rows]
    return pd.DataFrame(
        {
            "model": model, "fold": 0, "seed": 0, "patch": range(len(rows)), "image": names,
            "group": names, "cell": names, "label": [name[0] for name in names], "part": "test",
            "p:a": right_a, "p:b": [1 - p for p in right_a],
        }
    )  # fmt: skip


GOOD = {"a0": [1, 1, 1], "a1": [1, 1, 0], "b0": [1, 1, 1], "b1": [1, 0, 1]}
BAD = {"a0": [1, 1, 1], "a1": [0, 0, 1], "b0": [0, 0, 1], "b1": [1, 0, 1]}
LEVELS = {"patch": "object", "image": "image vote"}


def test_models_are_scored_at_every_level_in_every_grouping():
    """By object 10 of 12; by image 1 and 1/2, since an image is what most of its objects are."""
    groupings = {"once": {"m": frame("m", GOOD), "n": frame("n", BAD)}, "more": {}}
    found = topologies.level_tables(groupings, LEVELS, repeats=50, seed=2)
    assert list(found) == topologies.SCORES
    accuracy = found[found["metric"] == "balanced_accuracy"]
    assert accuracy[["model", "level", "grouping"]].to_numpy().tolist() == [
        ["m", "object", "once"],
        ["m", "image vote", "once"],
        ["n", "object", "once"],
        ["n", "image vote", "once"],
    ]
    assert accuracy["value"].tolist() == pytest.approx([5 / 6, 1, (4 / 6 + 3 / 6) / 2, 1 / 2])
    expected = score_table(frame("m", GOOD), repeats=50, seed=2)
    pd.testing.assert_frame_equal(found.head(4)[list(expected)], expected)
    nothing = topologies.level_tables({"once": {}, "more": {}}, LEVELS)
    assert list(nothing) == topologies.SCORES
    assert len(nothing) == 0
    assert nothing["value"].dtype == float


def test_contacts_are_compared_where_there_is_something_to_compare():
    """On the images that all have: b1 is not among them."""
    fewer = {image: hits for image, hits in GOOD.items() if image != "b1"}
    panels = {
        "own": {"otccp_x": frame("x", BAD), "otccp_contacts": frame("c", fewer)},
        "no contacts": {"otccp_x": frame("x", BAD), "otccp_y": frame("y", GOOD)},
        "contacts alone": {"otccp_contacts": frame("c", GOOD)},
    }
    found = topologies.contact_differences(panels, LEVELS, repeats=50, seed=2)
    name = "own, contacts minus the best single organelle, "
    assert list(found) == [f"{name}object", f"{name}image vote"]
    x = panels["own"]["otccp_x"]
    x = x[x["image"] != "b1"]
    contacts = panels["own"]["otccp_contacts"]
    difference = found[f"{name}object"]
    assert difference["value"] == pytest.approx((5 / 6 + 1) / 2 - (4 / 6 + 1 / 3) / 2)
    assert difference == rival_difference(contacts, {"otccp_x": x}, repeats=50, seed=2)
    # Differences over fewer classes would stand unmarked.
    for lost in (x[x["image"] == "none"], x[x["label"] == "a"]):
        panels["own"]["otccp_x"] = lost
        assert topologies.contact_differences(panels, LEVELS) == {}


def test_single_organelles_stand_beside_chance():
    """Contacts and other levels are not among them; what is below chance is, of any."""
    rows = [
        ("TPG of x", "object", 0.5, 0.4, 0.6),
        ("TPG of x", "cell vote", 0.9, 0.8, 1.0),
        ("TPG of y", "object", 0.3, 0.2, 0.4),
        ("TPG of contacts", "object", 0.9, 0.8, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["row", "level", "value", "low", "high"]).assign(chance=0.35)
    line = (
        "Contact phantom, single organelles by object (chance 0.35): "
        "x 0.50 [0.40, 0.60] (above chance), y 0.30 [0.20, 0.40] (not to be told from chance)."
    )
    assert topologies.control_lines(table, "TPG of contacts") == [line]
    low = table.assign(high=[0.6, 0.3, 0.4, 1.0])
    first, second = topologies.control_lines(low, "TPG of contacts")
    assert first == line
    assert second.startswith("Scores below chance can come of the folds")


def test_measured_objects_are_counted_by_kind():
    """Cells with 3 and 1 objects of x; a kind in the order asked for, and one that is not there."""
    objects = pd.DataFrame(
        {
            "kind": ["x_y"] * 4 + ["b"] * 2,
            "cell": ["c1", "c1", "c1", "c2", "c1", "c2"],
            "volume_um3": [1, 2, 3.0004, 10, 5, 7],
        }
    )
    table = topologies.measured_table(objects, ["b", "x_y", "no_ne"])
    assert table.columns.tolist() == [
        "kind", "objects", "in a cell, median", "volume, median (µm³)",
    ]  # fmt: skip
    assert table["kind"].tolist() == ["b", "x y", "no ne"]
    assert table["objects"].tolist() == [2, 4, 0]
    assert table["in a cell, median"].tolist()[:2] == [1, 2]
    assert table["volume, median (µm³)"].tolist()[:2] == [6, 2.5]
    assert table.iloc[2, 2:].isna().all()


def test_what_was_left_out_is_added_up_over_images():
    rows = [("i", "x_y", "dim", 2), ("i", "cells", "border", 1), ("j", "x_y", "dim", 3)]
    table = topologies.left_out_table(
        pd.DataFrame(rows, columns=["image", "what", "reason", "number"])
    )
    assert table.to_numpy().tolist() == [["x y", "dim", 5], ["cells", "border", 1]]


def test_planted_and_measured_objects_stand_side_by_side():
    """Objects of an image that is not counted do not count."""
    planted = pd.DataFrame(
        [("i", "x", 4), ("i", "y_z", 3), ("j", "x", 2)], columns=["image", "kind", "planted"]
    )
    objects = pd.DataFrame(
        [("i", "x"), ("j", "x"), ("k", "x"), ("i", "y_z")], columns=["image", "kind"]
    )
    table = topologies.planted_table(planted, objects)
    assert table.to_dict("list") == {
        "kind": ["x", "y z"],
        "planted": [6, 3],
        "measured": [2, 1],
        "measured for each planted": [0.33, 0.33],
    }
    none = topologies.planted_table(planted, objects[objects["kind"] == "x"])
    assert none["measured"].tolist() == [2, 0]
