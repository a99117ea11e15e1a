"""Divisions trained in: what is given to the trainings, and what comes back, by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import divisions
from organelle_fusion.config import load_profile
from organelle_fusion.coverage import training_coverage
from organelle_fusion.folds import make_folds
from organelle_fusion.forests import train_forests
from organelle_fusion.patchset import PatchSet
from organelle_fusion.protocols import divide_objects

PROFILE = load_profile("smoke")
DIVISION = {"n_splits": 3, "validation_share": 0.3, "seed": 1}


@pytest.fixture
def patch_set():
    """Four patches of each of six images, in two classes; two images are of one specimen."""
    images = np.repeat([f"{label}{k}" for label in "ab" for k in range(3)], 4)
    table = pd.DataFrame({"image": images, "z": 0, "y": 0, "x": 0})
    table = table.assign(label=table["image"].str[0], group=table["image"])
    return PatchSet(np.zeros((24, 2, 2, 1), np.uint8), table, ("er",), None)


@pytest.fixture
def trainings(monkeypatch):
    """Stands in for `sweep.train_cells` and `sweep.train_all`, and keeps what they are given."""
    given = []

    def train(patch_set, folds, **options):
        given.append({"patch_set": patch_set, "folds": folds, **options})
        return patch_set.table.assign(dataset=options["dataset"], seed=options["seed"])

    def train_many(pairs, **common):
        return {name: train(**{**common, **own}) for name, own in pairs}

    monkeypatch.setattr(divisions, "train_cells", train)
    monkeypatch.setattr(divisions, "train_all", train_many)
    return given


def test_only_the_epochs_change():
    found = divisions.with_epochs(PROFILE, 17)
    assert found.training.epochs == 17
    assert PROFILE.training.epochs != 17
    assert divisions.with_epochs(found, PROFILE.training.epochs) == PROFILE


def test_groups_come_back_and_shares_are_of_all(patch_set, trainings):
    """Half of the patches are left out, and every patch is a group: both sides see the whole."""
    whole = patch_set.table.assign(group=patch_set.table["image"].replace("a1", "a0"))
    parted = patch_set.take(np.arange(24) % 2 == 0).split_groups()
    folds = make_folds(parted.table, **DIVISION)
    found = divisions.train_divided(parted, folds, whole, dataset="d", seed=5, profile=PROFILE)
    (given,) = trainings
    assert given["patch_set"] is parted
    assert given["folds"] is folds
    assert (given["seed"], given["profile"]) == (5, PROFILE)
    groups = np.repeat(["a0", "a0", "a2", "b0", "b1", "b2"], 2)
    assert found.predictions["group"].tolist() == groups.tolist()
    assert found.coverage == training_coverage([folds], parted.table, whole)
    assert found.coverage.of_all < 0.5


def test_repeats_differ_by_their_seed_and_are_pooled(patch_set, trainings, tmp_path):
    sets, folders = {"x": patch_set, "y": patch_set}, {"x": tmp_path / "x", "y": tmp_path / "y"}
    found = divisions.train_repeats(
        sets, range(7, 9), division=DIVISION, folders=folders, dataset="cv", profile=PROFILE
    )
    assert [(given["folder"].name, given["seed"]) for given in trainings] == [
        ("x", 7), ("x", 8), ("y", 7), ("y", 8),
    ]  # fmt: skip
    splits = [make_folds(patch_set.table, **DIVISION | {"seed": seed}) for seed in (7, 8)]
    for given, split in zip(trainings, 2 * splits, strict=True):
        pd.testing.assert_frame_equal(given["folds"], split)
    assert list(found) == ["x", "y"]
    assert found["x"].pooled.predictions["seed"].tolist() == [7] * 24 + [8] * 24
    assert found["x"].first.predictions["seed"].tolist() == [7] * 24
    table = patch_set.table
    assert found["y"].pooled.coverage == training_coverage(splits, table, table)
    assert found["y"].first.coverage == training_coverage(splits[:1], table, table)


def test_candidates_are_trained_in_the_same_folds(patch_set, trainings, tmp_path):
    candidates = [PROFILE.training, divisions.with_epochs(PROFILE, 9).training]
    found = divisions.train_candidates(
        {"x": patch_set}, candidates, division=DIVISION, folders={"x": tmp_path}, profile=PROFILE,
        seed=3,
    )  # fmt: skip
    assert [given["profile"].training for given in trainings] == candidates
    pd.testing.assert_frame_equal(trainings[0]["folds"], trainings[1]["folds"])
    pd.testing.assert_frame_equal(trainings[0]["folds"], make_folds(patch_set.table, **DIVISION))
    assert found["x"]["dataset"].tolist() == ["candidate-1"] * 24 + ["candidate-2"] * 24
    assert found["x"].index.tolist() == list(range(48))


@pytest.fixture
def objects():
    """Four objects in each of six images of two classes, with one feature."""
    rng = np.random.default_rng(0)
    images = np.repeat([f"{label}{k}" for label in "ab" for k in range(3)], 4)
    table = pd.DataFrame({"image": images, "group": images})
    return pd.DataFrame({"area": rng.normal(size=24)}), table.assign(label=table["image"].str[0])


def test_forests_say_on_how_much_they_were_grown(objects, tmp_path):
    """One image of six left out: 20 of 24 objects, 8 of 12 of the tested class."""
    features, table = objects
    parted, whole = divide_objects(table, ("o", "i"), n_splits=3, seed=1).values()
    options = {"folder": tmp_path, "trees": 3, "seed": 2}
    found = divisions.grow_divided(features, whole, name="left out", **options)
    assert found.coverage == pytest.approx((20 / 24, 8 / 12))
    expected = train_forests(
        features, table, whole.folds, dataset="left-out", **options
    )  # fmt: skip
    pd.testing.assert_frame_equal(found.predictions, expected, check_like=True)
    found = divisions.grow_divided(features, parted, name="by object", **options)
    assert (found.predictions["group"] == found.predictions["image"]).all()


def test_forests_of_several_seeds_are_pooled(objects, tmp_path):
    features, table = objects
    division = {"n_splits": 3, "validation_share": 0}
    found = divisions.grow_repeats(
        features, table, [4, 6], division=division, name="cv", folder=tmp_path, trees=3
    )
    for seed in (4, 6):
        split = make_folds(table, **division, seed=seed)
        expected = train_forests(
            features, table, split, dataset="cv", folder=tmp_path, trees=3, seed=seed
        )
        rows = found.pooled.predictions
        rows = rows[rows["seed"] == seed]
        pd.testing.assert_frame_equal(rows, expected, check_like=True)
    assert found.first.predictions["seed"].tolist() == [4] * 24
    assert found.first.coverage == pytest.approx((16 / 24, 8 / 12))
