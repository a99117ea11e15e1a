"""A function handed to other processes with all that it refers to, its arrays by a file.

Small ones travel by value. Larger ones are written once into a file that each process maps into
its memory, so that patches are held once, by the system, however many processes train on them.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from organelle_fusion.provenance import remove_leftovers, temporary_name

_BY_VALUE = 100_000  # bytes; more is written into a file
_ALIGNED = 64  # bytes, as numpy aligns its arrays


# What a parcel that is being packed holds the name of, and not the content.
_named: ContextVar[list] = ContextVar("named")


class Parcel(NamedTuple):
    """What is sent: the pickle itself, or the file that holds it and its arrays."""

    content: bytes
    path: Path | None
    places: tuple[tuple[int, int], ...]  # start and size of each stretch of the file


def keep_while_sent(value: Any) -> None:
    """Keep a value as long as the parcel lasts that is being packed, if one is.

    For what travels by the name of a file that goes with the value: an array that is mapped.
    """
    if (kept := _named.get(None)) is not None:
        kept.append(value)


@contextmanager
def parcel(value: Any, folder: Path) -> Iterator[Parcel]:
    """Pack a value, to be unpacked in other processes as long as the block lasts.

    Parameters
    ----------
    value
        Whatever can be pickled; functions defined in functions too.
    folder
        A large value is written into a file of this folder, which the other processes must see at
        the same path; it is deleted when the block ends.

    Yields
    ------
    Parcel
    """
    import cloudpickle  # as Dask brings it

    buffers: list[pickle.PickleBuffer] = []
    kept: list[Any] = []  # until the block ends
    packing = _named.set(kept)
    try:
        content = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        stretches = [memoryview(content), *(buffer.raw() for buffer in buffers)]
        small = sum(stretch.nbytes for stretch in stretches) <= _BY_VALUE
        if small:
            content = cloudpickle.dumps(value, protocol=5)
    finally:
        _named.reset(packing)
    if small:
        del value, buffers, stretches  # or they would be held as long as the block lasts
        yield Parcel(content, None, ())
        return
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    path = folder / temporary_name("parcel")
    places = []
    try:
        with path.open("wb") as file:
            for stretch in stretches:
                file.write(bytes(-file.tell() % _ALIGNED))
                places.append((file.tell(), stretch.nbytes))
                file.write(stretch)
        del value, buffers, stretches, stretch
        yield Parcel(b"", path, tuple(places))
    finally:
        path.unlink(missing_ok=True)


# The last one only: its arrays are a data set, and the next one may be another.
@lru_cache(maxsize=1)
def unpack(sent: Parcel) -> Any:
    """Give the value of a parcel; arrays of a file are mapped, and can only be read."""
    if sent.path is None:
        return pickle.loads(sent.content)
    mapped = memoryview(np.memmap(sent.path, np.uint8, "r"))
    content, *buffers = [mapped[start : start + size] for start, size in sent.places]
    return pickle.loads(content, buffers=buffers)
