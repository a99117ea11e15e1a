"""The search: what Hyperband trains, what it never sees, and that it goes on where it stopped."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from sklearn.metrics import accuracy_score  # noqa: E402

from organelle_fusion import hyperband, predictions, sweep, training, tuning  # noqa: E402
from organelle_fusion.config import (  # noqa: E402
    EncoderSettings,
    TrainingSettings,
    TuningSettings,
    load_profile,
)
from organelle_fusion.folds import make_folds  # noqa: E402
from organelle_fusion.models import build_model, set_seed  # noqa: E402
from organelle_fusion.patchset import PatchSet  # noqa: E402
from organelle_fusion.trials import SEARCHED, candidate_settings  # noqa: E402

pytestmark = pytest.mark.keras

ENCODER = EncoderSettings(kind="compact", input_px=16, filters=(4,))
TRAINING = TrainingSettings(
    epochs=4,
    patience=3,
    batch_size=8,
    learning_rate=1e-2,
    decay_rate=0.95,
    decay_steps=175,
    dropout=0.4,
    l2=0,
    dense_units=8,
    steps_per_execution=2,
)
SETTINGS = TuningSettings(
    max_epochs=2,
    factor=2,
    seed=5,
    learning_rate=(1e-3, 1e-1),
    dropout=(0.1, 0.6),
    l2=(1e-5, 1e-3),
    dense_units=(4, 8),
    batch_size=(8, 16),
)


def patches_and_parts():
    """Noise with stripes: across in class 0, down in class 1; 50 train, 21 validate, 9 test."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    patches = random.integers(0, 120, (80, 16, 16, 1), dtype=np.uint8)
    patches[labels == 0, ::4] += 120
    patches[labels == 1, :, ::4] += 120
    parts = random.permutation(np.repeat(["train", "validation", "test"], [50, 21, 9]))
    return patches, labels, parts


def search(folder, *data, settings=SETTINGS):
    return tuning.tune(
        *(data or patches_and_parts()),
        strategy="single",
        channels=("a",),
        n_classes=2,
        encoder=ENCODER,
        training=TRAINING,
        settings=settings,
        folder=folder,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A whole search: its folder and its trials."""
    folder = tmp_path_factory.mktemp("search")
    return folder, search(folder)


@pytest.fixture
def pretended(monkeypatch):
    """Judge trials by 1 − dropout, of a network that is not trained; gives their settings."""
    seen = []

    def build_model(*arguments, **options):
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])

    def fit_model(model, patches, labels, parts, *, settings, seed, initial_epoch, callbacks):
        seen.append(settings)
        history = keras.callbacks.History()
        history.history = {"val_accuracy": [1 - settings.dropout]}
        for callback in callbacks:
            callback.set_model(model)
            callback.on_epoch_end(initial_epoch, {"val_accuracy": 1 - settings.dropout})
        return history

    monkeypatch.setattr(tuning, "build_model", build_model)
    monkeypatch.setattr(hyperband, "fit_model", fit_model)
    return seen


def untrained(*arguments, **options):
    raise AssertionError("nothing is to be trained here")


def test_brackets_by_hand(done):
    """Two trials of one epoch, the better goes on to two; then two trials of two epochs."""
    _, trials = done
    assert list(trials) == ["trial", "bracket", "epochs", *SEARCHED, "val_accuracy"]
    assert trials["trial"].tolist() == [1, 2, 3, 4, 5]
    assert trials["bracket"].tolist() == [1, 1, 1, 0, 0]
    assert trials["epochs"].tolist() == [1, 1, 2, 2, 2]
    better = 0 if trials["val_accuracy"][0] >= trials["val_accuracy"][1] else 1
    searched = trials[list(SEARCHED)]
    pd.testing.assert_series_equal(searched.loc[2], searched.loc[better], check_names=False)
    assert len(searched.drop_duplicates()) == 4


def test_values_lie_where_they_are_searched(done):
    """Between the ends, or among the choices; learning rate and L2 on a logarithmic scale."""
    _, trials = done
    for name in ("learning_rate", "dropout", "l2"):
        low, high = getattr(SETTINGS, name)
        assert trials[name].between(low, high).all()
    for name in ("dense_units", "batch_size"):
        assert trials[name].isin(getattr(SETTINGS, name)).all()


def test_a_trial_trains_as_a_fold_does(done):
    """Its accuracy is what scikit-learn finds for a network of these settings from `train_fold`."""
    _, trials = done
    patches, labels, parts = patches_and_parts()
    own = candidate_settings(trials[trials["trial"] == 4], TRAINING, 1)[0]
    own = own.model_copy(update={"epochs": 2})
    set_seed(SETTINGS.seed)
    model = build_model("single", channels=("a",), n_classes=2, encoder=ENCODER, training=own)
    probabilities, history = training.train_fold(
        training.compile_model(model, own), patches, labels, parts, settings=own, seed=SETTINGS.seed
    )
    validation = parts[parts != "train"] == "validation"
    truth = labels[parts == "validation"]
    found = accuracy_score(truth, probabilities[validation].argmax(axis=1))
    assert trials["val_accuracy"][3] == pytest.approx(found)
    assert trials["val_accuracy"][3] == pytest.approx(history["val_accuracy"].max())


def test_test_rows_change_nothing(done, monkeypatch):
    """Whatever stands in them: it is the same search, and nothing is trained again."""
    folder, trials = done
    patches, labels, parts = patches_and_parts()
    test = parts == "test"
    patches[test] = 255 - patches[test]
    labels[test] = 1 - labels[test]
    monkeypatch.setattr(hyperband, "fit_model", untrained)
    pd.testing.assert_frame_equal(search(folder, patches, labels, parts), trials)
    kept = ~test
    pd.testing.assert_frame_equal(search(folder, patches[kept], labels[kept], parts[kept]), trials)


def test_an_interrupted_search_goes_on(done, tmp_path, monkeypatch):
    """Stopped in its third trial: the first two are not trained again; the table is the same."""
    _, trials = done
    seen = []

    def counted(*arguments, **options):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(options["settings"])
        return training.fit_model(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(hyperband, "fit_model", counted)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path)
    again = []

    def noted(*arguments, **options):
        again.append(options["settings"])
        return training.fit_model(*arguments, **options)

    monkeypatch.setattr(hyperband, "fit_model", noted)
    pd.testing.assert_frame_equal(search(tmp_path), trials)
    for found, rows in ((seen, trials.head(2)), (again, trials.tail(3))):
        assert [of.learning_rate for of in found] == rows["learning_rate"].tolist()
        assert [of.epochs for of in found] == rows["epochs"].tolist()


def test_a_done_search_keeps_no_weights(done):
    """Of the networks nothing is read again."""
    folder, _ = done
    assert [path.name for path in folder.iterdir() if path.name.startswith("search-")]
    assert list(folder.rglob("*.h5")) == []


def test_a_failed_trial_ends_the_search(tmp_path, pretended, monkeypatch):
    """It is named with its cause, and a second run goes on with it."""
    pretend = hyperband.fit_model

    def failing(*arguments, **options):
        if len(pretended) == 1:
            raise RuntimeError("out of\nmemory")
        return pretend(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(hyperband, "fit_model", failing)
        with pytest.raises(
            hyperband.TuningError, match="trial 2: RuntimeError: out of memory; "
        ) as error:
            search(tmp_path)
    assert isinstance(error.value.__cause__, RuntimeError)
    assert len(search(tmp_path)) == 5
    assert len(pretended) == 5


def test_other_inputs_are_searched_anew(tmp_path, pretended):
    """Another seed draws other settings, and what was kept of the first search is removed."""
    first = search(tmp_path)
    other = search(tmp_path, settings=SETTINGS.model_copy(update={"seed": 6}))
    assert len(pretended) == 10
    assert not set(first["dropout"]) & set(other["dropout"])
    assert len(list(tmp_path.glob("search-*"))) == 1
    pd.testing.assert_frame_equal(search(tmp_path), first)  # and what was drawn is drawn again
    assert len(pretended) == 15


def test_a_search_that_is_not_whole_is_made_anew(tmp_path, pretended, capsys):
    """A file cut off in writing is said to be no use."""
    first = search(tmp_path)
    (state,) = tmp_path.glob("search-*/oracle.json")
    state.write_text(state.read_text("utf-8")[:100], "utf-8")
    pd.testing.assert_frame_equal(search(tmp_path), first)
    assert len(pretended) == 10
    assert "searched anew, since what was kept is not whole" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["edited", "gone"])
def test_a_done_search_that_was_changed_is_made_anew(tmp_path, pretended, capsys, damage):
    """A better score written into a trial, or a trial that is gone, and the search is run again."""
    first = search(tmp_path)
    trial = next(tmp_path.glob("search-*/trial_*"))
    if damage == "gone":
        shutil.rmtree(trial)
    else:
        path = trial / "trial.json"
        content = json.loads(path.read_text("utf-8"))
        content["score"] = 0.999
        path.write_text(json.dumps(content), "utf-8")
    capsys.readouterr()
    pd.testing.assert_frame_equal(search(tmp_path), first)
    assert "searched anew" in capsys.readouterr().out


def test_one_line_a_trial(tmp_path, pretended, capsys):
    """No tables, no paths; a search that is done says nothing."""
    trials = search(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"trial {row.trial}: {row.epochs} epochs, validation accuracy {1 - row.dropout:.2f}"
        for row in trials.itertuples()
    ]
    search(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("profile", "epochs", "brackets"),
    [
        ("quick", [3] * 5 + [8] * 5, [1] * 7 + [0] * 3),
        ("smoke", [1, 1, 2, 2, 2], [1] * 3 + [0] * 2),
    ],
)
def test_length_of_the_search_of_a_profile(tmp_path, pretended, profile, epochs, brackets):
    """Two brackets; as many trials as the profile says."""
    own = load_profile(profile)
    lengths = {name: getattr(own.tuning, name) for name in ("max_epochs", "factor")}
    trials = search(tmp_path, settings=SETTINGS.model_copy(update=lengths))
    assert trials["epochs"].tolist() == epochs
    assert trials["bracket"].tolist() == brackets
    assert len(trials[list(SEARCHED)].drop_duplicates()) >= own.leakage.candidates


@pytest.fixture(scope="module")
def stacks():
    """Two classes of three images with eight patches each, two channels; three folds."""
    random = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "image": np.repeat([f"image{k}" for k in range(6)], 8),
            "label": np.repeat(["across", "down"], 24),
        }
    ).assign(group=lambda t: t["image"], z=0, y=0, x=0)
    patches = random.integers(0, 120, (48, 16, 16, 2), dtype=np.uint8)
    patches[:24, ::4] += 120
    patches[24:, :, ::4] += 120
    patch_set = PatchSet(patches, table, ("a", "b"), None)
    return patch_set, make_folds(table, n_splits=3, validation_share=0.34, seed=0)


def test_each_fold_is_searched_by_itself(stacks, tmp_path, pretended):
    """One search for each number, in a folder of its own, of its own rows."""
    patch_set, folds = stacks
    profile = load_profile("smoke").model_copy(
        update={"encoder": ENCODER, "training": TRAINING, "tuning": SETTINGS}
    )
    trials = tuning.tune_folds(patch_set, folds, [0, 2], profile=profile, folder=tmp_path)
    assert trials["fold"].tolist() == [0] * 5 + [2] * 5
    assert trials["trial"].tolist() == [1, 2, 3, 4, 5] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fold-00", "fold-02"]
    searches = [path.name for path in tmp_path.glob("*/search-*")]
    assert len(set(searches)) == 2
    assert len(pretended) == 10


def test_chosen_settings_are_trained_as_the_sweep_trains(stacks, tmp_path, pretended, monkeypatch):
    """With the profile's own settings its predictions are found, also after a search between.

    A search clears Keras' global state, and the compiled network has to outlive that.
    """
    patch_set, folds = stacks
    profile = load_profile("smoke").model_copy(update={"encoder": ENCODER, "training": TRAINING})
    place = {"size_px": 350, "folder": tmp_path, "seed": 7}
    of_sweep = sweep.train_cells(
        patch_set, folds, models=["intermediate"], profile=profile, dataset="cv", workers=0,
        **place,
    )  # fmt: skip
    search(tmp_path)
    chosen = dict.fromkeys((0, 2), TRAINING)
    options = {"encoder": ENCODER, "dataset": "tuned", **place}
    found = tuning.train_chosen(patch_set, folds, chosen, **options)
    expected = of_sweep[of_sweep["fold"] != 1].assign(dataset="tuned").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=False, atol=1e-6)

    monkeypatch.setattr(tuning, "train_fold", untrained)
    pd.testing.assert_frame_equal(tuning.train_chosen(patch_set, folds, chosen, **options), found)
    other = {0: TRAINING, 2: TRAINING.model_copy(update={"dropout": 0.1})}
    with pytest.raises(predictions.SweepError, match=r"fold 2 .*nothing is to be trained here"):
        tuning.train_chosen(patch_set, folds, other, **options)


def test_what_is_kept_is_text(done):
    """Keras-Tuner's files are JSON; nothing of a search is read by pickle."""
    folder, _ = done
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json"}
    assert all(json.loads(path.read_text("utf-8")) is not None for path in files)
