"""The tests that maps are put to: rows, order and means, on a network and by hand."""

import numpy as np
import pandas as pd
import pytest

keras = pytest.importorskip("keras")

from organelle_fusion import faithfulness, map_tests  # noqa: E402
from organelle_fusion.config import EncoderSettings, load_profile  # noqa: E402
from organelle_fusion.explain import METHODS, grad_cam, occlusion  # noqa: E402
from organelle_fusion.gradients import target_logits  # noqa: E402
from organelle_fusion.models import build_model  # noqa: E402
from organelle_fusion.naming import SHARE, shapley_measure  # noqa: E402
from organelle_fusion.planted import Shown  # noqa: E402
from organelle_fusion.shapley import ABSENT  # noqa: E402

pytestmark = pytest.mark.keras

PATCHES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 2), dtype=np.uint8)
TARGETS = np.array([0, 2, 1])
BASELINE = PATCHES.mean(axis=(0, 1, 2)).round()
ROWS = np.array([7, 4, 9])
SHOWN = Shown(ROWS, PATCHES, TARGETS, PATCHES)


@pytest.fixture(scope="module")
def network():
    return build_model(
        "intermediate",
        channels=("a", "b"),
        n_classes=3,
        encoder=EncoderSettings(kind="compact", input_px=16, filters=(4, 8)),
        training=load_profile("smoke").training,
    )


@pytest.fixture(scope="module")
def maps(network):
    return map_tests.all_maps(network, SHOWN, gradient_steps=2)


def test_every_method_is_asked_with_the_baseline(network, maps):
    """As each gives it by itself."""
    assert list(maps) == list(METHODS) == list(map_tests.METHOD_TITLES)
    np.testing.assert_array_equal(maps["grad_cam"], grad_cam(network, PATCHES, TARGETS))
    np.testing.assert_array_equal(
        maps["occlusion"], occlusion(network, PATCHES, TARGETS, baseline=BASELINE)
    )
    assert maps["integrated_gradients"].shape == (3, 2, 16, 16)


def test_planted_tests_are_those_of_faithfulness(network, maps):
    """Of the planted organelle's map, here the second's, patch by patch."""
    masks = PATCHES[..., 1] > 128
    curves = map_tests.all_curves(network, SHOWN, maps, steps=3, seed=5)
    found = map_tests.planted_tests(maps, curves, ROWS, masks=masks, position=1)
    assert len(found) == len(METHODS) * len(map_tests.PLANTED_TESTS) * 3
    assert found["patch"].tolist() == ROWS.tolist() * (len(found) // 3)
    values = found.set_index(["method", "test"])["value"]
    cam = maps["grad_cam"]
    own = cam[:, 1].repeat(4, axis=1).repeat(4, axis=2)  # 4 cells on 16 pixels
    share = np.maximum(cam[:, 1], 0).sum((1, 2)) / np.maximum(cam, 0).sum((1, 2, 3))
    np.testing.assert_allclose(values["grad_cam", "planted organelle"], share - 0.5, rtol=1e-5)
    np.testing.assert_allclose(
        values["grad_cam", "mass in mask"], faithfulness.mass_in_mask(own, masks)
    )
    np.testing.assert_allclose(values["grad_cam", "pointing"], faithfulness.pointing(own, masks))
    own = faithfulness.removal_curves(
        lambda patches: target_logits(network, patches, TARGETS),
        PATCHES, cam, np.broadcast_to(BASELINE, PATCHES.shape), steps=3, seed=5,
    )  # fmt: skip
    gain = faithfulness.removal_gain(own)
    for test in ("deletion", "insertion"):
        np.testing.assert_allclose(values["grad_cam", test], gain[test], atol=1e-5)


def test_parts_of_organelles_add_up(network, maps):
    """Shares to 1; Shapley values to the logit less that of a patch that shows none."""
    training = PATCHES[::-1] // 2
    found = map_tests.organelle_parts(network, SHOWN._replace(training=training), seed=3)
    assert list(found) == [SHARE, *(shapley_measure(kind) for kind in ABSENT)]
    positive = np.maximum(maps["grad_cam"], 0).sum(axis=(2, 3))
    expected = positive / positive.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[SHARE], expected, rtol=1e-5)
    means = np.rint(training.mean(axis=(0, 1, 2)))
    for kind, empty in (("black", 0), ("mean", means)):
        states = np.stack([PATCHES, np.broadcast_to(empty, PATCHES.shape).astype(np.uint8)])
        logits = target_logits(network, states, TARGETS)
        parts = found[shapley_measure(kind)]
        np.testing.assert_allclose(parts.sum(axis=1), logits[0] - logits[1], atol=1e-5)
        # The part of one of two channels: half of what it adds to none, and to the other.
        mixed = np.stack([states[:, ..., 0], states[::-1, ..., 1]], axis=-1)
        first = target_logits(network, mixed, TARGETS)  # the first alone, and the second alone
        by_hand = (first[0] - logits[1] + logits[0] - first[1]) / 2
        np.testing.assert_allclose(parts[:, 0], by_hand, atol=1e-5)


def test_sums_of_gradients_are_laid_beside_the_logits(network, maps):
    found = map_tests.gradient_sums(network, SHOWN, maps)
    summed = maps["integrated_gradients"].sum(axis=(1, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(found["attributed"], summed)
    states = np.stack([PATCHES, np.broadcast_to(BASELINE, PATCHES.shape).astype(np.uint8)])
    logits = target_logits(network, states, TARGETS)
    np.testing.assert_allclose(found["difference"], logits[0] - logits[1], atol=1e-5)


def test_maps_of_other_patches():
    """Of five patches, the one that lies two further back in the cycle, or before it."""
    maps = np.arange(5)[:, None, None, None] * np.ones((1, 2, 3, 3))

    def given(groups):
        found = map_tests.of_other_patches({"m": maps[: len(groups)]}, groups)["m"]
        return found[:, 0, 0, 0].tolist()

    assert given(["a", "a", "b", "b", "c"]) == [3, 4, 0, 1, 2]
    # Two further back than the third and fourth of three of one image are its first and second.
    assert given(["b", "a", "a", "a", "c"]) == [3, 4, 0, 0, 2]
    assert given(["a", "a", "b"]) == [2, 2, 1]
    assert given(["a", "a", "a"]) == [2, 0, 1]
    assert given(["a"]) == [0]


def test_curves_are_listed_point_by_point():
    """Of one method: share of the places and value of each patch, for both orders."""
    curve = np.array([[3.0, 1, 0], [5, 4, 0]])
    found = map_tests.curve_rows(
        {"m": {"deletion": {"map": curve, "lot": curve + 1}}}, np.array([8, 3])
    )
    columns = ["method", "kind", "order", "share", "patch", "value"]
    assert found[columns].to_numpy().tolist()[:4] == [
        ["m", "deletion", "map", 0, 8, 3], ["m", "deletion", "map", 0, 3, 5],
        ["m", "deletion", "map", 0.5, 8, 1], ["m", "deletion", "map", 0.5, 3, 4],
    ]  # fmt: skip
    assert found.iloc[-1][columns].tolist() == ["m", "deletion", "lot", 1, 3, 1]
    assert len(found) == 12


def test_sanity_is_likeness_to_the_other_networks_maps(maps):
    """Equal maps, and maps of reversed sign, are as like as can be."""
    found = map_tests.sanity_tests(
        maps, {"random weights": {name: -of for name, of in maps.items()}}, ROWS
    )
    assert found["patch"].tolist() == ROWS.tolist() * len(METHODS)
    assert found["test"].unique().tolist() == ["random weights"]
    np.testing.assert_allclose(found["value"], 1)


def test_summary_by_hand():
    """Means over patches; those without a value are left out; intervals over groups."""
    table = pd.DataFrame({"label": list("xxyy"), "group": list("abcd")})
    values = pd.DataFrame(
        {"method": "m", "test": "t", "patch": [0, 1, 2, 3], "value": [0.0, 2.0, 4.0, np.nan]}
    )
    row = map_tests.summary(values, table, repeats=500, seed=0).iloc[0]
    assert row[["method", "test", "value", "patches"]].tolist() == ["m", "t", 2.0, 3]
    by = map_tests.summary(values, table, by=["patch"], repeats=100, seed=0)
    assert by[["patch", "value"]].to_numpy().tolist() == [[0, 0], [1, 2], [2, 4]]
    # c is the only group of y; of a and b each, both or the other may be drawn.
    assert (row["low"], row["high"]) == (pytest.approx(4 / 3), pytest.approx(8 / 3))


def summary_rows():
    """Two methods, all tests; the first passes two of those that are planted."""
    lows = {"planted organelle": 0.1, "mass in mask": -0.1, "pointing": 0.0, "deletion": 0.2,
            "insertion": np.nan, "random weights": 0.3, "labels by lot": 0.3,
            "another patch": 0.3}  # fmt: skip
    rows = [
        (method, test, low + 0.05 * number, low * sign, low + 0.1)
        for method, sign in (("grad_cam", 1), ("occlusion", -1))
        for number, (test, low) in enumerate(lows.items())
    ]
    table = pd.DataFrame(rows, columns=["method", "test", "value", "low", "high"])
    return table[~((table["method"] == "occlusion") & (table["test"] == "mass in mask"))]


def test_methods_in_words():
    """What lies above 0 is passed, not what begins at it, nor what has no interval."""
    assert map_tests.method_words(summary_rows()) == [
        f"- {name}: better than chance in {passed}; likeness to maps of networks that know nothing "
        "0.55 (random weights) and 0.60 (labels by lot), to those of another patch 0.65."
        for name, passed in (
            ("Grad-CAM", "planted organelle, deletion"), ("Occlusion", "no test"),
        )
    ]  # fmt: skip


def test_a_likeness_that_has_no_value_is_not_known():
    """Constant maps have no rank correlation, so `summary` has no row for them."""
    found = map_tests.method_words(summary_rows().query("test != 'labels by lot'"))
    assert "0.55 (random weights) and not known (labels by lot)" in found[0]


def test_a_summary_is_printed_test_by_test():
    found = map_tests.printed(summary_rows().query("test in ['pointing', 'deletion']"))
    assert list(found) == ["test", "Grad-CAM", "Occlusion"]
    assert found.to_numpy().tolist() == [
        ["pointing", "+0.10 [+0.00, +0.10]", "+0.10 [+0.00, +0.10]"],
        ["deletion", "+0.35 [+0.20, +0.30]", "+0.35 [-0.20, +0.30]"],
    ]
