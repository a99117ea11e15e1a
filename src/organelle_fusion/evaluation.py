"""Scores of prediction files: intervals, comparisons, curves and the paper's tables.

The paper reports balanced accuracy, AUROC, Matthews correlation and macro F1 (Classifier
performance evaluation, Tables 1 and 2), confusion matrices (Figs 4, 9) and precision-recall
curves (Figs 5, 10). With 26 images in six classes some class has fewer images than there are
folds, so some test fold lacks a class whatever the split; the primary scores here are therefore
computed once, on the test rows of all folds together ("pooled out-of-fold"). What a predictions
frame is, `metrics` says.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from organelle_fusion.bootstrap import count_groups, draw_groups, interval, weighted_scores
from organelle_fusion.config import METRIC_TITLES, title
from organelle_fusion.metrics import (
    METRICS,
    EvaluationError,
    class_codes,
    pooled,
    probability_columns,
    scores,
)

__all__ = [
    "METRICS",
    "EvaluationError",
    "best_single_difference",
    "chance_levels",
    "confusion",
    "fold_scores",
    "paired_difference",
    "paper_rows",
    "paper_table",
    "pooled",
    "pr_curves",
    "probability_columns",
    "score_table",
    "scores",
]

NOT_COMPUTED = "not yet computed"


def chance_levels(labels: np.ndarray, classes: Sequence[str]) -> dict:
    """Scores of guessing every class equally often: what "nothing learnt" looks like.

    Balanced accuracy 1/K, AUROC 0.5, MCC 0, and macro F1 the mean of 2 qₖ/K / (qₖ + 1/K), where
    qₖ is the share of class k in `labels` (K classes present, expectations of the counts).
    """
    share = pd.Series(np.asarray(labels)).value_counts(normalize=True)
    share = share[[name for name in classes if name in share.index]].to_numpy()
    k = len(share)
    f1 = float(np.mean(2 * share / k / (share + 1 / k)))
    return {"balanced_accuracy": 1 / k, "auroc": 0.5, "mcc": 0.0, "macro_f1": f1}


class _Sample(NamedTuple):
    """The test rows of one model, as arrays."""

    classes: list[str]
    labels: np.ndarray
    codes: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray

    def scores(self) -> dict:
        return scores(self.labels, self.probabilities, self.classes)

    def resampled(self, metric: str, repeats: int, seed: int) -> np.ndarray:
        counts = count_groups(self.codes, self.probabilities, self.groups, auroc=metric == "auroc")
        return weighted_scores(counts, draw_groups(counts.stratum, repeats, seed), metric)


def _sample(predictions: pd.DataFrame, level: str) -> _Sample:
    table = pooled(predictions, level)
    columns = probability_columns(table)
    classes = [name.removeprefix("p:") for name in columns]
    labels, probabilities = table["label"].to_numpy(), table[columns].to_numpy(dtype=float)
    codes = class_codes(labels, probabilities, classes)
    return _Sample(classes, labels, codes, probabilities, table["group"].to_numpy())


def _by_model(predictions: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in predictions["model"].unique():
        yield str(name), predictions[predictions["model"] == name]


def _of_model(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    rows = predictions[predictions["model"] == name]
    if rows.empty:
        found = ", ".join(str(value) for value in predictions["model"].unique())
        raise EvaluationError(
            f"predictions: expected model {name!r}, found {found}; train it first"
        )
    return rows


def score_table(
    predictions: pd.DataFrame, *, level: str = "patch", repeats: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Score every model, with 95 % intervals: the numbers of Tables 1 and 2.

    The interval is a percentile bootstrap: whole groups are drawn with replacement within their
    class, so that patches of one image stay together. With four groups per class it is too
    narrow. Where a group holds several classes, groups are drawn from all of them together, and
    a resample that lacks a class is scored on the classes it has.

    Parameters
    ----------
    predictions
        Predictions of any number of models on one data set.
    level
        ``patch`` or ``image``, see `pooled`.
    repeats
        Number of resamples.
    seed
        Seed of the resamples; models on equal groups see equal resamples.

    Returns
    -------
    DataFrame
        model, metric, value, low, high; models in the order of `predictions`, metrics in that of
        `METRICS`.

    Raises
    ------
    EvaluationError
        As `pooled` and `scores`.
    """
    rows = []
    for model, part in _by_model(predictions):
        sample = _sample(part, level)
        values = sample.scores()
        for metric in METRICS:
            low, high = interval(sample.resampled(metric, repeats, seed))
            rows.append((model, metric, values[metric], low, high))
    return pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high"])


def fold_scores(predictions: pd.DataFrame, level: str = "patch") -> pd.DataFrame:
    """Score each fold by itself, naming the classes its test part holds.

    A fold that lacks a class is scored on the classes present, so folds are not comparable with
    each other; AUROC is left out for that reason. Secondary to `score_table`.

    Returns
    -------
    DataFrame
        model, seed, fold, metric, value, classes_present (names, separated by commas).
    """
    rows = []
    for model, part in _by_model(predictions):
        for (seed, fold), cell in part[part["part"] == "test"].groupby(["seed", "fold"]):
            sample = _sample(cell, level)
            values = sample.scores()
            present = ", ".join(name for name in sample.classes if name in set(sample.labels))
            rows.extend(
                (model, seed, fold, metric, values[metric], present)
                for metric in METRICS
                if metric != "auroc"
            )
    columns = ["model", "seed", "fold", "metric", "value", "classes_present"]
    return pd.DataFrame(rows, columns=columns)


def _paired(predictions, models, metric, level, repeats, seed) -> tuple[np.ndarray, np.ndarray]:
    """One metric of several models, (M,), and in the same resamples, (M, repeats)."""
    if metric not in METRICS:
        raise EvaluationError(f"metric: expected one of {', '.join(METRICS)}, found {metric!r}")
    parts = [_of_model(predictions, name) for name in models]
    tested = [
        part.loc[part["part"] == "test", ["seed", "patch", "label", "group"]]
        .sort_values(["seed", "patch"])
        .reset_index(drop=True)
        for part in parts
    ]
    for name, rows in zip(models, tested, strict=True):
        if not rows.equals(tested[0]):
            raise EvaluationError(
                f"predictions: expected {models[0]} and {name} tested on the same patches, found "
                f"{len(tested[0])} and {len(rows)} rows that differ; run both on the same folds"
            )
    samples = [_sample(part, level) for part in parts]
    values = [sample.scores()[metric] for sample in samples]
    return np.array(values), np.array([s.resampled(metric, repeats, seed) for s in samples])


def paired_difference(
    predictions: pd.DataFrame,
    a: str,
    b: str,
    *,
    metric: str = "balanced_accuracy",
    level: str = "patch",
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Difference a − b of two models in the same resampled groups.

    Both models are scored on each resample of groups before the difference is taken, so what
    makes an image easy or hard for both cancels. Claim C1 of the paper compares strategies so.

    Returns
    -------
    dict
        value, low, high: the difference and its 95 % interval.

    Raises
    ------
    EvaluationError
        A model or metric is not there, or the two were not tested on the same rows.
    """
    values, resampled = _paired(predictions, [a, b], metric, level, repeats, seed)
    low, high = interval(resampled[0] - resampled[1])
    return {"value": float(values[0] - values[1]), "low": low, "high": high}


def best_single_difference(
    predictions: pd.DataFrame,
    channels: Sequence[str],
    model: str = "intermediate",
    *,
    metric: str = "balanced_accuracy",
    level: str = "patch",
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Difference of a fusion model and the best single channel (claims C2 and C3).

    The best channel is chosen anew inside every resample: naming it on the same rows that score
    it is part of the estimate, and a fixed choice would make the interval too narrow. The best of
    several is flattered by chance, in a resample more than on all rows; the interval therefore
    leans towards the single channels.

    Returns
    -------
    dict
        value, low, high as in `paired_difference`; best, the best channel on all rows; chosen,
        channel → share of the resamples in which it was the best.

    Raises
    ------
    EvaluationError
        As `paired_difference`.
    """
    values, resampled = _paired(predictions, [model, *channels], metric, level, repeats, seed)
    singles = resampled[1:]
    low, high = interval(resampled[0] - singles.max(axis=0))
    chosen = np.bincount(singles.argmax(axis=0), minlength=len(channels)) / repeats
    return {
        "value": float(values[0] - values[1:].max()),
        "low": low,
        "high": high,
        "best": channels[int(values[1:].argmax())],
        "chosen": dict(zip(channels, chosen.tolist(), strict=True)),
    }


def confusion(predictions: pd.DataFrame, model: str, level: str = "patch") -> pd.DataFrame:
    """Count predicted classes (columns) per true class (rows), as in Figs 4 and 9."""
    sample = _sample(_of_model(predictions, model), level)
    matrix = sk.confusion_matrix(
        sample.codes, sample.probabilities.argmax(axis=1), labels=range(len(sample.classes))
    )
    true = pd.Index(sample.classes, name="true")
    return pd.DataFrame(matrix, index=true, columns=true.rename("predicted"))


def pr_curves(predictions: pd.DataFrame, model: str, level: str = "patch") -> pd.DataFrame:
    """Precision-recall curve of each class present against the rest, as in Figs 5 and 10.

    Returns
    -------
    DataFrame
        class, recall, precision, average_precision (of the class: Σ (Rₙ − Rₙ₋₁) Pₙ) and
        prevalence (share of the class, the precision of guessing); recall falls within a class.
    """
    sample = _sample(_of_model(predictions, model), level)
    frames = []
    for k, name in enumerate(sample.classes):
        positive, score = sample.codes == k, sample.probabilities[:, k]
        if not positive.any():
            continue
        precision, recall, _ = sk.precision_recall_curve(positive, score)
        frames.append(
            pd.DataFrame(
                {
                    "class": name,
                    "recall": recall,
                    "precision": precision,
                    "average_precision": sk.average_precision_score(positive, score),
                    "prevalence": positive.mean(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def paper_rows(channels: Sequence[str]) -> dict[str, str]:
    """Rows of the paper's Table 1 in its order: model → title, for channels of any name."""
    return {
        **{name: f"Single channel: {title(name)}" for name in channels},
        "early": title("early"),
        "intermediate": title("intermediate"),
        "late": title("late"),
        "otccp_single": "OTCCP: TPG of single organelles",
        "otccp_contacts": "OTCCP: TPG of contacts",
    }


def paper_table(
    table: pd.DataFrame, rows: Mapping[str, str], published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Format a score table as the paper's Tables 1 and 2.

    Parameters
    ----------
    table
        Result of `score_table`, or several of them concatenated.
    rows
        Model → title of its row, in order; see `paper_rows`. A model without scores reads
        "not yet computed".
    published
        model, metric, value of the article, as far as somebody has them: the copy we work from
        has lost the numbers. Without it there is no such column.

    Returns
    -------
    DataFrame
        Index "Model"; a column per metric with cells like "0.91 [0.85, 0.95]"; and "Published",
        the article's values in the order of the metrics.

    Raises
    ------
    EvaluationError
        None of `rows` has scores, or a model has a metric twice (several data sets at once).
    """
    if table.duplicated(["model", "metric"]).any():
        twice = table.loc[table.duplicated(["model", "metric"]), "model"].iloc[0]
        raise EvaluationError(
            f"score table: expected each metric once per model, found several for {twice!r}; "
            "format one data set at a time"
        )
    scored = table.set_index(["model", "metric"])
    if not set(rows) & set(table["model"]):
        raise EvaluationError(
            f"score table: expected models among {', '.join(rows)}, found "
            f"{', '.join(table['model'].unique())}; pass rows that name them"
        )
    known = {} if published is None else published.set_index(["model", "metric"])["value"].to_dict()
    lines = []
    for model, name in rows.items():
        line = {"Model": name}
        for metric in METRICS:
            line[METRIC_TITLES[metric]] = NOT_COMPUTED
            if (model, metric) in scored.index:
                value, low, high = scored.loc[(model, metric), ["value", "low", "high"]]
                line[METRIC_TITLES[metric]] = f"{value:.2f} [{low:.2f}, {high:.2f}]"
        values = [known.get((model, metric)) for metric in METRICS]
        texts = ["–" if value is None else f"{value:.2f}" for value in values]
        if published is not None:
            line["Published"] = " / ".join(texts) if any(v is not None for v in values) else ""
        lines.append(line)
    return pd.DataFrame(lines).set_index("Model")
