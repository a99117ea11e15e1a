"""The figure of a search: lines where the values say, the best one bold, axes that are named."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from organelle_fusion import plots_tuning
from organelle_fusion.config import TuningSettings
from organelle_fusion.plots_tuning import COLOURS

SETTINGS = TuningSettings(
    max_epochs=9,
    factor=3,
    seed=1,
    learning_rate=(1e-4, 1e-2),
    dropout=(0.2, 0.6),
    l2=(1e-5, 1e-3),
    dense_units=(32, 64, 128),
    batch_size=(16, 32),
)


def trials(**columns):
    """Three trials; the second and the third reach the same accuracy, the third in more epochs."""
    return pd.DataFrame(
        {
            "fold": 0,
            "trial": [1, 2, 3],
            "epochs": [3, 3, 9],
            "learning_rate": [1e-4, 1e-3, 1e-2],
            "dropout": [0.2, 0.3, 0.6],
            "dense_units": [64, 128, 32],
            "l2": [1e-4, 1e-3, 1e-5],
            "batch_size": [16, 32, 16],
            "val_accuracy": [0.5, 0.75, 0.75],
            **columns,
        }
    )


def drawn(figure):
    """Lines of trials, thin ones first: (heights at the seven axes, width, colour)."""
    lines = [line for line in figure.axes[0].lines if len(line.get_ydata()) == 7]
    found = [(line.get_ydata(), line.get_linewidth(), to_hex(line.get_color())) for line in lines]
    return sorted(found, key=lambda entry: entry[1])


def texts(owner):
    return [text.get_text() for text in owner.findobj(plt.Text) if text.get_text()]


def test_lines_cross_the_axes_where_the_values_say():
    """Halfway on a logarithmic axis is the geometric mean; choices are equally far apart."""
    first, second, third = (
        line for line, width, _ in drawn(plots_tuning.tuning_figure(trials(), SETTINGS))[:3]
    )
    np.testing.assert_allclose(first[:2], [0, 0])
    np.testing.assert_allclose(second[:2], [0.5, 0.25])
    np.testing.assert_allclose(third[:2], [1, 1])
    # Marks of choices lie between 0.05 and 0.95; of two lines at one mark each is moved by half a
    # step of 0.014, the lower accuracy down.
    np.testing.assert_allclose([line[2] for line in (first, second, third)], [0.5, 0.95, 0.05])
    np.testing.assert_allclose([line[3] for line in (first, second, third)], [0.5, 1, 0])
    np.testing.assert_allclose([line[4] for line in (first, second, third)], [0.043, 0.95, 0.057])
    np.testing.assert_allclose([line[5] for line in (first, second, third)], [0.043, 0.057, 0.95])
    np.testing.assert_allclose([line[6] for line in (first, second, third)], [0, 1, 1])


def test_colour_is_the_validation_accuracy():
    """From the pale end of the scale for the least to the dark one for the best."""
    figure = plots_tuning.tuning_figure(trials(), SETTINGS)
    ends = [to_hex(plt.get_cmap(COLOURS)(end)) for end in (0.0, 1.0)]
    assert [colour for _, _, colour in drawn(figure)[:3]] == [ends[0], ends[1], ends[1]]
    bar = figure.axes[0].child_axes[0]
    assert bar.get_ylim() == (0.5, 0.75)


def test_the_best_trial_is_bold_and_named():
    """Of two equals that of more epochs."""
    figure = plots_tuning.tuning_figure(trials(), SETTINGS)
    bold = [line for line, width, _ in drawn(figure) if width > 3]
    assert len(bold) == 1
    assert bold[0][0] == pytest.approx(1)
    assert "best: trial 3" in texts(figure)


def test_each_fold_has_a_bold_line():
    """Nested searches choose once for each fold."""
    both = pd.concat([trials(), trials(fold=1, val_accuracy=[0.9, 0.1, 0.2])])
    figure = plots_tuning.tuning_figure(both, SETTINGS)
    starts = sorted(line[0] for line, width, _ in drawn(figure) if width > 3)
    np.testing.assert_allclose(starts, [0, 1])
    assert "best trial of each fold" in texts(figure)


def test_axes_are_named_and_marked():
    """Every setting with its unit or scale; ticks of the choices and of powers of ten."""
    found = texts(plots_tuning.tuning_figure(trials(), SETTINGS).axes[0])
    for words in (
        "learning rate\n(log)",
        "dropout\n(share)",
        "dense layer\n(units)",
        "L2 factor\n(log)",
        "batch size\n(patches)",
        "trained\n(epochs)",
        "validation\naccuracy",
        "$10^{-4}$",
        r"$3{\cdot}10^{-4}$",
        "$10^{-2}$",
        "0.2",
        "0.6",
        "128",
        "16",
        "9",
    ):
        assert words in found, words
    assert r"$3{\cdot}10^{-2}$" not in found  # beyond the greatest
    drawn = plots_tuning.tuning_figure(trials(), SETTINGS).axes[0].findobj(plt.Text)
    powers = [text for text in drawn if "$" in text.get_text()]
    assert powers
    assert all(text.get_parse_math() for text in powers)  # not drawn with their dollars


def test_trials_that_are_all_alike_can_be_drawn():
    """One accuracy and one choice: both in the middle of their axes."""
    only = SETTINGS.model_copy(update={"batch_size": (32,)})
    figure = plots_tuning.tuning_figure(trials(val_accuracy=0.5, batch_size=32), only)
    lines = [line for line, *_ in drawn(figure)[:3]]
    np.testing.assert_allclose([line[6] for line in lines], 0.5)
    # In the order of the epochs, and of equals the later trial first.
    np.testing.assert_allclose([line[4] for line in lines], [0.486, 0.5, 0.514])


def test_many_lines_stay_near_their_mark():
    """A hundred trials of one choice share a tenth of the axis."""
    many = pd.concat([trials().head(1)] * 100, ignore_index=True)
    many = many.assign(trial=np.arange(100), val_accuracy=np.linspace(0, 1, 100))
    heights = np.array([line[2] for line, *_ in drawn(plots_tuning.tuning_figure(many, SETTINGS))])
    assert np.abs(heights - 0.5).max() < 0.05


def test_names_do_not_overlap():
    """Seven titles side by side at the width of the page."""
    figure = plots_tuning.tuning_figure(trials(), SETTINGS)
    renderer = FigureCanvasAgg(figure).get_renderer()
    titles = [text for text in figure.axes[0].texts if "\n" in text.get_text()]
    boxes = sorted((text.get_window_extent(renderer) for text in titles), key=lambda box: box.x0)
    assert len(boxes) == 7
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert boxes[0].x0 >= 0
    assert boxes[-1].x1 <= figure.bbox.x1
