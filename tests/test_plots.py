"""What the figures draw: bars, cells, curves and words, not only that there is a figure."""

import subprocess
import sys
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from organelle_fusion import plots, plots_images, plots_networks, style

CHANNELS = ("early_endosomes", "mitochondria", "recycling_endosomes")


def texts(owner):
    """All words drawn in a figure or axes."""
    return [text.get_text() for text in owner.findobj(plt.Text) if text.get_text()]


def layers(rows):
    return pd.DataFrame(rows, columns=["part", "layer", "kind", "output shape", "parameters"])


def encoder(part, parameters=(10, 20, 300)):
    return [
        (part, "plane", "InputLayer", (8, 8, 1), 0),
        (part, "stem_pad", "ZeroPadding2D", (10, 10, 1), 0),
        (part, "stem", "Conv2D", (4, 4, 2), parameters[0]),
        (part, "stem_norm", "BatchNormalization", (4, 4, 2), parameters[1]),
        (part, "block1_conv", "Conv2D", (2, 2, 5), parameters[2]),
        (part, "embedding", "GlobalAveragePooling2D", (5,), 0),
    ]


def head(width):
    return [
        ("fusion_head", "dense", "Dense", (7,), 1500),
        ("fusion_head", "dropout", "Dropout", (7,), 0),
        ("fusion_head", "logits", "Dense", (width,), 40),
    ]


def test_composite_adds_magenta_green_and_cyan():
    """Each channel alone has its colour; all together are white; beyond 1 is clipped."""
    planes = np.zeros((3, 1, 5))
    planes[0, 0, 0] = planes[1, 0, 1] = planes[2, 0, 2] = 1
    planes[:, 0, 3] = 4.0
    expected = [[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(plots_images.composite(planes)[0], expected)
    half = plots_images.composite(np.full((1, 1, 1), 0.5))
    np.testing.assert_allclose(half[0, 0], [0.5, 0, 0.5])


def test_composite_refuses_more_channels_than_colours():
    """Five channels have no fifth colour."""
    with pytest.raises(ValueError, match=r"found shape \(5, 2, 2\)"):
        plots_images.composite(np.zeros((5, 2, 2)))


@pytest.mark.parametrize(
    ("width_um", "length"), [(44.1, 10), (12.37, 2), (8, 2), (0.5, 0.1), (400, 100)]
)
def test_scale_bar_is_a_round_length(width_um, length):
    """The longest of 1, 2, 5 that fits into a quarter."""
    assert style.bar_length_um(width_um) == pytest.approx(length)


def test_scale_bar_has_its_length_in_pixels():
    """100 px of 0.2 µm are 20 µm: a bar of 5 µm, 25 px; of 0.1 µm, one of 2 µm, 20 px.

    Without a pixel size there is none.
    """
    images = {"tubular": np.zeros((3, 100, 100)), "looped": np.ones((3, 100, 100))}
    figure = plots_images.stack_overview(images, {"tubular": 0.2, "looped": 0.1})
    assert len(figure.axes) == 8
    for column, (pixels, length) in enumerate(((25, "5 µm"), (20, "2 µm"))):
        bar = next(p for p in figure.axes[column].patches if isinstance(p, Rectangle))
        assert bar.get_width() == pytest.approx(pixels)
        assert texts(figure).count(length) == 1
    assert {"tubular", "together", "recycling\nendosomes"} <= set(texts(figure))
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), 1.0)
    bare = plots_images.stack_overview(images, {})
    assert not any("µm" in text for text in texts(bare))
    assert not bare.axes[0].patches


def make_pipeline(pixel_size_um):
    table = pd.DataFrame(
        {
            "y": [0, 0, 10, 10], "x": [0, 10, 0, 10], "size_px": 10,
            "reason": ["", "sparse", "", "over the limit"],
        }
    )  # fmt: skip
    plane = np.full((3, 20, 20), 0.5)
    masks = plane > 1
    masks[1, 3, 4] = True
    patches = np.zeros((2, 8, 8, 3), np.uint8)
    patches[0, 2, 5, 1] = 255
    return plots_images.pipeline_figure(plane, masks, table, patches, pixel_size_um=pixel_size_um)


def test_pipeline_marks_the_dropped_patches():
    """Four squares, one of them shaded; share and size in the titles; masks as given."""
    figure = make_pipeline(0.5)
    plane, grid, masks, kept, *small = figure.axes
    squares = [patch.get_xy() for patch in grid.patches]
    assert squares == [(-0.5, -0.5), (9.5, -0.5), (-0.5, 9.5), (9.5, 9.5)]
    shaded = [patch.get_xy() for patch in kept.patches if patch.get_hatch()]
    assert shaded == [(9.5, -0.5)]
    assert "(d) 1 of 4 too sparse: 25% dropped" in texts(figure)
    assert "(b) Cut into squares of 5.0 µm" in texts(figure)
    np.testing.assert_array_equal(masks.images[0].get_array()[3, 4], [0, 1, 0])
    assert masks.images[0].get_array().sum() == 1
    assert {"early endosomes", "mitochondria", "recycling endosomes"} <= set(texts(plane))
    assert [axes.get_visible() for axes in small] == [True] * 2 + [False] * 4
    np.testing.assert_array_equal(small[0].images[0].get_array()[2, 5], [0, 1, 0])


def test_pipeline_without_pixel_size_speaks_of_pixels():
    """Nothing is in µm where µm are not known."""
    words = texts(make_pipeline(None))
    assert "(b) Cut into squares of 10 px" in words
    assert not any("µm" in text for text in words)


def test_otsu_figure_states_threshold_and_share():
    """Of 10 voxels the 4 in bins above 1.5 are foreground: 40 %."""
    histogram = (np.array([0, 1, 2, 3]), np.array([5, 1, 4]))
    figure = plots_images.otsu_figure({"mitochondria": histogram}, {"mitochondria": 1.5})
    assert "threshold 1.5\n40.0% above" in texts(figure)
    assert figure.axes[0].lines[0].get_xdata()[0] == 1.5


def test_attrition_bars_are_the_counts():
    """Bars of extracted and kept patches in the order of the sizes; lost shares as the line."""
    table = pd.DataFrame(
        {
            "size_px": [350, 200], "size_um": [12.369, 7.068], "extracted": [1000, 4000],
            "kept": [900, 3000], "attrition": [0.1, 0.25],
        }
    )  # fmt: skip
    counts, rate = plots_images.attrition_figure(table).axes
    assert [patch.get_height() for patch in counts.patches] == [4000, 1000, 3000, 900]
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [0.25, 0.1])
    assert {"25%", "10%"} <= set(texts(rate))
    assert {"4,000", "3,000", "1,000", "900"} <= set(texts(counts))
    assert [t.get_text() for t in rate.get_xticklabels()] == ["200 px\n7.1 µm", "350 px\n12.4 µm"]


def test_confusion_cells_hold_percent_and_count():
    """Rows of 4 and 2: 75 %, 25 %, 0 and 100 %; the mean of 0.75 and 1 is in the title."""
    counts = pd.DataFrame([[3, 1], [0, 2]], index=["a", "b"], columns=["a", "b"])
    figure = plots.confusion_figure({"early": counts, "mitochondria": counts})
    first, second, bar = figure.axes
    assert [text.get_text() for text in first.texts] == ["75\n3", "25\n1", "0", "100\n2"]
    np.testing.assert_allclose(first.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 1)
    assert first.get_title(loc="left") == "Early fusion (0.88)"
    assert second.get_title(loc="left") == "Mitochondria (0.88)"
    assert [t.get_text() for t in first.get_yticklabels()] == ["a", "b"]
    assert not any(t.get_text() for t in second.get_yticklabels())
    assert bar.get_xlabel().startswith("share of the true class")


def test_confusion_leaves_an_empty_class_out_of_the_mean():
    """No row of class c: its cells are 0 and it has no recall."""
    names = list("abc")
    counts = pd.DataFrame([[1, 1, 0], [0, 2, 0], [0, 0, 0]], index=names, columns=names)
    axes = plots.confusion_figure({"late": counts}).axes[0]
    assert axes.get_title(loc="left") == "Late fusion (0.75)"
    assert [text.get_text() for text in axes.texts[6:]] == ["0", "0", "0"]


@pytest.mark.parametrize(("models", "classes", "columns"), [(6, 6, 3), (6, 9, 2), (1, 6, 1)])
def test_confusion_names_and_cells_do_not_overlap(models, classes, columns):
    """Six long names: labels clear of each other, numbers inside their cells."""
    names = [f"tubular-scattered-{k}" for k in range(classes)]
    counts = pd.DataFrame(np.full((classes, classes), 1234), index=names, columns=names)
    figure = plots.confusion_figure({f"model-{k}": counts for k in range(models)})
    renderer = FigureCanvasAgg(figure).get_renderer()
    panels = figure.axes[:-1]
    assert len({round(axes.get_position().x0, 3) for axes in panels}) == columns
    lowest = panels[-1]
    boxes = [label.get_window_extent(renderer) for label in lowest.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))
    cell = lowest.get_window_extent(renderer).width / classes
    words = [text.get_window_extent(renderer) for text in lowest.texts]
    assert max(box.width for box in words) < cell
    assert max(box.height for box in words) < cell
    left = min(label.get_window_extent(renderer).x0 for label in panels[0].get_yticklabels())
    assert left > 0


@pytest.mark.parametrize(("classes", "models"), [(2, 4), (2, 1), (3, 4), (7, 2)])
def test_titles_of_confusion_matrices_and_the_words_below_fit(classes, models):
    counts = pd.DataFrame(np.ones((classes, classes), int), *[list("abcdefg")[:classes]] * 2)
    names = ["intermediate", "mitochondria", "spatial", "recycling_endosomes"]
    figure = plots.confusion_figure({name: counts for name in names[:models]})
    renderer = FigureCanvasAgg(figure).get_renderer()
    *panels, strip = figure.axes
    boxes = [axes.get_window_extent(renderer) for axes in panels]
    titles = [axes._left_title.get_window_extent(renderer) for axes in panels]
    assert all(text.x1 < box.x1 + 0.1 * 150 for text, box in zip(titles, boxes, strict=True))
    words = [strip.xaxis.label, *strip.get_xticklabels()]
    extents = [text.get_window_extent(renderer) for text in words]
    assert min(box.x0 for box in extents) >= 0
    assert max(box.x1 for box in extents) <= figure.bbox.x1


def test_pr_figure_draws_the_curves_and_the_chance_line():
    """Two classes of AP 0.9 and 0.5: mean 0.70; chance is the mean prevalence."""
    frame = pd.DataFrame(
        {
            "class": ["a", "a", "b", "b"], "recall": [1.0, 0.0] * 2, "precision": [0.3, 1, 0.7, 1],
            "average_precision": [0.9, 0.9, 0.5, 0.5], "prevalence": [0.495, 0.495, 0.505, 0.505],
        }
    )  # fmt: skip
    figure = plots.pr_figure({"intermediate": frame})
    first, second, chance = figure.axes[0].lines
    np.testing.assert_allclose(first.get_ydata(), [0.3, 1])
    np.testing.assert_allclose(second.get_ydata(), [0.7, 1])
    assert first.get_drawstyle() == "steps-post"
    assert chance.get_ydata()[0] == 0.5
    assert figure.axes[0].get_title(loc="left") == "Intermediate fusion\nmean AP 0.70"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    # Where one class is frequent, guessing it is more precise: a line for each, in its colour.
    figure = plots.pr_figure({"early": frame.assign(prevalence=[0.3, 0.3, 0.7, 0.7])})
    *curves, rare, frequent = figure.axes[0].lines
    assert (rare.get_ydata()[0], frequent.get_ydata()[0]) == (0.3, 0.7)
    assert [line.get_color() for line in (rare, frequent)] == [line.get_color() for line in curves]
    assert "chance of each class" in texts(figure)


def test_pr_figure_draws_more_classes_than_colours():
    """The tenth class has the first colour, dotted."""
    frame = pd.DataFrame(
        {
            "class": list("abcdefghij"), "recall": 0.5, "precision": 0.5,
            "average_precision": 0.5, "prevalence": 0.1,
        }
    )  # fmt: skip
    lines = plots.pr_figure({"late": frame}).axes[0].lines
    assert len(lines) == 11
    assert lines[9].get_linestyle() == ":"
    assert lines[9].get_color() == lines[0].get_color()


def test_score_figure_draws_value_interval_and_chance():
    """A row per model: dot at the value, line over the interval, chance dashed."""
    table = pd.DataFrame(
        [
            ("mitochondria", "mcc", 0.25, -0.1, 0.5),
            ("early", "mcc", 0.75, 0.6, 0.8),
            ("mitochondria", "auroc", 0.6, 0.5, 0.7),
            ("early", "auroc", 0.9, 0.8, 0.95),
        ],
        columns=["model", "metric", "value", "low", "high"],
    )
    figure = plots.score_figure(table, {"mcc": 0.0, "auroc": 0.5})
    auroc, mcc = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["AUROC", "MCC"]
    chance, interval, dot, *other = mcc.lines
    assert chance.get_xdata()[0] == 0.0
    assert list(interval.get_xdata()) == [-0.1, 0.5]
    assert list(dot.get_xdata()) == [0.25]
    assert list(other[1].get_xdata()) == [0.75]
    assert to_hex(dot.get_color()) == style.SINGLE_COLOR
    assert to_hex(other[1].get_color()).upper() == style.STRATEGY_COLORS["early"]
    assert mcc.get_xlim()[0] < -0.1
    assert {"0.25", "0.75"} <= set(texts(mcc))
    assert [t.get_text() for t in auroc.get_yticklabels()] == ["Mitochondria", "Early fusion"]


def test_encoder_stages_sum_layers_of_one_size():
    """Padding is no stage; parameters of convolution and normalisation add up."""
    stages = plots_networks.encoder_stages(layers(encoder("encoder")), "encoder")
    assert [tuple(stage) for stage in stages] == [
        ("stem", (4, 4, 2), 30),
        ("block1", (2, 2, 5), 300),
        ("embedding", (5,), 0),
    ]


def boxes(axes, color=None):
    found = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return [box for box in found if color in (None, to_hex(box.get_edgecolor()).upper())]


def test_early_fusion_is_one_encoder_under_three_sheets():
    """Three input sheets, one lane of three stages, dense and classes; 1,870 parameters."""
    table = layers([("", "image", "InputLayer", (8, 8, 3), 0), *encoder("encoder"), *head(6)])
    figure = plots_networks.architecture_figure({"early": table})
    (axes,) = figure.axes
    assert len(boxes(axes)) == 5
    sheets = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [to_hex(s.get_edgecolor()).upper() for s in sheets] == list(reversed(style.INK[:3]))
    assert axes.get_title(loc="left") == "Early fusion: 1.9 k parameters"
    assert {"8×8\n×3", "4×4\n×2", "2×2\n×5", "5", "dense\n7", "6\nclasses"} <= set(texts(axes))
    assert {"30", "300", "1.5 k", "stem", "block1"} <= set(texts(axes))


def test_intermediate_and_late_fusion_differ_where_they_join():
    """One head behind joined embeddings, against a head per organelle and a weighted mean."""
    image = ("", "image", "InputLayer", (8, 8, 3), 0)
    lanes = [row for name in CHANNELS for row in encoder(f"encoder_{name}")]
    joined = ("", "fusion", "Concatenate", (15,), 0)
    intermediate = layers([image, *lanes, joined, *head(6)])
    late = layers([("", "image", "InputLayer", (8, 8, 1), 0), *encoder("encoder"), *head(6)])
    figure = plots_networks.architecture_figure({"intermediate": intermediate, "late": late})
    first, second = figure.axes
    # 3 × 330 + 1,540 and 3 × (330 + 1,540)
    assert first.get_title(loc="left") == "(a) Intermediate fusion: 2.5 k parameters"
    assert second.get_title(loc="left") == "(b) Late fusion: 5.6 k parameters"
    assert "joined\n15" in texts(first)
    assert "weighted\nmean" in texts(second)
    for ink in style.INK[:3]:
        assert len(boxes(first, ink)) == 3
        assert len(boxes(second, ink)) == 5
    assert texts(first).count("6\nclasses") == 1
    assert texts(second).count("6\nclasses") == 3


def test_spatial_fusion_has_a_lane_of_mixed_maps():
    """Encoders end before the last stage; each has its own, and one lane sees them all."""
    lanes = [
        (f"encoder_{name}", *row[1:])
        for name in CHANNELS
        for row in [*encoder("any")[:-1], ("any", "lower_embedding", "Pooling", (5,), 0)]
    ]
    mixer = [
        *(("mixer", f"last_stage_{name}", "Functional", (1, 1, 7), 70) for name in CHANNELS),
        ("mixer", "joined", "Concatenate", (2, 2, 15), 0),
        ("mixer", "mix1", "Conv2D", (2, 2, 4), 60),
        ("mixer", "mix2", "Conv2D", (2, 2, 4), 144),
        ("mixer", "mixed", "Pooling", (4,), 0),
        ("mixer", "fusion", "Concatenate", (25,), 0),
    ]
    image = ("", "image", "InputLayer", (8, 8, 3), 0)
    figure = plots_networks.architecture_figure(
        {"spatial": layers([image, *lanes, *mixer, *head(6)])}
    )
    (axes,) = figure.axes
    # 3 × (330 + 70) + 204 and 1,540
    assert axes.get_title(loc="left") == "Spatial fusion: 2.9 k parameters"
    assert {"mixed\n2×2\n×4", "204", "joined\n25", "1×1\n×7", "last stage"} <= set(texts(axes))
    for ink in style.INK[:3]:
        assert len(boxes(axes, ink)) == 4
    assert len(boxes(axes)) == 3 * 4 + 2 + 2


def test_architecture_figure_refuses_what_it_cannot_draw():
    """A single-channel model is drawn as part of late fusion only."""
    with pytest.raises(ValueError, match="found single"):
        plots_networks.architecture_figure({"single": layers(head(6))})


def test_a_strategy_that_is_not_drawn_yet_is_refused(monkeypatch):
    """Not drawn as late fusion, whatever the strategies there are."""
    more = ("early", "intermediate", "late", "spatial", "gated")
    monkeypatch.setattr(plots_networks, "FUSIONS", more, raising=False)
    with pytest.raises(ValueError, match="expected early, intermediate, late, spatial and"):
        plots_networks.architecture_figure({"gated": layers(head(6))})


def test_figures_are_not_left_with_pyplot():
    """Else a notebook shows them twice, and long runs warn of open figures."""
    before = plt.get_fignums()
    figure = make_pipeline(0.5)
    assert plt.get_fignums() == before
    assert plt.rcParams["figure.dpi"] != style.STYLE["figure.dpi"]
    assert figure.get_dpi() == 150
    assert figure.get_size_inches()[0] == pytest.approx(style.WIDTH)


def test_no_word_is_smaller_than_8_points():
    """Legible at the width of the book's column."""
    counts = pd.DataFrame([[3, 1], [0, 2]], index=["a", "b"], columns=["a", "b"])
    for figure in (make_pipeline(0.5), plots.confusion_figure({"early": counts})):
        assert min(text.get_fontsize() for text in figure.findobj(plt.Text)) >= 8


def test_plots_and_evaluation_do_without_keras():
    """Both read files that a training wrote; importing them must be quick."""
    code = (
        "import sys, organelle_fusion.plots, organelle_fusion.evaluation;"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_patch_size_figure_draws_curves_and_squares_to_scale():
    """Two sizes, 4 and 8 µm at 0.5 µm a pixel: squares of 8 and 16 pixels about the cell."""
    scores = pd.DataFrame(
        [
            ("scored images", 100, 4.0, 0.5, 0.4, 0.7),
            ("scored images", 200, 8.0, 0.8, 0.6, 0.9),
            ("separate images", 100, 4.0, 0.3, 0.2, 0.4),
            ("separate images", 200, 8.0, 0.6, 0.5, 0.8),
        ],
        columns=["images", "size_px", "size_um", "value", "low", "high"],
    )
    outline = np.zeros((40, 40), bool)
    outline[20:30, 4:14] = True  # near the left border: the view is filled up with dark
    plane = np.ones((3, 40, 40))
    figure = plots_images.patch_size_figure(
        scores, 0.25, plane=plane, outline=outline, pixel_size_um=0.5
    )
    curve, *pictures = figure.axes
    drawn = [line for line in curve.lines if line.get_linestyle() in ("-", "--")]
    values = [list(line.get_ydata()) for line in drawn if len(line.get_ydata()) == 2]
    assert [0.5, 0.8] in values
    assert [0.3, 0.6] in values
    assert [0.25, 0.25] in values  # chance
    assert [t.get_text() for t in curve.get_xticklabels()] == ["100", "200"]
    assert [t.get_text() for t in curve.legend_.get_texts()] == [
        "scored images",
        "separate images",
    ]
    small, large = (axes for axes in pictures if axes.images)
    for axes, size in ((small, 8), (large, 16)):
        square = next(p for p in axes.patches if p.get_facecolor()[3] == 0)
        assert square.get_width() == square.get_height() == size
        shown = axes.images[0].get_array()
        middle = (np.array(shown.shape[:2]) - 1) / 2
        assert square.get_x() + size / 2 == middle[1]
        assert shown[int(middle[0]), int(middle[1])].tolist() == [1, 1, 1]  # bright inside
    # The cell's centre, column 8.5, is in the middle, so the left of the view lies outside.
    assert large.images[0].get_array()[:, 0].max() == 0


def test_patch_size_figure_without_an_outline_shows_the_middle():
    scores = pd.DataFrame(
        {
            "images": "scored images", "size_px": [100], "size_um": [4.0], "value": [0.5],
            "low": [0.4], "high": [0.7],
        }
    )  # fmt: skip
    figure = plots_images.patch_size_figure(
        scores, 0.5, plane=np.ones((1, 21, 21)), outline=None, pixel_size_um=0.5
    )
    assert not any("outline" in text for text in texts(figure))


def test_grouping_figure_sets_foldings_side_by_side():
    """Each model has a mark per grouping, at its value."""
    rows = [("five", "early", 0.5), ("thirty", "early", 0.9), ("five", "late", 0.4),
            ("thirty", "late", 0.8)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["grouping", "model", "value"])
    table = table.assign(low=table["value"] - 0.1, high=table["value"] + 0.05)
    figure = plots.grouping_figure(table, 0.2)
    (axes,) = figure.axes
    marks = [line for line in axes.lines if line.get_marker() in ("o", "D")]
    assert [list(line.get_xdata()) for line in marks] == [[0.5, 0.4], [0.9, 0.8]]
    assert (marks[0].get_ydata() < marks[1].get_ydata()).all()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Early fusion", "Late fusion"]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["five", "thirty"]


def test_scorecard_figure_turns_every_finding_towards_its_claim():
    """One that should lie below its reference and does is drawn to the right of zero."""
    findings = pd.DataFrame(
        [
            ("C1", "gain", "phantom", 0.3, 0.2, 0.4, 0.0, "above", "holds"),
            ("C2", "loss", "phantom", -0.1, -0.2, 0.1, 0.0, "above", "open"),
            ("C10", "share", "networks", 0.01, np.nan, np.nan, 0.03, "below", "holds"),
            ("C7", "fewer", "phantom", -0.2, -np.inf, np.inf, 0.0, "apart", "open"),
        ],
        columns=[
            "claim", "measure", "data", "value", "low", "high", "reference", "sense", "outcome",
        ],
    )  # fmt: skip
    (axes,) = plots.scorecard_figure(findings).axes
    marks = [line for line in axes.lines if line.get_marker() in ("o", "s", "X")]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx([0.3, -0.1, 0.02, 0.2])
    bars = [
        line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"
    ]
    assert [list(bar.get_xdata()) for bar in bars[1:]] == [[0.2, 0.4], [-0.2, 0.1]]
    assert [t.get_text() for t in axes.get_yticklabels()][2] == "C10  share · networks"


def test_names_of_classes_are_no_formulas():
    """What looks like mathematics, and would be refused as such, stands as it was given."""
    names = ["$x^$", "<b>$\\frac$</b>"]
    counts = pd.DataFrame([[3, 1], [0, 2]], index=names, columns=names)
    figure = plots.confusion_figure({"early": counts})
    FigureCanvasAgg(figure).draw()
    assert set(names) <= {text.get_text() for text in figure.findobj(plt.Text)}


def test_rows_are_named_from_top_to_bottom():
    """Three rows a unit high, and a little room over the first and under the last."""
    axes = Figure().subplots()
    style.row_axis(axes, ["a", "b", "c"])
    assert axes.get_ylim() == (2.6, -0.6)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    style.row_axis(axes, ["a", "b"], above=0.7, below=0.55)
    assert axes.get_ylim() == (1.55, -0.7)
