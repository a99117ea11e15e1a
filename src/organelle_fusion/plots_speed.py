"""Figures of measured and projected times. Frames in, a ``Figure`` out."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from organelle_fusion.downloads import with_data
from organelle_fusion.speed import compared, without_unit
from organelle_fusion.style import GREY, OKABE_ITO, WIDTH, styled

_FASTER, _SLOWER = OKABE_ITO[0], OKABE_ITO[1]
_MARKS = "osD^v"
_PLAIN = FuncFormatter(lambda value, _: f"{value:,.12g}")


@styled
def ratios_figure(side_by_side: pd.DataFrame) -> Figure:
    """Time of each peer as a multiple of ours, on a log axis; a block per task.

    Parameters
    ----------
    side_by_side
        `speed.COLUMNS`.

    Returns
    -------
    Figure
        Filled and right of the line where we are faster, hollow and left of it where the peer is.
    """
    peers = compared(side_by_side)
    block = (peers[["benchmark", "task"]] != peers[["benchmark", "task"]].shift()).any(axis=1)
    place = np.arange(len(peers)) + 0.6 * (block.cumsum().to_numpy() - 1)
    tasks = (
        peers.groupby(block.cumsum())["task"]
        .first()
        .map(lambda task: _wrapped(without_unit(task), 44))
    )
    # A block is at least as high as its label.
    figure, axes = plt.subplots(
        figsize=(WIDTH, 0.27 * len(peers) + 0.17 * len(tasks) + 0.9), layout="constrained"
    )
    axes.axvline(1, color=GREY, linewidth=1)
    for y, row in zip(place, peers.itertuples(), strict=True):
        faster = row.ratio > 1
        color = _FASTER if faster else _SLOWER
        axes.plot([1, row.ratio], [y, y], color=color, linewidth=1, alpha=0.5)
        axes.plot(
            row.ratio, y, "o", color=color, markersize=6,
            markerfacecolor=color if faster else "white",
        )  # fmt: skip
        axes.annotate(
            row.who, (row.ratio, y), (6 if faster else -6, 0), textcoords="offset points",
            ha="left" if faster else "right", va="center", fontsize=7.5,
        )  # fmt: skip
    middles = pd.Series(place).groupby(block.cumsum()).mean()
    axes.set_yticks(middles, tasks)
    axes.set_ylim(place[-1] + 0.7, -0.7)
    low, high = min(1, peers["ratio"].min()), max(1, peers["ratio"].max())
    # Room for the names beside the outermost dots.
    room = (high / low) ** 0.3 * 1.5
    axes.set_xscale("log")
    axes.set_xlim(low / (room if low < 1 else 1.3), high * (room if high > 1 else 1.3))
    _log_ticks(axes)
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("time of the peer / time of this package (no unit)")
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
    axes.set_axisbelow(True)
    marks = [
        Line2D([], [], color=_FASTER, marker="o", linestyle="", label="this package is faster"),
        Line2D(
            [], [], color=_SLOWER, marker="o", linestyle="", markerfacecolor="white",
            label="the peer is faster",
        ),
    ]  # fmt: skip
    figure.legend(handles=marks, loc="outside upper right", ncols=2)
    return with_data(figure, peers)


@styled
def hours_figure(projected: dict[str, pd.DataFrame]) -> Figure:
    """Hours by number of workers, both on log axes: a panel per encoder, a line per stage.

    Parameters
    ----------
    projected
        Title of a panel → frame of `scaling.projected_hours`.
    """
    figure, grid = plt.subplots(
        1, len(projected), figsize=(WIDTH, 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, frame) in zip(grid[0], projected.items(), strict=True):
        for number, (stage, rows) in enumerate(frame.groupby("stage", sort=False)):
            axes.plot(
                rows["workers"], rows["hours"], color=OKABE_ITO[number],
                marker=_MARKS[number % len(_MARKS)], markersize=4.5, label=stage.split(",")[0],
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        workers = sorted(frame["workers"].unique())
        axes.set_xticks(workers, [str(number) for number in workers])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(plt.NullLocator())
        axes.yaxis.set_major_formatter(_PLAIN)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
        axes.set_title(title)
        axes.set_xlabel("workers (number)")
    grid[0, 0].set_ylabel("time (hours)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return with_data(
        figure, pd.concat(frame.assign(encoder=title) for title, frame in projected.items())
    )


def _wrapped(task: str, width: int) -> str:
    return "\n".join(textwrap.wrap(task, width))


def _log_ticks(axes: Axes) -> None:
    """Ticks at 1, 2, 5 of a decade if there are few, at decades else, in plain numbers."""
    low, high = axes.get_xlim()
    few = high / low < 200
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axes.xaxis.set_major_formatter(_PLAIN)
    axes.xaxis.set_minor_formatter(NullFormatter())
