"""How much a score owes to the way its folds were made: what can be asked, and what it adds.

The unit that must stay whole is the image, or what the manifest groups. Folds that are cut finer
(by patch, by slab of planes) show a network in testing what it saw in training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import interval, sample_of
from organelle_fusion.comparisons import folding_difference
from organelle_fusion.metrics import PRIMARY_METRIC, EvaluationError
from organelle_fusion.significance import interval_text, interval_texts


def confined_classes(labels: Sequence[str], batches: Sequence[str]) -> dict[str, str]:
    """Classes that lie in one batch only: leave that batch out, and there is nothing to learn from.

    Parameters
    ----------
    labels, batches
        Class and batch (a day, a magnification, an acquisition) of each of N rows.

    Returns
    -------
    dict
        Class → its only batch, sorted; empty where every batch can be left out.
    """
    pairs = pd.DataFrame({"label": labels, "batch": batches}).astype(str).drop_duplicates()
    alone = pairs[~pairs.duplicated("label", keep=False)]
    return dict(sorted(zip(alone["label"], alone["batch"], strict=True)))


def batch_answer(labels: Sequence[str], batches: Sequence[str], what: str = "group") -> str:
    """Say whether whole batches can be left out, and whether one compares classes.

    Parameters
    ----------
    labels, batches
        As in `confined_classes`.
    what
        What a batch is, in a word that takes an s for its plural.

    Returns
    -------
    str
        "no: …" where classes are confined to one batch; "yes, …" else, and what is to be minded
        where every batch holds one class.
    """
    pairs = pd.DataFrame({"label": labels, "batch": batches}).astype(str).drop_duplicates()
    confined = confined_classes(labels, batches)
    number = pairs["batch"].nunique()
    if confined:
        where = pd.Series(confined)
        told = "; ".join(
            f"{batch} alone holds {', '.join(of_batch.index)}"
            for batch, of_batch in where.groupby(where, sort=True)
        )
        it = "it" if len(set(confined.values())) == 1 else "one of them"
        return f"no: {what} {told}, so that leaving {it} out leaves classes out"
    if not pairs.duplicated("batch").any():
        return f"yes, {number} {what}s; each holds one class, so that no {what} compares classes"
    return f"yes, {number} {what}s"


def with_groups(predictions: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Give predictions the groups of `table` back, by image, however finely the folds were cut.

    Intervals resample groups, and what is uncertain is which images were taken.

    Parameters
    ----------
    predictions
        Of folds by patch, by slab, or any.
    table
        One row per patch, with ``image`` and the ``group`` that should stay whole.

    Returns
    -------
    DataFrame
        The predictions, with other ``group``.

    Raises
    ------
    EvaluationError
        The table gives an image of the predictions no group.
    """
    groups = predictions["image"].map(table.groupby("image")["group"].first())
    if (lacking := groups.isna()).any():
        raise EvaluationError(
            "table: expected a group for each image of the predictions, found none for image "
            f"{predictions['image'][lacking].iloc[0]!r}; give it one there"
        )
    return predictions.assign(group=groups)


def leakage_table(
    results: Mapping[tuple[str, str], pd.DataFrame],
    baselines: Mapping[str, str],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Balanced accuracy of every data set under every grouping, and its distance from a baseline.

    Parameters
    ----------
    results
        (data set, grouping) → predictions of one model, with groups as `with_groups` gives them.
    baselines
        Data set → the grouping that the others are compared with.
    repeats, seed
        Of the bootstrap, which resamples groups; both sides of a difference in the same resamples.

    Returns
    -------
    DataFrame
        data, grouping, runs (trainings), value, low, high, chance (1/K), difference,
        difference_low, difference_high (to the baseline; NaN for itself); data sets in the order
        of `baselines`, groupings in that of `results`.
    """
    options = {"repeats": repeats, "seed": seed}
    rows = []
    wanted = [(data, name) for data in baselines for of, name in results if of == data]
    for data, grouping in wanted:
        frame = results[data, grouping]
        sample = sample_of(frame, "patch")
        scores = sample.with_resamples(PRIMARY_METRIC, **options)
        low, high = interval(scores[1:])
        difference = dict.fromkeys(("value", "low", "high"), np.nan)
        if grouping != baselines[data]:
            other = results[data, baselines[data]]
            difference = folding_difference(frame, other, **options)
        rows.append(
            {
                "data": data,
                "grouping": grouping,
                "runs": len(frame[["seed", "fold"]].drop_duplicates()),
                "value": scores[0],
                "low": low,
                "high": high,
                "chance": 1 / len(set(sample.labels)),
                "difference": difference["value"],
                "difference_low": difference["low"],
                "difference_high": difference["high"],
            }
        )
    return pd.DataFrame(rows)


def chance_words(row: Mapping[str, float]) -> str:
    """Where a score lies to chance, by its interval: ``value``, ``low``, ``high``, ``chance``."""
    if np.isnan(row["low"]):
        return "not compared with chance"
    if row["low"] > row["chance"]:
        return "above chance"
    if row["high"] < row["chance"]:
        return "below chance"
    return "not to be told from chance"


def printed(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Format a table of `leakage_table` as text.

    Parameters
    ----------
    table
        Of `leakage_table`.
    baseline
        What the differences are to, in words.
    """
    differences = [
        interval_text(row.difference, row.difference_low, row.difference_high)
        if np.isfinite(row.difference)
        else ""
        for row in table.itertuples()
    ]
    return pd.DataFrame(
        {
            "data set": table["data"],
            "folds": table["grouping"],
            "trainings": table["runs"],
            "balanced accuracy": interval_texts(table, ""),
            "chance": [f"{chance:.2f}" for chance in table["chance"]],
            f"minus {baseline}": differences,
        }
    )
