"""How every figure looks: one style, one set of colours, scale bars."""

import functools
from collections.abc import Callable, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH = 7.2
"""Width of a figure, inches: at 150 dpi one and a half times the book's text column of 720 px."""

GREY = "#555555"
"""Axes, lines that only guide the eye, and words beside the data."""

STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",  # pages in dark mode show the figure as a white card
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "text.parse_math": False,  # a dollar in the name of a class is a dollar
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "lines.linewidth": 1.5,
}

OKABE_ITO = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#000000", "#999999", "#8A6D00",
)  # fmt: skip
"""Colours of classes, distinguishable by colour-blind readers; the yellow, faint on white, is
left out for grey and brown."""

STRATEGY_COLORS = {
    "early": "#E69F00",
    "intermediate": "#0072B2",
    "late": "#CC79A7",
    "spatial": "#009E73",
}
SINGLE_COLOR = "#777777"
"""Models of one channel, against the coloured ones that join channels."""

CHANCE = {"color": GREY, "linestyle": "--", "linewidth": 1}
"""The line at the score of guessing."""

LIGHT = ("#FF00FF", "#00FF00", "#00FFFF", "#FFFF00")
"""Channels on black, in the order of the array: magenta, green, cyan, yellow."""

INK = ("#B000B0", "#1A7F1A", "#007C91", "#7A6A00")
"""The same channels on white, dark enough to read."""


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Let a function draw in `STYLE`, and keep its figure out of pyplot's hands.

    matplotlib makes some ticks only when it draws and styles them then, so the figure is laid out
    here, inside the style. Closed in pyplot, it appears once in a notebook: as the value of its
    cell, not a second time when the cell ends.
    """

    @functools.wraps(draw)
    def wrapper(*arguments, **options) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*arguments, **options)
            figure.draw_without_rendering()
            plt.close(figure)
        return figure

    return wrapper


def bar_length_um(width_um: float) -> float:
    """Longest of 1, 2, 5 × 10ⁿ µm that fits in a quarter of the picture."""
    limit = width_um / 4
    candidates = [base * 10.0**power for power in range(-3, 4) for base in (1, 2, 5)]
    return max((length for length in candidates if length <= limit), default=candidates[0])


def scale_bar(axes: Axes, pixel_size_um: float | None, shape: tuple[int, int]) -> None:
    """Draw a scale bar with its length in µm into the lower right of a picture.

    Parameters
    ----------
    axes
        Axes that show a picture, one unit per pixel.
    pixel_size_um
        Edge of a pixel, µm; nothing is drawn if it is not known.
    shape
        Height and width of the picture, pixels.
    """
    if pixel_size_um is None:
        return
    height, width = shape
    length_um = bar_length_um(width * pixel_size_um)
    length = length_um / pixel_size_um
    right, bottom = 0.95 * width, 0.95 * height
    axes.add_patch(
        Rectangle(
            (right - length, bottom - 0.02 * height), length, 0.02 * height,
            facecolor="white", edgecolor="black", linewidth=0.4,
        )
    )  # fmt: skip
    text = axes.text(
        right, bottom - 0.03 * height, f"{length_um:g} µm",
        ha="right", va="bottom", color="white", fontsize=8,
    )  # fmt: skip
    text.set_path_effects([patheffects.withStroke(linewidth=1.5, foreground="black")])


def in_lines(name: str) -> str:
    """Break a name at its first blank or hyphen, for narrow places."""
    for mark, broken in ((" ", "\n"), ("-", "-\n")):
        if mark in name:
            return name.replace(mark, broken, 1)
    return name


def row_axis(
    axes: Axes, names: Sequence[str], *, above: float = 0.6, below: float = 0.6, **text
) -> None:
    """Name the rows 0, 1, … of a plot from top to bottom, at an axis without line and ticks.

    Parameters
    ----------
    axes
        Axes in which a row is as high as one unit.
    names
        Of the rows.
    above, below
        Room over the first row and under the last, rows.
    text
        Properties of the names, such as ``fontsize``.
    """
    axes.set_yticks(range(len(names)), names, **text)
    axes.set_ylim(len(names) - 1 + below, -above)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def picture_axes(axes: Axes) -> None:
    """Take ticks and frame off axes that show a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
