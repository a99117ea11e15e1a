"""Bootstrap over groups: the scores of `metrics` in thousands of resamples at once.

A resample draws whole groups (images, slides), so a group that is drawn w times counts w times.
Every score is a function of sums over groups, so the sums are taken once per group and a resample
is a product of its weights with them.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.metrics import (
    EvaluationError,
    class_codes,
    class_names,
    pooled,
    probability_columns,
    scores,
)

_SAME = 1e-12
"""Scores that differ by less are equal but for rounding."""


class GroupCounts(NamedTuple):
    """All that the scores of a resample need of each group."""

    stratum: np.ndarray  # (G,) groups of one number are exchanged for each other
    confusion: np.ndarray  # (G, K, K) truth by guess
    pairs: np.ndarray | None  # (K, G, G) won pairs of a positive and a negative row, by group


def count_groups(
    truth: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, *, auroc: bool
) -> GroupCounts:
    """Sum up what the scores need, group by group.

    Parameters
    ----------
    truth : (N,) int
        True class of each row, 0…K−1.
    probabilities : (N, K) float
        Predicted probabilities.
    groups : (N,)
        Group of each row.
    auroc
        Count pairs as well; they are needed for AUROC only.

    Raises
    ------
    EvaluationError
        A row has no group.
    """
    guess = probabilities.argmax(axis=1)
    group, names = _numbered(groups, "groups")
    n, k = len(names), probabilities.shape[1]
    confusion = np.zeros((n, k, k))
    np.add.at(confusion, (group, truth, guess), 1)
    stratum = group_strata(truth, groups)
    pairs = _won_pairs(probabilities, truth, group, n) if auroc else None
    return GroupCounts(stratum, confusion, pairs)


def group_strata(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Number of the class of each group, int (G,), in the order of the sorted groups and classes.

    Resampled groups are exchanged for others of their class. A group that holds several classes (a
    slide, a day) ties them together: no class can then be kept at its number of groups, and all
    groups have the number 0.

    Parameters
    ----------
    labels, groups : (N,)
        Class and group of each row.

    Raises
    ------
    EvaluationError
        A row has no class or no group.
    """
    label, classes = _numbered(labels, "labels")
    group, names = _numbered(groups, "groups")
    held = np.zeros((len(names), len(classes)), bool)
    held[group, label] = True
    pure = (held.sum(axis=1) == 1).all()
    return held.argmax(axis=1) if pure else np.zeros(len(names), dtype=int)


def _numbered(values: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Place of each value among the sorted ones, int (N,), and these; none may be missing."""
    numbers, names = pd.factorize(np.asarray(values), sort=True)
    # Of what is missing the number is -1, by which it would be taken for the last of the others.
    if (numbers < 0).any():
        raise EvaluationError(
            f"{what}: expected one for each row, found none in row {(numbers < 0).argmax()}; "
            "give each image a label and a group"
        )
    return numbers, names


def _won_pairs(probabilities: np.ndarray, truth: np.ndarray, group: np.ndarray, n: int):
    """Count, per class and pair of groups (g, h), how often a positive of g beats a negative of h.

    A tie counts one half. A resample that draws the groups w times has the area
    wᵀ A w / (positives · negatives), so that 2,000 resamples cost one matrix product.
    """
    pairs = np.zeros((probabilities.shape[1], n, n))
    for k in range(probabilities.shape[1]):
        positive = truth == k
        score, owner = probabilities[positive, k], group[positive]
        for h in np.unique(group[~positive]):
            rivals = np.sort(probabilities[~positive & (group == h), k])
            below = np.searchsorted(rivals, score, side="left")
            not_above = np.searchsorted(rivals, score, side="right")
            pairs[k, :, h] = np.bincount(owner, (below + not_above) / 2, minlength=n)
    return pairs


def draw_groups(stratum: np.ndarray, repeats: int, seed: int) -> np.ndarray:
    """How often each group is drawn, (repeats, G): with replacement within its stratum."""
    rng = np.random.default_rng(seed)
    weights = np.empty((repeats, len(stratum)))
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        weights[:, members] = rng.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=repeats
        )
    return weights


def weighted_scores(counts: GroupCounts, weights: np.ndarray, metric: str) -> np.ndarray:
    """One metric in every resample, (repeats,): the formulas of `scores` on weighted sums."""
    n, k, _ = counts.confusion.shape
    matrix = (weights @ counts.confusion.reshape(n, k * k)).reshape(-1, k, k)
    true, guessed, hits = matrix.sum(axis=2), matrix.sum(axis=1), matrix.diagonal(0, 1, 2)
    total = true.sum(axis=1)
    if metric == "mcc":
        top = hits.sum(axis=1) * total - (true * guessed).sum(axis=1)
        squares = (total**2 - (guessed**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
        return np.divide(top, np.sqrt(squares), out=np.zeros_like(top), where=squares > 0)
    if metric == "auroc":
        won = np.stack([_quadratic(weights, wins) for wins in counts.pairs], axis=1)
        possible = true * (total[:, None] - true)
        return _mean_where(won, possible, possible > 0)
    if metric == "balanced_accuracy":
        return _mean_where(hits, true, true > 0)
    return _mean_where(2 * hits, true + guessed, true > 0)


def _quadratic(weights: np.ndarray, wins: np.ndarray) -> np.ndarray:
    """Compute wᵀ A w for every row of weights, over the rows of A that hold anything."""
    held = wins.any(axis=1)
    return np.einsum("bg,bg->b", weights[:, held] @ wins[held], weights)


def _mean_where(top: np.ndarray, bottom: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Row means of top / bottom over the classes present; NaN in a row without any."""
    ratio = np.divide(top, bottom, out=np.zeros_like(top), where=present)
    number = present.sum(axis=1)
    return np.divide(ratio.sum(axis=1), number, out=np.full(len(top), np.nan), where=number > 0)


def mean_interval(
    values: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, repeats: int, seed: int
) -> tuple[float, float, float]:
    """Mean of numbers, with a 95 % interval that resamples whole groups within their class.

    Parameters
    ----------
    values : (N,) float
        One number per patch or image, finite.
    labels, groups : (N,)
        Its class and its group; a group of several classes ties all classes together.
    repeats, seed
        Number of resamples, and their seed.

    Returns
    -------
    tuple of float
        Mean, and the lower and upper end of the interval.

    Raises
    ------
    EvaluationError
        A row has no class or no group.
    """
    group, _ = _numbered(groups, "groups")
    weights = draw_groups(group_strata(labels, groups), repeats, seed)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    return float(np.mean(values)), *interval((weights @ sums) / (weights @ sizes))


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of resampled scores; both ends are NaN where nearly all are equal.

    Groups that are all alike, such as images that are all classified rightly, show no scatter to
    tell by what other groups would have given; an interval of no width would say that it is known.
    So would one whose ends fall on the same of a few values, as a difference of two nearly
    faultless models has.

    Only AUROC can be NaN, in a resample that caught a single class and so has no ROC curve; such
    a resample is left out.
    """
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (0.0, 0.0)
    if high - low < _SAME:
        return float("nan"), float("nan")
    return float(low), float(high)


def two_sided_p(differences: np.ndarray) -> float:
    """Two-sided p-value of a resampled difference, against the hypothesis that it is 0.

    Twice the share of resamples at or beyond 0, on the side where it is smaller, at most 1. The
    difference itself counts as one resample more on that side, so that p is never 0. It is below
    0.05 where the interval of `interval` leaves 0 out, up to that one resample. Where all
    differences are equal and none is 0, it is NaN, as the interval is.
    """
    found = differences[~np.isnan(differences)].round(12)  # what is equal up to rounding is equal
    if len(found) == 0 or (found[0] != 0 and np.ptp(found) < _SAME):
        return float("nan")
    fewer = min((found <= 0).sum(), (found >= 0).sum())
    return float(min(1, 2 * (fewer + 1) / (len(found) + 1)))


class Sample(NamedTuple):
    """The test rows of one model, as arrays."""

    classes: list[str]
    labels: np.ndarray
    codes: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray

    def scores(self) -> dict:
        """All scores on all rows."""
        return scores(self.labels, self.probabilities, self.classes)

    def resampled(self, metric: str, repeats: int, seed: int) -> np.ndarray:
        """One metric in every resample of groups, (repeats,)."""
        return self.with_resamples(metric, repeats, seed)[1:]

    def with_resamples(self, metric: str, repeats: int, seed: int) -> np.ndarray:
        """One metric on all rows, then in every resample of groups, (1 + repeats,)."""
        counts = count_groups(self.codes, self.probabilities, self.groups, auroc=metric == "auroc")
        drawn = draw_groups(counts.stratum, repeats, seed)
        return weighted_scores(counts, np.vstack([np.ones(drawn.shape[1]), drawn]), metric)


def sample_of(predictions: pd.DataFrame, level: str) -> Sample:
    """Pooled test rows of a predictions frame of one model, see `metrics.pooled`."""
    table = pooled(predictions, level)
    classes, columns = class_names(table), probability_columns(table)
    labels, probabilities = table["label"].to_numpy(), table[columns].to_numpy(dtype=float)
    codes = class_codes(labels, probabilities, classes)
    return Sample(classes, labels, codes, probabilities, table["group"].to_numpy())


def of_model(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of one model; an error names those that are there."""
    rows = predictions[predictions["model"] == name]
    if rows.empty:
        found = ", ".join(str(value) for value in predictions["model"].unique())
        raise EvaluationError(
            f"predictions: expected model {name!r}, found {found}; train it first"
        )
    return rows
