"""What grouping can be asked of which data, and what it adds: by hand."""

import pandas as pd
import pytest

from organelle_fusion import leakage
from organelle_fusion.metrics import EvaluationError


@pytest.mark.parametrize(
    ("labels", "batches", "confined"),
    [
        ("aabb", "1212", {}),
        ("aabbcc", "111222", {"a": "1", "c": "2"}),
        ("aabbcc", "113344", {"a": "1", "b": "3", "c": "4"}),
        ("aaabbb", "123456", {}),
    ],
    ids=["crossed", "two of three classes", "one batch each", "batches of one class"],
)
def test_classes_of_one_batch_cannot_do_without_it(labels, batches, confined):
    assert leakage.confined_classes(list(labels), list(batches)) == confined


def test_the_answer_names_what_forbids_it():
    """Two magnifications with their own lines; acquisitions of one class; days that cross."""
    lines, zooms = list("ABCABC"), ["3x", "3x", "4x", "3x", "3x", "4x"]
    assert leakage.batch_answer(lines, zooms, "zoom") == (
        "no: zoom 3x alone holds A, B; 4x alone holds C, "
        "so that leaving one of them out leaves classes out"
    )
    assert leakage.batch_answer(list("aabb"), [1, 2, 3, 4], "day") == (
        "yes, 4 days; each holds one class, so that no day compares classes"
    )
    assert leakage.batch_answer(list("aabb"), [1, 2, 1, 2]) == "yes, 2 groups"


def frame(hits, *, grouping, seed=0):
    """Two classes; `hits` tells of each image which of its patches are told rightly."""
    rows = []
    for image, of_image in hits.items():
        for hit in of_image:
            said = image[0] if hit else {"a": "b", "b": "a"}[image[0]]
            rows.append(
                {
                    "model": "early", "fold": len(rows), "seed": seed, "patch": len(rows),
                    "image": image, "group": f"{image} {grouping} {len(rows)}",
                    "label": image[0], "part": "test",
                    "p:a": float(said == "a"), "p:b": float(said == "b"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


TABLE = pd.DataFrame({"image": ["a0", "a1", "b0", "b1"], "group": ["s0", "s0", "s1", "s2"]})
PARTED = frame({"a0": [1, 1], "a1": [1, 1], "b0": [1, 0], "b1": [1, 1]}, grouping="patch")
WHOLE = frame({"a0": [1, 0], "a1": [0, 1], "b0": [1, 0], "b1": [0, 0]}, grouping="image")


def test_groups_come_back_by_image():
    found = leakage.with_groups(PARTED, TABLE)
    assert found["group"].tolist() == ["s0"] * 4 + ["s1"] * 2 + ["s2"] * 2
    assert PARTED["group"].nunique() == 8


@pytest.mark.parametrize(
    "table", [TABLE.iloc[[0, 1, 3]], TABLE.assign(group=["s0", "s0", None, "s2"])]
)
def test_an_image_without_a_group_is_named(table):
    """b0 is not in the one, and has no group in the other."""
    with pytest.raises(EvaluationError, match="found none for image 'b0'; give it one there"):
        leakage.with_groups(PARTED, table)


def test_the_table_sets_each_grouping_against_its_baseline():
    """Recalls 1 and 3/4 by patch, 1/2 and 1/4 whole: 0.875 − 0.375 = 0.5."""
    results = {
        ("other", "by patch"): leakage.with_groups(PARTED, TABLE),
        ("phantom", "by patch"): leakage.with_groups(PARTED, TABLE),
        ("phantom", "whole"): leakage.with_groups(WHOLE, TABLE),
    }
    found = leakage.leakage_table(results, {"phantom": "whole", "other": "by patch"}, repeats=200)
    assert found[["data", "grouping"]].to_numpy().tolist() == [
        ["phantom", "by patch"],
        ["phantom", "whole"],
        ["other", "by patch"],
    ]
    first, second, third = found.to_dict("records")
    assert (first["value"], second["value"], first["difference"]) == (0.875, 0.375, 0.5)
    assert (first["runs"], first["chance"]) == (8, 0.5)
    # Class a is one group, class b two: recalls 1/2 and 1 by patch, 1/2 and 0 whole. Resamples
    # that draw s1 twice give 0.75 and 0.5, those that draw s2 twice 1 and 0.25.
    assert (first["low"], first["high"]) == (0.75, 1.0)
    assert (second["low"], second["high"]) == (0.25, 0.5)
    assert (first["difference_low"], first["difference_high"]) == (0.25, 0.75)
    assert pd.isna([second["difference"], third["difference"]]).all()
    text = leakage.printed(found, "whole images")
    assert text["balanced accuracy"].tolist()[:2] == ["0.88 [0.75, 1.00]", "0.38 [0.25, 0.50]"]
    assert text["minus whole images"].tolist() == ["+0.50 [+0.25, +0.75]", "", ""]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.2, 0.3, "above chance"),
        (0.1, 0.3, "not to be told from chance"),
        (0.0, 0.1, "below chance"),
    ],
)
def test_where_a_score_lies_to_chance(low, high, words):
    row = {"value": (low + high) / 2, "low": low, "high": high, "chance": 1 / 6}
    assert leakage.chance_words(row) == words
