"""Distillation: temperature and loss by hand, and a student that sees nothing of the test part."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

keras = pytest.importorskip("keras")

from organelle_fusion import distillation, sweep, training  # noqa: E402
from organelle_fusion.config import StudentSettings, load_profile  # noqa: E402
from organelle_fusion.folds import fold_parts, make_folds  # noqa: E402
from organelle_fusion.models import build_model, count_parameters  # noqa: E402
from organelle_fusion.patchset import PatchSet  # noqa: E402
from organelle_fusion.predictions import Cell, SweepError, read_provenance  # noqa: E402

pytestmark = pytest.mark.keras

SMOKE = load_profile("smoke")
PROFILE = SMOKE.model_copy(
    update={
        "channels": ("a", "b"),
        "encoder": SMOKE.encoder.model_copy(update={"input_px": 16, "filters": (4, 8)}),
        "training": SMOKE.training.model_copy(update={"batch_size": 8, "steps_per_execution": 2}),
    }
)
STUDENT = StudentSettings(filters=(2, 2), dense_units=4, temperature=2.5, teacher_weight=0.6)


def test_softened_probabilities_are_the_softmax_of_divided_logits():
    """Up to float32; at temperature 1 nothing changes, and a zero stays next to nothing."""
    logits = np.random.default_rng(0).normal(size=(6, 4)) * 5
    found = distillation.soften(softmax(logits, axis=1).astype(np.float32), 3.0)
    np.testing.assert_allclose(found, softmax(logits / 3, axis=1), rtol=1e-5)
    certain = np.array([[1, 0]], np.float32)
    np.testing.assert_allclose(distillation.soften(certain, 1.0), certain, atol=1e-6)
    assert np.isfinite(distillation.soften(certain, 4.0)).all()


def test_loss_by_hand():
    """(1 − w) · cross-entropy of the label + w · T² · cross-entropy at T, patch by patch."""
    rng = np.random.default_rng(1)
    logits, teacher = rng.normal(size=(2, 5, 3)).astype(np.float32)
    labels, teacher = np.array([0, 1, 2, 1, 0]), softmax(teacher, axis=1)
    targets = np.column_stack([labels, teacher]).astype(np.float32)
    found = distillation.distillation_loss(STUDENT)(
        keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(logits)
    )
    hard = -log_softmax(logits, axis=1)[np.arange(5), labels]
    soft = -(teacher * log_softmax(logits / 2.5, axis=1)).sum(axis=1)
    expected = 0.4 * hard + 0.6 * 2.5**2 * soft
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="slow to build on others")
@pytest.mark.parametrize("name", ["quick", "reference"])
def test_student_has_at_most_a_tenth_of_the_parameters(name):
    """Of intermediate fusion, with six classes."""
    profile = load_profile(name)
    small = distillation.student_profile(profile)
    sizes = [
        count_parameters(
            build_model(
                strategy,
                channels=profile.channels,
                n_classes=6,
                encoder=own.encoder,
                training=own.training,
            )
        )["total"]
        for strategy, own in ((distillation.STRATEGY, small), ("intermediate", profile))
    ]
    assert sizes[0] <= sizes[1] / 10


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Teachers of three folds over nine images of three classes; the function that distils."""
    folder = tmp_path_factory.mktemp("cells")
    images = np.repeat(np.arange(9), 4)
    names = [f"i{k}" for k in images]
    labels = np.array(["x", "y", "z"])[images % 3]
    table = pd.DataFrame({"image": names, "label": labels, "group": names, "z": 0, "y": 0, "x": 0})
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 100, (36, 16, 16, 2), dtype=np.uint8)
    patches += (images % 3 * 60).astype(np.uint8)[:, None, None, None]
    patch_set = PatchSet(patches, table, ("a", "b"), None)
    folds = make_folds(table, n_splits=3, validation_share=0.34, seed=1)
    sweep.train_cells(
        patch_set, folds, models=["intermediate"], profile=PROFILE, dataset="cv3", size_px=1,
        folder=folder, seed=1, workers=0,
    )  # fmt: skip

    def distil(patches=patch_set, weight=0.6, seed=1, **options):
        student = STUDENT.model_copy(update={"teacher_weight": weight})
        beyond = SMOKE.beyond.model_copy(update={"student": student})
        return distillation.distill_cells(
            patches, folds,
            teachers={fold: Cell("cv3", 1, "intermediate", fold, 1) for fold in range(3)},
            profile=PROFILE.model_copy(update={"beyond": beyond}),
            **{"dataset": f"w{weight}", "folder": folder, "seed": seed, "workers": 0} | options,
        )  # fmt: skip

    return patch_set, folds, folder, distil


def test_teachers_are_asked_about_the_training_part_alone(trained, monkeypatch):
    """And the student about the rest; its history is written as those of all other networks."""
    patch_set, folds, folder, distil = trained
    asked, predict = [], training.predict_proba

    def noting(model, patches, rows):
        asked.append((model.name, set(rows)))
        return predict(model, patches, rows)

    monkeypatch.setattr(training, "predict_proba", noting)
    distil(dataset="asked")
    for fold in range(3):
        train = set(np.flatnonzero(fold_parts(folds, patch_set.table["group"], fold) == "train"))
        (teacher, shown), (_, predicted) = asked[2 * fold : 2 * fold + 2]
        assert teacher == "intermediate"
        assert shown == train
        assert predicted == set(range(36)) - train
        details = read_provenance(Cell("asked", 1, "student", fold, 1).path(folder))["details"]
        assert [tuple(epoch) for epoch in details["history"]] == [training.HISTORY]


def test_taught_by_nothing_is_trained_on_labels(trained):
    """With weight 0, the student is that of `train_cells`: loss by loss, patch by patch."""
    patch_set, folds, folder, distil = trained
    found = distil(weight=0.0)
    student = STUDENT.model_copy(update={"teacher_weight": 0.0})
    beyond = SMOKE.beyond.model_copy(update={"student": student})
    small = distillation.student_profile(PROFILE.model_copy(update={"beyond": beyond}))
    expected = sweep.train_cells(
        patch_set, folds, models=["early"], profile=small, dataset="plain", size_px=1,
        folder=folder, seed=1, workers=0,
    )  # fmt: skip
    for fold in range(3):
        cells = (Cell("w0.0", 1, "student", fold, 1), Cell("plain", 1, "early", fold, 1))
        taught, plain = (
            pd.DataFrame(read_provenance(cell.path(folder))["details"]["history"]) for cell in cells
        )
        for loss in ("loss", "val_loss"):
            np.testing.assert_allclose(taught[loss], plain[loss], rtol=1e-5)
    columns = ["fold", "patch", "p:x", "p:y", "p:z"]
    one, other = (frame.sort_values(["fold", "patch"])[columns] for frame in (found, expected))
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert (found["model"] == "student").all()
    assert sorted(found.loc[found["part"] == "test", "patch"]) == list(range(36))


def test_teacher_teaches_and_stored_students_are_taken(trained, capsys):
    """Another loss gives another student; a second call computes nothing."""
    *_, distil = trained
    found = distil()
    plain = distil(weight=0.0)
    assert np.abs(found["p:x"] - plain["p:x"]).max() > 1e-4
    capsys.readouterr()
    again = distil()
    assert "3 stored, 0 to compute" in capsys.readouterr().out
    assert again.equals(found)


def test_test_part_has_no_say(trained, monkeypatch):
    """Noise in place of the test patches leaves the weights of the student as they are."""
    patch_set, folds, folder, distil = trained
    distil()
    noise = patch_set.patches.copy()
    tested = folds.query("fold == 0 and part == 'test'")["group"]
    rows = patch_set.table["group"].isin(tested).to_numpy()
    noise[rows] = 255 - noise[rows]
    other = PatchSet(noise, patch_set.table, patch_set.channels, None)
    distil(other, dataset="noise")
    first, second = (
        Cell(dataset, 1, "student", 0, 1).weights_path(folder) for dataset in ("w0.6", "noise")
    )
    beyond = SMOKE.beyond.model_copy(update={"student": STUDENT})
    small = distillation.student_profile(PROFILE.model_copy(update={"beyond": beyond}))
    networks = []
    for path in (first, second):
        network = build_model(
            "early", channels=("a", "b"), n_classes=3, encoder=small.encoder,
            training=small.training,
        )  # fmt: skip
        network.load_weights(path)
        networks.append(network.get_weights())
    for one, same in zip(*networks, strict=True):
        np.testing.assert_allclose(one, same, atol=1e-6)


def test_missing_teacher_is_named(trained, tmp_path):
    *_, distil = trained
    with pytest.raises(SweepError, match="expected a prediction file, found none"):
        distil(folder=tmp_path)
