"""Nested and non-nested choice on frames whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import selection
from organelle_fusion.bootstrap import draw_groups
from organelle_fusion.config import load_profile
from organelle_fusion.metrics import EvaluationError

GROUPS = ("a0", "a1", "b0", "b1")


def candidate(size, hits, *, patches=2):
    """Two classes, two folds that test a0 b0 and a1 b1 and validate on the others.

    `hits` gives for fold 0 and fold 1 how many of the `patches` of each group are told rightly.
    """
    rows = []
    for fold, of_fold in enumerate(hits):
        for group, right in zip(GROUPS, of_fold, strict=True):
            label = group[0]
            wrong = {"a": "b", "b": "a"}[label]
            for k in range(patches):
                said = label if k < right else wrong
                rows.append(
                    {
                        "size_px": size, "model": "m", "seed": 0, "fold": fold,
                        "patch": patches * GROUPS.index(group) + k, "image": group,
                        "group": group, "label": label,
                        "part": "test" if int(group[1]) == fold else "validation",
                        "p:a": float(said == "a"), "p:b": float(said == "b"),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


# Groups in order a0 a1 b0 b1. Fold 0 tests a0 b0, fold 1 tests a1 b1.
# 200 px: validation 4 of 4 in fold 0 and 1 of 4 in fold 1; test 1 of 4 and 3 of 4: 1/2.
# 300 px: validation 2 of 4 and 3 of 4; test 4 of 4 and 2 of 4: 3/4, the best on the test data.
SMALL = candidate(200, [(0, 2, 1, 2), (1, 2, 0, 1)])
LARGE = candidate(300, [(2, 1, 2, 1), (2, 1, 1, 1)])
BOTH = pd.concat([SMALL, LARGE], ignore_index=True)


def test_each_fold_chooses_by_its_validation_part():
    """200 px in fold 0, where it tells all of a1 and b1; 300 px in fold 1."""
    found = selection.nested_choice(BOTH, "size_px")
    assert found.to_dict("list") == {
        "seed": [0, 0],
        "fold": [0, 1],
        "choice": [200, 300],
        "value": [1.0, 0.75],
    }


def test_a_tie_goes_to_the_first():
    equal = pd.concat([LARGE, LARGE.assign(size_px=100)], ignore_index=True)
    assert selection.nested_choice(equal, "size_px")["choice"].tolist() == [300, 300]


def test_choosing_on_the_test_data_flatters_by_a_known_amount():
    """Best 300 px with 3/4; nested 1 of 4 by 200 px and 2 of 4 by 300 px: 3/8. Optimism 3/8."""
    found = selection.compare_choices(BOTH, "size_px", repeats=400, seed=1)
    assert found.best == 300
    assert found.not_nested["value"] == 0.75
    assert found.nested["value"] == 0.375
    assert found.optimism["value"] == 0.375
    assert found.candidates["value"].tolist() == [0.5, 0.75]
    assert found.candidates["folds"].tolist() == [1, 1]


def test_the_interval_chooses_anew_in_each_resample():
    """Resamples gone through one by one, with shares of right patches written out."""
    found = selection.compare_choices(BOTH, "size_px", repeats=300, seed=5)
    right = {  # of the two test patches of a0 a1 b0 b1
        200: np.array([0, 2, 1, 1]),
        300: np.array([2, 1, 2, 1]),
        "nested": np.array([0, 1, 1, 1]),
    }
    expected, best = [], []
    for weights in draw_groups(np.array([0, 0, 1, 1]), 300, 5):
        score = {
            name: (weights[:2] @ hits[:2] + weights[2:] @ hits[2:]) / 8
            for name, hits in right.items()
        }
        expected.append(max(score[200], score[300]) - score["nested"])
        best.append(200 if score[200] >= score[300] else 300)
    low, high = np.quantile(expected, [0.025, 0.975])
    assert found.optimism["low"] == pytest.approx(low)
    assert found.optimism["high"] == pytest.approx(high)
    shares = found.candidates.set_index("candidate")["chosen"]
    assert shares[200] == pytest.approx(np.mean(np.array(best) == 200))
    assert 0 < shares[200] < 1


def test_one_candidate_leaves_nothing_to_choose():
    found = selection.compare_choices(LARGE, "size_px", repeats=100)
    none = {"value": 0.0, "low": np.nan, "high": np.nan}
    assert found.optimism == pytest.approx(none, nan_ok=True)
    assert selection.printed({"size": found})["difference"].tolist() == ["+0.00 [no interval]"]
    assert found.not_nested == found.nested


def test_patches_of_candidates_may_differ_and_images_may_not():
    """Three patches of each image at 200 px, all right: it is chosen, and scored on its own."""
    fine = candidate(200, [(3, 3, 3, 3)] * 2, patches=3)
    found = selection.compare_choices(pd.concat([fine, LARGE]), "size_px", repeats=100)
    assert (found.best, found.nested["value"]) == (200, 1.0)
    other = SMALL.assign(group=SMALL["group"].replace("b1", "b9"))
    with pytest.raises(EvaluationError, match=r"size_px 300 and 200 in the same folds, found .*b"):
        selection.compare_choices(pd.concat([LARGE, other]), "size_px", repeats=100)


def test_tables_list_both_scores_and_their_difference():
    found = selection.compare_choices(BOTH, "size_px", repeats=200)
    table = selection.choice_table({"patch size": found})
    assert table["how"].tolist() == ["not nested", "nested", "difference"]
    assert table["value"].tolist() == [0.75, 0.375, 0.375]
    (row,) = selection.printed({"patch size": found}).to_dict("records")
    assert row["chosen on test"] == 300
    assert row["chosen nested"] == "200 (1), 300 (1)"
    assert row["its score"].startswith("0.75 [")
    assert row["nested score"].startswith("0.38 [")
    assert row["difference"].startswith("+0.38 [")


def test_the_settings_of_candidates_are_listed():
    one = load_profile("smoke").training.model_copy(update={"learning_rate": 0.00123456})
    two = one.model_copy(update={"batch_size": 64, "dropout": 0.25})
    table = selection.settings_table([one, two])
    assert table["name"].tolist() == ["candidate-1", "candidate-2"]
    assert table["learning_rate"].tolist() == ["0.00123", "0.00123"]
    assert table["batch_size"].tolist() == ["32", "64"]
    assert table["dropout"].tolist() == ["0.4", "0.25"]


def test_what_the_choice_adds_is_said():
    found = selection.compare_choices(BOTH, "size_px", repeats=200)
    made = found._replace(optimism={"value": 0.375, "low": -0.125, "high": 0.5})
    assert selection.optimism_lines({"patch size, x": made}) == [
        "Best patch size, x, on the test data minus nested: +0.38 [-0.12, +0.50]."
    ]
