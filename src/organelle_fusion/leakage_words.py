"""What can be said of divisions and of what they add: answers and sentences, made of tables."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from organelle_fusion.coverage import Coverage
from organelle_fusion.leakage import batch_answer, chance_words
from organelle_fusion.pages import difference_sentence
from organelle_fusion.significance import interval_of


class Groupings(NamedTuple):
    """How a data set can be divided, in words that begin with yes or no."""

    by_patch: str
    by_slab: str
    by_image: str
    by_batch: str


GROUPING_TITLES = Groupings(
    "by patch, crop or object", "by z-slab", "by image or acquisition", "by imaging batch"
)

PAPER = Groupings(
    "yes; 30 folds may have been this",
    "yes, 43 planes or more",
    "yes, 26 images in 5 folds; not in 30",
    "not stated",
)
"""What the paper's images let one ask."""


def unit_of(images: pd.DataFrame) -> str:
    """What stays whole: "image", or "group" where some ``group`` is not its ``image``."""
    return "image" if (images["group"] == images["image"]).all() else "group"


def whole_sentence(groups: int, n_splits: int, unit: str) -> str:
    """Say whether so many folds can each keep whole what must stay whole.

    Parameters
    ----------
    groups
        How many there are.
    n_splits
        Number of folds.
    unit
        What a group is, in a word that takes an s for its plural.
    """
    if n_splits <= groups:
        return (
            f"**{n_splits} folds can keep {unit}s whole**, since there are as many {unit}s or more."
        )
    return (
        f"**{n_splits} folds cannot each keep {unit}s whole.** Each test part needs one of its own "
        f"at least, and every {unit} is tested once: {groups} {unit}s fill {groups} test parts, "
        f"and {n_splits - groups} would be empty. {n_splits} folds over {groups} {unit}s part "
        f"{unit}s, or they are repeats of fewer folds."
    )


def lacking_sentence(per_class: pd.Series, n_splits: int, unit: str) -> str:
    """Say how many test parts must lack a class, however folds are drawn.

    Parameters
    ----------
    per_class
        int, groups of each class, by its name.
    n_splits, unit
        As in `whole_sentence`.
    """
    lacking = (n_splits - per_class).clip(lower=0)
    lacking = lacking[lacking > 0]
    if lacking.empty:
        return (
            f"**No test part need lack a class**, since every class has {n_splits} {unit}s or more."
        )
    return (
        f"**Some test parts must lack a class.** A class of k {unit}s lies in k of {n_splits} test "
        f"parts at most, however they are drawn, so that {n_splits} − k or more lack it: "
        + ", ".join(f"{name} {count}" for name, count in lacking.items())
        + ". Scores are therefore computed on the pooled test parts of all folds."
    )


def stack_groupings(
    images: pd.DataFrame, patches: int, planes: int, *, slabs: int, gap: int
) -> Groupings:
    """Say how stacks can be divided.

    Parameters
    ----------
    images
        The manifest: ``image``, ``label`` and ``group``.
    patches
        Number of patches.
    planes
        Planes with patches of the image that has fewest.
    slabs, gap
        Slabs of an image, and planes left out between two.
    """
    unit = unit_of(images)
    return Groupings(
        f"yes, {patches:,} patches",
        f"yes, {slabs} slabs in {planes} planes or more"
        if planes >= slabs + gap * (slabs - 1)
        else f"no: {slabs} slabs and gaps need more than {planes} planes",
        f"yes, {images['group'].nunique()} {unit}s",
        "no: none is named, each image is a group"
        if unit == "image"
        else batch_answer(images["label"], images["group"]),
    )


def crop_groupings(crops: pd.DataFrame) -> Groupings:
    """Say how ready-cut crops can be divided, by their ``label``, ``group`` and ``keep``."""
    return Groupings(
        f"yes, {crops['keep'].sum():,} crops",
        "no: cut ready, without planes",
        batch_answer(crops["label"], crops["group"], "acquisition"),
        "no: none is named above the acquisition",
    )


def object_groupings(objects: pd.DataFrame) -> Groupings:
    """Say how measured objects can be divided, by their ``label``, ``image`` and ``batch``."""
    return Groupings(
        f"yes, {len(objects):,} objects",
        "no: positions are relative to the cell, not to the stack",
        f"yes, {objects['image'].nunique()} images",
        batch_answer(objects["label"], objects["batch"], "zoom"),
    )


def grouping_table(answers: Mapping[str, Groupings]) -> pd.DataFrame:
    """Table of data set → answers, with the titles of a page."""
    rows = [(name, *answer) for name, answer in answers.items()]
    return pd.DataFrame(rows, columns=["data set", *GROUPING_TITLES])


def difference_lines(
    table: pd.DataFrame, controls: Mapping[str, str], shares: Mapping[tuple[str, str], Coverage]
) -> list[str]:
    """State what each grouping adds, and on how much of the tested class both sides train.

    Parameters
    ----------
    table
        Rows of `leakage.leakage_table`.
    controls
        Data set → the grouping that its others were compared with.
    shares
        (data set, grouping) → its share.
    """
    return [
        difference_sentence(
            f"{row.data}, {row.grouping} minus {controls[row.data]}",
            {"value": row.difference, "low": row.difference_low, "high": row.difference_high},
        )
        + " Share of the tested class that is trained on: "
        f"{shares[row.data, row.grouping].of_class:.0%} against "
        f"{shares[row.data, controls[row.data]].of_class:.0%}."
        for row in table.itertuples()
    ]


def chance_lines(rows: pd.DataFrame, names: Sequence[str], form: str = "{}, {}") -> list[str]:
    """State where scores lie to chance.

    Parameters
    ----------
    rows
        value, low, high, chance.
    names
        What each is called.
    form
        How a score with its interval and what it is to chance are put together.
    """
    return [
        f"{name} " + form.format(interval_of(row, ""), chance_words(row))
        for name, row in zip(names, rows.to_dict("records"), strict=True)
    ]


def nothing_lines(rows: pd.DataFrame) -> list[str]:
    """State what is scored where nothing can be learnt, in one line; none without such a data set.

    Parameters
    ----------
    rows
        Of `leakage.leakage_table`, of one data set.
    """
    if rows.empty:
        return []
    name, chance = rows["data"].iloc[0], rows["chance"].iloc[0]
    said = "; ".join(chance_lines(rows, rows["grouping"]))
    return [f"Where nothing can be learnt and chance is {chance:.2f} ({name}): {said}."]
