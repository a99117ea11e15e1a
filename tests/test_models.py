"""The networks: sizes counted by hand, wiring recomputed from their parts, saved and loaded."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion.config import (  # noqa: E402
    AugmentationSettings,
    EncoderSettings,
    HeadWidths,
    load_profile,
)
from organelle_fusion.encoders import build_encoder  # noqa: E402
from organelle_fusion.mixing import split_encoder  # noqa: E402
from organelle_fusion.models import (  # noqa: E402
    ModelError,
    build_mlp,
    build_model,
    count_parameters,
    layer_summary,
    paper_parameters,
    set_seed,
)

pytestmark = pytest.mark.keras

CHANNELS = ("early_endosomes", "mitochondria")
ENCODER = EncoderSettings(kind="compact", input_px=16, filters=(4, 8))
TRAINING = load_profile("smoke").training  # 16 dense units

# Stem, shortcut with bias and convolution of the one block; four numbers per feature of each batch
# normalisation, half of them trained.
COMPACT_2_CHANNELS = (9 * 2 * 4 + 4 * 4) + (4 * 8 + 8) + (9 * 4 * 8 + 4 * 8)
COMPACT_1_CHANNEL = COMPACT_2_CHANNELS - 9 * 4
RESNET50_1_CHANNEL = 23_587_712 - 7 * 7 * 2 * 64  # Keras' table for 3 channels, 7×7 stem of 64


# Of 2 * 388 trained parameters in the encoders 7 %, 54.3, go to the mixing: of 8 features to h, and
# of h to h in 3 × 3, where 9 * 4 + 8 * 2 = 52 is nearest (h = 3 takes 105). Two normalisations.
MIXING_2_CHANNELS = (8 * 2 + 4 * 2) + (9 * 2 * 2 + 4 * 2)


def head_parameters(features, classes=3):
    return (features * 16 + 16) + 4 * 16 + (16 * classes + classes)


def build(strategy, channels=CHANNELS, encoder=ENCODER, training=TRAINING, classes=3):
    return build_model(
        strategy, channels=channels, n_classes=classes, encoder=encoder, training=training
    )


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (64, 16, 16, 2), dtype=np.uint8)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(
    ("strategy", "channels", "expected"),
    [
        ("single", CHANNELS[:1], COMPACT_1_CHANNEL + head_parameters(8)),
        ("early", CHANNELS, COMPACT_2_CHANNELS + head_parameters(8)),
        ("intermediate", CHANNELS, 2 * COMPACT_1_CHANNEL + head_parameters(16)),
        ("spatial", CHANNELS, 2 * COMPACT_1_CHANNEL + MIXING_2_CHANNELS + head_parameters(18)),
    ],
)
def test_compact_parameters_are_those_counted_by_hand(strategy, channels, expected):
    """Every weight of the compact models is accounted for."""
    model = build(strategy, channels)
    assert count_parameters(model)["total"] == expected
    assert model.count_params() == expected
    # Moving means and variances: 12 channels per encoder and 16 in the head, not trained.
    features = {"intermediate": 24, "spatial": 24 + 2 + 2}.get(strategy, 12)
    assert count_parameters(model)["trainable"] == expected - 2 * (features + 16)


def test_resnet50_encoders_nest_side_by_side():
    """Two ResNet50 with equal layer names live in one model, and have Keras' own size."""
    resnet = EncoderSettings(kind="resnet50", input_px=32)
    model = build("intermediate", encoder=resnet)
    assert count_parameters(model)["total"] == 2 * RESNET50_1_CHANNEL + head_parameters(4096)
    feature_map, embedding = model.get_layer("encoder_mitochondria").output
    assert feature_map.shape == (None, 1, 1, 2048)
    assert embedding.shape == (None, 2048)


def test_early_is_encoder_then_head(images):
    """At prediction nothing happens but scaling, the one encoder and the head: no flips."""
    model = build("early")
    embedding = model.get_layer("encoder")(images / np.float32(255), training=False)[1]
    expected = model.get_layer("fusion_head")(embedding, training=False)
    np.testing.assert_allclose(
        model.predict(images, verbose=0), as_numpy(expected), rtol=1e-4, atol=1e-5
    )


def test_intermediate_gives_each_encoder_its_own_channel(images):
    """The channels go to the encoders of their names, and the embeddings in that order on."""
    model = build("intermediate")
    planes = images / np.float32(255)
    embeddings = [
        as_numpy(model.get_layer(f"encoder_{name}")(planes[..., [i]], training=False)[1])
        for i, name in enumerate(CHANNELS)
    ]
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3
    expected = model.get_layer("fusion_head")(np.concatenate(embeddings, 1), training=False)
    np.testing.assert_allclose(
        model.predict(images, verbose=0), as_numpy(expected), rtol=1e-4, atol=1e-5
    )


def test_spatial_mixes_the_maps_of_each_channels_encoder(images):
    """Encoder of its own per channel, maps in that order into the mixer, its embedding on."""
    model = build("spatial")
    planes = images / np.float32(255)
    maps = [
        model.get_layer(f"encoder_{name}")(planes[..., [i]], training=False)[0]
        for i, name in enumerate(CHANNELS)
    ]
    assert maps[0].shape[1:] == (8, 8, 4)  # before the last stage
    embedding = model.get_layer("mixer")(maps, training=False)[1]
    expected = model.get_layer("fusion_head")(embedding, training=False)
    np.testing.assert_allclose(
        model.predict(images, verbose=0), as_numpy(expected), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("strategy", "together"), [("intermediate", False), ("spatial", True)])
def test_only_spatial_fusion_sees_whether_two_channels_lie_together(strategy, together):
    """One channel shifted by a period of all strides: pooled features alone cannot notice it."""
    plane = np.zeros((1, 64, 64), np.uint8)
    plane[:, 30:34, 30:34] = 255
    # Away from the border, every feature of a shifted plane is a shifted feature.
    images = np.stack([np.stack([plane[0], np.roll(plane[0], by, 1)], -1) for by in (0, 12)])
    model = build(strategy, encoder=EncoderSettings(kind="compact", input_px=64, filters=(4, 8)))
    # Fresh moving means are 0 and variances 1: nothing but convolutions.
    logits = model.predict(images, verbose=0)
    assert np.allclose(logits[0], logits[1], rtol=1e-4, atol=1e-6) != together


def test_flips_are_those_of_a_mirror_and_equal_in_all_channels(images):
    """In training each image is one of its four mirror images, the channels together."""
    model = build("early")
    flips = keras.Model(model.input, model.get_layer("flip_vertical").output)
    scaled = images / np.float32(255)
    found = as_numpy(flips(images, training=True))
    mirrored = np.stack([scaled, scaled[:, ::-1], scaled[:, :, ::-1], scaled[:, ::-1, ::-1]])
    equal = np.isclose(mirrored, found, atol=1e-6).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(equal.sum(axis=0), 1)  # all channels follow one mirror
    assert (equal.sum(axis=1) >= 5).all()  # each of the four, 16 of 64 expected
    np.testing.assert_allclose(as_numpy(flips(images, training=False)), scaled, atol=1e-6)


@pytest.mark.parametrize("strategy", ["single", "early", "intermediate", "spatial"])
def test_models_survive_saving(strategy, images, tmp_path):
    """A model read back gives the same logits, and its parts are found by name."""
    channels = CHANNELS[:1] if strategy == "single" else CHANNELS
    images = images[..., : len(channels)]
    model = build(strategy, channels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    names = {layer.name for layer in loaded.layers if isinstance(layer, keras.Model)}
    encoders = {f"encoder_{name}" for name in channels}
    parts = {"intermediate": encoders, "spatial": encoders | {"mixer"}}.get(strategy, {"encoder"})
    assert names == parts | {"fusion_head"}


def test_head_has_the_settings_of_the_paper():
    """L2 on both dense layers, dropout 0.4, and logits without an activation."""
    head = build("early").get_layer("fusion_head")
    for name in ("dense", "logits"):
        assert float(head.get_layer(name).kernel_regularizer.l2) == pytest.approx(TRAINING.l2)
    assert head.get_layer("dropout").rate == 0.4
    assert head.get_layer("logits").activation is keras.activations.linear


@pytest.mark.parametrize(
    ("strategy", "channels", "width"),
    [("single", CHANNELS[:1], 3), ("early", CHANNELS, 5), ("intermediate", CHANNELS, 7)],
)
def test_each_strategy_has_its_own_width_of_head(strategy, channels, width):
    """As the settings say, where they say it for each."""
    widths = HeadWidths(single=3, early=5, intermediate=7, spatial=9)
    training = TRAINING.model_copy(update={"dense_units": widths})
    model = build_model(
        strategy, channels=channels, n_classes=3, encoder=ENCODER, training=training
    )
    assert model.get_layer("fusion_head").get_layer("dense").units == width


def test_l2_of_both_dense_layers_enters_the_loss():
    """λ times the sum of squares of the two kernels, and of nothing else."""
    model = build("early")
    head = model.get_layer("fusion_head")
    squares = sum((as_numpy(head.get_layer(n).kernel) ** 2).sum() for n in ("dense", "logits"))
    assert sum(map(float, model.losses)) == pytest.approx(TRAINING.l2 * squares, rel=1e-5)


def test_dropout_takes_two_fifths_of_the_units_in_training():
    """Of 1,600 units of value 1 about 960 are left, scaled so that the mean stays."""
    dropout = build("early").get_layer("fusion_head").get_layer("dropout")
    ones = np.ones((100, 16), np.float32)
    found = as_numpy(dropout(ones, training=True))
    assert (found > 0).mean() == pytest.approx(0.6, abs=0.05)
    np.testing.assert_allclose(found[found > 0], 1 / 0.6, rtol=1e-6)
    np.testing.assert_array_equal(as_numpy(dropout(ones, training=False)), ones)


@pytest.mark.parametrize("strategy", ["early", "intermediate"])
def test_all_augmentation_is_off_at_prediction(strategy, images):
    """The same weights with and without it give the same logits, in training others."""
    full = AugmentationSettings(quarter_turns=True, crop=0.2, rotation_deg=15)
    models = [
        build_model(
            strategy,
            channels=CHANNELS,
            n_classes=3,
            encoder=ENCODER,
            training=TRAINING.model_copy(update={"augmentation": augmentation, "dropout": 0}),
        )
        for augmentation in (full, AugmentationSettings(flips=False))
    ]
    models[1].set_weights(models[0].get_weights())
    found, expected = (model.predict(images, verbose=0) for model in models)
    np.testing.assert_array_equal(found, expected)
    found, expected = (as_numpy(model(images, training=True)) for model in models)
    assert np.abs(found - expected).max() > 1e-3


def test_mlp_is_what_its_weights_say():
    """Its size counted by hand, and its logits recomputed from its weights with NumPy."""
    model = build_mlp(34, 6, TRAINING)
    assert model.name == "mlp"
    hidden = (34 * 16 + 16) + 4 * 16
    assert count_parameters(model) == {
        "total": hidden + head_parameters(16, 6),
        "trainable": hidden + head_parameters(16, 6) - 4 * 16,
    }
    random = np.random.default_rng(0)
    for variable in model.weights:  # moving variances among them
        variable.assign(random.uniform(0.5, 1.5, variable.shape))
    model.get_layer("first_dense").kernel.assign(random.normal(size=(34, 16)))
    found = random.normal(size=(5, 34)).astype(np.float32)
    expected = found.astype(float)
    parts = [(model, "first_"), (model.get_layer("fusion_head"), "")]
    for part, prefix in parts:
        kernel, bias = map(as_numpy, part.get_layer(f"{prefix}dense").weights)
        scale, offset, mean, variance = map(as_numpy, part.get_layer(f"{prefix}dense_norm").weights)
        expected = np.maximum(expected @ kernel + bias, 0)
        expected = (expected - mean) / np.sqrt(variance + 1e-3) * scale + offset
    kernel, bias = map(as_numpy, model.get_layer("fusion_head").get_layer("logits").weights)
    np.testing.assert_allclose(model.predict(found, verbose=0), expected @ kernel + bias, rtol=1e-4)


def test_mlp_has_dropout_and_l2_in_both_hidden_layers():
    """As its settings say; the three kernels enter the loss."""
    model = build_mlp(7, 2, TRAINING)
    head = model.get_layer("fusion_head")
    kernels = [
        model.get_layer("first_dense").kernel,
        *(head.get_layer(n).kernel for n in ("dense", "logits")),
    ]
    squares = sum((as_numpy(kernel) ** 2).sum() for kernel in kernels)
    assert sum(map(float, model.losses)) == pytest.approx(TRAINING.l2 * squares, rel=1e-5)
    assert model.get_layer("first_dropout").rate == head.get_layer("dropout").rate == 0.4


def test_mlp_needs_one_width():
    """A width for each strategy is for networks of images."""
    widths = HeadWidths(single=3, early=5, intermediate=7, spatial=9)
    with pytest.raises(ModelError, match="mlp: expected one number for dense_units"):
        build_mlp(7, 2, TRAINING.model_copy(update={"dense_units": widths}))


def test_mlp_needs_a_class():
    """None to tell apart is an error of ours, in a line."""
    with pytest.raises(ModelError, match=r"n_classes: .* 1 or more, found 0; count the classes"):
        build_mlp(7, 0, TRAINING)


@pytest.mark.parametrize("strategy", ["single", "early"])
def test_names_that_no_encoder_is_called_by_may_hold_a_slash(strategy):
    """Of one encoder alone, named encoder: 1 or 2 channels of 16 px."""
    channels = ("ER/Golgi", "b")[: 1 if strategy == "single" else 2]
    model = build(strategy, channels, classes=np.int64(2))  # Keras alone takes int only
    assert model.input_shape == (None, 16, 16, len(channels))
    assert model.output_shape == (None, 2)


def test_layer_summary_lists_every_parameter_once():
    """The table of the figures adds up to the model, and tells the parts apart."""
    model = build("intermediate")
    table = layer_summary(model)
    per_part = table.groupby("part")["parameters"].sum()
    assert per_part["encoder_mitochondria"] == COMPACT_1_CHANNEL
    assert per_part["fusion_head"] == head_parameters(16)
    assert table["parameters"].sum() == model.count_params()
    stem = table[(table["part"] == "encoder_mitochondria") & (table["layer"] == "stem")].iloc[0]
    found = (stem["kind"], stem["output shape"], stem["parameters"])
    assert found == ("PlaneConvolution", (8, 8, 4), 36)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "late"}, "found 'late'"),
        ({"strategy": "single"}, "expected one channel"),
        ({"strategy": "early", "channels": CHANNELS[:1]}, "at least two channels"),
        (
            {"strategy": "early", "encoder": EncoderSettings(kind="resnet50", input_px=28)},
            "at least 32 px .* raise encoder.input_px",
        ),
        (
            {
                "strategy": "early",
                "encoder": EncoderSettings(kind="compact", input_px=16, filters=(4,) * 5),
            },
            "at least 32 px for 5 halvings",
        ),
        (
            {
                "strategy": "spatial",
                "encoder": EncoderSettings(kind="compact", input_px=16, filters=(4,)),
            },
            "encoder.filters: expected two or more, as spatial fusion needs, found 1; add",
        ),
        ({"strategy": "early", "channels": ()}, r"at least two channels, found \[\]"),
        ({"strategy": "early", "channels": "mito"}, "list of names, found 'mito'; write"),
        ({"strategy": "single", "channels": "m"}, r"list of names, found 'm'; write \['m'\]"),
        ({"strategy": "early", "channels": ("a", "a")}, r"differ .* found \['a', 'a'\]; rename"),
        ({"strategy": "intermediate", "channels": ("a", "a")}, r"differ .* found \['a', 'a'\]"),
        ({"strategy": "intermediate", "channels": ("a/b", "c")}, r"no /, found \['a/b', 'c'\]"),
        ({"strategy": "spatial", "channels": ("a/b", "c")}, r"no /, found \['a/b', 'c'\]"),
        ({"strategy": "early", "classes": 0}, "n_classes: .* 1 or more, found 0; count"),
        ({"strategy": "early", "classes": -1}, "n_classes: .* 1 or more, found -1; count"),
        ({"strategy": "early", "classes": 2.5}, "n_classes: .* 1 or more, found 2.5; count"),
    ],
)
def test_impossible_models_are_refused(arguments, message):
    """The error says what was expected and found."""
    with pytest.raises(ModelError, match=message):
        build(**arguments)


@pytest.mark.parametrize(
    ("strategy", "width", "published"),
    [("early", 1200, 26e6), ("intermediate", 256, 72e6), ("late", 256, 72e6)],
)
def test_paper_parameters_are_those_of_keras_and_a_head_by_hand(strategy, width, published):
    """Keras' ResNet50 with its own count and a head; within 3 % of the paper's counts."""
    untrained = 53_120  # moving means and variances, from Keras' table
    encoder = (23_587_712 if strategy == "early" else RESNET50_1_CHANNEL) - untrained
    encoders = 1 if strategy == "early" else 3
    heads, features = (1, 3 * 2048) if strategy == "intermediate" else (encoders, 2048)
    head = (features * width + width) + 2 * width + (width * 6 + 6)
    assert paper_parameters(strategy, width) == encoders * encoder + heads * head
    assert paper_parameters(strategy, width) == pytest.approx(published, rel=0.03)


def test_counting_does_no_harm_to_networks_that_follow(images):
    """Weights without values are none of theirs: what is traced afterwards predicts as before."""
    model = build("early")
    expected = model.predict_on_batch(images)
    paper_parameters("early", 8)
    model.make_predict_function(force=True)
    np.testing.assert_array_equal(model.predict_on_batch(images), expected)
    assert build("single", CHANNELS[:1]).predict_on_batch(images[..., :1]).shape == (len(images), 3)


def test_small_spatial_fusion_is_nearly_as_large_as_intermediate():
    """Of the profile quick, with six classes: a tenth larger at most."""
    quick = load_profile("quick")
    sizes = {
        strategy: count_parameters(
            build_model(
                strategy, channels=quick.channels, n_classes=6, encoder=quick.encoder,
                training=quick.training,
            )
        )["total"]
        for strategy in ("intermediate", "spatial")
    }  # fmt: skip
    assert 1 < sizes["spatial"] / sizes["intermediate"] < 1.10


def test_resnet50_of_spatial_fusion_is_nearly_as_large_as_of_intermediate():
    """Encoders up to the last stage, 14 × 14 cells of a patch of 224 px, mixed and taken on."""
    larger = paper_parameters("spatial", 256) / paper_parameters("intermediate", 256)
    assert larger == pytest.approx(1.07, abs=0.005)
    encoder = build_encoder("resnet50", (64, 64, 1), name="encoder")
    lower, upper = split_encoder(encoder, "resnet50")
    assert lower.output_shape[0] == (None, 4, 4, 1024)
    image = np.random.default_rng(0).random((1, 64, 64, 1), dtype=np.float32)
    for whole, parted in zip(encoder(image), upper(lower(image)[0]), strict=True):
        np.testing.assert_allclose(as_numpy(whole), as_numpy(parted), rtol=1e-4, atol=1e-5)


def test_spatial_fusion_needs_to_know_the_last_stage():
    """An encoder of another kind is refused with those that are known."""
    with pytest.raises(ModelError, match="expected an encoder of compact or resnet50, found any"):
        split_encoder(build_encoder("compact", (16, 16, 1), name="encoder"), "any")


MIXED = TRAINING.model_copy(update={"precision": "mixed_bfloat16"})


def layers_of(model):
    """All layers, nested ones as well."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)


@pytest.mark.parametrize(
    ("strategy", "encoder"),
    [
        ("early", ENCODER),
        ("intermediate", ENCODER),
        ("spatial", ENCODER),
        ("early", EncoderSettings(kind="compact_convnext", input_px=16, filters=(4, 8))),
        ("spatial", EncoderSettings(kind="resnet50", input_px=32)),
        ("early", EncoderSettings(kind="convnext_tiny", input_px=32)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_mixed_precision_is_that_of_the_encoders(strategy, encoder, tmp_path):
    """They compute in bfloat16; weights are float32 and those of a float32 network."""
    set_seed(3)
    exact = build(strategy, encoder=encoder)
    mixed = build(strategy, encoder=encoder, training=MIXED)
    assert keras.config.dtype_policy().name == "float32"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    convolutions = [
        layer
        for layer in layers_of(mixed)
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    assert {layer.compute_dtype for layer in convolutions} == {"bfloat16"}
    head = mixed.get_layer("fusion_head")
    assert {layer.compute_dtype for layer in layers_of(head)} == {"float32"}

    exact.save_weights(tmp_path / "exact.weights.h5")
    mixed.load_weights(tmp_path / "exact.weights.h5")
    size = encoder.input_px
    images = np.random.default_rng(0).integers(0, 256, (8, size, size, 2), dtype=np.uint8)
    expected, found = (as_numpy(model(images, training=False)) for model in (exact, mixed))
    assert found.dtype == np.float32
    # bfloat16 has 8 bits: each number deviates by up to 2**-9 of itself, here through many layers.
    deviation = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-6 < deviation < 0.1

    mixed(images, training=True)  # moves the running statistics
    mixed.save_weights(tmp_path / "mixed.weights.h5")
    exact.load_weights(tmp_path / "mixed.weights.h5")
    for own, other in zip(exact.weights, mixed.weights, strict=True):
        np.testing.assert_array_equal(as_numpy(own), as_numpy(other))


def test_statistics_of_the_batches_are_float32_in_mixed_precision():
    """Mean of 1000 and 1001: bfloat16 steps by 4 there, and would say 1000 of both."""
    model = build("early", training=MIXED)
    norm = model.get_layer("fusion_head").get_layer("dense_norm")
    stem = model.get_layer("encoder").get_layer("stem_norm")
    assert {weight.dtype for layer in (norm, stem) for weight in layer.weights} == {"float32"}
    norm(np.array([[1000.0] * 16, [1001.0] * 16], np.float32), training=True)
    np.testing.assert_allclose(as_numpy(norm.moving_mean), 0.1 * 1000.5, rtol=1e-6)


def test_a_policy_does_not_outlive_a_network_that_cannot_be_built():
    """The next network would otherwise be built in it."""
    with pytest.raises(ModelError, match="at least 32 px"):
        build("early", encoder=EncoderSettings(kind="resnet50", input_px=16), training=MIXED)
    assert keras.config.dtype_policy().name == "float32"
