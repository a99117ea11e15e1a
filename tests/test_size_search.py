"""The search over patch sizes: scores, yields and findings counted by hand."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import phantom, size_search
from organelle_fusion.config import PAPER_PIXEL_UM, load_profile

PROFILE = load_profile("smoke")
OPTIONS = {"repeats": 100, "seed": 0}


def predictions(hits, size_px):
    """Two classes; `hits` gives for each group which of its patches are told rightly."""
    rows = []
    for group, of_group in hits.items():
        label = group[0]
        for hit in of_group:
            said = label if hit else {"a": "b", "b": "a"}[label]
            rows.append(
                {
                    "size_px": size_px, "model": "intermediate", "fold": 0, "seed": 0,
                    "patch": len(rows), "image": group, "group": group, "label": label,
                    "part": "test", "p:a": float(said == "a"), "p:b": float(said == "b"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


# Balanced accuracies 1/2, 7/8, 5/8 and 1/2: recall of a and of b, each over its patches.
PARTS = {
    250: predictions({"a0": [1, 1, 0, 0], "a1": [1, 0], "b0": [1, 1], "b1": [0, 0]}, 250),
    300: predictions({"a0": [1, 1], "a1": [1, 0], "b0": [1], "b1": [1]}, 300),
    350: predictions({"a0": [0], "a1": [1], "b0": [1, 0], "b1": [1, 1]}, 350),
    400: predictions({"a0": [0], "a1": [0], "b0": [1], "b1": [1]}, 400),
}
ALL = pd.concat(PARTS.values(), ignore_index=True)


def test_curves_hold_the_balanced_accuracy_of_every_size_and_set():
    late = ALL[ALL["size_px"] > 300]
    curves = size_search.size_curves({"here": ALL, "there": late}, **OPTIONS)
    assert curves["images"].tolist() == ["here"] * 4 + ["there"] * 2
    assert curves["size_px"].tolist() == [250, 300, 350, 400, 350, 400]
    assert curves["value"].tolist() == pytest.approx([1 / 2, 7 / 8, 5 / 8, 1 / 2, 5 / 8, 1 / 2])
    assert curves["size_um"].iloc[0] == pytest.approx(250 * 0.03534)
    assert set(curves["metric"]) == {"balanced_accuracy"}
    assert size_search.best_size(curves, "here") == 300
    assert size_search.best_size(curves, "there") == 350
    equal = curves.assign(value=0.5)
    assert size_search.best_size(equal.iloc[::-1], "here") == 250


def test_peak_is_asked_for_against_three_rivals():
    """300 px score 7/8; the ends 1/2 each, and the best of the others 5/8."""
    found = size_search.peak_differences(ALL, 300, **OPTIONS)
    assert {words: difference["value"] for words, difference in found.items()} == pytest.approx(
        {
            "300 px minus the smallest size, 250 px": 3 / 8,
            "300 px minus the largest size, 400 px": 3 / 8,
            "300 px minus the best of all other sizes": 1 / 4,
        }
    )


def test_a_size_is_no_rival_of_itself():
    """The smallest of two has one rival, twice; a single size has none."""
    two = ALL[ALL["size_px"] < 350]
    found = size_search.peak_differences(two, 250, **OPTIONS)
    assert list(found) == [
        "250 px minus the largest size, 300 px", "250 px minus the best of all other sizes",
    ]  # fmt: skip
    assert size_search.peak_differences(PARTS[250], 250, **OPTIONS) == {}


def test_dip_needs_three_sizes():
    """Here 300 px are ahead: (1/2 + 5/8)/2 − 7/8 = −5/16. A set without 250 px is left out."""
    sets = {"as they are": ALL, "rotated": ALL[ALL["size_px"] > 250]}
    found = size_search.dip_differences(sets, **OPTIONS)
    (words,) = found
    assert words == "mean of 250 and 350 px minus 300 px, as they are"
    assert found[words]["value"] == pytest.approx(-5 / 16)


def test_dips_are_counted_by_their_intervals():
    dip = {"one": {"low": 0.01}, "two": {"low": -0.01}, "three": {"low": np.nan}}
    assert "in 1 of 3 curves" in size_search.dip_sentence(dip)
    assert size_search.dip_sentence({}) == ""


def test_a_claim_on_one_size_is_not_judged_on_another():
    figure = {"value": 0.2, "low": 0.1, "high": 0.3}
    peak, dip = dict.fromkeys("pqr", figure), dict.fromkeys("de", figure)
    found = size_search.shape_findings(peak, dip, 350, data="phantom")
    assert [(row["claim"], row["measure"], row["reference"]) for row in found] == [
        *(("C5", name, 0) for name in "pqr"),
        *(("C6", name, 0) for name in "de"),
    ]
    found = size_search.shape_findings(peak, dip, 300, data="phantom")
    assert [row["claim"] for row in found] == ["C6", "C6"]


def test_without_all_rivals_or_rotated_images_nothing_is_decided():
    """C5 asks for three differences, C6 for images as they are and rotated."""
    figure = {"value": 0.2, "low": 0.1, "high": 0.3}
    found = size_search.shape_findings(
        dict.fromkeys("pq", figure), {"d": figure}, 350, data="phantom"
    )
    assert [row["claim"] for row in found] == ["C5", "C5", "C6"]
    assert np.isnan([row["reference"] for row in found]).all()
    assert size_search.dip_sentence({"d": figure}).endswith(" of 1 curve; no image was rotated.")


def tabulated():
    """At 250 px 4 patches, of which 1 is sparse and 1 over the limit; at 500 px 2 with 1 sparse."""
    rows = [
        ("a0", "a", 250, "", True),
        ("a0", "a", 250, "sparse", False),
        ("b0", "b", 250, "", True),
        ("b0", "b", 250, "over the limit", False),
        ("a0", "a", 500, "sparse", False),
        ("b0", "b", 500, "", True),
    ]
    table = pd.DataFrame(rows, columns=["image", "label", "paper_px", "reason", "kept"])
    return table.assign(group=table["image"])


def test_lines_set_the_yield_beside_the_scores():
    curves = pd.DataFrame(
        [
            (250, "here", 0.5, 0.4, 0.6),
            (500, "here", 0.7, 0.6, 0.8),
            (250, "apart", 0.3, np.nan, np.nan),
        ],
        columns=["size_px", "images", "value", "low", "high"],
    )
    covered = pd.Series({250: 0.77, 500: 0.70})
    lines = size_search.size_lines(tabulated(), covered, curves)
    assert lines.fillna("–").to_dict("list") == {
        "size (paper px)": [250, 500],
        "size (µm)": [8.84, 17.67],
        "extracted": [4, 2],
        "kept": [3, 1],
        "attrition": ["25.0%", "50.0%"],
        "covered": ["77%", "70%"],
        "used": [2, 1],
        "here": ["0.50 [0.40, 0.60]", "0.70 [0.60, 0.80]"],
        "apart": ["0.30 [no interval]", "–"],
    }


def test_attrition_is_told_in_two_ways():
    """Left are 3 at 250 px and 1 at 500 px; removed are 1 of 4 and 1 of 2."""
    missing, removed = size_search.attrition_findings(
        tabulated(), [250, 400, 500], data="phantom", **OPTIONS
    )
    assert missing["value"] == missing["low"] == missing["high"] == pytest.approx(2 / 3)
    assert removed["value"] == pytest.approx(-1 / 4)
    assert missing["measure"] == "share of the patches at 250 px that is missing at 500 px"
    assert {row["claim"] for row in (missing, removed)} == {"C7"}
    assert {row["sense"] for row in (missing, removed)} == {"apart"}


@pytest.mark.parametrize(("whole_um2", "decides"), [(101, True), (99, False), (np.nan, False)])
def test_only_a_patch_known_to_be_smaller_than_a_cell_decides(whole_um2, decides):
    """A patch of 10 µm has 100 µm²."""
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    size_px = 10 / PAPER_PIXEL_UM
    found = size_search.smallest_finding(score, size_px, whole_um2, 0.17, data="phantom")
    assert found["claim"] == "C13"
    assert "(10.0 µm)" in found["measure"]
    assert found["reference"] == 0.17 if decides else np.isnan(found["reference"])


def test_what_the_grid_covers_is_said():
    differing = pd.Series({250: 0.77, 500: 0.70})
    assert "between 70% (500 px) and 77% (250 px)" in size_search.covered_sentence(differing)
    alike = pd.Series({250: 0.7, 500: 0.7})
    assert size_search.covered_sentence(alike) == (
        "The grid covers 70% of the planes at every size."
    )


def test_the_cell_is_the_largest_of_its_plane():
    """Counted pixel by pixel; where there is no phantom, no cell is known."""
    label = phantom.class_names("full")[0]
    plane = phantom.simulate_stack(label, index=0, settings=PROFILE.phantom).cells[1]
    found = size_search.planted_cell(label, 1, PROFILE.phantom, 0.5)
    areas = {name: int((plane == name).sum()) for name in np.unique(plane) if name}
    (largest,) = np.unique(plane[found.outline])
    assert areas[largest] == max(areas.values()) == found.outline.sum()
    cut = {*plane[0], *plane[-1], *plane[:, 0], *plane[:, -1]}
    whole = [area for name, area in areas.items() if name not in cut]
    expected = np.median(whole) / 4 if whole else np.nan  # pixels of 0.5 µm
    assert found.area_um2 == pytest.approx(expected, nan_ok=True)
    none = size_search.planted_cell("MCF10A", 1, None, 0.5)
    assert none.outline is None
    assert np.isnan(none.area_um2)


def test_separate_images_are_of_another_seed(tmp_path, monkeypatch):
    given = {}

    def simulate(folder, settings):
        given.update(folder=folder, settings=settings)
        (tmp_path / "i.ome.tif").touch()
        (tmp_path / "manifest.csv").write_text("image,path,label\ni,i.ome.tif,x\n", "utf-8")
        return tmp_path / "manifest.csv"

    monkeypatch.setattr(phantom, "simulate_dataset", simulate)
    found = size_search.separate_images(tmp_path / "selection", PROFILE)
    assert found["image"].tolist() == ["i"]
    assert given["folder"] == tmp_path / "selection"
    assert given["settings"].seed == PROFILE.selection.seed != PROFILE.phantom.seed
    assert given["settings"].model_copy(update={"seed": PROFILE.phantom.seed}) == PROFILE.phantom


def test_every_size_is_cut_and_trained_in_the_same_folds(monkeypatch):
    """What the modules below are asked for."""
    given = {}
    monkeypatch.setattr(
        size_search.preprocessing,
        "tabulate_patches",
        lambda manifest, **options: (manifest, options),
    )
    manifest, options = size_search.tabulate_sizes("images", PROFILE)
    assert manifest == "images"
    assert options == {
        "sizes_px": PROFILE.patches.sizes_px,
        "channels": PROFILE.channels,
        "settings": PROFILE.patches,
    }

    def train(patch_sets, folds, **options):
        given.update(patch_sets=patch_sets, folds=folds, **options)
        return "predictions"

    monkeypatch.setattr(
        size_search.preprocessing,
        "each_patch_set",
        lambda *images, **options: (*images, options["output_px"]),
    )
    monkeypatch.setattr(size_search, "train_sizes", train)
    found = size_search.train_curve(
        "images", "table", "folds", profile=PROFILE, dataset="cv5", folder="there"
    )
    assert found == "predictions"
    assert given == {
        "patch_sets": ("images", "table", PROFILE.encoder.input_px),
        "folds": "folds",
        "models": ["intermediate"],
        "profile": PROFILE,
        "dataset": "cv5",
        "folder": "there",
        "seed": PROFILE.folds.seed,
    }
