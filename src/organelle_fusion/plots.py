"""Figures of scores: arrays and frames in, a matplotlib ``Figure`` out.

Those of images, networks, maps and the rest are drawn in the other modules named ``plots_…``.
"""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import PercentFormatter

from organelle_fusion.downloads import with_data
from organelle_fusion.style import (
    CHANCE,
    GREY,
    OKABE_ITO,
    SINGLE_COLOR,
    STRATEGY_COLORS,
    WIDTH,
    row_axis,
    styled,
)
from organelle_fusion.wording import METRIC_TITLES, heading, title


def _panels(number: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """Grid of equal panels, the unused ones hidden; axes as an object array (rows, columns)."""
    rows = -(-number // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH / 3 * max(2, columns), height * rows + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for axes in list(grid.flat)[number:]:
        axes.set_visible(False)
    return figure, grid


def _is_lowest(index: int, number: int, columns: int) -> bool:
    return index + columns >= number


@styled
def confusion_figure(matrices: Mapping[str, pd.DataFrame]) -> Figure:
    """Confusion matrices, one panel per model, as in Figs 4 and 9.

    Parameters
    ----------
    matrices
        Model → counts, true classes in rows, predicted ones in columns (`evaluation.confusion`).

    Returns
    -------
    Figure
        Colour: share of the row, one scale for all. In each cell the share in percent and the
        count below it. A panel's title ends with the mean of the shares on the diagonal over the
        classes present: the balanced accuracy.
    """
    names = [title(name) for name in next(iter(matrices.values())).columns]
    classes, number = len(names), len(matrices)
    columns = min(number, 3 if classes <= 6 else 2)
    rows = -(-number // columns)
    # Laid out by hand, in inches: with a long title or name an automatic layout shrinks the
    # cells, and the numbers no longer fit.
    margin = 0.35 + max(TextPath((0, 0), name, size=8).get_extents().width for name in names) / 72
    titles = [f"{heading(model)} (0.00)" for model in matrices]
    longest = max(TextPath((0, 0), text, size=8.5).get_extents().width for text in titles) / 72
    available = (WIDTH - margin - 0.1 * columns) / columns
    edge = min(available, max(0.5 * classes, longest + 0.1))
    width = max(margin + columns * (edge + 0.1) + 0.15, _CONFUSION_LEAST)
    floor = margin + 0.55
    height = floor + rows * (edge + 0.3)
    figure, cells = plt.figure(figsize=(width, height)), []
    for index, (model, counts) in enumerate(matrices.items()):
        row, column = divmod(index, columns)
        left, bottom = margin + column * (edge + 0.1), floor + (rows - 1 - row) * (edge + 0.3)
        axes = figure.add_axes((left / width, bottom / height, edge / width, edge / height))
        total = counts.sum(axis=1).to_numpy()[:, None]
        share = np.divide(counts.to_numpy(), total, out=np.zeros(counts.shape), where=total > 0)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        _write_cells(axes, counts.to_numpy(), share)
        true, predicted = np.repeat(counts.index, classes), np.tile(counts.columns, len(counts))
        cell = {"model": model, "true": true, "predicted": predicted}
        cells.append(pd.DataFrame({**cell, "count": np.ravel(counts), "share": np.ravel(share)}))
        recall = share.diagonal()[total[:, 0] > 0].mean()
        axes.set_title(f"{heading(model)} ({recall:.2f})", fontsize=8.5)
        axes.set_xticks(range(classes), names if _is_lowest(index, number, columns) else [])
        axes.set_yticks(range(classes), names if column == 0 else [])
        axes.tick_params(axis="x", labelrotation=90)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.text(0.0, (floor + rows * (edge + 0.3) / 2) / height, "true class", rotation=90,
                va="center")  # fmt: skip
    middle = (margin + columns * (edge + 0.1) / 2) / width
    figure.text(middle, 0.62 / height, "predicted class", ha="center", va="bottom")
    # Room for half of the last number.
    strip = figure.add_axes(
        (margin / width, 0.42 / height, 1 - (margin + 0.2) / width, 0.1 / height)
    )
    percent = PercentFormatter(1, decimals=0)
    bar = figure.colorbar(image, cax=strip, orientation="horizontal", format=percent)
    bar.set_label("share of the true class. Cells: percent, count. Brackets: balanced accuracy")
    bar.outline.set_visible(False)
    return with_data(figure, pd.concat(cells))


_CONFUSION_LEAST = 5.2
"""Width, inches, that the words under the colours need."""


def _write_cells(axes: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        value = share[row, column]
        axes.text(
            column, row, f"{100 * value:.0f}\n{count}" if count else "0",
            ha="center", va="center", fontsize=8, linespacing=1.05,
            color="white" if value > 0.55 else "#222222", alpha=1 if count else 0.5,
        )  # fmt: skip


@styled
def pr_figure(curves: Mapping[str, pd.DataFrame]) -> Figure:
    """Precision-recall curves of every class, one panel per model, as in Figs 5 and 10.

    Parameters
    ----------
    curves
        Model → class, recall, precision, average_precision, prevalence (`evaluation.pr_curves`).

    Returns
    -------
    Figure
        Curves as steps, since precision between two thresholds is not interpolated; the dashed
        line is the precision of guessing: the mean prevalence, or where classes are not about
        equally frequent a line for each, in its colour. Titles give the mean over the classes
        of the average precision.
    """
    columns = 2 if len(curves) == 4 else min(len(curves), 3)
    figure, grid = _panels(len(curves), columns, 2.2)
    for index, (axes, (model, frame)) in enumerate(zip(grid.flat, curves.items(), strict=False)):
        per_class = frame.groupby("class", sort=False)[["average_precision", "prevalence"]].first()
        chance = per_class["prevalence"].mean()
        for k, (name, curve) in enumerate(frame.groupby("class", sort=False)):
            axes.plot(
                curve["recall"], curve["precision"], color=OKABE_ITO[k % len(OKABE_ITO)],
                linestyle="-" if k < len(OKABE_ITO) else ":", drawstyle="steps-post",
                label=title(name), linewidth=1.3,
            )  # fmt: skip
        apart = np.ptp(per_class["prevalence"]) > _PREVALENCES_APART
        for k, prevalence in enumerate(per_class["prevalence"] if apart else [chance]):
            color = {"color": OKABE_ITO[k % len(OKABE_ITO)]} if apart else {}
            axes.axhline(prevalence, **CHANCE | color)
        if index == 0:
            place = per_class["prevalence"].min() if apart else chance
            words = "chance of each class" if apart else f"chance {chance:.2f}"
            axes.text(0.02, place - 0.02, words, fontsize=8, va="top", color=GREY)
        average = per_class["average_precision"].mean()
        axes.set_title(f"{heading(model)}\nmean AP {average:.2f}", fontsize=9)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if _is_lowest(index, len(curves), columns):
            axes.set_xlabel("recall")
        else:
            axes.set_xticklabels([])
        if index % columns == 0:
            axes.set_ylabel("precision")
        else:
            axes.set_yticklabels([])
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(2, columns))
    return with_data(
        figure, pd.concat(_thinned(frame).assign(model=name) for name, frame in curves.items())
    )


_PREVALENCES_APART = 0.02
"""Where they differ by more, one line of chance would be wrong for some class."""

_APART = 0.005
"""Points of a curve that lie in one square of this edge, one after the other, are one in the CSV:
a pooled curve has thousands."""


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """Leave out points of precision-recall curves that cannot be told from their predecessor."""
    places = curves["class"].to_frame()
    places[["x", "y"]] = np.floor(curves[["recall", "precision"]] / _APART)
    moved = (places != places.shift()).any(axis=1)
    last = curves["class"] != curves["class"].shift(-1)
    return curves[moved | last]


@styled
def score_figure(table: pd.DataFrame, chance: Mapping[str, float]) -> Figure:
    """Scores with their intervals, a row per model and a panel per metric.

    Parameters
    ----------
    table
        model, metric, value, low, high (`evaluation.score_table`).
    chance
        Metric → score of guessing (`evaluation.chance_levels`), the dashed lines.
    """
    models = list(table["model"].unique())
    metrics = [name for name in METRIC_TITLES if (table["metric"] == name).any()]
    figure, grid = plt.subplots(
        1, len(metrics), figsize=(WIDTH, 0.36 * len(models) + 0.95), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    lowest = min(0.0, float(table["low"].min()))
    for index, (axes, metric) in enumerate(zip(grid[0], metrics, strict=True)):
        rows = table[table["metric"] == metric].set_index("model")
        axes.axvline(chance[metric], **CHANCE)
        if index == 0:
            axes.annotate(
                "chance", (chance[metric], len(models) - 0.5), xytext=(3, 2), fontsize=8,
                textcoords="offset points", color=GREY,
            )  # fmt: skip
        for place, model in enumerate(models):
            row, color = rows.loc[model], STRATEGY_COLORS.get(model, SINGLE_COLOR)
            axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2.2)
            axes.plot(row["value"], place, "o", color=color, markersize=5.5)
            axes.annotate(
                f"{row['value']:.2f}", (row["value"], place), xytext=(0, 5), ha="center",
                textcoords="offset points", fontsize=8,
                path_effects=[patheffects.withStroke(linewidth=2, foreground="white")],
            )  # fmt: skip
        axes.set_title(METRIC_TITLES[metric])
        axes.set_xlim(lowest - 0.03, 1.03)
        axes.set_xticks([0, 0.5, 1])
        row_axis(axes, [heading(name) for name in models], above=0.7, below=0.55)
        axes.grid(axis="y", color="#EEEEEE")
        axes.set_axisbelow(True)
    figure.supxlabel("score, with 95 % interval over resampled groups", fontsize=9)
    return with_data(figure, table.assign(chance=table["metric"].map(chance)))


_GROUPING_MARKS = (("#0072B2", "o"), ("#009E73", "D"), ("#D55E00", "s"))


@styled
def grouping_figure(table: pd.DataFrame, chance: float) -> Figure:
    """One score of every model under several ways to make folds, a row per model.

    Parameters
    ----------
    table
        grouping (words, at most three), model, value, low, high.
    chance
        Score of guessing, the dashed line.
    """
    models, groupings = list(table["model"].unique()), list(table["grouping"].unique())
    figure, axes = plt.subplots(
        figsize=(WIDTH, 0.2 * len(groupings) * len(models) + 1.3), layout="constrained"
    )
    axes.axvline(chance, **CHANCE)
    axes.annotate(
        "chance", (chance, len(models) - 0.5), xytext=(3, 2), fontsize=8, color=GREY,
        textcoords="offset points",
    )  # fmt: skip
    for k, grouping in enumerate(groupings):
        color, marker = _GROUPING_MARKS[k]
        rows = table[table["grouping"] == grouping].set_index("model").loc[models]
        place = np.arange(len(models)) + 0.24 * (k - (len(groupings) - 1) / 2)
        spread = (rows["value"] - rows["low"], rows["high"] - rows["value"])
        axes.errorbar(
            rows["value"], place, xerr=spread, color=color, marker=marker, markersize=5,
            linestyle="none", elinewidth=2, label=grouping,
        )  # fmt: skip
        for x, y, value in zip(
            rows["high"].fillna(rows["value"]), place, rows["value"], strict=True
        ):
            axes.annotate(f"{value:.2f}", (x, y), xytext=(4, 0), textcoords="offset points",
                          fontsize=8, va="center", color=color)  # fmt: skip
    row_axis(axes, [heading(name) for name in models], above=0.55, below=0.55)
    axes.set_xlim(min(0.0, float(table["low"].min())), 1.06)
    axes.set_xlabel("balanced accuracy, with 95 % interval over resampled images")
    figure.legend(loc="outside upper center", ncols=len(groupings))
    return with_data(figure, table.assign(chance=chance))


_OUTCOME_MARKS = {
    "holds": ("#0072B2", "o", "as the claim has it"),
    "fails": ("#D55E00", "X", "against the claim"),
    "open": ("#777777", "s", "cannot tell"),
}


@styled
def scorecard_figure(findings: pd.DataFrame) -> Figure:
    """Every finding that decides, as its distance from the value it is compared with.

    Parameters
    ----------
    findings
        claim, measure, data, value, low, high, reference, sense (`scorecard.read_findings`) and
        outcome (`scorecard.outcome`); rows in the order to draw.

    Returns
    -------
    Figure
        To the right of 0 a finding speaks for its claim, to the left against it; a bar is the
        95 % interval, a mark without one an exact number.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 0.3 * len(findings) + 1.1), layout="constrained")
    axes.axvline(0, color=GREY, linewidth=1)
    drawn = set()
    for place, row in enumerate(findings.to_dict("records")):
        color, marker, words = _OUTCOME_MARKS[row["outcome"]]
        right = (
            row["value"] >= row["reference"] if row["sense"] == "apart" else row["sense"] == "above"
        )
        sign = 1 if right else -1
        value, *ends = (sign * (row[name] - row["reference"]) for name in ("value", "low", "high"))
        if np.isfinite(ends).all():
            axes.plot(ends, [place, place], color=color, linewidth=2)
        label = None if row["outcome"] in drawn else words
        axes.plot(value, place, marker, color=color, markersize=6, label=label, linestyle="none")
        drawn.add(row["outcome"])
    names = [f"{row.claim}  {row.measure} · {row.data}" for row in findings.itertuples()]
    row_axis(axes, [textwrap.fill(name, 64) for name in names], fontsize=8)
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.set_xlabel("distance from the value that decides, towards the claim")
    figure.legend(loc="outside upper center", ncols=3)
    return with_data(figure, findings)
