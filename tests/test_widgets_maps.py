"""What the widgets of sizes, maps and features embed: scores, scales, colours and places."""

import base64
import json

import imagecodecs
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from organelle_fusion import widgets_maps
from organelle_fusion.plots_maps import HEAT, ExplainedPlane, relative_heat


def parsed(shown):
    soup = BeautifulSoup(shown.data, "html.parser")
    return soup, json.loads(soup.select_one("script[type='application/json']").string)


def pixels(address):
    return imagecodecs.jpeg8_decode(base64.b64decode(address.split(",")[1]))


@pytest.fixture
def scores():
    return pd.DataFrame(
        [
            ("scored", 200, 7.0, 0.4, 0.3, 0.5),
            ("scored", 350, 12.0, 0.8, 0.7, 0.9),
            ("separate", 350, 12.0, 0.6, np.nan, np.nan),  # no interval
        ],
        columns=["images", "size_px", "size_um", "value", "low", "high"],
    )


def test_patch_is_drawn_to_scale_over_the_cell(scores):
    """0.57 × 12 µm at 0.5 µm are 14 pixels to each side: 29 pixels, 14.5 µm are shown."""
    plane = np.zeros((2, 60, 60))
    plane[0, 30:34, 20:24] = 1
    outline = np.zeros((60, 60), bool)
    outline[25:36, 15:26] = True  # its middle is pixel 30, 20
    soup, facts = parsed(
        widgets_maps.patch_size_widget(
            scores, 0.25, plane=plane, outline=outline, pixel_size_um=0.5, own_px=350,
            used={200: 90, 350: 40}, data="phantom",
        )
    )  # fmt: skip
    assert [size["px"] for size in facts["sizes"]] == [200, 350]
    assert [size["share"] for size in facts["sizes"]] == pytest.approx([7 / 14.5, 12 / 14.5])
    assert [size["used"] for size in facts["sizes"]] == [90, 40]
    assert soup.select_one(".widget-frame")["style"] == f"width:{100 * 12 / 14.5:.2f}%"
    assert facts["start"] == 1
    assert facts["curves"] == [
        {"name": "scored", "points": [[200, 0.4, 0.3, 0.5], [350, 0.8, 0.7, 0.9]]},
        {"name": "separate", "points": [[350, 0.6, None, None]]},
    ]
    found = pixels(soup.img["src"])
    assert found.shape == (29, 29, 3)
    assert found[15:17, 15:17, 0].min() > 200  # rows 31 and 32 of the plane, and columns 21 and 22
    path = soup.select_one(".widget-outline path")["d"]
    corners = [float(x) for pair in path[1:].split() for x in pair.split(",")]
    assert (min(corners), max(corners)) == (9, 20)  # pixels 9 to 19 of the view, as edges


def explained(label, predicted, largest):
    planes = np.zeros((2, 40, 40))
    planes[0, :20], planes[1, 20:] = 1, 0.5
    maps = np.full((2, 40, 40), -1.0)
    maps[0, :, :20] = largest
    maps[1, :, 20:] = 1
    return ExplainedPlane(label, predicted, planes, maps, 0.5)


def test_curtain_lies_between_the_plane_and_its_heat():
    first, second = explained("x<i>", "x<i>", 4.0), explained("y", "x<i>", 2.0)
    smoother = first._replace(maps=first.maps / 2)
    soup, facts = parsed(
        widgets_maps.gradcam_widget(
            {"side by side": [first, second], "overlapping": [smoother, second]},
            channels=["a", "b"],
            data="phantom",
        )
    )
    assert facts["maps"] == ["a", "b", "fused"]
    assert facts["tilings"] == ["side by side", "overlapping"]
    assert [image["name"] for image in facts["images"]] == [
        "x<i> (predicted correctly)",
        "y (predicted as x<i>)",
    ]
    below = [pixels(address) for address in facts["images"][0]["below"]]
    np.testing.assert_allclose(
        [image[5, 5] for image in below], [255, 0, 127.5], atol=3
    )  # each channel, and their mean
    colours = mpl.colormaps[HEAT]
    for k, image in enumerate((first, second)):
        heat = relative_heat(image.maps)
        for of_map, address in zip(heat, facts["images"][k]["above"][0], strict=True):
            for column in (4, 35):
                expected = 255 * np.array(colours(of_map[20, column])[:3])
                np.testing.assert_allclose(pixels(address)[20, column], expected, atol=8)
    assert facts["images"][0]["bar"] == [25.0, "5 µm"]  # of 20 µm
    assert soup.i is None
    assert [image.has_attr("alt") for image in soup.select("img")] == [True, True]


def test_curtain_without_a_pixel_size_has_no_scale_bar():
    plane = explained("x", "x", 1.0)._replace(pixel_size_um=None)
    soup, facts = parsed(
        widgets_maps.gradcam_widget({"side by side": [plane]}, channels=["a", "b"], data="x")
    )
    assert facts["images"][0]["bar"] is None
    assert soup.select(".widget-bar") == []


def features(number, seed=0):
    """Every other patch of one channel, whose grey level is its place in the layout."""
    rng = np.random.default_rng(1)
    layout = rng.normal(size=(number, 2)) * [3, 5]
    table = pd.DataFrame(
        {
            "label": np.where(np.arange(number) % 3, "x", "w<i>"),
            "image": "image <b>",
            "z": np.arange(number) % 4,
        }
    )
    patches = np.zeros((2 * number, 56, 56, 1), np.uint8)
    patches[1::2] += np.arange(number, dtype=np.uint8)[:, None, None, None]
    shown = widgets_maps.features_widget(
        layout, table, np.full(number, "test"), patches=patches,
        rows=np.arange(1, 2 * number, 2), seed=seed, data="phantom",
    )  # fmt: skip
    return layout, table, *parsed(shown)


def test_each_point_has_its_place_class_words_and_patch():
    layout, table, soup, facts = features(30)
    assert [entry["name"] for entry in facts["classes"]] == ["w<i>", "x"]
    spread = layout.max(axis=0) - layout.min(axis=0)
    expected = (layout - layout.min(axis=0)) / spread
    found = np.array(facts["points"])
    np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(found[:, 1], 1 - expected[:, 1], atol=1e-4)  # down, as in SVG
    assert found[:, 2].tolist() == (table["label"] == "x").astype(int).tolist()
    assert facts["words"][2] == "image image <b>, plane 3, test part"
    sheet = pixels(facts["sheet"])
    edge, columns = facts["thumb"], facts["columns"]
    assert sheet.shape == (2 * edge, columns * edge, 3)
    for k in (0, 17, 29):  # magenta: red and blue carry the level, green is dark
        y, x = k // columns * edge + edge // 2, k % columns * edge + edge // 2
        np.testing.assert_allclose(sheet[y, x], [k, 0, k], atol=4)
    assert soup.i is None
    assert soup.select_one(".widget-note").get_text().endswith("in the order w<i>, x.")


def test_of_too_many_points_some_are_drawn_and_the_number_is_said(monkeypatch):
    monkeypatch.setattr(widgets_maps, "MOST_POINTS", 12)
    _, _, soup, facts = features(30)
    assert len(facts["points"]) == len(facts["words"]) == 12
    assert "12 of 30 patches, drawn at random" in soup.get_text()
    _, _, _, again = features(30)
    assert again["points"] == facts["points"]
    _, _, _, other = features(30, seed=1)
    assert other["points"] != facts["points"]
