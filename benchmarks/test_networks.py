"""Times of networks and of scores, by pytest-benchmark, with the settings of the profile quick."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.config import load_profile, use_backend

PROFILE = load_profile("quick")
use_backend(PROFILE)

from organelle_fusion import evaluation, metrics  # noqa: E402 - after the backend is chosen
from organelle_fusion.explain import grad_cam  # noqa: E402
from organelle_fusion.gradients import BATCH  # noqa: E402
from organelle_fusion.training import (  # noqa: E402
    PREDICTION_BATCH,
    compiled_model,
    predict_proba,
    reset_model,
)

CLASSES = 6
NETWORKS = ("single", "early", "intermediate", "spatial")


def model_of(network: str):
    """A compiled network with fresh weights, and its number of channels."""
    channels = PROFILE.channels[:1] if network == "single" else PROFILE.channels
    model, build = compiled_model(network, channels, CLASSES, PROFILE.encoder, PROFILE.training)
    reset_model(model, build, 0)
    return model, len(channels)


def pixels(number: int, channels: int) -> np.ndarray:
    size = PROFILE.encoder.input_px
    shape = (number, size, size, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("network", NETWORKS)
def test_training_step(benchmark, network):
    model, channels = model_of(network)
    batch, at_once = PROFILE.training.batch_size, PROFILE.training.steps_per_execution
    images = pixels(batch * at_once, channels)
    labels = np.arange(len(images)) % CLASSES

    def step():
        return model.fit(images, labels, batch_size=batch, verbose=0).history["loss"]

    benchmark.extra_info.update(
        name=f"training, {network}", unit=f"{at_once} steps of {batch} patches"
    )
    # Not calibrated: the first call compiles.
    loss = benchmark.pedantic(step, rounds=5, warmup_rounds=1)
    assert np.isfinite(loss).all()


def test_predict_proba(benchmark):
    model, channels = model_of("intermediate")
    images = pixels(PREDICTION_BATCH, channels)
    benchmark.extra_info.update(name="prediction, intermediate", unit=f"{len(images)} patches")
    found = benchmark.pedantic(predict_proba, (model, images), rounds=10, warmup_rounds=1)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_grad_cam(benchmark):
    model, channels = model_of("intermediate")
    images = pixels(BATCH, channels)
    targets = np.arange(BATCH) % CLASSES
    benchmark.extra_info.update(name="Grad-CAM, intermediate", unit=f"{BATCH} patches")
    maps = benchmark.pedantic(grad_cam, (model, images, targets), rounds=10, warmup_rounds=1)
    assert maps.shape[:2] == (BATCH, channels)


def test_bootstrap_interval(benchmark):
    random = np.random.default_rng(0)
    names = [f"class {number}" for number in range(CLASSES)]
    images = np.repeat(np.arange(26), 36)
    probabilities = random.dirichlet(np.ones(CLASSES), len(images))
    table = pd.DataFrame(probabilities, columns=[f"p:{name}" for name in names]).assign(
        part="test", model="intermediate", fold=0, seed=0, image=images.astype(str),
        group=images.astype(str), label=np.array(names)[images % CLASSES],
        patch=np.arange(len(images)),
    )  # fmt: skip
    benchmark.extra_info.update(
        name="four scores with intervals", unit=f"{len(table)} patches, 2,000 resamples"
    )
    scores = benchmark.pedantic(
        evaluation.score_table, (table,), {"repeats": 2000, "seed": 0}, rounds=5, warmup_rounds=1
    )
    assert len(scores) == len(metrics.METRICS)
