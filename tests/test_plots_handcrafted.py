"""What the figures of the handcrafted baseline draw."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from organelle_fusion import plots_handcrafted
from organelle_fusion.plots_handcrafted import importance_figure, level_figure, remainder_figure
from organelle_fusion.style import OKABE_ITO

SCORES = pd.DataFrame(
    [
        ("by object", "All", "object", 0.9, 0.8, 0.95, 0.25),
        ("by object", "All", "image vote", 1.0, 0.9, 1.0, 0.25),
        ("by object", "OPG", "object", 0.5, 0.4, 0.6, 0.25),
        ("left out", "OPG", "object", 0.4, 0.3, 0.5, 0.5),
        ("zoom", "alone", "object", 0.7, 0.6, 0.8, 0.5),
    ],
    columns=["panel", "row", "level", "value", "low", "high", "chance"],
)


def points(axes):
    """Single points drawn: place, marker and colour."""
    return {
        (line.get_xdata()[0], round(line.get_ydata()[0], 3)): (
            line.get_marker(),
            to_hex(line.get_color()).upper(),
        )
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }


def bars(axes, width):
    return [list(line.get_xdata()) for line in axes.lines if line.get_linewidth() == width]


def test_levels_stand_side_by_side_in_their_row():
    """Two levels: an eighth of a row above and below; a pair of panels shares its rows."""
    figure = level_figure(SCORES)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    first, second, third = shown
    assert [axes.get_title(loc="left") for axes in shown] == ["by object", "left out", "zoom"]
    circle, square = ("o", OKABE_ITO[0]), ("s", OKABE_ITO[1])
    assert points(first) == {(0.9, -0.125): circle, (1.0, 0.125): square, (0.5, 0.875): circle}
    assert points(second) == {(0.4, 0.875): circle}
    assert points(third) == {(0.7, -0.125): circle}
    assert bars(first, 1.6) == [[0.8, 0.95], [0.9, 1.0], [0.4, 0.6]]
    chance = [
        [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        for axes in shown
    ]
    assert chance == [[0.25], [0.5], [0.5]]
    rows = [[text.get_text() for text in axes.get_yticklabels()] for axes in (first, third)]
    assert rows == [["All", "OPG"], ["alone"]]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["object", "image vote", "chance"]
    assert not plt.get_fignums()


def test_importance_bars_and_intervals():
    table = pd.DataFrame(
        [("a", "DPG", 0.5, 0.4, 0.6), ("a", "OPG", 0.1, -0.1, 0.2), ("b", "OPG", 0.3, 0.2, 0.4)],
        columns=["panel", "group", "value", "low", "high"],
    )
    first, second = importance_figure(table).axes
    drawn = [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in first.patches]
    assert np.allclose(drawn, [(0, 0.5), (1, 0.1)])
    assert bars(first, 1.4) == [[0.4, 0.6], [-0.1, 0.2]]
    assert [bar.get_y() + bar.get_height() / 2 for bar in second.patches] == pytest.approx([1])
    assert [text.get_text() for text in first.get_yticklabels()] == ["DPG", "OPG"]


def test_own_step_puts_all_lengths_into_one_bar():
    """Lengths of 2, 3 and 4 steps of 0.2 are off those of 0.3 by 1/3, 0 and −1/3 step."""
    lengths = pd.Series([0.4, 0.6, 0.8, 0.3, 0.6])
    figure = remainder_figure(lengths, pd.Series(list("aaabb")), {"a": 0.2, "b": 0.3})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "a, in steps of 0.200 µm"
    assert titles[3] == "b, in steps of 0.300 µm"
    shares = [
        {
            round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height()
            for bar in axes.patches
            if bar.get_height() > 0
        }
        for axes in figure.axes
    ]
    assert shares[0] == {0.0: pytest.approx(1)}
    assert shares[1] == dict.fromkeys((-0.34, 0.0, 0.34), pytest.approx(1 / 3))
    assert shares[3] == {0.0: pytest.approx(1)}
    assert to_hex(figure.axes[0].patches[0].get_facecolor()).upper() == OKABE_ITO[0]
    assert to_hex(figure.axes[1].patches[0].get_facecolor()).upper() == OKABE_ITO[7]


def test_cells_figure_outlines_and_numbers_every_cell():
    cells = np.zeros((40, 60), int)
    cells[5:20, 5:25], cells[22:38, 30:55] = 1, 2
    nuclei = np.where(np.roll(cells, 3, axis=1) == cells, cells, 0)
    figure = plots_handcrafted.cells_figure(np.zeros((3, 40, 60)), cells, nuclei, 0.1)
    (axes,) = figure.axes
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert {"1", "2", "1 µm"} == set(texts)
    assert cells[int(texts["2"][1]), int(texts["2"][0])] == 2
    lines = [path for one in axes.collections for path in one.get_paths()]
    # Half a pixel beyond the middle of the outermost pixels.
    assert any(path.vertices.min(axis=0).tolist() == [29.5, 21.5] for path in lines)


def test_objects_figure_shows_the_plane_with_most_contacts_in_white():
    fields = {name: np.zeros((4, 20, 20)) for name in ("a", "b")}
    labels = {"a": np.zeros((4, 20, 20), int), "a × b": np.zeros((4, 20, 20), int)}
    labels["a"][2, 3:9, 3:9] = 1
    labels["a × b"][2, 9, 3:6] = 1
    labels["a × b"][1, 0, 0] = 2
    figure = plots_handcrafted.objects_figure(fields, labels, 0.1)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "a", "b", "contacts in white",
    ]  # fmt: skip
    picture = figure.axes[-1].images[0].get_array()
    white = np.argwhere((picture == 1).all(axis=-1))
    assert white.tolist() == [[9, 3], [9, 4], [9, 5]]
    assert (picture[4, 4] > 0).any()
    assert len(figure.axes[0].collections) == 1  # an outline; b has no object
    assert not figure.axes[1].collections
