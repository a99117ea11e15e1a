"""Figure of a search for settings. A frame in, a matplotlib ``Figure`` out."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from organelle_fusion.config import TuningSettings
from organelle_fusion.downloads import with_data
from organelle_fusion.style import GREY, WIDTH, styled

COLOURS = "viridis_r"
"""Perceptually uniform and readable to colour-blind people; reversed, so that the best is dark."""

_TITLES = {
    "learning_rate": "learning rate\n(log)",
    "dropout": "dropout\n(share)",
    "dense_units": "dense layer\n(units)",
    "l2": "L2 factor\n(log)",
    "batch_size": "batch size\n(patches)",
    "epochs": "trained\n(epochs)",
    "val_accuracy": "validation\naccuracy",
}
# Of lines that meet at one value, in shares of the axis: between two, and over all.
_APART, _SPREAD = 0.014, 0.1


@styled
def tuning_figure(trials: pd.DataFrame, settings: TuningSettings) -> Figure:
    """Every trial of a search as a line across its settings, in parallel coordinates.

    Parameters
    ----------
    trials
        One row per trial: fold, trial, epochs, learning_rate, dropout, dense_units, l2,
        batch_size and val_accuracy.
    settings
        Values that were searched: the ends of the axes, or the choices on them.

    Returns
    -------
    Figure
        Colour is the validation accuracy, and the colour bar stands on its axis. Values to
        choose from are equally far apart, and lines that meet there lie side by side. The best
        trial of each fold is bold: of equal ones that of more epochs, then the earlier.
    """
    order = trials.sort_values(["val_accuracy", "epochs", "trial"], ascending=[True, True, False])
    accuracy = order["val_accuracy"].to_numpy()
    ends = (accuracy.min(), accuracy.max())
    if ends[0] == ends[1]:  # one colour needs a scale as well
        ends = (ends[0] - 0.05, ends[1] + 0.05)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained")
    heights = []
    for position, (name, title) in enumerate(_TITLES.items()):
        values = order[name].to_numpy()
        axes.text(position, 1.07, title, ha="center", va="bottom")
        if name == "val_accuracy":
            heights.append(_height(values, ends))
            continue
        if name in ("learning_rate", "dropout", "l2"):
            limits, log = getattr(settings, name), name != "dropout"
            heights.append(_height(values, limits, log))
            ticks = _log_ticks(*limits) if log else _ticks(*limits)
            marks = _height(np.array(ticks), limits, log)
            labels = [_power(tick) if log else f"{tick:g}" for tick in ticks]
        else:
            labels = getattr(settings, name, sorted(set(values)))
            inside = (_SPREAD / 2, 1 - _SPREAD / 2)
            marks = np.linspace(*inside, len(labels)) if len(labels) > 1 else np.array([0.5])
            heights.append(_side_by_side(np.searchsorted(labels, values), marks))
        _draw_axis(axes, position, marks, labels)
    scale = ScalarMappable(Normalize(*ends), COLOURS)
    best = ~order["fold"].duplicated(keep="last").to_numpy()
    for line, value, bold in zip(np.transpose(heights), accuracy, best, strict=True):
        axes.plot(line, color=scale.to_rgba(value), zorder=2)
        if bold:
            axes.plot(
                line, color=scale.to_rgba(value), linewidth=3.2, marker="o", markersize=6.5,
                markeredgecolor="white", zorder=4,
                path_effects=[patheffects.withStroke(linewidth=5.5, foreground="white")],
            )  # fmt: skip
    last = len(_TITLES) - 1
    strip = axes.inset_axes((last + 0.08, 0, 0.13, 1), transform=axes.transData)
    bar = figure.colorbar(scale, cax=strip)
    bar.outline.set_visible(False)
    axes.set(xlim=(-0.55, last + 0.55), ylim=(-0.05, 1.05))
    axes.axis("off")
    axes.legend(
        [Line2D([], [], color=scale.to_rgba(accuracy[-1]), linewidth=3.2, marker="o")],
        [_best_label(order[best])],
        loc="upper left",
        bbox_to_anchor=(0, 0),
    )
    return with_data(figure, trials)


def _best_label(best: pd.DataFrame) -> str:
    if len(best) == 1:
        return f"best: trial {best['trial'].iloc[0]}"
    return "best trial of each fold"


def _height(values: np.ndarray, ends: Sequence[float], log: bool = False) -> np.ndarray:
    """Place values between the two ends of an axis, which are 0 and 1."""
    low, high = np.log(ends) if log else ends
    return ((np.log(values) if log else values) - low) / (high - low)


def _side_by_side(choices: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Heights of lines at the marks they chose, those of one mark a little apart."""
    heights = marks[choices]
    for choice in np.unique(choices):
        members = np.flatnonzero(choices == choice)
        apart = min(_APART, _SPREAD / len(members))
        heights[members] += apart * (np.arange(len(members)) - (len(members) - 1) / 2)
    return heights


def _ticks(low: float, high: float) -> list[float]:
    found = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [tick for tick in np.round(found, 10).tolist() if low <= tick <= high]


def _log_ticks(low: float, high: float) -> list[float]:
    """1 and 3 times the powers of ten that lie between the ends."""
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found = [float(f"{base}e{power:.0f}") for power in powers for base in (1, 3)]
    return [tick for tick in found if low <= tick <= high]


def _power(value: float) -> str:
    """A number such as 0.003 as 3·10⁻³."""
    base, power = f"{value:.0e}".split("e")
    factor = "" if base == "1" else rf"{base}{{\cdot}}"
    return rf"${factor}10^{{{int(power)}}}$"


def _draw_axis(axes: Axes, position: int, marks: np.ndarray, labels: Sequence) -> None:
    axes.plot([position, position], [0, 1], color=GREY, linewidth=0.9, zorder=1)
    for mark, label in zip(marks, labels, strict=True):
        axes.plot([position - 0.05, position], [mark, mark], color=GREY, linewidth=0.9)
        axes.text(
            position - 0.09, mark, str(label), ha="right", va="center", fontsize=8, zorder=5,
            parse_math=True,  # powers of ten, and no names
            bbox={"facecolor": "white", "alpha": 0.85, "pad": 0.8, "linewidth": 0},
        )  # fmt: skip
