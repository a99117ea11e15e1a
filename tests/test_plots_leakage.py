"""What the figures of leakage and choice draw."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from organelle_fusion import plots_leakage
from organelle_fusion.plots_leakage import UNITS

TABLE = pd.DataFrame(
    [
        ("phantom", "4 folds by patch", 0.9, 0.8, 0.95, 0.25),
        ("phantom", "2 folds by image", 0.7, 0.6, 0.8, 0.25),
        ("crops", "4 folds by crop", 0.8, 0.7, 0.9, 0.5),
    ],
    columns=["data", "grouping", "value", "low", "high", "chance"],
)


def marks(axes):
    """Single points drawn: place, marker and colour."""
    return {
        (line.get_xdata()[0], line.get_ydata()[0]): (line.get_marker(), to_hex(line.get_color()))
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }


def dashed(axes):
    return [
        line.get_xdata()[0]
        for line in axes.lines
        if line.get_linestyle() == "--" and len(line.get_xdata()) > 1
    ]


def test_each_grouping_has_its_row_mark_bar_and_number():
    """Colours follow whether images are parted; chance is that of the data set."""
    figure = plots_leakage.leakage_figure(
        TABLE,
        {"4 folds by patch": "parted", "2 folds by image": "whole", "4 folds by crop": "parted"},
    )
    first, second = figure.axes
    assert [first.get_title(loc="left"), second.get_title(loc="left")] == ["phantom", "crops"]
    names = [text.get_text() for text in first.get_yticklabels()]
    assert names == ["4 folds by patch", "2 folds by image"]
    red, blue = UNITS["parted"], UNITS["whole"]
    assert marks(first) == {
        (0.9, 0): (red[1], red[0].lower()),
        (0.7, 1): (blue[1], blue[0].lower()),
    }
    bars = [list(line.get_xdata()) for line in first.lines if line.get_linewidth() == 2.2]
    assert bars == [[0.8, 0.95], [0.6, 0.8]]
    assert (dashed(first), dashed(second)) == ([0.25], [0.5])
    assert {"0.90", "0.70"} <= {text.get_text() for text in first.texts}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [blue[2], red[2], "chance"]


def test_a_score_without_interval_has_its_number():
    """All resamples alike, as where every patch is told rightly: it stands beside its mark."""
    alike = TABLE.assign(value=1.0, low=np.nan, high=np.nan).head(1)
    figure = plots_leakage.leakage_figure(alike, {"4 folds by patch": "parted"})
    (number,) = [text for text in figure.axes[0].texts if text.get_text() == "1.00"]
    assert number.xy == (1.0, 0)


def test_both_choices_stand_below_all_candidates():
    """Ticks for the candidates of the question, then the choice on test, then the nested one."""
    table = pd.DataFrame(
        [
            ("size", "not nested", 0.8, 0.7, 0.9, 0.25),
            ("size", "nested", 0.6, 0.5, 0.7, 0.25),
            ("settings", "not nested", 0.5, 0.4, 0.6, 0.25),
            ("settings", "nested", 0.3, 0.2, 0.4, 0.25),
        ],
        columns=["question", "how", "value", "low", "high", "chance"],
    )
    candidates = pd.DataFrame({"question": ["size", "size", "settings"], "value": [0.8, 0.75, 0.5]})
    figure = plots_leakage.choice_figure(table, candidates)
    first, second = figure.axes
    ticks = [list(line.get_xdata()) for line in first.lines if line.get_marker() == "|"]
    assert ticks == [[0.8, 0.75]]
    assert set(marks(first)) == {(0.8, 1), (0.6, 2)}
    assert {(0.5, 1), (0.3, 2)} < set(marks(second))
    rows = [text.get_text() for text in second.get_yticklabels()]
    assert rows == ["all candidates", "chosen on test", "chosen nested"]
    assert not plt.get_fignums()
