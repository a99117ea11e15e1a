"""The same patches or objects divided in several ways, and one classifier trained in each.

How much of the tested class a classifier is trained on differs between divisions, and its score
with it; so predictions and this share stay together.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from organelle_fusion.config import Profile, TrainingSettings
from organelle_fusion.coverage import Coverage, training_coverage
from organelle_fusion.folds import make_folds
from organelle_fusion.forests import train_forests
from organelle_fusion.leakage import with_groups
from organelle_fusion.patchset import PatchSet
from organelle_fusion.protocols import Division, train_objects
from organelle_fusion.sweep import train_all, train_cells


class Trained(NamedTuple):
    """What a division gave."""

    predictions: pd.DataFrame
    """With the groups of the whole data set, however finely the folds were cut."""
    coverage: Coverage
    """On how much was trained."""


class Repeats(NamedTuple):
    """What the same division with several seeds gave."""

    pooled: Trained
    first: Trained


def with_epochs(profile: Profile, epochs: int) -> Profile:
    """The profile with another number of epochs."""
    training = profile.training.model_copy(update={"epochs": epochs})
    return profile.model_copy(update={"training": training})


def train_divided(
    patch_set: PatchSet, folds: pd.DataFrame, whole: pd.DataFrame, **training: Any
) -> Trained:
    """Train one model in every fold of a division.

    Parameters
    ----------
    patch_set
        What is divided; its groups are those that the folds keep whole.
    folds
        Of `folds.make_folds` or `folds.leave_one_group_out`.
    whole
        Table of all patches, of which the division may leave some out: ``image``, ``label``, and
        the ``group`` that intervals resample.
    training
        The other arguments of `sweep.train_cells`.

    Returns
    -------
    Trained

    Raises
    ------
    SweepError, FoldError
        As `sweep.train_cells`.
    """
    share = training_coverage([folds], patch_set.table, whole)
    return Trained(with_groups(train_cells(patch_set, folds, **training), whole), share)


def train_repeats(
    sets: Mapping[str, PatchSet],
    seeds: Sequence[int],
    *,
    division: Mapping[str, Any],
    folders: Mapping[str, Path],
    **training: Any,
) -> dict[str, Repeats]:
    """Train one model in folds that keep groups whole, made and trained with several seeds.

    Parameters
    ----------
    sets
        Name → patches.
    seeds
        One for every repetition.
    division
        Arguments of `folds.make_folds` but for the seed.
    folders
        Name → root of its files.
    training
        The other arguments of `sweep.train_all`.

    Returns
    -------
    dict
        Name → all repetitions together, and the first by itself.

    Raises
    ------
    SweepError, FoldError
        As `sweep.train_all`.
    """
    splits = {
        (name, seed): make_folds(of_set.table, **{**division, "seed": seed})
        for name, of_set in sets.items()
        for seed in seeds
    }
    trainings = {
        (name, seed): {
            "patch_set": sets[name], "folds": split, "folder": folders[name], "seed": seed,
        }
        for (name, seed), split in splits.items()
    }  # fmt: skip
    found = train_all(trainings.items(), **training)

    def pooled(name: str, used: Sequence[int]) -> Trained:
        table = sets[name].table
        return Trained(
            with_groups(pd.concat([found[name, seed] for seed in used]), table),
            training_coverage([splits[name, seed] for seed in used], table, table),
        )

    return {name: Repeats(pooled(name, seeds), pooled(name, seeds[:1])) for name in sets}


def train_candidates(
    sets: Mapping[str, PatchSet],
    candidates: Sequence[TrainingSettings],
    *,
    division: Mapping[str, Any],
    folders: Mapping[str, Path],
    profile: Profile,
    **training: Any,
) -> dict[str, pd.DataFrame]:
    """Train one model with several settings in the same folds, which keep groups whole.

    Parameters
    ----------
    sets, folders
        As in `train_repeats`.
    candidates
        The settings.
    division
        Arguments of `folds.make_folds`.
    profile
        What else counts of a training.
    training
        The other arguments of `sweep.train_all`.

    Returns
    -------
    dict
        Name → predictions of all settings; ``dataset`` is ``candidate-<number>``, counted from 1.

    Raises
    ------
    SweepError, FoldError
        As `sweep.train_all`.
    """
    trainings = {
        (name, number): {
            "patch_set": of_set,
            "folds": make_folds(of_set.table, **division),
            "dataset": f"candidate-{number}",
            "profile": profile.model_copy(update={"training": own}),
            "folder": folders[name],
        }
        for number, own in enumerate(candidates, start=1)
        for name, of_set in sets.items()
    }
    found = train_all(trainings.items(), profile=profile, **training)
    numbers = range(1, len(candidates) + 1)
    return {
        name: pd.concat([found[name, number] for number in numbers], ignore_index=True)
        for name in sets
    }


def grow_divided(features: pd.DataFrame, division: Division, **forest: Any) -> Trained:
    """Grow a random forest in every fold of a division of objects.

    Parameters
    ----------
    features, division
        As in `protocols.train_objects`.
    forest
        Its other arguments, and those of `forests.train_forests`.

    Returns
    -------
    Trained
        Groups are images.

    Raises
    ------
    SweepError, FoldError
        As `forests.train_forests`.
    """
    share = training_coverage([division.folds], division.table, division.table)
    return Trained(train_objects(train_forests, features, division, **forest), share)


def grow_repeats(
    features: pd.DataFrame,
    objects: pd.DataFrame,
    seeds: Sequence[int],
    *,
    division: Mapping[str, Any],
    **forest: Any,
) -> Repeats:
    """Grow random forests in folds that keep groups whole, made and grown with several seeds.

    Parameters
    ----------
    features
        float, one row per object and a column per feature.
    objects
        ``image``, ``label`` and ``group`` of the same rows.
    seeds
        One for every repetition.
    division
        Arguments of `folds.make_folds` but for the seed.
    forest
        As in `grow_divided`, but for the seed.

    Returns
    -------
    Repeats

    Raises
    ------
    SweepError, FoldError
        As `forests.train_forests`.
    """
    splits = [make_folds(objects, **{**division, "seed": seed}) for seed in seeds]
    found = [
        train_objects(train_forests, features, Division(objects, split), seed=seed, **forest)
        for seed, split in zip(seeds, splits, strict=True)
    ]

    def pooled(number: int) -> Trained:
        share = training_coverage(splits[:number], objects, objects)
        return Trained(pd.concat(found[:number]), share)

    return Repeats(pooled(len(found)), pooled(1))
