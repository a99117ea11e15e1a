"""The article's Tables 1 and 2, as far as somebody has typed them in, and our scores beside them.

The copy of the article that this project was written from has lost the numbers, so the committed
files hold the rows and no values.
"""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from organelle_fusion.config import ORGANELLES, UserError
from organelle_fusion.csv_rows import cell_error, check_header, nearest, read_rows
from organelle_fusion.provenance import note_file
from organelle_fusion.wording import METRIC_TITLES

METRICS = tuple(METRIC_TITLES)
COLUMNS = ("model", *METRICS)

# The paper's of `evaluation.paper_rows`, without an import: all pages use this module, and a change
# of how scores are computed is no reason to execute a chapter that has none.
MODELS = (
    *ORGANELLES,
    *("early", "intermediate", "late"),
    *(f"otccp_{name}" for name in (*ORGANELLES, "contacts")),
)


class PublishedError(UserError):
    """A file of published values that cannot be used; the message is one line."""


_error = partial(cell_error, PublishedError)


def read_published(path: Path) -> pd.DataFrame:
    """Read the article's values of one table.

    Parameters
    ----------
    path
        A CSV file with the columns model, balanced_accuracy, auroc, mcc, macro_f1 and one row for
        each model of the paper. Values are shares (MCC from -1 to 1); an empty cell is a value
        that is not at hand.

    Returns
    -------
    DataFrame
        model, metric, value; one row per cell that is filled in, so none for an empty table.

    Raises
    ------
    PublishedError
        One line: file, row (the header is row 1), column, expected, found, remedy.
    """
    path = note_file(path)
    remedy = "bring it back from the repository"
    if not path.is_file():
        raise PublishedError(
            f"{path}: expected a table of published values, found no such file; {remedy}"
        )
    header, rows = read_rows(path, PublishedError, "a row per model", remedy)
    check_header(path, PublishedError, header, known=COLUMNS, required=COLUMNS)
    row_of: dict[str, int] = {}
    values = []
    for number, cells in rows:
        if len(cells) != len(header):
            remedy = "write numbers with a decimal point, and no comma too many"
            raise _error(path, number, "", f"{len(header)} cells", len(cells), remedy)
        given = dict(zip(header, cells, strict=True))
        model = _model(path, number, given["model"], row_of)
        row_of[model] = number
        values += [
            (model, metric, _value(path, number, metric, given[metric]))
            for metric in METRICS
            if given[metric]
        ]
    for model in MODELS:
        if model not in row_of:
            raise PublishedError(
                f"{path}: model: expected a row {model}, found none; add the row, with empty cells "
                "where the value is not at hand"
            )
    return pd.DataFrame(values, columns=["model", "metric", "value"])


def tidy_table(
    table: pd.DataFrame, rows: Mapping[str, str], published: pd.DataFrame
) -> pd.DataFrame:
    """Put scores and published values into one frame, as a reader of the book may download it.

    Parameters
    ----------
    table
        Result of `evaluation.score_table`; several of them, told apart by further columns, may
        be concatenated. The published value then stands beside each.
    rows
        Model → title, as for `evaluation.paper_table`, and in this order.
    published
        Frame of `read_published`.

    Returns
    -------
    DataFrame
        model, title, metric, value, low, high, published, and the further columns of `table`; NaN
        where a model has no scores yet or a published value is not at hand.
    """
    wanted = pd.MultiIndex.from_product([rows, METRICS], names=["model", "metric"])
    frame = wanted.to_frame(index=False).merge(table, how="left", on=["model", "metric"])
    frame = frame.merge(
        published.rename(columns={"value": "published"}), how="left", on=["model", "metric"]
    )
    frame.insert(1, "title", frame["model"].map(rows))
    first = ["model", "title", "metric", "value", "low", "high", "published"]
    return frame[first + [name for name in frame if name not in first]]


def _model(path: Path, number: int, name: str, row_of: Mapping[str, int]) -> str:
    if name not in MODELS:
        remedy = nearest(name, MODELS) or f"write one of {', '.join(MODELS)}"
        raise _error(path, number, "model", "a model of the paper", name or "nothing", remedy)
    if name in row_of:
        found = f"{name} as in row {row_of[name]}"
        raise _error(path, number, "model", "each model once", found, "remove one of the rows")
    return name


def _value(path: Path, number: int, metric: str, text: str) -> float:
    lowest = -1 if metric == "mcc" else 0
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if lowest <= value <= 1 and not text.endswith("%"):
        return value
    if abs(value) > 1 and lowest <= value / 100 <= 1:
        remedy = f"if this is a percentage, write {value / 100:.10g}"
    else:
        remedy = "write it like 0.912, or leave the cell empty if it is not known"
    raise _error(path, number, metric, f"a number from {lowest} to 1", text, remedy)
