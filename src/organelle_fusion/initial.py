"""Initial values of the kernels."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="organelle_fusion")
class FlatGlorotUniform(keras.initializers.GlorotUniform):
    """The values of `keras.initializers.GlorotUniform`, cut from a row of a usual length.

    JAX compiles a drawing for every shape, about a second for one of four axes, which was most of
    the time that a new process took to begin its first training.
    """

    def __call__(self, shape, dtype=None):
        # Inputs and outputs of a kernel are its last two axes, of a place each; Glorot & Bengio
        # 2010, eq. 16.
        places = math.prod(shape[:-2])
        limit = math.sqrt(3.0 / max(1.0, places * (shape[-2] + shape[-1]) / 2.0))
        size = math.prod(shape)
        length = max(4096, 1 << (size - 1).bit_length())
        row = keras.random.uniform(
            (length,), minval=-limit, maxval=limit, dtype=dtype, seed=self.seed
        )
        # What is drawn at a place does not depend on the length; cut without compiling again.
        return ops.convert_to_tensor(ops.convert_to_numpy(row)[:size].reshape(shape))
