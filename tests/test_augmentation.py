"""Augmentation: exact turns, resampling as in SciPy, equal in all channels, off at prediction."""

import numpy as np
import pytest
from scipy import ndimage

keras = pytest.importorskip("keras")

from organelle_fusion.augmentation import CropAndRotate, QuarterTurns, augment, resample  # noqa: E402
from organelle_fusion.config import AugmentationSettings  # noqa: E402
from organelle_fusion.models import set_seed  # noqa: E402

pytestmark = pytest.mark.keras

FULL = AugmentationSettings(flips=True, quarter_turns=True, crop=0.2, rotation_deg=15)
MIDDLE = (0.5, 0.5)


def augmenter(settings, size=12, channels=3):
    image = keras.Input((size, size, channels))
    return keras.Model(image, augment(image, settings))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((64, 12, 12, 3), dtype=np.float32)


def as_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def resampled(images, share, angle, centre):
    """`resample` with the same window for all images."""
    n = len(images)
    window = np.full(n, share), np.full(n, angle), np.tile(centre, (n, 1))
    return as_numpy(resample(images, *(values.astype(np.float32) for values in window)))


def by_scipy(image, share, angle, centre):
    """One image by SciPy's affine transform: output position → position in the input."""
    size = image.shape[0]
    cosine, sine = share * np.cos(angle), share * np.sin(angle)
    matrix = np.array([[cosine, sine], [-sine, cosine]])  # (down, right) → (down, right)
    offset = np.array(centre) * size - 0.5 - matrix @ np.full(2, size / 2 - 0.5)
    planes = [
        ndimage.affine_transform(plane.astype(float), matrix, offset, order=1, mode="reflect")
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (AugmentationSettings(), ["flip_horizontal", "flip_vertical"]),
        (AugmentationSettings(flips=False), []),
        (AugmentationSettings(flips=False, quarter_turns=True), ["quarter_turns"]),
        (AugmentationSettings(flips=False, rotation_deg=5), ["crop_and_rotate"]),
        (FULL, ["flip_horizontal", "flip_vertical", "quarter_turns", "crop_and_rotate"]),
    ],
    ids=["default", "none", "turns", "rotation", "all"],
)
def test_settings_give_layers(settings, expected):
    """Only what is asked for, and flips first."""
    assert [layer.name for layer in augmenter(settings).layers[1:]] == expected


def test_quarter_turns_are_exact_and_all_occur(images):
    """Each image is one of NumPy's four rotations of itself, bit for bit."""
    found = as_numpy(QuarterTurns()(images, training=True))
    turned = np.stack([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
    equal = (turned == found).all(axis=(2, 3, 4))
    np.testing.assert_array_equal(equal.sum(axis=0), 1)
    assert (equal.sum(axis=1) >= 5).all()  # 16 of 64 expected of each


@pytest.mark.parametrize(
    ("share", "angle_deg", "centre"),
    [
        (1, 20, MIDDLE),
        (1, -33, MIDDLE),
        (0.7, 0, (0.35, 0.65)),
        (0.83, 12.5, (0.45, 0.56)),
        (1, 45, (0.1, 0.9)),
    ],
    ids=["turn", "turn-back", "corner", "both", "far-outside"],
)
def test_resampling_is_that_of_scipy(images, share, angle_deg, centre):
    """Bilinear with reflected edges, for a known window."""
    angle = np.radians(angle_deg)
    found = resampled(images[:4], share, angle, centre)
    expected = [by_scipy(image, share, angle, centre) for image in images[:4]]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_right_angle_is_a_quarter_turn(images):
    """The sense of rotation: counter-clockwise, as NumPy turns."""
    found = resampled(images, 1, np.pi / 2, MIDDLE)
    np.testing.assert_allclose(found, np.rot90(images, axes=(1, 2)), atol=2e-5)


def test_crop_by_hand():
    """Two of four pixels, enlarged: their values lie a quarter and three quarters between."""
    ramp = np.tile(np.array([0, 10, 20, 30], np.float32), (4, 1))[None, :, :, None]
    right = resampled(ramp, 0.5, 0, (0.5, 0.75))[0, :, :, 0]
    # Centres of the new pixels at 1.75, 2.25, 2.75 and 3.25: beyond the last one is its mirror.
    np.testing.assert_allclose(right, np.tile([17.5, 22.5, 27.5, 30], (4, 1)), atol=1e-4)


def test_random_windows_are_inside_and_differ():
    """The position of each pixel as its value: corners of the windows, turned back, are in range.

    Without rotation the image of a ramp tells edge and place of the window.
    """
    size, crop = 50, 0.3
    ramp = np.arange(size, dtype=np.float32)
    positions = np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1)
    batch = np.tile(positions, (200, 1, 1, 1))
    found = as_numpy(CropAndRotate(crop, 0)(batch, training=True))
    inner = found[:, 5:-5, 5:-5]  # away from reflected edges
    steps = inner[:, 1, 0, 0] - inner[:, 0, 0, 0], inner[:, 0, 1, 1] - inner[:, 0, 0, 1]
    np.testing.assert_allclose(steps[0], steps[1], atol=1e-4)  # as much cut off in y as in x
    share = steps[0]
    assert share.min() >= 1 - crop - 1e-4
    assert share.max() <= 1 + 1e-4
    assert np.ptp(share) > 0.8 * crop
    # Middle of the window, as a share of the room it has: from one edge of the image to the other.
    middle = (inner[:, 0, 0] + inner[:, -1, -1]) / 2 - (size - 1) / 2
    place = middle / (size * (1 - share[:, None]) / 2)
    assert np.abs(place).max() < 1 + 1e-2
    assert (place.min(axis=0) < -0.8).all()
    assert (place.max(axis=0) > 0.8).all()
    assert abs(np.corrcoef(place.T)[0, 1]) < 0.3


def test_random_angles_are_in_range():
    """The slope of a ramp tells the angle: up to the largest one, both ways."""
    size, largest = 21, 15
    ramp = np.arange(size, dtype=np.float32)
    positions = np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1)
    found = as_numpy(CropAndRotate(0, largest)(np.tile(positions, (200, 1, 1, 1)), training=True))
    middle = size // 2
    along = found[:, middle, middle + 1] - found[:, middle, middle]  # one pixel to the right
    np.testing.assert_allclose(np.hypot(*along.T), 1, atol=1e-4)
    angles = np.degrees(np.arctan2(along[:, 0], along[:, 1]))
    assert np.abs(angles).max() <= largest + 1e-3
    assert angles.min() < -0.8 * largest
    assert angles.max() > 0.8 * largest


def test_channels_change_alike_and_keep_their_order(images):
    """From [x, 2 x, 4 x] comes [y, 2 y, 4 y], and no image stays as it was."""
    x = images[..., :1]
    stacked = np.concatenate([x, 2 * x, 4 * x], axis=-1)
    found = as_numpy(augmenter(FULL)(stacked, training=True))
    np.testing.assert_allclose(found[..., 1:2], 2 * found[..., :1], rtol=1e-6)
    np.testing.assert_allclose(found[..., 2:], 4 * found[..., :1], rtol=1e-6)
    assert (np.abs(found - stacked).max(axis=(1, 2, 3)) > 0.1).all()


def test_images_are_not_mixed(images):
    """Images of different brightness stay in their places of the batch."""
    level = 10 * np.arange(len(images), dtype=np.float32)[:, None, None, None]
    found = as_numpy(augmenter(FULL)(images + level, training=True))
    assert (found >= level - 1e-3).all()
    assert (found <= level + 1 + 1e-3).all()


def test_range_of_intensities_is_kept(images):
    """No value beyond those of the image it came from, and constant images stay constant."""
    model = augmenter(FULL)
    found = as_numpy(model(images, training=True))
    rounding = 1e-6
    assert (found.min(axis=(1, 2)) >= images.min(axis=(1, 2)) - rounding).all()
    assert (found.max(axis=(1, 2)) <= images.max(axis=(1, 2)) + rounding).all()
    constant = np.full_like(images, 0.7)
    np.testing.assert_array_equal(as_numpy(model(constant, training=True)), constant)


def test_prediction_sees_the_images_as_they_are(images):
    """Bit for bit, by call and by `predict`."""
    model = augmenter(FULL)
    np.testing.assert_array_equal(as_numpy(model(images, training=False)), images)
    np.testing.assert_array_equal(model.predict(images, verbose=0), images)


def test_every_batch_is_changed_anew_and_by_the_seed(images):
    """Two calls differ; the same seed gives the same two again."""

    def two_calls(seed):
        set_seed(seed)
        model = augmenter(FULL)
        return [as_numpy(model(images, training=True)) for _ in range(2)]

    first, second = two_calls(1)
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(two_calls(1), [first, second])
    assert np.abs(two_calls(2)[0] - first).max() > 0.1


def test_layers_survive_saving(images, tmp_path):
    """A model read back has the same settings, and still changes images in training only."""
    augmenter(FULL).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    layer = loaded.get_layer("crop_and_rotate")
    assert (layer.crop, layer.rotation_deg) == (FULL.crop, FULL.rotation_deg)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), images)
    assert np.abs(as_numpy(loaded(images, training=True)) - images).max() > 0.1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles everything")
def test_the_whole_can_be_compiled_for_an_accelerator(images):
    """TensorFlow's compiler takes all layers: Keras' own affine transform it would refuse."""
    import tensorflow as tf

    model = augmenter(FULL)
    compiled = tf.function(lambda x: model(x, training=True), jit_compile=True)
    assert np.abs(compiled(images).numpy() - images).max() > 0.1
