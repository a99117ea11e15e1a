"""The networks: sizes counted by hand, wiring recomputed from their parts, saved and loaded."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion.config import EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.models import (  # noqa: E402
    ModelError,
    build_encoder,
    build_model,
    count_parameters,
    layer_summary,
    paper_parameters,
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


def head_parameters(features, classes=3):
    return (features * 16 + 16) + 4 * 16 + (16 * classes + classes)


def build(strategy, channels=CHANNELS, encoder=ENCODER):
    return build_model(strategy, channels=channels, n_classes=3, encoder=encoder, training=TRAINING)


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
    ],
)
def test_compact_parameters_are_those_counted_by_hand(strategy, channels, expected):
    """Every weight of the compact models is accounted for."""
    model = build(strategy, channels)
    assert count_parameters(model)["total"] == expected
    assert model.count_params() == expected
    # Moving means and variances: 12 channels per encoder and 16 in the head, not trained.
    encoders = 2 if strategy == "intermediate" else 1
    assert count_parameters(model)["trainable"] == expected - 2 * (12 * encoders + 16)


def test_resnet50_encoders_nest_side_by_side():
    """Two ResNet50 with equal layer names live in one model, and have Keras' own size."""
    resnet = EncoderSettings(kind="resnet50", input_px=32)
    model = build("intermediate", encoder=resnet)
    assert count_parameters(model)["total"] == 2 * RESNET50_1_CHANNEL + head_parameters(4096)
    feature_map, embedding = model.get_layer("encoder_mitochondria").output
    assert feature_map.shape == (None, 1, 1, 2048)
    assert embedding.shape == (None, 2048)


def test_embedding_is_the_mean_of_the_feature_map():
    """16 px are halved twice; the embedding is the global average of what is left."""
    encoder = build_encoder("compact", (16, 16, 1), name="encoder", filters=(4, 8))
    image = np.random.default_rng(1).random((5, 16, 16, 1), dtype=np.float32)
    feature_map, embedding = map(as_numpy, encoder(image, training=False))
    assert feature_map.shape == (5, 4, 4, 8)
    assert feature_map.std() > 0
    np.testing.assert_allclose(embedding, feature_map.mean(axis=(1, 2)), rtol=1e-5)


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


@pytest.mark.parametrize("strategy", ["single", "early", "intermediate"])
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
    assert names == (encoders if strategy == "intermediate" else {"encoder"}) | {"fusion_head"}


def test_head_has_the_settings_of_the_paper():
    """L2 on both dense layers, dropout 0.4, and logits without an activation."""
    head = build("early").get_layer("fusion_head")
    for name in ("dense", "logits"):
        assert float(head.get_layer(name).kernel_regularizer.l2) == pytest.approx(TRAINING.l2)
    assert head.get_layer("dropout").rate == 0.4
    assert head.get_layer("logits").activation is keras.activations.linear


def test_layer_summary_lists_every_parameter_once():
    """The table of the figures adds up to the model, and tells the parts apart."""
    model = build("intermediate")
    table = layer_summary(model)
    per_part = table.groupby("part")["parameters"].sum()
    assert per_part["encoder_mitochondria"] == COMPACT_1_CHANNEL
    assert per_part["fusion_head"] == head_parameters(16)
    assert table["parameters"].sum() == model.count_params()
    stem = table[(table["part"] == "encoder_mitochondria") & (table["layer"] == "stem")].iloc[0]
    assert (stem["kind"], stem["output shape"], stem["parameters"]) == ("Conv2D", (8, 8, 4), 36)


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
    ],
)
def test_impossible_models_are_refused(arguments, message):
    """The error says what was expected and found."""
    with pytest.raises(ModelError, match=message):
        build(**arguments)


def test_unknown_encoder_is_refused():
    """Only the two kinds that exist."""
    with pytest.raises(ModelError, match="compact or resnet50, found 'vgg'"):
        build_encoder("vgg", (64, 64, 1), name="encoder")


@pytest.mark.parametrize(
    ("strategy", "width", "encoders", "channels", "features"),
    [("early", 1200, 1, 3, 2048), ("late", 256, 3, 1, 2048)],
)
def test_paper_parameters_are_those_of_keras_and_a_head_by_hand(
    strategy, width, encoders, channels, features
):
    """Keras' ResNet50 with its own count, less the two channels that late fusion lacks."""
    untrained = 53_120  # moving means and variances, from Keras' table
    encoder = 23_587_712 - untrained - 7 * 7 * (3 - channels) * 64
    head = (features * width + width) + 2 * width + (width * 6 + 6)
    assert paper_parameters(strategy, width) == encoders * (encoder + head)
