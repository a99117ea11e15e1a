"""The report is one page without anything from elsewhere, and names cannot break it."""

import base64
import re
from html.parser import HTMLParser

import pytest

from organelle_fusion.prediction_report import report_page

EVIL = '<script>alert("x")</script>'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; tags must be closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page(facts, **changes):
    options = {
        "image": "slide 7",
        "label": "one",
        "probabilities": {"two": 0.25, "one": 0.75},
        "patches": 12,
        "share_kept": 0.5,
        "warnings": [],
        "picture": b"\x89PNG picture",
        "sources": {"Image": "slide 7.tif", "SHA-256 of the image": "abc"},
    }
    return report_page(facts, **(options | changes))


def test_a_page_says_what_was_found(facts_of):
    """Bars as wide as probabilities, the largest first; score, data, sources."""
    text = page(facts_of())
    words = " ".join(" ".join(Page(text).words).split())
    assert "slide 7: one" in words
    assert "Probability 75%, from 12 patches; 50% of the patches" in words
    assert re.findall(r'class="bar" style="width: ([\d.]+)%', text) == ["75.0", "25.0"]
    assert "Early fusion, of fold 0 of 5" in words
    assert "own stacks (mine.csv), 6 images; profile smoke; 2026-11-26" in words
    assert (
        "balanced accuracy 0.75 by patch (no interval: too few groups, or all of them alike; 40"
        in words
    )
    assert "(95 % interval 0.50 to 0.90; 200 patches of 20 images, 2 classes)" in words
    assert "SHA-256 of the image abc" in words
    assert "phantom" not in words
    assert "Read with care" not in words


def test_phantom_and_warnings_come_first(facts_of):
    text = page(facts_of(is_phantom=True, data="phantom"), warnings=["few patches", "saturated"])
    assert text.index("Trained on a phantom") < text.index("few patches")
    assert text.index("saturated") < text.index("Probability of each class")


@pytest.mark.parametrize("place", ["image", "class", "warnings", "sources", "data"])
def test_names_are_escaped(facts_of, place):
    """A name with a script in it is shown as it is, wherever it stands."""
    changes, facts = {}, facts_of()
    if place == "image":
        changes = {"image": EVIL}
    elif place == "class":
        facts = facts_of(classes=(EVIL, "two"))
        changes = {"label": EVIL, "probabilities": {EVIL: 0.75, "two": 0.25}}
    elif place == "warnings":
        changes = {"warnings": [EVIL]}
    elif place == "sources":
        changes = {"sources": {EVIL: EVIL}}
    else:
        facts = facts_of(data=EVIL, channels=(EVIL, "b"))
    text = page(facts, **changes)
    found = Page(text)
    assert "script" not in found.tags
    assert EVIL in "".join(found.words)


def test_nothing_is_fetched_or_run(facts_of):
    """The one address is the picture itself; the page forbids the browser all others."""
    found = Page(page(facts_of()))
    sources = [value for name, value in found.attributes if name in ("src", "href", "srcset")]
    assert sources == ["data:image/png;base64," + base64.b64encode(b"\x89PNG picture").decode()]
    assert "script" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert "http://" not in page(facts_of())
    assert "https://" not in page(facts_of())
    assert any(str(value).startswith("default-src 'none'") for _, value in found.attributes)
