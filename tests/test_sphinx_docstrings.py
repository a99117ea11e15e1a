"""Names in docstrings, and the pages of the API reference."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from organelle_fusion import patches, shapley, sphinx_docstrings
from organelle_fusion.book import toc_pages

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("patches", "organelle_fusion.patches"),
        ("organelle_fusion.patches.patch_grid", "organelle_fusion.patches.patch_grid"),
        ("patches.patch_grid", "organelle_fusion.patches.patch_grid"),
        ("patches.stack_statistics", "organelle_fusion.intensity.stack_statistics"),
        ("patches.GOLDEN", "organelle_fusion.patches.GOLDEN"),
        ("shapley.ShapleyValues.parts", "organelle_fusion.shapley.ShapleyValues.parts"),
        ("patches.no_such_thing", None),
        ("(N, H, W, C)", None),
        ("pandas.DataFrame", None),
    ],
)
def test_names_are_found_where_they_are_defined(target, name):
    assert patches
    assert shapley
    assert sphinx_docstrings.full_name(target) == name


@pytest.mark.parametrize(
    ("page", "linked", "plain"), [("book/api/evaluation", True, True), ("book/methods", None, None)]
)
def test_only_the_reference_leaves_unknown_names_plain(page, linked, plain):
    """A link that leads nowhere is an error on every other page."""

    class Entry:
        docname, node_id = "book/api/preprocessing", "there"

    class Environment:
        def get_domain(self, name):
            return type("Domain", (), {"objects": {"organelle_fusion.patches.patch_grid": Entry}})

    class Application:
        class builder:  # noqa: N801 - as Sphinx calls it
            @staticmethod
            def get_relative_uri(start, end):
                return f"{end}.html"

    from docutils.nodes import Text, reference

    def resolved(target):
        node = {"refdomain": "py", "refdoc": page, "reftarget": target}
        return sphinx_docstrings.resolve(Application, Environment(), node, Text(target))

    found = resolved("patches.patch_grid")
    assert isinstance(found, reference) == bool(linked)
    if linked:
        assert found["refuri"] == "book/api/preprocessing.html#there"
    assert (resolved("pandas.DataFrame") == "pandas.DataFrame") == bool(plain)


@pytest.mark.parametrize(
    ("signature", "plain"),
    [
        ("(a: int, b: str = 'x') -> None", "(a: int, b: str = 'x') -> None"),
        ("(*, a: Annotated[int, Gt(gt=0)], b: int)", "(*, a: int, b: int)"),
        (
            "(a: tuple[Annotated[int, Field(m=[Gt(gt=0)])], ...] = (), b: Annotated[str, X])",
            "(a: tuple[int, ...] = (), b: str)",
        ),
        ("(a: Annotated[list[str] | None, Option('--a', help='b, c')] = None)",
         "(a: list[str] | None = None)"),
    ],
)  # fmt: skip
def test_types_are_shown_without_bounds(signature, plain):
    assert sphinx_docstrings.plain_signature(signature) == plain


def test_every_module_has_one_place_in_the_reference():
    """A new module has to be added to a page below book/api."""
    pages = [name for name in toc_pages(ROOT) if name.startswith("book/api/")]
    texts = [(ROOT / f"{name}.md").read_text("utf-8") for name in pages]
    shown = re.findall(r"automodule:: organelle_fusion\.(\w+)", "\n".join(texts))
    package = {path.stem for path in (ROOT / "src/organelle_fusion").glob("[a-z]*.py")}
    assert sorted(shown) == sorted(package)
    assert sorted(path.stem for path in (ROOT / "book/api").glob("*.md")) == sorted(
        Path(name).name for name in pages
    )
    opening = (ROOT / "book/api.md").read_text("utf-8")
    assert re.findall(r"\]\(api/(\w+)\.md\)", opening) == [Path(name).name for name in pages]


def test_imports_of_modules_go_one_way():
    """Those within functions too. A circle would raise, with the modules that make it."""
    above = {}
    for path in (ROOT / "src/organelle_fusion").glob("[a-z]*.py"):
        imports = [
            node
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module.startswith("organelle_fusion")
        ]
        modules = {node.module.partition(".")[2] for node in imports}
        of_package = {
            name.name for node in imports if "." not in node.module for name in node.names
        }
        above[path.stem] = modules - {""} | of_package - {"__version__"}
    order = list(TopologicalSorter(above).static_order())
    assert set(order) == set(above)
    assert order.index("config") < order.index("manifest") < order.index("cli")


def test_every_public_function_and_class_has_a_docstring():
    """What has none is not in the reference."""
    silent = [
        f"{path.stem}.{node.name}"
        for path in (ROOT / "src/organelle_fusion").glob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []
