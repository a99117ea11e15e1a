"""Figures of planted truth. Frames in, a ``Figure`` out."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from organelle_fusion.downloads import with_data
from organelle_fusion.style import GREY, INK, STRATEGY_COLORS, WIDTH, styled
from organelle_fusion.wording import title


@styled
def named_figure(table: pd.DataFrame) -> Figure:
    """Which organelle is named where one was planted: a panel per measure, a block per phantom.

    Parameters
    ----------
    table
        measure, planted (name of the organelle, or another word where none was), organelle, value,
        low, high, reference (what the measure gives an organelle that tells nothing).
    """
    measures, planted = (list(dict.fromkeys(table[name])) for name in ("measure", "planted"))
    organelles = list(dict.fromkeys(table["organelle"]))
    height = 0.2 * len(organelles) * len(planted) + 1.1
    figure, grid = plt.subplots(
        1, len(measures), figsize=(WIDTH, height), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, measure in zip(grid[0], measures, strict=True):
        of_measure = table[table["measure"] == measure]
        axes.axvline(of_measure["reference"].iloc[0], color=GREY, linestyle="--", linewidth=1)
        for row in of_measure.itertuples():
            number = organelles.index(row.organelle)
            place = planted.index(row.planted) + 0.25 * (number - (len(organelles) - 1) / 2)
            color = INK[number]
            axes.plot([row.low, row.high], [place, place], color=color, linewidth=1.6)
            filled = row.organelle == row.planted
            axes.plot(
                row.value, place, "o", color=color, markersize=7 if filled else 5,
                markerfacecolor=color if filled else "white",
            )  # fmt: skip
        for place in np.arange(len(planted) - 1) + 0.5:
            axes.axhline(place, color="#EEEEEE", linewidth=0.8)
        axes.set_yticks(range(len(planted)), [title(name).replace(" ", "\n") for name in planted])
        axes.set_ylim(len(planted) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(measure, fontsize=9)
    grid[0, 0].set_ylabel("planted")
    marks = [
        Line2D([], [], color=color, marker="o", markerfacecolor="white", label=title(name))
        for name, color in zip(organelles, INK, strict=False)
    ]
    marks += [
        Line2D([], [], color=GREY, marker="o", linestyle="", markersize=7, label="planted"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="tells nothing"),
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return with_data(figure, table)


@styled
def removal_figure(table: pd.DataFrame) -> Figure:
    """Deletion and insertion: score while places are taken, by a map and by lot, a panel each.

    Parameters
    ----------
    table
        method (its name as printed), kind (``deletion`` or ``insertion``), order (``map`` or
        ``lot``), share (of all places, 0..1), value, low, high.
    """
    methods, kinds = (list(dict.fromkeys(table[name])) for name in ("method", "kind"))
    figure, grid = plt.subplots(
        len(kinds), len(methods), figsize=(WIDTH, 1.9 * len(kinds) + 0.4), sharex=True,
        sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    ways = {"map": (STRATEGY_COLORS["intermediate"], "-"), "lot": (GREY, "--")}
    for (row, kind), (column, method) in product(enumerate(kinds), enumerate(methods)):
        axes = grid[row, column]
        panel = table[(table["kind"] == kind) & (table["method"] == method)]
        for order, (color, line) in ways.items():
            curve = panel[panel["order"] == order].sort_values("share")
            share = 100 * curve["share"]
            axes.fill_between(share, curve["low"], curve["high"], color=color, alpha=0.2, lw=0)
            axes.plot(share, curve["value"], line, color=color)
        if row == 0:
            axes.set_title(method)
        if column == 0:
            axes.set_ylabel(f"{kind}\nlogit of the true class")
        axes.set_xticks([0, 50, 100])
    figure.supxlabel("places taken away, or put back (% of all)", fontsize=9)
    marks = [
        Line2D([], [], color=color, linestyle=line, label=label)
        for (color, line), label in zip(
            ways.values(), ("highest places of the map first", "places by lot"), strict=True
        )
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=2)
    return with_data(figure, table)
