"""Scores of prediction files: intervals, comparisons, curves and the paper's tables.

The paper reports balanced accuracy, AUROC, Matthews correlation and macro F1 (Classifier
performance evaluation, Tables 1 and 2), confusion matrices (Figs 4, 9) and precision-recall
curves (Figs 5, 10). With 26 images in six classes some class has fewer images than there are
folds, so some test fold lacks a class whatever the split; the primary scores here are therefore
computed once, on the test rows of all folds together ("pooled out-of-fold"). What a predictions
frame is, `metrics` says.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from organelle_fusion.bootstrap import interval, of_model, sample_of
from organelle_fusion.config import FUSIONS
from organelle_fusion.metrics import METRICS, EvaluationError
from organelle_fusion.significance import interval_text, interval_texts
from organelle_fusion.wording import METRIC_TITLES, title

NOT_COMPUTED = "not computed"

PAPER_FUSIONS = ("early", "intermediate", "late")
"""The ways of the paper to join channels; the others of `config.FUSIONS` are ours."""


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


def _by_model(predictions: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    if "model" not in predictions:
        raise EvaluationError(
            "predictions: expected a column model, found none; name the model of each row"
        )
    for name in predictions["model"].unique():
        yield str(name), predictions[predictions["model"] == name]


def score_table(
    predictions: pd.DataFrame, *, level: str = "patch", repeats: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Score every model, with 95 % intervals: the numbers of Tables 1 and 2.

    The interval is a percentile bootstrap: whole groups are drawn with replacement within their
    class, so that patches of one image stay together. With four groups per class it is too
    narrow, and where all groups of each class are scored alike there is none (NaN). Where a group
    holds several classes, groups are drawn from all of them together, and a resample that lacks a
    class is scored on the classes it has.

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
        `repeats` is below 1; and as `pooled` and `scores`.
    """
    if repeats < 1:
        raise EvaluationError(f"repeats: expected 1 or more resamples, found {repeats}; give 2000")
    rows = []
    for model, part in _by_model(predictions):
        sample = sample_of(part, level)
        values = sample.scores()
        for metric in METRICS:
            low, high = interval(sample.resampled(metric, repeats, seed))
            rows.append((model, metric, values[metric], low, high))
    return pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high"])


def score_tables(predictions: pd.DataFrame, by: str, **options) -> pd.DataFrame:
    """Score each value of a column, such as ``size_px`` or ``dataset``, by itself.

    Parameters
    ----------
    predictions
        As `score_table`, of several patch sizes or data sets.
    by
        The column that tells them apart.
    options
        Of `score_table`.

    Returns
    -------
    DataFrame
        `by`, then the columns of `score_table`; values of `by` sorted.
    """
    frames = []
    for value, part in predictions.groupby(by, sort=True):
        table = score_table(part, **options)
        table.insert(0, by, value)
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def level_scores(
    results: Mapping[tuple[str, str], pd.DataFrame],
    levels: Mapping[str, str],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Balanced accuracy of rows one by one, and of the mean probabilities of cells and images.

    Parameters
    ----------
    results
        (panel, row of the panel) → predictions of one classifier, with the groups that are to be
        resampled.
    levels
        Level of `metrics.pooled` → what its rows are called.
    repeats, seed
        Of the bootstrap, which resamples groups within their class.

    Returns
    -------
    DataFrame
        panel, row, level (as called), trainings, value, low, high (95 % interval), chance (1/K).

    Raises
    ------
    EvaluationError
        As `metrics.pooled`.
    """
    rows = []
    for (panel, row), frame in results.items():
        for level, called in levels.items():
            scores = sample_of(frame, level).with_resamples("balanced_accuracy", repeats, seed)
            low, high = interval(scores[1:])
            labels = frame.loc[frame["part"] == "test", "label"]
            rows.append(
                {
                    "panel": panel,
                    "row": row,
                    "level": called,
                    "trainings": len(frame[["seed", "fold"]].drop_duplicates()),
                    "value": scores[0],
                    "low": low,
                    "high": high,
                    "chance": 1 / labels.nunique(),
                }
            )
    return pd.DataFrame(rows)


def printed_levels(table: pd.DataFrame) -> pd.DataFrame:
    """Format a table of `level_scores`, whose rows are subsets, as text: a column per level."""
    chances = [f"{chance:.2f}" for chance in table["chance"]]
    named = table.assign(text=interval_texts(table, ""), chance=chances)
    named = named.rename(columns={"panel": "protocol", "row": "subset"})
    kept = ["protocol", "subset", "trainings", "chance"]
    wide = named.pivot_table("text", kept, "level", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None).reset_index()


def fold_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """Score the patches of each fold by itself, naming the classes its test part holds.

    A fold that lacks a class is scored on the classes present, so folds are not comparable with
    each other; AUROC is left out for that reason. Secondary to `score_table`.

    Returns
    -------
    DataFrame
        model, seed, fold, metric, value, classes_present (names, separated by commas).

    Raises
    ------
    EvaluationError
        As `metrics.pooled`.
    """
    rows = []
    for model, part in _by_model(predictions):
        for (seed, fold), cell in part[part["part"] == "test"].groupby(["seed", "fold"]):
            sample = sample_of(cell, "patch")
            values = sample.scores()
            present = ", ".join(name for name in sample.classes if name in set(sample.labels))
            rows.extend(
                (model, seed, fold, metric, values[metric], present)
                for metric in METRICS
                if metric != "auroc"
            )
    columns = ["model", "seed", "fold", "metric", "value", "classes_present"]
    return pd.DataFrame(rows, columns=columns)


def confusion(predictions: pd.DataFrame, model: str, level: str = "patch") -> pd.DataFrame:
    """Count predicted classes (columns) per true class (rows), as in Figs 4 and 9."""
    sample = sample_of(of_model(predictions, model), level)
    matrix = sk.confusion_matrix(
        sample.codes, sample.probabilities.argmax(axis=1), labels=range(len(sample.classes))
    )
    true = pd.Index(sample.classes, name="true")
    return pd.DataFrame(matrix, index=true, columns=true.rename("predicted"))


def pr_curves(predictions: pd.DataFrame, model: str) -> pd.DataFrame:
    """Precision-recall curve by patch of each class present against the rest, as in Figs 5, 10.

    Returns
    -------
    DataFrame
        class, recall, precision, average_precision (of the class: Σ (Rₙ − Rₙ₋₁) Pₙ) and
        prevalence (share of the class, the precision of guessing); recall falls within a class.

    Raises
    ------
    EvaluationError
        The model is not there; and as `metrics.pooled`.
    """
    sample = sample_of(of_model(predictions, model), "patch")
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
    """Rows of the paper's Tables 1 and 2, and ours: model → title, for channels of any name."""
    return {
        **{name: f"Single channel: {title(name)}" for name in channels},
        **{name: title(name) for name in PAPER_FUSIONS},
        **{f"otccp_{name}": f"OTCCP: TPG of {title(name)}" for name in channels},
        "otccp_contacts": "OTCCP: TPG of contacts",
        **{name: f"{title(name)} (ours)" for name in FUSIONS if name not in PAPER_FUSIONS},
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
        "not computed".
    published
        model, metric, value of the article, as far as somebody has them (see
        `published.read_published`): the copy we work from has lost the numbers.

    Returns
    -------
    DataFrame
        Index "Model"; a column per metric with cells like "0.91 [0.85, 0.95]" and, in a second
        line of the cell where the article's value is known, "published 0.93".

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
            cell = NOT_COMPUTED
            if (model, metric) in scored.index:
                value, low, high = scored.loc[(model, metric), ["value", "low", "high"]]
                cell = interval_text(value, low, high, "")
            if (model, metric) in known:
                cell += f"\npublished {known[model, metric]:.2f}"
            line[METRIC_TITLES[metric]] = cell
        lines.append(line)
    return pd.DataFrame(lines).set_index("Model")
