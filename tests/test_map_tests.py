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

pytestmark = pytest.mark.keras

PATCHES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 2), dtype=np.uint8)
TARGETS = np.array([0, 2, 1])
BASELINE = PATCHES.mean(axis=(0, 1, 2)).round()


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
    return map_tests.all_maps(network, PATCHES, TARGETS, BASELINE, gradient_steps=2)


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
    curves = map_tests.all_curves(network, PATCHES, TARGETS, maps, BASELINE, steps=3, seed=5)
    found = map_tests.planted_tests(maps, curves, masks=masks, position=1)
    assert len(found) == len(METHODS) * len(map_tests.PLANTED_TESTS) * 3
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


def test_curves_are_listed_point_by_point():
    """Of one method: share of the places and value of each patch, for both orders."""
    curve = np.array([[3.0, 1, 0], [5, 4, 0]])
    found = map_tests.curve_rows({"m": {"deletion": {"map": curve, "lot": curve + 1}}})
    columns = ["method", "kind", "order", "share", "patch", "value"]
    assert found[columns].to_numpy().tolist()[:4] == [
        ["m", "deletion", "map", 0, 0, 3], ["m", "deletion", "map", 0, 1, 5],
        ["m", "deletion", "map", 0.5, 0, 1], ["m", "deletion", "map", 0.5, 1, 4],
    ]  # fmt: skip
    assert found.iloc[-1][columns].tolist() == ["m", "deletion", "lot", 1, 1, 1]
    assert len(found) == 12


def test_sanity_is_likeness_to_the_other_networks_maps(maps):
    """Equal maps, and maps of reversed sign, are as like as can be."""
    found = map_tests.sanity_tests(
        maps, {"random weights": {name: -of for name, of in maps.items()}}
    )
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
