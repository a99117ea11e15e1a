"""Tables that people write as CSV: their rows as numbered in the file, and errors that say where.

Spreadsheets write a byte-order mark and columns without name or content, and part cells by
semicolons where a comma is the decimal point; none of these does harm.
"""

import csv
import difflib
from collections.abc import Sequence
from pathlib import Path

from organelle_fusion.config import UserError

Rows = list[tuple[int, list[str]]]
"""Cells of each row, without spaces around them, and the number of its first line in the file."""

_LONGEST_FOUND = 300
_MARKS = ',;" \t\r\n'  # of which an empty row consists


def cell_error(
    error: type[UserError],
    path: Path,
    row: int,
    column: str,
    expected: str,
    found: object,
    remedy: str,
) -> UserError:
    """Error of one cell, to be raised: file, row and column, expected, found, remedy."""
    place = f"row {row}, {column}" if column else f"row {row}"
    # A cell in quotes may hold line breaks, and any cell a whole text.
    text = " ".join(str(found).split())
    found = text if len(text) <= _LONGEST_FOUND else f"{text[:_LONGEST_FOUND]}…"
    return error(f"{path}: {place}: expected {expected}, found {found}; {remedy}")


def read_rows(
    path: Path, error: type[UserError], content: str, remedy_if_empty: str
) -> tuple[list[str], Rows]:
    """Read a table: its header, and its rows with their numbers; empty rows are left out.

    Cells are parted by commas; by semicolons or else tabs where the header holds no comma.

    Parameters
    ----------
    path
        The file, which is there.
    error
        What is raised.
    content, remedy_if_empty
        What is expected below the header, and what to do where the file holds nothing.

    Returns
    -------
    list of str
        Names of the columns. One that has neither a name nor a value is left out.
    list of tuple
        `Rows` below it.

    Raises
    ------
    UserError
        `error`, in one line: the file is no text, not CSV or empty, or a column has values and no
        name.
    """
    rows: Rows = []
    number = 1
    try:
        # A byte-order mark, which Excel writes, is no part of the first column's name.
        with open(path, encoding="utf-8-sig", newline="") as stream:
            header = next((line for line in stream if line.strip(_MARKS)), "")
            mark = next((mark for mark in ",;\t" if mark in header), ",")
            stream.seek(0)
            reader = csv.reader(stream, strict=True, delimiter=mark)
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    rows.append((number, cells))
                number = reader.line_num + 1
    except UnicodeDecodeError:
        if path.suffix.lower() == ".csv":
            found, remedy = "another encoding", "save it as CSV UTF-8"
        else:
            found, remedy = "none", "name a file that ends in .csv"
        raise error(f"{path}: expected text in UTF-8, found {found}; {remedy}") from None
    except csv.Error as reason:
        remedy = "check its quotes"
        raise cell_error(error, path, number, "", "a CSV row", reason, remedy) from None
    if not rows:
        found = "found an empty file"
        raise error(f"{path}: expected a header and {content}, {found}; {remedy_if_empty}")
    return _named(path, error, rows)


def _named(path: Path, error: type[UserError], rows: Rows) -> tuple[list[str], Rows]:
    """Leave out the columns without a name, which must be empty."""
    nameless = [place for place, name in enumerate(rows[0][1]) if not name]
    for number, cells in rows[1:]:
        for place in nameless:
            if cells[place : place + 1] not in ([], [""]):
                found = f"{cells[place]} in column {place + 1}, which has none"
                remedy = "name the column in the first row, or empty it"
                raise cell_error(
                    error, path, number, "", "values in columns with a name", found, remedy
                )
    kept = [
        (number, [cell for place, cell in enumerate(cells) if place not in nameless])
        for number, cells in rows
    ]
    return kept[0][1], kept[1:]


def check_header(
    path: Path,
    error: type[UserError],
    header: Sequence[str],
    *,
    known: Sequence[str],
    required: Sequence[str],
) -> None:
    """Refuse a header with a column that is not known, is missing, or stands there twice."""
    for name in header:
        if name not in known:
            expected = f"a column out of {', '.join(known)}"
            remedy = nearest(name, known) or "remove the column"
            raise cell_error(error, path, 1, "", expected, name, remedy)
    for name in header:
        if header.count(name) > 1:
            found = header.count(name)
            raise cell_error(error, path, 1, "", f"{name} once", found, "remove the others")
    for name in required:
        if name not in header:
            found = ", ".join(header)
            raise cell_error(error, path, 1, "", f"a column {name}", found, "add the column")


def nearest(name: str, known: Sequence[str]) -> str:
    """A question whether one of the known names was meant, if one is spelt nearly so; or ""."""
    close = difflib.get_close_matches(name.lower().replace(" ", "_"), known, n=1)
    return f"did you mean {close[0]}?" if close else ""
