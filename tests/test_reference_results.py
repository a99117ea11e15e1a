"""What pages show of the reference run: nothing yet, or its scores with device and date."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.folds import read_folds
from organelle_fusion.predictions import Cell, write_predictions
from organelle_fusion.provenance import hash_of
from organelle_fusion.reference_results import (
    QUESTIONS,
    RESULTS,
    beside_reference,
    folds_file,
    made_sentence,
    predictions_folder,
    reference_predictions,
)

CLASSES = ("one", "two")
FOLDS = pd.DataFrame(
    {
        "fold": np.repeat([0, 1], 8),
        "group": [f"image {n}" for n in range(8)] * 2,
        "label": list(CLASSES) * 8,
        "part": ["test"] * 4 + ["train"] * 4 + ["train"] * 4 + ["test"] * 4,
    }
)


def chances(fold, wrong):
    """Predictions of a fold: four images of two patches, the first `wrong` of which are wrong."""
    tested = FOLDS[(FOLDS["fold"] == fold) & (FOLDS["part"] == "test")]
    frame = tested.loc[tested.index.repeat(2), ["group", "label"]].reset_index(drop=True)
    frame.insert(0, "patch", 8 * fold + np.arange(8))
    frame.insert(1, "image", frame["group"])
    frame["part"] = "test"
    right = (frame["label"] == "one").to_numpy() ^ (np.arange(8) < wrong)
    return frame.assign(**{"p:one": np.float32(right), "p:two": np.float32(~right)})


def write_results(root, dataset, models, done=(0, 1), seeds=(7,), folding="cv5", day=1, **inputs):
    """Files as the run leaves them; `models`: name → wrong patches in each fold."""
    place = root / RESULTS / dataset
    for seed in seeds:
        folds_file(place, seed).parent.mkdir(parents=True, exist_ok=True)
        FOLDS.to_csv(folds_file(place, seed), index=False)
    device = inputs.pop("device", "gpu")
    inputs = {
        "backend": "jax", "settings": "s", "code": "c", "data": "of patches",
        "folds": hash_of(read_folds(folds_file(place, seeds[0]))), **inputs,
    }  # fmt: skip
    record = {"recipe": "", "data_hash": "of patches", "patches": 16}
    (place / "patches.json").write_text(json.dumps(record))
    run = {"settings": {"folds": {"seed": 7}, "many_folds": {"repeats": len(seeds)}}}
    (root / RESULTS / "run.json").write_text(json.dumps(run))
    for model, wrong in models.items():
        for fold, seed in product(done, seeds):
            frame = chances(fold, wrong)
            frame.attrs = {"device_name": "A GPU"} if model != "late" else {}
            cell = Cell(folding, 350, model, fold, seed)
            facts = {
                "cell": vars(cell),
                "inputs": inputs,
                "device": device if model != "late" else None,
                "created": f"2027-01-0{fold + day}T10:00:00+00:00",
                "organelle_fusion": "0.1.0",
            }
            write_predictions(frame, cell.path(predictions_folder(place)), facts)


def own_predictions(models):
    """A page's own predictions, of the same rows."""
    return pd.concat(
        [
            chances(fold, wrong).assign(model=model, fold=fold, seed=7)
            for model, wrong in models.items()
            for fold in (0, 1)
        ],
        ignore_index=True,
    )


def shown(root, models, dataset="contact"):
    parts = beside_reference(
        {"cv5": own_predictions(models)},
        dataset,
        own="quick",
        name="tab-reference",
        repeats=100,
        seed=0,
        root=root,
    )
    return [part.data for part in parts]


def test_outstanding_is_said_and_nothing_else(tmp_path):
    """No folder, no results: one sentence."""
    texts = shown(tmp_path, {"early": 0})
    assert len(texts) == 1
    assert "contact phantom" in texts[0]
    assert "needs a GPU and has not been done yet" in texts[0]


def test_scores_stand_side_by_side_with_device_and_dates(tmp_path):
    """Early is right in 14 of 16 patches there, those of one class wrong, and in 8 of 16 here."""
    write_results(tmp_path, "contact", {"early": 1, "spatial": 0, "intermediate": 4})
    table, answers = shown(tmp_path, {"early": 4, "intermediate": 8, "mitochondria": 0})
    (row,) = [line for line in table.splitlines() if line.startswith("| Early")]
    assert row.startswith("| Early fusion | 0.50 ")
    assert row.endswith(" | 0.88 \\[0.75,\u00a00.94\\] |")
    assert "| Intermediate fusion | 0.00 \\[no\u00a0interval\\] |" in table  # wrong in all images
    assert "mitochondria" not in table  # not in the run's contact phantom
    assert "computed on A GPU by jax, 2027-01-01 to 2027-01-02, version 0.1.0." in table
    spatial, early, third = answers.splitlines()
    assert third.startswith("- Reference run, spatial minus intermediate fusion, by patch: +0.50")
    assert spatial.startswith("- Reference run, spatial minus early fusion, by patch: +0.12")
    assert "the interval lies above 0; a loss of 0.03 or more is excluded." in spatial
    assert spatial.endswith("named before the run: is a loss of 0.03 or more excluded?")
    assert early.startswith("- Reference run, early minus intermediate fusion, by patch: +0.38")
    assert "the interval lies above 0." in early
    assert early.endswith("named before the run: is it above 0?")


def test_a_lower_end_below_the_margin_is_said(tmp_path):
    """Spatial is wrong in two of four images of every fold, and intermediate in none."""
    write_results(tmp_path, "phantom", {"spatial": 4, "intermediate": 0})
    _, answers = shown(tmp_path, {"spatial": 0, "intermediate": 0}, "phantom")
    assert "-0.50 in balanced accuracy" in answers
    assert "the loss is larger than 0.03." in answers


def test_networks_of_which_folds_are_missing_are_left_out(tmp_path):
    """Half of a cross-validation is no score."""
    write_results(tmp_path, "contact", {"early": 0})
    write_results(tmp_path, "contact", {"spatial": 0}, done=(1,))
    predictions, facts = reference_predictions("contact", "cv5", tmp_path)
    assert predictions["model"].unique().tolist() == ["early"]
    assert facts["model"].tolist() == ["early", "early"]
    _, answers = shown(tmp_path, {"early": 0, "spatial": 0})
    assert "not yet decided: spatial minus early" in answers
    nothing, facts = reference_predictions("contact", "cv5-wide-head", tmp_path)
    assert nothing.empty
    assert "has not been done yet" in made_sentence(facts, "contact")


@pytest.mark.parametrize("changed", ["data", "folds", "settings", "code", "backend", "device"])
def test_old_and_new_files_are_not_pooled(tmp_path, changed):
    """A run that is made anew has done the second fold only, of early fusion: not early, then."""
    write_results(tmp_path, "contact", {"early": 0, "spatial": 0, "late": 0})
    write_results(tmp_path, "contact", {"early": 1}, done=(1,), day=3, **{changed: "other"})
    predictions, _ = reference_predictions("contact", "cv5", tmp_path)
    assert predictions["model"].unique().tolist() == ["late", "spatial"]
    _, answers = shown(tmp_path, {"early": 0, "spatial": 0})
    assert "not yet decided: spatial minus early" in answers


@pytest.mark.parametrize("changed", ["settings", "code", "device"])
def test_networks_trained_otherwise_are_not_compared(tmp_path, changed):
    """The newest tell how; late fusion, which needs no device, stays beside those of its code."""
    write_results(tmp_path, "contact", {"early": 0, "spatial": 0, "late": 0})
    write_results(tmp_path, "contact", {"early": 1}, day=3, **{changed: "other"})
    predictions, _ = reference_predictions("contact", "cv5", tmp_path)
    expected = ["early", "late"] if changed == "device" else ["early"]
    assert predictions["model"].unique().tolist() == expected


def test_all_divisions_are_shown_where_they_are_asked_for(tmp_path):
    """Of the second division late fusion is outstanding; the first is a table of its own."""
    write_results(tmp_path, "phantom", {"early": 0}, seeds=(7, 8))
    write_results(tmp_path, "phantom", {"late": 0})
    run = {"settings": {"folds": {"seed": 7}, "many_folds": {"repeats": 2}}}
    (tmp_path / RESULTS / "run.json").write_text(json.dumps(run))
    predictions, facts = reference_predictions("phantom", "cv5", tmp_path, repeated=True)
    assert predictions.groupby("model")["seed"].unique().map(list).to_dict() == {"early": [7, 8]}
    assert "full resolution, further divisions into folds" in made_sentence(facts, "phantom", True)
    predictions, _ = reference_predictions("phantom", "cv5", tmp_path)
    assert predictions.groupby("model")["seed"].unique().map(list).to_dict() == {
        "early": [7], "late": [7],
    }  # fmt: skip


def test_a_network_with_settings_of_its_own_has_its_row(tmp_path):
    """Wide: 14 of 16 right in the run, 8 of 16 here."""
    write_results(tmp_path, "contact", {"intermediate": 0})
    write_results(tmp_path, "contact", {"intermediate": 1}, folding="cv5-wide-head", settings="w")
    own = {"cv5": own_predictions({"intermediate": 0})}
    own["cv5-wide-head"] = own_predictions({"intermediate": 4})
    common = {"own": "quick", "name": "tab", "repeats": 100, "seed": 0, "root": tmp_path}
    table = beside_reference(own, "contact", **common)[0].data
    (row,) = [line for line in table.splitlines() if "wide head" in line]
    assert row.startswith("| Intermediate fusion, wide head | 0.50 ")
    assert row.endswith(" | 0.88 \\[0.75,\u00a00.94\\] |")


def test_late_fusion_names_no_device(tmp_path):
    """It is computed from files."""
    write_results(tmp_path, "phantom", {"early": 0, "late": 0})
    _, facts = reference_predictions("phantom", "cv5", tmp_path)
    assert made_sentence(facts, "phantom").count("A GPU") == 1


@pytest.mark.parametrize(
    ("dataset", "question"),
    [
        ("contact", ("spatial", "early", -0.03)),
        ("contact", ("early", "intermediate", 0.0)),
        ("contact", ("spatial", "intermediate", 0.0)),
        ("phantom", ("spatial", "intermediate", -0.03)),
        ("cell-lines-9", ("spatial", "intermediate", -0.03)),
    ],
)
def test_questions_are_those_named_before(dataset, question):
    """Margins that nobody moves once scores are known."""
    assert question in QUESTIONS[dataset]
