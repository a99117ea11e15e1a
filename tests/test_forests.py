"""Random forests on measured features: scikit-learn's, stored cell by cell."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion.folds import FoldError, fold_parts, leave_one_group_out
from organelle_fusion.forests import (
    UNCHANGED,
    permutation_importance,
    predict_shuffled,
    train_forests,
)
from organelle_fusion.metrics import EvaluationError
from organelle_fusion.predictions import Cell, SweepError, read_provenance
from organelle_fusion.sweep import network_seed


@pytest.fixture
def measured():
    """120 objects of three classes in twelve images; the first of four features tells a little."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(12), 10)
    label = np.array(["a", "b", "c"])[image % 3]
    values = rng.normal(size=(120, 4))
    values[:, 0] += image % 3
    names = [f"i{k:02d}" for k in image]
    table = pd.DataFrame({"image": names, "label": label, "group": names})
    return pd.DataFrame(values, columns=["area", "volume", "x", "y"]), table


def run(features, table, folder, *, trees=7, seed=3):
    split = leave_one_group_out(table, validation_share=0, seed=seed)
    found = train_forests(
        features, table, split, trees=trees, dataset="objects", folder=folder, seed=seed
    )
    return found, split


def test_each_fold_is_scikit_learns_forest(measured, tmp_path):
    """Probabilities of the test rows to the last bit, and every row tested once."""
    features, table = measured
    found, split = run(features, table, tmp_path)
    assert sorted(found["patch"]) == list(range(120))
    assert (found["model"] == "forest").all()
    for fold in (0, 7):
        train = fold_parts(split, table["group"], fold) == "train"
        forest = RandomForestClassifier(
            7, class_weight="balanced", random_state=network_seed(3, fold)
        ).fit(features.to_numpy()[train], table["label"].to_numpy(str)[train])
        expected = forest.predict_proba(features.to_numpy()[~train])
        rows = found[found["fold"] == fold]
        assert rows["patch"].tolist() == np.flatnonzero(~train).tolist()
        assert rows["label"].tolist() == table["label"][~train].tolist()
        np.testing.assert_array_equal(rows[["p:a", "p:b", "p:c"]].to_numpy(), expected)


def test_stored_forests_are_taken_and_others_grown_again(measured, tmp_path, capsys):
    """Nothing changed: nothing grown. More trees, or another value: all grown."""
    features, table = measured
    first, _ = run(features, table, tmp_path)
    path = Cell("objects", 0, "forest", 4, 3).path(tmp_path)
    written = path.stat().st_mtime_ns
    path.with_name("fold-05-seed-3.parquet").unlink()
    capsys.readouterr()
    again, _ = run(features, table, tmp_path)
    assert "12 cells: 11 stored, 1 to compute" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(again, first)
    before = read_provenance(path)["inputs"]
    run(features, table, tmp_path, trees=8)
    assert "12 cells: 0 stored, 12 to compute" in capsys.readouterr().out
    after = read_provenance(path)["inputs"]
    assert {name for name in before if before[name] != after[name]} == {"settings"}
    features = features.copy()
    features.loc[0, "y"] += 1
    run(features, table, tmp_path, trees=8)
    assert "12 cells: 0 stored, 12 to compute" in capsys.readouterr().out


def test_folds_that_leak_are_refused(measured, tmp_path):
    features, table = measured
    split = leave_one_group_out(table, validation_share=0, seed=3)
    split.loc[(split["fold"] == 2) & (split["group"] == "i05"), "part"] = "test"
    with pytest.raises(FoldError, match=r"^group 'i05': .*found in that of folds 2, 5"):
        train_forests(features, table, split, trees=3, dataset="objects", folder=tmp_path, seed=3)


def test_cells_are_carried_where_the_table_has_them(measured, tmp_path):
    """Names of cells come with their rows, and a change of them is noticed."""
    features, table = measured
    plain, split = run(features, table, tmp_path)
    assert "cell" not in plain
    celled = table.assign(cell=[f"c{row % 5}" for row in range(120)])
    found = train_forests(
        features, celled, split, trees=7, dataset="objects", folder=tmp_path, seed=3
    )
    assert found["cell"].tolist() == [f"c{row % 5}" for row in found["patch"]]
    pd.testing.assert_frame_equal(found.drop(columns="cell"), plain)


def shuffled(measured, folder, groups, **options):
    features, table = measured
    split = leave_one_group_out(table, validation_share=0, seed=3)
    options = {"trees": 7, "shuffles": 2, "dataset": "objects", "seed": 3} | options
    return predict_shuffled(features, table, split, groups, folder=folder, **options), split


def test_one_forest_per_fold_sees_a_group_of_features_of_other_objects(measured, tmp_path):
    """Unchanged rows as `train_forests` gives them; the others with two columns lent together."""
    features, table = measured
    groups = {"first": ["area"], "pair": ["volume", "y"]}
    found, split = shuffled(measured, tmp_path, groups)
    plain, _ = run(features, table, tmp_path)
    unchanged = found[found["shuffled"] == UNCHANGED].reset_index(drop=True)
    columns = ["fold", "patch", "image", "label", "part", "p:a", "p:b", "p:c"]
    pd.testing.assert_frame_equal(unchanged[columns], plain[columns])
    assert len(found) == 120 * (1 + 2 * 2)
    order = np.random.default_rng([3, 1]).permutation(120)
    assert sorted(order) == list(range(120))
    train = fold_parts(split, table["group"], 4) == "train"
    values = features.to_numpy()
    forest = RandomForestClassifier(7, class_weight="balanced", random_state=network_seed(3, 4))
    forest.fit(values[train], table["label"].to_numpy(str)[train])
    changed = values[~train]
    changed[:, [1, 3]] = values[order[~train]][:, [1, 3]]
    rows = found[(found["fold"] == 4) & (found["shuffled"] == "pair") & (found["shuffle"] == 1)]
    np.testing.assert_array_equal(
        rows[["p:a", "p:b", "p:c"]].to_numpy(), forest.predict_proba(changed)
    )
    # The test part is one image; its rows are lent by others.
    assert set(table["image"][order[~train]]) - set(table["image"][~train])


def test_shuffled_predictions_are_stored_by_their_groups(measured, tmp_path, capsys):
    groups = {"first": ["area"], "rest": ["volume", "x", "y"]}
    first, _ = shuffled(measured, tmp_path, groups)
    capsys.readouterr()
    again, _ = shuffled(measured, tmp_path, groups)
    assert "12 cells: 12 stored, 0 to compute" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again, first)
    shuffled(measured, tmp_path, {"first": ["area", "x"], "rest": ["volume", "y"]})
    assert "12 cells: 0 stored, 12 to compute" in capsys.readouterr().out
    with pytest.raises(EvaluationError, match=r"^groups: expected columns .*'z'; correct"):
        shuffled(measured, tmp_path, {"first": ["area", "z"]})


def test_the_telling_feature_is_the_important_one(measured, tmp_path):
    """Without the first feature the forest is near chance, without another it is as good."""
    found, _ = shuffled(measured, tmp_path, {"area": ["area"], "x": ["x"]}, trees=30)
    loss = permutation_importance(found, repeats=200).set_index("group")
    assert list(loss.index) == ["area", "x"]
    assert loss.loc["area", "low"] > 0.05
    assert abs(loss.loc["x", "value"]) < 0.1


def test_importance_worked_out_by_hand(certain):
    """All right; one shuffle with one of eight wrong, one with three: mean loss 2/8."""
    found = pd.concat(
        [
            certain("aaaabbbb", shuffled=UNCHANGED, shuffle=0),
            certain("abaabbbb", shuffled="g", shuffle=0),
            certain("abaababa", shuffled="g", shuffle=1),
        ]
    )
    loss = permutation_importance(found, repeats=4000, seed=5)
    assert loss["group"].tolist() == ["g"]
    assert loss["value"].item() == pytest.approx(0.25)
    # i1 is half wrong in both shuffles and i2 never, so that half the recall of a is lost where
    # both draws take i1; b loses half in every image in one shuffle: 1/8 in any resample.
    assert loss["low"].item() == pytest.approx(0.125)
    assert loss["high"].item() == pytest.approx(0.375)


def test_a_failed_forest_is_named(measured, tmp_path):
    features, table = measured
    features = features.assign(area=np.inf)
    with pytest.raises(SweepError, match=r"^objects 0 px forest fold 0 seed 3: ValueError"):
        run(features, table, tmp_path)
