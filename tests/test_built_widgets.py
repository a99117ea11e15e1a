"""A look at the widgets of the built pages as they are delivered: run by `make pages`."""

import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.pages

HTML = Path(__file__).parents[1] / "_build" / "html"
CHAPTERS = sorted(path.stem for path in (HTML / "book/executed").glob("[0-9]*.html"))
SCRIPTS = {"stack", "threshold", "montage", "sizes", "confusion", "curves", "curtain", "features"}
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS)


def read(chapter):
    text = (HTML / f"book/executed/{chapter}.html").read_text("utf-8")
    return BeautifulSoup(text, "html.parser")


def test_every_kind_of_widget_is_on_some_page_and_has_its_script():
    found = {tag["data-widget"] for name in CHAPTERS for tag in read(name).select(".widget")}
    assert found == SCRIPTS
    code = "".join(path.read_text("utf-8") for path in (HTML / "_static").glob("widgets*.js"))
    assert set(re.findall(r"^  kinds\.(\w+) = ", code, flags=re.MULTILINE)) == SCRIPTS
    assert not re.search(r"https?://(?!www\.w3\.org)", code)


@each_chapter
def test_widgets_say_which_data_they_show_and_hold_all_they_need(chapter):
    """Facts that can be read, pictures with an alternative text, no address, no inline handler."""
    for widget in read(chapter).select(".widget"):
        caption = widget.select_one(".widget-caption").get_text()
        assert re.search("phantom|own stacks", caption, re.IGNORECASE)
        json.loads(widget.select_one("script[type='application/json']").string)
        assert widget.select_one(".widget-use").get_text()
        assert widget.select_one(".widget-note").get_text()
        for picture in widget.select("img"):
            assert picture["alt"]
            assert re.match("data:image/(jpeg|png);base64,", picture["src"])
        for tag in widget.find_all(True):
            assert not [name for name in tag.attrs if name.startswith("on") or name == "href"]


@pytest.mark.parametrize("chapter", ["09_real_cells", "10_leakage"])
def test_real_cells_are_in_no_widget(chapter):
    """Their licence allows no pictures of them."""
    assert read(chapter).select(".widget img") == []


@each_chapter
def test_names_of_widgets_are_unique(chapter):
    names = [tag["id"] for tag in read(chapter).find_all(id=True)]
    widgets = [tag["id"] for tag in read(chapter).select(".widget, .widget [id]")]
    assert [name for name in widgets if names.count(name) > 1] == []
