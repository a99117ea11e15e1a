"""Files that figures and tables are offered as."""

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from organelle_fusion import downloads, plots, plots_handcrafted, plots_images
from organelle_fusion.downloads import data_of, with_data
from organelle_fusion.pages import show_table


def cell(data, figure=None, metadata=None):
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata or {})
    mystnb = {"mystnb": {"figure": figure}} if figure else {}
    return nbformat.v4.new_code_cell("x", outputs=[output], metadata=mystnb)


def written(folder, *cells):
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    downloads.write_files(notebook, folder)
    nbformat.validate(notebook)
    return notebook.cells


def test_figure_is_linked_as_svg_and_csv(tmp_path):
    """Both leave the notebook; the page keeps the picture."""
    data = {"image/png": "UE5H", "image/svg+xml": "<svg/>", "text/csv": "a\n1\n"}
    figure = {"name": "fig-x", "caption": "A figure."}
    (found,) = written(tmp_path, cell(data, figure, {"text/csv": {"name": ""}}))
    assert found.metadata["mystnb"]["figure"]["caption"] == (
        "A figure. {download}`SVG <figures/fig-x.svg>` {download}`CSV <figures/fig-x.csv>`"
    )
    assert found.outputs[0].data == {"image/png": "UE5H"}
    assert found.outputs[0].metadata == {}
    assert (tmp_path / "figures/fig-x.svg").read_text() == "<svg/>"
    assert (tmp_path / "figures/fig-x.csv").read_text() == "a\n1\n"


def test_what_has_no_numbers_has_no_csv(tmp_path):
    """A picture is offered as a drawing alone, and one without a name not at all."""
    data = {"image/png": "UE5H", "image/svg+xml": "<svg/>"}
    cells = written(tmp_path, cell(data, {"name": "fig-x", "caption": "A."}), cell(data))
    assert cells[0].metadata["mystnb"]["figure"]["caption"] == (
        "A. {download}`SVG <figures/fig-x.svg>`"
    )
    assert [path.name for path in tmp_path.rglob("*.*")] == ["fig-x.svg"]
    assert cells[1].outputs[0].data == {"image/png": "UE5H"}


def test_table_is_linked_from_its_caption(tmp_path):
    """The link is part of the first line, and the rest of the table stays as it is."""
    shown = show_table(pd.DataFrame({"a": [1]}), "Counts.", "tab-x")
    bundle, facts = downloads._bundle(shown)
    (found,) = written(tmp_path, cell({"text/markdown": shown.data, **bundle}, None, facts))
    first, *rest = found.outputs[0].data["text/markdown"].splitlines()
    assert first == ":::{table} Counts. {download}`CSV <tables/tab-x.csv>`"
    assert rest == shown.data.splitlines()[1:]
    assert (tmp_path / "tables/tab-x.csv").read_text() == "a\n1\n"


def test_csv_of_a_table_holds_what_is_shown_or_the_numbers_behind_it():
    """The second in full precision; a missing value is an empty cell."""
    frame = pd.DataFrame({"score": ["0.33"], "n": [3]})
    behind = pd.DataFrame({"value": [1 / 3, np.nan]})
    assert downloads._bundle(show_table(frame, "c", "tab-x")) == (
        {"text/csv": "score,n\n0.33,3\n"},
        {"text/csv": {"name": "tab-x"}},
    )
    shown = show_table(frame, "c", "tab-x", data=behind)
    assert downloads._bundle(shown)[0] == {"text/csv": 'value\n0.3333333333333333\n""\n'}
    assert "1/3" not in shown.data
    assert "0.33" in shown.data


def test_a_figure_keeps_its_numbers_and_others_have_none():
    figure = plt.figure()
    plt.close(figure)
    assert data_of(figure) is None
    assert downloads._bundle(figure) == ({}, {})
    frame = pd.DataFrame({"x": [1.5]})
    assert with_data(figure, frame) is figure
    assert data_of(figure) is frame


def test_numbers_of_confusion_matrices_are_cells_and_shares():
    """Of the true class, in either matrix; a class without rows has the share that is drawn."""
    names = ["a", "b"]
    first = pd.DataFrame([[3, 1], [0, 0]], index=names, columns=names)
    second = pd.DataFrame([[2, 2], [1, 0]], index=names, columns=names)
    found = data_of(plots.confusion_figure({"early": first, "late": second}))
    assert list(found.columns) == ["model", "true", "predicted", "count", "share"]
    assert found.to_numpy().tolist() == [
        ["early", "a", "a", 3, 0.75],
        ["early", "a", "b", 1, 0.25],
        ["early", "b", "a", 0, 0.0],
        ["early", "b", "b", 0, 0.0],
        ["late", "a", "a", 2, 0.5],
        ["late", "a", "b", 2, 0.5],
        ["late", "b", "a", 1, 1.0],
        ["late", "b", "b", 0, 0.0],
    ]


def test_points_of_a_curve_that_cannot_be_told_apart_are_one():
    """10,001 points in a line of length 1 fall into squares of 0.005; both ends stay."""
    recall = np.linspace(1, 0, 10_001)
    curve = pd.DataFrame({"class": "a", "recall": recall, "precision": 0.5})
    curve = curve.assign(average_precision=0.5, prevalence=0.2)
    other = curve.assign(**{"class": "b"})
    found = data_of(plots.pr_figure({"early": pd.concat([curve, other])}))
    for name in "ab":
        points = found.loc[found["class"] == name, "recall"].to_numpy()
        assert 200 <= len(points) <= 203
        assert points[[0, -1]].tolist() == [1, 0]
        assert np.abs(np.diff(points)).max() < 0.0051
    few = curve.iloc[[0, 5000, 10_000]]
    assert len(data_of(plots.pr_figure({"early": few}))) == 3


def test_numbers_of_a_histogram_are_its_bars():
    counts, edges = np.array([6, 3, 1]), np.array([0.0, 10, 20, 30])
    figure = plots_images.otsu_figure({"mitochondria": (edges, counts)}, {"mitochondria": 15.0})
    assert data_of(figure).to_numpy().tolist() == [
        ["mitochondria", 0, 10, 6, 15],
        ["mitochondria", 10, 20, 3, 15],
        ["mitochondria", 20, 30, 1, 15],
    ]


def test_numbers_of_remainders_are_shares_of_the_objects_of_a_batch():
    """Two lengths on a multiple of their own step: one bar of 1, in the middle of 41."""
    steps = {"near": 0.2, "far": 0.3}
    figure = plots_handcrafted.remainder_figure(
        pd.Series([0.4, 0.8, 0.3, 0.6]), pd.Series(["near", "near", "far", "far"]), steps
    )
    bars = data_of(figure)
    assert len(bars) == 4 * 41
    own = bars[(bars["batch"] == "near") & (bars["step_of"] == "near")]
    full = own[own["share"] > 0]
    assert full["share"].tolist() == [1.0]
    assert full["from_steps"].item() < 0 < full["to_steps"].item()
    assert bars.groupby(["batch", "step_of"])["share"].sum().tolist() == pytest.approx([1] * 4)
