"""What the figure of a predicted image shows: a map per class on one scale, the winner in bold."""

import matplotlib as mpl
import numpy as np
import pytest

from organelle_fusion.plots_predictions import SPARSE, prediction_figure


@pytest.fixture
def figure():
    maps = np.full((5, 3, 4), 0.1, np.float32)
    maps[2] = 0.6
    maps[:, 0, 0] = np.nan
    planes = np.zeros((2, 5, 8))
    planes[1, 2, 3] = 1
    names = ("one", "two_times", "<b>$x$</b>", "four", "a name that is far too long " * 4)
    return prediction_figure(
        planes, maps, [0.1, 0.1, 0.6, 0.1, 0.1], channels=("a", "b"), classes=names,
        cell_px=2, pixel_size_um=0.5, z=4,
    )  # fmt: skip


def test_a_panel_per_class_and_one_of_the_plane(figure):
    *panels, bar = figure.axes
    shown = [axes for axes in panels if axes.get_visible()]
    titles = [axes.get_title().replace("\n", " ") for axes in shown]
    assert titles[:4] == ["plane z = 4, from 0", "one: 10%", "two times: 10%", "<b>$x$</b>: 60%"]
    assert len(shown) == 6
    assert titles[5].endswith("…: 10%")
    assert [axes.title.get_fontweight() == "bold" for axes in shown] == [
        False, False, False, True, False, False,
    ]  # fmt: skip
    np.testing.assert_array_equal(shown[0].images[0].get_array()[2, 3], [0, 1, 0])
    assert "grey: no patch kept" in bar.get_xlabel()


def test_maps_lie_over_the_plane_on_one_scale(figure):
    """Three by four pixels of two each reach over five by eight, which is what is shown."""
    for axes in figure.axes[1:6]:
        (image,) = axes.images
        assert image.get_clim() == (0, 1)
        assert image.get_extent() == [-0.5, 7.5, 5.5, -0.5]
        assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 7.5), (4.5, -0.5))
        assert image.get_array().mask.tolist() == [[True] + [False] * 3] + [[False] * 4] * 2
        assert mpl.colors.to_hex(image.cmap.get_bad()) == SPARSE
