"""The book as a PDF; most of it is looked at by `make pages`, since it needs the pages."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from organelle_fusion.book import toc_pages
from organelle_fusion.browser import BrowserError, find_browser
from organelle_fusion.locks import LockError
from organelle_fusion.pdf import NAME, make_pdf

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
PAGES = toc_pages(ROOT)

FIRST = """<!DOCTYPE html><html lang="en"><title>First</title>
<div class="bd-links" hidden><ul><li class="current"><a href="#">The first</a></li></ul></div>
<h1>First</h1><p>See <a href="two.html#there">there</a>, <a href="table.csv">a file</a> and
<a href="https://example.org/">outside</a>.</p><h2>Below</h2><p class="book-pdf"></p></html>"""
SECOND = """<!DOCTYPE html><html lang="en"><title>Second</title>
<div class="bd-links" hidden><ul><li class="current"><a href="#">The second</a></li></ul></div>
<h1>Second</h1><p style="break-before: page" id="there">There. <a href="#there">Here</a></p>
</html>"""


@pytest.fixture
def small_book(tmp_path):
    """Folder of a repository whose book has two built pages."""
    toc = {"format": "jb-book", "root": "book/one", "chapters": [{"file": "book/two"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc), "utf-8")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_build/html/book").mkdir(parents=True)
    (tmp_path / "_build/html/book/one.html").write_text(FIRST, "utf-8")
    (tmp_path / "_build/html/book/two.html").write_text(SECOND, "utf-8")
    return tmp_path


def test_pages_that_are_not_built_are_asked_for(small_book):
    (small_book / "_build/html/book/two.html").unlink()
    with pytest.raises(BrowserError, match=r"expected book/two\.html, found .* run `make book`"):
        make_pdf(small_book)


def test_a_book_that_is_being_made_is_not_printed(small_book):
    """Its pages are removed and built anew meanwhile."""
    folder = small_book / "book/executed"
    folder.mkdir(parents=True)
    code = (
        "import sys\nfrom organelle_fusion.locks import run_lock\n"
        "with run_lock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockError, match="expected no other run at work here"):
            make_pdf(small_book)
        other.communicate()


def test_without_a_browser_one_line_says_what_to_install(small_book, monkeypatch):
    monkeypatch.setenv("PATH", str(small_book))
    with pytest.raises(BrowserError, match=r"expected chromium, .* found none; install one"):
        make_pdf(small_book)
    assert not (small_book / "_build" / NAME).exists()


def links_of(page) -> list:
    return [reference.get_object() for reference in page.get("/Annots", [])]


@pytest.mark.pages
@pytest.mark.browser
def test_small_book_is_joined_and_offered(small_book):
    """Three pages; links lead within the file or outside, bookmarks to pages and headings."""
    from pypdf import PdfReader

    try:
        find_browser()
    except BrowserError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "organelle_fusion", "pdf"]
    for _ in range(2):  # the second time, the first page has its offer already
        result = subprocess.run(
            command, cwd=small_book, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
    reader = PdfReader(small_book / "_build" / NAME)
    assert len(reader.pages) == 3
    first, (below,), second = reader.outline
    places = [(entry.title, reader.get_destination_page_number(entry)) for entry in (first, below)]
    assert places == [("The first", 0), ("Below", 0)]
    assert (second.title, reader.get_destination_page_number(second)) == ("The second", 1)
    there, outside = links_of(reader.pages[0])  # neither the CSV nor the offer is in the file
    assert there["/Dest"][0] == reader.pages[2].indirect_reference
    assert outside["/A"]["/URI"] == "https://example.org/"
    (here,) = links_of(reader.pages[2])
    assert here["/Dest"][0] == reader.pages[2].indirect_reference
    beside = small_book / "_build/html" / NAME
    assert beside.read_bytes() == (small_book / "_build" / NAME).read_bytes()
    page = (small_book / "_build/html/book/one.html").read_text("utf-8")
    assert re.findall(r'<p class="book-pdf"><a href="(.*?)">', page) == [f"../{NAME}"]


# --- the whole book -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(browser, tmp_path_factory):
    """The book, printed and read."""
    from pypdf import PdfReader

    from organelle_fusion.pdf import print_book

    path = tmp_path_factory.mktemp("pdf") / NAME
    count = print_book(browser, HTML, PAGES, path)
    reader = PdfReader(path)
    assert len(reader.pages) == count
    return reader


@pytest.fixture(scope="module")
def text(book):
    """What is written on each page, without blanks."""
    return [re.sub(r"\s", "", page.extract_text()) for page in book.pages]


@pytest.fixture(scope="module")
def soups():
    return {
        name: BeautifulSoup((HTML / f"{name}.html").read_text("utf-8"), "html.parser")
        for name in PAGES
    }


@pytest.mark.pages
@pytest.mark.browser
def test_every_page_of_the_book_is_bookmarked_and_begins_a_page(book, text, soups):
    marks = [entry for entry in book.outline if not isinstance(entry, list)]
    titles = [soups[name].select(".bd-links li.current > a")[-1].get_text() for name in PAGES]
    assert [mark.title for mark in marks] == [title.strip() for title in titles]
    numbers = [book.get_destination_page_number(mark) for mark in marks]
    assert numbers == sorted(set(numbers))
    assert len(book.pages) >= len(PAGES)
    for name, number in zip(PAGES, numbers, strict=True):
        heading = soups[name].select_one("article section h1").find(string=True)
        assert text[number].startswith(f"{number + 1}{heading}".replace(" ", ""))


@pytest.mark.pages
@pytest.mark.browser
def test_pages_are_numbered_through(text):
    """The number at the foot of a page comes first in what is read of it."""
    starts = [page.startswith(str(number)) for number, page in enumerate(text, start=1)]
    assert all(starts)


@pytest.mark.pages
@pytest.mark.browser
def test_every_caption_and_picture_of_the_pages_is_printed(book, text, soups):
    whole = "".join(text)
    captions = [
        re.sub(r"\s", "", tag.get_text())
        for soup in soups.values()
        for tag in soup.select("figure .caption-number, table .caption-number")
    ]
    assert len(captions) > 50
    assert [caption for caption in captions if caption not in whole] == []
    pictures = sum(len(page.images.keys()) for page in book.pages)
    assert pictures >= sum(len(soup.select("article figure img")) for soup in soups.values())


@pytest.mark.pages
@pytest.mark.browser
def test_fonts_are_embedded(book):
    fonts = {}
    for page in book.pages:
        for reference in page["/Resources"].get("/Font", {}).values():
            font = reference.get_object()
            for part in font.get("/DescendantFonts", [font]):
                fonts[font.get("/BaseFont", "Type 3")] = part.get_object()
    assert len(fonts) > 2
    for name, font in fonts.items():
        if font["/Subtype"] != "/Type3":  # which holds its shapes itself
            described = font["/FontDescriptor"]
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(described), name


@pytest.mark.pages
@pytest.mark.browser
def test_links_lead_within_the_book_or_to_the_world(book):
    links = [link for page in book.pages for link in links_of(page)]
    within = [link for link in links if "/Dest" in link]
    outside = [link["/A"]["/URI"] for link in links if "/A" in link]
    assert len(within) > 100
    assert len(within) + len(outside) == len(links)
    assert [uri for uri in outside if not re.match(r"https?://(?!127\.)|mailto:", uri)] == []
    pages = {page.indirect_reference for page in book.pages}
    assert all(link["/Dest"][0] in pages for link in within)
