"""A Sphinx extension: mends what the theme and other extensions leave wrong on a page."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

_PARAMETERS = re.compile(r"<dl>\s*((?:<dd>.*?</dd>\s*)+)</dl>", flags=re.DOTALL)
"""Parameters of a function, a line each: for Sphinx, definitions without what they define."""

TOGGLE = '<summary><span class="toctree-toggle"'
"""In the list of pages, what unfolds those below one: the theme gives it no name."""

ROLES = {'role="doc-biblioentry"': 'role="listitem"'}
"""Roles that ARIA has given up, and what takes their place: a bibliography is a list of items."""


def setup(app: Any) -> dict[str, bool]:
    """Let Sphinx mend every page before it is written."""
    app.connect("html-page-context", _mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mend(app: Any, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    # Thebe runs code of a page on a server elsewhere. The book has no button for it, and its
    # settings stand on every page twice, which the browser takes for an error.
    left_out = ["thebe"]
    # Sphinx gives the first page what sets equations if a page that it lists has some.
    if 'class="math' not in context.get("body", ""):
        left_out.append("mathjax")
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if not _names(file, left_out)]
    if "body" in context:
        body = _PARAMETERS.sub(_as_lines, context["body"])
        for given_up, role in ROLES.items():
            body = body.replace(given_up, role)
        context["body"] = body
    make_list = context.get("generate_toctree_html")
    if make_list is not None:
        context["generate_toctree_html"] = partial(_named_list, make_list)


def _as_lines(found: re.Match) -> str:
    lines = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def _named_list(make_list: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """The list of pages, as the theme makes it, in which all that unfolds has a name."""
    named = TOGGLE.replace("<summary>", '<summary aria-label="Pages below">')
    return str(make_list(*arguments, **options)).replace(TOGGLE, named)


def _names(file: Any, words: list[str]) -> bool:
    """Whether a file's name, or what stands in its place on the page, holds one of the words."""
    text = f"{file.filename} {file.attributes.get('body')}".lower()
    return any(word in text for word in words)
