"""What the reference run has found, for the pages that show it beside their own scores."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from organelle_fusion.comparisons import paired_difference
from organelle_fusion.evaluation import score_table
from organelle_fusion.folds import read_folds
from organelle_fusion.pages import difference_sentence, show_table
from organelle_fusion.predictions import read_predictions, read_provenance
from organelle_fusion.provenance import hash_of, note_file, read_json
from organelle_fusion.repository import project_root
from organelle_fusion.significance import interval_texts
from organelle_fusion.wording import title

RESULTS = Path("data", "reference")
"""Folder of the results, below that of the repository; committed."""

RUN_FILE = "run.json"

_FACTS = ["model", "device", "created", "version", "backend"]

SUFFIXES = {"cv5-wide-head": ", wide head"}
"""What tables add to the name of a network where its data set stands for settings of its own."""

QUESTIONS = {
    "phantom": [("spatial", "intermediate", -0.03)],
    "contact": [
        ("spatial", "early", -0.03),
        ("early", "intermediate", 0.0),
        ("spatial", "intermediate", 0.0),
    ],
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


def reference_predictions(
    dataset: str, folding: str, root: Path | None = None, *, repeated: bool = False
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
    repeated
        All divisions into folds, each with a seed of its own; else the first.

    Returns
    -------
    predictions : DataFrame
        Of the networks of which every fold of these divisions is there and all folds were trained
        alike, see `predictions.read_predictions`; empty if there is none. While a run is made anew,
        old files lie beside new ones: those of the patches and folds that are recorded count, and
        of these the networks with the settings, code, backend and kind of device of the newest.
    facts : DataFrame
        One row per file: ``model``, ``device`` (its name), ``created`` (ISO date and time, UTC),
        ``version`` of this package, ``backend``.
    """
    root = project_root() if root is None else root
    # Noted whether it is there or not: with the first results it appears.
    run = read_json(root / RESULTS / RUN_FILE)
    place = root / RESULTS / dataset
    nothing = pd.DataFrame(), pd.DataFrame(columns=_FACTS)
    if run is None or not (place / "patches.json").is_file():
        return nothing
    data = read_json(place / "patches.json")["data_hash"]
    first = run["settings"]["folds"]["seed"]
    seeds = run["settings"]["many_folds"]["repeats"] if repeated else 1
    expected = {}  # name of a file → hash of the folds that it has to be of
    for seed in range(first, first + seeds):
        if not note_file(folds_file(place, seed)).is_file():
            return nothing
        folds = read_folds(folds_file(place, seed))
        for fold in folds["fold"].unique():
            expected[f"fold-{fold:02d}-seed-{seed}.parquet"] = hash_of(folds)
    models = {}
    for folder in sorted((predictions_folder(place) / folding).glob("*px/*")):
        if all((folder / name).is_file() for name in expected):
            of_model = {folder / name: read_provenance(folder / name) for name in expected}
            wanted = [(data, folds) for folds in expected.values()]
            found = [(one["inputs"]["data"], one["inputs"]["folds"]) for one in of_model.values()]
            if found == wanted and len({_how(one) for one in of_model.values()}) == 1:
                models[folder.name] = of_model
    if not models:
        return nothing
    newest = _newest(models)
    rows, paths = [], []
    for model, of_model in models.items():
        how = _how(next(iter(of_model.values())))
        if how[:3] == newest[:3] and how[3] in (None, newest[3]):
            paths += of_model
            rows += [_fact_row(model, facts) for facts in of_model.values()]
    return read_predictions(paths), pd.DataFrame(rows, columns=_FACTS)


def _how(facts: dict) -> tuple:
    """Settings, code, backend, and kind of device: None of late fusion, which needs none."""
    return *(facts["inputs"][name] for name in ("settings", "code", "backend")), facts["device"]


def _newest(models: dict[str, dict[Path, dict]]) -> tuple:
    """How the newest file was made, of those made on a device if there are any."""
    files = [facts for of_model in models.values() for facts in of_model.values()]
    files = [facts for facts in files if facts["device"]] or files
    return _how(max(files, key=lambda facts: facts["created"]))


def _fact_row(model: str, facts: dict) -> tuple:
    return (
        model,
        facts["details"].get("device_name"),
        facts["created"],
        facts["organelle_fusion"],
        facts["inputs"]["backend"],
    )


def made_sentence(facts: pd.DataFrame, dataset: str, repeated: bool = False) -> str:
    """Say where and when reference results were computed, or that they are outstanding."""
    what = f"ResNet50, {_title(dataset)}" + ", further divisions into folds" * repeated
    if facts.empty:
        return (
            f"The reference run ({what}) needs a GPU and has not been done yet: "
            "there are no results of it to show."
        )
    dates = sorted({created[:10] for created in facts["created"]})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    devices = ", ".join(sorted(set(facts["device"].dropna())))
    return (
        f"Reference run ({what}): computed on {devices} by "
        f"{', '.join(sorted(set(facts['backend'])))}, {when}, version "
        f"{', '.join(sorted(set(facts['version'])))}."
    )


def beside_reference(
    predictions: Mapping[str, pd.DataFrame],
    dataset: str,
    *,
    own: str,
    name: str,
    repeats: int,
    seed: int,
    repeated: bool = False,
    root: Path | None = None,
) -> list:
    """Scores of a page beside those of the reference run, and what that decides.

    Parameters
    ----------
    predictions
        The page's own, by folding as in `reference_predictions`; the first is what the questions
        are about.
    dataset
        As in `reference_predictions`.
    own
        What the page's own scores are called: the name of its profile.
    name
        Label of the table.
    repeats, seed
        Of the bootstrap.
    repeated, root
        As in `reference_predictions`.

    Returns
    -------
    list of IPython.display.Markdown
        A table and sentences; one sentence if nothing is there yet.
    """
    from IPython.display import Markdown

    read = {
        folding: reference_predictions(dataset, folding, root, repeated=repeated)
        for folding in predictions
    }
    found = next(iter(read.values()))[0]
    made = made_sentence(pd.concat([facts for _, facts in read.values()]), dataset, repeated)
    if found.empty:
        return [Markdown(made)]
    bootstrap = {"repeats": repeats, "seed": seed}
    rows = []
    for folding, of_page in predictions.items():
        of_run = read[folding][0]
        if of_run.empty:
            continue
        texts = [_accuracies(frame, **bootstrap) for frame in (of_page, of_run)]
        rows += [
            (title(model) + SUFFIXES.get(folding, ""), *(one[model] for one in texts))
            for model in of_page["model"].unique()
            if model in texts[1]
        ]
    caption = (
        f"Balanced accuracy by patch with 95 % intervals, profile {own} beside the reference run. "
        f"{made}"
    )
    table = pd.DataFrame(rows, columns=["network", own, "reference"])
    answers = [_answer(found, a, b, margin, bootstrap) for a, b, margin in QUESTIONS[dataset]]
    return [show_table(table, caption, name), Markdown("\n".join(f"- {text}" for text in answers))]


def _answer(found: pd.DataFrame, a: str, b: str, margin: float, bootstrap: dict) -> str:
    if not {a, b} <= set(found["model"]):
        return f"Reference run, not yet decided: {a} minus {b} fusion; some folds are missing."
    difference = paired_difference(found, a, b, **bootstrap)
    what = f"reference run, {a} minus {b} fusion, by patch"
    answer = difference_sentence(what, difference, margin=margin)
    asked = f"is a loss of {-margin:.2f} or more excluded" if margin < 0 else "is it above 0"
    return f"{answer} The question named before the run: {asked}?"


def _accuracies(frame: pd.DataFrame, **bootstrap) -> dict[str, str]:
    scores = score_table(frame, **bootstrap).query("metric == 'balanced_accuracy'")
    return dict(zip(scores["model"], interval_texts(scores, ""), strict=True))


def _title(dataset: str) -> str:
    full = "at full resolution"
    titles = {"phantom": f"phantom {full}", "contact": f"contact phantom {full}"}
    return titles.get(dataset, f"real cells, {dataset}")
