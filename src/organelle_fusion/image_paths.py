"""Paths of images as manifests give them: a file, a folder, or one of several images in it."""

import re
from pathlib import Path

from organelle_fusion.provenance import file_hash, hash_of, note_file

_CHOICE = re.compile(r"(.+)#(?:image|scene)=(\d{1,9})", re.DOTALL)


def split_path(path: str | Path) -> tuple[Path, int | None]:
    """Part a path from the number of the image in it.

    ``stack.czi#scene=1`` or ``stack.ome.tif#image=1`` is the second image of the file; the two
    words mean the same.

    Returns
    -------
    Path
        The file, or the folder of an OME-Zarr.
    int or None
        The number, from 0; None if the path names none.
    """
    found = _CHOICE.fullmatch(str(path))
    return (Path(found[1]), int(found[2])) if found else (Path(path), None)


def image_hash(path: str | Path) -> str:
    """SHA-256 (hex) of what a result depends on: the bytes of the file, and which image of it."""
    file, number = split_path(path)
    content = file_hash(file)
    return content if number is None else hash_of([content, number])


def note_image(path: str | Path) -> None:
    """Note the file of an image as `provenance.note_file` does."""
    note_file(split_path(path)[0])
