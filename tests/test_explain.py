"""Explanations against closed forms, sums done by hand, a peer and the other backend."""

import os
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion import explain, gradients  # noqa: E402
from organelle_fusion.config import EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.models import build_model, set_seed  # noqa: E402

pytestmark = pytest.mark.keras

# Not in the order of the alphabet: the order that counts is that of the channels.
CHANNELS = ("mitochondria", "early_endosomes", "golgi")
ENCODER = EncoderSettings(kind="compact", input_px=16, filters=(4, 8))
TRAINING = load_profile("smoke").training
STRATEGIES = ("single", "early", "intermediate")
TARGETS = np.array([0, 3, 1, 1, 2])


def channels_of(strategy):
    return CHANNELS[:1] if strategy == "single" else CHANNELS


def new_model(strategy, encoder=ENCODER):
    set_seed(3)
    return build_model(
        strategy,
        channels=channels_of(strategy),
        n_classes=4,
        encoder=encoder,
        training=TRAINING,
    )


@lru_cache
def build(strategy, encoder=ENCODER):
    """A model whose every weight matters, the statistics of batch normalisation among them."""
    model = new_model(strategy, encoder)
    random = np.random.default_rng(4)
    for weight in model.weights:
        if "norm" in weight.path or "bias" in weight.path:
            weight.assign(random.uniform(0.3, 1.5, weight.shape))
    return model


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


def as_numpy(tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


def closed_form(model, maps, targets):
    """Grad-CAM from the weights of the head alone, in numpy and 64 bits.

    The embedding e is the mean of a map, so α_k = ∂logit/∂e_k / (h · w), and the head is dense,
    ReLU, batch normalisation, dense.
    """
    head = model.get_layer("fusion_head")
    kernel, bias = (np.float64(w) for w in as_numpy(head.get_layer("dense").weights))
    gamma, _, _, variance = (np.float64(w) for w in as_numpy(head.get_layer("dense_norm").weights))
    last = np.float64(as_numpy(head.get_layer("logits").weights)[0])
    embedding = np.concatenate([m.mean(axis=(1, 2)) for m in maps], axis=1)
    active = embedding @ kernel + bias > 0
    slope = active * gamma / np.sqrt(variance + head.get_layer("dense_norm").epsilon)
    gradient = (slope * last[:, targets].T) @ kernel.T
    parts = np.split(gradient, len(maps), axis=1)
    area = maps[0].shape[1] * maps[0].shape[2]
    return np.stack(
        [np.einsum("nhwf,nf->nhw", m, g / area) for m, g in zip(maps, parts, strict=True)], axis=1
    )


def test_weighted_map_is_that_of_a_sum_by_hand():
    """Two features of 2 × 2: weights (1+2+3+6)/4 = 3 and -1, so 3 · A - B."""
    feature_map = np.array([[[[1, 5], [2, 6]], [[3, 7], [4, 8]]]], dtype=float)
    gradient = np.array([[[[1, -1], [2, -1]], [[3, -1], [6, -1]]]], dtype=float)
    found = explain.weighted_map(feature_map, gradient)
    np.testing.assert_array_equal(found, [[[3 - 5, 6 - 6], [9 - 7, 12 - 8]]])
    assert found.dtype == np.float32


@pytest.mark.parametrize("strategy", [*STRATEGIES, "spatial"])
def test_tail_gives_the_logits_of_the_model(strategy, patches):
    """What is explained is the prediction."""
    model = build(strategy)
    patches = patches[..., : len(channels_of(strategy))]
    tail = gradients.tail_logits(model, gradients.feature_maps(model, patches))
    logits = model.predict(patches, verbose=0)
    assert logits.std(axis=0).min() > 1e-4
    np.testing.assert_allclose(as_numpy([tail])[0], logits, rtol=1e-4, atol=1e-5)


def test_a_model_that_joins_in_another_way_is_refused(patches):
    """Gates between encoders and head: without them another network would be explained."""
    model, image = build("intermediate"), keras.Input((16, 16, 3))
    planes = keras.ops.split(model.get_layer("scale")(image), 3, axis=-1)
    joined = [
        model.get_layer(f"encoder_{name}")(plane)[1] * gate
        for name, plane, gate in zip(CHANNELS, planes, (1.0, 0.0, 0.0), strict=True)
    ]
    logits = model.get_layer("fusion_head")(keras.ops.concatenate(joined, axis=-1))
    gated = keras.Model(image, logits, name="gated")
    for method in ("grad_cam", "hires_cam", "integrated_gradients"):
        with pytest.raises(gradients.ExplainError, match=r"model gated: .* found logits that are"):
            explain.explain_patches(gated, patches, TARGETS, method)
    head = keras.layers.Dense(4, name="fusion_head")
    summed = keras.Model(image, head(keras.ops.add(*joined[:2])), name="summed")
    with pytest.raises(gradients.ExplainError, match=r"model summed: .* found a head that doe"):
        explain.grad_cam(summed, patches, TARGETS)
    found = explain.occlusion(gated, patches, TARGETS, cells=2)
    assert np.abs(found[:, 0]).max() > 1e-4
    assert np.abs(found[:, 1:]).max() == 0


@pytest.mark.parametrize("kind", [">u2", ">f4"])
def test_maps_are_the_same_in_another_order_of_bytes(kind, patches):
    """JAX takes none but the machine's own."""
    model, swapped = build("intermediate"), patches.astype(kind)
    maps = (as_numpy(gradients.feature_maps(model, given)) for given in (patches, swapped))
    for expected, found in zip(*maps, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    found = explain.grad_cam(model, swapped, TARGETS.astype(">i4"))
    np.testing.assert_array_equal(found, explain.grad_cam(model, patches, TARGETS))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_maps_are_those_of_the_closed_form(strategy, patches):
    """The gradient agrees with the chain rule written out, and so does its sum over the map."""
    model = build(strategy)
    patches = patches[..., : len(channels_of(strategy))]
    found = explain.grad_cam(model, patches, TARGETS)
    maps = as_numpy(gradients.feature_maps(model, patches))
    expected = closed_form(model, maps, TARGETS)
    assert found.shape == (5, 3 if strategy == "intermediate" else 1, 4, 4)
    assert found.dtype == np.float32
    assert found.min() < 0 < found.max()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("strategy", ["intermediate"])  # compiling takes seconds
def test_maps_survive_saving(strategy, patches, tmp_path):
    """A model read back, or given the stored weights, is explained in the same way."""
    model = build(strategy)
    patches = patches[..., : len(channels_of(strategy))]
    expected = explain.grad_cam(model, patches, TARGETS)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert gradients.encoder_names(loaded) == gradients.encoder_names(model)
    np.testing.assert_array_equal(explain.grad_cam(loaded, patches, TARGETS), expected)
    fresh = new_model(strategy)
    assert not np.allclose(explain.grad_cam(fresh, patches, TARGETS), expected)
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(explain.grad_cam(fresh, patches, TARGETS), expected)


def test_encoders_are_in_the_order_of_the_channels(patches):
    """Only the first channel varies: the map of its encoder does, the others' are all alike."""
    model = build("intermediate")
    assert gradients.encoder_names(model) == [f"encoder_{name}" for name in CHANNELS]
    patches = patches.copy()
    patches[..., 1:] = 0
    first, *others = as_numpy(gradients.feature_maps(model, patches))
    assert first.std(axis=0).max() > 1e-2
    assert max(other.std(axis=0).max() for other in others) < 1e-6


def test_patches_of_a_batch_do_not_see_each_other(patches):
    """Each patch by itself, and 40 in two batches of constant size, give the same maps."""
    model = build("intermediate")
    many, targets = np.concatenate([patches] * 8), np.tile(TARGETS, 8)
    found = explain.grad_cam(model, many, targets)
    alone = [explain.grad_cam(model, patches[[i]], TARGETS[[i]])[0] for i in range(5)]
    assert len(many) > gradients.BATCH
    np.testing.assert_allclose(found, np.stack(alone * 8), rtol=1e-4, atol=1e-6)


def test_another_backend_is_refused(patches, monkeypatch):
    """One line that says which backends there are."""
    model = new_model("single")
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(gradients.ExplainError, match=r"expected tensorflow or jax .* found torch"):
        explain.grad_cam(model, patches[..., :1], TARGETS)


def test_models_and_patches_that_do_not_fit_are_refused(patches):
    """Parts are found by name; patches have the size and channels of the model."""
    other = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()], name="other")
    with pytest.raises(gradients.ExplainError, match="model other: expected encoders"):
        gradients.encoder_names(other)
    with pytest.raises(gradients.ExplainError, match=r"\(N, 16, 16, 3\), found \(5, 16, 16, 2\)"):
        explain.grad_cam(build("early"), patches[..., :2], TARGETS)
    with pytest.raises(gradients.ExplainError, match=r"expected grad_cam, .* found 'lime'"):
        explain.explain_patches(build("early"), patches, TARGETS, "lime")


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        ([0, 3, 7, 1, 2], "7 for patch 2"),
        ([0, 3, 1, -1, 2], "-1 for patch 3"),
        ([4, 3, 1, 1, 2], "4 for patch 0"),
        ([0, 1.9, 1, 1, 2], r"float64 \(5,\)"),
        ([0, 3, 1, 1], r"int64 \(4,\)"),
        (1, r"int64 \(\)"),
    ],
    ids=["large", "negative", "one more", "float", "short", "scalar"],
)
def test_targets_that_are_no_classes_are_refused(targets, found, patches):
    """Four classes, so 0 to 3; the others' maps would be wrong too, and 1.9 be cut to 1."""
    message = rf"integers from 0 to 3 after model early, \(N,\) = \(5,\), found {found}; give each"
    for method in explain.METHODS:
        with pytest.raises(gradients.ExplainError, match=message):
            explain.explain_patches(build("early"), patches, np.array(targets), method)
    with pytest.raises(gradients.ExplainError, match=message):
        gradients.target_logits(build("early"), np.stack([patches, patches]), np.array(targets))


@pytest.mark.parametrize("targets", [TARGETS[:0], []], ids=["array", "list"])
def test_of_no_patches_there_are_no_maps(patches, targets):
    """None of the shape of others: two blocks of stride 2 make 4 of 16 pixels, occlusion 7."""
    model, none = build("intermediate"), patches[:0]
    edges = {"grad_cam": 4, "hires_cam": 4, "integrated_gradients": 16, "occlusion": 7}
    for method, edge in edges.items():
        found = explain.explain_patches(model, none, targets, method)
        assert (found.dtype, found.shape) == (np.float32, (0, 3, edge, edge))
    for states in (none, np.stack([none, none])):
        found = gradients.target_logits(model, states, targets)
        assert (found.dtype, found.shape) == (np.float32, states.shape[:-3])
    sums = explain.completeness(model, none, targets, np.empty((0, 3, 16, 16)))
    assert sums.shape == (0, 2)


# --- the other methods --------------------------------------------------------------------------


@lru_cache
def linear_model():
    """Two channels of 6 × 6: one kernel of 2 × 2 and stride 2, two features, two classes.

    Logits are means over the 3 × 3 map times the head, so linear in the pixels.
    """
    plane = keras.Input((6, 6, 2))
    feature_map = keras.layers.Conv2D(2, 2, 2, use_bias=False, name="conv")(plane)
    pooled = keras.layers.GlobalAveragePooling2D()(feature_map)
    encoder = keras.Model(plane, (feature_map, pooled), name="encoder")
    image = keras.Input((6, 6, 2))
    scaled = keras.layers.Rescaling(1 / 255, name="scale")(image)
    head = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, name="logits")], name="fusion_head"
    )
    model = keras.Model(image, head(encoder(scaled)[1]))
    random = np.random.default_rng(8)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model


def pixel_weights():
    """Weight of every pixel in both logits of `linear_model`, (6, 6, 2, 2), and the biases."""
    kernel, last, bias = linear_model().get_weights()
    return np.tile(kernel @ last, (3, 3, 1, 1)) / 9 / 255, bias


@pytest.fixture
def small():
    return np.random.default_rng(1).integers(0, 256, (2, 6, 6, 2), dtype=np.uint8)


CLASSES = np.array([1, 0])


def test_product_map_is_that_of_sums_by_hand():
    """Two features of 2 × 2, multiplied place by place: 1·1 - 5, 2·2 - 6, 3·3 - 7, 4·6 - 8."""
    feature_map = np.array([[[[1, 5], [2, 6]], [[3, 7], [4, 8]]]], dtype=float)
    gradient = np.array([[[[1, -1], [2, -1]], [[3, -1], [6, -1]]]], dtype=float)
    np.testing.assert_array_equal(
        explain.product_map(feature_map, gradient), [[[1 - 5, 4 - 6], [9 - 7, 24 - 8]]]
    )


def test_hires_cam_of_a_linear_head_adds_up_to_the_logit(small):
    """Where the head is linear, the map is the part of the logit that each place gives."""
    found = explain.explain_patches(linear_model(), small, CLASSES, "hires_cam")
    weights, bias = pixel_weights()
    expected = np.einsum("nhwc,hwcn->nhw", small, weights[..., CLASSES])
    blocks = expected.reshape(2, 3, 2, 3, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(found[:, 0], blocks, atol=1e-5)
    logits = linear_model().predict_on_batch(small)[[0, 1], CLASSES]
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), logits - bias[CLASSES], atol=1e-5)


def test_cams_agree_before_pooling_and_differ_before_mixing(patches):
    """One gradient at all places after the mean; the mixing of spatial fusion sees places."""
    for strategy, alike in (("intermediate", True), ("spatial", False)):
        hires, grad = (
            explain.explain_patches(build(strategy), patches, TARGETS, method)
            for method in ("hires_cam", "grad_cam")
        )
        assert hires.shape[:2] == (5, 3)
        assert np.allclose(hires, grad, atol=1e-5) == alike


@pytest.mark.parametrize("baseline", [0, 40.0, "mean"])
def test_integrated_gradients_of_a_linear_model(small, baseline):
    """Weight times (pixel - baseline), exactly, however few the steps."""
    baseline = small.mean(axis=(0, 1, 2)) if baseline == "mean" else baseline
    options = {"baseline": baseline, "steps": 2}
    found = explain.explain_patches(
        linear_model(), small, CLASSES, "integrated_gradients", **options
    )
    weights = pixel_weights()[0][..., CLASSES]
    expected = np.einsum("nhwc,hwcn->nchw", small - baseline, weights)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    sums = explain.completeness(linear_model(), small, CLASSES, found, baseline=baseline)
    np.testing.assert_allclose(sums["attributed"], sums["difference"], atol=1e-5)
    np.testing.assert_allclose(sums["attributed"], expected.sum(axis=(1, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("steps", [0, -3, 1.5, np.nan])
def test_a_path_without_steps_is_refused(small, steps):
    """0 steps would give NaN, -3 zeros, and 1.5 points beyond the patch."""
    with pytest.raises(gradients.ExplainError, match=f"steps: .* 1 or more, found {steps}; give"):
        explain.integrated_gradients(linear_model(), small, CLASSES, steps=steps)


@pytest.mark.parametrize("strategy", ["intermediate", "spatial"])
def test_integrated_gradients_are_complete(strategy, patches):
    """Within 1 % of the difference of the logits, and nearer with more steps."""
    model = build(strategy)
    mean = patches.mean(axis=(0, 1, 2))
    gaps = []
    for steps in (4, 128):
        found = explain.integrated_gradients(model, patches, TARGETS, baseline=mean, steps=steps)
        sums = explain.completeness(model, patches, TARGETS, found, baseline=mean)
        gaps.append((sums["attributed"] - sums["difference"]).abs())
    assert sums["difference"].abs().min() > 1e-3
    assert (gaps[1] <= 0.01 * sums["difference"].abs() + 1e-4).all(), (gaps, sums)
    assert gaps[1].mean() < gaps[0].mean()


def test_occlusion_of_a_linear_model(small):
    """The drop is what the square's pixels gave beyond its cover, for one channel at a time."""
    found = explain.explain_patches(
        linear_model(), small, CLASSES, "occlusion", baseline=40, cells=2
    )
    weights = pixel_weights()[0][..., CLASSES]
    expected = np.einsum("nhwc,hwcn->nchw", small - 40.0, weights)
    blocks = expected.reshape(2, 2, 2, 3, 2, 3).sum(axis=(3, 5))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, blocks, atol=1e-5)
    # 6 pixels in 4 squares: edges of 1, 2, 1 and 2.
    found = explain.occlusion(linear_model(), small, CLASSES, baseline=40, cells=4)
    uneven = np.add.reduceat(np.add.reduceat(expected, [0, 1, 3, 4], 2), [0, 1, 3, 4], 3)
    np.testing.assert_allclose(found, uneven, atol=1e-5)
    # Squares without a pixel would show 0.
    for cells in (7, 0, 2.5, 2.0):
        with pytest.raises(gradients.ExplainError, match=rf"number from 1 to 6, .* found {cells};"):
            explain.occlusion(linear_model(), small, CLASSES, cells=cells)


# --- against others -----------------------------------------------------------------------------


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf-keras-vis computes on TensorFlow only"
)
@pytest.mark.parametrize("strategy", ["intermediate", "spatial"])
def test_maps_are_those_of_tf_keras_vis(strategy, patches):
    """The peer sees maps as outputs of layers of a flat model, so the same layers are joined so."""
    from tf_keras_vis import gradcam

    scores = pytest.importorskip("tf_keras_vis.utils.scores")
    model = build(strategy)
    image = keras.Input((16, 16, 3))
    names = gradients.encoder_names(model)
    scaled = model.get_layer("scale")(image)
    planes = keras.ops.split(scaled, len(names), axis=-1)
    maps = [
        keras.layers.Identity(name=f"map_{name}")(model.get_layer(name)(plane)[0])
        for name, plane in zip(names, planes, strict=True)
    ]
    if strategy == "spatial":
        embedding = model.get_layer("mixer")(maps)[1]
    else:
        pooled = [keras.layers.GlobalAveragePooling2D()(each) for each in maps]
        embedding = keras.ops.concatenate(pooled, axis=-1)
    flat = keras.Model(image, model.get_layer("fusion_head")(embedding))
    peer = gradcam.Gradcam(flat, clone=False)
    found = explain.grad_cam(model, patches, TARGETS)
    for number, name in enumerate(names):
        expected = peer(
            scores.CategoricalScore(TARGETS.tolist()), patches.astype(np.float32),
            penultimate_layer=f"map_{name}", seek_penultimate_conv_layer=False,
            activation_modifier=None, expand_cam=False, normalize_cam=False,
        )  # fmt: skip
        np.testing.assert_allclose(found[:, number], expected, atol=1e-5)


OTHER_BACKEND = """
import sys, keras, numpy as np
from pathlib import Path
from organelle_fusion import explain, gradients
folder = sys.argv[1]
given = np.load(folder + "/given.npz")
found = {}
for path in Path(folder).glob("*.keras"):
    model = keras.saving.load_model(path)
    found[f"{path.stem} logits"] = model.predict_on_batch(given["patches"])
    for name, maps in evidence(explain, gradients, model, given["patches"], given["targets"]):
        found[f"{path.stem} {name}"] = maps
np.savez(folder + "/found.npz", **found)
"""

EVIDENCE = """
def evidence(explain, gradients, model, patches, targets):
    few = {"integrated_gradients": {"steps": 3}, "occlusion": {"cells": 2}}
    for method in explain.METHODS:
        options = few.get(method, {})
        yield method, explain.explain_patches(model, patches, targets, method, **options)
    run = gradients.gradient_function(model, "maps")
    batch, classes, _ = next(gradients.batches(patches, targets))
    for number, gradient in enumerate(run(batch, classes)[1]):
        yield f"gradient {number}", np.asarray(gradient)
"""


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compared where TensorFlow computes"
)
def test_backends_agree(patches, tmp_path):
    """Logits, gradients and all maps on equal weights, TensorFlow against JAX."""
    scope = {"np": np}
    exec(EVIDENCE, scope)
    expected = {}
    convnext = EncoderSettings(kind="compact_convnext", input_px=16, filters=(4, 8))
    networks = {name: build(name) for name in ("early", "intermediate", "spatial")}
    networks["convnext"] = build("intermediate", convnext)
    for network, model in networks.items():
        model.save(tmp_path / f"{network}.keras")
        expected[f"{network} logits"] = model.predict_on_batch(patches)
        for name, maps in scope["evidence"](explain, gradients, model, patches, TARGETS):
            expected[f"{network} {name}"] = maps
    np.savez(tmp_path / "given.npz", patches=patches, targets=TARGETS)
    subprocess.run(
        [sys.executable, "-c", EVIDENCE + OTHER_BACKEND, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        check=True,
    )
    found = np.load(tmp_path / "found.npz")
    assert set(found) == set(expected)
    for name, maps in expected.items():
        assert np.abs(maps).max() > 1e-3, name
        # Of the largest value: maps of these small networks are of some hundredths.
        deviation = np.abs(found[name] - maps).max() / np.abs(maps).max()
        assert deviation < 1e-4, name


@pytest.mark.parametrize("strategy", ["early", "intermediate", "spatial"])
def test_maps_of_a_network_in_mixed_precision(patches, strategy):
    """Float32, and up to the rounding of its encoders those of the network in float32."""
    exact = new_model(strategy)
    training = TRAINING.model_copy(update={"precision": "mixed_bfloat16"})
    mixed = build_model(
        strategy, channels=CHANNELS, n_classes=4, encoder=ENCODER, training=training
    )
    mixed.set_weights(exact.get_weights())
    for method in explain.METHODS:
        expected = explain.explain_patches(exact, patches, TARGETS, method)
        found = explain.explain_patches(mixed, patches, TARGETS, method)
        assert found.dtype == np.float32
        assert np.any(found != expected)
        # Not of each pixel: where the input of a ReLU is about 0, rounding turns a gradient off.
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97, method


def test_logits_of_several_states_are_those_of_each(small):
    """States stacked in front, in batches that straddle them; the classes follow the patches."""
    model = linear_model()
    states = np.stack(
        [small, small[::-1], 2.0 * small, *np.random.default_rng(1).random((30, *small.shape))]
    )
    assert len(states) * len(small) > gradients.BATCH
    found = gradients.target_logits(model, states, CLASSES)
    expected = [gradients.target_logits(model, state, CLASSES) for state in states]
    assert found.shape == (len(states), len(small))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    weights = pixel_weights()[0][..., CLASSES]
    differences = np.einsum("nhwc,hwcn->n", 1.0 * small, weights)
    np.testing.assert_allclose(found[2] - found[0], differences, rtol=1e-4)
