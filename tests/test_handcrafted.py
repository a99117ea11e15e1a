"""Random forests on measured features: scikit-learn's, stored cell by cell."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion.folds import FoldError, fold_parts, leave_one_group_out
from organelle_fusion.handcrafted import train_forests
from organelle_fusion.predictions import Cell, read_provenance
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
