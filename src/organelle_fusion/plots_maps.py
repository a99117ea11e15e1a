"""Figures of maps over images: Grad-CAM. Arrays in, a matplotlib ``Figure`` out."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import PercentFormatter

from organelle_fusion.config import ORGANELLES
from organelle_fusion.plots_images import composite
from organelle_fusion.style import INK, WIDTH, in_lines, picture_axes, scale_bar, styled
from organelle_fusion.wording import title

HEAT = "inferno"
"""Perceptually uniform, readable to colour-blind people, and black where there is nothing."""
_OPACITY = 0.75
_HATCH = "#9a9a9a"
_DPI = 100
"""720 pixels wide, as wide as the text: noise under maps makes large files, and a page has two. The
SVG keeps every pixel of the planes."""


class ExplainedPlane(NamedTuple):
    """One plane and what a network looked at in it: a row of `gradcam_figure`."""

    label: str  # the true class
    predicted: str  # class predicted for the image
    planes: np.ndarray  # (C, H, W) of 0..1
    maps: np.ndarray  # (C, H, W), Grad-CAM of each organelle before ReLU
    pixel_size_um: float | None  # None: no scale bar
    sparse: np.ndarray | None = None  # (H, W) bool, hatched: squares that are never trained on


def relative_heat(maps: np.ndarray) -> np.ndarray:
    """Maps of one image and their sum as they are shown: after ReLU, in shares of the largest.

    Parameters
    ----------
    maps : (C, H, W) float
        Before ReLU.

    Returns
    -------
    (C + 1, H, W) float64
        Each map and last the fused one, of 0..1 on one scale; all 0 where nothing is positive.
    """
    maps = np.asarray(maps, dtype=np.float64)
    heat = np.maximum(np.concatenate([maps, maps.sum(axis=0, keepdims=True)]), 0)
    largest = heat.max()
    return heat / largest if largest > 0 else heat


@styled
def gradcam_figure(
    rows: Sequence[ExplainedPlane], *, channels: Sequence[str] = ORGANELLES
) -> Figure:
    """Grad-CAM of intermediate fusion, per organelle and fused, as in Fig 6.

    Parameters
    ----------
    rows
        One image each.
    channels
        Names of the C channels.

    Returns
    -------
    Figure
        A row per image: its channels together; each channel in grey under its map; the mean of
        the channels in grey under the fused map. The maps of a row share one scale, from 0 to the
        largest value in the row, and rows do not. Sparse squares are hatched.
    """
    columns = len(channels) + 2
    # Laid out in inches, so that pictures touch the same lines whatever the names are.
    left, gap, head, foot = 0.62, 0.05, 0.4, 0.62
    edge = (WIDTH - left - gap * (columns - 1)) / columns
    pictures = [edge * row.planes.shape[1] / row.planes.shape[2] for row in rows]
    # A row is as high as its label is long, beside flat pictures.
    heights = [
        max(tall, _length(_row_label(row))) for tall, row in zip(pictures, rows, strict=True)
    ]
    height = head + sum(heights) + gap * (len(rows) - 1) + foot
    figure = plt.figure(figsize=(WIDTH, height), dpi=_DPI)
    top = height - head
    for index, (row, tall, pitch) in enumerate(zip(rows, pictures, heights, strict=True)):
        bottom = top - (pitch + tall) / 2
        axes = [
            figure.add_axes(
                ((left + k * (edge + gap)) / WIDTH, bottom / height, edge / WIDTH, tall / height)
            )
            for k in range(columns)
        ]
        shown = _draw_row(axes, row)
        figure.text(
            0.02 / WIDTH, (bottom + tall / 2) / height, _row_label(row), rotation=90, fontsize=8,
            va="center", ha="left", linespacing=1.25, multialignment="center",
        )  # fmt: skip
        if index == 0:
            names = ["together", *map(title, channels), "fused"]
            colors = ["#222222", *INK[: len(channels)], "#222222"]
            for one, name, color in zip(axes, names, colors, strict=True):
                one.set_title(in_lines(name), loc="center", fontsize=8.5, color=color)
        top -= pitch + gap
    start, end = left + edge + gap, WIDTH - 0.2  # room for half of the last number
    place = (start / WIDTH, (foot - 0.2) / height, (end - start) / WIDTH, 0.1 / height)
    strip = figure.add_axes(place)
    strip.set_facecolor("black")  # the colours lie over black as they do over a dark plane
    bar = figure.colorbar(
        shown, cax=strip, orientation="horizontal", ticks=[0, 0.25, 0.5, 0.75, 1],
        format=PercentFormatter(1, decimals=0),
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.set_label("Grad-CAM after ReLU, relative to the largest value in the row")
    return figure


def _draw_row(axes: Sequence[Axes], row: ExplainedPlane):
    """Draw one image into its axes; return the last map drawn, for the colour bar."""
    axes[0].imshow(composite(row.planes))
    picture_axes(axes[0])
    scale_bar(axes[0], row.pixel_size_um, row.planes.shape[1:])
    grey = [*row.planes, row.planes.mean(axis=0)]
    for one, below, heat in zip(axes[1:], grey, relative_heat(row.maps), strict=True):
        one.imshow(below, cmap="gray", vmin=0, vmax=1)
        shown = one.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=_OPACITY)
        if row.sparse is not None and row.sparse.any():
            hatched = one.contourf(row.sparse, levels=[0.5, 1.5], colors="none", hatches=["////"])
            hatched.set(edgecolor=_HATCH, linewidth=0)
        picture_axes(one)
    return shown


def _length(label: str) -> float:
    """Length of the longest line of a row's label, and some room, inches."""
    lines = [TextPath((0, 0), line, size=8) for line in label.split("\n")]
    return max(line.get_extents().width for line in lines) / 72 + 0.12


def _row_label(row: ExplainedPlane) -> str:
    """The class, and below it what the network said; names in lines that fit beside a picture."""
    label, predicted = (textwrap.fill(title(name), 22) for name in (row.label, row.predicted))
    verdict = "correctly" if row.predicted == row.label else f"as\n{predicted}"
    return f"{label}\npredicted {verdict}"
