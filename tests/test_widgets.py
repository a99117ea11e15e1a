"""What a widget puts into a page: nothing that breaks it, and pictures that stay what they were."""

import base64
import json

import imagecodecs
import numpy as np
import pytest
from bs4 import BeautifulSoup

from organelle_fusion import widgets

HOSTILE = '</script><img src=x onerror="alert(1)">&amp;'


def decoded(address):
    """Pixels of an embedded picture."""
    head, content = address.split(",")
    decode = {
        "data:image/jpeg;base64": imagecodecs.jpeg8_decode,
        "data:image/png;base64": imagecodecs.png_decode,
    }[head]
    return decode(base64.b64decode(content))


def test_json_cannot_end_its_element_and_is_read_back():
    """An HTML parser sees one element, and its content is the value."""
    value = {"name": HOSTILE, "numbers": [1, 0.5, None], "line": "a\u2028b"}
    page = f"<script type='application/json'>{widgets.json_in_html(value)}</script>"
    soup = BeautifulSoup(page, "html.parser")
    assert [tag.name for tag in soup.find_all(True)] == ["script"]
    assert json.loads(soup.script.string) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_a_browser_cannot_read(value):
    with pytest.raises(ValueError, match="JSON"):
        widgets.json_in_html({"score": [value]})


def test_texts_of_a_widget_are_text():
    """Whatever they hold, the only elements are those of the widget; the data come first."""
    shown = widgets.widget(
        "stack", "widget-x", title=HOSTILE, text=HOSTILE, use=HOSTILE, note=HOSTILE,
        data=f"own stacks ({HOSTILE})", still="<i>still</i>", facts={"name": HOSTILE},
    )  # fmt: skip
    soup = BeautifulSoup(shown.data, "html.parser")
    assert soup.find_all("img") == []
    assert [tag.name for tag in soup.div.find_all(True)] == [
        "p",
        "b",
        "p",
        "div",
        "i",
        "p",
        "script",
    ]
    assert soup.select_one(".widget-caption").get_text() == (
        f"{HOSTILE}. Own stacks ({HOSTILE}). {HOSTILE}"
    )
    group = soup.select_one("#widget-x")
    assert group["role"] == "group"
    assert soup.find(id=group["aria-labelledby"]).get_text() == f"{HOSTILE}."
    assert soup.select_one(".widget-use").has_attr("hidden")
    assert soup.select_one(".widget-stage .widget-note").get_text() == HOSTILE


def test_png_is_exact_and_jpeg_near():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (20, 30), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(widgets.png(grey)), grey)
    rows, columns = np.mgrid[:40, :60]
    smooth = np.stack([rows / 40, columns / 60, np.full((40, 60), 0.5)], axis=-1)
    found = decoded(widgets.jpeg(smooth))
    assert found.shape == smooth.shape
    assert np.abs(found / 255 - smooth).max() < 0.05
    assert np.abs(decoded(widgets.jpeg(smooth[..., 0])) / 255 - smooth[..., 0]).max() < 0.05


def test_shares_become_bytes_and_bytes_stay():
    assert widgets.to_bytes(np.array([[-1, 0, 0.2, 1, 2]])).tolist() == [[0, 0, 51, 255, 255]]
    assert widgets.to_bytes(np.array([[7]], np.uint8)).tolist() == [[7]]


def test_large_planes_are_averaged_down():
    """6 × 4 pixels with an edge of at most 3: means of squares of two by two."""
    plane = np.arange(24.0).reshape(1, 6, 4)
    found = widgets.shrunk(plane, 3)
    expected = plane.reshape(1, 3, 2, 2, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(found, expected)
    assert widgets.shrunk(plane, 6) is plane


def test_scale_bar_by_hand():
    """Of 44 µm a quarter is 11, so that 10 fit; without a pixel size there is none."""
    assert widgets.scale_bar(44.0) == (22.73, "10 µm")
    assert widgets.scale_bar(None) is None
    soup = BeautifulSoup(
        widgets.picture("data:,", 'a "b" <c>', shape=(20, 30), width_um=44.0), "html.parser"
    )
    assert (soup.img["width"], soup.img["height"]) == ("30", "20")
    assert soup.img["alt"] == 'a "b" <c>'
    assert soup.select_one(".widget-bar")["style"] == "width:22.73%"
    assert soup.select_one(".widget-bar").get_text() == "10 µm"
    plain = widgets.picture("data:,", "a", shape=(2, 3))
    assert "widget-bar" not in plain
