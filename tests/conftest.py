"""What tests of several modules share."""

import numpy as np
import pytest


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
