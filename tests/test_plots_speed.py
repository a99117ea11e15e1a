"""Figures of times draw what their frames say."""

import pandas as pd
from matplotlib.colors import to_hex

from organelle_fusion import style
from organelle_fusion.plots_speed import hours_figure, ratios_figure
from organelle_fusion.speed import COLUMNS


def test_dots_stand_at_the_ratios_and_are_hollow_where_the_peer_is_faster():
    """Of two tasks, the first with two peers: 4 times and half as long, the second with one."""
    rows = [
        ("one", "cut", "organelle-fusion", 2.0, "", None),
        ("one", "cut", "slow", 8.0, "", None),
        ("one", "cut", "fast", 1.0, "", None),
        ("two", "map, s per plane", "organelle-fusion", 1.0, "", None),
        ("two", "map, s per plane", "other", 10.0, "", None),
    ]
    (axes,) = ratios_figure(pd.DataFrame(rows, columns=COLUMNS)).axes
    assert axes.get_xscale() == "log"
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [4, 0.5, 10]
    assert [to_hex(dot.get_markerfacecolor()).upper() for dot in dots] == [
        style.OKABE_ITO[0],
        "#FFFFFF",
        style.OKABE_ITO[0],
    ]
    assert [text.get_text() for text in axes.texts] == ["slow", "fast", "other"]
    assert [text.get_ha() for text in axes.texts] == ["left", "right", "left"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cut", "map"]
    first, second = axes.get_yticks()
    assert first == (dots[0].get_ydata()[0] + dots[1].get_ydata()[0]) / 2
    assert second == dots[2].get_ydata()[0]
    assert axes.lines[0].get_xdata()[0] == 1
    low, high = axes.get_xlim()
    assert low < 0.5
    assert high > 10


def test_hours_have_a_panel_per_encoder_and_a_line_per_stage():
    frame = pd.DataFrame(
        {
            "stage": ["cut", "train, a", "cut", "train, a"],
            "workers": [1, 1, 16, 16],
            "hours": [160.0, 5.0, 10.0, 1.0],
        }
    )
    figure = hours_figure({"small": frame, "large": frame.assign(hours=frame["hours"] * 2)})
    small, large = figure.axes
    assert [axes.get_title(loc="left") for axes in (small, large)] == ["small", "large"]
    assert [line.get_label() for line in small.lines] == ["cut", "train"]
    assert [line.get_ydata().tolist() for line in large.lines] == [[320, 20], [10, 2]]
    assert small.lines[0].get_xdata().tolist() == [1, 16]
    assert len({line.get_color() for line in small.lines}) == 2
    assert len({line.get_marker() for line in small.lines}) == 2
    assert (small.get_xscale(), small.get_yscale()) == ("log", "log")
    assert small.get_ylabel() == "time (hours)"
    assert [label.get_text() for label in small.get_xticklabels()] == ["1", "16"]
