"""On how much folds train, by hand."""

import pandas as pd
import pytest

from organelle_fusion.coverage import Coverage, row_shares, shown_shares, training_coverage
from organelle_fusion.folds import leave_one_group_out, make_folds


def table(images_of):
    """Two patches of each image; a1, a2, … of class a."""
    names = [f"{label}{n}" for label, number in images_of.items() for n in range(number)]
    rows = [name for name in names for _ in range(2)]
    return pd.DataFrame({"image": rows, "group": rows, "label": [name[0] for name in rows]})


def test_shares_by_hand():
    """Fold 0 trains on two of three of a and one of one of b, and tests a; fold 1 the reverse."""
    whole = pd.DataFrame({"group": list("ghijk"), "label": list("aaabb")})
    parts = {0: ["test", "train", "train", "train", "validation"],
             1: ["train", "train", "validation", "test", "test"]}  # fmt: skip
    division = pd.DataFrame(
        [
            (fold, *row, part)
            for fold, of_fold in parts.items()
            for row, part in zip(whole.itertuples(index=False), of_fold, strict=True)
        ],
        columns=["fold", "group", "label", "part"],
    )
    found = training_coverage([division], whole, whole)
    assert found.of_all == pytest.approx((3 / 5 + 2 * 2 / 5) / 3)
    assert found.of_class == pytest.approx((2 / 3 + 2 * 0) / 3)
    assert training_coverage([division, division], whole, whole) == pytest.approx(found)
    # Of what a division leaves out nothing is trained on.
    more = pd.concat([whole, whole], ignore_index=True)
    assert training_coverage([division], whole, more) == pytest.approx([n / 2 for n in found])


def test_leaving_an_image_out_leaves_less_of_its_class_than_of_all():
    """26 images of six classes, as the paper has; patches as groups lose the same of both."""
    of_images = table(dict.fromkeys("abcd", 4) | dict.fromkeys("ef", 5))
    left_out = leave_one_group_out(of_images, validation_share=0.2, seed=1)
    found = training_coverage([left_out], of_images, of_images)
    assert found.of_all == pytest.approx(19 / 26)
    assert found.of_class == pytest.approx((16 * 2 / 4 + 10 * 3 / 5) / 26)
    parted = of_images.assign(group=of_images["image"] + of_images.index.astype(str))
    by_patch = make_folds(parted, n_splits=13, validation_share=0.2, seed=1)
    found = training_coverage([by_patch], parted, of_images)
    assert found.of_class == pytest.approx(found.of_all, abs=0.07)
    assert found.of_class > 0.65


def test_shares_are_shown_in_per_cent():
    assert shown_shares([Coverage(0.731, 0.538), Coverage(0.5, 1)]) == {
        "trained on, of all": ["73%", "50%"],
        "of the tested class": ["54%", "100%"],
    }


def test_rows_get_the_share_of_their_grouping():
    shares = {("x", "whole"): Coverage(0.7, 0.5), ("x", "parted"): Coverage(0.8, 0.9)}
    table = pd.DataFrame({"data": "x", "grouping": ["parted", "whole", "parted"]})
    assert row_shares(table, shares).to_dict("list") == {
        "of_all": [0.8, 0.7, 0.8],
        "of_class": [0.9, 0.5, 0.9],
    }
