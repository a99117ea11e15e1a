"""Whether predicted probabilities can be believed: of patches called with 80 %, 80 % are right.

Judged by the *confidence* of a prediction, the probability of the class that it names (top-label
calibration; Guo et al. 2017, On calibration of modern neural networks, section 2).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import count_groups, draw_groups, interval, of_model, sample_of
from organelle_fusion.significance import interval_texts
from organelle_fusion.wording import heading

BINS = 10
"""Equal steps of confidence from 0 to 1."""


def reliability(predictions: pd.DataFrame, model: str, bins: int = BINS) -> pd.DataFrame:
    """Accuracy of a model's predictions by their confidence, pooled out-of-fold, by patch.

    Parameters
    ----------
    predictions
        See `metrics`.
    model
        Name of the model.
    bins
        Number of equal bins of confidence. A bin holds its upper edge, as in
        ``sklearn.calibration.calibration_curve``, which gives these means and no counts.

    Returns
    -------
    DataFrame
        low, high (edges), count, confidence (mean), accuracy (share of right predictions); bins
        without predictions are left out.
    """
    count, confidence, right = _sums(predictions, model, bins)[0].sum(axis=0).T
    edges = np.linspace(0, 1, bins + 1)
    held = count > 0
    return pd.DataFrame(
        {
            "low": edges[:-1][held],
            "high": edges[1:][held],
            "count": count[held].astype(int),
            "confidence": confidence[held] / count[held],
            "accuracy": right[held] / count[held],
        }
    )


def expected_calibration_error(
    predictions: pd.DataFrame,
    model: str,
    *,
    bins: int = BINS,
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    r"""Mean distance of accuracy and confidence, and on which side of each other they lie.

    The expected calibration error is :math:`\sum_b n_b/N\,|a_b - c_b|` over the bins of
    `reliability`, with accuracy a, confidence c and count n of each (Guo et al. 2017, section 2).
    It cannot be negative: chance alone keeps it above 0. So that its sign is known, mean confidence
    minus accuracy is given besides.

    Parameters
    ----------
    predictions, model, bins
        As in `reliability`.
    repeats, seed
        Of the bootstrap, which resamples groups within their class.

    Returns
    -------
    dict
        ``value``, ``low``, ``high``: the error and its 95 % interval; ``excess``, ``excess_low``,
        ``excess_high``: mean confidence minus accuracy; ``verdict``: "over-confident" or
        "under-confident" if the interval of the excess lies on one side of 0, else "neither shown".
    """
    sums, stratum = _sums(predictions, model, bins)
    weights = np.vstack([np.ones(len(stratum)), draw_groups(stratum, repeats, seed)])
    count, confidence, right = np.moveaxis(np.tensordot(weights, sums, axes=1), 2, 0)
    total = count.sum(axis=1)
    error = np.abs(confidence - right).sum(axis=1) / total
    excess = (confidence - right).sum(axis=1) / total
    low, high = interval(error[1:])
    excess_low, excess_high = interval(excess[1:])
    verdict = "neither shown"
    if excess_low > 0 or excess_high < 0:
        verdict = "over-confident" if excess_low > 0 else "under-confident"
    return {
        "value": float(error[0]),
        "low": low,
        "high": high,
        "excess": float(excess[0]),
        "excess_low": excess_low,
        "excess_high": excess_high,
        "verdict": verdict,
    }


def calibration_table(
    predictions: pd.DataFrame, models: Sequence[str], **options: int
) -> pd.DataFrame:
    """`expected_calibration_error` of several models, one row each, after the column model."""
    return pd.DataFrame(
        [
            {"model": name, **expected_calibration_error(predictions, name, **options)}
            for name in models
        ]
    )


def calibration_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format a `calibration_table` for a page: Model, ECE, Confidence minus accuracy, Verdict."""
    excess = ["excess", "excess_low", "excess_high"]
    return pd.DataFrame(
        {
            "Model": table["model"].map(heading),
            "ECE": interval_texts(table, ""),
            "Confidence minus accuracy": interval_texts(table, columns=excess),
            "Verdict": table["verdict"],
        }
    )


def _sums(predictions: pd.DataFrame, model: str, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Count, sum of confidence and number right per group and bin, (G, bins, 3); strata, (G,)."""
    sample = sample_of(of_model(predictions, model), "patch")
    confidence = sample.probabilities.max(axis=1)
    right = sample.probabilities.argmax(axis=1) == sample.codes
    group = pd.factorize(sample.groups, sort=True)[0]  # the order of `count_groups`
    of_bin = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    counts = count_groups(sample.codes, sample.probabilities, sample.groups, auroc=False)
    sums = np.zeros((len(counts.stratum), bins, 3))
    values = np.column_stack([np.ones(len(group)), confidence, right])
    np.add.at(sums, (group, of_bin), values)
    return sums, counts.stratum
