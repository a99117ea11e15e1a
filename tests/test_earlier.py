"""What earlier chapters have left: which files are read, and who is named where one is missing."""

from pathlib import Path

import pandas as pd
import pytest

from organelle_fusion import earlier
from organelle_fusion.config import load_profile
from organelle_fusion.folds import write_folds
from organelle_fusion.pages import PageError, Run
from organelle_fusion.predictions import Cell, SweepError, write_predictions
from organelle_fusion.provenance import provenance

PROFILE = load_profile("smoke")
FOLDS = pd.DataFrame(
    [(1, "g", "x", "test"), (0, "g", "x", "train"), (0, "h", "y", "test"), (1, "h", "y", "train")],
    columns=["fold", "group", "label", "part"],
)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, tmp_path / "manifest.csv", True)


def test_folds_are_those_of_chapter_6(run):
    with pytest.raises(PageError, match="written by chapter 06"):
        earlier.read_whole_folds(run, PROFILE)
    write_folds(run.folder / "folds" / f"cv{PROFILE.folds.n_splits}.csv", FOLDS)
    assert earlier.read_whole_folds(run, PROFILE).equals(FOLDS)


def test_patches_are_those_of_chapter_2(run, monkeypatch):
    monkeypatch.setattr(Run, "read", lambda self: "manifest")
    with pytest.raises(PageError, match="written by chapter 02"):
        earlier.read_patches(run, PROFILE)
    folder = run.folder / "patches" / f"{PROFILE.patches.size_px}px"
    folder.mkdir(parents=True)
    monkeypatch.setattr(earlier.PatchSet, "load", lambda *given: given)
    assert earlier.read_patches(run, PROFILE) == (folder, "manifest")


def test_a_model_has_a_cell_in_every_fold():
    """In the order of the folds, whatever that of the rows."""
    cells = earlier.fold_cells("early", FOLDS, 7, size_px=350)
    assert cells == {0: Cell("cv5", 350, "early", 0, 7), 1: Cell("cv5", 350, "early", 1, 7)}
    assert list(cells) == [0, 1]
    other = earlier.fold_cells("early", FOLDS, 7, size_px=350, dataset="cv5-student")
    assert other[1].dataset == "cv5-student"


def test_predictions_of_all_cells_are_read_and_a_missing_one_is_named(run):
    cells = earlier.fold_cells("early", FOLDS, 7, size_px=350)
    folder = run.folder / "predictions"
    for fold, cell in cells.items():
        frame = pd.DataFrame(
            {
                "model": "early", "fold": fold, "seed": 7, "patch": [fold], "image": "i",
                "group": "i", "label": "x", "part": "test", "p:x": 0.75, "p:y": 0.25,
            }
        )  # fmt: skip
        record = provenance(cell={}, inputs={}, device=None, seconds=0)
        write_predictions(frame, cell.path(folder), record)
    found = earlier.read_cells(run, cells.values(), folder, "06")
    assert found["patch"].tolist() == [0, 1]
    cells[1].path(folder).unlink()
    with pytest.raises(PageError, match=r"fold-01-seed-7\.parquet: .* written by chapter 05"):
        earlier.read_cells(run, cells.values(), folder, "05")


def test_weights_are_found_or_their_chapter_is_named(run):
    cells = earlier.fold_cells("early", FOLDS, 7, size_px=350)
    for cell in cells.values():
        path = cell.weights_path(run.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        record = provenance(cell={}, inputs={}, device=None, seconds=0)
        frame = pd.DataFrame({"dataset": "cv5", "size_px": 350, "model": "early", "seed": 7,
            "fold": [cell.fold], "patch": 0, "image": "i", "group": "i", "label": "x",
            "part": "test", "p:x": 1.0})  # fmt: skip
        write_predictions(frame, cell.path(run.folder), record, [path])
    found = earlier.find_weights(run, cells, run.folder, "06")
    assert found == {fold: cells[fold].weights_path(run.folder) for fold in (0, 1)}
    Path(found[1]).write_text("of another training", "utf-8")
    with pytest.raises(SweepError, match="predictions were made by, found others"):
        earlier.find_weights(run, cells, run.folder, "06")
    Path(found[0]).unlink()
    with pytest.raises(PageError, match="written by chapter 06"):
        earlier.find_weights(run, cells, run.folder, "06")
