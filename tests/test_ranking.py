"""Strategies in order, the pairs that are told apart, and whether other data say the same."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import ranking
from organelle_fusion.ranking import BEST, Ranking

CHANNELS, FUSIONS = ["golgi", "actin"], ["early", "late"]


def ranked(early, late, single, intervals):
    """A ranking of two fusions; `intervals` of early − late, early − best, late − best."""
    accuracy = pd.Series({"early": early, "late": late, "golgi": single, "actin": 0.1})
    pairs = [("Early fusion", "Late fusion"), ("Early fusion", BEST), ("Late fusion", BEST)]
    rows = [(*pair, np.mean(ends), *ends) for pair, ends in zip(pairs, intervals, strict=True)]
    return Ranking(
        ranking.rank_scores(accuracy, CHANNELS, FUSIONS),
        pd.DataFrame(rows, columns=["first", "second", "value", "low", "high"]),
    )


def test_pairs_are_those_of_the_comparisons():
    """Early right in all four patches, late in two, golgi in three and actin in one."""
    right = {
        "early": [1, 1, 1, 1],
        "late": [1, 0, 1, 0],
        "golgi": [1, 1, 1, 0],
        "actin": [1, 0, 0, 0],
    }
    rows = [
        (model, 0, 0, n, group, group, group[0], "test", float((group[0] == "a") == bool(hit)))
        for model, hits in right.items()
        for n, (group, hit) in enumerate(zip(("a0", "a1", "b0", "b1"), hits, strict=True))
    ]
    columns = ["model", "fold", "seed", "patch", "image", "group", "label", "part", "p:a"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["p:b"] = 1 - frame["p:a"]
    pairs = ranking.pair_table(frame, CHANNELS, FUSIONS, repeats=50, seed=0)
    assert pairs[["first", "second", "value"]].to_numpy().tolist() == [
        ["Early fusion", "Late fusion", 0.5],
        ["Early fusion", BEST, 0.25],
        ["Late fusion", BEST, -0.25],
    ]


def test_sentence_names_the_order_and_what_is_told_apart():
    found = ranked(0.5, 0.8, 0.6, [(-0.5, -0.1), (-0.2, 0.1), (np.nan, np.nan)])
    assert ranking.ranking_sentence(found) == (
        f"In the order of their scores: late fusion 0.80, {BEST} 0.60, early fusion 0.50. Of 3 "
        "pairs, intervals tell 1 apart: late fusion above early fusion."
    )
    none = ranked(0.5, 0.8, 0.6, [(-0.5, 0.1)] * 3)
    assert ranking.ranking_sentence(none).endswith("Of 3 pairs, intervals tell 0 apart.")


@pytest.mark.parametrize("end", ["same", "other"])
def test_rankings_are_compared_by_order_and_by_verdict(end):
    one = ranked(0.8, 0.6, 0.5, [(0.1, 0.3), (0.1, 0.4), (-0.1, 0.2)])
    two = ranked(0.7, 0.6, 0.5, [(-0.1, 0.3), (0.1, 0.4), (-0.3, -0.2)])
    lines = ranking.compare_rankings({"cells": one, "phantom": one if end == "same" else two})
    assert "By score alone the order is the same (cells: early fusion 0.80," in lines[0]
    if end == "same":
        assert lines[0].endswith(
            "Of 3 pairs, the verdict is the same on both for 3 (2 told apart)."
        )
        assert len(lines) == 1
    else:
        assert "the same on both for 1 (1 told apart); it is another for 2:" in lines[0]
        assert lines[1:] == [
            "Early fusion against late fusion: cells: ahead; phantom: not told apart.",
            f"Late fusion against {BEST}: cells: not told apart; phantom: behind.",
        ]


def test_a_channel_may_be_called_na(tmp_path):
    """It is a name in both files, and no missing value."""
    rows = [(model, "balanced_accuracy", 0.5) for model in ("early", "late", "NA", "01")]
    table = pd.DataFrame(rows, columns=["model", "metric", "value"])
    table.to_csv(tmp_path / "table1.csv", index=False)
    pairs = pd.DataFrame({"first": ["NA"], "second": ["01"], "value": 0.0, "low": np.nan})
    pairs.to_csv(tmp_path / "pairs5.csv", index=False)
    found = ranking.read_ranking(tmp_path, ["NA", "01"], FUSIONS)
    assert found.scores[BEST] == 0.5
    pd.testing.assert_frame_equal(found.pairs, pairs)


def test_another_order_is_said():
    one = ranked(0.8, 0.6, 0.5, [(0.1, 0.3)] * 3)
    two = ranked(0.6, 0.8, 0.5, [(0.1, 0.3)] * 3)
    assert "the order is not the same" in ranking.compare_rankings({"a": one, "b": two})[0]


def test_ranking_of_a_run_is_read_back_or_missing(tmp_path):
    """Both files, or none; handcrafted rows and other metrics stay out."""
    assert ranking.read_ranking(tmp_path, CHANNELS, FUSIONS) is None
    models = {"early": 0.5, "late": 0.8, "golgi": 0.6, "actin": 0.1, "otccp_contacts": 0.9}
    rows = [(model, "balanced_accuracy", value) for model, value in models.items()]
    rows += [(model, "mcc", 1 - value) for model, value in models.items()]
    columns = ["model", "metric", "value"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "table1.csv", index=False)
    assert ranking.read_ranking(tmp_path, CHANNELS, FUSIONS) is None
    kept = ranked(0.5, 0.8, 0.6, [(-0.5, -0.1), (-0.2, 0.1), (np.nan, np.nan)])
    kept.pairs.to_csv(tmp_path / "pairs5.csv", index=False)
    found = ranking.read_ranking(tmp_path, CHANNELS, FUSIONS)
    pd.testing.assert_series_equal(found.scores, kept.scores)
    pd.testing.assert_frame_equal(found.pairs, kept.pairs)
