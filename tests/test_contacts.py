"""What sees contacts: rows of scores, words on them, and the coarse probe, by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from organelle_fusion import contacts
from organelle_fusion.patchset import PatchSet


def predictions(model, guesses):
    """Of eight patches, two of each of four images a to d, of which a and b are apart."""
    rows = pd.DataFrame({"patch": range(8), "image": list("aabbccdd"), "model": model})
    rows["group"], rows["label"] = rows["image"], ["apart"] * 4 + ["together"] * 4
    share = np.array([0.9 if guess == "t" else 0.2 for guess in guesses])
    return rows.assign(
        **{"fold": 0, "seed": 0, "part": "test", "p:apart": 1 - share, "p:together": share}
    )


def test_scores_of_networks_and_controls():
    """By patch 6 of 8, then 4 of 8; by image, probabilities are averaged first."""
    both = pd.concat([predictions("early", "aattttat"), predictions("x_y", "tttttttt")])
    wide = predictions("early", "aaaattta")
    found = contacts.control_scores([(both, ""), (wide, ", wide head")], "toy", repeats=200, seed=1)
    rows = ["Early fusion", "x y", "Early fusion, wide head"]
    assert found["row"].tolist() == [row for row in rows for _ in range(2)]
    assert found["level"].tolist() == ["by patch", "by image"] * 3
    assert set(found["panel"]) == {"toy"}
    assert set(found["chance"]) == {0.5}
    truth = [*"aaaatttt"]
    by_patch = [
        balanced_accuracy_score(truth, list(guesses))
        for guesses in ("aattttat", "tttttttt", "aaaattta")
    ]
    # Image b of the first is taken for together; d has 0.55 for together in the first and last.
    by_image = [0.75, 0.5, 1.0]
    expected = [value for pair in zip(by_patch, by_image, strict=True) for value in pair]
    np.testing.assert_allclose(found["value"], expected)
    # All groups of the last are right, so that no resample differs.
    assert np.isnan(found["low"].iloc[-1])
    assert (found["low"] <= found["value"])[:1].all()
    assert (found["value"] <= found["high"])[:1].all()


def test_where_chance_lies():
    """On an end it lies within; without an interval nothing is said."""
    scores = pd.DataFrame(
        {"value": [0.4, 0.5, 0.2, 1.0], "low": [0.3, 0.33, 0.1, np.nan],
         "high": [0.5, 0.6, 0.32, np.nan], "chance": 0.33},
        index=["a", "b", "c", "d"],
    )  # fmt: skip
    assert contacts.where_chance_lies(scores, ["c", "b", "d"]) == (
        "outside the interval of c, 0.20 [0.10, 0.32]; within the interval of b, "
        "0.50 [0.33, 0.60]; on no known side of d, 1.00 [no interval]"
    )


def test_controls_of_training_in_words():
    scores = pd.DataFrame(
        {"value": [0.7, 0.3, 0.6, 0.2], "low": [0.6, 0.2, 0.5, np.nan],
         "high": [0.8, 0.4, 0.7, np.nan]},
        index=["Early fusion", "Intermediate fusion, wide", "Early fusion, 1/4", "mitochondria"],
    )  # fmt: skip
    assert contacts.control_words(scores, ["Early fusion"], ", wide", ", 1/4") == (
        "Intermediate fusion, wide: 0.30 [0.20, 0.40]. From 1/4 to all of them, scores go: Early "
        "fusion from 0.60 [0.50, 0.70] to 0.70 [0.60, 0.80]."
    )


def test_what_was_named_before_is_kept_or_not():
    """The lower end decides, and an end on the margin is not above it."""
    differences = {
        ("early", "late"): {"value": 0.3, "low": 0.1, "high": 0.5},
        ("late", "early"): {"value": 0.3, "low": 0.0, "high": 0.5},
        ("late", "x"): {"value": 0.0, "low": -0.09, "high": 0.1},
        ("x", "y"): {"value": 0.0, "low": np.nan, "high": np.nan},
    }
    margins = {("x", "y"): 0.0, ("late", "x"): -0.1, ("early", "late"): 0.0, ("late", "early"): 0.0}
    assert contacts.kept_words(differences, margins) == (
        "x minus y above 0, not decided; late minus x above -0.10, yes; early minus late above 0, "
        "yes; late minus early above 0, no"
    )
    table = contacts.margin_table(differences, margins)
    assert table["kept"].tolist() == ["not decided", "yes", "yes", "no"]
    assert table[["first", "second", "margin"]].apply(tuple, axis=1).tolist() == [
        (*pair, margin) for pair, margin in margins.items()
    ]
    lows = [differences[pair]["low"] for pair in margins]
    np.testing.assert_array_equal(table["low"], lows)


def test_correlations_of_blocks_by_hand():
    """Two channels in the same corner, a third in the opposite one, a fourth everywhere."""
    patches = np.zeros((1, 5, 5, 4), np.uint8)  # the fifth row and column fill no block
    patches[0, :2, :2, 0] = 100
    patches[0, 1, 1, 1] = 200
    patches[0, 2:4, 2:4, 2] = 50
    patches[0, ..., 3] = 9
    found = contacts.block_correlations(patches, 2)[0]
    # Means of four blocks (1, 0, 0, 0) and (0, 0, 0, 1): deviations 3/4 and −1/4.
    apart = (2 * 0.75 * -0.25 + 2 * 0.25**2) / (0.75**2 + 3 * 0.25**2)
    np.testing.assert_allclose(found, [1, apart, 0, apart, 0, 0], atol=1e-12)
    rng = np.random.default_rng(1)
    patches = rng.integers(0, 256, (3, 8, 8, 2), dtype=np.uint8)
    means = patches.reshape(3, 4, 2, 4, 2, 2).mean(axis=(2, 4)).reshape(3, 16, 2)
    expected = [np.corrcoef(patch.T)[0, 1] for patch in means]
    np.testing.assert_allclose(contacts.block_correlations(patches, 4)[:, 0], expected)


def test_channels_that_are_the_same_in_all_blocks_do_not_correlate():
    """Patterns of 3 × 3 px in 49 blocks: their means are rounded, and so are the deviations."""
    patterns = np.random.default_rng(0).integers(0, 256, (20, 3, 3, 2), dtype=np.uint8)
    patches = np.tile(patterns, (1, 7, 7, 1))
    np.testing.assert_array_equal(contacts.block_correlations(patches, 7), np.zeros((20, 1)))
    patches[:, 4, 4, :] ^= 1  # one pixel of one block, by one grey level
    found = np.abs(contacts.block_correlations(patches, 7))
    np.testing.assert_allclose(found, 1, rtol=1e-9)


def test_the_probe_sees_contacts_on_a_fine_grid_only():
    """A dot of the second channel on that of the first, or beside it within a quarter."""
    rng = np.random.default_rng(0)
    patches = np.zeros((80, 16, 16, 2), np.uint8)
    labels = np.repeat(["apart", "together"], 40)
    for number, label in enumerate(labels):
        for y, x in (8 * rng.integers(0, 2, 2) for _ in range(2)):
            patches[number, y : y + 4, x : x + 4, 0] = 255
            shift = 0 if label == "together" else 4
            patches[number, y + shift : y + shift + 4, x : x + 4, 1] = 255
    table = pd.DataFrame({"image": [f"{n % 40}{label[0]}" for n, label in enumerate(labels)],
                          "label": labels, "z": 0, "y": 0, "x": 0})  # fmt: skip
    table["group"] = table["image"]
    rows = [
        (fold, group, group[-1], "test" if n // 2 % 2 == fold else "train")
        for fold in (0, 1)
        for n, group in enumerate(sorted(set(table["group"])))
    ]
    folds = pd.DataFrame(rows, columns=["fold", "group", "label", "part"])
    patch_set = PatchSet(patches, table, ("a", "b"), None)
    found = contacts.coarse_probe(patch_set, folds, [2, 4])
    right = (found["p:together"] > 0.5) == (found["label"] == "together")
    shares = right.groupby(found["model"]).mean()
    assert shares["grid of 4 × 4"] == 1.0
    assert shares["grid of 2 × 2"] < 0.7
    assert found.groupby("model")["patch"].apply(sorted).map(len).tolist() == [80, 80]
    np.testing.assert_allclose(found[["p:apart", "p:together"]].sum(axis=1), 1)


def grid_scores(*lows):
    """Grids of 2, 7 and 14 blocks, by the lower ends of their intervals; chance is 0.33."""
    rows = [{"value": low + 0.05, "low": low, "high": low + 0.1, "chance": 0.33} for low in lows]
    return pd.DataFrame(rows, index=[f"grid of {n} × {n}" for n in (2, 7, 14)])


def test_blocks_in_micrometres():
    """Of 56 pixels of 0.25 µm: blocks of 28, 8 and 5 pixels, the last with two pixels to spare."""
    table = pd.DataFrame({"image": ["i"], "label": "a", "group": "i", "z": 0, "y": 0, "x": 0})
    patch_set = PatchSet(np.zeros((1, 56, 56, 2), np.uint8), table, ("a", "b"), 0.25)
    assert contacts.block_um(patch_set, (7, 2, 11)) == {2: 7.0, 7: 2.0, 11: 1.25}


@pytest.mark.parametrize(
    ("lows", "follows"),
    [
        ((0.30, 0.40, 0.80), "there in means over blocks of 2.0 µm, and it takes something"),
        ((0.40, 0.40, 0.80), "there in means over blocks of 7.0 µm, and"),
        ((0.30, 0.30, 0.80), "blocks of 1.0 µm, but in no coarser ones: it is not shown that"),
        ((0.30, 0.10, 0.20), "This does not show that local means hold what is needed"),
    ],
    ids=["7 × 7", "2 × 2", "fine only", "none"],
)
def test_coarse_means_are_said_to_do_only_if_a_coarse_grid_does(lows, follows):
    """And every grid is named, with its interval, not the best of all alone."""
    words = contacts.probe_words(grid_scores(*lows), {2: 7.0, 7: 2.0, 14: 1.0})
    assert follows in words
    for number, edge, low in zip((2, 7, 14), ("7.0", "2.0", "1.0"), lows, strict=True):
        said = "above" if low > 0.33 else "below" if low < 0.23 else "not to be told from"
        ends = f"[{low:.2f}, {low + 0.1:.2f}] ({said} chance)"
        assert f"{number} × {number} blocks of {edge} µm {low + 0.05:.2f} {ends}" in words
