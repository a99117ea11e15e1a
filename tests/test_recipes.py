"""The recipes of the book, each run as it is written, in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book/recipes.md").read_text("utf-8")
ENVIRONMENT = Path(sys.executable).parent
# Make must not prepare an environment: what it would run is taken from it, and run by the test.
MAKE = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.ready"]


def recipe(heading):
    """The commands of a section of the page."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    (block,) = re.findall(r"^```sh\n(.*?)^```", section, flags=re.M | re.S)
    return block


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A repository whose book has an opening page and two chapters, and this environment."""
    folder = tmp_path_factory.mktemp("copy")
    (folder / "book").mkdir()
    (folder / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("0[12]_*"):
        shutil.copy(path, folder / "notebooks")
    for name in ("_config.yml", "Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "book/_static", folder / "book/_static")
    shutil.copy(ROOT / "book/references.bib", folder / "book")
    (folder / "book/index.md").write_text("# The book\n", "utf-8")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n"
        "- file: book/executed/01_data\n- file: book/executed/02_preprocessing\n",
        "utf-8",
    )
    (folder / ".venv").mkdir()
    (folder / ".venv/bin").symlink_to(ENVIRONMENT)
    return folder


def run(folder, block):
    """Run a block of commands, of make those that it would run; return what they print."""
    lines = []
    for line in block.splitlines():
        if not line.startswith("make "):
            lines.append(line)
            continue
        asked = [*MAKE, *shlex.split(line, comments=True)[1:]]
        told = subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout
        for command in told.splitlines():
            assert command.startswith((".venv/bin/organelle-fusion ", ".venv/bin/jupytext ")), told
        lines += told.splitlines()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# In the order of the page: the first leaves what the others begin from.
def test_one_chapter_is_executed_again(copy):
    said = run(copy, recipe("Re-execute one chapter")).splitlines()
    assert any(line.startswith("[2/2] 02_preprocessing done") for line in said)
    assert any(line.startswith("[1/1] 02_preprocessing runs (asked for)") for line in said)
    assert said[-1] == f"The book: {copy / '_build/html/index.html'}"
    assert (copy / "_build/html/book/executed/02_preprocessing.html").is_file()


def test_parameters_are_listed_and_filled_in(copy):
    """The book's own notebook stays as it is."""
    executed = copy / "book/executed/02_preprocessing.ipynb"
    before = executed.read_bytes()
    said = run(copy, recipe("Re-execute with your parameters"))
    assert re.search(r"profile: str \(default \"quick\"\)", said)
    assert re.search(r"manifest: str \(default \"\"\)", said)
    for number, title in (("01", "Data"), ("02", "Preprocessing")):
        mine = nbformat.read(copy / f"mine-{number}.ipynb", as_version=4)
        assert mine.metadata.papermill.parameters == {"profile": "smoke"}
        assert mine.metadata.papermill.exception is None
        assert mine.cells[0].source.startswith(f"# {title}")
    assert executed.read_bytes() == before


def test_an_edit_of_the_python_file_is_on_the_page_and_in_the_notebook(copy):
    run(copy, recipe("Edit as plain Python"))
    page = (copy / "_build/html/book/executed/02_preprocessing.html").read_text("utf-8")
    assert "describe" in page
    assert re.search(r"<th>25%</th>", page)
    source = copy / "notebooks/02_preprocessing.py"
    last = jupytext.read(source).cells[-1].source
    assert last == 'table.groupby("label")["foreground"].describe()'
    pair = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert pair.cells[-1].source == last
