"""The MLP of measured features: its input worked out by hand, its folds rebuilt one by one."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

keras = pytest.importorskip("keras")

from organelle_fusion import hyperband, mlp, training  # noqa: E402
from organelle_fusion.config import HeadWidths, TrainingSettings, TuningSettings  # noqa: E402
from organelle_fusion.folds import (  # noqa: E402
    FoldError,
    fold_parts,
    leave_one_group_out,
    make_folds,
)
from organelle_fusion.mlp import LIMIT, MlpError, standardise, train_mlps, tune_mlp  # noqa: E402
from organelle_fusion.models import build_mlp, set_seed  # noqa: E402
from organelle_fusion.predictions import Cell, SweepError, read_provenance  # noqa: E402
from organelle_fusion.sweep import network_seed  # noqa: E402
from organelle_fusion.trials import SEARCHED, candidate_settings  # noqa: E402

pytestmark = pytest.mark.keras

TRAINING = TrainingSettings(
    epochs=6,
    patience=6,
    batch_size=16,
    learning_rate=1e-2,
    decay_rate=0.95,
    decay_steps=175,
    dropout=0.1,
    l2=1e-4,
    dense_units=8,
)
TUNING = TuningSettings(
    max_epochs=2,
    factor=2,
    seed=5,
    learning_rate=(1e-3, 1e-1),
    dropout=(0.0, 0.5),
    l2=(1e-5, 1e-3),
    dense_units=(4, 8),
    batch_size=(16,),
)


@pytest.fixture
def measured():
    """160 objects of two classes in eight images of two cells; the first feature tells."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(8), 20)
    names = [f"i{k}" for k in image]
    table = pd.DataFrame({"image": names, "label": np.array(["b", "a"])[image % 2], "group": names})
    table["cell"] = np.tile(np.repeat(["c0", "c1"], 10), 8)
    values = np.exp(rng.normal(size=(160, 3))) * [1e-3, 1, 1e6]
    values[image % 2 == 1, 0] *= 20
    return pd.DataFrame(values, columns=["volume", "area", "x"]), table


def run(features, table, folder, *, share=0.0, **changes):
    split = make_folds(table, n_splits=4, validation_share=share, seed=3)
    options = {"training": TRAINING, "dataset": "objects", "folder": folder, "seed": 3, **changes}
    return train_mlps(features, table, split, **options), split


def test_standardise_by_hand():
    """Five training rows: ranks 0, ¼, ½, ¾, 1; ends and what lies beyond them at the limit."""
    values = np.array([[0.0], [1], [20], [300], [4000], [10.5], [-5], [1e9]])
    train = np.arange(8) < 5
    found = standardise(values, train)
    quarter, between = norm.ppf(0.75), norm.ppf(0.375)  # 10.5 is half way from 1 to 20
    expected = [-LIMIT, -quarter, 0, quarter, LIMIT, between, -LIMIT, LIMIT]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)
    assert found.dtype == np.float32
    others = values.copy()
    others[~train] = 7
    np.testing.assert_array_equal(standardise(others, train)[train], found[train])
    with pytest.raises(MlpError, match="expected training rows, found none"):
        standardise(values, np.zeros(8, bool))


@pytest.mark.parametrize("share", [0, 0.25])
def test_each_fold_is_a_network_built_anew(measured, tmp_path, share):
    """The one compiled network, reset, predicts as a new one of its seed; each row tested once."""
    features, table = measured
    found, split = run(features, table, tmp_path, share=share)
    assert (found["model"] == "mlp").all()
    tested = found[found["part"] == "test"]
    assert sorted(tested["patch"]) == list(range(160))
    for column in ("image", "cell", "group", "label"):
        assert found[column].tolist() == table[column].iloc[found["patch"]].tolist()
    for fold in (0, 3):
        parts, own_seed = fold_parts(split, table["group"], fold), network_seed(3, fold)
        set_seed(own_seed)
        network = training.compile_model(build_mlp(3, 2, TRAINING), TRAINING)
        expected, history = training.train_fold(
            network,
            standardise(features.to_numpy(), parts == "train"),
            (table["label"] == "b").to_numpy(int),
            parts,
            settings=TRAINING,
            seed=own_seed,
            validated=share > 0,
        )
        rows = found[found["fold"] == fold]
        assert rows["patch"].tolist() == np.flatnonzero(parts != "train").tolist()
        np.testing.assert_allclose(rows[["p:a", "p:b"]], expected, atol=1e-5)
        details = read_provenance(Cell("objects", 0, "mlp", fold, 3).path(tmp_path))["details"]
        stored = pd.DataFrame(details["history"])
        assert list(stored) == list(history)
        assert ("val_accuracy" in stored) == (share > 0)
        np.testing.assert_allclose(stored, history, atol=1e-4)
        if share == 0:
            assert len(stored) == TRAINING.epochs


def test_what_tells_is_learnt(measured, tmp_path):
    """Twenty times in size is told in images that were not seen; labels without meaning are not."""
    features, table = measured
    longer = TRAINING.model_copy(update={"epochs": 15})
    found, _ = run(features, table, tmp_path, training=longer)
    truth = found["label"] == "a"
    # Logarithms 3 apart with deviation 1: the best that can be is Φ(1.5) = 0.93.
    assert ((found["p:a"] > 0.5) == truth).mean() > 0.88
    permuted = table.assign(label=np.repeat(["a", "a", "b", "b", "a", "a", "b", "b"], 20))
    found, _ = run(features, permuted, tmp_path, training=longer)
    assert ((found["p:a"] > 0.5) == (found["label"] == "a")).mean() < 0.65


def test_stored_networks_are_taken_and_others_trained_again(measured, tmp_path, monkeypatch):
    """Settings of one fold, or a value of the features: no more is trained than depends on it."""
    features, table = measured
    first, _ = run(features, table, tmp_path, model="otccp_mitochondria")
    assert (first["model"] == "otccp_mitochondria").all()
    trained = []

    def counted(*arguments, **options):
        trained.append(options["settings"].dropout)
        return train_fold(*arguments, **options)

    train_fold = training.train_fold
    monkeypatch.setattr(training, "train_fold", counted)
    again, _ = run(features, table, tmp_path, model="otccp_mitochondria")
    pd.testing.assert_frame_equal(again, first)
    assert trained == []
    own = dict.fromkeys(range(4), TRAINING)
    own[3] = TRAINING.model_copy(update={"dropout": 0.3})
    other, _ = run(features, table, tmp_path, model="otccp_mitochondria", training=own)
    assert trained == [0.3]
    changed = (other["p:a"] != first["p:a"]).groupby(other["fold"]).any()
    assert changed.tolist() == [False] * 3 + [True]
    features = features.copy()
    features.loc[0, "area"] += 1
    run(features, table, tmp_path, model="otccp_mitochondria")
    assert trained == [0.3] + [0.1] * 4


def test_stored_networks_are_read_without_keras(measured, tmp_path):
    """A chapter whose trainings are all stored starts in a second."""
    features, table = measured
    found, split = run(features, table, tmp_path)
    for name, frame in {"features": features, "table": table, "folds": split}.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "training.json").write_text(TRAINING.model_dump_json())
    code = f"""
import sys
from pathlib import Path
import pandas as pd
from organelle_fusion.config import TrainingSettings
from organelle_fusion.mlp import train_mlps
here = Path({str(tmp_path)!r})
features, table, folds = (
    pd.read_parquet(here / f"{{name}}.parquet") for name in ("features", "table", "folds")
)
training = TrainingSettings.model_validate_json((here / "training.json").read_text())
found = train_mlps(
    features, table, folds, training=training, dataset="objects", folder=here, seed=3
)
assert not {{"keras", "tensorflow", "jax"}} & set(sys.modules), "Keras was imported"
print(float(found["p:a"].sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(float(found["p:a"].sum()))


def test_bad_features_and_folds_are_refused(measured, tmp_path):
    """Before anything is trained: not finite, another number of rows, no settings, leaks."""
    features, table = measured
    broken = features.copy()
    broken.loc[7, "area"] = np.nan
    with pytest.raises(MlpError, match="row 7: area: expected a finite number, found nan; drop"):
        run(broken, table, tmp_path)
    with pytest.raises(MlpError, match="expected 160 rows, one for each label, found 159"):
        run(features.iloc[1:], table, tmp_path)
    with pytest.raises(MlpError, match=r"expected settings for .*, found those of \[0, 1\]"):
        run(features, table, tmp_path, training={0: TRAINING, 1: TRAINING})
    widths = TRAINING.model_copy(
        update={"dense_units": HeadWidths(single=1, early=2, intermediate=3, spatial=4)}
    )
    with pytest.raises(SweepError, match="mlp: expected one number for dense_units"):
        run(features, table, tmp_path, training=widths)
    split = leave_one_group_out(table, validation_share=0, seed=3)
    split.loc[(split["fold"] == 2) & (split["group"] == "i5"), "part"] = "test"
    with pytest.raises(FoldError, match=r"^group 'i5'"):
        train_mlps(features, table, split, training=TRAINING, dataset="x", folder=tmp_path, seed=3)
    assert not list(tmp_path.rglob("*.parquet"))


def test_the_search_trains_an_mlp_and_never_sees_test_rows(measured, tmp_path, monkeypatch):
    """A trial is `train_fold` with its settings; other test rows are the same search."""
    features, table = measured
    split = make_folds(table, n_splits=4, validation_share=0.25, seed=3)
    parts = fold_parts(split, table["group"], 0)
    options = {"training": TRAINING, "settings": TUNING, "folder": tmp_path}
    labels = table["label"].to_numpy(str)
    trials = tune_mlp(features, labels, parts, **options)
    assert list(trials) == ["trial", "bracket", "epochs", *SEARCHED, "val_accuracy"]
    assert trials["epochs"].tolist() == [1, 1, 2, 2, 2]

    own = candidate_settings(trials[trials["trial"] == 4], TRAINING, 1)[0]
    own = own.model_copy(update={"epochs": 2})
    set_seed(TUNING.seed)
    network = training.compile_model(build_mlp(3, 2, own), own)
    used = parts != "test"
    data = standardise(features.to_numpy(), parts == "train")[used]
    codes = (labels == "b").astype(int)[used]
    probabilities, _ = training.train_fold(
        network, data, codes, parts[used], settings=own, seed=TUNING.seed
    )
    truth = codes[parts[used] == "validation"]
    assert trials["val_accuracy"][3] == pytest.approx((probabilities.argmax(1) == truth).mean())

    def untrained(*arguments, **options):
        raise AssertionError("nothing is to be trained here")

    monkeypatch.setattr(hyperband, "fit_model", untrained)
    changed = features.copy()
    changed.loc[parts == "test"] = -1.0
    other = np.where(parts == "test", "z", labels)
    pd.testing.assert_frame_equal(tune_mlp(changed, other, parts, **options), trials)
    changed.loc[parts == "train"] += 1
    with pytest.raises(hyperband.TuningError, match="nothing is to be trained here"):
        tune_mlp(changed, labels, parts, **options)
    with pytest.raises(MlpError, match="expected 160 rows"):
        tune_mlp(features.iloc[1:], labels, parts, **options)


def test_one_mlp_is_compiled_once():
    """However long it is trained; another width, or number of features, is another network."""
    first = mlp.compiled_mlp(3, 2, TRAINING)[0]
    longer = TRAINING.model_copy(update={"epochs": 99, "patience": 98})
    assert mlp.compiled_mlp(3, 2, longer)[0] is first
    assert mlp.compiled_mlp(4, 2, TRAINING)[0] is not first
    wider = TRAINING.model_copy(update={"dense_units": 9})
    assert mlp.compiled_mlp(3, 2, wider)[0] is not first
