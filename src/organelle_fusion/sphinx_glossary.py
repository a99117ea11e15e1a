"""A Sphinx extension: on each page the first use of a term leads to its line in the glossary."""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.nodes import make_refnode

NO_PROSE = (
    nodes.title,
    nodes.caption,
    nodes.table,
    nodes.reference,
    pending_xref,
    nodes.term,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
)
"""What is left as it is: headings, captions, tables, links, code and equations."""

VERBS = ("group",)
"""Terms that are verbs as well: linked in the plural alone."""

REFERENCE = "book/api"
"""Beginning of the names of pages that are no prose."""


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx link the terms of a page after its references are resolved."""
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _link(app: Any, doctree: nodes.document, docname: str) -> None:
    if docname.startswith(REFERENCE):
        return
    terms = {
        name.lower(): (name, page, anchor)
        for name, _, kind, page, anchor, _ in app.env.get_domain("std").get_objects()
        if kind == "term" and page != docname
    }
    for text, pieces in first_uses(doctree, terms):
        parts = []
        for words, term in pieces:
            if term is None:
                parts.append(nodes.Text(words))
            else:
                name, page, anchor = terms[term]
                link = make_refnode(app.builder, docname, page, anchor, nodes.Text(words))
                link["classes"].append("glossary-term")
                link["reftitle"] = f"Glossary: {name}"
                parts.append(link)
        text.parent.replace(text, parts)


def first_uses(
    doctree: nodes.document, terms: dict[str, Any]
) -> list[tuple[nodes.Text, list[tuple[str, str | None]]]]:
    """Where in the prose of a page each term stands first, in the singular or with an s.

    Parameters
    ----------
    doctree : docutils.nodes.document
        The page.
    terms : dict of str
        The terms are its keys, in lower case. Of two that begin at one place the longer is taken.

    Returns
    -------
    list of (docutils.nodes.Text, list of (str, str or None))
        Each text that holds first uses, and its pieces in order: words, and the term they are.
    """
    left, found = dict.fromkeys(terms), []
    for text in doctree.findall(nodes.Text):
        if not left:
            break
        if not _is_prose(text):
            continue
        words, pieces, start = text.astext(), [], 0
        while left and (match := _pattern(left).search(words, start)):
            term = match[1].lower()
            del left[term]
            pieces += [(words[start : match.start()], None), (match[0], term)]
            start = match.end()
        if pieces:
            pieces.append((words[start:], None))
            found.append((text, [piece for piece in pieces if piece[0]]))
    return found


def _pattern(terms: dict[str, Any]) -> re.Pattern:
    longest_first = sorted(terms, key=len, reverse=True)
    words = "|".join(re.escape(term) + "(?=s)" * (term in VERBS) for term in longest_first)
    return re.compile(rf"(?<![\w-])({words})s?(?![\w-])", re.IGNORECASE)


def _is_prose(text: nodes.Text) -> bool:
    node, in_paragraph = text.parent, False
    while node is not None:
        if isinstance(node, NO_PROSE):
            return False
        in_paragraph = in_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return in_paragraph
