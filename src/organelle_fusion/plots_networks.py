"""Figures 2 and 3, and spatial fusion: networks, drawn from the layers of the built models."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from organelle_fusion.config import ORGANELLES
from organelle_fusion.downloads import with_data
from organelle_fusion.style import GREY, INK, WIDTH, in_lines, styled
from organelle_fusion.wording import title

# Inches, as all lengths here: height of a branch, and room for the arrow between two boxes.
_LANE = 1.0
_GAP = 0.08

# Room behind the encoders of each strategy that is drawn.
_TAILS = {"early": 1.24, "intermediate": 1.74, "late": 2.04, "spatial": 1.74}


class _Stage(NamedTuple):
    name: str
    shape: tuple[int, ...]
    parameters: int


def encoder_stages(table: pd.DataFrame, part: str) -> list[_Stage]:
    """Sum up the layers of an encoder by the size of their feature maps.

    Parameters
    ----------
    table
        part, layer, kind, ``output shape``, parameters; see `models.layer_summary`.
    part
        Name of the encoder.

    Returns
    -------
    list
        name (what the stage's last layer is called before its first "_"), shape of its output,
        number of parameters; the pooled embedding, a vector, comes last.
    """
    stages: list[_Stage] = []
    rows = table[(table["part"] == part) & (table["kind"] != "InputLayer")]
    # Padding and scaling only prepare the next convolution: they are no stages.
    for row in rows[~rows["kind"].isin(["ZeroPadding2D", "Rescaling"])].to_dict("records"):
        name, shape = str(row["layer"]).split("_")[0], tuple(row["output shape"])
        if stages and stages[-1].shape[:-1] == shape[:-1]:
            stages[-1] = _Stage(name, shape, stages[-1].parameters + row["parameters"])
        else:
            stages.append(_Stage(name, shape, row["parameters"]))
    return stages


def _count(number: float) -> str:
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if number >= factor:
            value = number / factor
            return f"{value:.1f}{unit}" if value < 100 else f"{value:.0f}{unit}"
    return f"{number:.0f}"


def _tint(color: str) -> tuple[float, ...]:
    return tuple(0.82 + 0.18 * value for value in to_rgb(color))


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, color: str):
    """Draw a box centred on y whose left edge is at x; return its right edge."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=_tint(color), edgecolor=color, linewidth=1.2,
        )
    )  # fmt: skip
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=8, linespacing=1.15)
    return x + width


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color=GREY) -> None:
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def _encoder(axes: Axes, stages: list[_Stage], y: float, color: str, columns: np.ndarray) -> float:
    """Draw one encoder along the columns; boxes shrink with their feature maps."""
    largest = np.log2(stages[0].shape[0])
    step = columns[1] - columns[0]
    end = columns[0] - 0.14
    for stage, x in zip(stages, columns, strict=True):
        if len(stage.shape) == 3:
            height = 0.38 + 0.37 * np.log2(stage.shape[0]) / largest
            text, width = f"{stage.shape[0]}×{stage.shape[1]}\n×{stage.shape[2]}", step - _GAP
        else:
            height, text, width = 0.38, f"{stage.shape[0]}", step - _GAP
        _arrow(axes, (end, y), (x, y), color)
        end = _box(axes, x, y, width, height, text, color)
        if stage.parameters:
            axes.text(
                x + width / 2, y - height / 2 - 0.04, _count(stage.parameters), ha="center",
                va="top", fontsize=8, color=GREY,
            )  # fmt: skip
    return end


def _plane(axes: Axes, x: float, y: float, colors: Sequence[str], size: int) -> None:
    """Draw the input: one sheet per channel, behind each other."""
    for k, color in reversed(list(enumerate(colors))):
        shift = 0.07 * (k - (len(colors) - 1) / 2)
        axes.add_patch(
            Rectangle(
                (x + shift, y - 0.3 + shift), 0.6, 0.6, facecolor=_tint(color),
                edgecolor=color, linewidth=1.2,
            )
        )  # fmt: skip
    shift = -0.07 * (len(colors) - 1) / 2
    axes.text(
        x + 0.3 + shift, y + shift, f"{size}×{size}\n×{len(colors)}", ha="center", va="center",
        fontsize=8,
    )  # fmt: skip


def _head_text(table: pd.DataFrame) -> tuple[str, str, int]:
    head = table[table["part"] == "fusion_head"]
    dense = [shape[0] for shape in head.loc[head["kind"] == "Dense", "output shape"]]
    hidden = "dense\n" + "\n".join(str(units) for units in dense[:-1])
    return hidden, f"{dense[-1]}\nclasses", int(head["parameters"].sum())


def _head(axes: Axes, table: pd.DataFrame, x: float, y: float, color: str) -> float:
    """Draw the dense head from x on; return the right edge of its scores."""
    hidden, classes, parameters = _head_text(table)
    end = _box(axes, x, y, 0.5, 0.46, hidden, color)
    axes.text(x + 0.25, y - 0.27, _count(parameters), ha="center", va="top", fontsize=8, color=GREY)
    _arrow(axes, (end, y), (end + 0.12, y), color)
    return _box(axes, end + 0.12, y, 0.52, 0.46, classes, color)


def _draw(axes: Axes, strategy: str, table: pd.DataFrame, channels: Sequence[str]) -> None:
    """Draw one strategy: lanes from left to right, joined where the strategy joins them."""
    lanes = 1 if strategy == "early" else len(channels)
    height = _lanes(strategy, channels) * _LANE + 0.2
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    inputs = table.loc[table["kind"] == "InputLayer", "output shape"].iloc[0]
    parts = [part for part in table["part"].unique() if part.startswith("encoder")]
    first = 1.8 if strategy == "early" else 0.86
    tail = _TAILS[strategy]
    ends, stages = [], _stages(table, strategy, parts[0])
    columns = first + (WIDTH - tail - first) / len(stages) * np.arange(len(stages))
    step = columns[1] - columns[0]
    for stage, x in zip(stages, columns, strict=True):
        name = stage.name if len(stage.shape) == 3 else "average"
        axes.text(x + (step - _GAP) / 2, height - 0.13, name, ha="center", fontsize=8, color=GREY)
    for lane in range(lanes):
        y = height - 0.2 - _LANE * (lane + 0.43)
        color = GREY if strategy == "early" else INK[lane]
        shown = channels if strategy == "early" else [channels[lane]]
        inks = INK[: len(shown)] if strategy == "early" else [color]
        if strategy == "early":
            for k, (name, ink) in enumerate(zip(shown, inks, strict=True)):
                offset = 0.33 * ((len(shown) - 1) / 2 - k)
                axes.text(0, y + offset, in_lines(title(name)), va="center", fontsize=8, color=ink)
        else:
            axes.text(0.02, y + 0.33, in_lines(title(channels[lane])), fontsize=8, color=color)
        _plane(axes, first - (0.84 if strategy == "early" else 0.8), y, inks, inputs[0])
        part = parts[lane] if strategy in ("intermediate", "spatial") else parts[0]
        ends.append((_encoder(axes, _stages(table, strategy, part), y, color, columns), y))
    if strategy == "spatial":
        ends.append(_mixed_lane(axes, table, columns, [y for _, y in ends]))
    middle = float(np.mean([y for _, y in ends]))
    if strategy == "early":
        x, y = ends[0]
        _arrow(axes, (x, y), (x + 0.14, y))
        _head(axes, table, x + 0.14, y, GREY)
    elif strategy in ("intermediate", "spatial"):
        _join(axes, table, ends, middle)
    else:
        _vote(axes, table, ends, middle)


def _lanes(strategy: str, channels: Sequence[str]) -> int:
    return {"early": 1, "spatial": len(channels) + 1}.get(strategy, len(channels))


def _stages(table: pd.DataFrame, strategy: str, part: str) -> list[_Stage]:
    """Stages of an encoder; the last one of spatial fusion stands in its mixer."""
    stages = encoder_stages(table, part)
    if strategy != "spatial":
        return stages
    row = table[table["layer"] == part.replace("encoder", "last_stage", 1)].iloc[0]
    shape = tuple(row["output shape"])
    last = _Stage("last stage", shape, int(row["parameters"]))
    return [*stages[:-1], last, _Stage("average", shape[-1:], 0)]


def _mixed_lane(
    axes: Axes, table: pd.DataFrame, columns: np.ndarray, above: Sequence[float]
) -> tuple[float, float]:
    """Draw the maps of all lanes above mixed and pooled; return the right end and height."""
    y = above[-1] - _LANE
    step = columns[1] - columns[0]
    of_mixer = table[(table["part"] == "mixer") & ~table["layer"].str.startswith("last_stage")]
    mixing = of_mixer[of_mixer["output shape"].map(len) == 3]
    h, w, features = mixing["output shape"].iloc[-1]
    for k, lane in enumerate(above):
        # Down from each lane, in the gap before its last stage.
        start = columns[-2] - _GAP * (k + 1) / (len(above) + 1)
        axes.plot([start, start], [lane, y + 0.12 * (1 - k)], color=INK[k], linewidth=1)
        _arrow(axes, (start, y + 0.12 * (1 - k)), (columns[-2], y + 0.12 * (1 - k)), INK[k])
    end = _box(axes, columns[-2], y, step - _GAP, 0.6, f"mixed\n{h}×{w}\n×{features}", GREY)
    axes.text(
        columns[-2] + (step - _GAP) / 2, y - 0.34, _count(mixing["parameters"].sum()),
        ha="center", va="top", fontsize=8, color=GREY,
    )  # fmt: skip
    _arrow(axes, (end, y), (columns[-1], y))
    return _box(axes, columns[-1], y, step - _GAP, 0.38, f"{features}", GREY), y


def _join(axes: Axes, table: pd.DataFrame, ends: list[tuple[float, float]], middle: float) -> None:
    """Embeddings, laid end to end, go into one head."""
    x = ends[0][0] + 0.3
    length = table.loc[table["kind"] == "Concatenate", "output shape"].iloc[-1][0]
    part = 1.2 / len(ends)
    mixed = "mixer" in set(table["part"])
    for k, (end, y) in enumerate(ends):
        low = middle + 0.6 - part * (k + 1)
        color = GREY if mixed and k == len(ends) - 1 else INK[k]
        axes.add_patch(
            Rectangle((x, low), 0.22, part, facecolor=_tint(color), edgecolor=color, linewidth=1.2)
        )
        _arrow(axes, (end, y), (x, low + part / 2), color)
    axes.text(x + 0.11, middle - 0.64, f"joined\n{length}", ha="center", va="top", fontsize=8)
    _arrow(axes, (x + 0.22, middle), (x + 0.36, middle))
    _head(axes, table, x + 0.36, middle, GREY)


def _vote(axes: Axes, table: pd.DataFrame, ends: list[tuple[float, float]], middle: float) -> None:
    """Every organelle is classified by itself; a weighted mean joins the probabilities."""
    for k, (end, y) in enumerate(ends):
        _arrow(axes, (end, y), (end + 0.12, y), INK[k])
        scored = _head(axes, table, end + 0.12, y, INK[k])
        _arrow(
            axes,
            (scored, y),
            (scored + 0.22, middle + 0.14 * np.sign(round(y - middle, 6))),
            INK[k],
        )
    _box(axes, scored + 0.22, middle, 0.62, 0.56, "weighted\nmean", GREY)


@styled
def architecture_figure(
    tables: Mapping[str, pd.DataFrame], *, channels: Sequence[str] = ORGANELLES
) -> Figure:
    """Draw networks as boxes: Fig 2 from the early one, Fig 3 from intermediate and late; ours.

    Parameters
    ----------
    tables
        "early", "intermediate", "late" or "spatial" → layers of the model (`models.layer_summary`);
        one panel each. Late fusion has no network of its own: give the single-channel model,
        which is drawn, and counted, once per channel (without the few weights of the mean).
    channels
        Names of the channels, one colour each.

    Raises
    ------
    ValueError
        A strategy is none that is drawn here, or there are more channels than colours.
    """
    unknown = set(tables) - set(_TAILS)
    if unknown or len(channels) > len(INK):
        raise ValueError(
            f"architecture_figure: expected {', '.join(_TAILS)} and up to {len(INK)} "
            f"channels, found {', '.join(tables)} and {len(channels)} channels; leave others out"
        )
    heights = [_lanes(name, channels) * _LANE + 0.2 for name in tables]
    figure, grid = plt.subplots(
        len(tables), 1, figsize=(WIDTH, sum(heights) + 0.35 * len(tables) + 0.2), squeeze=False,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.03)
    for axes, letter, (strategy, table) in zip(
        grid[:, 0], ascii_lowercase[: len(tables)], tables.items(), strict=True
    ):
        _draw(axes, strategy, table, channels)
        total = table["parameters"].sum() * (len(channels) if strategy == "late" else 1)
        mark = f"({letter}) " if len(tables) > 1 else ""
        axes.set_title(f"{mark}{title(strategy)}: {_count(total)} parameters")
    figure.supxlabel(
        "in the boxes: size of the output (height × width × features); below: parameters",
        fontsize=8, color=GREY,
    )  # fmt: skip
    return with_data(
        figure, pd.concat(table.assign(network=strategy) for strategy, table in tables.items())
    )
