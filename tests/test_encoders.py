"""Encoders: the stem's stride, and ImageNet weights against a network of Keras' own."""

import urllib.error

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion import encoders, predictions, sweep  # noqa: E402
from organelle_fusion.config import EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.encoders import (  # noqa: E402
    BandedDepthwise,
    ModelError,
    PlaneConvolution,
    build_encoder,
)
from organelle_fusion.models import build_model, set_seed  # noqa: E402
from organelle_fusion.patchset import PatchSet  # noqa: E402

pytestmark = pytest.mark.keras

VALID = {"padding": "valid"}
MEAN = (103.939 + 116.779 + 123.68) / 3  # of ImageNet, as Keras subtracts it


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def equal_channels(channels):
    """Grey images of 0..1."""
    grey = np.random.default_rng(2).random((3, 32, 32, 1), dtype=np.float32)
    return np.repeat(grey, channels, axis=-1)


@pytest.fixture(scope="module")
def rgb():
    """Keras' ResNet50 for colours, whose weights stand in for ImageNet's."""
    set_seed(1)
    network = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(32, 32, 3), name="rgb"
    )
    random = np.random.default_rng(3)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # As after a training: not all 0 or 1.
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return network


@pytest.fixture(scope="module")
def stored(rgb, tmp_path_factory):
    """The same weights in a file of about 95 MB."""
    path = tmp_path_factory.mktemp("weights") / "rgb.weights.h5"
    rgb.save_weights(path)
    yield path
    path.unlink()


@pytest.fixture
def activations(rgb):
    """Give the first activation and the embedding of the colour network."""

    def of(images):
        first = keras.Model(rgb.input, [rgb.get_layer("conv1_conv").output, rgb.output])
        stem, feature_map = map(as_numpy, first(images * 255 - MEAN, training=False))
        return stem, feature_map.mean(axis=(1, 2))

    return of


def own_activations(encoder, images):
    first = keras.Model(encoder.input, [encoder.get_layer("conv1_conv").output, *encoder.output])
    stem, _, embedding = map(as_numpy, first(images, training=False))
    return stem, embedding


def test_embedding_is_the_mean_of_the_feature_map():
    """16 px are halved twice; the embedding is the global average of what is left."""
    encoder = build_encoder("compact", (16, 16, 1), name="encoder", filters=(4, 8))
    image = np.random.default_rng(1).random((5, 16, 16, 1), dtype=np.float32)
    feature_map, embedding = map(as_numpy, encoder(image, training=False))
    assert feature_map.shape == (5, 4, 4, 8)
    assert feature_map.std() > 0
    np.testing.assert_allclose(embedding, feature_map.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "stem", "parity", "edge"),
    [("compact", "stem", 1, 16), ("resnet50", "conv1_conv", 0, 2)],
)
def test_stride_of_the_stem(kind, stem, parity, edge, stored):
    """With stride 2 the stem gives every second value of stride 1; all weights fit both."""
    weights = str(stored) if kind == "resnet50" else None
    fine, coarse = (
        build_encoder(
            kind,
            (32, 32, 1),
            name="encoder",
            filters=(4, 8),
            stem_stride=stride,
            weights=weights,
        )
        for stride in (1, 2)
    )
    assert fine.output[0].shape[1:3] == (edge, edge)
    assert coarse.output[0].shape[1:3] == (edge // 2, edge // 2)
    assert [layer.name for layer in fine.layers[1:]] == [layer.name for layer in coarse.layers[1:]]
    if weights is None:
        coarse.set_weights(fine.get_weights())
    image = equal_channels(1)
    found, expected = (
        as_numpy(keras.Model(network.input, network.get_layer(stem).output)(image))
        for network in (coarse, fine)
    )
    assert expected.std() > 0
    # Keras pads an even image for stride 2 on the right only, so there the odd ones are taken.
    np.testing.assert_allclose(found, expected[:, parity::2, parity::2], atol=1e-5 * expected.std())


@pytest.mark.parametrize(
    ("own", "kerass", "channels", "options"),
    [
        (PlaneConvolution, keras.layers.Conv2D, 1, {"filters": 4, "kernel_size": 3}),
        (PlaneConvolution, keras.layers.Conv2D, 1, {"filters": 4, "kernel_size": 3, "strides": 2}),
        (PlaneConvolution, keras.layers.Conv2D, 1, {"filters": 4, "kernel_size": 4, "strides": 3}),
        (BandedDepthwise, keras.layers.DepthwiseConv2D, 3, {"kernel_size": 7}),
        (BandedDepthwise, keras.layers.DepthwiseConv2D, 3, {"kernel_size": 4}),
        # Where they are none, Keras' own are computed.
        (PlaneConvolution, keras.layers.Conv2D, 2, {"filters": 4, "kernel_size": 3}),
        (PlaneConvolution, keras.layers.Conv2D, 1, {"filters": 4, "kernel_size": 3, **VALID}),
        (BandedDepthwise, keras.layers.DepthwiseConv2D, 3, {"kernel_size": 3, **VALID}),
        (BandedDepthwise, keras.layers.DepthwiseConv2D, 3, {"kernel_size": 3, "strides": 2}),
    ],
)
@pytest.mark.parametrize("edge", [8, 9])
def test_products_are_the_convolutions_of_keras(own, kerass, channels, options, edge):
    """Values, and what a step of training makes of kernel and bias; images are not square."""
    random = np.random.default_rng(4)
    image = random.normal(size=(3, edge, edge + 4, channels)).astype(np.float32)
    ours, theirs = (kind(**{"padding": "same"} | options) for kind in (own, kerass))
    for layer in (ours, theirs):
        layer.build(image.shape)
    ours.set_weights([random.normal(size=weight.shape) for weight in ours.weights])
    theirs.set_weights(ours.get_weights())
    expected = as_numpy(theirs(image))
    np.testing.assert_allclose(as_numpy(ours(image)), expected, atol=1e-5)
    assert ours.compute_output_shape(image.shape) == expected.shape
    trained, untrained = [], ours.get_weights()
    for layer in (ours, theirs):
        network = keras.Sequential([keras.Input(image.shape[1:]), layer])
        network.compile(keras.optimizers.SGD(0.1), "mse")
        network.train_on_batch(image, np.zeros_like(expected))
        trained.append(layer.get_weights())
    for found, wanted, before in zip(*trained, untrained, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        assert np.abs(found - before).max() > 1e-3


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_grey_images_are_seen_as_by_the_colour_network(channels, stored, activations, rgb):
    """First activation and embedding; and every other weight is the file's."""
    encoder = build_encoder("resnet50", (32, 32, channels), name="encoder", weights=str(stored))
    expected = activations(equal_channels(3))
    found = own_activations(encoder, equal_channels(channels))
    for own, of_rgb in zip(found, expected, strict=True):
        assert of_rgb.std() > 0.01
        np.testing.assert_allclose(own, of_rgb, rtol=1e-4, atol=1e-4 * of_rgb.std())
    for layer in filter(lambda layer: layer.weights, rgb.layers):
        own, of_rgb = encoder.get_layer(layer.name).get_weights(), layer.get_weights()
        if layer.name == "conv1_conv" and channels != 3:
            assert own[0].shape == (7, 7, channels, 64)
            of_rgb[0] = of_rgb[0].sum(axis=2, keepdims=True)  # folded, shared by the channels
            own[0] = own[0].sum(axis=2, keepdims=True)
            np.testing.assert_allclose(own[0], of_rgb[0], atol=1e-6)
            continue
        for one, other in zip(own, of_rgb, strict=True):
            np.testing.assert_array_equal(one, other)


def test_three_channels_meet_the_kernels_in_their_order(stored, activations):
    """Three different channels: as the colour network, and not as with two swapped."""
    images = np.random.default_rng(4).random((3, 32, 32, 3), dtype=np.float32)
    encoder = build_encoder("resnet50", (32, 32, 3), name="encoder", weights=str(stored))
    found, expected = own_activations(encoder, images)[0], activations(images)[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.std())
    assert np.abs(found - activations(images[..., ::-1])[0]).max() > 0.1 * expected.std()


def test_older_files_are_read_too(rgb, tmp_path):
    """The layout of Keras' own download: HDF5 of before Keras 3, layer by layer."""
    path = tmp_path / "rgb.h5"
    rgb.save(path)
    encoder = build_encoder("resnet50", (32, 32, 3), name="encoder", weights=str(path))
    path.unlink()
    for found, expected in zip(encoder.get_weights(), rgb.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_are_read_once_and_leave_the_seed_alone(stored, monkeypatch):
    """Both encoders of two networks start from one reading; the heads from the seed."""
    encoders._read_weights.cache_clear()
    read = []
    build = keras.applications.ResNet50

    def counted(**options):
        if options["weights"]:
            read.append(options["weights"])
        return build(**options)

    monkeypatch.setattr(keras.applications, "ResNet50", counted)
    profile = load_profile("smoke")
    settings = EncoderSettings(kind="resnet50", input_px=32, weights=str(stored))

    def network():
        set_seed(5)
        return build_model(
            "intermediate",
            channels=("a", "b"),
            n_classes=2,
            encoder=settings,
            training=profile.training,
        )

    first, second = network(), network()
    assert read == [stored]
    stems = [
        first.get_layer(f"encoder_{name}").get_layer("conv1_conv").get_weights()[0] for name in "ab"
    ]
    assert stems[0].std() > 0
    np.testing.assert_array_equal(*stems)
    # The file was read while the first was built, and not while the second was.
    heads = [model.get_layer("fusion_head").get_weights() for model in (first, second)]
    for one, other in zip(*heads, strict=True):
        np.testing.assert_array_equal(one, other)


# --- ConvNeXt -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_compact_convnext_by_hand(stem_stride):
    """Shape, number of weights, and the embedding as the mean of a normalised map."""
    set_seed(0)
    encoder = build_encoder(
        "compact_convnext", (16, 16, 2), name="e", filters=(4, 6), stem_stride=stem_stride
    )
    patch = 2 * stem_stride
    edge = 16 // patch // 2
    images = np.random.default_rng(1).random((3, 16, 16, 2), dtype=np.float32)
    feature_map, embedding = map(as_numpy, encoder(images, training=False))
    assert feature_map.shape == (3, edge, edge, 6)
    np.testing.assert_allclose(embedding, feature_map.mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(feature_map.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(feature_map.std(axis=-1), 1, atol=1e-2)

    def block(width):
        depthwise, norm = 50 * width, 2 * width
        return depthwise + norm + (width + 1) * 4 * width + (4 * width + 1) * width

    stem = (patch**2 * 2 + 1) * 4 + 8
    down = 8 + (4 * 4 + 1) * 6
    assert encoder.count_params() == stem + block(4) + down + block(6) + 12


@pytest.fixture(scope="module")
def convnext_rgb():
    """Keras' ConvNeXt-Tiny for colours, with random weights in place of ImageNet's."""
    set_seed(1)
    return keras.applications.ConvNeXtTiny(
        weights=None, include_top=False, include_preprocessing=False, input_shape=(32, 32, 3)
    )


def test_convnext_tiny_is_keras_own(convnext_rgb, monkeypatch):
    """For two channels only the kernels of the stem differ: 4 × 4 × 96 fewer for each channel."""
    encoders._read_weights.cache_clear()
    build = keras.applications.ConvNeXtTiny
    asked = []

    def loader(**options):
        if options["weights"] is None:
            return build(**options)
        asked.append((options["weights"], options["include_top"], options["name"]))
        return convnext_rgb

    monkeypatch.setattr(keras.applications, "ConvNeXtTiny", loader)
    encoder = build_encoder("convnext_tiny", (32, 32, 2), name="encoder", weights="imagenet")
    encoders._read_weights.cache_clear()
    assert asked == [("imagenet", False, "convnext_tiny")]
    assert encoder.count_params() == convnext_rgb.count_params() - 4 * 4 * 96
    # 27.82 million in the paper's count of the network without its classifier.
    assert convnext_rgb.count_params() == 27_820_128
    images = equal_channels(2)
    feature_map, embedding = map(as_numpy, encoder(images, training=False))
    assert feature_map.shape == (3, 1, 1, 768)
    np.testing.assert_allclose(embedding, feature_map[:, 0, 0], atol=1e-6)
    mean, deviation = np.mean([0.485, 0.456, 0.406]), np.mean([0.229, 0.224, 0.225])
    grey = (equal_channels(3) - mean) / deviation
    expected = as_numpy(convnext_rgb(grey, training=False))
    np.testing.assert_allclose(feature_map, expected, atol=1e-3 * expected.std())


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_missing_weights_are_named(tmp_path):
    """The path that was given, and what to do."""
    with pytest.raises(ModelError) as error:
        build_encoder("resnet50", (32, 32, 1), name="encoder", weights=str(tmp_path / "no.h5"))
    assert f"found no file {tmp_path / 'no.h5'}; check the path" in one_line(error)


@pytest.mark.parametrize("kind", ["cut off", "no file of weights", "of another network"])
def test_weights_that_cannot_be_read_are_refused(kind, stored, tmp_path):
    """Never a silent random start."""
    path = tmp_path / "bad.weights.h5"
    if kind == "cut off":
        with open(stored, "rb") as stream:
            path.write_bytes(stream.read(1_000_000))
    elif kind == "no file of weights":
        path.write_text("hello")
    else:
        path = tmp_path / "bad.h5"
        build_encoder("compact", (32, 32, 3), name="encoder").save(path)
    with pytest.raises(ModelError) as error:
        build_encoder("resnet50", (32, 32, 1), name="encoder", weights=str(path))
    text = one_line(error)
    assert str(path) in text
    assert text.endswith("; choose another file or get it again")


def test_damage_inside_the_file_is_refused(stored, tmp_path):
    """A file of the right length whose list of contents is lost."""
    content = bytearray(stored.read_bytes())
    content[2000:6000] = bytes(4000)
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="found others or a damaged file"):
        build_encoder("resnet50", (32, 32, 1), name="encoder", weights=str(path))
    path.unlink()


def without_network(**options):
    """Raise what Keras' loader raises, in its own way."""
    cause = urllib.error.URLError("[Errno -2] Name or service not known")
    raise Exception(f"URL fetch failure on https://example.org/a.h5: None -- {cause.reason}")


def test_imagenet_without_network_names_both_ways_out(monkeypatch):
    """Connect once, or give the file."""
    encoders._read_weights.cache_clear()
    build = keras.applications.ResNet50
    monkeypatch.setattr(
        keras.applications,
        "ResNet50",
        lambda **options: (without_network if options["weights"] else build)(**options),
    )
    with pytest.raises(ModelError) as error:
        build_encoder("resnet50", (32, 32, 1), name="encoder", weights="imagenet")
    text = one_line(error)
    assert "Name or service not known" in text
    assert "connect once, so that Keras can download and keep it" in text
    assert "or set encoder.weights to the path of the file" in text


def test_imagenet_is_asked_of_keras_loader(rgb, monkeypatch):
    """Whatever the loader gives for `imagenet` without top are the weights."""
    encoders._read_weights.cache_clear()
    build = keras.applications.ResNet50

    def loader(**options):
        if options["weights"] is None:
            return build(**options)
        assert (options["weights"], options["include_top"]) == ("imagenet", False)
        return rgb

    monkeypatch.setattr(keras.applications, "ResNet50", loader)
    encoder = build_encoder("resnet50", (32, 32, 1), name="encoder", weights="imagenet")
    encoders._read_weights.cache_clear()
    layer = "conv5_block3_3_conv"
    for own, of_rgb in zip(
        encoder.get_layer(layer).get_weights(), rgb.get_layer(layer).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(own, of_rgb)


def test_errors_of_programming_are_not_hidden(monkeypatch):
    """Only what a download or a file can raise becomes a line for the user."""
    encoders._read_weights.cache_clear()
    build = keras.applications.ResNet50

    def broken(**options):
        if options["weights"]:
            raise TypeError("no such option")
        return build(**options)

    monkeypatch.setattr(keras.applications, "ResNet50", broken)
    with pytest.raises(TypeError, match="no such option"):
        build_encoder("resnet50", (32, 32, 1), name="encoder", weights="imagenet")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "vgg"}, "compact, compact_convnext, resnet50 or convnext_tiny, found 'vgg'"),
        ({"kind": "compact", "weights": "imagenet"}, "expected none for the encoder compact"),
        ({"kind": "convnext_tiny", "stem_stride": 1}, "expected 2 for convnext_tiny, found 1"),
        (
            {"kind": "convnext_tiny", "input_shape": (31, 64, 1)},
            "at least 32 px for convnext_tiny, found 31 × 64",
        ),
        ({"kind": "compact_convnext", "filters": (4,) * 6}, "at least 128 px for 7 halvings"),
        ({"kind": "compact", "filters": (4,) * 7}, "at least 128 px for 7 halvings"),
        (
            {"kind": "compact", "filters": (4,) * 8, "stem_stride": 1},
            "at least 128 px for 7 halvings",
        ),
    ],
    ids=[
        "kind",
        "compact-imagenet",
        "convnext-stem",
        "convnext-too-small",
        "compact-convnext-too-small",
        "too-small",
        "too-small-fine-stem",
    ],
)
def test_impossible_encoders_are_refused(arguments, message):
    """The error says what was expected and found."""
    options = {"input_shape": (64, 64, 1), "name": "encoder", **arguments}
    with pytest.raises(ModelError, match=message):
        build_encoder(**options)


def test_another_file_of_weights_trains_again(tmp_path, monkeypatch):
    """Its hash is among what a training depends on; without a file nothing is added."""
    given = []

    def run(cell_sets, **options):
        given.extend(cell_set.inputs for cell_set, _ in cell_sets)

    monkeypatch.setattr(sweep, "run_cell_sets", run)
    monkeypatch.setattr(sweep, "read_predictions", lambda paths: None)
    profile = load_profile("smoke")
    names = [f"image-{i}" for i in range(4)]
    table = pd.DataFrame({"image": names, "group": names, "label": "a", "z": 0, "y": 0, "x": 0})
    patch_set = PatchSet(np.zeros((4, 32, 32, 1), np.uint8), table, ("organelle",), None)
    parts = ["test", "validation", "train", "train"]
    folds = pd.DataFrame(
        [
            (fold, name, "a", parts[(i - fold) % 4])
            for fold in range(4)
            for i, name in enumerate(names)
        ],
        columns=["fold", "group", "label", "part"],
    )

    def inputs(weights):
        encoder = EncoderSettings(kind="resnet50", input_px=32, weights=weights)
        sweep.train_cells(
            patch_set,
            folds,
            models=["organelle"],
            profile=profile.model_copy(update={"encoder": encoder}),
            dataset="toy",
            size_px=350,
            folder=tmp_path,
            seed=1,
        )
        return given[-1]

    path = tmp_path / "weights.h5"
    path.write_text("one")
    first = inputs(str(path))
    assert inputs(str(path)) == first
    path.write_text("two")
    second = inputs(str(path))
    assert {name for name in first if first[name] != second[name]} == {"weights"}
    assert "weights" not in inputs(None)
    assert inputs(None)["settings"] != inputs("imagenet")["settings"]
    path.unlink()
    with pytest.raises(predictions.SweepError, match=r"found no file .*weights.h5; check the path"):
        inputs(str(path))


@pytest.mark.parametrize(("stem", "edge"), [("Conv1", 2), ("conv1_conv", None)])
def test_the_stride_is_that_of_any_published_stem(stem, edge, monkeypatch):
    """Not of a layer called as ResNet50's; a network without such a layer is refused."""
    other = encoders._Published("MobileNetV2", stem, 1.0, 0.0)
    monkeypatch.setitem(encoders._PUBLISHED, "mobilenet", other)

    def build():
        return build_encoder("mobilenet", (32, 32, 1), name="e", stem_stride=1)

    if edge is None:
        with pytest.raises(ModelError, match=r"stem_stride: .*stem conv1_conv .*found Conv1, .*; "):
            build()
    else:
        assert build().output[0].shape[1:3] == (edge, edge)
