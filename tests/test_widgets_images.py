"""What the widgets of images embed: the planes, fates and masks that the library computes."""

import base64
import html
import json

import imagecodecs
import numpy as np
import pytest
from bs4 import BeautifulSoup

from organelle_fusion import widgets_images
from organelle_fusion.config import PatchSettings
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.patches import patch_table
from organelle_fusion.volumes import open_volume, write_ome_tiff

SETTINGS = PatchSettings(size_px=350, sizes_px=(350,), min_foreground=0.1, max_per_image=2)


def parsed(shown):
    """The page of a widget, and the facts that its script is given."""
    soup = BeautifulSoup(shown.data, "html.parser")
    return soup, json.loads(soup.select_one("script[type='application/json']").string)


def pixels(address):
    content = base64.b64decode(address.split(",")[1])
    return (imagecodecs.png_decode if "png" in address else imagecodecs.jpeg8_decode)(content)


@pytest.fixture
def volume(tmp_path):
    """Two channels, three planes of 40 × 48: a bright disc that grows from plane to plane."""
    rows, columns = np.mgrid[:40, :48]
    array = np.empty((2, 3, 40, 48), np.uint16)
    for z in range(3):
        disc = np.hypot(rows - 20, columns - 24) < 6 + 4 * z
        array[0, z] = 100 + 800 * disc
        array[1, z] = 50 + 10 * columns
    path = tmp_path / "stack.ome.tif"
    write_ome_tiff(path, array, ("a", "b<i>"), pixel_size_um=0.5, z_step_um=0.4)
    return open_volume(path)


def test_stack_holds_every_plane_as_it_is_displayed(volume):
    statistics = stack_statistics(volume)
    soup, facts = parsed(
        widgets_images.stack_widget(volume, statistics, image="image <x>", data="phantom")
    )
    assert [plane["say"] for plane in facts["planes"]] == [
        "plane 1 of 3, z = 0.0 µm",
        "plane 2 of 3, z = 0.4 µm",
        "plane 3 of 3, z = 0.8 µm",
    ]
    for z, plane in enumerate(facts["planes"]):
        expected = display_plane(volume, z, statistics)
        for found, channel in zip(plane["pictures"], expected, strict=True):
            assert np.abs(pixels(found) / 255 - channel).mean() < 0.02
    assert (facts["height"], facts["width"]) == (40, 48)
    assert [channel["name"] for channel in facts["channels"]] == ["a", "b<i>"]
    assert [channel["color"] for channel in facts["channels"]] == ["#FF00FF", "#00FF00"]
    assert soup.i is None
    assert (
        soup.select_one(".widget-caption")
        .get_text()
        .startswith("Through one stack. Phantom. Image <x>, 3 planes; a in magenta, b<i> in green.")
    )
    assert "Plane 2 of 3 of image <x>" in soup.img["alt"]
    assert soup.select_one(".widget-bar").get_text() == "5 µm"  # a quarter of 24 µm is 6


def test_of_a_deep_stack_first_last_and_some_between_are_shown():
    assert widgets_images.spread(5, 16).tolist() == [0, 1, 2, 3, 4]
    assert widgets_images.spread(100, 4).tolist() == [0, 33, 66, 99]
    assert widgets_images.plane_text(4, 7, None) == "plane 5 of 7"


def test_montage_gives_each_patch_its_fate_and_reason(volume):
    """Patches of 8 px in the order of their foreground; fates are those of the table."""
    statistics = stack_statistics(volume)
    table = patch_table(volume, 4.0, min_foreground=0.1, statistics=statistics, max_patches=2)
    soup, facts = parsed(
        widgets_images.montage_widget(volume, table, statistics, SETTINGS, data="phantom")
    )
    items = soup.select("ul.widget-montage > li")
    rows = table.sort_values("foreground", ascending=False, kind="stable").iloc[
        widgets_images.spread(len(table), widgets_images.MOST_PATCHES)
    ]
    assert len(items) == len(rows) == 60
    assert [item["data-fate"] for item in items] == rows["reason"].replace("", "used").tolist()
    counted = rows["reason"].replace("", "used").value_counts().to_dict()
    assert {entry["fate"]: entry["shown"] for entry in facts["fates"]} == counted
    for item, row in zip(items, rows.to_dict("records"), strict=True):
        assert (
            item.select_one("span").get_text(" ") == f"{item['data-fate']} {row['foreground']:.1%}"
        )
        assert item.img["alt"] == item["data-say"]
        begin = {"": "Kept", "sparse": "Dropped as sparse", "over the limit": "Left out over the"}
        assert item["data-say"].startswith(begin[row["reason"]])
        assert f"plane {row['z'] + 1} of 3" in item["data-say"]
        assert f"b<i> {row['foreground_b<i>']:.1%}" in item["data-say"]
    of_all = table["reason"].value_counts()
    assert f"Of {len(table)} patches of 4.0 µm: {of_all['']} used" in soup.get_text()


def test_montage_shows_the_pixels_of_the_patch(volume):
    """The fullest patch lies in the disc, which is all magenta, and channel b adds green."""
    statistics = stack_statistics(volume)
    table = patch_table(volume, 4.0, min_foreground=0.1, statistics=statistics)
    middle = table.query("z == 2 and y == 16 and x == 24")
    soup, _ = parsed(
        widgets_images.montage_widget(volume, middle, statistics, SETTINGS, data="phantom")
    )
    found = pixels(soup.li.img["src"])
    assert found.shape == (widgets_images.PATCH_EDGE, widgets_images.PATCH_EDGE, 3)
    assert (found[..., [0, 2]] > 240).all()
    green = display_plane(volume, 2, statistics)[1, 16:24, 24:32].mean()
    assert found[..., 1].mean() / 255 == pytest.approx(green, abs=0.02)


def test_levels_count_the_thresholds_that_a_pixel_exceeds():
    plane = np.array([[[1, 2, 3, 4, 5]]])
    levels = widgets_images.threshold_levels(plane, np.array([[2, 4, 4.5]]))
    assert levels.tolist() == [[[0, 0, 1, 1, 3]]]  # above, not at


def threshold_facts(volume, plane, **changes):
    statistics = stack_statistics(volume)
    options = {
        "size_px": 8, "min_foreground": 0.1, "channels": volume.channels, "pixel_size_um": 0.5,
        "shown": display_plane(volume, plane, statistics), "data": "phantom",
    }  # fmt: skip
    return parsed(
        widgets_images.threshold_widget(
            volume.plane(plane), statistics["otsu"].to_numpy(), **options | changes
        )
    )


def test_at_otsus_threshold_the_ratios_are_those_of_the_table(volume):
    soup, facts = threshold_facts(volume, 1)
    table = patch_table(volume, 4.0, min_foreground=0.1).query("z == 1")
    own = facts["factors"].index(1)
    assert facts["ratios"][own] == pytest.approx(table["foreground"].tolist())
    corners = [[row.y / 40, row.x / 48] for row in table.itertuples()]
    np.testing.assert_allclose(facts["corners"], corners)
    kept = int(table["kept"].sum())
    assert 0 < kept < len(table)
    assert f"{kept} of {len(table)} patches" in soup.img["alt"]
    assert facts["least"] == 0.1
    assert facts["patch"] == pytest.approx([8 / 40, 8 / 48])


def test_masks_and_ratios_are_those_of_each_threshold(volume):
    """The levels are exact, so that the masks of the page are those that the ratios count."""
    _, facts = threshold_facts(volume, 2)
    levels = np.stack([pixels(address) for address in facts["levels"]])
    otsu = stack_statistics(volume)["otsu"].to_numpy()[:, None, None]
    for k, factor in enumerate(facts["factors"]):
        mask = volume.plane(2) > factor * otsu
        np.testing.assert_array_equal(levels > k, mask)
        blocks = mask.any(axis=0).reshape(5, 8, 6, 8).mean(axis=(1, 3))
        assert facts["ratios"][k] == pytest.approx(blocks.ravel().tolist())


def test_a_large_plane_is_drawn_coarser_and_counted_whole(volume, monkeypatch):
    monkeypatch.setattr(widgets_images, "EDGE", 24)
    _, coarse = threshold_facts(volume, 2)
    monkeypatch.undo()
    _, fine = threshold_facts(volume, 2)
    assert (coarse["height"], coarse["width"]) == (20, 24)
    np.testing.assert_array_equal(pixels(coarse["levels"][0]), pixels(fine["levels"][0])[::2, ::2])
    assert coarse["ratios"] == fine["ratios"]


def test_names_of_channels_stay_text(volume):
    soup, facts = threshold_facts(volume, 1)
    assert html.unescape(facts["channels"][1]["name"]) == "b<i>"
    assert soup.i is None
