"""Functions applied to the planes of a stack by several threads, of which each holds one plane."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import joblib
import numpy as np

from organelle_fusion.volumes import Volume

Result = TypeVar("Result")

_MOST_THREADS = 8  # more would wait for the memory


def thread_count() -> int:
    """Threads that read planes: one for each processor, at most eight, or as many as allowed.

    The environment variable ``OMP_NUM_THREADS`` allows fewer. Processes of joblib and of Dask have
    it set to 1, since there are as many of them as processors.
    """
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    most = int(allowed) if allowed.isdecimal() and int(allowed) else _MOST_THREADS
    return min(joblib.cpu_count(), _MOST_THREADS, most)


def map_planes(
    volume: Volume,
    function: Callable[[int, np.ndarray], Result],
    planes: Iterable[int] | None = None,
) -> Iterator[Result]:
    """Apply a function to planes of a stack, several at once.

    Parameters
    ----------
    volume
        The stack.
    function
        Called in a thread with the number of a plane and its pixels, ``(C, Y, X)``. These are
        overwritten when it has returned, so it must not keep them.
    planes
        Numbers of the planes; all of them unless given.

    Yields
    ------
    object
        What the function returned, in the order of `planes`; or what it or the reading raised.
    """
    numbers = range(volume.shape[1]) if planes is None else planes
    return _map_parts([volume], ((z, 0) for z in numbers), lambda z, _, part: function(z, part))


def map_channels(
    volume: Volume, function: Callable[[int, int, np.ndarray], Result]
) -> Iterator[Result]:
    """Apply a function to every channel of every plane; else as `map_planes`.

    A single channel stays in the processor's cache, between reading and counting.

    Parameters
    ----------
    volume
        The stack.
    function
        Called in a thread with the number of the plane, that of the channel, and the pixels
        ``(Y, X)``, which it must not keep.

    Yields
    ------
    object
        What the function returned, by plane and then by channel.
    """
    n_channels, n_planes = volume.shape[:2]
    parts = ((z, channel) for z in range(n_planes) for channel in range(n_channels))
    return _map_parts(volume.split(), parts, lambda z, channel, part: function(z, channel, part[0]))


def _map_parts(
    volumes: Sequence[Volume],
    parts: Iterable[tuple[int, int]],
    function: Callable[[int, int, np.ndarray], Result],
) -> Iterator[Result]:
    """Apply a function to planes (z, number of the volume) of volumes of one shape."""
    shape, dtype = volumes[0].shape, volumes[0].dtype
    own = threading.local()

    def one(part: tuple[int, int]) -> Result:
        if not hasattr(own, "plane"):  # one for each thread: a new one for each plane is slow
            own.plane = np.empty((shape[0], *shape[2:]), dtype)
        z, number = part
        return function(z, number, volumes[number].plane(z, out=own.plane))

    threads = thread_count()
    if threads == 1:
        yield from map(one, parts)
        return
    with ThreadPoolExecutor(threads) as executor:
        yield from executor.map(one, parts)
