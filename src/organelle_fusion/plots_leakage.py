"""Figures of how a score depends on its folds and on who chose. Frames in, a ``Figure`` out."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from organelle_fusion.downloads import with_data
from organelle_fusion.style import CHANCE, GREY, OKABE_ITO, WIDTH, row_axis, styled

BLUE, RED, GREEN = OKABE_ITO[:3]

UNITS = {
    "whole": (BLUE, "o", "images whole"),
    "slab": (GREEN, "D", "images parted, with a gap"),
    "parted": (RED, "s", "images parted"),
}
"""Colour, mark and words for folds that keep images whole, part them in slabs, or part them."""

_HALO = [patheffects.withStroke(linewidth=2.5, foreground="white")]


@styled
def leakage_figure(table: pd.DataFrame, units: Mapping[str, str]) -> Figure:
    """Balanced accuracy by the way folds were made, a panel for every data set.

    Parameters
    ----------
    table
        data, grouping, value, low, high, chance (`leakage.leakage_table`).
    units
        Grouping → a key of `UNITS`.
    """
    sets = [(name, rows) for name, rows in table.groupby("data", sort=False)]
    heights = [len(rows) + 0.4 for _, rows in sets]
    inches = [0.24 * height for height in heights]
    figure, grid = plt.subplots(
        len(sets), 1, figsize=(WIDTH, sum(inches) + 0.34 * len(sets) + 0.9), sharex=True,
        height_ratios=heights, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, (name, rows) in zip(grid[:, 0], sets, strict=True):
        axes.axvline(rows["chance"].iloc[0], **CHANCE)
        for place, row in enumerate(rows.to_dict("records")):
            color, marker, _ = UNITS[units[row["grouping"]]]
            _mark(axes, row, place, color, marker)
        _rows(axes, list(rows["grouping"]))
        axes.set_title(name)
    grid[-1, 0].set_xlabel("balanced accuracy, with 95 % interval over resampled images")
    used = {units[name] for name in table["grouping"]}
    marks = [
        Line2D([], [], color=color, marker=marker, linewidth=2, label=words)
        for key, (color, marker, words) in UNITS.items()
        if key in used
    ]
    marks.append(Line2D([], [], label="chance", **CHANCE))
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return with_data(figure, table)


@styled
def choice_figure(table: pd.DataFrame, candidates: pd.DataFrame) -> Figure:
    """Scores of a choice made on the test data and of one that never saw them.

    Parameters
    ----------
    table
        question, how (``not nested`` or ``nested``), value, low, high, chance; two rows per
        question.
    candidates
        question, value: the test scores of all that were chosen among, drawn as ticks.
    """
    questions = list(table["question"].unique())
    figure, grid = plt.subplots(
        len(questions), 1, figsize=(WIDTH, 0.86 * len(questions) + 0.85), sharex=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    looks = {"not nested": (RED, "s", "chosen on test"), "nested": (BLUE, "o", "chosen nested")}
    for axes, question in zip(grid[:, 0], questions, strict=True):
        rows = table[table["question"] == question]
        axes.axvline(rows["chance"].iloc[0], **CHANCE)
        scores = candidates.loc[candidates["question"] == question, "value"]
        axes.plot(scores, [0] * len(scores), "|", color=GREY, markersize=9, markeredgewidth=1.3)
        for place, (how, (color, marker, _)) in enumerate(looks.items(), start=1):
            _mark(axes, rows[rows["how"] == how].iloc[0], place, color, marker)
        _rows(axes, ["all candidates", *(words for _, _, words in looks.values())])
        axes.set_title(question)
    grid[-1, 0].set_xlabel("balanced accuracy, with 95 % interval over resampled images")
    figure.legend(handles=[Line2D([], [], label="chance", **CHANCE)], loc="outside upper right")
    return with_data(figure, pd.concat([candidates.assign(how="candidate"), table]))


def _mark(axes: Axes, row: Mapping[str, float], place: int, color: str, marker: str) -> None:
    axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2.2)
    axes.plot(row["value"], place, marker, color=color, markersize=5.5)
    end = np.nanmax([row["value"], row["high"]])  # an interval of runs all alike has no ends
    axes.annotate(
        f"{row['value']:.2f}", (end, place), xytext=(5, 0), fontsize=8, va="center",
        textcoords="offset points", color=color, path_effects=_HALO,
    )  # fmt: skip


def _rows(axes: Axes, names: list[str]) -> None:
    row_axis(axes, names)
    axes.set_xlim(0, 1.09)
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)
