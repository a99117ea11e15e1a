"""What the figures of maps show: values, one scale per image, names."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from organelle_fusion import plots_maps, style
from organelle_fusion.plots_maps import HEAT, ExplainedPlane, relative_heat

CHANNELS = ("early_endosomes", "mitochondria")


def texts(owner):
    return [text.get_text() for text in owner.findobj(plt.Text) if text.get_text()]


def row(label="tubular", predicted="tubular", largest=4.0, pixel_size_um=0.2):
    """Two channels of 100 × 100; 1 and `largest` in one corner, -2 and 3 in another."""
    planes = np.zeros((2, 100, 100))
    planes[0, 5, 6], planes[1, 7, 8] = 1, 0.5
    maps = np.zeros((2, 100, 100), np.float32)
    maps[:, 0, 0] = 1, largest
    maps[:, 9, 9] = -2, 3
    return ExplainedPlane(label, predicted, planes, maps, pixel_size_um)


def test_heat_is_after_relu_and_on_one_scale():
    """Sums 5 and 1 are fused before ReLU, and 5 is the largest: -2 counts there, and is dark."""
    heat = relative_heat(row().maps)
    np.testing.assert_allclose(heat[:, 0, 0], [1 / 5, 4 / 5, 1])
    np.testing.assert_allclose(heat[:, 9, 9], [0, 3 / 5, 1 / 5])
    assert heat.sum() == pytest.approx(2.8)


def test_heat_without_evidence_is_dark():
    """Nothing is positive, so there is nothing to divide by."""
    np.testing.assert_array_equal(relative_heat(np.full((2, 3, 3), -1.0)), np.zeros((3, 3, 3)))


def test_each_organelle_is_grey_under_its_map():
    """Columns: together, each channel under its map, and the mean of both under the fused map."""
    figure = plots_maps.gradcam_figure([row()], channels=CHANNELS)
    together, first, second, fused, bar = figure.axes
    np.testing.assert_array_equal(together.images[0].get_array()[5, 6], [1, 0, 1])
    shown, heat = row(), relative_heat(row().maps)
    mean = shown.planes.mean(axis=0)
    grey = [*shown.planes, mean]
    for axes, below, above in zip((first, second, fused), grey, heat, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), below)
        np.testing.assert_allclose(axes.images[1].get_array(), above)
        assert [image.get_cmap().name for image in axes.images] == ["gray", HEAT]
        assert axes.images[1].get_alpha() < 1
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["together", "early\nendosomes", "mitochondria", "fused"]
    assert "relative to the largest" in bar.get_xlabel()
    assert [t.get_text() for t in bar.get_xticklabels()] == ["0%", "25%", "50%", "75%", "100%"]


def test_sparse_squares_are_hatched():
    """On every map, and on nothing else; where there are none, nothing is."""
    sparse = np.zeros((100, 100), bool)
    sparse[:50, :50] = True
    rows = [row()._replace(sparse=mask) for mask in (None, ~sparse & sparse, sparse)]
    figure = plots_maps.gradcam_figure(rows, channels=CHANNELS)
    hatches = [[h for c in axes.collections for h in c.hatches] for axes in figure.axes[:12]]
    assert hatches == [[]] * 9 + [["////"]] * 3
    (drawn,) = figure.axes[9].collections
    (area,) = drawn.get_paths()
    assert area.contains_points([(25, 25), (75, 75)]).tolist() == [True, False]


def test_all_maps_share_the_colours_of_the_bar():
    """One range of colours, while the largest value of each image is its own."""
    rows = [row(), row("looped", largest=49.0)]
    figure = plots_maps.gradcam_figure(rows, channels=CHANNELS)
    *panels, bar = figure.axes
    assert len(panels) == 8
    heats = [axes.images[1] for axes in panels if len(axes.images) == 2]
    assert [heat.get_clim() for heat in heats] == [(0, 1)] * 6
    assert heats[2].get_array().max() == heats[5].get_array().max() == 1
    assert heats[5].get_array()[9, 9] == pytest.approx(1 / 50)
    assert bar.get_xlim() == (0, 1)


def test_rows_name_class_and_prediction():
    """What the network said stands beside the class."""
    rows = [row("early_stage", "early_stage"), row("looped", "late_stage")]
    words = texts(plots_maps.gradcam_figure(rows, channels=CHANNELS))
    assert "early stage\npredicted correctly" in words
    assert "looped\npredicted as\nlate stage" in words


def test_scale_bar_follows_the_pixel_size_of_each_image():
    """100 px of 0.2 µm: 5 µm in 25 px; of 0.4 µm: 10 µm in 25; without a size none."""
    rows = [row(), row(pixel_size_um=0.4), row(pixel_size_um=None)]
    figure = plots_maps.gradcam_figure(rows, channels=CHANNELS)
    bars = [[p for p in figure.axes[4 * k].patches if isinstance(p, Rectangle)] for k in range(3)]
    assert [len(found) for found in bars] == [1, 1, 0]
    assert bars[0][0].get_width() == pytest.approx(25)
    assert [text for text in texts(figure) if "µm" in text] == ["5 µm", "10 µm"]


def test_six_rows_stay_legible_and_apart():
    """The width of the text column, words of 8 points or more, labels clear of each other."""
    names = [f"fragmented-scattered-{k}" for k in range(6)]
    figure = plots_maps.gradcam_figure([row(a, b) for a, b in zip(names, names[::-1], strict=True)],
                                  channels=CHANNELS)  # fmt: skip
    assert figure.get_size_inches()[0] == pytest.approx(style.WIDTH)
    assert min(text.get_fontsize() for text in figure.findobj(plt.Text)) >= 8
    boxes = [text.get_window_extent() for text in figure.texts]
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    assert min(box.x0 for box in boxes) >= 0
    left = figure.axes[0].get_window_extent().x0
    assert max(box.x1 for box in boxes) < left
    assert plt.get_fignums() == []


def test_labels_of_flat_pictures_stay_apart():
    """Pictures of a third of their width are lower than their labels are long."""
    flat = row("a", "other class")
    flat = flat._replace(planes=flat.planes[:, :33], maps=flat.maps[:, :33])
    figure = plots_maps.gradcam_figure([flat] * 3, channels=CHANNELS)
    boxes = [text.get_window_extent() for text in figure.texts]
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    for box, axes in zip(boxes, figure.axes[::4], strict=False):
        picture = axes.get_window_extent()
        assert (box.y0 + box.y1) / 2 == pytest.approx((picture.y0 + picture.y1) / 2, abs=2)
