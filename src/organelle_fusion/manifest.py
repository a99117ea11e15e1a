"""The manifest: one CSV row per image, saying which file it is, of which class and which group."""

import math
import shlex
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.csv_rows import Rows, check_header, read_rows
from organelle_fusion.manifest_cells import (
    ManifestError,
    cell_error,
    channel_map_of,
    image_path_of,
    length_of,
    name_of,
    place_of,
)
from organelle_fusion.provenance import note_file
from organelle_fusion.volumes import Volume, VolumeError, open_volume

COLUMNS = ("image", "path", "label", "group", "channel_map", "pixel_size_um", "z_step_um")
REQUIRED = COLUMNS[:3]

MIN_GROUPS = 3
"""A class needs one group each for training, validation and test."""


def named_path(path: str | Path) -> Path:
    """Absolute path of a table by its own name, which results have, and not by what it links to."""
    path = Path(path)
    return path.parent.resolve() / path.name


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest and check all that can be checked without opening an image.

    Parameters
    ----------
    path
        A CSV file with the columns image, path, label and, where wanted, group, channel_map,
        pixel_size_um, z_step_um. Paths are relative to the manifest's folder, do not lead out of
        it by ``..`` or a link unless they are written in full, and name one of several images in a
        file (`image_paths.split_path`); a group left out is the image's name; a channel map reads
        ``mitochondria=Tom20;early_endosomes=0``.

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
    frame, problems = read_leniently(path)
    if problems:
        raise problems[0]
    return frame


def read_images(path: str | Path) -> pd.DataFrame:
    """Read a manifest of images to predict: as `read_manifest`, but of fewer cells.

    A label need not be known, so that the cell or the column may be missing. A file that is missing
    is found out when it is opened, so that it does not hold up the others.

    Raises
    ------
    ManifestError
        As of `read_manifest`.
    """
    frame, problems = _read(path, required=("image", "path"), files_exist=False)
    if problems:
        raise problems[0]
    return frame


def read_leniently(path: str | Path) -> tuple[pd.DataFrame, list[ManifestError]]:
    """Read a manifest as `read_manifest` does, and go on to the end where a row is wrong.

    Parameters
    ----------
    path
        As in `read_manifest`.

    Returns
    -------
    pandas.DataFrame
        As of `read_manifest`, so far as the rows can be understood: a cell that cannot is as if it
        were empty (a channel map is {}), a file may be missing, and a row that repeats an earlier
        one is left out.
    list of ManifestError
        Everything wrong with the rows: cell by cell, then what repeats an earlier row.

    Raises
    ------
    ManifestError
        The file is no manifest: no table, or not with these columns.
    """
    return _read(path, required=REQUIRED, files_exist=True)


def _read(
    path: str | Path, *, required: Sequence[str], files_exist: bool
) -> tuple[pd.DataFrame, list[ManifestError]]:
    path = note_file(path)
    header, rows = _table(path)
    check_header(path, ManifestError, header, known=COLUMNS, required=required)
    records: list[dict[str, Any]] = []
    numbers: list[int] = []
    problems: list[ManifestError] = []
    for number, cells in rows:
        if len(cells) != len(header):
            expected, remedy = f"{len(header)} cells", "put cells with , or ; in quotes"
            problems.append(cell_error(path, number, "", expected, len(cells), remedy))
            continue
        cells = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=True))
        for column in required:
            if not cells[column]:
                problems.append(
                    cell_error(path, number, column, "a value", "an empty cell", "fill the cell")
                )
        records.append(_record(path, number, cells, files_exist, problems))
        numbers.append(number)
    places = [record["path"] and place_of(record["path"]) for record in records]
    repeated = _repeats(path, numbers, "image", [record["image"] for record in records], problems)
    repeated |= _repeats(path, numbers, "path", places, problems)
    records = [record for i, record in enumerate(records) if i not in repeated]
    frame = pd.DataFrame(records, columns=list(COLUMNS))
    frame["channel_map"] = pd.Series([record["channel_map"] for record in records], dtype=object)
    return frame, problems


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


def group_problems(frame: pd.DataFrame, n_splits: int) -> list[tuple[str, str, str, str]]:
    """What is wrong with the classes and their groups.

    Parameters
    ----------
    frame
        One row per image: label, group.
    n_splits
        Number of folds the images are to be divided into.

    Returns
    -------
    list of tuple
        Severity (error or warning), column, what was expected and found, remedy.
    """
    counts = frame.groupby("label")["group"].nunique()
    problems = []
    if len(counts) < 2:
        found = f"only {counts.index[0]}" if len(counts) else "none"
        what = f"expected two classes or more, found {found}"
        problems.append(("error", "label", what, "add images of another class"))
    few = counts[counts < MIN_GROUPS]
    if len(few):
        what = f"expected {MIN_GROUPS} groups or more in each class, found {_listed(few)}"
        remedy = "add images of other groups, or leave the class out"
        problems.append(("error", "group", what, remedy))
    short = counts[(counts >= MIN_GROUPS) & (counts < n_splits)]
    if len(short):
        what = (
            f"expected {n_splits} groups or more in each class for {n_splits} folds, "
            f"found {_listed(short)}"
        )
        problems.append(("warning", "group", what, "some test folds will lack a class"))
    return problems


def _check_groups(frame: pd.DataFrame, n_splits: int, source: Path) -> None:
    for severity, column, what, remedy in group_problems(frame, n_splits):
        message = f"{source}: {column}: {what}; {remedy}"
        if severity == "error":
            raise ManifestError(message)
        warnings.warn(message, stacklevel=3)


def _listed(counts: pd.Series) -> str:
    return ", ".join(f"{count} in {label}" for label, count in counts.items())


def _table(path: Path) -> tuple[list[str], Rows]:
    """Header and rows of a manifest, of which there is one at least."""
    if path.is_dir():
        raise ManifestError(
            f"{path}: expected a manifest, found a folder; `organelle-fusion init "
            f"{shlex.quote(str(path))}` makes a manifest of the images in it"
        )
    if not path.is_file():
        raise ManifestError(f"{path}: expected a manifest, found no such file; check the path")
    begin = f"begin with the row {','.join(COLUMNS[:4])}"
    header, rows = read_rows(path, ManifestError, "a row per image", begin)
    if not rows:
        raise ManifestError(
            f"{path}: expected a row per image, found a header only; add a row for each image"
        )
    return header, rows


def _record(
    path: Path,
    number: int,
    cells: dict[str, str],
    files_exist: bool,
    problems: list[ManifestError],
) -> dict[str, Any]:
    def read(column: str, reader: Callable[[Path, int, str, str], Any], otherwise: Any) -> Any:
        try:
            return reader(path, number, column, cells[column])
        except ManifestError as error:
            problems.append(error)
            return otherwise

    names = {column: read(column, name_of, "") for column in ("image", "label", "group")}
    return {
        "image": names["image"],
        "path": read("path", partial(image_path_of, exists=files_exist), "")
        if cells["path"]
        else "",
        "label": names["label"],
        "group": names["group"] or names["image"],
        "channel_map": read("channel_map", channel_map_of, {}),
        "pixel_size_um": read("pixel_size_um", length_of, math.nan),
        "z_step_um": read("z_step_um", length_of, math.nan),
    }


def _repeats(
    path: Path,
    numbers: list[int],
    column: str,
    values: list[str],
    problems: list[ManifestError],
) -> set[int]:
    """Places in `values` of those that stand before, each a problem."""
    first: dict[str, int] = {}
    repeated = set()
    for place, (number, value) in enumerate(zip(numbers, values, strict=True)):
        if value in first:
            found = f"{value} as in row {first[value]}"
            remedy = "give each image one row and a name of its own"
            problems.append(cell_error(path, number, column, f"each {column} once", found, remedy))
            repeated.add(place)
        elif value:  # empty cells are a problem of their own
            first[value] = number
    return repeated
