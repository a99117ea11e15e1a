"""Figure of a predicted image: one plane, and where the network sees which class in it.

Arrays in, a matplotlib ``Figure`` out.
"""

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from organelle_fusion.plots_images import composite
from organelle_fusion.plots_maps import HEAT
from organelle_fusion.style import LIGHT, WIDTH, picture_axes, scale_bar, styled
from organelle_fusion.wording import title

COLUMNS = 4
SPARSE = "#bbbbbb"
"""Colour of places without a patch: none of the colours of the map."""


@styled
def prediction_figure(
    planes: np.ndarray,
    maps: np.ndarray,
    probabilities: Sequence[float],
    *,
    channels: Sequence[str],
    classes: Sequence[str],
    cell_px: int,
    pixel_size_um: float,
    z: int,
) -> Figure:
    """One plane of an image, and the map of every class over it on one scale.

    Parameters
    ----------
    planes : (C, H, W) float
        The plane, scaled to 0..1; the first four channels are shown.
    maps : (K, h, w) float
        Of `probability_maps.probability_map`, this plane; NaN is shown in grey.
    probabilities
        Of the whole image, one per class; the class of the largest is in bold.
    channels, classes
        Names of the C channels and K classes.
    cell_px
        Edge of a pixel of the maps, pixels of the plane.
    pixel_size_um
        Edge of a pixel of the plane, µm.
    z
        Number of the plane, from 0.
    """
    height, width = planes.shape[1:]
    columns = min(COLUMNS, len(classes) + 1)
    rows = -(-(len(classes) + 1) // columns)
    edge = WIDTH / columns
    tall = edge * height / width
    figure, grid = plt.subplots(
        rows, columns, squeeze=False, layout="constrained",
        figsize=(WIDTH, rows * (tall + 0.24) + 0.62),
    )  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.02)
    axes = grid.ravel()
    axes[0].imshow(composite(planes[: len(LIGHT)]))
    axes[0].set_title(f"plane z = {z}, from 0", loc="center", fontsize=8.5)
    scale_bar(axes[0], pixel_size_um, (height, width))
    for line, (name, light) in enumerate(zip(channels, LIGHT, strict=False)):
        axes[0].annotate(
            title(name), (0.03, 0.98), xycoords="axes fraction", xytext=(0, -9 * line),
            textcoords="offset points", ha="left", va="top", color=light, fontsize=6.5,
            parse_math=False,
            bbox={"facecolor": "black", "alpha": 0.6, "pad": 0.8, "linewidth": 0},
        )  # fmt: skip
    colors = mpl.colormaps[HEAT].with_extremes(bad=SPARSE)
    best = int(np.argmax(probabilities))
    for number, (one, heat, name) in enumerate(zip(axes[1:], maps, classes, strict=False)):
        # In pixels of the plane, over which the last pixels of the map may reach.
        extent = (-0.5, heat.shape[1] * cell_px - 0.5, heat.shape[0] * cell_px - 0.5, -0.5)
        shown = one.imshow(
            np.ma.masked_invalid(heat), cmap=colors, vmin=0, vmax=1, extent=extent,
            interpolation="nearest",
        )  # fmt: skip
        one.set_xlim(-0.5, width - 0.5)
        one.set_ylim(height - 0.5, -0.5)
        words = "\n".join(textwrap.wrap(title(name), 22, max_lines=2, placeholder="…"))
        one.set_title(
            f"{words}: {probabilities[number]:.0%}", loc="center", fontsize=8.5,
            fontweight="bold" if number == best else "normal", parse_math=False,
        )  # fmt: skip
    for one in axes:
        picture_axes(one)
    for one in axes[len(classes) + 1 :]:
        one.set_visible(False)
    bar = figure.colorbar(
        shown, ax=list(axes), location="bottom", shrink=0.5, aspect=35, pad=0.03,
        format=PercentFormatter(1, decimals=0), ticks=[0, 0.25, 0.5, 0.75, 1],
    )  # fmt: skip
    bar.outline.set_visible(False)
    bar.set_label("probability of the class in the patches over a place; grey: no patch kept")
    return figure
