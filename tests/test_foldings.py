"""Several foldings of the same images: seeds, scores by hand, and rows in order."""

import pandas as pd
import pytest

from organelle_fusion import foldings
from organelle_fusion.config import FoldSettings
from organelle_fusion.evaluation import NOT_COMPUTED
from organelle_fusion.folds import make_folds
from organelle_fusion.wording import METRIC_TITLES


def test_each_repeat_has_the_next_seed():
    images = [f"{label}{number}" for label in "ab" for number in range(6)]
    table = pd.DataFrame({"image": images, "group": images, "label": [name[0] for name in images]})
    settings = FoldSettings(n_splits=3, validation_share=0.2, seed=5)
    found = foldings.repeated_folds(table, settings, 2)
    assert list(found) == [5, 6]
    for seed, folds in found.items():
        assert folds.equals(make_folds(table, n_splits=3, validation_share=0.2, seed=seed))
    assert not found[5].equals(found[6])


def predictions(hits):
    """Two classes, a model for each key; of four images, those in `hits` are told rightly."""
    rows = []
    for model, of_model in hits.items():
        for number, image in enumerate(("a0", "a1", "b0", "b1")):
            right = float(image in of_model)
            p_a = right if image[0] == "a" else 1 - right
            rows.append((model, number, image, image, image[0], p_a, 1 - p_a))
    columns = ["model", "patch", "image", "group", "label", "p:a", "p:b"]
    return pd.DataFrame(rows, columns=columns).assign(fold=0, seed=0, part="test")


def test_every_folding_is_scored_by_itself():
    """3 of 4 right, 2 of 4, and all."""
    five = predictions({"early": ["a0", "a1", "b0"], "late": ["a0", "b0"]})
    many = predictions({"early": ["a0", "a1", "b0", "b1"]})
    scores = foldings.folding_scores({"five": five, "many": many}, repeats=50, seed=0)
    accuracy = scores[scores["metric"] == "balanced_accuracy"]
    assert accuracy[["grouping", "model"]].to_numpy().tolist() == [
        ["five", "early"],
        ["five", "late"],
        ["many", "early"],
    ]
    assert accuracy["value"].tolist() == pytest.approx([0.75, 0.5, 1])


def test_foldings_of_a_model_stand_below_each_other():
    """Where the second lacks a model in the middle, the order stays; unscored models have none."""
    metrics = list(METRIC_TITLES)
    rows = [
        (grouping, model, metric, value, value - 0.1, value + 0.1)
        for grouping, model, value in (
            ("five", "early", 0.5),
            ("five", "objects", 0.6),
            ("five", "spatial", 0.7),
            ("many", "early", 0.8),
            ("many", "spatial", 0.3),
        )
        for metric in metrics
    ]
    columns = ["grouping", "model", "metric", "value", "low", "high"]
    titles = {"early": "Early", "waits": "Waits", "objects": "Objects", "spatial": "Spatial"}
    shown = {"five": titles, "many": {"early": "Early", "spatial": "Spatial"}}
    table = foldings.folding_table(pd.DataFrame(rows, columns=columns), shown)
    assert table[["Model", "Folds"]].to_numpy().tolist() == [
        ["Early", "five"],
        ["Early", "many"],
        ["Waits", ""],
        ["Objects", "five"],
        ["Spatial", "five"],
        ["Spatial", "many"],
    ]
    first = METRIC_TITLES[metrics[0]]
    assert table[first].tolist() == [
        "0.50 [0.40, 0.60]",
        "0.80 [0.70, 0.90]",
        NOT_COMPUTED,
        "0.60 [0.50, 0.70]",
        "0.70 [0.60, 0.80]",
        "0.30 [0.20, 0.40]",
    ]
    assert list(table) == ["Model", "Folds", *METRIC_TITLES.values()]
