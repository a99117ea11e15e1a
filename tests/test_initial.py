"""Initial values: those of Keras' own initialiser, bit by bit."""

import keras
import numpy as np
import pytest

from organelle_fusion.initial import FlatGlorotUniform

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
