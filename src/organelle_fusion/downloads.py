"""What a figure or table of a page offers as files: the drawing as SVG, the numbers as CSV.

Whoever makes a figure or table says what its numbers are (`with_data`). In the kernel of a chapter
they are sent along with it (`send_data`), and whoever executes the chapter writes them into files
and links these from the captions (`write_files`). A notebook that is run by hand shows the same,
without links.
"""

from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from organelle_fusion.provenance import atomic_path

FIGURES, TABLES = "figures", "tables"
"""Folders of the files, below that of the executed chapters."""

PREPARE = (
    '%config InlineBackend.figure_formats = ["png", "svg"]\n'
    "from organelle_fusion.downloads import send_data\n\n"
    "send_data()"
)
"""Cell that makes a kernel draw every figure twice, and send numbers along."""

_CSV, _DRAWING, _PICTURE, _TEXT = "text/csv", "image/svg+xml", "image/png", "text/markdown"
_OFFERED = "_offered_as_csv"

Shown = TypeVar("Shown")


def with_data(shown: Shown, data: pd.DataFrame, name: str = "") -> Shown:
    """Say which numbers a figure or table shows.

    Parameters
    ----------
    shown
        A matplotlib ``Figure``, or Markdown output.
    data
        One row per curve point, bar, dot or cell, in full precision.
    name
        Name of the table. A figure has that of its cell.

    Returns
    -------
    Shown
        The same object.
    """
    setattr(shown, _OFFERED, (data, name))
    return shown


def data_of(shown: Any) -> pd.DataFrame | None:
    """The numbers that `with_data` gave to a figure or table; None if it was given none."""
    return getattr(shown, _OFFERED, (None, ""))[0]


def send_data() -> None:
    """Let this kernel send numbers with the figures and tables that have them, as ``text/csv``."""
    from IPython import get_ipython
    from IPython.display import Markdown
    from matplotlib.figure import Figure

    formatter = get_ipython().display_formatter.mimebundle_formatter
    for kind in (Figure, Markdown):
        formatter.for_type(kind, _bundle)


def _bundle(shown: Any) -> tuple[dict[str, str], dict[str, Any]]:
    data, name = getattr(shown, _OFFERED, (None, ""))
    if data is None:
        return {}, {}
    text = data.to_csv(index=False, lineterminator="\n")
    return {_CSV: text}, {_CSV: {"name": name}}


def write_files(notebook: Any, folder: Path) -> None:
    """Move drawings and numbers out of an executed notebook into files, and link them.

    The page shows the PNG of a figure: a browser draws thousands of paths slowly. Its SVG and CSV
    are called after the figure, and its caption ends in links to them; a table's likewise.

    Parameters
    ----------
    notebook
        ``nbformat`` notebook, changed in place.
    folder
        Where it is going to lie.
    """
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        for output in cell.get("outputs", []):
            content = output.get("data", {})
            numbers = content.pop(_CSV, None)
            facts = output.get("metadata", {}).pop(_CSV, {})
            # An SVG that is not a picture's double is the output itself.
            if _PICTURE in content:
                drawing = content.pop(_DRAWING, None)
                output.metadata.pop(_DRAWING, None)
                if "name" in figure:
                    path = f"{FIGURES}/{figure['name']}"
                    figure["caption"] += _written(folder, f"{path}.svg", drawing)
                    figure["caption"] += _written(folder, f"{path}.csv", numbers)
            elif numbers is not None:
                link = _written(folder, f"{TABLES}/{facts['name']}.csv", numbers)
                content[_TEXT] = _captioned(content[_TEXT], link)


def offered_table(shown: Any, folder: Path, way: str) -> str:
    """Text of a table for a page that is no notebook, its numbers in a file and linked.

    Parameters
    ----------
    shown
        Of `pages.show_table`.
    folder
        That of the executed chapters.
    way
        Path from the page to this folder.
    """
    bundle, facts = _bundle(shown)
    return _captioned(
        shown.data, _written(folder, f"{TABLES}/{facts[_CSV]['name']}.csv", bundle[_CSV], way)
    )


def _captioned(table: str, link: str) -> str:
    """A table whose caption, the first line, ends in a link."""
    first, _, rest = table.partition("\n")
    return f"{first}{link}\n{rest}"


def _written(folder: Path, name: str, text: str | None, way: str = "") -> str:
    """Write a file if there is something to write; return its link, after a blank."""
    if text is None:
        return ""
    with atomic_path(folder / name) as temporary:
        temporary.write_text(text, "utf-8")
    return f" {{download}}`{Path(name).suffix[1:].upper()} <{Path(way, name).as_posix()}>`"
