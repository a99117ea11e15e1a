"""Widgets of scores: confusion matrices and precision-recall curves, one model at a time.

Predictions in, a widget out, see `widgets`. The numbers are those of `evaluation`; the scripts
choose and divide, and compute nothing else.
"""

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import of_model, sample_of
from organelle_fusion.evaluation import confusion, pr_curves
from organelle_fusion.widgets import widget
from organelle_fusion.wording import heading, title

if TYPE_CHECKING:
    from IPython.display import HTML

LEVELS = {"patch": "patches", "image": "images"}
"""What is counted: level of `metrics.pooled` → its name in the plural."""
MOST_POINTS = 120
"""Points of an embedded curve; of a longer one they are spread evenly over the recall."""
PERCENT = np.arange(101) / 100
"""Thresholds to read a curve at."""


def confusion_widget(
    predictions: Mapping[str, pd.DataFrame], models: Sequence[str], *, name: str, data: str
) -> "HTML":
    """Choose a model, and see its confusion matrix in counts or shares, by patch or by image.

    Parameters
    ----------
    predictions
        Name of the way the folds were made → predictions, as `evaluation.confusion` takes them.
    models
        Names of the models to choose among.
    name
        Id on the page, without spaces.
    data
        See `pages.Run.data`.
    """
    start = first_shown(models)
    first = confusion(next(iter(predictions.values())), models[start])
    return widget(
        "confusion",
        name,
        title="Confusion, one model at a time",
        text=f"Rows are the true class, columns the predicted one; {folds_text(predictions)}, "
        "pooled out-of-fold. An image's class is that of the mean probability of its patches.",
        use="Choose the model, what is counted, and whether to see counts or shares of the row.",
        note=f"A still: {title(models[start])}, patches counted.",
        data=data,
        still=_matrix_table(first),
        facts={
            "classes": [title(str(label)) for label in first.columns],
            "folds": list(predictions),
            "models": model_names(models),
            "start": start,
            "levels": list(LEVELS.values()),
            "counts": [
                [
                    [confusion(frame, model, level).to_numpy().tolist() for model in models]
                    for level in LEVELS
                ]
                for frame in predictions.values()
            ],
        },
    )


def first_shown(models: Sequence[str]) -> int:
    """Place of the model to begin with: intermediate fusion, if it is there."""
    models = list(models)
    return models.index("intermediate") if "intermediate" in models else 0


def model_names(models: Sequence[str]) -> list[str]:
    """Names of models as they begin a line."""
    return [heading(name) for name in models]


def folds_text(predictions: Mapping[str, Any]) -> str:
    """The ways the folds were made, in words."""
    return " or ".join(predictions)


def _matrix_table(matrix: pd.DataFrame) -> str:
    names = [html.escape(title(str(label))) for label in matrix.columns]
    head = "".join(f'<th scope="col">{label}</th>' for label in names)
    rows = "".join(
        f'<tr><th scope="row">{label}</th>{"".join(f"<td>{count}</td>" for count in counts)}</tr>'
        for label, counts in zip(names, matrix.to_numpy(), strict=True)
    )
    return (
        '<div class="widget-scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        "<table><thead><tr>"
        f'<th scope="col">true class</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def pr_widget(
    predictions: Mapping[str, pd.DataFrame], models: Sequence[str], *, name: str, data: str
) -> "HTML":
    """Choose a model and a class, and read its precision-recall curve off at a threshold.

    Parameters
    ----------
    predictions, models, name, data
        As in `confusion_widget`.
    """
    start = first_shown(models)
    curves = [[model_curves(frame, model) for model in models] for frame in predictions.values()]
    lines = "".join(
        f"<li>{html.escape(curve['name'])}: {curve['average']:.2f}</li>"
        for curve in curves[0][start]
    )
    return widget(
        "curves",
        name,
        title="Precision and recall at a threshold",
        text="A patch is called of a class where the probability of that class reaches the "
        "threshold. Precision: share of the called patches that are of the class; recall: share of "
        f"the patches of the class that are called; {folds_text(predictions)}, pooled out-of-fold.",
        use="Choose a model and a class, and move the threshold with the mouse or the arrow keys.",
        note="Average precision of each class, as in the figure above.",
        data=data,
        still=f"<p>{html.escape(model_names(models)[start])}:</p><ul>{lines}</ul>",
        facts={
            "folds": list(predictions),
            "models": model_names(models),
            "start": start,
            "curves": curves,
        },
    )


def model_curves(predictions: pd.DataFrame, model: str) -> list[dict[str, Any]]:
    """Curve of each class present, and its counts at each threshold of `PERCENT`.

    Returns
    -------
    list of dict
        ``name``; ``positives`` and ``total`` (patches of the class, and all); ``average``, the
        average precision; ``curve``, two lists of recall (rising) and precision; ``called`` and
        ``right``, for each threshold how many patches reach it, and how many of these are of the
        class.
    """
    sample = sample_of(of_model(predictions, model), "patch")
    found = []
    for label, curve in pr_curves(predictions, model).groupby("class", sort=False):
        k = sample.classes.index(label)
        positive, score = sample.codes == k, sample.probabilities[:, k]
        found.append(
            {
                "name": title(str(label)),
                "positives": int(positive.sum()),
                "total": len(positive),
                "average": round(float(curve["average_precision"].iloc[0]), 4),
                "curve": thinned(curve["recall"].to_numpy(), curve["precision"].to_numpy()),
                "called": counts_from(score),
                "right": counts_from(score[positive]),
            }
        )
    return found


def counts_from(score: np.ndarray) -> list[int]:
    """How many scores reach each threshold of `PERCENT`."""
    return (len(score) - np.searchsorted(np.sort(score), PERCENT, side="left")).tolist()


def thinned(recall: np.ndarray, precision: np.ndarray) -> list[list[float]]:
    """A curve by its best precision at each recall, of which at most `MOST_POINTS` remain."""
    best = pd.Series(precision).groupby(recall).max()  # sorted by recall
    kept = best.iloc[np.unique(np.linspace(0, len(best) - 1, MOST_POINTS).round().astype(int))]
    return [kept.index.to_numpy().round(4).tolist(), kept.to_numpy().round(4).tolist()]
