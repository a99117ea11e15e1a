"""What the opening page shows of a run."""

import json
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread

from organelle_fusion import opening, plots, scorecard
from organelle_fusion.config import load_profile
from organelle_fusion.pages import PageError, open_run
from organelle_fusion.provenance import write_csv

MODELS = ["early_endosomes", "mitochondria", "recycling_endosomes"]
MODELS += ["early", "intermediate", "late", "spatial", "otccp_contacts"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Executed chapters of a run on the phantom whose scores are made up, as the project."""
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "notebooks").mkdir()
    executed = tmp_path / "book/executed"
    executed.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    given = {"parameters": {"profile": "smoke", "manifest": ""}}
    (executed / "14_scorecard.ipynb").write_text(json.dumps({"metadata": {"papermill": given}}))
    run = open_run(load_profile("smoke"))
    images = pd.DataFrame({"image": list("abcdefgh"), "label": ["one", "two"] * 4})
    write_csv(run.manifest, images.assign(path=images["image"] + ".tif", group=images["image"]))
    for name in images["image"]:
        (run.manifest.parent / f"{name}.tif").touch()
    rows = [
        (model, metric, 0.1 + place / 10, 0.05, 0.95)
        for place, model in enumerate(MODELS)
        for metric in ("balanced_accuracy", "auroc")
    ]
    columns = ["model", "metric", "value", "low", "high"]
    write_csv(run.folder / "table1.csv", pd.DataFrame(rows, columns=columns))
    better = {"value": 0.2, "low": 0.1, "high": 0.3}
    worse = {"value": -0.2, "low": -0.3, "high": -0.1}
    found = [
        scorecard.finding(claim, measure, figure, data=data, reference=reference)
        for claim, measure, figure, data, reference in (
            ("C1", "intermediate minus early fusion", better, "phantom", 0),
            ("C2", "intermediate minus singles", worse, "phantom", 0),
            ("C2", "intermediate minus singles", worse, "real cells", 0),
            ("C12", "not said here", better, "phantom", -0.05),
        )
    ]
    scorecard.write_findings(run.folder, "06", found)
    return executed


def test_opening_says_data_answer_and_verdicts(folder):
    opening.write_opening(folder)
    text = (folder / "opening.md").read_text("utf-8")
    assert '<div class="data-banner phantom"><b>Phantom.</b>' in text
    assert "Profile <code>smoke</code>" in text
    assert (
        "**Answer.** Intermediate minus early fusion: +0.20 in balanced accuracy (95 % interval "
        "+0.10 to +0.30); the interval lies above 0. Intermediate minus singles: -0.20"
    ) in text
    before, table = text.split(":::{table}")
    assert "not said here" not in before
    assert "{download}`CSV <executed/tables/tab-answer.csv>`" in table.splitlines()[0]
    assert len(pd.read_csv(folder / "tables/tab-answer.csv")) == 13
    assert "not about cancer cells" in text
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "| C" in line}
    assert len(rows) == 13
    assert rows["C1"].endswith("| a property of the method, shown on the phantom |")
    assert rows["C2"].endswith("| phantom: refuted<br>real cells: refuted |")
    assert rows["C3"].endswith("| not computed: cannot tell |")


def test_figure_shows_the_networks_only(folder, monkeypatch):
    """One score of each; the handcrafted row of table 1, which is by object, is left out."""
    drawn = []

    def note(table, chance):
        drawn.append((table.set_index("model")["value"].round(6).to_dict(), chance))
        return score_figure(table, chance)

    score_figure = plots.score_figure
    monkeypatch.setattr(plots, "score_figure", note)
    opening.write_opening(folder)
    ((values, chance),) = drawn
    assert values == dict(zip(MODELS, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), strict=False))
    assert chance["balanced_accuracy"] == 0.5
    offered = pd.read_csv(folder / "figures/fig-answer.csv").set_index("model")["value"]
    assert offered.round(6).to_dict() == values
    assert imread(folder / "figures/fig-answer.png").shape[1] > 1000
    assert "<!-- Balanced accuracy -->" in (folder / "figures/fig-answer.svg").read_text("utf-8")


def test_missing_results_name_their_chapter(folder):
    Path("data/runs/smoke/phantom/table1.csv").unlink()
    with pytest.raises(PageError, match=r"table1.csv: .* chapter 06"):
        opening.write_opening(folder)
