"""Docstrings in the API reference: names in backticks become links. An extension of Sphinx.

A docstring names what it means as `patches.patch_grid`, without the package, and a parameter or a
shape in the same marks. What is an entry of the reference is linked, anything else is shown as it
is written; so are types of other packages. References on all other pages have to resolve.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

PACKAGE = "organelle_fusion"
PAGES = "book/api/"
"""Pages of the reference, as Sphinx names them, begin so."""


def full_name(target: str) -> str | None:
    """Name under which the reference lists what a docstring calls `target`; None for nothing.

    Parameters
    ----------
    target
        ``module.name``, ``module`` or ``module.Class.name``, with or without the package. A name
        that a module has taken over is found where it is defined. Modules have to be imported.
    """
    path = target.removeprefix(f"{PACKAGE}.").split(".")
    found = sys.modules.get(f"{PACKAGE}.{path[0]}")
    if found is None:
        return None
    for name in path[1:]:
        if not hasattr(found, name):
            return None
        found = getattr(found, name)
    if len(path) == 1:
        return f"{PACKAGE}.{path[0]}"
    home, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return f"{home}.{name}" if home and name else f"{PACKAGE}.{'.'.join(path)}"


def resolve(
    app: "Sphinx", env: "BuildEnvironment", node: "Element", content: "Element"
) -> "Element | None":
    """Link a name in a docstring that Sphinx alone does not find, or leave it plain."""
    from sphinx.util.nodes import make_refnode

    if node.get("refdomain") != "py" or not node.get("refdoc", "").startswith(PAGES):
        return None
    name = full_name(node["reftarget"].removesuffix("()"))
    entry = env.get_domain("py").objects.get(name)
    if entry is None:
        return content
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def skip(app: "Sphinx", what: str, name: str, found: Any, skipped: bool, options: Any) -> bool:
    """Leave out what the signature of a class says already: fields of named tuples, and pydantic's.

    Sphinx calls it for each member, see its event ``autodoc-skip-member``.
    """
    field = (getattr(found, "__doc__", None) or "").startswith("Alias for field number")
    return skipped or field or name == "model_config"


def plain_signature(text: str) -> str:
    """Types of a signature without the bounds and options that pydantic and typer put to them."""
    start = text.find("Annotated[")
    if start < 0:
        return text
    depth, parts = 0, [start + len("Annotated[")]
    for place in range(parts[0], len(text)):
        depth += (text[place] in "([{") - (text[place] in ")]}")
        if depth == 0 and text[place] == ",":
            parts.append(place)
        if depth < 0:
            return text[:start] + plain_signature(text[parts[0] : parts[1]] + text[place + 1 :])
    return text


def simplify(
    app: "Sphinx", what: str, name: str, found: Any, options: Any, signature: str, returned: str
) -> tuple[str | None, str | None]:
    """Show `plain_signature`, on Sphinx' event ``autodoc-process-signature``."""
    return plain_signature(signature) if signature else signature, returned


def whole_sentences(
    app: "Sphinx", what: str, name: str, found: Any, options: Any, lines: list[str]
) -> None:
    """Keep the sentence under a constant whole: Napoleon takes what precedes a colon for a type."""
    if what == "data":
        lines.insert(0, "\\ ")  # nothing, but a line without a colon


def setup(app: "Sphinx") -> dict[str, bool]:
    """Join Sphinx, which calls this."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", simplify)
    app.connect("autodoc-process-docstring", whole_sentences, priority=400)  # before Napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
