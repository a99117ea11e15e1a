"""Other preprocessing, the same images: an added channel, and scores counted by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import ablations, patchset
from organelle_fusion.config import (
    PAPER_PIXEL_UM,
    EncoderSettings,
    PatchSettings,
    load_profile,
)
from organelle_fusion.intensity import PatchError
from organelle_fusion.manifest import read_manifest
from organelle_fusion.preprocessing import build_patch_set
from organelle_fusion.volumes import write_ome_tiff

SETTINGS = PatchSettings(size_px=4, sizes_px=(4,), min_foreground=0.1)


@pytest.fixture
def manifest(tmp_path, by_hand):
    """Two images; the second has its channels in another order and another nucleus."""
    nucleus = np.arange(by_hand[0].size, dtype=np.uint16).reshape(by_hand[0].shape)
    images = {
        "one": (np.stack([*by_hand, nucleus]), ("a", "b", "nucleus")),
        "two": (np.stack([nucleus[::-1], by_hand[1], by_hand[0]]), ("nucleus", "b", "a")),
    }
    for name, (array, channels) in images.items():
        path = tmp_path / f"{name}.ome.tif"
        write_ome_tiff(path, array, channels, pixel_size_um=PAPER_PIXEL_UM, z_step_um=0.5)
    path = tmp_path / "manifest.csv"
    path.write_text("image,path,label\none,one.ome.tif,x\ntwo,two.ome.tif,y\n", "utf-8")
    return read_manifest(path)


def patch_set(manifest, channels, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return build_patch_set(
        manifest, channels=channels, settings=settings, output_px=2, progress=False
    )[0]


def test_a_channel_is_added_at_the_patches_that_others_chose(manifest, monkeypatch):
    """Pixels as if all patches had been cut with it, at the places that a and b let pass."""
    chosen = patch_set(manifest, ("a", "b"))
    found = ablations.with_channel(chosen, manifest, "nucleus")
    assert found.channels == ("a", "b", "nucleus")
    pd.testing.assert_frame_equal(found.table, chosen.table)
    np.testing.assert_array_equal(found.patches[..., :2], chosen.patches)
    everything = patch_set(manifest, ("a", "b", "nucleus"), min_foreground=0.0)
    places = [tuple(row) for row in everything.table[["image", "z", "y", "x"]].to_numpy()]
    rows = [places.index(tuple(row)) for row in found.table[["image", "z", "y", "x"]].to_numpy()]
    assert len(rows) == 4 < len(places) == 8
    np.testing.assert_array_equal(found.patches, everything.patches[rows])
    assert found.patches[..., 2].std() > 10  # a nucleus that varies, not zeros
    monkeypatch.setattr(patchset, "MEMORY_SHARE", 0)
    mapped = ablations.with_channel(chosen, manifest, "nucleus")
    assert isinstance(mapped.patches, np.memmap)
    np.testing.assert_array_equal(mapped.patches, found.patches)


def test_rows_of_an_image_need_not_stand_together(manifest):
    """The order is that of the patch set, whatever that of the manifest."""
    chosen = patch_set(manifest, ("a", "b"))
    order = np.array([2, 0, 3, 1])
    found = ablations.with_channel(chosen.take(order), manifest, "nucleus")
    expected = ablations.with_channel(chosen, manifest, "nucleus").take(order)
    np.testing.assert_array_equal(found.patches, expected.patches)


def test_patches_of_an_unknown_image_are_refused(manifest):
    """Its pixels cannot be read."""
    chosen = patch_set(manifest, ("a", "b"))
    with pytest.raises(PatchError, match="expected image two of the patch set, found none"):
        ablations.with_channel(chosen, manifest[manifest["image"] == "one"], "nucleus")


def test_without_the_filter_no_patch_is_sparse(manifest):
    """All eight of the grid, of which the filter keeps four."""
    profile = load_profile("smoke").model_copy(
        update={
            "channels": ("a", "b"),
            "patches": SETTINGS,
            "encoder": EncoderSettings(kind="compact", input_px=16),
        }
    )
    found = ablations.without_filter(manifest, profile)
    assert len(found.table) == 8
    assert found.channels == ("a", "b")
    assert found.patches.shape == (8, 16, 16, 2)
    assert (found.table["foreground"] < SETTINGS.min_foreground).sum() == 4


def test_why_a_channel_cannot_be_added(manifest):
    """It is there already, or an image lacks it; else there is nothing to say."""
    assert ablations.channel_obstacle(manifest, ("a", "b"), "nucleus") == ""
    assert "among the channels already" in ablations.channel_obstacle(manifest, ("a", "b"), "a")
    missing = ablations.channel_obstacle(manifest, ("a", "b"), "actin")
    assert "What the actin would add cannot be asked: image one has not exactly one" in missing


def predictions(hits):
    """Two classes; `hits` gives for each image the probability of its true class by patch."""
    rows = []
    for image, of_image in hits.items():
        for p in of_image:
            right = {image[0]: p, {"a": "b", "b": "a"}[image[0]]: 1 - p}
            rows.append(
                {
                    "model": "intermediate", "fold": 0, "seed": 0, "patch": len(rows),
                    "image": image, "group": image, "label": image[0], "part": "test",
                    "p:a": right["a"], "p:b": right["b"],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_variants_are_scored_by_patch_and_by_image():
    """Own: 3 of 4 patches right, both images of a right in the mean; the variant: a1 is lost."""
    own = predictions({"a0": [0.9, 0.4], "a1": [0.6, 0.6], "b0": [0.8], "b1": [0.9]})
    variant = predictions({"a0": [0.9], "a1": [0.6, 0.1, 0.2], "b0": [0.8], "b1": [0.9, 0.9]})
    table = ablations.ablation_table(own, {"bare": variant}, repeats=200)
    assert table["variant"].tolist() == [ablations.OWN] * 2 + ["bare"] * 2
    assert table["level"].tolist() == ["patch", "image"] * 2
    assert table["rows"].tolist() == [6, 4, 7, 4]
    by_patch, by_image = (2 / 4 + 1) / 2, (1 / 2 + 1) / 2
    assert table["value"].tolist() == pytest.approx([(3 / 4 + 1) / 2, 1, by_patch, by_image])
    differences = [by_patch - 7 / 8, by_image - 1]
    assert table["difference"].tolist()[2:] == pytest.approx(differences)
    assert table["difference"].isna().tolist() == [True, True, False, False]
    # a0 twice or not, a1 twice or not: by image the recall of a falls by 0, 1/2 or 1
    image = table.iloc[3]
    assert [image["difference_low"], image["difference_high"]] == pytest.approx([-0.5, 0])
    lines = ablations.ablation_lines(table)
    assert lines["Difference"].tolist()[:2] == ["", ""]
    assert lines["Difference"].iloc[3] == "-0.25 [-0.50, +0.00]"
    assert lines["Balanced accuracy"].iloc[1] == "1.00 [no interval]"
