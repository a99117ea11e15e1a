"""First uses of terms in the prose of a page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docutils import nodes
from docutils.utils import new_document

from organelle_fusion.sphinx_glossary import first_uses


@pytest.fixture
def page():
    """A page with a heading and paragraphs, each of which is a list of nodes."""

    def make(*paragraphs):
        document = new_document("page")
        section = nodes.section("", nodes.title("", "Fold"))
        section += [nodes.paragraph("", "", *parts) for parts in paragraphs]
        document += section
        return document

    return make


def pieces(document, *terms):
    return [parts for _, parts in first_uses(document, dict.fromkeys(terms))]


def test_first_use_is_found_in_prose_and_no_other(page):
    document = page(
        [nodes.literal("", "fold"), nodes.Text(" manifold, Folds and folds")],
        [nodes.Text("a fold of five")],
    )
    assert pieces(document, "fold") == [
        [(" manifold, ", None), ("Folds", "fold"), (" and folds", None)]
    ]


def test_longer_term_comes_first_and_both_are_found(page):
    document = page([nodes.Text("early fusion, then fusion")])
    assert pieces(document, "fusion", "early fusion") == [
        [("early fusion", "early fusion"), (", then ", None), ("fusion", "fusion")]
    ]


def test_links_tables_captions_and_hyphens_are_left_alone(page):
    document = page(
        [nodes.reference("", "a fold", refuri="x")],
        [nodes.Text("fold-wise, two-fold")],
    )
    document += nodes.figure("", nodes.caption("", "fold"))
    table = nodes.table("", nodes.entry("", nodes.paragraph("", "fold")))
    document += table
    assert pieces(document, "fold") == []


def test_case_of_the_page_is_kept(page):
    assert pieces(page([nodes.Text("UMAP")]), "umap") == [[("UMAP", "umap")]]


def test_verb_is_no_term(page):
    document = page([nodes.Text("Networks group patches by groups.")])
    expected = [("Networks group patches by ", None), ("groups", "group"), (".", None)]
    assert pieces(document, "group") == [expected]


def test_pages_are_built_with_the_links(tmp_path):
    """The glossary does not lead to itself, and the reference is left alone."""
    (tmp_path / "index.rst").write_text(
        "Book\n====\n\nSome Folds, each fold.\n\n.. toctree::\n\n   words\n   book/api\n", "utf-8"
    )
    (tmp_path / "words.rst").write_text(
        "Words\n=====\n\n.. glossary::\n\n   fold\n     One fold of five.\n", "utf-8"
    )
    (tmp_path / "book").mkdir()
    (tmp_path / "book/api.rst").write_text("API\n===\n\nA fold.\n", "utf-8")
    extension = "extensions=organelle_fusion.sphinx_glossary"
    command = [sys.executable, "-m", "sphinx", "-CqW", "-D", extension, tmp_path, tmp_path / "html"]
    subprocess.run(command, check=True)
    links = {
        path.stem: re.findall(r'<a class="glossary-term[^>]*>.*?</a>', path.read_text("utf-8"))
        for path in (tmp_path / "html").rglob("*.html")
    }
    (link,) = links["index"]
    assert 'href="words.html#term-fold"' in link
    assert 'title="Glossary: fold"' in link
    assert re.sub("<.*?>", "", link) == "Folds"
    assert links["words"] == links["api"] == []


def test_the_book_is_built_with_the_extension():
    config = yaml.safe_load((Path(__file__).parents[1] / "_config.yml").read_text("utf-8"))
    assert "organelle_fusion.sphinx_glossary" in config["sphinx"]["extra_extensions"]
