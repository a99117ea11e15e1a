"""The trials of a search for settings: their file, the best of them, and the paper's beside them.

What searches is `hyperband`; nothing here needs Keras.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from organelle_fusion.config import TrainingSettings, TuningSettings, UserError
from organelle_fusion.provenance import note_file, write_csv

OBJECTIVE = "val_accuracy"
"""Column of the trials that says which is best."""

SEARCHED = ("learning_rate", "dropout", "dense_units", "l2", "batch_size")
"""Settings that are searched; names as in `TrainingSettings`."""

COLUMNS = ["fold", "trial", "bracket", "epochs", *SEARCHED, OBJECTIVE]
"""Columns of a file of trials."""

_NOT_WHOLE = ("learning_rate", "dropout", "l2", OBJECTIVE)

# Title in tables, and the paper's value (Training).
_SETTINGS = {
    "learning_rate": ("initial learning rate", "3, exponent lost (3·10⁻⁴ or 3·10⁻⁵)"),
    "dropout": ("dropout", "0.4"),
    "dense_units": ("units of the dense layer", "not given"),
    "l2": ("L2 factor", "not given"),
    "batch_size": ("batch size", "32"),
}


class TrialsError(UserError):
    """Trials that cannot be used; the message is one line."""


def candidate_settings(
    trials: pd.DataFrame, training: TrainingSettings, n: int
) -> list[TrainingSettings]:
    """Settings of the `n` best trials that differ in what was searched, the best first.

    Best is the highest validation accuracy; of equals, the trial of more epochs, then the earlier.

    Parameters
    ----------
    trials
        Frame of `tuning.tune`, `tuning.tune_folds` or `read_trials`.
    training
        Gives all settings that were not searched, the epochs among them.
    n
        Number of settings.

    Returns
    -------
    list of TrainingSettings

    Raises
    ------
    TrialsError
        There are fewer than `n` distinct ones.
    """
    ranked = trials.sort_values(
        [OBJECTIVE, "epochs", "trial"], ascending=[False, False, True], kind="stable"
    ).drop_duplicates(list(SEARCHED))
    if len(ranked) < n:
        raise TrialsError(
            f"trials: expected {n} with different settings, found {len(ranked)}; ask for fewer, or "
            "raise tuning.max_epochs for a longer search"
        )
    return [with_values(training, row) for row in ranked.head(n).to_dict("records")]


def chosen_settings(
    trials: pd.DataFrame, training: TrainingSettings
) -> dict[int, TrainingSettings]:
    """Settings of the best trial of each fold; order as in `candidate_settings`."""
    return {
        int(number): candidate_settings(of_fold, training, 1)[0]
        for number, of_fold in trials.groupby("fold", sort=True)
    }


def with_values(training: TrainingSettings, values: Mapping[str, Any]) -> TrainingSettings:
    """Give `training` with the values of a trial in place of its own."""
    searched = {name: values[name] for name in SEARCHED}
    return TrainingSettings.model_validate(training.model_dump() | searched)


def write_trials(path: Path, trials: pd.DataFrame) -> None:
    """Write the trials of `tuning.tune_folds` as CSV, atomically."""
    write_csv(path, trials[COLUMNS])


def read_trials(path: Path) -> pd.DataFrame:
    """Read what `write_trials` wrote, to the last digit.

    Raises
    ------
    TrialsError
        No file, columns that differ, no trial, or a row (numbered as in the file, the header is
        1) with a value that is no number, negative, or no whole one where it should be.
    """
    path = note_file(path)
    remedy = "run chapter 04 again"
    if not path.is_file():
        raise TrialsError(f"{path}: expected a file of trials, found none; {remedy}")
    trials = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(trials.columns) != COLUMNS or trials.empty:
        raise TrialsError(
            f"{path}: expected columns {','.join(COLUMNS)} and a row for each trial, found "
            f"{','.join(trials.columns)} and {len(trials)} rows; {remedy}"
        )
    for column in COLUMNS:
        whole = column not in _NOT_WHOLE
        texts = trials[column].tolist()
        # Python's own reading of numbers: that of pandas may differ in the last digit.
        values = [_number(text) for text in texts]
        for row, value in enumerate(values):
            if not 0 <= value < np.inf or (whole and value % 1):
                raise TrialsError(
                    f"{path}: row {row + 2}: {column}: expected a {'whole ' * whole}number, 0 or "
                    f"more, found {texts[row]!r}; {remedy}"
                )
        trials[column] = np.array(values, dtype=int if whole else float)
    return trials


def trials_table(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials as a page shows them: rounded; the fold only where there are several."""
    table = trials[COLUMNS if len(trials["fold"].unique()) > 1 else COLUMNS[1:]].copy()
    for name in ("learning_rate", "dropout", "l2"):
        table[name] = [_text(value) for value in trials[name]]
    table[OBJECTIVE] = [f"{value:.2f}" for value in trials[OBJECTIVE]]
    return table.rename(columns={"l2": "L2", OBJECTIVE: "validation_accuracy"})


def chosen_table(
    trials: pd.DataFrame, training: TrainingSettings, settings: TuningSettings
) -> pd.DataFrame:
    """Values of the best trials beside those of the profile and of the paper, as text.

    Parameters
    ----------
    trials
        Frame of `tuning.tune_folds`.
    training, settings
        Of the profile.

    Returns
    -------
    pandas.DataFrame
        Setting; Searched; Chosen, or one column "Chosen, fold k" for each fold where there are
        several; Profile; Paper. Numbers are rounded to two digits.
    """
    chosen = chosen_settings(trials, training)
    rows = []
    for name, (words, published) in _SETTINGS.items():
        searched = getattr(settings, name)
        if name in _NOT_WHOLE:
            between = " to ".join(map(_text, searched)) + ", logarithmic" * (name != "dropout")
        else:
            between = ", ".join(map(str, searched))
        dense = name == "dense_units"
        rows.append(
            {
                "Setting": words,
                "Searched": between,
                **{
                    "Chosen" if len(chosen) == 1 else f"Chosen, fold {fold}": _text(
                        getattr(own, name)
                    )
                    for fold, own in chosen.items()
                },
                # Not rounded: it is compared with the paper's.
                "Profile": str(
                    training.head_width("intermediate") if dense else getattr(training, name)
                ),
                "Paper": published,
            }
        )
    return pd.DataFrame(rows)


def chosen_values(table: pd.DataFrame) -> dict[str, str]:
    """Setting → value that the search of a `chosen_table` has found.

    Where folds have found several, these are parted by " / ", each named once.
    """
    chosen = table.set_index("Setting").filter(like="Chosen")
    return {name: " / ".join(dict.fromkeys(values)) for name, values in chosen.iterrows()}


def settings_of_paper(table: pd.DataFrame) -> list[str]:
    """Settings of a `chosen_table` in which the profile has the paper's value."""
    return table.loc[table["Profile"] == table["Paper"], "Setting"].tolist()


def longest_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of the most epochs; some in two stretches, see `hyperband.search_settings`."""
    return trials[trials["epochs"] == trials["epochs"].max()]


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2g}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
