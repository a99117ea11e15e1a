"""What a second evaluation makes of a first, for all outcomes of both."""

from itertools import product

import numpy as np
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
        "In part: of 2 differences, five folds have shown 1, of which 1 is confirmed by thirty "
        "runs and by the t-test over these runs.",
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
