"""The built pages in a real browser, from this machine alone; run by `make pages`."""

import re
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urldefrag
from urllib.request import urlopen

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from organelle_fusion.book import toc_pages

pytestmark = [pytest.mark.pages, pytest.mark.browser]

PAGES = toc_pages(Path(__file__).parents[1])
WIDTHS = (390, 768, 1440)
THEMES = ("light", "dark")
LARGEST = 3e6
"""Bytes of a page with its pictures, equations and widgets, without the files of the theme."""

TOO_WIDE = """() => {
  const room = document.documentElement.clientWidth;
  scrollTo(1e4, 0);
  const scrolled = scrollX;
  scrollTo(0, 0);
  if (!scrolled && document.documentElement.scrollWidth <= room) return [];
  return [...document.querySelectorAll("body *")]
    .filter((element) => element.getBoundingClientRect().right > room + 1)
    .slice(0, 5)
    .map((element) => `${element.tagName.toLowerCase()}.${element.className}#${element.id}`);
}"""

CONTENT = """() => ({
  pictures: [...document.querySelectorAll("article img")].map((picture) => ({
    source: picture.src, width: picture.naturalWidth,
    enlarges: !picture.closest("figure") || Boolean(picture.closest("button")),
  })),
  links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
  anchors: [...document.querySelectorAll("[id]")].map((element) => element.id),
  dangling: [...document.querySelectorAll("article .xref:not(.py)")]
    .filter((element) => !element.closest("a")).map((element) => element.textContent),
  equations: document.querySelectorAll("article .math").length,
  set: document.querySelectorAll("article .math mjx-container").length,
  renderer: Boolean(window.MathJax?.version),
  bytes: performance.getEntriesByType("resource")
    .filter((file) => !/_static\\/(scripts|styles|vendor)\\//.test(file.name))
    .reduce((sum, file) => sum + file.encodedBodySize,
      performance.getEntriesByType("navigation")[0].encodedBodySize),
})"""

# Opens one figure after the other, and says which show nothing, or no more than before.
ENLARGE = """async () => {
  const failed = [];
  for (const button of document.querySelectorAll("button.zoom-open")) {
    const picture = button.querySelector("img");
    const before = picture.clientWidth;
    button.click();
    const dialog = document.querySelector("dialog.zoom");
    const enlarged = dialog.querySelector("img");
    await enlarged.decode().catch(() => {});
    const shown = dialog.open && enlarged.naturalWidth > 0 && enlarged.clientWidth > 1.2 * before;
    if (!shown || enlarged.alt !== picture.alt) failed.push(picture.src);
    dialog.close();
  }
  return failed;
}"""


# What axe-core calls a serious or critical fault, by its rules or some of them.
AXE = """async ([what, options]) => (await axe.run(what ?? document, options)).violations
  .flatMap(rule => rule.nodes
  .filter(node => ["serious", "critical"].includes(node.impact))
  .map(node => `${rule.id}: ${node.target}: ${node.failureSummary}`))"""


# Code and signatures have one style on all pages: their contrasts are tested on a page of each.
CODE = {"exclude": [[".highlight"], [".sig"]]}
OF_CODE = ("book/executed/06_fusion_cv5", "book/api/sweeps")


class Look(NamedTuple):
    """What is seen of a page, in light and in dark."""

    faults: list[str]
    content: dict[str, Any]
    not_enlarged: list[str]
    too_wide: dict[tuple[str, int], list[str]]  # what sticks out, by theme and width of the window
    inaccessible: list[str]


@pytest.fixture(scope="module")
def context(browser):
    """All pages are opened in one: what they share is loaded once."""
    with browser.new_context() as opened:
        opened.set_default_timeout(30_000)
        yield opened


@pytest.fixture(scope="module")
def look(context, book_address, note_faults):
    """Look at a page by its name; each is loaded once, its theme and its window are changed."""

    @cache
    def at(name: str) -> Look:
        with closing(context.new_page()) as page:
            return _look(page, f"{book_address}/{name}.html", name in OF_CODE)

    def _look(page, address, with_code):
        faults = []
        note_faults(page, faults)
        _show(page, "light", 1440)
        page.goto(address, wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")
        content = page.evaluate(CONTENT)
        not_enlarged = page.evaluate(ENLARGE)
        too_wide = {}
        for theme in THEMES:
            for width in WIDTHS:
                _show(page, theme, width)
                too_wide[theme, width] = page.evaluate(TOO_WIDE)
            assert page.evaluate("document.documentElement.dataset.theme") == theme
        so_far = faults.copy()  # axe itself asks for style sheets in wrong places
        # Contrasts differ by theme, the rest by width: on a phone more has to scroll.
        page.evaluate(AXE_SCRIPT)
        contrasts = [None if with_code else CODE, {"runOnly": ["color-contrast"]}]
        inaccessible = page.evaluate(AXE, contrasts)
        _show(page, "light", 1440)
        inaccessible += page.evaluate(AXE, contrasts)
        _show(page, "light", 390)
        page.wait_for_timeout(500)  # the theme waits 300 ms until it lets what scrolls have focus
        inaccessible += page.evaluate(
            AXE, [None, {"rules": {"color-contrast": {"enabled": False}}}]
        )
        return Look(so_far, content, not_enlarged, too_wide, inaccessible)

    return at


def _show(page, theme, width):
    # Or colours of buttons would still be on their way from one theme to the other.
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})


each = pytest.mark.parametrize("name", PAGES)


@each
def test_page_asks_for_nothing_elsewhere_and_tells_no_error(name, look):
    assert look(name).faults == []


@each
def test_page_does_not_scroll_sideways(name, look):
    """In no theme and at no width."""
    assert {window: found for window, found in look(name).too_wide.items() if found} == {}


@each
def test_page_is_accessible(name, look):
    """No fault that axe-core calls serious or critical."""
    assert look(name).inaccessible == []


@each
def test_figures_load_and_open_enlarged(name, look):
    page = look(name)
    assert [picture for picture in page.content["pictures"] if not picture["width"]] == []
    assert [picture for picture in page.content["pictures"] if not picture["enlarges"]] == []
    assert page.not_enlarged == []


@each
def test_equations_are_set_by_files_beside_the_pages(name, look):
    """And only a page that has some loads what sets them."""
    content = look(name).content
    assert content["set"] == content["equations"]
    assert content["renderer"] == (content["equations"] > 0)


@each
def test_page_is_small_enough_to_be_sent(name, look):
    assert look(name).content["bytes"] < LARGEST


@each
def test_every_internal_link_and_anchor_leads_somewhere(name, look, book_address):
    """Pages of the book are known by what the browser finds on them, others are fetched."""
    content = look(name).content
    assert content["dangling"] == []
    broken = []
    for link in sorted(set(content["links"])):
        address, anchor = urldefrag(link)
        if not address.startswith(f"{book_address}/"):
            assert re.match(r"(https?|mailto):", address), link
            continue
        target = address.removeprefix(f"{book_address}/").removesuffix(".html")
        if target in PAGES:
            if anchor and unquote(anchor) not in look(target).content["anchors"]:
                broken.append(link)
        else:
            with urlopen(address) as answer:  # raises where there is nothing
                text = answer.read()
            if anchor and f'id="{unquote(anchor)}"'.encode() not in text:
                broken.append(link)
    assert broken == []


FIGURES = "book/executed/02_preprocessing"


def test_figure_is_enlarged_and_put_back_by_keyboard(browser_page):
    page = browser_page(FIGURES)
    button = page.locator("#fig-pipeline button.zoom-open")
    alternative = button.locator("img").get_attribute("alt")
    assert page.get_by_role("button", name=alternative).count() == 1
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog.zoom")
    assert dialog.is_visible()
    assert dialog.locator("img").get_attribute("alt") == alternative
    assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("button => document.activeElement === button")


def test_enlarged_figure_closes_by_its_button_and_by_a_click_beside_it(browser_page):
    page = browser_page(FIGURES)
    dialog = page.locator("dialog.zoom")
    for close in (
        lambda: page.get_by_role("button", name="Close", exact=True).click(),
        lambda: page.mouse.click(3, 3),
    ):
        page.locator("#fig-otsu button.zoom-open").click()
        assert dialog.is_visible()
        close()
        assert not dialog.is_visible()


def test_figures_are_there_without_scripts(browser_page):
    page = browser_page(FIGURES, java_script_enabled=False)
    assert page.locator("#fig-pipeline img").is_visible()
    assert page.locator("button.zoom-open").count() == 0


@pytest.mark.parametrize("width", [390, 1440])
def test_search_finds_a_term(browser_page, width):
    page = browser_page(PAGES[0], width=width)
    page.keyboard.press("Control+k")
    page.keyboard.type("Otsu")
    page.keyboard.press("Enter")
    found = page.locator("#search-results .search li a[href*='02_preprocessing']")
    found.first.wait_for()
    page.locator("#search-results p.search-summary").filter(has_text=re.compile(r"\d")).wait_for()
    found.first.click()
    page.wait_for_url(re.compile("02_preprocessing"))


def test_search_says_when_nothing_is_found(browser_page):
    page = browser_page("search")
    page.goto(f"{page.url}?q=qqxyzzyqq")
    page.locator("#search-results p.search-summary").filter(has_text="did not match").wait_for()


def test_dark_and_light_can_be_chosen(browser_page):
    page = browser_page(PAGES[0], theme="light")
    shade = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(shade)
    for _ in range(3):  # auto, light, dark
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    assert page.evaluate(shade) != before
