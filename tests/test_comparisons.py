"""Differences between sizes and foldings, by hand and by going through the resamples one by one."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import comparisons, evaluation
from organelle_fusion.bootstrap import draw_groups
from organelle_fusion.metrics import EvaluationError


def predictions(hits, *, size_px=350, seed=0):
    """Two classes; `hits` gives for each group which of its patches are told rightly."""
    rows = []
    for group, of_group in hits.items():
        label = group[0]
        for hit in of_group:
            said = label if hit else {"a": "b", "b": "a"}[label]
            rows.append(
                {
                    "size_px": size_px, "model": "intermediate", "fold": 0, "seed": seed,
                    "patch": len(rows), "image": group, "group": group, "label": label,
                    "part": "test", "p:a": float(said == "a"), "p:b": float(said == "b"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


# Recall of a and of b at each size; other numbers of patches, the same images.
SMALL = predictions({"a0": [1, 1, 0, 0], "a1": [1, 0], "b0": [1, 1], "b1": [0, 0]}, size_px=200)
MIDDLE = predictions({"a0": [1, 1], "a1": [1, 0], "b0": [1], "b1": [1]}, size_px=300)
LARGE = predictions({"a0": [0], "a1": [1], "b0": [1, 0], "b1": [1, 1]}, size_px=400)
ALL = pd.concat([SMALL, MIDDLE, LARGE], ignore_index=True)
VALUES = {200: (3 / 6 + 2 / 4) / 2, 300: (3 / 4 + 1) / 2, 400: (1 / 2 + 3 / 4) / 2}


def test_score_tables_scores_each_size_by_itself():
    """Balanced accuracies counted by hand, and the sizes in order."""
    table = evaluation.score_tables(ALL.iloc[::-1], "size_px", repeats=100)
    accuracy = table[table["metric"] == "balanced_accuracy"].set_index("size_px")["value"]
    assert accuracy.to_dict() == pytest.approx(VALUES)
    assert list(accuracy.index) == [200, 300, 400]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([300], [200], VALUES[300] - VALUES[200]),
        ([300], [200, 400], VALUES[300] - VALUES[400]),  # the better of the two
        ([200, 400], [300], (VALUES[200] + VALUES[400]) / 2 - VALUES[300]),  # a dip turned round
    ],
)
def test_size_difference_by_hand(first, second, expected):
    found = comparisons.size_difference(ALL, first, second, repeats=200)
    assert found["value"] == pytest.approx(expected)
    assert found["low"] <= found["value"] <= found["high"]


def test_size_difference_takes_the_best_anew_in_the_same_resamples():
    """The interval is that of resamples gone through one by one."""
    repeats, seed = 150, 3
    weights = draw_groups(np.array([0, 0, 1, 1]), repeats, seed)  # a0, a1, b0, b1
    counts = {  # right and all patches of each group
        200: ([2, 1, 2, 0], [4, 2, 2, 2]),
        300: ([2, 1, 1, 1], [2, 2, 1, 1]),
        400: ([0, 1, 1, 2], [1, 1, 2, 2]),
    }
    expected = []
    for w in weights:
        value = {}
        for size, (right, total) in counts.items():
            hits, all_of = w * right, w * total
            value[size] = (
                hits[:2].sum() / all_of[:2].sum() + hits[2:].sum() / all_of[2:].sum()
            ) / 2
        expected.append(value[300] - max(value[200], value[400]))
    found = comparisons.size_difference(ALL, [300], [200, 400], repeats=repeats, seed=seed)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(expected, [0.025, 0.975]))


def test_sizes_on_other_images_or_not_trained_are_refused():
    with pytest.raises(EvaluationError, match="expected patches of 500 px, found 200, 300, 400"):
        comparisons.size_difference(ALL, [500], [200])
    fewer = pd.concat([SMALL, MIDDLE[MIDDLE["group"] != "b1"]])
    with pytest.raises(EvaluationError, match=r"200 px and 300 px tested on the same groups.*b1"):
        comparisons.size_difference(fewer, [200], [300])


def test_folding_difference_resamples_images_in_both():
    """One folding has two repeats of each patch: its score counts both, in the same images."""
    again = predictions({"a0": [0, 1], "a1": [1, 1], "b0": [1], "b1": [0]}, size_px=300, seed=1)
    twice = pd.concat([MIDDLE, again], ignore_index=True)
    found = comparisons.folding_difference(twice, MIDDLE, repeats=200)
    both = ((3 + 3) / 8 + (2 + 1) / 4) / 2
    assert found["value"] == pytest.approx(both - VALUES[300])
    same = comparisons.folding_difference(MIDDLE, MIDDLE, repeats=200)
    none = {"value": 0.0, "low": np.nan, "high": np.nan, "p": 1.0}
    assert same == pytest.approx(none, nan_ok=True)


def test_the_best_rival_is_chosen_in_every_resample():
    """Rivals with other rows of the same images: by hand, and resample by resample."""
    rivals = {"small": SMALL, "large": LARGE}
    found = comparisons.rival_difference(MIDDLE, rivals, repeats=300, seed=4)
    assert found["value"] == pytest.approx(VALUES[300] - max(VALUES[200], VALUES[400]))
    assert found["best"] == "large"
    alone = [
        comparisons.folding_difference(MIDDLE, rival, repeats=300, seed=4)
        for rival in rivals.values()
    ]
    assert found["low"] <= min(one["low"] for one in alone)
    single = comparisons.rival_difference(MIDDLE, {"small": SMALL}, repeats=300, seed=4)
    assert {k: v for k, v in single.items() if k != "best"} == alone[0]
    with pytest.raises(EvaluationError, match="large tested on the same groups, found b1"):
        comparisons.rival_difference(MIDDLE, {"large": LARGE[LARGE["group"] != "b1"]})


def test_attrition_difference_by_hand():
    """Shares removed 3/6 at 2 px and 1/4 at 4 px; one group a class gives no interval."""
    rows = [("x", 2, r) for r in ("sparse", "sparse", "", "")]
    rows += [("y", 2, r) for r in ("sparse", "over the limit")]
    rows += [("x", 4, "sparse"), ("x", 4, ""), ("y", 4, ""), ("y", 4, "over the limit")]
    table = pd.DataFrame(rows, columns=["group", "paper_px", "reason"])
    table["label"] = table["group"]
    expected = {"value": 0.25, "low": np.nan, "high": np.nan, "p": np.nan}
    found = comparisons.attrition_difference(table, 2, 4, repeats=50)
    assert found == pytest.approx(expected, nan_ok=True)


def test_attrition_difference_ties_classes_that_share_a_group():
    """Of two groups one holds both classes: they are exchanged for each other, as elsewhere."""
    rows = [("x", "a", 2, "sparse"), ("x", "b", 2, "sparse"), ("y", "b", 2, "")]
    rows += [("x", "a", 4, ""), ("y", "b", 4, "")]
    table = pd.DataFrame(rows, columns=["group", "label", "paper_px", "reason"])
    found = comparisons.attrition_difference(table, 2, 4, repeats=400)
    assert (found["value"], found["low"], found["high"]) == (pytest.approx(2 / 3), 0, 1)
    with pytest.raises(EvaluationError, match="group y: expected patches of 2 and of 4 px"):
        comparisons.attrition_difference(table.iloc[:-1], 2, 4)
    with pytest.raises(EvaluationError, match=r"group x: .* found none of 8 px"):
        comparisons.attrition_difference(table, 2, 8)


def test_attrition_difference_resamples_groups():
    """Two groups of one class: all of one, none of the other removed at 2 px."""
    rows = [("x", 2, "sparse"), ("y", 2, ""), ("x", 4, ""), ("y", 4, "")]
    table = pd.DataFrame(rows, columns=["group", "paper_px", "reason"]).assign(label="a")
    found = comparisons.attrition_difference(table, 2, 4, repeats=400)
    p = found.pop("p")
    assert found == pytest.approx({"value": 0.5, "low": 0.0, "high": 1.0})
    drawn = draw_groups(np.array([0, 0]), 400, 0)
    assert p == pytest.approx(
        2 * ((drawn[:, 0] == 0).sum() + 1) / 401
    )  # none of x: nothing removed


def test_strategies_are_compared_with_their_rivals():
    """Intermediate right in all, late in three of four patches, of the singles y better than x."""
    hits = {
        "intermediate": {"a0": [1, 1], "b0": [1, 1]},
        "early": {"a0": [1, 1], "b0": [1, 1]},
        "late": {"a0": [1, 0], "b0": [1, 1]},
        "x": {"a0": [0, 0], "b0": [1, 0]},
        "y": {"a0": [1, 1], "b0": [0, 0]},
    }
    frames = [predictions(of_model).assign(model=model) for model, of_model in hits.items()]
    found = comparisons.strategy_differences(pd.concat(frames), ["x", "y"], repeats=100)
    values = {words: difference["value"] for words, difference in found.items()}
    assert values == {
        "intermediate minus early fusion": 0.0,
        "intermediate minus late fusion": 0.25,
        "intermediate fusion minus the best single channel": 0.5,
    }
    assert found["intermediate fusion minus the best single channel"]["best"] == "y"
