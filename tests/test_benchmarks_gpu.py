"""The benchmark for a GPU, rehearsed with small networks on whatever device there is."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import training
from organelle_fusion.config import load_profile

pytestmark = pytest.mark.keras

ROOT = Path(__file__).parents[1]
SMALL = ["--profile", "smoke", "--edge", "32", "--batches", "2", "--batch", "4", "--full-px", "360"]
SMALL += ["--matrix", "64"]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.gpu")


@pytest.fixture
def rates(gpu):
    return importlib.import_module("benchmarks.rates")


def small_profile(gpu):
    return gpu.settings_of("smoke", 32, "")


def test_flops_by_hand(gpu, rates):
    """Early fusion of 32 px: stem of 4 filters to 16 × 16, one block of 8 to 8 × 8, two layers."""
    model = rates.build("early", small_profile(gpu), "float32")
    stem = 2 * 16 * 16 * (3 * 3 * 3 * 4)
    block = 2 * 8 * 8 * (3 * 3 * 4 * 8 + 4 * 8)
    head = 2 * (8 * 16 + 16 * 6)
    assert 1e9 * rates.gflop(model) == pytest.approx(stem + block + head)


def test_flops_of_a_depthwise_convolution(gpu, rates):
    """Every channel by itself: 3 × 3 kernels at 4 × 4 places of 5 channels."""
    import keras

    model = keras.Sequential(
        [keras.Input((4, 4, 5)), keras.layers.DepthwiseConv2D(3, padding="same")]
    )
    assert 1e9 * rates.gflop(model) == pytest.approx(2 * 16 * 9 * 5)


def test_the_precision_is_that_of_the_encoder(gpu, rates):
    """Sixteen bits where they are asked for; Keras' own policy stays as it was."""
    import keras

    before = keras.config.dtype_policy().name
    for precision, expected in (("mixed_bfloat16", "bfloat16"), ("float32", "float32")):
        model = rates.build("early", small_profile(gpu), precision)
        assert model.get_layer("encoder").get_layer("stem").compute_dtype == expected
    assert keras.config.dtype_policy().name == before


def test_ratios_and_shares_by_hand(gpu, rates):
    """A matrix product of 2 GFLOP takes a second; training of 3 GFLOP, 100 and 250 a second."""
    columns = [*gpu.Case._fields, *gpu.Timed._fields]
    rows = pd.DataFrame(
        [
            ("matrix product", "", rates.OURS, "bfloat16", 1, 1000.0, 1.0, 2.0),
            ("training", "early", rates.PLAIN, "float32", 4, 100.0, 1.0, 3.0),
            ("training", "early", rates.OURS, "mixed_bfloat16", 8, 250.0, 1.0, 3.0),
            ("stacked weights", "intermediate", "plain step", "float32", 4, 10.0, 1.0, 9.0),
            ("stacked weights", "intermediate", "encoders stacked", "float32", 4, 15.0, 1.0, 9.0),
        ],
        columns=columns,
    )
    found = gpu.with_ratios(rows)
    np.testing.assert_allclose(found["tflops"], [2, 0.3, 0.75, 0.09, 0.135])
    np.testing.assert_allclose(found["share"], [1, 0.15, 0.375, 0.045, 0.0675])
    np.testing.assert_allclose(found["ratio"], [np.nan, 1, 2.5, 1, 1.5])


def test_predictions_are_of_the_batch_that_is_named(gpu, rates, monkeypatch):
    """Ours in the batches of `predict_proba`, and plain Keras in as large ones."""
    import keras

    sizes = set()
    genuine = keras.Model.predict_on_batch
    monkeypatch.setattr(
        keras.Model,
        "predict_on_batch",
        lambda self, batch: sizes.add(len(batch)) or genuine(self, batch),
    )
    ours = [case for case in gpu.all_cases([4]) if case[:3] == ("prediction", "early", rates.OURS)]
    rates.time_prediction(ours[0], small_profile(gpu), 2)
    named = {case.batch for case in gpu.all_cases([4]) if case.task in ("prediction", "full image")}
    assert sizes == named == {training.PREDICTION_BATCH}


def test_rehearsal_is_complete_and_goes_on(gpu, tmp_path):
    """Stopped after the first row, then to the end: every case once, and where it was timed."""
    command = [sys.executable, "-m", "benchmarks.gpu", *SMALL, "--folder", str(tmp_path)]

    def run(*more):
        return subprocess.run(
            [*command, *more], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    assert "time is over: run again to go on" in run("--minutes", "0")
    first = pd.read_csv(tmp_path / "gpu.csv")
    assert first["task"].tolist() == ["matrix product"]
    text = run()
    found = pd.read_csv(tmp_path / "gpu.csv", keep_default_na=False)
    facts = json.loads((tmp_path / "gpu.json").read_text("utf-8"))
    cases = [tuple(case) for case in gpu.all_cases([4])]
    if facts["backend"] != "jax":
        cases = [case for case in cases if case[0] != "stacked weights"]
    keys = list(gpu.Case._fields)
    assert list(found[keys].itertuples(index=False, name=None)) == cases
    assert found["per_second"].iloc[0] == first["per_second"].iloc[0]
    assert (found[["per_second", "seconds", "gflop"]].to_numpy() > 0).all()
    assert {"device", "keras", "created", "organelle_fusion"} <= facts.keys()
    assert facts["settings"]["encoder"]["input_px"] == 32
    assert "full image of 360 px, float32:" in text
    assert facts["device"] in text
    assert "per second" not in run()  # all is timed


def test_stacked_encoders_are_the_plain_ones(gpu, rates):
    """Logits, slopes and batch statistics of one training step, on JAX."""
    import keras

    if keras.backend.backend() != "jax":
        pytest.skip("stacked weights are tried on JAX only")
    import jax

    stacked = importlib.import_module("benchmarks.stacked")
    model = rates.build("intermediate", small_profile(gpu), "float32")
    pixels, labels = rates.noise(4, model)
    images = pixels.astype(np.float32)
    plain = stacked.variables(model)
    joined = stacked.with_stacked_encoders(plain)
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    for values, forward in (
        (plain, stacked.forward(model)),
        (joined, stacked.stacked_forward(model)),
    ):
        logits, _ = forward(values["trainable"], values["non_trainable"], images, False)
        np.testing.assert_allclose(logits, expected, atol=1e-5)
    after = []
    for values, forward in (
        (plain, stacked.forward(model)),
        (joined, stacked.stacked_forward(model)),
    ):
        moments = stacked.first_moments(values["trainable"])
        step = stacked.training_step(forward)
        after.append(step(values["trainable"], values["non_trainable"], moments, images, labels))
    (weights, others, moments, loss), (weights2, others2, moments2, loss2) = after
    np.testing.assert_allclose(loss, loss2, rtol=1e-5)
    restacked = stacked.with_stacked_encoders({"moments": moments[0], "others": others})
    for one, two in (
        (restacked["moments"], moments2[0]),
        (restacked["others"], others2),
    ):
        for mine, other in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-5, rtol=1e-4)
    moved = jax.tree.map(lambda new, old: np.abs(new - old).max(), weights, plain["trainable"])
    assert max(jax.tree.leaves(moved)) > 1e-4
    assert len(jax.tree.leaves(weights2)) < len(jax.tree.leaves(weights))


def test_the_settings_are_the_reference_runs_unless_said(gpu):
    """ResNet50 at 224 px."""
    assert gpu.settings_of("reference", 0, "") == load_profile("reference")
    other = gpu.settings_of("reference", 64, "compact").encoder
    assert (other.kind, other.input_px) == ("compact", 64)


def test_two_folds_step_as_each_by_itself(gpu, rates):
    """Other weights, other patches: all that one step leaves, on JAX."""
    import keras

    if keras.backend.backend() != "jax":
        pytest.skip("stacked weights are tried on JAX only")
    import jax

    stacked = importlib.import_module("benchmarks.stacked")
    given = []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = rates.build("intermediate", small_profile(gpu), "float32")
        pixels, labels = rates.noise(4, model)
        values = stacked.variables(model)
        moments = stacked.first_moments(values["trainable"])
        images = np.roll(pixels, seed, axis=1).astype(np.float32)
        given.append((values["trainable"], values["non_trainable"], moments, images, labels))
    alone = [stacked.training_step(stacked.forward(model))(*of_fold) for of_fold in given]
    both = jax.tree.map(lambda *arrays: np.stack(arrays), *given)
    found = stacked.step_of_folds(stacked.forward(model))(*both)
    for fold in range(2):
        mine = jax.tree.leaves(jax.tree.map(lambda array, fold=fold: array[fold], found))
        for one, other in zip(mine, jax.tree.leaves(alone[fold]), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-4)
    losses = [float(loss) for *_, loss in alone]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
