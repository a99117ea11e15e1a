"""The order in which ways of fusing come out, which of them can be told apart, and where else.

A ranking by score alone always names a first; the pairs say how much of it is shown. Frames in,
frames and sentences out.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from organelle_fusion.comparisons import best_single_difference, paired_difference
from organelle_fusion.provenance import note_file, read_csv
from organelle_fusion.wording import title

BEST = "the best single channel"


class Ranking(NamedTuple):
    """What ranks the strategies on one kind of data."""

    scores: pd.Series  # balanced accuracy, highest first, by the title of the strategy or `BEST`
    pairs: pd.DataFrame  # first, second, value, low, high: see `pair_table`


def rank_scores(accuracy: pd.Series, channels: Sequence[str], fusions: Sequence[str]) -> pd.Series:
    """Strategies by their score, the highest first; of the single channels the best alone.

    Parameters
    ----------
    accuracy
        Model → balanced accuracy.
    channels, fusions
        Models.

    Returns
    -------
    Series
        Title of the fusion, or `BEST` → balanced accuracy.
    """
    named = {title(model): accuracy[model] for model in fusions}
    named[BEST] = accuracy[list(channels)].max()
    return pd.Series(named).sort_values(ascending=False, kind="stable")


def pair_table(
    predictions: pd.DataFrame,
    channels: Sequence[str],
    fusions: Sequence[str],
    *,
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """Differences in balanced accuracy by patch of all pairs of fusions, and to the best channel.

    Parameters
    ----------
    predictions
        Of the single channels and fusions, see `metrics`.
    channels, fusions
        Models.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        first, second (titles, or `BEST`), value, low, high; the best channel is chosen anew in
        each resample.
    """
    options = {"repeats": repeats, "seed": seed}
    found = {
        (title(a), title(b)): paired_difference(predictions, a, b, **options)
        for a, b in combinations(fusions, 2)
    }
    found |= {
        (title(a), BEST): best_single_difference(predictions, channels, a, **options)
        for a in fusions
    }
    rows = [(*pair, *(found[pair][key] for key in ("value", "low", "high"))) for pair in found]
    return pd.DataFrame(rows, columns=["first", "second", "value", "low", "high"])


def read_ranking(folder: Path, channels: Sequence[str], fusions: Sequence[str]) -> Ranking | None:
    """Read the ranking that chapter 6 has left in the folder of a run; None where it has not run.

    Parameters
    ----------
    folder
        Holds ``table1.csv`` and ``pairs5.csv``.
    channels, fusions
        Models.
    """
    # Noted whether they are there or not: with the first results the page changes.
    scores, pairs = (note_file(folder / name) for name in ("table1.csv", "pairs5.csv"))
    if not (scores.is_file() and pairs.is_file()):
        return None
    table = read_csv(scores, text=("model", "metric"))
    table = table.query("metric == 'balanced_accuracy'").set_index("model")
    ranked = rank_scores(table["value"], channels, fusions)
    return Ranking(ranked, read_csv(pairs, text=("first", "second")))


def _told(pairs: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Pair → "ahead", "behind" or "not told apart", by the whole interval; NaN tells none."""
    return {
        (row.first, row.second): "ahead"
        if row.low > 0
        else "behind"
        if row.high < 0
        else "not told apart"
        for row in pairs.itertuples(index=False)
    }


def _listed(scores: pd.Series) -> str:
    return ", ".join(f"{name.lower()} {value:.2f}" for name, value in scores.items())


def ranking_sentence(ranking: Ranking) -> str:
    """Say in which order strategies score, and which of them their intervals tell apart."""
    told = _told(ranking.pairs)
    ahead = [pair for pair, words in told.items() if words == "ahead"]
    ahead += [(second, first) for (first, second), words in told.items() if words == "behind"]
    order = {name: place for place, name in enumerate(ranking.scores.index)}
    ahead.sort(key=lambda pair: (order[pair[0]], order[pair[1]]))
    shown = "; ".join(f"{first.lower()} above {second.lower()}" for first, second in ahead)
    return (
        f"In the order of their scores: {_listed(ranking.scores)}. Of {len(told)} pairs, intervals "
        f"tell {len(ahead)} apart" + (f": {shown}." if shown else ".")
    )


def compare_rankings(rankings: Mapping[str, Ranking]) -> list[str]:
    """Say whether strategies rank alike on two kinds of data.

    Parameters
    ----------
    rankings
        What the data are called → their ranking, of the same strategies.

    Returns
    -------
    list of str
        Whether the order of the scores is the same; how many pairs get the same verdict from their
        intervals; a line for each pair that gets another.
    """
    (one, first), (other, second) = rankings.items()
    same = first.scores.index.tolist() == second.scores.index.tolist()
    verdicts, others = _told(first.pairs), _told(second.pairs)
    differing = [pair for pair in verdicts if verdicts[pair] != others[pair]]
    alike = [verdicts[pair] for pair in verdicts if verdicts[pair] == others[pair]]
    told = sum(words != "not told apart" for words in alike)
    head = (
        f"By score alone the order is {'the same' if same else 'not the same'} "
        f"({one}: {_listed(first.scores)}; {other}: {_listed(second.scores)}). "
        f"Of {len(verdicts)} pairs, the verdict is the same on both for {len(alike)} ({told} told "
        "apart)" + (f"; it is another for {len(differing)}:" if differing else ".")
    )
    return [
        head,
        *(
            f"{a} against {b.lower()}: {one}: {verdicts[a, b]}; {other}: {others[a, b]}."
            for a, b in differing
        ),
    ]
