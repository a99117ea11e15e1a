"""Launch buttons, and the data step of notebooks that start elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[1]
CONFIG = (ROOT / "_config.yml").read_text("utf-8")
UNSET = 'repository: {url: "", branch: main}'


@pytest.fixture
def built(tmp_path):
    """A function that builds a book of one chapter with an address, and gives its page."""
    (tmp_path / "book/executed").mkdir(parents=True)
    shutil.copytree(ROOT / "book/_static", tmp_path / "book/_static")
    shutil.copy(ROOT / "book/references.bib", tmp_path / "book/references.bib")
    (tmp_path / "book/index.md").write_text("# The book\n", "utf-8")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/executed/06_fusion_cv5\n"
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Fusion")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, tmp_path / "book/executed/06_fusion_cv5.ipynb")

    def build(address):
        assert CONFIG.count(UNSET) == 1
        config = CONFIG.replace(UNSET, f'repository: {{url: "{address}", branch: main}}')
        (tmp_path / "_config.yml").write_text(config, "utf-8")
        command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "-n"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        page = tmp_path / "_build/html/book/executed/06_fusion_cv5.html"
        return BeautifulSoup(page.read_text("utf-8"), "html.parser")

    return build


def launched(page):
    """Links to services that would launch a notebook."""
    links = [tag["href"] for tag in page.select("a[href]")]
    return [link for link in links if re.search(r"mybinder|colab", link)]


def test_buttons_lead_to_notebooks_of_the_repository(built):
    """To the committed file, not to the executed one that the page is made from."""
    binder, colab = launched(built("https://github.com/someone/somewhere"))
    assert binder == (
        "https://mybinder.org/v2/gh/someone/somewhere/main"
        "?urlpath=lab/tree/notebooks/06_fusion_cv5.ipynb"
    )
    assert urlparse(colab).netloc == "colab.research.google.com"
    assert urlparse(colab).path == (
        "/github/someone/somewhere/blob/main/notebooks/06_fusion_cv5.ipynb"
    )
    assert (ROOT / "notebooks/06_fusion_cv5.ipynb").is_file()


def test_without_an_address_there_are_no_buttons(built):
    page = built("")
    assert launched(page) == []
    assert page.select_one(".dropdown-launch-buttons") is None


def test_environment_of_binder_holds_what_its_data_step_calls():
    """Binder takes environment.yml and postBuild from the root, as long as no folder is for it."""
    assert not (ROOT / "binder").exists()
    assert not (ROOT / ".binder").exists()
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert {"pip": ["-e ."]} in environment["dependencies"]
    assert os.access(ROOT / "postBuild", os.X_OK)


def test_data_step_runs_the_chapters_that_others_begin_from(tmp_path):
    """From any folder; each file that it names is there and takes the parameter."""
    (tmp_path / "papermill").write_text('#!/bin/sh\necho "$PWD $*" >> "$CALLS"\n')
    (tmp_path / "papermill").chmod(0o755)
    environment = {**os.environ, "CALLS": str(tmp_path / "calls")}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    subprocess.run([ROOT / "postBuild"], cwd=tmp_path, env=environment, check=True)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert [Path(call[1]).stem[:2] for call in calls] == [f"0{number}" for number in range(1, 8)]
    for folder, path, output, *options in calls:
        assert Path(folder) == ROOT
        assert output == "-"
        assert options == ["--no-progress-bar", "-p", "profile", "smoke"]
        notebook = nbformat.read(ROOT / path, as_version=4)
        (parameters,) = [
            cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])
        ]
        assert "profile: str" in parameters.source
