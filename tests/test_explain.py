"""Grad-CAM against a closed form, stitching and similarity against sums done by hand."""

import numpy as np
import pandas as pd
import pytest
from skimage.transform import resize

keras = pytest.importorskip("keras")

from organelle_fusion import explain  # noqa: E402
from organelle_fusion.config import EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.intensity import PatchError, stack_statistics  # noqa: E402
from organelle_fusion.models import build_model  # noqa: E402
from organelle_fusion.volumes import open_volume, write_ome_tiff  # noqa: E402

pytestmark = pytest.mark.keras

# Not in the order of the alphabet: the order that counts is that of the channels.
CHANNELS = ("mitochondria", "early_endosomes", "golgi")
ENCODER = EncoderSettings(kind="compact", input_px=16, filters=(4, 8))
TRAINING = load_profile("smoke").training
STRATEGIES = ("single", "early", "intermediate")


def channels_of(strategy):
    return CHANNELS[:1] if strategy == "single" else CHANNELS


def build(strategy):
    """A model whose every weight matters, the statistics of batch normalisation among them."""
    keras.utils.set_random_seed(3)
    model = build_model(
        strategy,
        channels=channels_of(strategy),
        n_classes=4,
        encoder=ENCODER,
        training=TRAINING,
    )
    random = np.random.default_rng(4)
    for weight in model.weights:
        if "norm" in weight.path or "bias" in weight.path:
            weight.assign(random.uniform(0.3, 1.5, weight.shape))
    return model


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


TARGETS = np.array([0, 3, 1, 1, 2])


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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_tail_gives_the_logits_of_the_model(strategy, patches):
    """What is explained is the prediction."""
    model = build(strategy)
    patches = patches[..., : len(channels_of(strategy))]
    tail = explain.tail_logits(model, explain.feature_maps(model, patches))
    logits = model.predict(patches, verbose=0)
    assert logits.std(axis=0).min() > 1e-4
    np.testing.assert_allclose(as_numpy([tail])[0], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_maps_are_those_of_the_closed_form(strategy, patches):
    """The gradient agrees with the chain rule written out, and so does its sum over the map."""
    model = build(strategy)
    patches = patches[..., : len(channels_of(strategy))]
    found = explain.grad_cam(model, patches, TARGETS)
    maps = as_numpy(explain.feature_maps(model, patches))
    expected = closed_form(model, maps, TARGETS)
    assert found.shape == (5, 3 if strategy == "intermediate" else 1, 4, 4)
    assert found.dtype == np.float32
    assert found.min() < 0 < found.max()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_maps_survive_saving(strategy, patches, tmp_path):
    """A model read back, or given the stored weights, is explained in the same way."""
    model = build(strategy)
    patches = patches[..., : len(channels_of(strategy))]
    expected = explain.grad_cam(model, patches, TARGETS)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert explain.encoder_names(loaded) == explain.encoder_names(model)
    np.testing.assert_array_equal(explain.grad_cam(loaded, patches, TARGETS), expected)
    fresh = build_model(
        strategy,
        channels=channels_of(strategy),
        n_classes=4,
        encoder=ENCODER,
        training=TRAINING,
    )
    assert not np.allclose(explain.grad_cam(fresh, patches, TARGETS), expected)
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(explain.grad_cam(fresh, patches, TARGETS), expected)


def test_encoders_are_in_the_order_of_the_channels(patches):
    """Only the first channel varies: the map of its encoder does, the others' are all alike."""
    model = build("intermediate")
    assert explain.encoder_names(model) == [f"encoder_{name}" for name in CHANNELS]
    patches = patches.copy()
    patches[..., 1:] = 0
    first, *others = as_numpy(explain.feature_maps(model, patches))
    assert first.std(axis=0).max() > 1e-2
    assert max(other.std(axis=0).max() for other in others) < 1e-6


def test_patches_of_a_batch_do_not_see_each_other(patches):
    """Each patch by itself, and 40 in two batches of constant size, give the same maps."""
    model = build("intermediate")
    many, targets = np.concatenate([patches] * 8), np.tile(TARGETS, 8)
    found = explain.grad_cam(model, many, targets)
    alone = [explain.grad_cam(model, patches[[i]], TARGETS[[i]])[0] for i in range(5)]
    assert len(many) > explain.BATCH
    np.testing.assert_allclose(found, np.stack(alone * 8), rtol=1e-4, atol=1e-6)


def test_another_backend_is_refused(patches, monkeypatch):
    """One line that says which backends there are."""
    model = build("single")
    maps = explain.feature_maps(model, patches[..., :1])
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(explain.ExplainError, match=r"expected tensorflow or jax .* found torch"):
        explain.logit_gradients(model, maps, TARGETS)


def test_models_and_patches_that_do_not_fit_are_refused(patches):
    """Parts are found by name; patches have the size and channels of the model."""
    other = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten()], name="other")
    with pytest.raises(explain.ExplainError, match="model other: expected encoders"):
        explain.encoder_names(other)
    with pytest.raises(explain.ExplainError, match=r"\(N, 16, 16, 3\), found \(5, 16, 16, 2\)"):
        explain.grad_cam(build("early"), patches[..., :2], TARGETS)


def test_tiles_cover_the_plane_up_to_its_border():
    """Height 10 and width 12 in tiles of 4: the last row is moved inwards, the last column fits."""
    table = explain.tile_table((10, 12), 7, 4, overlap=False)
    assert table["y"].tolist() == [0, 0, 0, 4, 4, 4, 6, 6, 6]
    assert table["x"].tolist() == [0, 4, 8] * 3
    assert set(table["z"]) == {7}
    assert set(table["size_px"]) == {4}
    assert table["kept"].all()
    half = explain.tile_table((4, 11), 7, 4, overlap=True)
    assert half["y"].tolist() == [0] * 5
    assert half["x"].tolist() == [0, 2, 4, 6, 7]
    odd = explain.tile_table((5, 11), 7, 5, overlap=True)
    assert odd["x"].tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("overlap", [False, True])
def test_a_constant_map_stays_constant(overlap):
    """Weights sum to one at every pixel, edges and corners included."""
    shape = (23, 31)
    table = explain.tile_table(shape, 0, 9, overlap=overlap)
    maps = np.full((len(table), 2, 3, 3), 0.7)
    maps[:, 1] = -4
    found = explain.stitch(maps, table, shape, overlap=overlap)
    np.testing.assert_allclose(found[0], np.full(shape, 0.7), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.full(shape, -4), rtol=1e-6)


def test_one_tile_is_resized_bilinearly():
    """(0, 4) over four pixels is 0, 1, 3, 4; a larger map as scikit-image does it."""
    table = explain.tile_table((4, 4), 0, 4, overlap=False)
    found = explain.stitch(np.array([[[[0.0, 4.0]]]]), table, (4, 4), overlap=False)
    np.testing.assert_allclose(found[0], [[0, 1, 3, 4]] * 4)
    small = np.random.default_rng(1).normal(size=(7, 7))
    table = explain.tile_table((39, 39), 0, 39, overlap=True)
    expected = resize(small, (39, 39), order=1, mode="edge", anti_aliasing=False)
    found = explain.stitch(small[None, None], table, (39, 39), overlap=True)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def test_tiles_are_blended_as_by_hand():
    """Two tiles of 4 over 6 columns, of values 0 and 8, meet in the columns 2 and 3."""
    table = explain.tile_table((4, 6), 0, 4, overlap=False)
    assert table["x"].tolist() == [0, 2]
    maps = np.array([0.0, 8.0]).reshape(2, 1, 1, 1)
    plain = explain.stitch(maps, table, (4, 6), overlap=False)
    np.testing.assert_allclose(plain[0], [[0, 0, 4, 4, 8, 8]] * 4)
    # Window ½, 1½, 1½, ½: in column 2 the second tile weighs ½ of 2, in column 3 it weighs 1½.
    blended = explain.stitch(maps, table, (4, 6), overlap=True)
    np.testing.assert_allclose(blended[0], [[0, 0, 2, 6, 8, 8]] * 4)


@pytest.fixture
def volume(tmp_path):
    array = np.random.default_rng(2).integers(0, 1000, (3, 2, 40, 52)).astype(np.uint16)
    path = tmp_path / "stack.ome.tif"
    write_ome_tiff(path, array, list(CHANNELS), pixel_size_um=0.5, z_step_um=1.0)
    return open_volume(path)


@pytest.mark.parametrize("overlap", [False, True])
def test_plane_is_put_together_from_its_tiles(volume, overlap):
    """Tiles of 10 µm are 20 px; cut, averaged down and scaled here once more, by other means."""
    model = build("intermediate")
    statistics = stack_statistics(volume)
    found = explain.plane_maps(
        model, volume, 1, 2, size_um=10, statistics=statistics, overlap=overlap
    )
    low, high = (statistics[name].to_numpy()[:, None, None] for name in ("low", "high"))
    plane = np.clip((volume.plane(1) - low) / (high - low), 0, 1) * 255
    starts = ([0, 10, 20], [0, 10, 20, 30, 32]) if overlap else ([0, 20], [0, 20, 32])
    profile = np.minimum(np.arange(20) + 0.5, 19.5 - np.arange(20)) if overlap else np.ones(20)
    window = profile[:, None] * profile
    total, weight = np.zeros((3, 40, 52)), np.zeros((40, 52))
    fine = np.repeat(np.arange(20), 4)  # 80 px: five for each of the 16
    for y in starts[0]:
        for x in starts[1]:
            tile = plane[:, y : y + 20, x : x + 20][:, fine][:, :, fine]
            small = np.rint(tile.reshape(3, 16, 5, 16, 5).mean(axis=(2, 4)).round(6))
            maps = explain.grad_cam(model, np.uint8(small.transpose(1, 2, 0))[None], [2])[0]
            for k in range(3):
                large = resize(maps[k], (20, 20), order=1, mode="edge", anti_aliasing=False)
                total[k, y : y + 20, x : x + 20] += window * large
            weight[y : y + 20, x : x + 20] += window
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, total / weight, rtol=1e-3, atol=1e-5 * np.abs(total).max())


def test_planes_that_do_not_fit_are_refused(volume):
    """Channels in the model's order, and tiles that are no larger than the plane."""
    model, statistics = build("intermediate"), stack_statistics(volume)
    with pytest.raises(PatchError, match="40 µm is 80 px, expected 1 to 40"):
        explain.plane_maps(model, volume, 0, 0, size_um=40, statistics=statistics, overlap=False)
    turned = volume.select(CHANNELS[::-1])
    with pytest.raises(explain.ExplainError, match="found golgi, early_endosomes, mitochondria"):
        explain.plane_maps(model, turned, 0, 0, size_um=10, statistics=statistics, overlap=False)


def test_similarity_leaves_the_part_out_of_the_whole():
    """Unrelated maps correlate with their sum all the same, and not with the sum of the others."""
    maps = np.array([[[1, -1, 1, -1]], [[1, 1, -1, -1]], [[2, -2, -2, 2]]], dtype=float)
    found = explain.map_similarity(maps, CHANNELS).set_index(["organelle", "compared_with"])
    for channel, size in zip(CHANNELS, (1, 1, 2), strict=True):
        others = found.loc[(channel, explain.WITH_OTHERS), "value"]
        fused = found.loc[(channel, explain.WITH_FUSED), "value"]
        assert others == pytest.approx(0, abs=1e-12)
        assert fused == pytest.approx(size / np.sqrt(6))  # variances 1, 1 and 4


def test_similarity_is_pearsons_over_the_pixels():
    """Against numpy, for maps that have much in common."""
    maps = np.random.default_rng(5).normal(size=(3, 6, 7)) + np.arange(7)
    found = explain.map_similarity(maps, CHANNELS)
    expected = []
    for k in range(3):
        rest = maps[np.arange(3) != k].sum(axis=0)
        expected.append(np.corrcoef(maps[k].ravel(), rest.ravel())[0, 1])
        expected.append(np.corrcoef(maps[k].ravel(), maps.sum(axis=0).ravel())[0, 1])
    np.testing.assert_allclose(found["value"], expected)
    assert found["organelle"].tolist() == [name for name in CHANNELS for _ in range(2)]
    assert found["compared_with"].tolist() == [explain.WITH_OTHERS, explain.WITH_FUSED] * 3


def test_a_constant_map_has_no_correlation():
    """Its own is NaN, and the others do without it."""
    maps = np.stack([np.full((2, 3), 0.1), np.eye(2, 3), np.eye(2, 3)])
    found = explain.map_similarity(maps, CHANNELS)
    np.testing.assert_allclose(found["value"], [np.nan, np.nan, 1, 1, 1, 1])


def similarities(values, organelle="golgi"):
    return pd.DataFrame(
        {
            "image": range(len(values)), "label": "a", "group": range(len(values)),
            "organelle": organelle, "compared_with": explain.WITH_OTHERS, "value": values,
        }
    )  # fmt: skip


def test_mean_similarity_and_its_interval():
    """Of 0 and 1, resampled means are 0, ½ and 1: the interval is everything. NaN is left out."""
    table = pd.concat([similarities([0, 1, np.nan]), similarities([0.3] * 4, "mitochondria")])
    found = explain.mean_similarity(table, repeats=500, seed=1)
    assert found["organelle"].tolist() == ["golgi", "mitochondria"]
    np.testing.assert_allclose(found["value"], [0.5, 0.3])
    np.testing.assert_allclose(found["low"], [0, 0.3])
    np.testing.assert_allclose(found["high"], [1, 0.3])
    assert found["images"].tolist() == [2, 4]


def test_interval_is_that_of_the_mean_of_many_images():
    """For 400 images it is near the normal one: ± 1.96 standard errors."""
    values = np.random.default_rng(6).normal(0.4, 0.2, 400)
    found = explain.mean_similarity(similarities(values), repeats=4000, seed=2).iloc[0]
    error = values.std() / 20
    assert found["value"] == pytest.approx(values.mean())
    assert found["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_interval_resamples_groups_within_their_class():
    """Two images of one slide go together; one slide per class leaves nothing to vary."""
    table = similarities([0.0, 0.0, 1.0, 1.0])
    together = table.assign(group=["s", "s", "t", "t"])
    found = explain.mean_similarity(together, repeats=500, seed=1).iloc[0]
    assert [found["low"], found["value"], found["high"]] == [0, 0.5, 1]
    apart = together.assign(label=["a", "a", "b", "b"])
    found = explain.mean_similarity(apart, repeats=500, seed=1).iloc[0]
    assert [found["low"], found["value"], found["high"]] == [0.5, 0.5, 0.5]


def test_maps_that_are_constant_everywhere_are_refused():
    """No image has a correlation: there is nothing to average."""
    with pytest.raises(explain.ExplainError, match="golgi: expected maps that vary"):
        explain.mean_similarity(similarities([np.nan, np.nan]), repeats=100, seed=0)
