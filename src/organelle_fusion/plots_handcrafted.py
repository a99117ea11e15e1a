"""Figures of the handcrafted baseline. Frames in, a ``Figure`` out."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from organelle_fusion.downloads import with_data
from organelle_fusion.plots_images import composite
from organelle_fusion.style import (
    CHANCE,
    GREY,
    OKABE_ITO,
    WIDTH,
    picture_axes,
    row_axis,
    scale_bar,
    styled,
)
from organelle_fusion.wording import title

_LOOKS = ((OKABE_ITO[0], "o"), (OKABE_ITO[1], "s"), (OKABE_ITO[2], "D"))


@styled
def level_figure(table: pd.DataFrame) -> Figure:
    """Scores of objects, cells and images side by side: a panel per protocol, a row per subset.

    Parameters
    ----------
    table
        panel, row, level, value, low, high, chance (`evaluation.level_scores`); up to three levels.
        Panels stand in pairs, and the two of a pair have the same rows.
    """
    levels = list(table["level"].unique())
    panels = [(name, rows) for name, rows in table.groupby("panel", sort=False)]
    pairs = [panels[k : k + 2] for k in range(0, len(panels), 2)]
    named = [list(dict.fromkeys(pd.concat([t for _, t in pair])["row"])) for pair in pairs]
    heights = [0.19 * len(levels) * len(rows) for rows in named]
    figure, grid = plt.subplots(
        len(pairs), len(pairs[0]), figsize=(WIDTH, sum(heights) + 0.4 * len(pairs) + 0.75),
        sharex=True, sharey="row", height_ratios=heights, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for number, (axes, (panel, of_panel)) in enumerate(zip(grid.flat, panels, strict=False)):
        rows = named[number // 2]
        axes.axvline(of_panel["chance"].iloc[0], **CHANCE)
        for row in of_panel.itertuples():
            level = levels.index(row.level)
            color, marker = _LOOKS[level]
            place = rows.index(row.row) + 0.25 * (level - (len(levels) - 1) / 2)
            axes.plot(
                [row.low, row.high], [place, place], color=color, linewidth=1.6,
                solid_capstyle="butt",
            )  # fmt: skip
            axes.plot(row.value, place, marker, color=color, markersize=4.5)
        row_axis(axes, rows)
        axes.set_xlim(0, 1.03)
        axes.set_xticks(np.linspace(0, 1, 6))
        for place in np.arange(len(rows) - 1) + 0.5:
            axes.axhline(place, color="#EEEEEE", linewidth=0.8)
        axes.set_title(panel)
    figure.supxlabel("balanced accuracy, with 95 % interval over resampled images", fontsize=9)
    marks = [
        Line2D([], [], color=color, marker=marker, linewidth=1.6, label=level)
        for level, (color, marker) in zip(levels, _LOOKS, strict=False)
    ]
    marks.append(Line2D([], [], label="chance", **CHANCE))
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return with_data(figure, table)


@styled
def importance_figure(table: pd.DataFrame) -> Figure:
    """What is lost without a group of features: a panel per protocol, a bar per group.

    Parameters
    ----------
    table
        panel, group, value, low, high (`forests.permutation_importance`).
    """
    panels, groups = list(table["panel"].unique()), list(table["group"].unique())
    figure, grid = plt.subplots(
        1, len(panels), figsize=(WIDTH, 0.26 * len(groups) + 0.9),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, panel in zip(grid[0], panels, strict=True):
        for row in table[table["panel"] == panel].itertuples():
            place = groups.index(row.group)
            axes.barh(place, row.value, height=0.62, color=OKABE_ITO[5])
            axes.plot([row.low, row.high], [place, place], color="#222222", linewidth=1.4)
        axes.axvline(0, color=GREY, linewidth=0.8)
        row_axis(axes, groups)
        axes.set_title(panel)
    figure.supxlabel("loss of balanced accuracy, with 95 % interval", fontsize=9)
    return with_data(figure, table)


@styled
def remainder_figure(lengths: pd.Series, batches: pd.Series, steps: dict[str, float]) -> Figure:
    """Show how far lengths are off the multiples of a step: a row per batch, a column per step.

    Parameters
    ----------
    lengths
        Lengths of N objects, µm.
    batches
        Batch of each.
    steps
        Batch → its step, µm; there is a column for each.
    """
    names, edges = list(steps), np.linspace(-0.5, 0.5, 42)
    bars = []
    figure, grid = plt.subplots(
        len(names), len(names), figsize=(WIDTH, 1.35 * len(names) + 0.5),
        sharex=True, sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes_row, batch in zip(grid, names, strict=True):
        values = lengths[(batches == batch).to_numpy()].to_numpy()
        for axes, (owner, step) in zip(axes_row, steps.items(), strict=True):
            off = values / step - np.round(values / step)
            color = OKABE_ITO[0] if owner == batch else OKABE_ITO[7]
            share = np.full(len(off), 1 / len(off))
            shares, *_ = axes.hist(off, bins=edges, weights=share, color=color)
            bars += [
                (batch, owner, step, *bar)
                for bar in zip(edges[:-1], edges[1:], shares, strict=True)
            ]
            axes.set_title(f"{batch}, in steps of {step:.3f} µm")
            axes.set_xticks([-0.5, 0, 0.5], ["−½", "0", "½"])
        axes_row[0].set_ylabel("share of objects")
    figure.supxlabel("length along z, from the nearest multiple, in steps", fontsize=9)
    columns = ["batch", "step_of", "step_um", "from_steps", "to_steps", "share"]
    return with_data(figure, pd.DataFrame(bars, columns=columns))


@styled
def cells_figure(
    image: np.ndarray, cells: np.ndarray, nuclei: np.ndarray, pixel_size_um: float
) -> Figure:
    """Projection of a stack with the outlines of the cells that are measured, and their nuclei.

    Parameters
    ----------
    image : (C, Y, X) float
        Channels of 0..1.
    cells, nuclei : (Y, X) int
        Ids, 0 outside (`cells.Cells`).
    pixel_size_um
        Edge of a pixel, µm.
    """
    figure, axes = plt.subplots(figsize=(WIDTH * 0.62, WIDTH * 0.62), layout="constrained")
    axes.imshow(composite(image))
    for number in range(1, int(cells.max()) + 1):
        axes.contour(cells == number, levels=[0.5], colors="white", linewidths=1.4)
        axes.contour(nuclei == number, levels=[0.5], colors="white", linewidths=0.8, linestyles=":")
        y, x = (where.mean() for where in np.nonzero(nuclei == number))
        axes.text(x, y, str(number), color="white", ha="center", va="center", fontsize=11)
    picture_axes(axes)
    scale_bar(axes, pixel_size_um, image.shape[1:])
    return figure


@styled
def objects_figure(
    fields: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], voxel_um: float
) -> Figure:
    """One plane of a cell: every organelle with the outlines of its objects, and all contacts.

    Parameters
    ----------
    fields
        Organelle → float (Z, Y, X), isotropic (`objects.cell_pictures`).
    labels
        Organelle and contacts → int (Z, Y, X). Kinds that are no key of `fields` are contacts.
    voxel_um
        Edge of a voxel, µm.
    """
    names = list(fields)
    masks = [labels[name] > 0 if name in labels else np.zeros(fields[name].shape, bool)
             for name in names]  # fmt: skip
    contacts = [part > 0 for kind, part in labels.items() if kind not in fields]
    meeting = np.any(contacts, axis=0) if contacts else np.zeros_like(masks[0])
    z = int(np.argmax(meeting.sum(axis=(1, 2)))) if meeting.any() else len(meeting) // 2
    columns = len(names) + 1
    figure, row = plt.subplots(
        1, columns, figsize=(WIDTH, WIDTH / columns + 0.35), layout="constrained"
    )
    for axes, name, mask in zip(row, names, masks, strict=False):
        low, high = np.percentile(fields[name], [1, 99.7])
        axes.imshow(fields[name][z], cmap="gray", vmin=low, vmax=high)
        if mask[z].any():
            axes.contour(mask[z], levels=[0.5], colors=OKABE_ITO[4], linewidths=0.9)
        axes.set_title(title(name))
    picture = composite(0.55 * np.stack([mask[z] for mask in masks]))
    picture[meeting[z]] = 1
    row[-1].imshow(picture)
    row[-1].set_title("contacts in white")
    for axes in row:
        picture_axes(axes)
        scale_bar(axes, voxel_um, meeting.shape[1:])
    return figure
