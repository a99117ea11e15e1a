"""Initial values of the kernels, and the seeds of whatever else a network draws.

Keras takes a seed that is not given from Python's one generator for everybody. Where a process has
other threads, as a worker has, these draw from it too, and the same network begins differently.
"""

import math
import random

import keras
from keras import ops

_seeds = random.Random()


def seed_networks(seed: int) -> None:
    """Make what `drawn_seed` gives from here on depend on `seed` alone."""
    _seeds.seed(seed)


def drawn_seed() -> int:
    """Seed of the next layer or kernel, as Keras would draw it had nobody else drawn."""
    return _seeds.randint(1, 10**9)


@keras.saving.register_keras_serializable(package="organelle_fusion")
class FlatGlorotUniform(keras.initializers.GlorotUniform):
    """The values of `keras.initializers.GlorotUniform`, cut from a row of a usual length.

    JAX compiles a drawing for every shape, about a second for one of four axes, which was most of
    the time that a new process took to begin its first training. Without a seed, it is drawn by
    `drawn_seed`.
    """

    def __init__(self, seed=None):
        super().__init__(seed=drawn_seed() if seed is None else seed)

    def get_config(self):
        return {"seed": super().get_config()["seed"]}

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
