"""Training: a reset is a fresh start, shapes never change, late weights solved by hand."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from scipy.special import softmax  # noqa: E402
from sklearn.metrics import accuracy_score, log_loss  # noqa: E402

from organelle_fusion import patchset  # noqa: E402
from organelle_fusion.batches import native  # noqa: E402
from organelle_fusion.config import (  # noqa: E402
    AugmentationSettings,
    EncoderSettings,
    TrainingSettings,
)
from organelle_fusion.late_fusion import combine, fit_late_weights  # noqa: E402
from organelle_fusion.models import build_mlp, build_model, set_seed  # noqa: E402
from organelle_fusion.training import (  # noqa: E402
    TrainingError,
    class_weights,
    compile_model,
    compiled_model,
    predict_proba,
    reset_model,
    train_fold,
)

pytestmark = pytest.mark.keras

ENCODER = EncoderSettings(kind="compact", input_px=16, filters=(4, 8))
SETTINGS = TrainingSettings(
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


FULL = AugmentationSettings(quarter_turns=True, crop=0.2, rotation_deg=15)


def build(augmentation=SETTINGS.augmentation, **others):
    settings = SETTINGS.model_copy(update={"augmentation": augmentation, **others})
    return build_model(
        "early", channels=("a", "b"), n_classes=2, encoder=ENCODER, training=settings
    )


def patches_and_parts(n_train, n_validation, n_test, seed=0):
    """Noise with stripes: across in class 0, down in class 1, so that flips change nothing."""
    random = np.random.default_rng(seed)
    n = n_train + n_validation + n_test
    labels = random.integers(0, 2, n)
    patches = random.integers(0, 120, (n, 16, 16, 2), dtype=np.uint8)
    patches[labels == 0, ::4] += 120
    patches[labels == 1, :, ::4] += 120
    parts = np.repeat(["train", "validation", "test"], [n_train, n_validation, n_test])
    order = random.permutation(n)
    return patches, labels, parts[order]


@pytest.mark.parametrize("augmentation", [SETTINGS.augmentation, FULL], ids=["flips", "full"])
def test_reset_model_trains_exactly_as_a_fresh_one(augmentation):
    """Whatever a model has seen: after a reset it gives the predictions of a new one."""

    def build_it():
        return build(augmentation)

    patches, labels, parts = patches_and_parts(37, 13, 20)
    set_seed(5)
    fresh = compile_model(build_it(), SETTINGS)
    expected, expected_history = train_fold(
        fresh, patches, labels, parts, settings=SETTINGS, seed=5
    )

    used = compile_model(build_it(), SETTINGS)
    other = patches_and_parts(50, 11, 8, seed=1)
    train_fold(used, *other, settings=SETTINGS, seed=99)
    reset_model(used, build_it, 5)
    found, history = train_fold(used, patches, labels, parts, settings=SETTINGS, seed=5)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(history, expected_history, atol=1e-6)

    reset_model(used, build_it, 6)
    otherwise, _ = train_fold(used, patches, labels, parts, settings=SETTINGS, seed=6)
    assert np.abs(otherwise - expected).max() > 1e-3  # another seed is another network


def test_a_model_that_was_trained_is_not_trained_again_unless_reset():
    """The networks of an architecture are one object: another fold would go on where one ended."""
    model = compile_model(build(), SETTINGS)
    fold = patches_and_parts(16, 8, 8)
    train_fold(model, *fold, settings=SETTINGS, seed=1)
    with pytest.raises(
        TrainingError, match=r"model early: expected a fresh one, .* call reset_mod"
    ):
        train_fold(model, *fold, settings=SETTINGS, seed=1)
    reset_model(model, build, 1)
    train_fold(model, *fold, settings=SETTINGS, seed=1)


def test_images_of_0_to_1_are_refused():
    """The network divides by 255: it would learn nothing, without a word."""
    patches, labels, parts = patches_and_parts(16, 8, 8)
    model = compile_model(build(), SETTINGS)
    with pytest.raises(TrainingError, match=r"expected intensities of 0 to 255, found 0 to 0\.9"):
        train_fold(model, patches / 255, labels, parts, settings=SETTINGS, seed=1)
    train_fold(model, patches.astype(np.float32), labels, parts, settings=SETTINGS, seed=1)


@pytest.mark.parametrize(
    ("augmentation", "seeds"), [(SETTINGS.augmentation, 3), (FULL, 5)], ids=["flips", "full"]
)
def test_reset_model_assigns_every_variable(augmentation, seeds):
    """Weights, running statistics, seed states and the optimiser's: as in a new model."""

    def build_it():
        return build(augmentation)

    model = compile_model(build_it(), SETTINGS)
    train_fold(model, *patches_and_parts(20, 8, 0), settings=SETTINGS, seed=1)
    assert int(model.optimizer.iterations) > 0
    reset_model(model, build_it, 3)
    set_seed(3)
    fresh = compile_model(build_it(), SETTINGS)
    # Each random layer has a seed state, which `weights` does not hold: two flips, the dropout,
    # and in full augmentation quarter turns and windows.
    assert len(model.variables) == len(model.weights) + seeds
    for variables in ("variables", "optimizer"):
        own, new = (
            getattr(m, variables) if variables == "variables" else m.optimizer.variables
            for m in (model, fresh)
        )
        for found, expected in zip(own, new, strict=True):
            np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (found, expected)))


def test_folds_of_other_sizes_are_not_traced_again():
    """After the first fold no layer is called from Python any more, whatever the sizes."""
    model = compile_model(build(), SETTINGS)
    train_fold(model, *patches_and_parts(40, 16, 24), settings=SETTINGS, seed=1)
    layer = model.get_layer("fusion_head").get_layer("dropout")
    traced = []
    call = layer.call
    layer.call = lambda *args, **kwargs: (traced.append(1), call(*args, **kwargs))[1]
    for sizes in [(41, 17, 23), (39, 5, 150), (5, 3, 1), (64, 30, 300)]:
        reset_model(model, build, 1)
        train_fold(model, *patches_and_parts(*sizes), settings=SETTINGS, seed=1)
    assert not traced
    model(np.zeros((1, 16, 16, 2), np.float32))
    assert traced  # the counter works


def test_stripes_are_learnt_and_the_best_epoch_is_kept():
    """A simple task is solved, and the scores in the history are those of the predictions."""
    patches, labels, parts = patches_and_parts(90, 29, 40)
    settings = SETTINGS.model_copy(update={"epochs": 8, "patience": 8})
    set_seed(2)
    model = compile_model(build(), settings)
    probabilities, history = train_fold(model, patches, labels, parts, settings=settings, seed=2)
    rest = parts != "train"
    assert probabilities.shape == (69, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    test = parts[rest] == "test"
    assert accuracy_score(labels[rest][test], probabilities[test].argmax(1)) > 0.9
    # scikit-learn on the kept weights, against what Keras reported for the best epoch: the rows
    # that fill up the last validation batch count for nothing.
    best = history.loc[history["val_accuracy"].idxmax()]
    validation = parts[rest] == "validation"
    truth, given = labels[rest][validation], probabilities[validation]
    assert accuracy_score(truth, given.argmax(1)) == pytest.approx(best["val_accuracy"])
    assert log_loss(truth, given[:, 1].astype(float), labels=[0, 1]) == pytest.approx(
        best["val_loss"], rel=1e-4
    )
    assert list(history.columns) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))


def test_stripes_are_learnt_in_mixed_precision_compiled_by_xla():
    """On the CPU of a test nothing is faster for it; the weights stay float32."""
    patches, labels, parts = patches_and_parts(90, 29, 40)
    settings = SETTINGS.model_copy(
        update={"epochs": 8, "patience": 8, "precision": "mixed_bfloat16", "jit": True}
    )
    set_seed(2)
    model = compile_model(build(precision="mixed_bfloat16"), settings)
    assert model.jit_compile is True
    slow = settings.model_copy(update={"jit": False})
    assert compile_model(build(), slow).jit_compile is False
    probabilities, history = train_fold(model, patches, labels, parts, settings=settings, seed=2)
    test = parts[parts != "train"] == "test"
    assert accuracy_score(labels[parts == "test"], probabilities[test].argmax(1)) > 0.9
    assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(history).all(axis=None)


def test_patches_beyond_memory_are_trained_on_a_batch_at_a_time(tmp_path, monkeypatch):
    """Of a mapped file no more is read at once than a batch; on JAX nothing else changes."""
    patches, labels, parts = patches_and_parts(90, 29, 140)
    settings = SETTINGS.model_copy(update={"epochs": 8, "patience": 8})
    model = compile_model(build(), settings)
    reset_model(model, build, 2)
    expected, expected_history = train_fold(
        model, patches, labels, parts, settings=settings, seed=2
    )
    np.save(tmp_path / "patches.npy", patches)
    read = []

    class Counted(np.memmap):
        def __getitem__(self, index):
            found = super().__getitem__(index)
            read.append(len(found))
            return np.asarray(found)

    mapped = np.load(tmp_path / "patches.npy", mmap_mode="r").view(Counted)
    monkeypatch.setattr(patchset, "MEMORY_SHARE", 0)
    reset_model(model, build, 2)
    found, history = train_fold(model, mapped, labels, parts, settings=settings, seed=2)
    assert set(read) == {8, 128, 169 - 128}  # batches of training and of prediction, and its rest
    assert len(history) == 8
    if keras.backend.backend() == "jax":
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(history, expected_history, atol=1e-6)
    rest = parts != "train"
    test = parts[rest] == "test"
    assert accuracy_score(labels[rest][test], found[test].argmax(1)) > 0.9


def test_training_stops_when_validation_no_longer_gains():
    """With patience 1 and labels of chance it ends before the last epoch."""
    patches, _, parts = patches_and_parts(16, 16, 4)
    labels = np.random.default_rng(3).integers(0, 2, len(parts))
    settings = SETTINGS.model_copy(update={"epochs": 60, "patience": 1})
    set_seed(4)
    _, history = train_fold(
        compile_model(build(), settings), patches, labels, parts, settings=settings, seed=4
    )
    accuracy = history["val_accuracy"].to_numpy()
    assert len(history) < 60
    assert accuracy[-1] <= accuracy[-2]
    assert (np.diff(accuracy[:-1]) > 0).all()


def test_labels_classes_and_regulariser_make_up_the_loss():
    """One step over all patches: the weighted cross-entropy and L2, worked out from the logits."""
    patches, labels, parts = patches_and_parts(40, 8, 0)
    settings = SETTINGS.model_copy(
        update={"epochs": 1, "batch_size": 40, "steps_per_execution": 1, "learning_rate": 1e-9}
    )

    def bare():
        return build(AugmentationSettings(flips=False), dropout=0, l2=0.01)

    model = compile_model(bare(), settings)
    reset_model(model, bare, 8)
    train = parts == "train"
    labels[train] = np.arange(40) < 10  # one quarter of class 1
    logits = keras.ops.convert_to_numpy(model(patches[train], training=True)).astype(float)
    reset_model(model, bare, 8)  # the call above moved the running statistics
    _, history = train_fold(model, patches, labels, parts, settings=settings, seed=8)
    of_truth = softmax(logits, axis=1)[np.arange(40), labels[train]]
    weights = np.where(labels[train] == 1, 40 / 20, 40 / 60)
    head = model.get_layer("fusion_head")
    squares = sum(
        (keras.ops.convert_to_numpy(head.get_layer(name).kernel) ** 2).sum()
        for name in ("dense", "logits")
    )
    entropy = -np.log(of_truth)
    assert history["loss"].item() == pytest.approx(
        (entropy * weights).mean() + 0.01 * squares, rel=1e-4
    )
    assert abs((entropy * weights).mean() - entropy.mean()) > 1e-3  # so that both would be missed
    assert squares > 1


def test_weights_of_the_best_epoch_are_restored():
    """Against inverted labels each epoch of learning makes it worse: an early one is kept."""
    patches, labels, parts = patches_and_parts(90, 30, 4)
    labels = np.where(parts == "validation", 1 - labels, labels)
    settings = SETTINGS.model_copy(update={"epochs": 30, "patience": 6})
    set_seed(4)
    model = compile_model(build(), settings)
    probabilities, history = train_fold(model, patches, labels, parts, settings=settings, seed=4)
    accuracy = history["val_accuracy"]
    assert accuracy.iloc[-1] < accuracy.max() - 0.1
    assert len(accuracy) == accuracy.argmax() + 1 + settings.patience
    rest = parts != "train"
    validation = parts[rest] == "validation"
    found = accuracy_score(labels[rest][validation], probabilities[validation].argmax(1))
    assert found == pytest.approx(accuracy.max())


def features_and_parts():
    """Two of three features tell the classes of 200 rows; 120 train, 40 validate, 40 test."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    features = random.normal(size=(200, 3)).astype(np.float32)
    features[:, :2] += 2 * labels[:, None]
    parts = random.permutation(np.repeat(["train", "validation", "test"], [120, 40, 40]))
    return features, labels, parts


def test_without_validation_all_epochs_are_run_and_the_last_weights_stay():
    """On rows of features, against inverted labels that would have stopped it: they have no say."""
    features, labels, parts = features_and_parts()
    inverted = np.where(parts == "validation", 1 - labels, labels)
    settings = SETTINGS.model_copy(update={"epochs": 12, "patience": 2})
    outcomes = []
    for validated, of in [(True, inverted), (False, inverted), (False, labels)]:
        set_seed(4)
        model = compile_model(build_mlp(3, 2, settings), settings)
        probabilities, history = train_fold(
            model, features, of, parts, settings=settings, seed=4, validated=validated
        )
        test = parts[parts != "train"] == "test"
        accuracy = accuracy_score(labels[parts == "test"], probabilities[test].argmax(1))
        outcomes.append((len(history), accuracy, probabilities))
        assert ("val_loss" in history) == validated
    assert outcomes[0][0] < 12
    assert outcomes[1][0] == 12
    assert outcomes[1][1] > max(0.9, outcomes[0][1])
    np.testing.assert_array_equal(outcomes[1][2], outcomes[2][2])


def test_without_validation_training_rows_are_needed_still():
    """Nothing to train on is an error whether it is validated or not."""
    features, labels, parts = features_and_parts()
    model = compile_model(build_mlp(3, 2, SETTINGS), SETTINGS)
    parts[parts == "train"] = "test"
    with pytest.raises(TrainingError, match="part train: expected at least one patch"):
        train_fold(model, features, labels, parts, settings=SETTINGS, seed=0, validated=False)


@pytest.mark.parametrize("wrong", [2, -1])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_labels_that_are_no_classes_are_refused(part, wrong):
    """Two classes: 0 and 1. JAX scored a validation label of -1 in silence."""
    features, labels, parts = features_and_parts()
    model = compile_model(build_mlp(3, 2, SETTINGS), SETTINGS)
    row = np.flatnonzero(parts == part)[3]
    spoilt = np.where(np.arange(200) == row, wrong, labels)
    message = f"from 0 to 1 for 2 classes, found {wrong} for patch {row}; number the classes"
    with pytest.raises(TrainingError, match=message):
        train_fold(model, features, spoilt, parts, settings=SETTINGS, seed=0)
    with pytest.raises(TrainingError, match="found float64; number the classes"):
        train_fold(model, features, labels.astype(float), parts, settings=SETTINGS, seed=0)
    with pytest.raises(TrainingError, match=f"found {wrong} for patch 1; number"):
        class_weights(np.array([0, wrong]), 2)
    with pytest.raises(TrainingError, match=f"found {wrong} for patch 1; number"):
        fit_late_weights(np.full((2, 2, 2), 0.5), np.array([0, wrong]))


def test_labels_of_rows_that_take_no_part_may_be_unknown():
    """Of test rows, and of validation rows where nothing is validated, none is looked at."""
    features, labels, parts = features_and_parts()
    found = []
    for unknown in (
        labels,
        np.where(parts == "train", labels, -1),
        np.where(parts == "train", labels, 9),
    ):
        set_seed(4)
        model = compile_model(build_mlp(3, 2, SETTINGS), SETTINGS)
        found.append(
            train_fold(model, features, unknown, parts, settings=SETTINGS, seed=4, validated=False)[
                0
            ]
        )
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_learning_rate_falls_by_a_twentieth_every_175_steps():
    """Exponential decay as the paper states it."""
    optimizer = compile_model(build(), SETTINGS).optimizer
    for steps, expected in [(0, 1e-2), (175, 0.95e-2), (350, 0.9025e-2)]:
        optimizer.iterations.assign(steps)
        assert float(optimizer.learning_rate) == pytest.approx(expected, rel=1e-5)


def test_class_weights_by_hand():
    """Three, one and no patches: 4 / (2 · 3), 4 / (2 · 1) and 0; their mean over patches is 1."""
    labels = np.array([0, 0, 0, 1])
    weights = class_weights(labels, 3)
    np.testing.assert_allclose(weights, [2 / 3, 2, 0], rtol=1e-6)
    assert weights[labels].mean() == pytest.approx(1)


def test_predict_proba_is_the_softmax_of_the_logits():
    """SciPy's softmax of Keras' own prediction, for more and for fewer rows than a batch."""
    model = compile_model(build(), SETTINGS)
    patches = patches_and_parts(150, 0, 0)[0]
    expected = softmax(model.predict(patches, verbose=0), axis=1)
    np.testing.assert_allclose(predict_proba(model, patches), expected, atol=1e-6)
    np.testing.assert_allclose(predict_proba(model, patches[:3]), expected[:3], atol=1e-6)
    assert predict_proba(model, patches[:0]).shape == (0, 2)
    rows = np.random.default_rng(0).permutation(150)[:140]
    np.testing.assert_allclose(predict_proba(model, patches, rows), expected[rows], atol=1e-6)
    features = features_and_parts()[0]
    model = compile_model(build_mlp(3, 2, SETTINGS), SETTINGS)
    expected = softmax(model.predict(features, verbose=0), axis=1)
    np.testing.assert_allclose(predict_proba(model, features), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [">u2", ">f4"])
@pytest.mark.parametrize("share", [patchset.MEMORY_SHARE, 0], ids=["in memory", "beyond memory"])
def test_numbers_are_the_same_in_another_order_of_bytes(kind, share, monkeypatch):
    """As of TIFF and FITS files; JAX takes none but the machine's own."""
    monkeypatch.setattr(patchset, "MEMORY_SHARE", share)
    patches, labels, parts = patches_and_parts(20, 8, 5)
    swapped, own = patches.astype(kind), patches.astype(kind[1:])
    assert native(own) is own  # no copy
    assert (native(swapped).dtype, native(swapped)[0, 0, 0, 0]) == (own.dtype, own[0, 0, 0, 0])
    model, found = compile_model(build(), SETTINGS), []
    for given, numbers in ((own, labels), (swapped, labels.astype(">i8"))):
        reset_model(model, build, 2)
        trained, history = train_fold(model, given, numbers, parts, settings=SETTINGS, seed=2)
        found.append([trained, history, predict_proba(model, given)])
    for expected, swapped_too in zip(*found, strict=True):
        np.testing.assert_array_equal(swapped_too, expected)


@pytest.mark.parametrize(("sizes", "part"), [((0, 8, 4), "train"), ((8, 0, 4), "validation")])
def test_empty_parts_are_refused(sizes, part):
    """Without training or validation patches there is nothing to train or to stop by."""
    model, _ = compiled_model("early", ("a", "b"), 2, ENCODER, SETTINGS)
    with pytest.raises(TrainingError, match=f"part {part}: expected at least one patch"):
        train_fold(model, *patches_and_parts(*sizes), settings=SETTINGS, seed=0)


def test_one_architecture_is_compiled_once():
    """Equal settings give the same model; another number of classes gives another."""
    first = compiled_model("early", ("a", "b"), 2, ENCODER, SETTINGS)
    equal = ENCODER.model_copy()
    assert compiled_model("early", ("a", "b"), 2, equal, SETTINGS)[0] is first[0]
    assert compiled_model("early", ("a", "b"), 3, ENCODER, SETTINGS)[0] is not first[0]
    longer = SETTINGS.model_copy(update={"epochs": 99, "patience": 98})
    assert compiled_model("early", ("a", "b"), 2, ENCODER, longer)[0] is first[0]
    faster = SETTINGS.model_copy(update={"learning_rate": 0.5})
    assert compiled_model("early", ("a", "b"), 2, ENCODER, faster)[0] is not first[0]


def test_late_weights_go_to_the_perfect_classifier():
    """One is always right, two guess: any weight on these only costs."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    guesses = softmax(random.normal(size=(2, 60, 3)), axis=-1)
    probabilities = np.stack([guesses[0], np.eye(3)[labels], guesses[1]])
    weights = fit_late_weights(probabilities, labels)
    np.testing.assert_allclose(weights, [0, 1, 0], atol=1e-4)
    np.testing.assert_array_equal(fit_late_weights(probabilities, labels), weights)


def test_late_weights_by_hand():
    """Two experts, one for three of four patches: ln w gives the weights 3/4 and 1/4."""
    labels = np.zeros(4, dtype=int)
    first = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    weights = fit_late_weights(np.stack([first, 1 - first]), labels)
    np.testing.assert_allclose(weights, [0.75, 0.25], atol=1e-4)


def test_late_weights_of_equal_classifiers():
    """Whatever the weights, equal classifiers combine to themselves."""
    probabilities = softmax(np.random.default_rng(1).normal(size=(1, 20, 4)), axis=-1)
    labels = np.arange(20) % 4
    weights = fit_late_weights(np.repeat(probabilities, 3, axis=0), labels)
    assert weights.sum() == pytest.approx(1)
    combined = combine(np.repeat(probabilities, 3, axis=0), weights)
    np.testing.assert_allclose(combined, probabilities[0], rtol=1e-6)


def test_late_weights_need_patches():
    """An empty validation part is an error, not equal weights."""
    with pytest.raises(TrainingError, match="expected validation patches"):
        fit_late_weights(np.empty((3, 0, 2)), np.empty(0, dtype=int))


def test_combine_by_hand():
    """0.75 · (0.2, 0.8) + 0.25 · (0.6, 0.4) = (0.3, 0.7)."""
    probabilities = np.array([[[0.2, 0.8]], [[0.6, 0.4]]])
    np.testing.assert_allclose(
        combine(probabilities, np.array([0.75, 0.25])), [[0.3, 0.7]], rtol=1e-6
    )
