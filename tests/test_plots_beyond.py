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
