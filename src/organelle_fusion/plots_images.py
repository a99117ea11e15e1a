"""Figures of images: stacks, the way from a plane to patches, thresholds, attrition.

Arrays and frames in, a matplotlib ``Figure`` out.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter, StrMethodFormatter

from organelle_fusion.config import ORGANELLES
from organelle_fusion.downloads import with_data
from organelle_fusion.style import (
    CHANCE,
    GREY,
    INK,
    LIGHT,
    WIDTH,
    in_lines,
    picture_axes,
    scale_bar,
    styled,
)
from organelle_fusion.wording import grey_level, title


def composite(planes: np.ndarray) -> np.ndarray:
    """Lay up to four channels over each other in magenta, green, cyan and yellow.

    Parameters
    ----------
    planes : (C, H, W) float or bool
        Channels of 0..1; what lies outside is clipped.

    Returns
    -------
    (H, W, 3) float64
        RGB of 0..1, colours added as light.

    Raises
    ------
    ValueError
        The array has not three axes, or not one to four channels.
    """
    planes = np.asarray(planes, dtype=float)
    if planes.ndim != 3 or not 1 <= len(planes) <= len(LIGHT):
        raise ValueError(
            f"composite: expected (C, H, W) with 1 to {len(LIGHT)} channels, found shape "
            f"{planes.shape}; select the channels to show"
        )
    colors = mpl.colors.to_rgba_array(LIGHT[: len(planes)])[:, :3]
    return np.clip(np.einsum("chw,cr->hwr", planes.clip(0, 1), colors), 0, 1)


def _show(axes: Axes, planes: np.ndarray) -> None:
    axes.imshow(composite(planes))
    picture_axes(axes)


@styled
def stack_overview(
    images: Mapping[str, np.ndarray],
    pixel_sizes_um: Mapping[str, float],
    *,
    channels: Sequence[str] = ORGANELLES,
) -> Figure:
    """One column per image, by label: all channels together, then each by itself.

    Parameters
    ----------
    images
        Label → (C, H, W) of 0..1, one plane or projection each, all drawn equally wide.
    pixel_sizes_um
        Label → edge of a pixel of that image, µm; an image without one has no scale bar.
    channels
        Names of the C channels.
    """
    rows, columns = 1 + len(channels), len(images)
    tall = max(planes.shape[1] / planes.shape[2] for planes in images.values())
    height = tall * (WIDTH - 0.5) / columns
    figure, grid = plt.subplots(
        rows, columns, figsize=(WIDTH, height * rows + 0.45), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    for column, (label, planes) in enumerate(images.items()):
        _show(grid[0, column], planes)
        scale_bar(grid[0, column], pixel_sizes_um.get(label), planes.shape[1:])
        grid[0, column].set_title(in_lines(label), loc="center", fontsize=8)
        for row, plane in enumerate(planes, start=1):
            grid[row, column].imshow(plane, cmap="gray", vmin=0, vmax=1)
            picture_axes(grid[row, column])
    grid[0, 0].set_ylabel("together", fontsize=8)
    for row, name in enumerate(channels, start=1):
        grid[row, 0].set_ylabel(in_lines(title(name)), fontsize=8, color=INK[row - 1])
    return figure


# Inches: three pictures in the upper row; below, one picture as high as two rows of patches.
_EDGE = (WIDTH - 0.2) / 3
_PATCH = (WIDTH - 0.33) / 5
_PIPELINE_HEIGHT = 0.25 + _EDGE + 0.1 + 0.25 + 2 * _PATCH + 0.06


def _inches(figure: Figure, left: float, bottom: float, edge: float) -> Axes:
    """Add square axes at a place given in inches."""
    width, height = figure.get_size_inches()
    return figure.add_axes((left / width, bottom / height, edge / width, edge / height))


@styled
def pipeline_figure(
    plane: np.ndarray,
    masks: np.ndarray,
    table: pd.DataFrame,
    patches: np.ndarray,
    *,
    channels: Sequence[str] = ORGANELLES,
    pixel_size_um: float | None,
) -> Figure:
    """From a plane to patches, as in Fig 1, worked on real arrays.

    Parameters
    ----------
    plane : (C, H, W) float
        One plane, channels of 0..1.
    masks : (C, H, W) bool
        Pixels above the Otsu threshold of their channel's whole stack.
    table
        The plane's rows of `patches.patch_table`: y, x, size_px, reason.
    patches : (N, h, w, C) uint8
        Patches as the networks get them; the first six are shown.
    channels
        Names of the C channels.
    pixel_size_um
        Edge of a pixel of `plane`, µm, or None: then no scale bars.
    """
    figure = plt.figure(figsize=(WIDTH, _PIPELINE_HEIGHT))
    upper, lower = _PIPELINE_HEIGHT - 0.25 - _EDGE, 0.0
    a, b, c = (_inches(figure, k * (_EDGE + 0.1), upper, _EDGE) for k in range(3))
    d = _inches(figure, 0, lower, 2 * _PATCH + 0.06)
    small = [
        _inches(
            figure,
            WIDTH - 3 * _PATCH - 0.12 + column * (_PATCH + 0.06),
            lower + row * (_PATCH + 0.06),
            _PATCH,
        )
        for row in (1, 0)
        for column in range(3)
    ]
    size = int(table["size_px"].iloc[0])
    length = f"{size} px" if pixel_size_um is None else f"{size * pixel_size_um:.1f} µm"
    sparse = int((table["reason"] == "sparse").sum())

    for axes, shown in ((a, plane), (b, plane), (c, masks), (d, plane)):
        _show(axes, shown)
    a.set_title("(a) One plane of the stack")
    scale_bar(a, pixel_size_um, plane.shape[1:])
    for row, (name, color) in enumerate(zip(channels, LIGHT, strict=False)):
        a.text(
            0.03, 0.97 - 0.085 * row, title(name), transform=a.transAxes, va="top", fontsize=8,
            color=color, bbox={"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0},
        )  # fmt: skip
    b.set_title(f"(b) Cut into squares of {length}")
    c.set_title("(c) Brighter than Otsu's threshold")
    d.set_title(f"(d) {sparse} of {len(table)} too sparse: {sparse / len(table):.0%} dropped")
    for row in table.itertuples():
        corner = (row.x - 0.5, row.y - 0.5)
        b.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="white", linewidth=1))
        if row.reason == "sparse":
            shade = {"facecolor": "#BBBBBB", "alpha": 0.75, "hatch": "///", "edgecolor": "#777777"}
            d.add_patch(Rectangle(corner, size, size, linewidth=0, **shade))
        d.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="white", linewidth=1))

    small[0].set_title("(e) Patches as the networks get them")
    for axes, patch in zip(small, patches, strict=False):
        _show(axes, np.moveaxis(patch, -1, 0) / 255)
    for axes in small[len(patches) :]:
        axes.set_visible(False)
    return figure


@styled
def otsu_figure(
    histograms: Mapping[str, tuple[np.ndarray, np.ndarray]], thresholds: Mapping[str, float]
) -> Figure:
    """Histogram of every channel of a stack with its Otsu threshold.

    Parameters
    ----------
    histograms
        Channel → (edges (B + 1,), counts (B,)) of the voxel intensities of the whole stack.
    thresholds
        Channel → threshold; voxels above it are foreground.
    """
    figure, grid = plt.subplots(
        1, len(histograms), figsize=(WIDTH, 2.4), sharey=True, squeeze=False, layout="constrained"
    )
    for k, (name, (edges, counts)) in enumerate(histograms.items()):
        axes, color = grid[0, k], INK[k % len(INK)]
        threshold = thresholds[name]
        centre = (edges[:-1] + edges[1:]) / 2
        bright = centre > threshold
        share = counts[bright].sum() / counts.sum()
        axes.stairs(counts, edges, fill=True, color="#CCCCCC")
        axes.stairs(np.where(bright, counts, 0), edges, fill=True, color=color, alpha=0.8)
        axes.axvline(threshold, color="#222222", linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(bottom=0.5)
        axes.set_title(title(name), color=color)
        axes.annotate(
            f"threshold {grey_level(threshold)}\n{share:.1%} above", (1, 1),
            xycoords="axes fraction", ha="right", va="top", fontsize=8,
        )  # fmt: skip
        axes.set_xlabel("intensity (grey levels)")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    grid[0, 0].set_ylabel("voxels per bin")
    bars = [
        pd.DataFrame({"channel": name, "from": edges[:-1], "to": edges[1:], "voxels": counts})
        for name, (edges, counts) in histograms.items()
    ]
    table = pd.concat(bars)
    return with_data(figure, table.assign(threshold=table["channel"].map(thresholds)))


@styled
def attrition_figure(table: pd.DataFrame) -> Figure:
    """Patches cut and kept per patch size, and the share that is lost, as in Fig 7.

    Parameters
    ----------
    table
        Of `preprocessing.patch_yield`.
    """
    table = table.sort_values("size_px")
    place = np.arange(len(table))
    figure, (counts, rate) = plt.subplots(
        2, 1, figsize=(WIDTH, 4.2), height_ratios=(3, 2), sharex=True, layout="constrained"
    )
    counts.bar(place, table["extracted"], width=0.75, color="#D0D0D0")
    counts.bar(place, table["kept"], width=0.75, color="#0072B2")
    top = table["extracted"].max()
    for x, row in zip(place, table.itertuples(), strict=True):
        counts.text(x, row.extracted + 0.015 * top, f"{row.extracted:,}", ha="center", fontsize=8)
        inside = row.kept > 0.1 * top
        counts.text(
            x, row.kept - 0.02 * top if inside else 0.01 * top, f"{row.kept:,}", ha="center",
            va="top" if inside else "bottom", fontsize=8, color="white",
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="#0072B2")],
        )  # fmt: skip
    counts.set_ylabel("patches")
    counts.set_ylim(0, 1.1 * top)
    counts.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    counts.set_title("Patches cut from the images (grey) and kept by the sparsity filter (blue)")
    rate.plot(place, table["attrition"], "o-", color="#D55E00")
    for x, value in zip(place, table["attrition"], strict=True):
        rate.annotate(
            f"{value:.0%}", (x, value), xytext=(0, 5), textcoords="offset points", ha="center",
            fontsize=8,
        )  # fmt: skip
    rate.set_ylim(0, 1.3 * max(float(table["attrition"].max()), 0.05))
    rate.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    rate.set_ylabel("attrition")
    rate.set_title("Share of the patches that is dropped")
    rate.set_xticks(
        place, [f"{r.size_px:g} px\n{r.size_um:.1f} µm" for r in table.itertuples()], fontsize=8
    )
    rate.set_xlabel("edge of a patch: the paper's pixels, and µm")
    return with_data(figure, table)


_HALF_VIEW = 0.57  # of the edge of the largest patch, about which there is some room

_SIZE_MARKS = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", ":"),
    ("#CC79A7", "D", "-."),
    ("#E69F00", "v", ":"),
)


@styled
def patch_size_figure(
    scores: pd.DataFrame,
    chance: float,
    *,
    plane: np.ndarray,
    outline: np.ndarray | None,
    pixel_size_um: float,
) -> Figure:
    """Score against patch size, as in Fig 8, over one cell and its patch, drawn to one scale.

    Parameters
    ----------
    scores
        images (name of a set of images, one curve each, at most five), size_px (the paper's
        pixels), size_um, value, low, high.
    chance
        Score of guessing, the dashed line.
    plane : (C, H, W) float
        One plane, channels of 0..1.
    outline : (H, W) bool or None
        The pixels of the cell to show; None: the middle of the plane is shown, without outline.
    pixel_size_um
        Edge of a pixel of `plane`, µm.
    """
    sizes = scores.drop_duplicates("size_px").sort_values("size_px")
    n = len(sizes)
    left, edge, curve = 0.62, (WIDTH - 0.62) / n, 2.5
    height = 0.55 + curve + 0.5 + edge + 0.3
    figure = plt.figure(figsize=(WIDTH, height))
    box = (left / WIDTH, (height - 0.55 - curve) / height, 1 - left / WIDTH, curve / height)
    axes = figure.add_axes(box)
    place = dict(zip(sizes["size_px"], range(n), strict=True))
    curves = list(scores.groupby("images", sort=False))
    for k, (name, rows) in enumerate(curves):
        color, marker, line = _SIZE_MARKS[k]
        x = rows["size_px"].map(place) + 0.12 * (k - (len(curves) - 1) / 2)
        spread = (rows["value"] - rows["low"], rows["high"] - rows["value"])
        axes.errorbar(
            x, rows["value"], yerr=spread, color=color, marker=marker, linestyle=line,
            markersize=5, elinewidth=1.6, label=name,
        )  # fmt: skip
    axes.axhline(chance, **CHANCE)
    axes.text(n - 0.52, chance + 0.01, f"chance {chance:.2f}", fontsize=8, ha="right",
              va="bottom", color=GREY)  # fmt: skip
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(n), [f"{size:g}" for size in sizes["size_px"]])
    axes.set_xlabel("edge of a patch (the paper's pixels)")
    axes.set_ylabel("balanced accuracy")
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.2))
    top = axes.secondary_xaxis("top")
    top.set_xticks(range(n), [f"{size:.1f}" for size in sizes["size_um"]])
    top.set_xlabel("edge of a patch (µm)")
    cell, outline = cell_view(plane, outline, sizes["size_um"].max(), pixel_size_um)
    for k, size_um in enumerate(sizes["size_um"]):
        small = _inches(figure, left + k * edge + 0.03, 0.3, edge - 0.06)
        _draw_patch(small, cell, outline, size_um / pixel_size_um)
        if k == 0:
            scale_bar(small, pixel_size_um, cell.shape[1:])
    place = "place (middle of the plane)" if outline is None else "cell"
    words = f"the same {place} and the patch of each size, to one scale"
    figure.text(
        (left + (WIDTH - left) / 2) / WIDTH, 0.04 / height,
        words if outline is None else f"{words}; dotted: outline of the cell",
        ha="center", va="bottom", fontsize=9,
    )  # fmt: skip
    return with_data(figure, scores.assign(chance=chance))


def cell_view(
    plane: np.ndarray, outline: np.ndarray | None, size_um: float, pixel_size_um: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cut plane and outline of `patch_size_figure` to a square about the cell.

    A patch of `size_um`, the largest, has some room in it. Without an outline, which then stays
    None, the square lies about the middle of the plane.
    """
    half = int(np.ceil(_HALF_VIEW * size_um / pixel_size_um))
    if outline is None:
        return _square_view(plane, (np.array(plane.shape[1:]) - 1) / 2, half), None
    centre = np.argwhere(outline).mean(axis=0)
    return _square_view(plane, centre, half), _square_view(outline, centre, half)


def _square_view(array: np.ndarray, centre: np.ndarray, half: int) -> np.ndarray:
    """Cut (…, 2 half + 1, 2 half + 1) about a centre; beyond the border it is dark."""
    margin = [(0, 0)] * (array.ndim - 2) + [(half, half)] * 2
    y, x = np.rint(centre).astype(int)
    return np.pad(array, margin)[..., y : y + 2 * half + 1, x : x + 2 * half + 1]


def _draw_patch(axes: Axes, cell: np.ndarray, outline: np.ndarray | None, size: float) -> None:
    """Show the cell, dimmed outside the central patch of `size` pixels."""
    middle = (np.array(cell.shape[1:]) - 1) / 2
    corner = middle - size / 2
    rows, columns = np.indices(cell.shape[1:])
    inside = (np.abs(rows - middle[0]) <= size / 2) & (np.abs(columns - middle[1]) <= size / 2)
    axes.imshow(composite(cell) * np.where(inside, 1.0, 0.35)[:, :, None])
    axes.add_patch(Rectangle(corner[::-1], size, size, fill=False, edgecolor="white", linewidth=1))
    if outline is not None:
        axes.contour(outline, [0.5], colors="#FFFF00", linewidths=0.9, linestyles="dotted")
    picture_axes(axes)
