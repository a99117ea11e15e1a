"""Initial values: those of Keras' own initialiser, bit by bit."""

import random

import keras
import numpy as np
import pytest

from organelle_fusion.config import AugmentationSettings, EncoderSettings, load_profile
from organelle_fusion.initial import FlatGlorotUniform, drawn_seed, seed_networks
from organelle_fusion.models import build_model, set_seed

pytestmark = pytest.mark.keras


@pytest.mark.parametrize(
    "shape", [(3, 3, 1, 8), (1, 1, 8, 16), (7, 7, 8, 1), (32, 64), (3, 3, 64, 100)]
)
def test_values_are_those_of_keras(shape):
    """For kernels of convolutions, of each channel by itself, and dense; of any size."""
    found = keras.ops.convert_to_numpy(FlatGlorotUniform(5)(shape))
    expected = keras.ops.convert_to_numpy(keras.initializers.GlorotUniform(5)(shape))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_limits_by_hand():
    """Glorot & Bengio: ±√(6 / (fan in + fan out)), here of 9 places with 2 and 4 channels: 1/3."""
    values = keras.ops.convert_to_numpy(FlatGlorotUniform(1)((3, 3, 2, 4)))
    assert np.abs(values).max() <= 1 / 3
    assert np.abs(values).max() > 0.3


def test_a_layer_of_a_file_draws_again():
    """A configuration brings the initialiser back; without a seed each has its own."""
    first, second = FlatGlorotUniform(), FlatGlorotUniform()
    assert not np.array_equal(*(np.asarray(each((4, 4))) for each in (first, second)))
    layer = keras.layers.Dense(3, kernel_initializer=FlatGlorotUniform(7))
    again = keras.layers.Dense.from_config(layer.get_config())
    assert isinstance(again.kernel_initializer, FlatGlorotUniform)
    np.testing.assert_array_equal(
        again.kernel_initializer((4, 4)), layer.kernel_initializer((4, 4))
    )


@pytest.mark.parametrize(
    ("kind", "px"), [("compact", 16), ("compact_convnext", 16), ("resnet50", 32)]
)
def test_what_others_draw_does_not_matter(kind, px):
    """A thread of a worker draws from Python's generator between the seed and the network."""
    encoder = EncoderSettings(kind=kind, input_px=px, filters=(2, 4))
    changes = AugmentationSettings(flips=True, quarter_turns=True, crop=0.1, rotation_deg=5)
    training = load_profile("smoke").training.model_copy(
        update={"augmentation": changes, "dropout": 0.5, "dense_units": 4}
    )

    def variables(seed: int) -> list[np.ndarray]:
        set_seed(seed)
        random.random()
        model = build_model(
            "early", channels=("a", "b"), n_classes=3, encoder=encoder, training=training
        )
        # Seeds of the random layers among them.
        return [np.asarray(value) for value in model.variables]

    first, again, other = variables(1), variables(1), variables(2)
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    differ = [not np.array_equal(*pair) for pair in zip(first, other, strict=True)]
    kernels = [value.ndim > 1 for value in first]
    assert np.array(differ)[np.array(kernels)].all()


def test_seeds_are_those_that_keras_would_draw():
    """So that initial values are those of a plain Keras program."""
    seed_networks(3)
    random.seed(3)
    assert [drawn_seed() for _ in range(5)] == [random.randint(1, 10**9) for _ in range(5)]
