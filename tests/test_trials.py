"""Trials: ranked by hand, read back to the last digit, and set beside the paper's values."""

import pandas as pd
import pytest
from pydantic import ValidationError

from organelle_fusion.config import HeadWidths, TrainingSettings, TuningSettings
from organelle_fusion.trials import (
    COLUMNS,
    TrialsError,
    candidate_settings,
    chosen_settings,
    chosen_table,
    chosen_values,
    longest_trials,
    read_trials,
    settings_of_paper,
    trials_table,
    write_trials,
)

TRAINING = TrainingSettings(
    epochs=40,
    patience=7,
    batch_size=32,
    learning_rate=3e-4,
    decay_rate=0.95,
    decay_steps=175,
    dropout=0.4,
    l2=1e-4,
    dense_units=HeadWidths(single=5, early=6, intermediate=700, spatial=7),
    steps_per_execution=3,
)
SETTINGS = TuningSettings(
    max_epochs=8,
    factor=3,
    seed=1,
    learning_rate=(3e-4, 1e-2),
    dropout=(0.2, 0.6),
    l2=(1e-5, 1e-3),
    dense_units=(64, 1024),
    batch_size=(16, 32),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": (1e-2, 3e-4)}, "learning_rate: expected ascending values"),
        ({"l2": (0, 1e-3)}, "l2.0\n.*greater than 0"),
        ({"dropout": (0.2, 1)}, "dropout: expected shares below 1, found 1.0"),
        ({"batch_size": (32, 16)}, "batch_size: expected ascending values"),
        ({"dense_units": ()}, "dense_units\n.*at least 1 item"),
        ({"factor": 9}, "max_epochs: expected at least factor, 9, found 8"),
        ({"seed": 0}, "seed\n.*greater than 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_searched_are_refused(change, message):
    """Ends in the wrong order, no logarithm, no choice, no early stop, and a seed of "any"."""
    with pytest.raises(ValidationError, match=message):
        TuningSettings.model_validate(SETTINGS.model_dump() | change)


def trials():
    """Trial 4 goes on from 2; 5 equals it in accuracy and epochs, and 3 in accuracy only."""
    rows = [
        (0, 1, 1, 3, 0.001, 0.20, 64, 1e-4, 16, 0.50),
        (0, 2, 1, 3, 0.1 + 0.2, 0.21, 64, 2e-4, 32, 0.70),
        (0, 3, 1, 3, 0.003, 0.22, 1024, 3e-4, 16, 0.90),
        (0, 4, 1, 8, 0.1 + 0.2, 0.21, 64, 2e-4, 32, 0.90),
        (0, 5, 0, 8, 0.005, 0.24, 1024, 5e-4, 32, 0.90),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_candidates_are_ranked_and_distinct():
    """By accuracy, then epochs, then number: 4, 5, 3, 1; trial 2 has the settings of 4."""
    found = candidate_settings(trials(), TRAINING, 4)
    assert [of.dropout for of in found] == [0.21, 0.24, 0.22, 0.20]
    assert found[0] == TRAINING.model_copy(
        update={
            "learning_rate": 0.1 + 0.2,
            "dropout": 0.21,
            "l2": 2e-4,
            "dense_units": 64,
            "batch_size": 32,
        }
    )
    assert [type(value) for value in (found[0].dense_units, found[0].batch_size)] == [int, int]


def test_candidates_do_not_depend_on_the_order_of_the_rows():
    """A file sorted otherwise gives the same settings."""
    shuffled = trials().iloc[[3, 0, 4, 2, 1]]
    assert candidate_settings(shuffled, TRAINING, 4) == candidate_settings(trials(), TRAINING, 4)


def test_too_few_candidates_are_an_error():
    """Five trials, four of them different."""
    with pytest.raises(TrialsError, match="expected 5 with different settings, found 4"):
        candidate_settings(trials(), TRAINING, 5)


def test_each_fold_has_its_own_choice():
    """The second fold's best is its only trial."""
    both = pd.concat([trials().head(1).assign(fold=3), trials()])
    found = chosen_settings(both, TRAINING)
    assert {fold: of.dropout for fold, of in found.items()} == {0: 0.21, 3: 0.20}


def test_a_file_gives_back_every_digit(tmp_path):
    """0.1 + 0.2 is 0.30000000000000004, and types are kept."""
    write_trials(tmp_path / "trials.csv", trials())
    pd.testing.assert_frame_equal(read_trials(tmp_path / "trials.csv"), trials(), check_exact=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("val_accuracy", "accuracy", r"expected columns fold,trial.*found fold,.*accuracy"),
        ("0.001,0.2,", "much,0.2,", "row 2: learning_rate: expected a number.*found 'much'"),
        ("0.001,0.2,", "-1,0.2,", "row 2: learning_rate: .*0 or more, found '-1'"),
        ("0.001,0.2,", "inf,0.2,", "row 2: learning_rate: .*found 'inf'"),
        ("0.001,0.2,64", "0.001,0.2,64.5", "row 2: dense_units: expected a whole number"),
        ("0.001,0.2,", ",0.2,", "row 2: learning_rate: .*found ''"),
    ],
    ids=["column", "word", "negative", "infinite", "fraction", "gap"],
)
def test_bad_files_are_refused(tmp_path, old, new, message):
    """The message names row and column, and the chapter that makes the file."""
    path = tmp_path / "trials.csv"
    write_trials(path, trials())
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(TrialsError, match=f"(?s){message}.*run chapter 04"):
        read_trials(path)


def test_no_file_and_no_trial_are_errors(tmp_path):
    """A search that was stopped has not written its file."""
    with pytest.raises(TrialsError, match="expected a file of trials, found none"):
        read_trials(tmp_path / "trials.csv")
    write_trials(tmp_path / "trials.csv", trials().head(0))
    with pytest.raises(TrialsError, match=r"a row for each trial, found .* and 0 rows"):
        read_trials(tmp_path / "trials.csv")


def test_trials_are_shown_rounded():
    """Two digits; the fold only where there are several."""
    table = trials_table(trials())
    assert "fold" not in table
    assert table.loc[1, ["learning_rate", "dropout", "L2", "validation_accuracy"]].tolist() == [
        "0.3",
        "0.21",
        "0.0002",
        "0.70",
    ]
    several = trials_table(pd.concat([trials(), trials().assign(fold=1)]))
    assert several["fold"].tolist() == [0] * 5 + [1] * 5


def test_chosen_values_stand_beside_the_papers():
    """Trial 4 is chosen; the profile's width is that of intermediate fusion."""
    table = chosen_table(trials(), TRAINING, SETTINGS)
    assert table.to_numpy().tolist() == [
        [
            "initial learning rate",
            "0.0003 to 0.01, logarithmic",
            "0.3",
            "0.0003",
            "3, exponent lost (3·10⁻⁴ or 3·10⁻⁵)",
        ],
        ["dropout", "0.2 to 0.6", "0.21", "0.4", "0.4"],
        ["units of the dense layer", "64, 1024", "64", "700", "not given"],
        ["L2 factor", "1e-05 to 0.001, logarithmic", "0.0002", "0.0001", "not given"],
        ["batch size", "16, 32", "32", "32", "32"],
    ]
    assert list(table) == ["Setting", "Searched", "Chosen", "Profile", "Paper"]


def test_every_fold_has_a_column_of_chosen_values():
    """Nested searches choose once for each fold."""
    both = pd.concat([trials(), trials().tail(1).assign(fold=2)])
    table = chosen_table(both, TRAINING, SETTINGS)
    assert table.loc[1, ["Chosen, fold 0", "Chosen, fold 2"]].tolist() == ["0.21", "0.24"]


def test_a_value_near_the_papers_is_not_the_papers():
    """0.396 would be rounded to the paper's 0.4."""
    near = TRAINING.model_copy(update={"dropout": 0.396})
    assert settings_of_paper(chosen_table(trials(), near, SETTINGS)) == ["batch size"]


def test_what_was_chosen_and_what_is_the_papers():
    """Two folds that agree in one setting; the profile has the paper's value of another."""
    table = pd.DataFrame(
        {
            "Setting": ["dropout", "batch size", "L2 factor"],
            "Chosen, fold 0": ["0.4", "16", "1e-04"],
            "Chosen, fold 1": ["0.4", "32", "2e-04"],
            "Profile": ["0.3", "32", "1e-04"],
            "Paper": ["0.4", "32", "not given"],
        }
    )
    assert chosen_values(table) == {
        "dropout": "0.4",
        "batch size": "16 / 32",
        "L2 factor": "1e-04 / 2e-04",
    }
    assert settings_of_paper(table) == ["batch size"]
    assert longest_trials(trials())["trial"].tolist() == [4, 5]
