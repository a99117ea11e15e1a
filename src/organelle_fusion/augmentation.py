"""Random changes of the images in training: flips, quarter turns, crops and small rotations.

Keras layers inside the network, so that every epoch sees each patch otherwise, and prediction sees
it as it is. All channels of an image change alike. Crop and rotation share one resampling, since
each further one would blur small organelles once more.
"""

from math import radians

import keras
from keras import layers, ops

from organelle_fusion.config import AugmentationSettings
from organelle_fusion.initial import drawn_seed


def augment(images, settings: AugmentationSettings):
    """Put the layers that the settings ask for behind `images` (paper: Training).

    Parameters
    ----------
    images
        Keras tensor of square images, float (N, H, H, C).
    settings
        Which changes, and how large.

    Returns
    -------
    Keras tensor
        Of the same shape. Without any change asked for it is `images`.
    """
    if settings.flips:
        # Two layers, since RandomFlip("horizontal_and_vertical") of Keras 3 draws once per image
        # for both axes: it turns by 180 degrees or not at all, and never mirrors.
        images = _flip("horizontal")(images)
        images = _flip("vertical")(images)
    if settings.quarter_turns:
        images = QuarterTurns(name="quarter_turns")(images)
    if settings.crop or settings.rotation_deg:
        images = CropAndRotate(settings.crop, settings.rotation_deg, name="crop_and_rotate")(images)
    return images


def _flip(axis: str) -> layers.Layer:
    return layers.RandomFlip(axis, seed=drawn_seed(), name=f"flip_{axis}")


@keras.saving.register_keras_serializable(package="organelle_fusion")
class QuarterTurns(layers.Layer):
    """Turn each image by 0, 90, 180 or 270 degrees, without interpolation, in training only.

    All four are equally likely. Images are square, float (N, H, H, C).
    """

    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.random.SeedGenerator(drawn_seed())

    def call(self, images, training=False):
        if not training:
            return images
        shape = (ops.shape(images)[0], 1, 1, 1)
        turns = keras.random.randint(shape, 0, 4, seed=self.generator)
        turned = images
        for number in (1, 2, 3):
            turned = ops.where(turns == number, ops.rot90(images, number, axes=(1, 2)), turned)
        return turned

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="organelle_fusion")
class CropAndRotate(layers.Layer):
    """Replace each image by a random window of it, turned a little, in training only.

    The edge of the window is 1 - `crop` to 1 of the image's, its place is anywhere inside the
    image, and it is enlarged to the size of the image. It is turned about its own centre; what its
    corners then see beyond the image is the image reflected.

    Parameters
    ----------
    crop
        Largest share of the edge that is cut off, 0 to below 1.
    rotation_deg
        Largest angle, degrees, either way.
    """

    def __init__(self, crop: float, rotation_deg: float, **options):
        super().__init__(**options)
        self.crop = crop
        self.rotation_deg = rotation_deg
        self.generator = keras.random.SeedGenerator(drawn_seed())

    def call(self, images, training=False):
        if not training:
            return images
        count = ops.shape(images)[0]
        share = 1 - self.crop * keras.random.uniform((count,), seed=self.generator)
        largest = radians(self.rotation_deg)
        angle = keras.random.uniform((count,), -largest, largest, seed=self.generator)
        place = keras.random.uniform((count, 2), seed=self.generator)
        centre = share[:, None] / 2 + place * (1 - share[:, None])
        return resample(images, share, angle, centre)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"crop": self.crop, "rotation_deg": self.rotation_deg}
        return {**super().get_config(), **own}


def resample(images, share, angle, centre):
    """Cut a window out of each image, turn it, and enlarge it to the size of the image.

    Bilinear, in one step; beyond its edges an image is reflected, the outermost pixel twice
    (``reflect`` of SciPy). The affine transform of `keras.ops` does the same, but TensorFlow cannot
    compile it for an accelerator, and the whole network would run uncompiled for it.

    Parameters
    ----------
    images
        Float (N, H, W, C).
    share
        Edge of the window as a share of the image's, (N,).
    angle
        By which the content turns counter-clockwise, radians, (N,).
    centre
        Centre of the window (y, x) as a share of the image's height and width, (N, 2).

    Returns
    -------
    tensor
        Float (N, H, W, C).
    """
    height, width, channels = images.shape[1:]

    def per_image(values):
        return ops.reshape(values, (-1, 1, 1))

    # From the centre of the result to the centres of its pixels, in pixels of the image.
    share = per_image(share)
    down = share * ops.reshape(ops.arange(height, dtype="float32") + 0.5 - height / 2, (1, -1, 1))
    right = share * ops.reshape(ops.arange(width, dtype="float32") + 0.5 - width / 2, (1, 1, -1))
    cosine, sine = ops.cos(per_image(angle)), ops.sin(per_image(angle))
    y = per_image(centre[:, 0]) * height - 0.5 + down * cosine + right * sine
    x = per_image(centre[:, 1]) * width - 0.5 + right * cosine - down * sine
    above, left = ops.floor(y), ops.floor(x)
    y_share, x_share = (y - above)[..., None], (x - left)[..., None]
    above, left = ops.cast(above, "int32"), ops.cast(left, "int32")

    pixels = ops.reshape(images, (-1, channels))
    first = per_image(ops.arange(ops.shape(images)[0], dtype="int32")) * (height * width)

    def pixel(row, column):
        place = first + _reflected(row, height) * width + _reflected(column, width)
        return ops.take(pixels, place, axis=0)

    def between(one, other, part):
        # In this form two equal values give exactly the same value.
        return one + part * (other - one)

    upper = between(pixel(above, left), pixel(above, left + 1), x_share)
    lower = between(pixel(above + 1, left), pixel(above + 1, left + 1), x_share)
    return between(upper, lower, y_share)


def _reflected(index, length: int):
    """Place of index -1, -2, … or length, length + 1, … inside: 0, 1, … or length - 1, …."""
    index = ops.mod(index, 2 * length)
    return ops.where(index < length, index, 2 * length - 1 - index)
