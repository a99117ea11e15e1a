"""What the opening page shows of a run: its data, its answer, one figure and one table.

Made from the results of the run that the scorecard was made from, whenever the pages are built.
"""

from pathlib import Path

import pandas as pd

from organelle_fusion import scorecard
from organelle_fusion.colophon import papermill_facts
from organelle_fusion.config import FUSIONS, load_profile
from organelle_fusion.downloads import data_of, offered_table
from organelle_fusion.evaluation import NOT_COMPUTED, chance_levels
from organelle_fusion.histories import known_words
from organelle_fusion.pages import (
    Run,
    data_banner,
    difference_sentence,
    open_run,
    results_folder,
    show_table,
)
from organelle_fusion.provenance import atomic_path, read_csv, write_csv

CHAPTER = "14_scorecard"
"""The chapter whose run is shown: the last of the study."""

FIGURE = "figures/fig-answer"
"""Its PNG, SVG and CSV, below the executed chapters."""


def write_opening(folder: Path) -> None:
    """Write ``opening.md``, which the opening page includes, and its figure.

    Parameters
    ----------
    folder
        Holds the executed chapters.

    Raises
    ------
    PageError
        Results of the run are not there.
    """
    given = papermill_facts(folder / f"{CHAPTER}.ipynb")["parameters"]
    settings = load_profile(given["profile"])
    run = open_run(settings, given["manifest"])
    images = run.read()
    scores = read_csv(run.require(run.folder / "table1.csv", "06"), text=("model", "metric"))
    found = read_csv(run.require(run.folder / "findings" / "06.csv", "06"))
    claims = scorecard.read_claims()
    findings = scorecard.read_findings([run.folder, results_folder(settings, "cell-lines-9")])
    card = scorecard.scorecard(claims, findings, labels=() if run.is_phantom else images["label"])
    _draw(scores, [*settings.channels, *FUSIONS], images["label"], folder)
    text = "Rows of the table that say so come from real cells or from the networks alone."
    parts = [
        data_banner(settings, run, text).data,
        answer(found, run),
        _figure(run),
        offered_table(
            show_table(
                verdict_table(card),
                f"The paper's claims in its own words, and the verdict of this book on each "
                f"({run.data}, real cells, networks).",
                "tab-answer",
            ),
            folder,
            "executed",
        ),
        known_words(results_folder(settings, "cell-lines-9")),
    ]
    with atomic_path(folder / "opening.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", "utf-8")


def answer(found: pd.DataFrame, run: Run) -> str:
    """Say how intermediate fusion compares with its rivals.

    Parameters
    ----------
    found
        Findings of chapter 6, see `scorecard.COLUMNS`.
    run
        Where they come from.
    """
    asked = found[found["claim"].isin(["C1", "C2"])]
    sentences = [difference_sentence(row["measure"], row) for row in asked.to_dict("records")]
    if run.is_phantom:
        sentences.append("All of this is about the phantom, not about cancer cells.")
    return " ".join(["**Answer.**", *sentences])


def verdict_table(card: pd.DataFrame) -> pd.DataFrame:
    """One row per claim of a scorecard: its number, its wording, and a line per kind of data.

    Parameters
    ----------
    card
        Of `scorecard.scorecard`.
    """
    rows = []
    for (name, wording), part in card.groupby(["claim", "wording"], sort=False):
        lines = [
            verdict
            if verdict == scorecard.PROPERTY
            else f"{NOT_COMPUTED if data == 'none' else data}: {verdict}"
            for data, verdict in zip(part["data"], part["verdict"], strict=True)
        ]
        rows.append((name, wording, "\n".join(lines)))
    return pd.DataFrame(rows, columns=["claim", "the paper", "this book"])


def _draw(scores: pd.DataFrame, models: list[str], labels: pd.Series, folder: Path) -> None:
    """Balanced accuracy of all networks, as PNG, SVG and CSV."""
    from organelle_fusion.plots import score_figure

    table = scores[(scores["metric"] == "balanced_accuracy") & scores["model"].isin(models)]
    figure = score_figure(table, chance_levels(labels, sorted(set(labels))))
    (folder / FIGURE).parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        with atomic_path(folder / f"{FIGURE}.{suffix}") as temporary:
            figure.savefig(temporary, format=suffix)
    write_csv(folder / f"{FIGURE}.csv", data_of(figure))


def _figure(run: Run) -> str:
    place = f"executed/{FIGURE}"
    return "\n".join(
        [
            f"```{{figure}} {place}.png",
            ":name: fig-answer",
            ":alt: Dot plot of balanced accuracy with intervals, of single organelles and fusions",
            "",
            "Balanced accuracy of each organelle alone and of each way to fuse them, by patch, in",
            "folds that keep images whole, with 95 % intervals over resampled groups; "
            f"data: {run.data}.",
            "{doc}`Chapter 6 <executed/06_fusion_cv5>` has all four scores.",
            f"{{download}}`SVG <{place}.svg>` {{download}}`CSV <{place}.csv>`",
            "```",
        ]
    )
