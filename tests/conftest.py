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
