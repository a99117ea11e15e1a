"""Which organelle is named: means, scores, verdicts and words, by hand."""

import numpy as np
import pandas as pd

from organelle_fusion import naming
from organelle_fusion.planted import NOTHING


def test_mean_parts_by_hand():
    """Rows of the table in any order; a share is compared with an equal one, a value with 0."""
    table = pd.DataFrame({"label": list("xxxyy"), "group": list("aabcc")})
    value = naming.shapley_measure("mean")
    parts = naming.part_rows(
        {naming.SHARE: np.array([[0.9, 0.1], [0.3, 0.7]]), value: np.array([[4, 0], [2, -1]])},
        np.array([4, 1]),
        ["p", "q"],
    )
    assert parts[["measure", "row", "p", "q"]].to_numpy().tolist() == [
        [naming.SHARE, 4, 0.9, 0.1], [naming.SHARE, 1, 0.3, 0.7],
        [value, 4, 4, 0], [value, 1, 2, -1],
    ]  # fmt: skip
    more = parts.assign(planted=NOTHING, row=3, p=1.0)
    parts = pd.concat([parts.assign(planted="p"), more])
    found = naming.mean_parts(parts, table, ["p", "q"], repeats=100, seed=0)
    assert list(found) == list(naming.COLUMNS)
    assert found[["measure", "planted", "organelle"]].to_numpy().tolist() == [
        [measure, planted, organelle]
        for organelle in ("p", "q")
        for planted in ("p", NOTHING)
        for measure in (naming.SHARE, value)
    ]
    np.testing.assert_allclose(found["value"], [0.6, 3, 1, 1, 0.4, -0.5, 0.4, -0.5])
    assert found["reference"].tolist() == [0.5, 0, 0.5, 0] * 2


def test_intervals_of_parts_resample_groups():
    """Two groups of one class: both, or one of them twice."""
    table = pd.DataFrame({"label": list("xxx"), "group": list("aab")})
    parts = pd.DataFrame({"measure": "m", "planted": "p", "row": [0, 1, 2], "p": [0.0, 2, 4]})
    row = naming.mean_parts(parts, table, ["p"], repeats=500, seed=0).iloc[0]
    assert row[["value", "low", "high", "reference"]].tolist() == [2.0, 1.0, 4.0, 0.0]


def predictions(model, right):
    """Four patches of two classes, the first `right` of each two classified rightly."""
    rows = pd.DataFrame({"patch": range(4), "image": list("abcd"), "label": list("xxyy")})
    guess = ["y" if place >= right else "x" for place in (0, 1)]
    guess += ["x" if place >= right else "y" for place in (0, 1)]
    chance = {f"p:{name}": [0.8 if one == name else 0.2 for one in guess] for name in "xy"}
    rows = rows.assign(group=rows["image"], model=model, fold=0, seed=0, part="test")
    return rows.assign(**chance)


def test_an_organelle_alone_tells_only_where_it_is_planted():
    """Scores 1 and 1/2 where all tell, 1/2 and 0 where none does."""
    telling = pd.concat([predictions("q", 2), predictions("p", 1)])
    silent = pd.concat([predictions("p", 0), predictions("q", 1), predictions("intermediate", 2)])
    found = naming.alone_scores(telling, silent, ["p", "q", NOTHING], repeats=50, seed=0)
    assert list(found) == list(naming.COLUMNS)
    assert found[["planted", "organelle", "value"]].to_numpy().tolist() == [
        ["p", "q", 0.5], ["p", "p", 0.5],
        ["q", "q", 1.0], ["q", "p", 0.0],
        [NOTHING, "q", 0.5], [NOTHING, "p", 0.0],
    ]  # fmt: skip
    assert set(found["measure"]) == {naming.ALONE}
    assert set(found["reference"]) == {0.5}


def test_an_organelle_is_named_above_nothing_and_above_the_others():
    """Named; over the others but not over the reference; overlapping the second; no interval."""
    rows = [
        ("m", "a", "a", 0.5, 0.4, 0.6, 0.2), ("m", "a", "b", 0.3, 0.2, 0.39, 0.2),
        ("m", "b", "a", 0.5, 0.4, 0.6, 0.45), ("m", "b", "b", 0.1, 0.0, 0.2, 0.45),
        ("m", "c", "a", 0.4, 0.3, 0.45, 0.2), ("m", "c", "b", 0.5, 0.44, 0.6, 0.2),
        ("m", "d", "a", 1.0, np.nan, np.nan, 0.2), ("m", "d", "b", 0.5, 0.44, 0.6, 0.2),
        ("m", "e", "a", 1.0, np.nan, np.nan, 0.2), ("m", "e", "b", 1.0, np.nan, np.nan, 0.2),
    ]  # fmt: skip
    columns = ["measure", "planted", "organelle", "value", "low", "high", "reference"]
    found = naming.named_organelles(pd.DataFrame(rows, columns=columns))
    assert found["planted"].tolist() == list("abcde")
    assert found["named"].tolist() == ["a", NOTHING, NOTHING, "a", NOTHING]


def test_verdicts_in_words():
    """Counted over the phantoms in which an organelle was planted."""
    rows = [
        ("balanced accuracy", "a_b", "a_b"), ("balanced accuracy", "c", NOTHING),
        ("balanced accuracy", NOTHING, NOTHING),
        ("Share", "a_b", "c"), ("Share", "c", "c"), ("Share", NOTHING, "a_b"),
        ("none", "a_b", "c"), ("none", "c", "a_b"), ("none", NOTHING, NOTHING),
    ]  # fmt: skip
    verdicts = pd.DataFrame(rows, columns=["measure", "planted", "named"])
    where = "where nothing was planted."
    assert naming.naming_words(verdicts) == [
        f"- Balanced accuracy: names the planted organelle in 1 of 2 phantoms, and nothing {where}",
        f"- Share: names the planted organelle in 1 of 2 phantoms, and a b {where}",
        f"- None: names the planted organelle in 0 of 2 phantoms, and nothing {where}",
    ]
