"""What the reference run has found, for the pages that show it beside their own scores."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.comparisons import paired_difference
from organelle_fusion.evaluation import score_table
from organelle_fusion.folds import read_folds
from organelle_fusion.pages import difference_sentence, project_root, show_table
from organelle_fusion.predictions import read_predictions, read_provenance
from organelle_fusion.provenance import note_file
from organelle_fusion.significance import interval_text
from organelle_fusion.wording import title

RESULTS = Path("data", "reference")
"""Folder of the results, below that of the repository; committed."""

RUN_FILE = "run.json"

QUESTIONS = {
    "phantom": [("spatial", "intermediate", -0.03)],
    "contact": [("spatial", "early", -0.03), ("early", "intermediate", 0.0)],
    "cell-lines-9": [("spatial", "intermediate", -0.03)],
}
"""What the run was made to decide, named before it: the lower end of the 95 % interval of the
difference in balanced accuracy by patch of two strategies lies above the third."""


def predictions_folder(place: Path) -> Path:
    """Folder of the predictions of a data set whose results lie in `place`."""
    return place / "predictions"


def folds_file(place: Path, seed: int) -> Path:
    """File of the folds of a data set that were drawn with this seed."""
    return place / "folds" / f"seed-{seed}.csv"


def read_json(path: Path) -> Any:
    """What a JSON file holds; None if there is no such file."""
    return json.loads(path.read_text("utf-8")) if note_file(path).is_file() else None


def reference_predictions(
    dataset: str, folding: str, root: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of the reference run, as far as they are there.

    Parameters
    ----------
    dataset
        ``phantom``, ``contact`` or ``cell-lines-9``.
    folding
        As in `predictions.Cell`: ``cv5``, ``cv5-wide-head`` or ``cell-lines-9``.
    root
        Folder of the repository; found from here unless given.

    Returns
    -------
    predictions : DataFrame
        Of the networks of which every fold of the first seed is there, see
        `predictions.read_predictions`; empty if there is none.
    facts : DataFrame
        One row per file: ``model``, ``device`` (its name), ``created`` (ISO date and time, UTC),
        ``version`` of this package, ``backend``.
    """
    root = project_root() if root is None else root
    # Noted whether it is there or not: with the first results it appears.
    run = read_json(root / RESULTS / RUN_FILE)
    place = root / RESULTS / dataset
    columns = ["model", "device", "created", "version", "backend"]
    nothing = pd.DataFrame(), pd.DataFrame(columns=columns)
    if run is None or not (place / "patches.json").is_file():
        return nothing
    seed = run["settings"]["folds"]["seed"]
    folds = read_folds(folds_file(place, seed))["fold"].nunique()
    paths, rows = [], []
    for folder in sorted((predictions_folder(place) / folding).glob("*px/*")):
        of_model = sorted(folder.glob(f"fold-*-seed-{seed}.parquet"))
        if len(of_model) != folds:
            continue
        paths += of_model
        for path in of_model:
            facts = read_provenance(path)
            rows.append(
                (
                    folder.name,
                    facts["details"].get("device_name"),  # late fusion is computed on none
                    facts["created"],
                    facts["organelle_fusion"],
                    facts["inputs"]["backend"],
                )
            )
    return (read_predictions(paths), pd.DataFrame(rows, columns=columns)) if paths else nothing


def made_sentence(facts: pd.DataFrame, dataset: str) -> str:
    """Say where and when reference results were computed, or that they are outstanding."""
    if facts.empty:
        return (
            f"The reference run (ResNet50, {_title(dataset)}) needs a GPU and is outstanding: "
            "there are no results of it to show."
        )
    dates = sorted({created[:10] for created in facts["created"]})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    devices = ", ".join(sorted(set(facts["device"].dropna())))
    return (
        f"Reference run (ResNet50, {_title(dataset)}): computed on {devices} by "
        f"{', '.join(sorted(set(facts['backend'])))}, {when}, version "
        f"{', '.join(sorted(set(facts['version'])))}."
    )


def beside_reference(
    predictions: pd.DataFrame,
    dataset: str,
    folding: str,
    *,
    own: str,
    name: str,
    repeats: int,
    seed: int,
    root: Path | None = None,
) -> list:
    """Scores of a page beside those of the reference run, and what that decides.

    Parameters
    ----------
    predictions
        The page's own.
    dataset, folding
        As in `reference_predictions`.
    own
        What the page's own scores are called: the name of its profile.
    name
        Label of the table.
    repeats, seed
        Of the bootstrap.
    root
        As in `reference_predictions`.

    Returns
    -------
    list of IPython.display.Markdown
        A table and sentences; one sentence if nothing is there yet.
    """
    from IPython.display import Markdown

    found, facts = reference_predictions(dataset, folding, root)
    made = made_sentence(facts, dataset)
    if found.empty:
        return [Markdown(made)]
    bootstrap = {"repeats": repeats, "seed": seed}
    columns = {
        column: _accuracies(frame, **bootstrap)
        for column, frame in ((own, predictions), ("reference", found))
    }
    models = [model for model in predictions["model"].unique() if model in columns["reference"]]
    table = pd.DataFrame(
        {
            "network": [title(model) for model in models],
            **{column: [texts[model] for model in models] for column, texts in columns.items()},
        }
    )
    caption = (
        f"Balanced accuracy by patch with 95 % intervals, profile {own} beside the reference run. "
        f"{made}"
    )
    answers = [_answer(found, a, b, margin, bootstrap) for a, b, margin in QUESTIONS[dataset]]
    return [show_table(table, caption, name), Markdown("\n".join(f"- {text}" for text in answers))]


def _answer(found: pd.DataFrame, a: str, b: str, margin: float, bootstrap: dict) -> str:
    if not {a, b} <= set(found["model"]):
        return (
            f"Reference run, not yet decided: {a} minus {b} fusion; folds of them are outstanding."
        )
    difference = paired_difference(found, a, b, **bootstrap)
    what = f"reference run, {a} minus {b} fusion, by patch"
    answer = difference_sentence(what, difference, margin=margin)
    asked = f"is a loss of {-margin:.2f} or more excluded" if margin < 0 else "is it above 0"
    return f"{answer} The question named before the run: {asked}?"


def _accuracies(frame: pd.DataFrame, **bootstrap) -> dict[str, str]:
    scores = score_table(frame, **bootstrap).query("metric == 'balanced_accuracy'")
    return {
        row.model: interval_text(row.value, row.low, row.high, sign="")
        for row in scores.itertuples()
    }


def _title(dataset: str) -> str:
    full = "at full resolution"
    titles = {"phantom": f"phantom {full}", "contact": f"contact phantom {full}"}
    return titles.get(dataset, f"real cells, {dataset}")
