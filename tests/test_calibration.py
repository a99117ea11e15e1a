"""Reliability and ECE: by hand, against scikit-learn, and resample by resample."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from sklearn.calibration import calibration_curve

from organelle_fusion import plots_calibration
from organelle_fusion.bootstrap import draw_groups
from organelle_fusion.calibration import (
    calibration_lines,
    calibration_table,
    expected_calibration_error,
    reliability,
)

CLASSES = ("a", "b", "c")


def predictions(confidences, hits, *, groups=None, model="m"):
    """Patches of class a or b with a given confidence in the right class, or in the other one."""
    rows = []
    for number, (confidence, hit) in enumerate(zip(confidences, hits, strict=True)):
        label = "ab"[number % 2]
        named = label if hit else "ba"[number % 2]
        group = f"{label}{0 if groups is None else groups[number]}"
        rest = (1 - confidence) / 2
        rows.append(
            {
                "model": model, "fold": 0, "seed": 0, "patch": number, "image": group,
                "group": group, "label": label, "part": "test",
                **{f"p:{name}": confidence if name == named else rest for name in CLASSES},
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def random_predictions(n=200):
    rng = np.random.default_rng(5)
    confidences = rng.uniform(0.35, 1, n)
    hits = rng.random(n) < confidences**2
    return predictions(confidences, hits, groups=rng.integers(0, 3, n)), confidences, hits


def test_reliability_and_error_by_hand():
    """0.85 twice, one right; 0.65 twice, both right: distances 0.35 and 0.35, which even out."""
    frame = predictions([0.85, 0.65, 0.85, 0.65], [1, 1, 0, 1])
    curve = reliability(frame, "m")
    expected = [[0.6, 0.7, 2, 0.65, 1.0], [0.8, 0.9, 2, 0.85, 0.5]]
    np.testing.assert_allclose(curve.to_numpy(float), expected)
    found = expected_calibration_error(frame, "m", repeats=100)
    assert found["value"] == pytest.approx(0.35)
    assert found["excess"] == pytest.approx(0, abs=1e-12)
    assert found["verdict"] == "neither shown"


def test_perfectly_calibrated():
    """Of four at 0.75 three are right, of five at 0.4 two."""
    frame = predictions([0.75] * 4 + [0.4] * 5, [1, 1, 1, 0, 1, 1, 0, 0, 0])
    assert expected_calibration_error(frame, "m", repeats=100)["value"] == pytest.approx(0)


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_reliability_agrees_with_scikit_learn(bins):
    """Means of the bins by calibration_curve, and the error from them and numpy's counts."""
    frame, confidences, hits = random_predictions()
    curve = reliability(frame, "m", bins)
    accuracy, confidence = calibration_curve(hits, confidences, n_bins=bins)
    np.testing.assert_allclose(curve["accuracy"], accuracy)
    np.testing.assert_allclose(curve["confidence"], confidence)
    counts = np.histogram(confidences, bins, (0, 1))[0]
    assert curve["count"].tolist() == counts[counts > 0].tolist()
    error = expected_calibration_error(frame, "m", bins=bins, repeats=100)["value"]
    assert error == pytest.approx((counts[counts > 0] * abs(accuracy - confidence)).sum() / 200)


def test_intervals_resample_whole_groups():
    """Those of resamples gone through one by one, patch by patch."""
    frame, confidences, hits = random_predictions()
    repeats, seed = 120, 4
    groups = frame["group"].to_numpy()
    names = np.unique(groups)
    strata = np.array([name[0] == "b" for name in names])
    errors, excesses = [], []
    for weights in draw_groups(strata, repeats, seed):
        rows = np.concatenate(
            [np.flatnonzero(groups == name) for name, w in zip(names, weights, strict=True)
             for _ in range(int(w))]
        )  # fmt: skip
        p, hit = confidences[rows], hits[rows]
        bins = np.minimum((p * 10).astype(int), 9)
        errors.append(
            sum(abs((hit[bins == k] - p[bins == k]).sum()) for k in range(10)) / len(rows)
        )
        excesses.append(p.mean() - hit.mean())
    found = expected_calibration_error(frame, "m", repeats=repeats, seed=seed)
    ends = np.quantile(errors, [0.025, 0.975])
    assert [found["low"], found["high"]] == pytest.approx(ends)
    ends = np.quantile(excesses, [0.025, 0.975])
    assert [found["excess_low"], found["excess_high"]] == pytest.approx(ends)


@pytest.mark.parametrize(
    ("sure", "hits", "verdict", "excess"),
    [
        ([0.7, 0.7, 0.9, 0.9] * 2, [0] * 8, "over-confident", "+0.80 [+0.70, +0.90]"),
        ([0.7, 0.7, 0.9, 0.9] * 2, [1] * 8, "under-confident", "-0.20 [-0.30, -0.10]"),
        ([0.7] * 8, [0] * 8, "neither shown", "+0.70 [no interval]"),
    ],
    ids=["over", "under", "no-interval"],
)
def test_verdict_follows_the_interval(sure, hits, verdict, excess):
    """All wrong or all right, in two groups; where both are alike, nothing can be said."""
    frame = predictions(sure, hits, groups=[0, 0, 1, 1, 0, 0, 1, 1])
    table = calibration_table(frame, ["m"], repeats=400)
    assert table["verdict"].tolist() == [verdict]
    assert calibration_lines(table).iloc[0].tolist()[2:] == [excess, verdict]


def test_figure_shows_the_curve_and_its_error():
    """Marks at (confidence, accuracy), area by share; the title holds the error."""
    frame = predictions([0.85, 0.65, 0.85, 0.65, 0.65, 0.65], [1, 1, 0, 1, 1, 1])
    curve = reliability(frame, "m")
    figure = plots_calibration.reliability_figure({"late": curve, "mitochondria": curve})
    first, second = figure.axes
    marks = next(item for item in second.collections if isinstance(item, PathCollection))
    np.testing.assert_allclose(marks.get_offsets(), [[0.65, 1.0], [0.85, 0.5]])
    small, large = sorted(marks.get_sizes())
    assert large / small == pytest.approx(2)
    assert first.get_title(loc="left") == "Late fusion\nECE 0.35"
    assert second.get_title(loc="left") == "Mitochondria\nECE 0.35"
