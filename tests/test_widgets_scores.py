"""What the widgets of scores embed: the counts that scikit-learn and plain arithmetic give."""

import json

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from sklearn import metrics as sk

from organelle_fusion import widgets_scores

CLASSES = ["a", "b<i>", "c"]
MODELS = ["mitochondria", "intermediate"]


@pytest.fixture
def predictions():
    """Two models, twelve images of three classes with ten patches each, every patch tested once."""
    rng = np.random.default_rng(3)
    rows = []
    for signal, model in enumerate(MODELS, start=1):
        for image in range(12):
            for patch in range(10):
                logits = rng.normal(size=3)
                logits[image % 3] += signal
                p = np.exp(logits) / np.exp(logits).sum()
                label = CLASSES[image % 3]
                rows.append([model, image % 4, 0, 10 * image + patch, f"i{image}", label, *p])
    columns = ["model", "fold", "seed", "patch", "image", "label", *(f"p:{n}" for n in CLASSES)]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(group=frame["image"], part="test")


def parsed(shown):
    soup = BeautifulSoup(shown.data, "html.parser")
    return soup, json.loads(soup.select_one("script[type='application/json']").string)


def test_confusion_counts_are_those_of_scikit_learn(predictions):
    """By patch and by image, for each model and each way to make folds."""
    fewer = predictions[predictions["fold"] < 3]
    soup, facts = parsed(
        widgets_scores.confusion_widget(
            {"all": predictions, "fewer": fewer}, MODELS, name="widget-x", data="phantom"
        )
    )
    assert facts["folds"] == ["all", "fewer"]
    assert facts["models"] == ["Mitochondria", "Intermediate fusion"]
    assert facts["levels"] == ["patches", "images"]
    assert facts["classes"] == CLASSES
    columns = [f"p:{name}" for name in CLASSES]
    for k, frame in enumerate((predictions, fewer)):
        for m, model in enumerate(MODELS):
            rows = frame[frame["model"] == model]
            images = rows.groupby("image").agg({"label": "first", **dict.fromkeys(columns, "mean")})
            for level, units in enumerate((rows, images)):
                guess = np.array(CLASSES)[units[columns].to_numpy().argmax(axis=1)]
                expected = sk.confusion_matrix(units["label"], guess, labels=CLASSES)
                assert facts["counts"][k][level][m] == expected.tolist()
    # Before the script runs: intermediate fusion, counted by patch.
    still = [[int(cell.get_text()) for cell in row.select("td")] for row in soup.select("tbody tr")]
    assert still == facts["counts"][0][0][facts["start"]]
    assert facts["models"][facts["start"]] == "Intermediate fusion"
    assert [cell.get_text() for cell in soup.select("tbody th")] == CLASSES
    assert soup.i is None


def test_without_intermediate_fusion_the_first_model_is_shown():
    assert widgets_scores.first_shown(["early", "intermediate"]) == 1
    assert widgets_scores.first_shown(["early", "late"]) == 0


def test_curves_read_off_what_scikit_learn_computes(predictions):
    """At every threshold precision and recall of the calls, and the curve itself."""
    soup, facts = parsed(
        widgets_scores.pr_widget({"all": predictions}, MODELS, name="widget-x", data="phantom")
    )
    assert [len(of_model) for of_model in facts["curves"][0]] == [3, 3]
    for model, of_model in zip(MODELS, facts["curves"][0], strict=True):
        rows = predictions[predictions["model"] == model]
        for name, found in zip(CLASSES, of_model, strict=True):
            truth, score = rows["label"] == name, rows[f"p:{name}"]
            assert found["name"] == name
            assert (found["positives"], found["total"]) == (40, 120)
            assert found["average"] == pytest.approx(
                sk.average_precision_score(truth, score), abs=1e-4
            )
            for k in (0, 7, 35, 50, 93):
                called = score >= k / 100
                assert found["called"][k] == called.sum()
                assert found["right"][k] == (called & truth).sum()
            assert found["called"][0] == 120
            precision, recall, _ = sk.precision_recall_curve(truth, score)
            best = {}
            for r, p in zip(recall.round(4), precision, strict=True):
                best[r] = max(p, best.get(r, 0))
            assert found["curve"][0] == sorted(best)
            assert found["curve"][1] == pytest.approx([best[r] for r in sorted(best)], abs=1e-4)
    assert soup.i is None
    assert [item.get_text() for item in soup.select("li")] == [
        f"{curve['name']}: {curve['average']:.2f}" for curve in facts["curves"][0][1]
    ]


def test_a_score_at_the_threshold_reaches_it():
    assert widgets_scores.counts_from(np.array([0.25, 0.5, 0.5, 1.0]))[25] == 4
    assert widgets_scores.counts_from(np.array([0.25, 0.5, 0.5, 1.0]))[26] == 3
    assert widgets_scores.counts_from(np.array([0.25, 0.5, 0.5, 1.0]))[50] == 3
    assert widgets_scores.counts_from(np.array([0.25, 0.5, 0.5, 1.0]))[100] == 1


def test_a_long_curve_keeps_its_ends_and_points_of_its_own():
    recall = np.linspace(0, 1, 1001)
    kept, precision = widgets_scores.thinned(recall[::-1], 1 - recall[::-1] / 2)
    assert len(kept) == widgets_scores.MOST_POINTS
    assert (kept[0], kept[-1]) == (0, 1)
    assert set(kept) <= set(recall.round(4))
    np.testing.assert_allclose(precision, 1 - np.array(kept) / 2, atol=1e-4)
