"""What tests of several modules share, and how long they take."""

import atexit
import os
import shutil
import tempfile

import numpy as np
import pytest


def pytest_configure(config):
    """Let all tests, and the chapters that they execute, share what JAX compiles.

    The first process makes the folder; those of pytest-xdist find it in their environment.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="jax-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # pytest-xdist would begin with the files of most tests, and the longest has three.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """The chain of chapters first: it takes longest."""
    items.sort(key=lambda item: item.path.stem != "test_pipeline")


@pytest.fixture
def by_hand():
    """(2, 2, 5, 9) of 0 and 10, so that Otsu's threshold is 0; patches of 4 px: two a plane."""
    array = np.zeros((2, 2, 5, 9), np.uint16)
    a, b = array
    a[0, 0, :4] = 10  # plane 0, first patch: a row in a and a column in b, which cross
    b[0, :4, 0] = 10
    a[0, 3, 7] = 10  # plane 0, second patch: one pixel
    a[1, :4, 4:8] = 10  # plane 1, second patch: all of it in a, half of it in b
    b[1, :2, 4:8] = 10
    array[:, :, 4, :] = 10  # border remainder below and at the right: never counted
    array[:, :, :, 8] = 10
    return array


@pytest.fixture
def facts_of():
    """Facts of a network of two channels, a and b, and two classes; changes are given by name."""

    def make(**changes):
        from organelle_fusion.model_file import ModelFacts

        intensities = {"low": (0, 0), "otsu": (0, 50), "high": (90, 100), "saturated": (0, 1)}
        score = {
            "value": 0.75, "low": None, "high": None, "patches": 40, "images": 4,
            "images_right": 3, "classes": 2,
        }  # fmt: skip
        seen = {
            "images": 6,
            "dtypes": ["uint16"],
            "pixel_size_um": [0.5, 0.5],
            "patches": [2, 20],
            "share_kept": [0.4, 1.0],
            "intensities": {name: intensities for name in changes.get("channels", ("a", "b"))},
        }
        content = {
            "format": 1,
            "strategy": "early",
            "channels": ("a", "b"),
            "classes": ("one", "two"),
            "patch_um": 10.0,
            "input_px": 16,
            "percentiles": (1.0, 99.9),
            "min_foreground": 0.1,
            "score": score,
            "score_of_all_folds": score | {"low": 0.5, "high": 0.9, "patches": 200, "images": 20},
            "data": "own stacks (mine.csv)",
            "is_phantom": False,
            "profile": "smoke",
            "backend": "jax",
            "fold": 0,
            "n_folds": 5,
            "seed": 7,
            "hashes": {"data": "d1", "folds": "f1"},
            "versions": {"keras": "3.15.1"},
            "trained": "2026-11-26T20:10:06+00:00",
        }
        return ModelFacts.model_validate(
            content | {"seen": seen | changes.pop("seen", {})} | changes
        )

    return make


@pytest.fixture
def mean_network():
    """Network of two channels and two classes, in Keras, whose logits are 8 × their means of 0..1.

    So the probability of the first class is 1 / (1 + exp(8 (b − a))) where a and b are the means.
    """
    import keras
    from keras import layers

    image = keras.Input((16, 16, 2), name="image")
    embedding = layers.GlobalAveragePooling2D()(image)
    encoder = keras.Model(image, [image, embedding], name="encoder")
    scaled = layers.Rescaling(1 / 255)(image)
    head = keras.Sequential([keras.Input((2,)), layers.Dense(2)], name="fusion_head")
    network = keras.Model(image, head(encoder(scaled)[1]), name="early")
    head.set_weights([8 * np.eye(2), np.zeros(2)])
    return network
