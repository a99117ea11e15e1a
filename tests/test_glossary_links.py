"""First uses of terms in the prose of a page."""

import pytest
from docutils import nodes
from docutils.utils import new_document

from organelle_fusion.glossary_links import first_uses


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
