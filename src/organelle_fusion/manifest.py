"""The manifest: one CSV row per image, saying which file it is, of which class and which group."""

import csv
import difflib
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.config import UserError
from organelle_fusion.provenance import note_file
from organelle_fusion.volumes import Volume, VolumeError, open_volume

COLUMNS = ("image", "path", "label", "group", "channel_map", "pixel_size_um", "z_step_um")
REQUIRED = COLUMNS[:3]

MIN_GROUPS = 3
"""A class needs one group each for training, validation and test."""


class ManifestError(UserError):
    """A manifest that cannot be used; the message is one line."""


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest and check all that can be checked without opening an image.

    Parameters
    ----------
    path
        A CSV file with the columns image, path, label and, where wanted, group, channel_map,
        pixel_size_um, z_step_um. Paths are relative to the manifest's folder; a group left out is
        the image's name; a channel map reads ``mitochondria=Tom20;early_endosomes=0``.

    Returns
    -------
    pandas.DataFrame
        One row per image: image, path (absolute), label, group (str), channel_map (dict or None),
        pixel_size_um and z_step_um (float, µm, NaN where left out).

    Raises
    ------
    ManifestError
        One line: file, row (the header is row 1), column, expected, found, remedy.
    """
    path = note_file(path)
    header, rows = _read_rows(path)
    _check_header(path, header)
    records = []
    for number, cells in rows:
        if len(cells) != len(header):
            remedy = "put cells that hold a comma in quotes"
            raise _error(path, number, "", f"{len(header)} cells", len(cells), remedy)
        given = dict(zip(header, cells, strict=True))
        records.append(_record(path, number, dict.fromkeys(COLUMNS, "") | given))
    numbers = [number for number, _ in rows]
    _check_unique(path, numbers, "image", [record["image"] for record in records])
    # Two spellings of one path are one file.
    _check_unique(path, numbers, "path", [os.path.realpath(record["path"]) for record in records])
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    frame["channel_map"] = pd.Series([record["channel_map"] for record in records], dtype=object)
    return frame


def read_channel_map(text: str) -> dict[str, str] | None:
    """Read a channel map such as ``mitochondria=Tom20;early_endosomes=0``; None if it is empty.

    Raises
    ------
    ManifestError
        It is not written so, or names one of ours twice.
    """
    pairs = {}
    for entry in text.strip(";").split(";") if text else ():
        ours, equals, theirs = (part.strip() for part in entry.partition("="))
        if not (ours and equals and theirs) or ours in pairs:
            found = " ".join(text.split())  # a cell in quotes may hold line breaks
            raise ManifestError(
                "channel_map: expected ours=theirs, parted by semicolons, each of ours once, "
                f"found {found}; write it like mitochondria=Tom20;early_endosomes=0"
            )
        pairs[ours] = theirs
    return pairs or None


def open_image(row: Any) -> Volume:
    """Open the image of one manifest row, its channels renamed and its sizes replaced as it says.

    Parameters
    ----------
    row
        A row of `read_manifest`'s frame: a Series, or a named tuple from ``itertuples``.

    Raises
    ------
    VolumeError
        As `open_volume`.
    """
    sizes = {
        name: None if pd.isna(getattr(row, name)) else float(getattr(row, name))
        for name in ("pixel_size_um", "z_step_um")
    }
    channel_map = row.channel_map if isinstance(row.channel_map, dict) else None
    return open_volume(row.path, channel_map=channel_map, **sizes)


def validate_manifest(
    manifest: pd.DataFrame, *, channels: Sequence[str], n_splits: int, source: Path
) -> pd.DataFrame:
    """Open every image of a manifest and check that together they can be learned from.

    Parameters
    ----------
    manifest
        The frame of `read_manifest`.
    channels
        Names every image must have; it may have more.
    n_splits
        Number of folds the images are to be divided into.
    source
        The manifest's path, for messages.

    Returns
    -------
    pandas.DataFrame
        One row per image: image, label, group, channels (text), z, y, x, pixel_size_um,
        z_step_um (NaN if not known), dtype (text).

    Raises
    ------
    ManifestError
        An image cannot be opened, has no pixel size or lacks a channel; there are fewer than two
        classes; a class has fewer than three groups.

    Warns
    -----
    UserWarning
        A class has fewer groups than there are folds, so some test folds lack it.
    """
    rows: list[dict[str, Any]] = []
    for row in manifest.itertuples():
        try:
            volume = open_image(row)
            volume.select(channels)
        except VolumeError as error:
            others = f" (image {rows[-1]['image']} can be read)" if rows else ""
            raise ManifestError(f"{source}: image {row.image}: {error}{others}") from error
        rows.append(_description(row, volume))
    frame = pd.DataFrame(rows)
    _check_groups(frame, n_splits, source)
    return frame


def _description(row: Any, volume: Volume) -> dict[str, Any]:
    _, z, y, x = volume.shape
    return {
        "image": row.image,
        "label": row.label,
        "group": row.group,
        "channels": ", ".join(volume.channels),
        "z": z,
        "y": y,
        "x": x,
        "pixel_size_um": volume.pixel_size_um,
        "z_step_um": math.nan if volume.z_step_um is None else volume.z_step_um,
        "dtype": str(volume.dtype),
    }


def _check_groups(frame: pd.DataFrame, n_splits: int, source: Path) -> None:
    counts = frame.groupby("label")["group"].nunique()
    if len(counts) < 2:
        raise ManifestError(
            f"{source}: label: expected two classes or more, found {len(counts)} "
            f"({', '.join(counts.index)}); add images of another class"
        )
    few = counts[counts < MIN_GROUPS]
    if len(few):
        raise ManifestError(
            f"{source}: group: expected {MIN_GROUPS} groups or more in each class, "
            f"found {_listed(few)}; add images of other groups, or leave the class out"
        )
    short = counts[counts < n_splits]
    if len(short):
        warnings.warn(
            f"{source}: group: expected {n_splits} groups or more in each class for {n_splits} "
            f"folds, found {_listed(short)}; some test folds will lack a class",
            stacklevel=3,
        )


def _listed(counts: pd.Series) -> str:
    return ", ".join(f"{count} in {label}" for label, count in counts.items())


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return header and rows with their numbers in the file; empty rows left out."""
    if not path.is_file():
        raise ManifestError(f"{path}: expected a manifest, found no such file; check the path")
    rows = []
    try:
        # A byte-order mark, which Excel writes, is no part of the first column's name.
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader, number = csv.reader(stream, strict=True), 1
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    rows.append((number, cells))
                number = reader.line_num + 1
    except UnicodeDecodeError:
        raise ManifestError(
            f"{path}: expected text in UTF-8, found another encoding; save it as CSV UTF-8"
        ) from None
    except csv.Error as error:
        raise _error(path, number, "", "a CSV row", error, "check its quotes") from None
    if not rows:
        raise ManifestError(
            f"{path}: expected a header and a row per image, found an empty file; "
            f"begin with the row {','.join(COLUMNS[:4])}"
        )
    if len(rows) == 1:
        raise ManifestError(
            f"{path}: expected a row per image, found a header only; add a row for each image"
        )
    return rows[0][1], rows[1:]


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise _error(path, 1, "", "cells parted by commas", header[0], "save it with commas")
    for name in header:
        if name not in COLUMNS:
            close = difflib.get_close_matches(name.lower(), COLUMNS, n=1)
            remedy = f"did you mean {close[0]}?" if close else "remove the column"
            raise _error(path, 1, "", f"a column out of {', '.join(COLUMNS)}", name, remedy)
    for name in REQUIRED:
        if name not in header:
            raise _error(path, 1, "", f"a column {name}", ", ".join(header), "add the column")
    for name in header:
        if header.count(name) > 1:
            raise _error(path, 1, "", f"{name} once", header.count(name), "remove the others")


def _record(path: Path, number: int, cells: dict[str, str]) -> dict[str, Any]:
    for column in REQUIRED:
        if not cells[column]:
            raise _error(path, number, column, "a value", "an empty cell", "fill the cell")
    image_path = Path(os.path.abspath(path.parent / cells["path"]))
    if not image_path.exists():
        remedy = f"check the path, which is relative to {path.parent}"
        raise _error(path, number, "path", "an image file", f"none at {image_path}", remedy)
    return {
        "image": cells["image"],
        "path": str(image_path),
        "label": cells["label"],
        "group": cells["group"] or cells["image"],
        "channel_map": _channel_map(path, number, cells["channel_map"]),
        "pixel_size_um": _length(path, number, "pixel_size_um", cells["pixel_size_um"]),
        "z_step_um": _length(path, number, "z_step_um", cells["z_step_um"]),
    }


def _channel_map(path: Path, number: int, text: str) -> dict[str, str] | None:
    try:
        return read_channel_map(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: row {number}, {error}") from None


def _length(path: Path, number: int, column: str, text: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        remedy = "write a length in µm with a decimal point, such as 0.1"
        raise _error(path, number, column, "a positive number", text, remedy)
    return value


def _check_unique(path: Path, numbers: list[int], column: str, values: list[str]) -> None:
    first: dict[str, int] = {}
    for number, value in zip(numbers, values, strict=True):
        if value in first:
            found = f"{value} as in row {first[value]}"
            remedy = "give each image one row and a name of its own"
            raise _error(path, number, column, f"each {column} once", found, remedy)
        first[value] = number


def _error(
    path: Path, row: int, column: str, expected: str, found: object, remedy: str
) -> ManifestError:
    place = f"row {row}, {column}" if column else f"row {row}"
    found = " ".join(str(found).split())  # a cell in quotes may hold line breaks
    return ManifestError(f"{path}: {place}: expected {expected}, found {found}; {remedy}")
