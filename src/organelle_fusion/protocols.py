"""Measured objects divided into folds by object and by image, and classifiers trained in them.

Folds by object are the published protocol of the OTCCP: objects of one cell are trained on and
tested on. Where an image is left out, nothing of it has been seen.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.comparisons import folding_difference
from organelle_fusion.folds import leave_one_group_out, make_folds
from organelle_fusion.forests import UNCHANGED
from organelle_fusion.handcrafted import same_number_per_cell
from organelle_fusion.significance import interval_of
from organelle_fusion.wording import span


class Division(NamedTuple):
    """Objects, and folds that keep their groups whole."""

    table: pd.DataFrame
    """``image``, ``label``, ``group``; its index are rows of the features."""
    folds: pd.DataFrame
    """Of `folds.make_folds` or `folds.leave_one_group_out`."""


def part_objects(objects: pd.DataFrame) -> pd.DataFrame:
    """Make every object a group of its own, so that folds may part cells and images: this leaks.

    The name of a group is that of the image and the object's row in the index.
    """
    numbers = objects.index.astype(str)
    return objects.assign(group=objects["image"] + " object " + numbers)


def divide_objects(
    objects: pd.DataFrame, names: tuple[str, str], *, n_splits: int, seed: int
) -> dict[str, Division]:
    """Divide objects by object, and with one image left out.

    Forests and networks that stop nothing early need no validation: no fold has any.

    Parameters
    ----------
    objects
        ``image``, ``label`` and ``group``, which is left out as a whole.
    names
        What the two are called.
    n_splits
        Number of folds by object.
    seed
        Of the folds.

    Returns
    -------
    dict
        The two names → their divisions.

    Raises
    ------
    FoldError
        As in `folds.make_folds`.
    """
    parted = part_objects(objects)
    by_object = make_folds(parted, n_splits=n_splits, validation_share=0, seed=seed)
    left_out = leave_one_group_out(objects, validation_share=0, seed=seed)
    by_name = (Division(parted, by_object), Division(objects, left_out))
    return dict(zip(names, by_name, strict=True))


def train_objects(
    train: Callable[..., pd.DataFrame],
    features: pd.DataFrame,
    division: Division,
    *,
    name: str,
    folder: Path,
    **options: Any,
) -> pd.DataFrame:
    """Train a classifier in every fold of a division, and give its predictions the images back.

    Parameters
    ----------
    train
        `forests.train_forests`, `forests.predict_shuffled` or `mlp.train_mlps`.
    features
        float, one row per object and a column per feature; rows that `division` does not have are
        not used.
    division
        Of `divide_objects`.
    name
        What is trained on, in words; the files are sorted under it.
    folder
        Root of the files.
    options
        Of `train`.

    Returns
    -------
    DataFrame
        Predictions, see `predictions.read_predictions`; ``group`` is the image, however finely
        the folds were cut: intervals resample images.

    Raises
    ------
    SweepError, FoldError, MlpError
        As `train`.
    """
    predictions = train(
        features.loc[division.table.index].reset_index(drop=True),
        division.table.reset_index(drop=True),
        division.folds,
        dataset=name.replace(" ", "-").replace(",", ""),
        folder=folder,
        **options,
    )
    return predictions.assign(group=predictions["image"])


def as_they_are(shuffled: pd.DataFrame) -> pd.DataFrame:
    """Those predictions of `forests.predict_shuffled` that have no feature of another object."""
    return shuffled[shuffled["shuffled"] == UNCHANGED]


def object_counts(objects: pd.DataFrame) -> pd.DataFrame:
    """Count images, cells and objects of every zoom and cell line.

    Parameters
    ----------
    objects
        ``batch`` (zoom), ``label`` (line), ``image`` and ``cell`` of each object.

    Returns
    -------
    DataFrame
        zoom, line, images, cells, objects, objects in a cell ("3 to 20").
    """
    table = objects.groupby(["batch", "label"]).agg(
        images=("image", "nunique"), cells=("cell", "nunique"), objects=("cell", "size")
    )
    sizes = objects.groupby(["batch", "label", "cell"]).size().groupby(["batch", "label"])
    table["objects in a cell"] = [
        span(least, most) for least, most in zip(sizes.min(), sizes.max(), strict=True)
    ]
    return table.reset_index().rename(columns={"batch": "zoom", "label": "line"})


def contact_choices(
    objects: pd.DataFrame, others: Sequence[str], *, seed: int
) -> dict[str, np.ndarray]:
    """Choose all objects, those in contact with another organelle, and as many at random.

    Parameters
    ----------
    objects
        ``image``, ``cell`` and, for each of `others`, ``distance_to_<other>_um``, µm, of N
        objects. A distance of 0 or less is contact.
    others
        The other organelles.
    seed
        Of the draw, which takes as many of each cell as are in contact.

    Returns
    -------
    dict
        "all objects", "touching <other>", "as many at random (<other>)" → bool (N,).
    """
    chosen = {"all objects": np.ones(len(objects), bool)}
    for other in others:
        near = (objects[f"distance_to_{other}_um"] <= 0).to_numpy()
        chosen[f"touching {other}"] = near
        chosen[f"as many at random ({other})"] = same_number_per_cell(objects, near, seed=seed)
    return chosen


Found = Mapping[tuple[str, str], pd.DataFrame]


def protocol_gaps(
    found: Found, names: Sequence[str], *, repeats: int = 2000, seed: int = 0
) -> dict[str, dict]:
    """How much more is scored in folds by object than with images left out.

    Parameters
    ----------
    found
        (protocol, subset of features) → predictions, of two protocols.
    names
        Subsets that are compared.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    dict
        "<subset>, <first protocol> minus <second>" → `comparisons.folding_difference`.
    """
    first, second = dict.fromkeys(protocol for protocol, _ in found)
    return {
        f"{name}, {first} minus {second}": folding_difference(
            found[first, name], found[second, name], repeats=repeats, seed=seed
        )
        for name in names
    }


def subset_gaps(
    found: Found, a: str, b: str, *, repeats: int = 2000, seed: int = 0
) -> dict[str, dict]:
    """How much more is scored with one subset of features than with another.

    Parameters
    ----------
    found, repeats, seed
        As in `protocol_gaps`.
    a, b
        Two subsets.

    Returns
    -------
    dict
        "<a> minus <b>, <protocol>" → `comparisons.folding_difference`.
    """
    return {
        f"{a} minus {b}, {protocol}": folding_difference(
            found[protocol, a], found[protocol, b], repeats=repeats, seed=seed
        )
        for protocol in dict.fromkeys(protocol for protocol, _ in found)
    }


def listed_scores(
    scored: pd.DataFrame,
    rows: Mapping[str, tuple[str, str]],
    *,
    with_chance: bool = False,
) -> str:
    """List some scores of objects in words.

    Parameters
    ----------
    scored
        Of `evaluation.level_scores`.
    rows
        What a score is called → its panel and row.
    with_chance
        Whether chance is added to each.

    Returns
    -------
    str
        Such as "All 0.50 [0.40, 0.60], OPG 0.40 [0.30, 0.50]".
    """
    at = scored[scored["level"] == "object"].set_index(["panel", "row"])
    found = [(called, at.loc[place]) for called, place in rows.items()]
    return ", ".join(
        f"{called} {interval_of(row, '')}" + f" (chance {row['chance']:.2f})" * with_chance
        for called, row in found
    )


def accuracy_lines(
    scored: pd.DataFrame, protocols: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Say what forests score by object on some subsets of features, and networks on all features.

    Parameters
    ----------
    scored
        Of `evaluation.level_scores`: panels "forest, <protocol>" and "MLP, <protocol>", rows are
        subsets.
    protocols, names
        Protocols, a line for each, and subsets.
    """
    of_mlp = {protocol: (f"MLP, {protocol}", "All") for protocol in protocols}
    of_forest = [{name: (f"forest, {protocol}", name) for name in names} for protocol in protocols]
    return [
        *(
            f"By object, {protocol}: {listed_scores(scored, rows)}."
            for protocol, rows in zip(protocols, of_forest, strict=True)
        ),
        f"MLP, All, by object: {listed_scores(scored, of_mlp)}.",
    ]


def most_missed(importance: pd.DataFrame, groups: Sequence[str]) -> str:
    """Name the group of features that is missed most, in every panel.

    Parameters
    ----------
    importance
        panel, group, value, low, high (`forests.permutation_importance`).
    groups
        Those that are compared.

    Returns
    -------
    str
        Group, panel and loss, such as "OPG in folds by object (loss 0.20 [0.10, 0.30])"; "none" in
        a panel where no group is missed.
    """
    compared = importance[importance["group"].isin(list(groups))]
    most = [
        of_panel.sort_values("value", na_position="first").iloc[-1]
        for _, of_panel in compared.groupby("panel", sort=False)
    ]
    return "; ".join(
        f"{row['group']} in {row['panel']} (loss {interval_of(row, '')})"
        if row["value"] > 0
        else f"none in {row['panel']}"
        for row in most
    )
