"""What a second evaluation makes of a first, for all outcomes of both."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import confirming, scorecard

FIGURES = {
    "holds": {"value": 0.2, "low": 0.1, "high": 0.3},
    "fails": {"value": -0.2, "low": -0.3, "high": -0.1},
    "open": {"value": 0.1, "low": -0.1, "high": 0.3},
}


def found(outcome, measure="a minus b"):
    return scorecard.finding("C1", measure, FIGURES[outcome], data="phantom", reference=0)


@pytest.mark.parametrize(("first", "second", "test"), list(product(FIGURES, repeat=3)))
def test_only_what_was_shown_and_agrees_is_confirmed(first, second, test):
    table = confirming.confirmation_table(
        [found(first)], [found(second)], {"a minus b": FIGURES[test]}
    )
    assert table[["first", "second", "test"]].to_numpy().tolist() == [[first, second, test]]
    agrees = first == second == test != "open"
    assert (table["verdict"].item() == "confirmed") == agrees
    head, line = confirming.confirmation_lines(table, "five folds", "thirty runs")
    assert head.startswith("Yes") == agrees
    assert ("nothing to confirm" in head) == (first == "open")
    assert (", but not by the t-test" in line) == (first == second != "open" and test != first)
    assert ("Contradicted." in line) == ({first, second} == {"holds", "fails"})
    assert ("Not confirmed." in line) == (first != "open" and second == "open")


def test_lines_name_every_outcome_and_the_headline_counts():
    """The state of the phantom: early fusion undecided in five folds, late fusion beaten twice."""
    tests = {"a minus b": FIGURES["open"], "a minus c": FIGURES["holds"]}
    table = confirming.confirmation_table(
        [found("open"), found("holds", "a minus c")],
        [found("holds"), found("holds", "a minus c")],
        tests,
    )
    assert confirming.confirmation_lines(table, "five folds", "thirty runs") == [
        "Yes, what was shown: of 2 differences, five folds have shown 1, of which 1 is confirmed "
        "by thirty runs and by the t-test over these runs.",
        "A minus b: five folds: cannot tell; thirty runs: above 0; t-test: cannot tell. Nothing "
        "was shown that could be confirmed.",
        "A minus c: five folds: above 0; thirty runs: above 0; t-test: above 0. Confirmed.",
    ]


def test_what_has_no_interval_was_not_shown():
    none = {"value": 0.2, "low": np.nan, "high": np.nan}
    first = scorecard.finding("C1", "a minus b", none, data="phantom", reference=0)
    table = confirming.confirmation_table(
        [first], [found("holds")], {"a minus b": FIGURES["holds"]}
    )
    assert table["first"].item() == "open"


def test_runs_that_are_all_alike_tell_nothing():
    """Two models equal in every run: the t-test's interval is 0 alone, which is not below 0."""
    alike = {"value": 0.0, "low": 0.0, "high": 0.0}
    table = confirming.confirmation_table([found("open")], [found("open")], {"a minus b": alike})
    assert table["test"].item() == "open"


def strategies():
    """Two classes, five models over two runs; each is right in the images named."""
    right = {
        "r": ["a0"], "s": ["a0", "b0"], "early": ["a0", "a1", "b0"], "late": ["a0", "b1"],
        "intermediate": ["a0", "a1", "b0", "b1"],
    }  # fmt: skip
    rows = []
    for model, hits in right.items():
        for seed in (0, 1):
            for fold in (0, 1):
                for number, image in enumerate(("a0", "a1", "b0", "b1", "a2")):
                    part = "validation" if number > 3 else "test"
                    if part == "test" and number % 2 != fold:
                        continue
                    hit = float(image in hits or part == "validation")
                    p_a = hit if image[0] == "a" else 1 - hit
                    rows.append((model, seed, fold, number, image, image[0], part, p_a, 1 - p_a))
    columns = ["model", "seed", "fold", "patch", "image", "label", "part", "p:a", "p:b"]
    return pd.DataFrame(rows, columns=columns).assign(group=lambda frame: frame["image"])


def test_strategies_are_compared_in_every_evaluation():
    """Intermediate fusion is right in all; early in 3 of 4, late and the best channel in 2 of 4."""
    compared = confirming.strategy_findings(
        {"five": strategies(), "thirty": strategies()},
        ("r", "s"),
        data="phantom",
        repeats=50,
        seed=0,
    )
    assert list(compared) == ["five", "thirty"]
    rows = compared["five"]
    assert [row["claim"] for row in rows] == ["C1", "C1", "C2"]
    assert [row["value"] for row in rows] == pytest.approx([0.25, 0.5, 0.5])
    found = confirming.repeated_findings(compared, "thirty", data="phantom")
    assert [row["claim"] for row in found] == ["C9"] * 6
    assert found[0]["measure"] == "intermediate minus early fusion, five"
    assert [row["value"] for row in found] == pytest.approx([0.25, 0.5, 0.5] * 2)
    assert [np.isnan(row["reference"]) for row in found] == [False] * 3 + [True] * 3


def test_runs_are_observations():
    """Fold 0 tests a0 and b0, fold 1 a1 and b1. Both channels validate alike: the first counts."""
    found = confirming.run_differences(strategies(), ("r", "s"))
    assert [row["value"] for row in found.values()] == pytest.approx([0.25, 0.5, 0.75])
    assert {row["runs"] for row in found.values()} == {4}
