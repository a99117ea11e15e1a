"""Widgets of the built pages in a browser: by mouse, by keyboard, without JavaScript, on paper."""

import gzip
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

pytestmark = [pytest.mark.pages, pytest.mark.browser]

WIDGETS = {
    "01_data": ["widget-stack"],
    "02_preprocessing": ["widget-threshold", "widget-montage"],
    "03_patch_size": ["widget-sizes"],
    "06_fusion_cv5": ["widget-confusion5", "widget-pr5"],
    "07_fusion_cv30": ["widget-confusion30", "widget-pr30"],
    "08_gradcam": ["widget-gradcam"],
    "12_beyond": ["widget-features"],
}
HTML = Path(__file__).parents[1] / "_build" / "html"
MOST_BYTES = 3_000_000
TEXT = (".html", ".js", ".css", ".svg")
each_chapter = pytest.mark.parametrize("chapter", WIDGETS)


@pytest.fixture
def open_widget(browser_page):
    """Open the page of a chapter; returns a widget of it, its facts, and a reader of its words."""

    def open_(chapter, name, **options):
        page = browser_page(f"book/executed/{chapter}", **options)
        widget = page.locator(f"#{name}")
        facts = json.loads(widget.locator("script[type='application/json']").text_content())
        return widget, facts, lambda: widget.locator(".widget-said").text_content()

    return open_


def control(widget, label):
    """The control of a widget that has this label."""
    return widget.get_by_label(label, exact=True)


def press(locator, *keys):
    """Give a control the focus, and press keys."""
    locator.focus()
    for key in keys:
        locator.press(key)


def drawn(widget):
    """Red, green and blue of the canvas of a widget, each summed over all pixels."""
    return widget.locator("canvas").evaluate(
        """canvas => {
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          const sums = [0, 0, 0];
          data.forEach((value, k) => { if (k % 4 < 3) sums[k % 4] += value; });
          return sums;
        }"""
    )


@each_chapter
def test_widgets_come_to_life_and_say_what_they_show(chapter, browser_page):
    """Each has its caption, how to use it, controls with names, words, and no still's note."""
    page = browser_page(f"book/executed/{chapter}")
    assert page.locator(".widget").evaluate_all("all => all.map(one => one.id)") == WIDGETS[chapter]
    for name in WIDGETS[chapter]:
        widget = page.locator(f"#{name}.widget-live")
        assert re.search("phantom|own stacks", widget.locator(".widget-caption").inner_text(), re.I)
        assert widget.locator(".widget-use").is_visible()
        assert widget.locator(".widget-note").count() == 0
        assert widget.locator(".widget-said").inner_text()
        controls = widget.locator(":is(input, select)")
        assert controls.count() > 0
        named = controls.evaluate_all("all => all.map(one => one.labels[0]?.textContent.trim())")
        assert all(named)


@each_chapter
@pytest.mark.parametrize("width", [390, 1440])
def test_widgets_fit_into_the_page(chapter, width, browser_page):
    page = browser_page(f"book/executed/{chapter}", width=width)
    for name in WIDGETS[chapter]:
        inside = page.locator(f"#{name}").evaluate(
            """widget => {
              const frame = widget.getBoundingClientRect();
              const parts = widget.querySelectorAll(
                "p, .widget-control, .widget-picture, .widget-plot");
              return [...parts].every(part => {
                const box = part.getBoundingClientRect();
                return box.left >= frame.left && box.right <= frame.right + 0.5;
              }) && frame.right <= innerWidth;
            }"""
        )
        assert inside, name


@each_chapter
def test_page_is_light_with_all_that_belongs_to_it(chapter, browser_page):
    """Page, scripts, styles, fonts and pictures as a web server sends them: text compressed."""
    page = browser_page(f"book/executed/{chapter}")
    page.wait_for_load_state("networkidle")
    addresses = page.evaluate(
        """() => ["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind))
          .map(entry => new URL(entry.name)).filter(url => url.protocol === "http:")
          .map(url => url.pathname)"""
    )
    files = [HTML / unquote(address).removeprefix("/") for address in addresses]
    assert len(files) > 10
    sent = [
        len(gzip.compress(file.read_bytes())) if file.suffix in TEXT else file.stat().st_size
        for file in files
    ]
    assert sum(sent) <= MOST_BYTES


@each_chapter
def test_without_javascript_a_still_remains(chapter, browser_page):
    page = browser_page(f"book/executed/{chapter}", java_script_enabled=False)
    for name in WIDGETS[chapter]:
        widget = page.locator(f"#{name}")
        assert widget.locator(".widget-note").is_visible()
        assert not widget.locator(".widget-use").is_visible()
        assert widget.locator("input, select").count() == 0
        still = widget.locator(".widget-stage :is(img, table, ul)").first
        assert still.is_visible()
        assert still.bounding_box()["height"] > 40


@each_chapter
def test_on_paper_there_are_no_controls(chapter, browser_page):
    page = browser_page(f"book/executed/{chapter}")
    page.emulate_media(media="print")
    for name in WIDGETS[chapter]:
        widget = page.locator(f"#{name}")
        assert not widget.locator(".widget-controls").is_visible()
        assert widget.locator(".widget-stage").is_visible()
        assert widget.locator(".widget-said").is_visible()


def test_stack_goes_by_arrow_keys_and_channels_by_the_space_bar(open_widget):
    widget, facts, said = open_widget("01_data", "widget-stack")
    slider = control(widget, "Plane")
    press(slider, "Home")
    assert said().lower().startswith(facts["planes"][0]["say"])
    first = drawn(widget)
    press(slider, "ArrowRight")
    assert slider.get_attribute("aria-valuetext") == facts["planes"][1]["say"]
    widget.page.wait_for_function(
        "text => document.querySelector('#widget-stack .widget-said').textContent.includes(text)",
        arg=facts["planes"][1]["say"][1:],  # it begins the line, with a capital
    )
    assert drawn(widget) != first
    magenta, green, cyan = (widget.get_by_role("checkbox").nth(k) for k in range(3))
    for box in (magenta, cyan):
        press(box, " ")
        assert not box.is_checked()
    widget.page.wait_for_function(
        """() => /shown: [^,]*\\.$/.test(
          document.querySelector('#widget-stack .widget-said').textContent)"""
    )
    red, middle, blue = drawn(widget)
    assert (red, blue) == (0, 0)
    assert middle > 0
    press(green, " ")
    widget.page.wait_for_function(
        """() => document.querySelector('#widget-stack .widget-said')
          .textContent.includes('no channel')"""
    )
    assert drawn(widget) == [0, 0, 0]


def test_thresholds_decide_which_patches_pass(open_widget):
    """The words count the ratios of the page, and the mask shrinks as the threshold rises."""
    widget, facts, said = open_widget("02_preprocessing", "widget-threshold")
    threshold, least = control(widget, "Threshold"), control(widget, "Least foreground")

    def passing(step, share):
        ratios = facts["ratios"][step]
        return f"{sum(ratio >= share for ratio in ratios)} of {len(ratios)} patches"

    def wait_for(words):
        widget.page.wait_for_function(
            """text => document.querySelector('#widget-threshold .widget-said')
              .textContent.includes(text)""",
            arg=words,
        )

    wait_for(passing(facts["factors"].index(1), facts["least"]))
    press(least, "Home")  # every patch passes, so that none is hatched
    press(threshold, "Home")
    wait_for(passing(0, 0))
    wait_for(f"above {facts['limits'][0][0]},")
    low = drawn(widget)
    press(threshold, "End")
    wait_for(f"above {facts['limits'][0][-1]},")
    assert all(high < before for high, before in zip(drawn(widget), low, strict=True))
    press(least, "End")
    wait_for(passing(len(facts["factors"]) - 1, 0.3))
    assert "30.0 %" in said()
    before = drawn(widget)
    press(control(widget, "masks"), "ArrowRight")
    assert control(widget, "image").is_checked()
    widget.page.wait_for_timeout(300)
    assert drawn(widget) != before


def test_montage_tells_the_reason_of_each_patch(open_widget):
    widget, facts, said = open_widget("02_preprocessing", "widget-montage")
    items = widget.locator("li")
    for entry in facts["fates"]:
        assert (
            items.locator(f"xpath=self::*[@data-fate='{entry['fate']}']").count()
            == (entry["shown"])
        )
    items.first.focus()
    assert said() == items.first.get_attribute("data-say")
    items.first.press("ArrowRight")
    assert said() == items.nth(1).get_attribute("data-say")
    items.last.hover()
    assert said() == items.last.get_attribute("data-say")
    assert widget.locator("li[tabindex='0']").count() == 1
    box = widget.get_by_role("checkbox").first
    press(box, " ")
    hidden = facts["fates"][0]
    assert widget.locator(f"li[data-fate='{hidden['fate']}']:visible").count() == 0
    assert said().startswith(f"{items.count() - hidden['shown']} of {items.count()} patches")
    assert widget.locator("li[tabindex='0']:visible").count() == 1


@pytest.mark.parametrize(
    ("chapter", "name"),
    [("06_fusion_cv5", "widget-confusion5"), ("07_fusion_cv30", "widget-confusion30")],
)
def test_confusion_shows_the_model_that_is_chosen(chapter, name, open_widget):
    widget, facts, said = open_widget(chapter, name)

    def cells():
        rows = widget.locator("tbody tr").all()
        return [row.locator("td").all_text_contents() for row in rows]

    folds = len(facts["folds"]) - 1
    for model, words in enumerate(facts["models"]):
        control(widget, "Model").select_option(label=words)
        counts = facts["counts"][0][0][model]
        assert cells() == [[str(count) for count in row] for row in counts]
        right = sum(counts[k][k] for k in range(len(counts)))
        assert f"{right} of {sum(map(sum, counts))} patches right" in said()
        recalls = [row[k] / sum(row) for k, row in enumerate(counts) if sum(row)]
        assert f"balanced accuracy {sum(recalls) / len(recalls):.2f}" in said()
    if folds:
        control(widget, "Folds").select_option(label=facts["folds"][folds])
    press(control(widget, "Count"), "ArrowDown")
    press(control(widget, "counts"), "ArrowRight")
    counts = facts["counts"][folds][1][-1]
    for line, row in zip(cells(), counts, strict=True):
        shares = [100 * count / (sum(row) or 1) for count in row]
        assert [float(text.removesuffix(" %")) for text in line] == pytest.approx(shares, abs=0.51)


@pytest.mark.parametrize(
    ("chapter", "name"), [("06_fusion_cv5", "widget-pr5"), ("07_fusion_cv30", "widget-pr30")]
)
def test_curve_is_read_off_at_the_threshold(chapter, name, open_widget):
    widget, facts, said = open_widget(chapter, name)
    slider = control(widget, "Threshold")
    press(control(widget, "Class"), "ArrowDown")
    curve = facts["curves"][0][facts["start"]][1]
    # Below the middle, where the slider begins, and where some patches are called.
    step = max(k for k in range(48) if curve["called"][k])
    press(slider, *["ArrowLeft"] * (50 - step))
    called, right = curve["called"][step], curve["right"][step]
    assert curve["name"] in said()
    assert f"threshold of 0.{step:02d}" in said()
    assert f"recall {right / curve['positives']:.2f} ({right} of {curve['positives']})" in said()
    assert f"precision {right / called:.2f} ({right} of {called} called)" in said()
    assert f"0.{step:02d}" in widget.locator("svg").get_attribute("aria-label")
    mark = widget.locator(".widget-mark")
    before = float(mark.get_attribute("cx"))
    press(slider, "Home")  # all are called: recall 1
    assert float(mark.get_attribute("cx")) > before or right == curve["positives"]
    assert f"({curve['positives']} of {curve['total']} called)" in said()


def test_patch_grows_with_its_size(open_widget):
    widget, facts, said = open_widget("03_patch_size", "widget-sizes")
    slider = control(widget, "Patch")
    widths = []
    for key, size in (("Home", facts["sizes"][0]), ("End", facts["sizes"][-1])):
        press(slider, key)
        assert said().startswith(f"{size['px']} px, {size['um']:.1f} µm")
        value = dict((row[0], row[1]) for row in facts["curves"][0]["points"])[size["px"]]
        assert f"balanced accuracy {value:.2f}" in said()
        frame = widget.locator(".widget-frame").bounding_box()["width"]
        whole = widget.locator(".widget-picture").bounding_box()["width"]
        assert frame / whole == pytest.approx(size["share"], abs=0.01)
        widths.append(frame)
    assert widths[0] < widths[1]


def test_curtain_moves_and_maps_change(open_widget):
    widget, facts, said = open_widget("08_gradcam", "widget-gradcam")
    picture = widget.locator(".widget-picture")
    slider = control(widget, "Line")
    press(slider, "Home")
    assert picture.evaluate("one => one.style.getPropertyValue('--cut')") == "0%"
    press(slider, "ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "1 % image, 99 % map"
    press(control(widget, "Class"), "ArrowDown")
    press(control(widget, "Map"), "Home")
    press(control(widget, "Squares"), "Home")
    shown = facts["images"][1]
    assert picture.locator("img").nth(0).get_attribute("src") == shown["below"][0]
    assert picture.locator("img").nth(1).get_attribute("src") == shown["above"][0][0]
    assert facts["maps"][0] in said()
    assert shown["name"].lower() in said().lower()


def test_patch_appears_on_hover_and_on_focus(open_widget):
    widget, facts, said = open_widget("12_beyond", "widget-features")
    dots = widget.locator("circle")
    assert dots.count() == len(facts["points"])
    control(widget, "Bring out").focus()
    widget.page.keyboard.press("Tab")  # to the plot
    first = said()
    assert facts["words"][0] in first
    assert widget.locator("circle:focus").get_attribute("class") == "widget-chosen"
    seen = {first}
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        widget.page.keyboard.press(key)
        seen.add(said())
    assert len(seen) > 1
    assert widget.locator("circle[tabindex='0']").count() == 1
    thumb = widget.locator(".widget-thumb")
    assert said().lower().removesuffix(".") in thumb.get_attribute("aria-label").lower()
    dots.first.hover(force=True)
    before = thumb.evaluate("one => one.style.backgroundPosition")
    dots.last.hover(force=True)
    assert dots.last.get_attribute("aria-label").lower() in said().lower()
    assert thumb.evaluate("one => one.style.backgroundPosition") != before
    control(widget, "Bring out").select_option(index=1)
    faint = widget.locator("circle.widget-faint").count()
    assert faint == sum(point[2] != 0 for point in facts["points"])
