"""Loops over pixels, compiled by numba: counting values, counting foreground, averaging areas.

Whoever calls them imports this module where it is needed, as numba takes a second to load. What is
compiled is kept beside this file, or in the user's cache folder where that is read-only. All let
other threads run meanwhile.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def count_values(pixels: np.ndarray, counts: np.ndarray) -> None:
    """Add to `counts` how often each value occurs.

    Parameters
    ----------
    pixels
        Unsigned integers, contiguous, (N,).
    counts
        Integers, (2, number of values of this type), to be added up: neighbouring pixels are often
        equal, and a processor that adds to one place twice in a row has to wait.
    """
    first, second = counts[0], counts[1]
    even = len(pixels) // 2 * 2
    for i in range(0, even, 2):
        first[pixels[i]] += 1
        second[pixels[i + 1]] += 1
    # not pixels[-1], which takes a third off the speed of the loop
    for i in range(even, len(pixels)):
        first[pixels[i]] += 1


@njit(nogil=True, cache=True)
def count_foreground(plane: np.ndarray, thresholds: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Count the pixels above a threshold in patches of several sizes, reading the plane once.

    Parameters
    ----------
    plane, thresholds
        (C, H, W) and (C,); a pixel is foreground if it is above its channel's threshold.
    sizes
        Edges of the patches, pixels, int64 (S,); at most 65,535.

    Returns
    -------
    ndarray of int64, (C + 1, n)
        The last row counts pixels that are foreground in any channel. The n patches are those of
        `patches.patch_grid` at the first size, in its order, then those at the second…
    """
    n_channels, height, width = plane.shape
    total, bottom, right = 0, 0, 0
    for size in sizes:
        total += (height // size) * (width // size)
        bottom = max(bottom, height // size * size)
        right = max(right, width // size * size)
    counts = np.zeros((n_channels + 1, total), np.int64)
    # Foreground in each column, from the upper border to the present row; and the same at the
    # upper edge of the present patches of each size. A patch is the difference of the two, which
    # 16 bits hold, though the sum of a column may go beyond them.
    columns = np.zeros((n_channels + 1, right), np.uint16)
    above = np.zeros((len(sizes), n_channels + 1, right), np.uint16)
    union = np.empty(right, np.uint16)
    for y in range(bottom):
        union[:] = 0
        for channel in range(n_channels):
            pixels, threshold = plane[channel, y], thresholds[channel]
            column = columns[channel]
            for x in range(right):
                bright = np.uint16(pixels[x] > threshold)
                column[x] += bright
                union[x] |= bright
        column = columns[n_channels]
        for x in range(right):
            column[x] += union[x]
        patch = 0
        for index, size in enumerate(sizes):
            across = width // size
            if (y + 1) % size == 0:
                first = patch + y // size * across
                for channel in range(n_channels + 1):
                    new, old = columns[channel], above[index, channel]
                    for k in range(across):
                        count = np.int64(0)
                        for x in range(k * size, (k + 1) * size):
                            count += np.uint16(new[x] - old[x])
                        counts[channel, first + k] = count
                    old[:] = new
            patch += (height // size) * across
    return counts


@njit(nogil=True, cache=True)
def average_areas(
    plane: np.ndarray,
    corners: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    weights: np.ndarray,
    bounds: np.ndarray,
) -> np.ndarray:
    """Scale patches of one plane to 0…255 and bring them to another size by area averaging.

    Parameters
    ----------
    plane
        (C, H, W).
    corners
        Top left corners (y, x) of the patches, int64 (N, 2).
    low, high
        Of each channel, (C,) in the type of the plane (or float64, for floats): 0 and 255 of the
        result; what lies beyond is clipped.
    weights, bounds
        Share of every old pixel in every new one along one axis, float64 (output, size), and the
        stretch of each row that is not zero, int64 (output, 2).

    Returns
    -------
    ndarray of uint8, (N, output, output, C)
    """
    n_channels = len(plane)
    output, size = weights.shape
    result = np.empty((len(corners), output, output, n_channels), np.uint8)
    line = np.empty(size, np.float64)
    means = np.empty(output, np.float64)
    for patch in range(len(corners)):
        top, left = corners[patch]
        for channel in range(n_channels):
            lowest, highest = low[channel], high[channel]
            scale = 255 / (np.float64(highest) - np.float64(lowest))
            for row in range(output):
                line[:] = 0
                for k in range(bounds[row, 0], bounds[row, 1]):
                    weight = weights[row, k]
                    pixels = plane[channel, top + k, left : left + size]
                    for x in range(size):
                        line[x] += weight * min(max(pixels[x], lowest), highest)
                if output == size:  # every weight is 1
                    means[:] = line
                else:
                    for column in range(output):
                        mean = 0.0
                        for k in range(bounds[column, 0], bounds[column, 1]):
                            mean += weights[column, k] * line[k]
                        means[column] = mean
                # Apart from the loops around it, where several pixels are rounded at once.
                for column in range(output):
                    value = (means[column] - lowest) * scale
                    # to 1e-6 first: a mean of exactly ½ must round alike however it was summed
                    means[column] = np.rint(np.rint(value * 1e6) / 1e6)
                for column in range(output):
                    result[patch, row, column, channel] = means[column]
    return result
