"""Prediction frames and the four scores of the paper (Classifier performance evaluation).

A *predictions* frame has one row per patch, model and fold, with the columns ``model``, ``fold``,
``seed``, ``patch``, ``image``, ``group``, ``label``, ``part`` and one ``p:<class>`` per class.
Only rows whose part is ``test`` are scored.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from organelle_fusion.config import UserError
from organelle_fusion.wording import METRIC_TITLES

METRICS = tuple(METRIC_TITLES)

PRIMARY_METRIC = "balanced_accuracy"
"""The score by which models, patch sizes and folds are compared and chosen."""

LEVELS = ("patch", "image")
"""Units that all predictions can be scored by; those that name cells can be by ``cell`` as well."""

_COLUMNS = ("model", "fold", "seed", "patch", "image", "group", "label", "part")


class EvaluationError(UserError):
    """Predictions that cannot be scored; the message is one line."""


def probability_columns(predictions: pd.DataFrame) -> list[str]:
    """Names of the columns ``p:<class>`` that hold values, in the order of the frame.

    A column that is empty throughout belongs to another data set of a concatenated frame.
    """
    return [
        name
        for name in predictions.columns
        if name.startswith("p:") and predictions[name].notna().any()
    ]


def class_names(predictions: pd.DataFrame) -> list[str]:
    """Names of the classes of `probability_columns`, in their order."""
    return [name.removeprefix("p:") for name in probability_columns(predictions)]


def scores(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> dict:
    r"""Compute the four scores of Tables 1 and 2 with scikit-learn.

    The predicted class is the one of highest probability. With :math:`C_{kl}` samples of class k
    predicted as l, rows :math:`t_k`, columns :math:`p_k`, sum s and trace c:

    * balanced accuracy: mean over classes of the recall :math:`C_{kk} / t_k`;
    * AUROC: mean over classes of the area under the ROC curve, one class against the rest;
    * MCC: :math:`cs - \sum_k t_k p_k` over the square root of
      :math:`(s^2 - \sum_k p_k^2)(s^2 - \sum_k t_k^2)`, Gorodkin's form for several classes, 0 where
      the root is 0;
    * macro F1: mean over classes of :math:`2 C_{kk} / (t_k + p_k)`.

    The means run over the classes *present* in `labels`: a class without a sample has no recall.

    Parameters
    ----------
    labels : (N,) str
        True classes.
    probabilities : (N, K) float
        One column per class, in the order of `classes`.
    classes
        The K class names.

    Returns
    -------
    dict
        Metric → float. AUROC is NaN if only one class is present.

    Raises
    ------
    EvaluationError
        No rows, a label that is not among `classes`, shapes that disagree, or NaN.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=float)
    truth = class_codes(labels, probabilities, classes)
    present = np.unique(truth)
    guess = probabilities.argmax(axis=1)
    auroc = float("nan")
    if len(present) > 1:
        auroc = float(np.mean([sk.roc_auc_score(truth == k, probabilities[:, k]) for k in present]))
    # One class in truth and guess: the root above is 0, and scikit-learn would warn of it.
    mcc = sk.matthews_corrcoef(truth, guess) if len(np.union1d(truth, guess)) > 1 else 0.0
    options = {"labels": present, "average": "macro", "zero_division": 0}
    return {
        "balanced_accuracy": float(sk.recall_score(truth, guess, **options)),
        "auroc": auroc,
        "mcc": float(mcc),
        "macro_f1": float(sk.f1_score(truth, guess, **options)),
    }


def class_codes(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> np.ndarray:
    """Number the labels by their place in `classes`, (N,) int; check them and the shapes."""
    if probabilities.shape != (len(labels), len(classes)) or len(labels) == 0:
        raise EvaluationError(
            f"probabilities: expected shape ({len(labels)}, {len(classes)}) with at least one row, "
            f"found {probabilities.shape}; pass one row per label and one column per class"
        )
    codes = pd.Index(classes).get_indexer(labels)
    if (codes < 0).any():
        raise EvaluationError(
            f"labels: expected classes among {', '.join(classes)}, found "
            f"{str(labels[codes < 0][0])!r}; score each data set by itself"
        )
    if np.isnan(probabilities).any():
        raise EvaluationError(
            "probabilities: expected numbers, found NaN in row "
            f"{np.isnan(probabilities).any(axis=1).argmax()}; compute the cell again"
        )
    return codes


def pooled(predictions: pd.DataFrame, level: str = "patch") -> pd.DataFrame:
    """Collect the test rows of one model over all folds.

    Parameters
    ----------
    predictions
        Predictions of one model on one data set.
    level
        ``patch``, or ``image``: the mean probability over the patches of an image, or ``cell``:
        over the rows of a cell, which the columns ``image`` and ``cell`` name together. Where folds
        were cut finer than these units (by patch, object or z-slab), the image is the group of a
        row.

    Returns
    -------
    DataFrame
        label, group, p:<class>…; one row per patch, image or cell and seed, sorted by seed and
        patch, or image and cell.

    Raises
    ------
    EvaluationError
        A column is missing, the rows are of several models, data sets or patch sizes, there is no
        test row, a patch was tested twice under one seed or has no label or group, or an image or
        cell has two labels.
    """
    test = _tested(predictions, level)
    columns = probability_columns(test)
    if level == "patch":
        return test[["label", "group", *columns]].reset_index(drop=True)
    unit = ["image", "cell"] if level == "cell" else ["image"]
    if test[unit].isna().any(axis=None):
        raise EvaluationError(
            f"predictions: expected a name in {' and '.join(unit)}, found an empty one; name each"
        )
    units = test.groupby(["seed", *unit], sort=True)
    labels = units["label"].nunique()
    if labels.max() > 1:
        raise EvaluationError(
            f"predictions: expected one label per {level}, found {labels.max()} in "
            f"{labels.idxmax()[-1]!r}; score at level 'patch'"
        )
    table = units[columns].mean()
    table.insert(0, "label", units["label"].first())
    whole = not test[[*unit, "group"]].drop_duplicates().duplicated(unit).any()
    image_names = table.index.get_level_values("image")
    table.insert(1, "group", units["group"].first() if whole else image_names)
    return table.reset_index(drop=True)


def _tested(predictions: pd.DataFrame, level: str) -> pd.DataFrame:
    """Test rows by seed and patch, once nothing stands against pooling them; see `pooled`."""
    if level not in (*LEVELS, "cell"):
        raise EvaluationError(f"level: expected one of {', '.join(LEVELS)}, cell, found {level!r}")
    needed = (*_COLUMNS, *(["cell"] if level == "cell" else []))
    missing = [name for name in needed if name not in predictions.columns]
    if missing:
        raise EvaluationError(
            f"predictions: expected the columns {', '.join(needed)}, found no "
            f"{', '.join(missing)}; read them with read_predictions, or add them"
        )
    for name in ("model", "dataset", "size_px"):
        if name in predictions.columns and len(predictions[name].unique()) > 1:
            found = ", ".join(str(value) for value in predictions[name].unique())
            raise EvaluationError(
                f"predictions: expected one {name}, found {found}; select one before scoring"
            )
    test = predictions[predictions["part"] == "test"].sort_values(["seed", "patch"])
    if test.empty:
        raise EvaluationError(
            "predictions: expected rows whose part is 'test', found none; run the cells first"
        )
    twice = test[test.duplicated(["seed", "patch"])]
    if len(twice):
        raise EvaluationError(
            "predictions: expected each patch in one test fold, found patch "
            f"{twice['patch'].iloc[0]} in several; check the folds, "
            "and give repeats seeds of their own"
        )
    for name in ("label", "group"):
        if (missing := test[name].isna()).any():
            row = test[missing].iloc[0]
            raise EvaluationError(
                f"predictions: expected a {name} for each patch, found none for patch "
                f"{row['patch']} of image {row['image']!r}; give each image a label and a group"
            )
    columns = probability_columns(test)
    bad = test[test[columns].isna().any(axis=1)]
    if len(bad):
        raise EvaluationError(
            f"predictions: expected probabilities, found NaN at patch {bad['patch'].iloc[0]} of "
            f"image {bad['image'].iloc[0]!r}; score each data set by itself, or run the cell again"
        )
    return test
