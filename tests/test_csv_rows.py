"""Tables that people write: rows, numbers, and what is refused; see also their readers' tests."""

import pytest

from organelle_fusion.config import UserError
from organelle_fusion.csv_rows import cell_error, check_header, nearest, read_rows


class TableError(UserError):
    """As of a reader."""


def rows(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return read_rows(path, TableError, "a row per thing", "begin with a,b")


def test_rows_have_the_number_of_their_first_line(tmp_path):
    text = 'a,b\n\n" 1 ","two\nlines"\n,\n3,4\n'
    expected = (["a", "b"], [(3, ["1", "two\nlines"]), (6, ["3", "4"])])
    assert rows(tmp_path / "t.csv", text, "utf-8-sig") == expected


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_marks_part_cells_where_the_header_has_no_comma(tmp_path, mark):
    """As spreadsheets write them in German, with an empty row above; numbers are of the file."""
    lines = [";", "a;b;", '1;"x=0;y=1";', ";;", '3;"4,5";', ""]
    text = "\r\n".join(lines).replace(";", mark).replace(f"x=0{mark}", "x=0;")
    expected = (["a", "b"], [(3, ["1", "x=0;y=1"]), (5, ["3", "4,5"])])
    assert rows(tmp_path / "t.csv", text, "utf-8-sig") == expected
    with pytest.raises(TableError, match="row 2: expected a CSV row"):
        rows(tmp_path / "t.csv", f'a{mark}b\n1{mark}"2\n')


def test_semicolons_in_a_table_with_commas_are_text(tmp_path):
    expected = (["a", "b;c"], [(2, ["1", "x=0;y=1"])])
    assert rows(tmp_path / "t.csv", "a,b;c\n1,x=0;y=1\n") == expected


def test_a_column_without_name_and_values_is_left_out(tmp_path):
    assert rows(tmp_path / "t.csv", "a,,b,\n1,,2,\n3,,4\n") == (
        ["a", "b"],
        [(2, ["1", "2"]), (3, ["3", "4"])],
    )
    with pytest.raises(TableError, match=r"row 3: .* found x in column 2, which has none; name"):
        rows(tmp_path / "t.csv", "a,,b\n1,,2\n3,x,4\n")


@pytest.mark.parametrize(
    ("name", "text", "encoding", "words"),
    [
        ("t.csv", "", "utf-8", "expected a header and a row per thing, .* begin with a,b"),
        ("t.csv", "é", "latin-1", "found another encoding; save it as CSV UTF-8"),
        ("t.tif", "é", "latin-1", "found none; name a file that ends in .csv"),
        ("t.csv", 'a\n"b', "utf-8", "row 2: expected a CSV row, .*; check its quotes"),
        ("t.csv", "a\n" + 131_073 * "b", "utf-8", "row 2: expected a CSV row, .*larger than"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, name, text, encoding, words):
    with pytest.raises(TableError, match=words) as caught:
        rows(tmp_path / name, text, encoding)
    assert "\n" not in str(caught.value)


def test_headers(tmp_path):
    for header, words in (
        (["a", "bee"], "row 1: expected a column out of a, been, found bee; did you mean been?"),
        (["a", "a"], "expected a once, found 2"),
        (["a"], "expected a column been, found a"),
    ):
        known = ["a", "been"]
        with pytest.raises(TableError) as caught:
            check_header(tmp_path, TableError, header, known=known, required=known)
        assert words in str(caught.value)
    assert nearest("Two Words", ["two_words"]) == "did you mean two_words?"
    assert nearest("zzz", ["two_words"]) == ""


def test_a_long_cell_is_cut_in_its_message(tmp_path):
    message = str(cell_error(TableError, tmp_path, 2, "a", "less", "x\n" * 500, "cut it"))
    assert message.count("x ") == 150
    assert message.endswith("…; cut it")
