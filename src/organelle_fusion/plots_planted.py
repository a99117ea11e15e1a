"""Figures of planted truth. Frames in, a ``Figure`` out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from organelle_fusion.config import title
from organelle_fusion.style import INK, WIDTH, styled

_GREY = "#555555"


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
        axes.axvline(of_measure["reference"].iloc[0], color=_GREY, linestyle="--", linewidth=1)
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
        Line2D([], [], color=_GREY, marker="o", linestyle="", markersize=7, label="planted"),
        Line2D([], [], color=_GREY, linestyle="--", linewidth=1, label="tells nothing"),
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return figure
