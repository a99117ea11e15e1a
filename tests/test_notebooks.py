"""The two halves of every notebook agree, and notebooks keep to the rules of the house."""

import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

from organelle_fusion.book import toc_entries, toc_pages

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def contents(notebook) -> list[tuple]:
    """Of every cell what both halves keep: type, source, tags, figure options."""
    return [
        (
            cell.cell_type,
            cell.source,
            cell.metadata.get("tags", []),
            cell.metadata.get("mystnb", {}),
        )
        for cell in notebook.cells
    ]


@each
def test_both_halves_are_equal(source):
    pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert contents(pair) == contents(jupytext.read(source)), "run `make notebooks`"


@each
def test_committed_notebook_is_valid_and_has_no_outputs(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@each
def test_starts_with_a_title_and_the_parameters(source):
    cells = jupytext.read(source).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    code = [cell for cell in cells if cell.cell_type == "code"]
    tagged = ["parameters" in cell.metadata.get("tags", []) for cell in code]
    assert tagged == [True] + [False] * (len(code) - 1)


@each
def test_opens_with_its_question_and_ends_with_its_answer(source):
    """The answer is made by the last cell, out of what was computed: it is no prose."""
    cells = jupytext.read(source).cells
    assert cells[0].source.split("\n\n")[1].startswith("**Question.** ")
    asking = [cell for cell in cells if "**Answer.**" in cell.source]
    assert asking == [cells[-1]]
    assert cells[-1].cell_type == "code"
    assert "Markdown(" in cells[-1].source


@each
def test_parameters_are_annotated_and_explained(source):
    """Papermill shows the comment behind a parameter as its help."""
    code = [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    lines = code[0].source.splitlines()
    for statement in ast.parse(code[0].source).body:
        assert isinstance(statement, ast.AnnAssign), ast.unparse(statement)
        assert "  # " in lines[statement.end_lineno - 1], ast.unparse(statement)


@each
def test_code_lives_in_the_package(source):
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    code = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    found = [
        node.name
        for text in code
        for node in ast.walk(ast.parse(text))
        if isinstance(node, definitions)
    ]
    assert found == []


def test_every_notebook_is_a_chapter_and_every_chapter_a_notebook():
    chapters = [name for name in toc_pages(ROOT) if name.startswith("book/executed/")]
    assert chapters == [f"book/executed/{path.stem}" for path in SOURCES]
    assert [path.stem for path in SOURCES] == [
        path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ]


@each
def test_chapter_is_listed_under_its_number_and_title(source):
    titles = {Path(entry["file"]).name: entry.get("title") for entry in toc_entries(ROOT)}
    heading = jupytext.read(source).cells[0].source.splitlines()[0].removeprefix("# ")
    assert titles[source.stem] == f"{int(source.stem[:2])} · {heading}"


def test_prose_pages_of_the_table_of_contents_exist():
    prose = [name for name in toc_pages(ROOT) if not name.startswith("book/executed/")]
    assert [name for name in prose if not (ROOT / f"{name}.md").is_file()] == []
