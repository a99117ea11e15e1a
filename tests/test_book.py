"""Execution of chapters and the built book."""

import base64
import io
import logging
import os
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from matplotlib.image import imread

from organelle_fusion import book, chapters
from organelle_fusion.config import load_profile

HEADER = "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n#     language: python\n"
HEADER += "#     display_name: Python 3\n# ---\n\n"
PARAMETERS = '# %% tags=["parameters"]\nprofile: str = "quick"  # name\n\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with one page and no chapters, as the current folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/executed/01_first\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_chapter(project, body, name="01_first"):
    path = project / "notebooks" / f"{name}.py"
    path.write_text(f"{HEADER}# %% [markdown]\n# # First\n\n{PARAMETERS}{body}", encoding="utf-8")
    return path


def test_execute_passes_declared_parameters_only(project):
    """`profile` reaches the chapter; `manifest`, which it does not declare, is left out."""
    source = write_chapter(project, "# %%\nprint(profile, 'manifest' in globals())\n")
    done = book.execute_chapter(source, project, {"profile": "smoke", "manifest": "m.csv"}, "x")
    notebook = nbformat.read(project / "book/executed/01_first.ipynb", as_version=4)
    assert notebook.cells[-1].outputs[0].text == "smoke False\n"
    assert done.seconds > 0
    assert done.complete


def test_execute_names_the_data_in_captions(project):
    """`{data}` in a caption becomes the name of the data that the page shows."""
    body = '# %% mystnb={"figure": {"caption": "Planes; data: {data}."}}\n1\n'
    book.execute_chapter(write_chapter(project, body), project, {}, "Phantom")
    notebook = nbformat.read(project / "book/executed/01_first.ipynb", as_version=4)
    assert notebook.cells[-1].metadata["mystnb"]["figure"]["caption"] == "Planes; data: Phantom."


def test_named_figures_are_offered_as_svg_and_shown_as_png(project):
    """Of each named figure the SVG goes into a file that its caption links; none stays inside.

    Numbers that a figure or table carries go the same way.
    """
    draw = "figure, axes = plt.subplots(figsize=(4, 2))\nplt.close(figure)\nfigure\n\n"
    body = (
        "# %%\nimport matplotlib.pyplot as plt\n\n"
        '# %% mystnb={"figure": {"name": "fig-x", "caption": "A figure."}}\n'
        f"{draw}# %%\n{draw}"
        "# %%\nfrom IPython.display import SVG\nSVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')\n\n"
        "# %%\nimport pandas as pd\n\nfrom organelle_fusion.downloads import with_data\n"
        "from organelle_fusion.pages import show_table\n\nframe = pd.DataFrame({'n': [3]})\n"
        "show_table(frame, 'Counts.', 'tab-y')\n\n"
        '# %% mystnb={"figure": {"name": "fig-z", "caption": "Bars."}}\n'
        "with_data(figure, frame)\n"
    )
    book.execute_chapter(write_chapter(project, body), project, {}, "x")
    cells = nbformat.read(project / "book/executed/01_first.ipynb", as_version=4).cells
    named, unnamed, drawing, table, counted = cells[-5:]
    caption = named.metadata["mystnb"]["figure"]["caption"]
    assert caption == "A figure. {download}`SVG <figures/fig-x.svg>`"
    for cell in (named, unnamed):
        assert sorted(cell.outputs[0].data) == ["image/png", "text/plain"]
    assert "image/svg+xml" in drawing.outputs[0].data  # it is no picture's double
    executed = project / "book/executed"
    files = sorted(path.name for path in (executed / "figures").iterdir())
    assert files == ["fig-x.svg", "fig-z.csv", "fig-z.svg"]
    assert counted.metadata["mystnb"]["figure"]["caption"].endswith(
        "SVG <figures/fig-z.svg>` {download}`CSV <figures/fig-z.csv>`"
    )
    assert sorted(counted.outputs[0].data) == ["image/png", "text/plain"]
    first = table.outputs[0].data["text/markdown"].splitlines()[0]
    assert first == ":::{table} Counts. {download}`CSV <tables/tab-y.csv>`"
    for name in ("figures/fig-z.csv", "tables/tab-y.csv"):
        assert (executed / name).read_text() == "n\n3\n"
    root = ElementTree.parse(project / "book/executed/figures/fig-x.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    aspect = float(root.get("width")[:-2]) / float(root.get("height")[:-2])
    picture = imread(io.BytesIO(base64.b64decode(named.outputs[0].data["image/png"])))
    assert aspect == pytest.approx(picture.shape[1] / picture.shape[0], rel=0.01)
    assert not any("send_data" in cell.source for cell in cells)


def test_failed_chapter_is_one_line_and_leaves_no_page(project):
    """A raising cell names chapter and error; the page of an earlier run does not survive it."""
    book.execute_chapter(write_chapter(project, "# %%\n1\n"), project, {}, "x")
    source = write_chapter(project, '# %%\nraise ValueError("two\\nlines")\n')
    with pytest.raises(book.BookError, match=r"01_first, cell \d+: ValueError: two lines") as error:
        book.execute_chapter(source, project, {}, "x")
    assert "\n" not in str(error.value)
    names = sorted(path.name for path in (project / "book/executed").iterdir())
    assert names == ["failed-01_first.ipynb"]


def test_unreachable_data_end_the_page_with_the_remedy(project):
    """A chapter whose public data are out of reach says so; what follows is not shown."""
    body = (
        "# %%\nprint('before')\n\n# %%\nfrom organelle_fusion.sources import SourceUnavailable\n"
        "raise SourceUnavailable('cell-lines-9: run `organelle-fusion fetch cell-lines-9`')\n\n"
        "# %%\nprint('after')\n"
    )
    assert not book.execute_chapter(write_chapter(project, body), project, {}, "x").complete
    notebook = nbformat.read(project / "book/executed/01_first.ipynb", as_version=4)
    assert notebook.cells[-1].cell_type == "markdown"
    assert "run `organelle-fusion fetch cell-lines-9`" in notebook.cells[-1].source
    assert notebook.cells[-2].outputs[0].text == "before\n"
    assert "exception" not in notebook.metadata["papermill"]
    assert "papermill" not in "".join(cell.source for cell in notebook.cells)


def test_edited_pair_is_reported(project, caplog):
    """An .ipynb whose code differs from the .py is named, not overwritten."""
    caplog.set_level("INFO")
    source = write_chapter(project, "# %%\n1\n")
    pair = source.with_suffix(".ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("2")]), pair)
    book.execute_chapter(source, project, {}, "x")
    assert "01_first.ipynb differs from 01_first.py" in caplog.text
    assert nbformat.read(pair, as_version=4).cells[0].source == "2"


@pytest.mark.parametrize("text", ["", "<<<<<<< HEAD\n{", "{}", "[]"])
def test_a_pair_that_is_no_notebook_is_reported(project, caplog, text):
    """Torn, or with the marks of a merge: the .py runs all the same."""
    caplog.set_level("INFO")
    source = write_chapter(project, "# %%\n1\n")
    source.with_suffix(".ipynb").write_text(text, "utf-8")
    assert book.execute_chapter(source, project, {}, "x").complete
    assert "01_first.ipynb differs from 01_first.py" in caplog.text


def test_two_chapters_of_one_number_are_refused(project):
    write_chapter(project, "# %%\n1\n")
    write_chapter(project, "# %%\n1\n", name="01_mine")
    with pytest.raises(book.BookError, match=r"found 01_first\.py and 01_mine\.py; give one"):
        book.reproduce(load_profile("smoke"), "smoke", chapter="1")


def test_a_folder_of_data_sets_is_relative_to_where_the_command_is_given(project, monkeypatch):
    """The chapters run in the folder of the repository."""
    monkeypatch.chdir(project / "notebooks")
    monkeypatch.setenv("ORGANELLE_FUSION_DATA", "../sets")
    monkeypatch.setattr(book, "execute_chapters", lambda *given: None)
    monkeypatch.setattr(book, "missing_pages", lambda root: [])
    monkeypatch.setattr(book, "build_pages", lambda root: root)
    book.reproduce(load_profile("smoke"), "smoke")
    assert os.environ["ORGANELLE_FUSION_DATA"] == str(project / "sets")


def test_unknown_chapter_names_the_known_ones(project):
    """`--chapter 7` of a book that has only 01 says so."""
    write_chapter(project, "# %%\n1\n")
    with pytest.raises(book.BookError, match="chapter 7: expected one of 01_first"):
        book.reproduce(load_profile("smoke"), "smoke", chapter="7")


def test_pages_are_found_in_parts_and_sections(project):
    """In the order in which a reader comes to them, the root first."""
    (project / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- caption: One\n  chapters:\n"
        "  - file: book/a\n    title: A\n    sections:\n    - file: book/a/b\n"
        "      sections:\n      - file: book/a/b/c\n  - file: book/d\n"
        "- caption: Two\n  chapters:\n  - file: book/e\n"
    )
    pages = ["book/index", "book/a", "book/a/b", "book/a/b/c", "book/d", "book/e"]
    assert book.toc_pages(project) == pages
    assert book.toc_entries(project)[0]["title"] == "A"


def test_build_refuses_a_missing_page(project):
    """A page of the table of contents that was never executed is an error, not a gap."""
    (project / "book").mkdir()
    (project / "book/index.md").write_text("# Title\n")
    with pytest.raises(book.BookError, match=r"book/executed/01_first.*run `make book`"):
        book.build_pages(project)


def test_one_chapter_needs_no_other_page(project):
    """In a new copy of the repository, what asks for a chapter is content when it is executed."""
    (project / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/executed/01_first\n"
        "- file: book/executed/02_second\n"
    )
    (project / "book").mkdir()
    (project / "book/index.md").write_text("# Title\n")
    for name in ("01_first", "02_second"):
        write_chapter(project, "# %%\n1\n", name)
    place, told = book.reproduce(load_profile("smoke"), "smoke", chapter="2").splitlines()
    assert place == f"The chapter: {project / 'book/executed/02_second.ipynb'}"
    assert Path(place.removeprefix("The chapter: ")).is_file()
    assert told == "No page is built, as 1 other is not executed; `make book` does both"
    # A page that no chapter makes is a fault of the repository.
    (project / "book/index.md").unlink()
    with pytest.raises(book.BookError, match="expected book/index, found no such page"):
        book.reproduce(load_profile("smoke"), "smoke", chapter="2")


def test_one_chapter_tells_which_pages_it_left_behind(project, caplog, monkeypatch):
    """A later chapter whose input the executed one has changed is named, with the reason."""
    caplog.set_level("INFO")
    monkeypatch.setattr(book, "build_pages", lambda root: root / "index.html")
    write = "from organelle_fusion.provenance import write_json\nimport random\n"
    write_chapter(project, f"# %%\n{write}write_json('x.json', random.random())\n")
    read = "from organelle_fusion.provenance import note_file\n"
    write_chapter(project, f"# %%\n{read}note_file('x.json').read_text()\n", "02_second")
    book.reproduce(load_profile("smoke"), "smoke")
    caplog.clear()
    book.reproduce(load_profile("smoke"), "smoke", chapter="1")
    assert "02_second is out of date (file x.json): `make book` executes it" in caplog.text
    book.reproduce(load_profile("smoke"), "smoke")
    caplog.clear()
    book.reproduce(load_profile("smoke"), "smoke", chapter="2")
    assert "out of date" not in caplog.text


def test_what_a_stream_says_while_it_is_closed_goes_into_the_log_alone(monkeypatch):
    """On a busy machine its traceback came before the line that says what failed in a chapter."""
    said = []
    monkeypatch.setattr(chapters._LOGGER, "debug", lambda *parts, **_: said.append(parts))
    chapters._leave_to_exceptions()
    words = ("Uncaught exception in %s", ("a callback",), None)
    record = logging.LogRecord("tornado.general", logging.ERROR, __file__, 1, *words)
    assert not logging.getLogger(record.name).filter(record)  # its level is another's to set
    assert said == [("%s: %s", "tornado.general", "Uncaught exception in a callback")]
