"""What a training takes its batches from: all of one size, of arrays or of a mapped file."""

import keras
import numpy as np

from organelle_fusion.patchset import exceeds_memory


def filling(rows: np.ndarray, batch_size: int, seed: int) -> np.ndarray:
    """As many of `rows`, drawn by `seed`, as are missing to a whole number of batches."""
    missing = -len(rows) % batch_size
    random = np.random.default_rng(seed)
    # Without repetition where there are enough of them.
    return random.choice(rows, missing, replace=missing > len(rows))


def full_batches(rows: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Give `rows`, filled up to full batches by rows of weight 0, and their weights.

    The weights of the true rows are such that Keras' mean over all rows is the mean over them.
    """
    missing = -len(rows) % batch_size
    filled = np.concatenate([rows, np.full(missing, rows[0])])
    weights = np.zeros(len(filled), dtype=np.float32)
    weights[: len(rows)] = len(filled) / len(rows)
    return filled, weights


def native(array: np.ndarray) -> np.ndarray:
    """Give the same numbers in this machine's order of bytes; a copy only if it is another.

    JAX takes no other.
    """
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def batch_source(
    patches: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    *,
    batch_size: int,
    shuffled: bool,
) -> "tuple[np.ndarray, np.ndarray, np.ndarray] | _BatchesInPlace":
    """What Keras takes its batches from: arrays, or the patches themselves if they are too many.

    Whether they are too many for a second copy in memory is for `patchset.exceeds_memory` to say.
    """
    if exceeds_memory(patches.nbytes):
        return _BatchesInPlace(patches, rows, targets, weights, batch_size, shuffled)
    return native(patches[rows]), targets, weights


class _BatchesInPlace(keras.utils.PyDataset):
    """Full batches of some rows, taken from their place one by one; Keras asks for a class."""

    def __init__(self, patches, rows, targets, weights, batch_size, shuffled) -> None:
        super().__init__()
        self._patches, self._rows = patches, rows
        self._targets, self._weights = targets, weights
        self._batch_size, self._shuffled = batch_size, shuffled
        self._order = np.arange(len(rows))

    def __len__(self) -> int:
        return len(self._rows) // self._batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        batch = native(self._patches[self._rows[chosen]])
        return batch, self._targets[chosen], self._weights[chosen]

    def on_epoch_begin(self) -> None:
        if self._shuffled:
            # As Keras draws the order of arrays on JAX, and seeded by `set_seed` on any backend.
            self._order = np.random.permutation(len(self._rows))  # noqa: NPY002
