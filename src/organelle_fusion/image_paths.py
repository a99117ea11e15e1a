"""Paths of images as manifests give them: a file, a folder, or one of several images in it."""

import os
import re
import unicodedata
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


def as_stored(path: Path) -> Path:
    """A full path as folders and file are named on the disk, which may be another Unicode form.

    A Mac writes ``ö`` as two signs, others as one. A part that does not exist as it is written is
    replaced by the only entry of its folder that is equal to it in NFC; without one, or with
    several, it stays.
    """
    place = Path(path.anchor)
    for part in path.parts[1:]:
        if not (place / part).exists():
            written = unicodedata.normalize("NFC", part)
            entries = os.listdir(place) if os.access(place, os.R_OK) and place.is_dir() else []
            alike = [name for name in entries if unicodedata.normalize("NFC", name) == written]
            part = alike[0] if len(alike) == 1 else part
        place /= part
    return place


def image_hash(path: str | Path) -> str:
    """SHA-256 (hex) of what a result depends on: the bytes of the file, and which image of it."""
    file, number = split_path(path)
    content = file_hash(file)
    return content if number is None else hash_of([content, number])


def note_image(path: str | Path) -> None:
    """Note the file of an image as `provenance.note_file` does."""
    note_file(split_path(path)[0])
