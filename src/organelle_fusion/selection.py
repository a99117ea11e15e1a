"""What it adds to a score to choose on the data that are scored: nested against non-nested choice.

Candidates (patch sizes, settings) are trained in the same outer folds. The non-nested choice looks
at the test parts, the nested one at the validation part of each fold. See Cawley and Talbot, On
over-fitting in model selection, JMLR 11:2079 (2010).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import Sample, interval, sample_of
from organelle_fusion.config import TrainingSettings
from organelle_fusion.metrics import (
    PRIMARY_METRIC,
    EvaluationError,
    class_names,
    probability_columns,
    scores,
)
from organelle_fusion.significance import interval_text
from organelle_fusion.trials import SEARCHED


class Choices(NamedTuple):
    """Scores of a non-nested and a nested choice among the same candidates."""

    candidates: pd.DataFrame
    """candidate, value, low, high (its test score), chosen (share of the resamples in which it was
    best), folds (number of outer folds in which the nested choice took it)."""
    best: Any
    """The candidate of the non-nested choice."""
    not_nested: dict
    """value, low, high of its test score, as one would report it."""
    nested: dict
    """value, low, high of the nested choice."""
    optimism: dict
    """value, low, high of the difference."""


def nested_choice(predictions: pd.DataFrame, by: str) -> pd.DataFrame:
    """Choose, in each outer fold, the candidate that scores best on the validation part.

    The score is balanced accuracy over the classes that the validation part holds. Of equal scores
    the candidate that comes first in `predictions` is taken.

    Parameters
    ----------
    predictions
        Predictions of several candidates in the same folds, see `metrics`.
    by
        The column that tells candidates apart, such as ``size_px``.

    Returns
    -------
    DataFrame
        seed, fold, choice (the candidate), value (its validation score); one row per outer fold.

    Raises
    ------
    EvaluationError
        Candidates were not trained in the same folds.
    """
    candidates = list(predictions[by].unique())
    _check_same_folds(predictions, by, candidates)
    classes, columns = class_names(predictions), probability_columns(predictions)
    validation = predictions[predictions["part"] == "validation"]
    rows = []
    for (seed, fold), of_fold in validation.groupby(["seed", "fold"], sort=True):
        found = [of_fold[of_fold[by] == candidate] for candidate in candidates]
        values = [
            scores(part["label"].to_numpy(), part[columns].to_numpy(), classes)[PRIMARY_METRIC]
            for part in found
        ]
        best = int(np.argmax(values))
        rows.append((seed, fold, candidates[best], values[best]))
    return pd.DataFrame(rows, columns=["seed", "fold", "choice", "value"])


def compare_choices(
    predictions: pd.DataFrame,
    by: str,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> Choices:
    """Score a choice made on the test data against one that never saw them.

    *Non-nested*: the candidate of the best score on the test rows of all folds together, and that
    score. *Nested*: `nested_choice` in each fold, and the score of the chosen candidates' test rows
    of all folds together. Their difference estimates how much the first flatters.

    Its interval resamples groups within their class. Patches differ between candidates and groups
    do not, so the same groups are drawn for all. In every resample the non-nested choice is made
    anew, since naming the best on the rows that score it is what is measured; the nested choices
    stand, since they were made before any test row was seen. The best of several is flattered in a
    resample more than on all rows, so the interval is biased towards a larger difference. It tells
    how large the difference may be; that it lies above 0 says little, since a best score falls
    below another only where the folds chose different candidates.

    Parameters
    ----------
    predictions, by
        As in `nested_choice`.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    Choices

    Raises
    ------
    EvaluationError
        As `nested_choice`.
    """
    chosen = nested_choice(predictions, by)
    candidates = list(predictions[by].unique())
    parts = [predictions[predictions[by] == candidate] for candidate in candidates]
    samples = [_sample(part, by) for part in parts]
    samples.append(_sample(_chosen_rows(predictions, by, chosen), by))
    values = np.array([sample.scores()[PRIMARY_METRIC] for sample in samples])
    resampled = np.array([sample.resampled(PRIMARY_METRIC, repeats, seed) for sample in samples])
    intervals = [interval(of_sample) for of_sample in resampled]
    best = int(values[:-1].argmax())
    often = np.bincount(resampled[:-1].argmax(axis=0), minlength=len(candidates)) / repeats
    low, high = interval(resampled[:-1].max(axis=0) - resampled[-1])
    return Choices(
        candidates=pd.DataFrame(
            {
                "candidate": candidates,
                "value": values[:-1],
                "low": [ends[0] for ends in intervals[:-1]],
                "high": [ends[1] for ends in intervals[:-1]],
                "chosen": often,
                "folds": [int((chosen["choice"] == name).sum()) for name in candidates],
            }
        ),
        best=candidates[best],
        not_nested=_figure(values[best], intervals[best]),
        nested=_figure(values[-1], intervals[-1]),
        optimism=_figure(values[best] - values[-1], (low, high)),
    )


def choice_table(choices: Mapping[str, Choices]) -> pd.DataFrame:
    """List both scores of every choice and their difference.

    Parameters
    ----------
    choices
        What was chosen, in words → what `compare_choices` gave.

    Returns
    -------
    DataFrame
        question, how (``not nested``, ``nested``, ``difference``), value, low, high.
    """
    return pd.DataFrame(
        [
            {"question": question, "how": how, **figure}
            for question, made in choices.items()
            for how, figure in (
                ("not nested", made.not_nested),
                ("nested", made.nested),
                ("difference", made.optimism),
            )
        ]
    )


def settings_table(candidates: Sequence[TrainingSettings]) -> pd.DataFrame:
    """Name candidates as ``candidate-<number>``, and list what is searched, as text."""
    names = [f"candidate-{number}" for number in range(1, len(candidates) + 1)]
    searched = {name: [f"{getattr(one, name):.3g}" for one in candidates] for name in SEARCHED}
    return pd.DataFrame({"name": names, **searched})


def printed(choices: Mapping[str, Choices]) -> pd.DataFrame:
    """Format the same as text, with the candidates that were chosen."""
    rows = []
    for question, made in choices.items():
        taken = made.candidates[made.candidates["folds"] > 0]
        rows.append(
            {
                "choice of": question,
                "candidates": len(made.candidates),
                "chosen on test": made.best,
                "its score": interval_text(**made.not_nested, sign=""),
                "chosen nested": ", ".join(
                    f"{row.candidate} ({row.folds})" for row in taken.itertuples()
                ),
                "nested score": interval_text(**made.nested, sign=""),
                "difference": interval_text(**made.optimism),
            }
        )
    return pd.DataFrame(rows)


def optimism_lines(choices: Mapping[str, Choices]) -> list[str]:
    """State of every choice how much more is scored if it is made on the test data."""
    return [
        f"Best {question}, on the test data minus nested: {interval_text(**made.optimism)}."
        for question, made in choices.items()
    ]


def _figure(value: float, ends: tuple[float, float]) -> dict:
    return {"value": float(value), "low": ends[0], "high": ends[1]}


def _sample(rows: pd.DataFrame, by: str) -> Sample:
    """Test rows as one model's, whatever candidates they are of."""
    return sample_of(rows.assign(**{by: "any"}), "patch")


def _chosen_rows(predictions: pd.DataFrame, by: str, chosen: pd.DataFrame) -> pd.DataFrame:
    """Test rows of the candidate chosen in each fold, numbered anew: their patches differ."""
    keys = ["seed", "fold", by]
    wanted = chosen.rename(columns={"choice": by})[keys]
    rows = predictions[predictions["part"] == "test"].merge(wanted, on=keys)
    return rows.assign(patch=np.arange(len(rows)))


def _check_same_folds(predictions: pd.DataFrame, by: str, candidates: Sequence) -> None:
    keys = ["seed", "fold", "part", "group", "label"]
    used = [
        set(predictions.loc[predictions[by] == candidate, keys].itertuples(index=False, name=None))
        for candidate in candidates
    ]
    for candidate, found in zip(candidates, used, strict=True):
        if found != used[0]:
            row = sorted(found ^ used[0], key=str)[0]
            raise EvaluationError(
                f"predictions: expected {by} {candidates[0]} and {candidate} in the same folds, "
                f"found {dict(zip(keys, row, strict=True))} in one only; train both in the same"
            )
