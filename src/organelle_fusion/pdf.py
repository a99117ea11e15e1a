"""The book as a PDF: its pages, printed by a browser one by one and joined in their order."""

import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from organelle_fusion.book import toc_pages
from organelle_fusion.browser import BrowserError, open_browser, serve
from organelle_fusion.chapters import EXECUTED
from organelle_fusion.locks import run_lock
from organelle_fusion.provenance import atomic_path

NAME = "organelle-fusion.pdf"
"""Name of the file, in ``_build`` and beside the pages."""

_OFFER = re.compile(r'<p class="book-pdf">.*?</p>', flags=re.DOTALL)
"""Where the first page offers the PDF; empty as long as none was made."""


def make_pdf(root: Path) -> Path:
    """Print the built book into ``_build``, and offer the file on the first page.

    Parameters
    ----------
    root
        Folder of the repository.

    Raises
    ------
    BrowserError
        The pages are not built, or no browser is at hand.
    LockError
        Another process makes the book of this folder.
    """
    with run_lock(root / EXECUTED):
        return _make_pdf(root)


def _make_pdf(root: Path) -> Path:
    pages, names = root / "_build" / "html", toc_pages(root)
    absent = [name for name in names if not (pages / f"{name}.html").is_file()]
    if absent:
        raise BrowserError(
            f"_build/html: expected {absent[0]}.html, found no such page "
            f"({len(absent)} missing); run `make book` first"
        )
    target = root / "_build" / NAME
    with open_browser() as browser:
        count = print_book(browser, pages, names, target)
    # A copy, so that the folder of the pages can be handed on whole.
    with atomic_path(pages / NAME) as temporary:
        shutil.copyfile(target, temporary)
    first = pages / f"{names[0]}.html"
    up = "../" * names[0].count("/")
    words = f"{count} pages, {target.stat().st_size / 1e6:.0f} MB"
    offer = f'<p class="book-pdf"><a href="{up}{NAME}">This book as a PDF</a> ({words})</p>'
    with atomic_path(first) as temporary:
        temporary.write_text(_OFFER.sub(offer, first.read_text("utf-8")), "utf-8")
    return target


def print_book(browser: Any, pages: Path, names: list[str], target: Path) -> int:
    """Print pages and join them, with bookmarks and with links that lead within the file.

    Parameters
    ----------
    browser
        A `playwright.sync_api.Browser`.
    pages
        Folder of the built pages.
    names
        The pages, without suffix, in their order.
    target
        The PDF to write, whole or not at all.

    Returns
    -------
    int
        Number of pages of the PDF, which carry their numbers from 1 on.
    """
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter()
    owners: list[str] = []  # page of the book that each page of the PDF belongs to
    anchors: dict[tuple[str, str], tuple[int, float]] = {}
    with serve(pages) as address:
        for name in names:
            title, content = _print_page(browser, f"{address}/{name}.html", len(owners))
            reader, first = PdfReader(BytesIO(content)), len(owners)
            anchors[name, ""] = (first, float(reader.pages[0].mediabox.top))
            for anchor, place in reader.named_destinations.items():
                number = first + reader.get_destination_page_number(place)
                anchors[name, unquote(anchor.removeprefix("/"))] = (number, float(place.top))
            for page in reader.pages:
                writer.add_page(page)
                owners.append(name)
            chapter = writer.add_outline_item(title=title, page_number=first)
            for below in reader.outline:
                if isinstance(below, list):  # the headings below the title of the page
                    _add_headings(writer, reader, below, first, chapter)
        _lead_within(writer, owners, anchors, address)
    writer.add_metadata({"/Title": "Organelle fusion", "/Producer": "Chromium and pypdf"})
    with atomic_path(target) as temporary:
        writer.write(temporary)
    return len(owners)


def _print_page(browser: Any, address: str, printed: int) -> tuple[str, bytes]:
    """Title and PDF of a page of the book; its numbers go on after the pages that are `printed`."""
    page = browser.new_page()
    try:
        response = page.goto(address, wait_until="load")
        if not response.ok:
            raise BrowserError(
                f"{address}: expected a page of the book, found status {response.status}; run "
                "`make book` again"
            )
        page.evaluate("window.MathJax?.startup?.promise")  # ends when the equations are set
        page.evaluate(  # text that is folded; folded code stays so, and is not printed
            "document.querySelectorAll('details:not(.hide)').forEach(e => { e.open = true })"
        )
        page.add_style_tag(content=f":root {{ counter-reset: page {printed} }}")
        title = page.locator(".bd-links li.current > a").last.text_content()
        return (
            title.strip(),
            # Chromium makes an outline only of a tagged PDF.
            page.pdf(prefer_css_page_size=True, print_background=True, tagged=True, outline=True),
        )
    finally:
        page.close()


def _add_headings(writer: Any, reader: Any, outline: list, first: int, parent: Any) -> None:
    """Bookmarks of the headings of one page of the book below that of the page itself."""
    from pypdf.generic import Fit

    item = parent
    for entry in outline:
        if isinstance(entry, list):  # what is below the entry before it
            _add_headings(writer, reader, entry, first, item)
            continue
        number = first + reader.get_destination_page_number(entry)
        item = writer.add_outline_item(
            title=entry.title,
            page_number=number,
            parent=parent,
            fit=Fit.xyz(top=float(entry.top)),
            is_open=False,
        )


def _lead_within(writer: Any, owners: list[str], anchors: dict, address: str) -> None:
    """Let links to pages of the book lead to pages of the PDF; those to other files are taken off.

    A link to an anchor that is not printed leads to the page of the book that it is on.
    """
    from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

    for page, owner in zip(writer.pages, owners, strict=True):
        kept = ArrayObject()
        for reference in page.get("/Annots", []):
            link = reference.get_object()
            uri = str(link["/A"].get("/URI", "")) if "/A" in link else ""
            if "/Dest" in link:
                place = (owner, unquote(str(link["/Dest"]).removeprefix("/")))
            elif uri.startswith(f"{address}/"):
                parts = urlsplit(uri)
                place = (parts.path[1:].removesuffix(".html"), unquote(parts.fragment))
            else:
                kept.append(reference)
                continue
            found = anchors.get(place, anchors.get((place[0], "")))
            if found is None:
                continue
            link.pop("/A", None)
            number, top = found
            link[NameObject("/Dest")] = ArrayObject(
                [
                    writer.pages[number].indirect_reference,
                    NameObject("/XYZ"),
                    FloatObject(0),
                    FloatObject(top),
                    NullObject(),
                ]
            )
            kept.append(reference)
        if "/Annots" in page:
            page[NameObject("/Annots")] = kept
