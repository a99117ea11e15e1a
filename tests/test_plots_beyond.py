"""What the figure of learnt features draws."""

import numpy as np
from matplotlib.colors import to_hex

from organelle_fusion.plots_beyond import features_figure
from organelle_fusion.style import OKABE_ITO


def test_both_panels_show_every_patch_in_its_colours():
    """By class: two colours; by image: the second image of either class shares one."""
    layout = np.arange(10.0).reshape(5, 2)
    labels = np.array(["a", "a", "b", "b", "b"])
    images = np.array(["i", "j", "k", "l", "l"])
    parts = np.array(["test", "validation", "test", "test", "validation"])
    figure = features_figure(layout, labels, images, parts)
    expected = [[0, 0, 1, 1, 1], [0, 1, 0, 1, 1]]
    for axes, codes in zip(figure.axes, expected, strict=True):
        drawn = {}
        for cloud in axes.collections:
            for place, color in zip(cloud.get_offsets(), cloud.get_facecolors(), strict=True):
                drawn[tuple(place)] = to_hex(color).upper()
        assert drawn == {
            tuple(place): OKABE_ITO[code] for place, code in zip(layout, codes, strict=True)
        }
        assert [len(cloud.get_offsets()) for cloud in axes.collections] == [3, 2]
    texts = [[t.get_text() for t in axes.get_legend().get_texts()] for axes in figure.axes]
    parted = ["test part", "validation part"]
    assert texts[0] == ["a", "b", *parted]
    assert texts[1] == ["image 1 of its class", "image 2 of its class", *parted]


def test_more_images_than_colours_have_a_scale():
    """Twelve images of a class in twelve colours, with their number at a bar."""
    images = np.array([f"{number:02}" for number in range(12)])
    layout = np.arange(24.0).reshape(12, 2)
    figure = features_figure(layout, np.full(12, "a"), images, np.full(12, "test"))
    _, by_image, bar = figure.axes
    (cloud,) = by_image.collections
    assert len({tuple(color) for color in cloud.get_facecolors()}) == 12
    assert bar.get_ylabel() == "number of the image in its class"
    assert bar.get_ylim() == (0.5, 12.5)
    assert [text.get_text() for text in by_image.get_legend().get_texts()] == ["test part"]


def test_long_names_do_not_meet():
    """Seven of them: legends lie apart, and the panels stay higher than an inch and a half."""
    labels = np.repeat([f"a long name of class {k}" for k in range(7)], 2)
    images = np.array([f"{k:02}" for k in range(14)])
    figure = features_figure(np.zeros((14, 2)), labels, images, np.full(14, "test"))
    first, second = (axes.get_legend().get_window_extent() for axes in figure.axes)
    assert first.x1 < second.x0
    assert min(first.x0, first.y0) >= 0
    assert figure.axes[0].get_window_extent().height > 1.5 * figure.dpi
