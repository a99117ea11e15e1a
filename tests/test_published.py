"""The article's values: as committed, as somebody fills them in, and typing errors."""

from pathlib import Path

import pandas as pd
import pytest

from organelle_fusion.config import ORGANELLES
from organelle_fusion.evaluation import paper_rows
from organelle_fusion.metrics import METRICS
from organelle_fusion.provenance import FILES_VARIABLE
from organelle_fusion.published import MODELS, PublishedError, read_published, tidy_table

FOLDER = Path(__file__).parents[1] / "data" / "published"
HEADER = "model,balanced_accuracy,auroc,mcc,macro_f1"
ROWS = [
    "early_endosomes",
    "mitochondria",
    "recycling_endosomes",
    "early",
    "intermediate",
    "late",
    "otccp_early_endosomes",
    "otccp_mitochondria",
    "otccp_recycling_endosomes",
    "otccp_contacts",
]


def table(tmp_path, filled=None, header=HEADER, encoding="utf-8"):
    """Write a table whose rows are empty but for those of `filled`: model → line."""
    lines = [(filled or {}).get(model, f"{model},,,,") for model in ROWS]
    path = tmp_path / "table1.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return path


@pytest.mark.parametrize("name", ["table1", "table2"])
def test_committed_tables_have_the_rows_of_the_paper_and_no_values(name):
    """Nobody has the numbers: whoever commits some has to change this test, and say from where."""
    path = FOLDER / f"{name}.csv"
    assert path.read_text("utf-8").splitlines() == [HEADER, *(f"{model},,,," for model in ROWS)]
    assert read_published(path).empty


def test_models_are_the_rows_of_the_book():
    """One name for one row, in the file as on the page, where ours comes last."""
    assert tuple(paper_rows(ORGANELLES)) == (*MODELS, "spatial")


def test_reading_is_noted(tmp_path, monkeypatch):
    """So that a chapter is executed again once somebody fills in a value."""
    path = table(tmp_path)
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path / "notes"))
    read_published(path)
    assert path.as_posix() in (tmp_path / "notes").read_text("utf-8")


def test_filled_cells_are_read_and_empty_ones_left_out(tmp_path):
    """Rows and columns in any order, a byte-order mark, spaces and empty lines are no matter."""
    path = table(
        tmp_path,
        {"late": "0.5, 0.25 ,,-0.125,late", "early": ",,,1,early"}
        | {model: f",,,,{model}" for model in ROWS if model not in ("late", "early")},
        header="\ufeffmacro_f1,auroc,balanced_accuracy,mcc,model",
    )
    path.write_text(path.read_text("utf-8") + ",,,,\n\n", "utf-8")
    assert read_published(path).to_numpy().tolist() == [
        ["early", "mcc", 1.0],
        ["late", "auroc", 0.25],
        ["late", "mcc", -0.125],
        ["late", "macro_f1", 0.5],
    ]


@pytest.mark.parametrize(
    ("line", "place", "remedy"),
    [
        ("early,91.2,,,", "row 5, balanced_accuracy", "write 0.912"),
        ("early,91.2 %,,,", "row 5, balanced_accuracy", "write 0.912"),
        ("early,91.2%,,,", "row 5, balanced_accuracy", "write 0.912"),
        ("early,,,-45,", "row 5, mcc", "write -0.45"),
        ("early,,-0.1,,", "row 5, auroc", "write it like 0.912"),
        ("early,,,-100.5,", "row 5, mcc", "write it like 0.912"),
        ("early,,,,0.9 %", "row 5, macro_f1", "write it like 0.912"),
        ("early,n/a,,,", "row 5, balanced_accuracy", "leave the cell empty"),
        ("early,nan,,,", "row 5, balanced_accuracy", "leave the cell empty"),
        ('early,"0,912",,,', "row 5, balanced_accuracy", "write it like 0.912"),
        ('early,"0.9\n1",,,', "row 5, balanced_accuracy", "found 0.9 1; write it like 0.912"),
        ("early,0,912,,,", "row 5", "expected 5 cells, found 6; write numbers with a decimal"),
        ("early,0.9", "row 5", "expected 5 cells, found 2"),
        ("erly,0.9,,,", "row 5, model", "found erly; did you mean early?"),
        ("Otccp contacts,,,,", "row 5, model", "did you mean otccp_contacts?"),
        ("zzz,,,,", "row 5, model", "write one of early_endosomes, mitochondria"),
        (",0.9,,,", "row 5, model", "found nothing"),
        ("mitochondria,0.9,,,", "row 5, model", "found mitochondria as in row 3; remove one"),
    ],
)
def test_a_typing_error_is_refused_with_its_place(tmp_path, line, place, remedy):
    """One line: file, row as in the file, column, and what to do."""
    path = table(tmp_path, {"early": line})
    check(path, f"{place}: expected", remedy)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("model,balanced_accuracy,auroc,mmc,macro_f1", "found mmc; did you mean mcc?"),
        ("model,balanced_accuracy,auroc,mcc,zzz", "found zzz; remove the column"),
        ("model,balanced_accuracy,auroc,mcc", "expected a column macro_f1"),
        ("model,auroc,auroc,mcc,macro_f1", "expected auroc once, found 2"),
    ],
    ids=["misspelt", "unknown", "missing", "twice"],
)
def test_a_wrong_header_is_refused(tmp_path, header, message):
    """The header is row 1."""
    check(table(tmp_path, header=header), "row 1: ", message)


def test_a_missing_row_is_refused(tmp_path):
    """A row cut out by mistake is told from a value that is not at hand."""
    check(table(tmp_path, {"late": ""}), "expected a row late, found none; add the row")


def test_other_files_are_refused(tmp_path):
    """No file, an empty one, one that is not UTF-8."""
    check(tmp_path / "none.csv", "found no such file")
    (tmp_path / "empty.csv").touch()
    check(tmp_path / "empty.csv", "found an empty file")
    check(table(tmp_path, {"late": "late,é,,,"}, encoding="latin-1"), "UTF-8")


def test_a_row_after_a_line_break_in_quotes_keeps_its_number(tmp_path):
    """Rows are numbered by the lines of the file, as editors show them."""
    path = table(tmp_path, {"early": '"early\n",0.9,,,', "late": "late,2,,,"})
    lines = path.read_text("utf-8").splitlines()
    check(path, f"row {lines.index('late,2,,,') + 1}, balanced_accuracy: expected")


def test_what_is_no_csv_is_refused(tmp_path):
    """A cell that is too long, or that a quote does not end."""
    check(table(tmp_path, {"early": f"early,{'9' * 140_000},,,"}), "row 5: ", "field larger than")
    check(table(tmp_path, {"late": '"late,0.9,,,'}), "check its quotes")


def check(path, *parts):
    """The file is refused in one line that begins with its name and holds `parts`."""
    with pytest.raises(PublishedError) as caught:
        read_published(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_tidy_table_holds_scores_and_published_values():
    """A row per title and metric, those not computed included; further columns are kept."""
    scores = pd.DataFrame(
        [
            ("late", metric, 0.5, 0.4, 0.6, grouping)
            for grouping in ("image", "patch")
            for metric in METRICS
        ],
        columns=["model", "metric", "value", "low", "high", "grouping"],
    )
    values = pd.DataFrame(
        [("late", "mcc", 0.75), ("contacts", "auroc", 0.25)], columns=["model", "metric", "value"]
    )
    frame = tidy_table(scores, {"contacts": "Contacts", "late": "Late fusion"}, values)
    assert frame.columns.tolist() == [
        "model", "title", "metric", "value", "low", "high", "published", "grouping",
    ]  # fmt: skip
    assert frame["title"].tolist() == ["Contacts"] * 4 + ["Late fusion"] * 8
    assert frame["metric"].tolist() == [*METRICS, *[name for name in METRICS for _ in range(2)]]
    assert frame.query("title == 'Contacts'")["value"].isna().all()
    late = frame.query("title == 'Late fusion' and metric == 'mcc'")
    assert late["grouping"].tolist() == ["image", "patch"]
    assert late["published"].tolist() == [0.75, 0.75]
    known = frame.dropna(subset="published")
    assert known["published"].tolist() == [0.25, 0.75, 0.75]
    assert frame["value"].dropna().tolist() == [0.5] * 8
