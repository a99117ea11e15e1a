"""The figure of named organelles: dots and lines where the table says."""

import pandas as pd
from matplotlib.colors import to_hex

from organelle_fusion import style
from organelle_fusion.plots_planted import named_figure, removal_figure


def test_named_figure_marks_the_planted_organelle():
    """A panel per measure; the planted organelle's dot is filled; the reference dashed."""
    rows = [
        (measure, planted, organelle, value, value - 0.1, value + 0.1, 0.25)
        for measure in ("score", "share")
        for planted in ("mitochondria", "nothing")
        for organelle, value in (("early_endosomes", 0.3), ("mitochondria", 0.6))
    ]
    columns = ["measure", "planted", "organelle", "value", "low", "high", "reference"]
    figure = named_figure(pd.DataFrame(rows, columns=columns))
    score, share = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == ["score", "share"]
    assert [label.get_text() for label in score.get_yticklabels()] == ["mitochondria", "nothing"]
    dashed, *lines = share.lines
    assert dashed.get_xdata()[0] == 0.25
    dots = [line for line in lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [0.3, 0.6, 0.3, 0.6]
    filled = [to_hex(dot.get_markerfacecolor()) != "#ffffff" for dot in dots]
    assert filled == [False, True, False, False]
    assert to_hex(dots[1].get_color()).upper() == style.INK[1]
    # Within a block in the order of the organelles, and nothing below what is planted first.
    assert [round(float(dot.get_ydata()[0]), 3) for dot in dots] == [-0.125, 0.125, 0.875, 1.125]


def test_removal_figure_draws_both_orders_in_each_panel():
    """A row for deletion and one for insertion, a column per method; shares in per cent."""
    rows = [
        (method, kind, order, share, height + share, height + share - 0.1, height + share + 0.1)
        for method in ("Grad-CAM", "Occlusion")
        for kind in ("deletion", "insertion")
        for order, height in (("map", 1.0), ("lot", 2.0))
        for share in (1.0, 0.0, 0.5)
    ]
    columns = ["method", "kind", "order", "share", "value", "low", "high"]
    figure = removal_figure(pd.DataFrame(rows, columns=columns))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Grad-CAM", "Occlusion", "", ""]
    assert figure.axes[2].get_ylabel().startswith("insertion")
    by_map, by_lot = figure.axes[3].lines
    assert by_map.get_xdata().tolist() == by_lot.get_xdata().tolist() == [0, 50, 100]
    assert by_map.get_ydata().tolist() == [1, 1.5, 2]
    assert by_lot.get_ydata().tolist() == [2, 2.5, 3]
    assert by_lot.get_linestyle() == "--"
