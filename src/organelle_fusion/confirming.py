"""Whether a second evaluation confirms what a first has shown, comparison by comparison.

A thing that was not shown cannot be confirmed, however clear it is the second time.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.comparisons import strategy_rivals
from organelle_fusion.scorecard import Outcome, finding, fusion_findings, outcome
from organelle_fusion.significance import repeated_fold_difference
from organelle_fusion.wording import capital

OUTCOME_WORDS: dict[Outcome, str] = {
    "holds": "above 0",
    "fails": "below 0",
    "open": "cannot tell",
}
CONFIRMED = "confirmed"


def strategy_findings(
    foldings: Mapping[str, pd.DataFrame],
    channels: Sequence[str],
    *,
    data: str,
    repeats: int,
    seed: int,
) -> dict[str, list[dict]]:
    """What intermediate fusion is ahead of in each evaluation, by the paired bootstrap.

    Parameters
    ----------
    foldings
        Name of an evaluation → predictions of all strategies, see `scorecard.fusion_findings`.
    channels, data, repeats, seed
        As there.

    Returns
    -------
    dict
        Name → findings of claims C1 and C2, which are those of `comparisons.strategy_rivals`.
    """
    found = {
        name: fusion_findings(predictions, channels, data=data, repeats=repeats, seed=seed)
        for name, predictions in foldings.items()
    }
    return {
        name: [row for row in rows if row["claim"] in ("C1", "C2")] for name, rows in found.items()
    }


def repeated_findings(
    compared: Mapping[str, Sequence[Mapping]], only_shown: str, *, data: str
) -> list[dict]:
    """The comparisons of several evaluations as findings of claim C9, which asks for all of them.

    Parameters
    ----------
    compared
        Of `strategy_findings`.
    only_shown
        Name of the evaluation that decides nothing.
    data
        As in `scorecard.finding`.
    """
    return [
        finding(
            "C9",
            f"{row['measure']}, {name}",
            row,
            reference=np.nan if name == only_shown else 0,
            data=data,
        )
        for name, rows in compared.items()
        for row in rows
    ]


def run_differences(runs: pd.DataFrame, channels: Sequence[str]) -> dict[str, dict]:
    """Intermediate fusion minus each of `comparisons.strategy_rivals`, each run one observation.

    Parameters
    ----------
    runs
        Predictions of repeated folds that keep groups whole.
    channels
        Names of the single channels, of which each run takes the best on its validation part.

    Returns
    -------
    dict
        The comparison in words → `significance.repeated_fold_difference`.
    """
    return {
        words: repeated_fold_difference(runs, "intermediate", rival)
        for words, rival in strategy_rivals(channels).items()
    }


def judge_again(first: Outcome, second: Outcome, test: Outcome) -> str:
    """Say what a second evaluation, judged in two ways, makes of a first.

    Parameters
    ----------
    first, second
        Outcomes of one comparison in both evaluations, by the same measure.
    test
        That of the second by another test.

    Returns
    -------
    str
        `CONFIRMED` where all three agree and the first shows something.
    """
    if first == "open":
        return "nothing was shown that could be confirmed"
    if second == "open":
        return "not confirmed"
    if second != first:
        return "contradicted"
    return CONFIRMED if test == first else "repeated, but not by the t-test"


def confirmation_table(
    first: Sequence[Mapping], second: Sequence[Mapping], tests: Mapping[str, Mapping]
) -> pd.DataFrame:
    """Outcomes of the same comparisons in two evaluations, and what the second makes of the first.

    Parameters
    ----------
    first, second
        Findings of differences that are asked to lie above 0, see `scorecard.finding`, of the same
        measures in the same order.
    tests
        Measure → ``value``, ``low``, ``high`` of the second evaluation by another test.

    Returns
    -------
    DataFrame
        comparison, first, second, test (each an `Outcome`), verdict (of `judge_again`).
    """
    rows = []
    for before, after in zip(first, second, strict=True):
        name = before["measure"]
        tested = {**tests[name], "reference": 0.0, "sense": "above"}
        if tested["low"] == tested["high"]:  # runs that are all alike tell no more than one
            tested |= {"low": np.nan, "high": np.nan}
        outcomes = (outcome(before), outcome(after), outcome(tested))
        rows.append((name, *outcomes, judge_again(*outcomes)))
    return pd.DataFrame(rows, columns=["comparison", "first", "second", "test", "verdict"])


def confirmation_lines(table: pd.DataFrame, first: str, second: str) -> list[str]:
    """A headline, and a line for each comparison of a `confirmation_table`.

    Parameters
    ----------
    table
        Of `confirmation_table`.
    first, second
        What both evaluations are called.
    """
    confirmed, total = (table["verdict"] == CONFIRMED).sum(), len(table)
    shown = (table["first"] != "open").sum()
    if not shown:
        head = f"There is nothing to confirm: {first} have shown none of {total} differences."
    else:
        word = "In part" if confirmed else "No"
        if confirmed == shown:
            word = "Yes" if confirmed == total else "Yes, what was shown"
        head = (
            f"{word}: of {total} differences, {first} have shown {shown}, of which {confirmed} "
            f"{'is' if confirmed == 1 else 'are'} confirmed by {second} and by the t-test over "
            "these runs."
        )
    lines = [
        f"{capital(row.comparison)}: {first}: {OUTCOME_WORDS[row.first]}; "
        f"{second}: {OUTCOME_WORDS[row.second]}; t-test: {OUTCOME_WORDS[row.test]}. "
        f"{capital(row.verdict)}."
        for row in table.itertuples(index=False)
    ]
    return [head, *lines]
