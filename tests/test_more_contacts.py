"""The control with more stacks: trained on a few small ones, and told from its file."""

from pathlib import Path

import pandas as pd
import pytest

from organelle_fusion import more_contacts
from organelle_fusion.config import load_profile
from organelle_fusion.predictions import read_predictions
from organelle_fusion.provenance import write_csv, write_json

ROOT = Path(__file__).parents[1]


@pytest.mark.keras
def test_four_times_the_stacks_are_trained_on(tmp_path):
    """Three classes of one stack become twelve stacks, in folds of whole ones."""
    pytest.importorskip("keras")
    smoke = load_profile("smoke")
    phantom = smoke.phantom.model_copy(
        update={"shape_zyx": (2, 128, 128), "contact_images_per_class": (1, 1, 1)}
    )
    profile = smoke.model_copy(update={"phantom": phantom})
    scores, facts = more_contacts.measure(profile, tmp_path)
    assert facts["stacks"] == 12
    assert scores["row"].unique().tolist() == [
        "Early fusion", "Intermediate fusion", "Spatial fusion"
    ]  # fmt: skip
    found = read_predictions(sorted((tmp_path / "predictions").rglob("*.parquet")))
    tested = found[found["part"] == "test"]
    assert sorted(tested.loc[tested["model"] == "early", "patch"]) == list(range(facts["patches"]))
    assert tested["image"].nunique() == 12


def test_what_is_kept_is_said_with_its_date(tmp_path):
    assert "was not measured" in more_contacts.kept_sentence(tmp_path)
    scores = pd.DataFrame(
        [
            ("contact phantom", "Early fusion", "by patch", 0.8, 0.78, 0.82, 1 / 3),
            ("contact phantom", "Early fusion", "by image", 1.0, float("nan"), float("nan"), 1 / 3),
        ],
        columns=["panel", "row", "level", "value", "low", "high", "chance"],
    )
    facts = {
        "profile": "quick", "stacks": 144, "patches": 5184, "created": "2026-12-01T14:00:00+00:00",
        "backend": "jax", "device": "cpu",
    }  # fmt: skip
    write_csv(tmp_path / more_contacts.RESULTS, scores)
    write_json((tmp_path / more_contacts.RESULTS).with_suffix(".json"), facts)
    assert more_contacts.kept_sentence(tmp_path) == (
        "With 4 times the stacks of the profile quick (144, 5,184 patches; measured once, "
        "2026-12-01, jax on cpu, by patch, chance 0.33): Early fusion 0.80 [0.78, 0.82]."
    )


def test_what_the_book_keeps_is_of_three_ways_to_fuse():
    """Named with its date, whatever it found."""
    sentence = more_contacts.kept_sentence(ROOT)
    assert sentence.count(" fusion ") == 3
    assert "measured once, 20" in sentence
