"""Folds that hold whole groups, so that no image is seen in training and scored in testing.

The paper keeps all patches of one image in one fold (Validation); here the unit is the *group* of
the manifest, which is the image unless a specimen, slide or day is named.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from organelle_fusion.config import UserError
from organelle_fusion.manifest import MIN_GROUPS
from organelle_fusion.provenance import note_file, write_csv

PARTS = ("train", "validation", "test")
COLUMNS = ["fold", "group", "label", "part"]


class FoldError(UserError):
    """Folds that cannot be made or must not be used; the message is one line."""


def make_folds(
    table: pd.DataFrame, *, n_splits: int, validation_share: float, seed: int
) -> pd.DataFrame:
    """Split groups into folds, and the training side of each fold into train and validation.

    Outside, scikit-learn's ``StratifiedGroupKFold`` (``StratifiedKFold`` where every group is one
    row) tests every group once. Where every group has one label it is groups that are stratified,
    not rows: given rows, the splitter goes from the most uneven group to the least, an order that
    no seed changes once groups differ in size, so that repeats would repeat the same folds.

    Inside, the remaining groups are visited in a seeded order, and one goes to validation if that
    brings the classes' shares of rows there nearer to `validation_share` (sum of absolute
    differences) and leaves no class without training rows. So where groups have one label no class
    gives twice the share or more; at 0.2 a class with three to seven equal groups gives one, a
    class with only two none, because half is too much. Were validation to stay empty, it gets the
    one group that misses the shares by least. scikit-learn's splitters cannot do this inside: with
    a group or less per class to give they leave out whole classes, or refuse.

    Parameters
    ----------
    table
        One row per patch (or per image) with columns ``image``, ``label`` and ``group``. A group
        may hold several labels, as when it is a day of imaging.
    n_splits
        Number of folds. Where a class has fewer groups, some test folds lack it: see
        `fold_summary`.
    validation_share
        Share of the training rows kept for early stopping, ≈ 0.2 in the paper (Validation). 0 is
        for classifiers that stop nothing early: no group validates, and two groups of a class do.
    seed
        Of both splits. The order of the rows of `table` does not matter.

    Returns
    -------
    DataFrame
        ``fold`` (from 0), ``group``, ``label``, ``part`` (train, validation or test); one row per
        fold, group and label that occurs in the group.

    Raises
    ------
    FoldError
        A column or value is missing, there is one class only, a class has fewer than three groups
        (two, without validation), there are fewer groups than folds, fewer than two folds or a
        share out of range are asked for, or a fold would train or validate on nothing.

    Warns
    -----
    UserWarning
        A class has fewer groups than there are folds.
    """
    if n_splits < 2:
        raise FoldError(f"n_splits: expected two folds or more, found {n_splits}; ask for more")
    counted = _count(table, validation_share)
    if len(counted.groups) < n_splits:
        raise FoldError(
            f"table: expected at least {n_splits} groups for {n_splits} folds, found "
            f"{len(counted.groups)}; lower folds.n_splits"
        )
    per_class = (counted.rows > 0).sum(axis=0)
    few = [f"{counted.labels[k]} ({per_class[k]})" for k in np.flatnonzero(per_class < n_splits)]
    if few:
        warnings.warn(
            f"fewer groups than the {n_splits} folds in {', '.join(few)}: "
            "some test folds lack these classes, so pool the folds before scoring",
            stacklevel=2,
        )
    return _with_training(counted, _test_groups(counted, n_splits, seed), validation_share, seed)


def leave_one_group_out(table: pd.DataFrame, *, validation_share: float, seed: int) -> pd.DataFrame:
    """Test every group in a fold of its own, in the order of their names.

    The training side is divided as in `make_folds`, by the same rule.

    Parameters
    ----------
    table, validation_share
        As in `make_folds`.
    seed
        Of the division into training and validation.

    Returns
    -------
    DataFrame
        As `make_folds` gives it, with as many folds as groups.

    Raises
    ------
    FoldError
        As in `make_folds`.
    """
    counted = _count(table, validation_share)
    tests = [np.array([group]) for group in range(len(counted.groups))]
    return _with_training(counted, tests, validation_share, seed)


class _Counted(NamedTuple):
    """A table as numbers: which group and class each row is of, and how many rows each pair has."""

    labels: np.ndarray  # (K,) str
    groups: np.ndarray  # (G,) str
    label_of: np.ndarray  # (N,)
    group_of: np.ndarray  # (N,)
    rows: np.ndarray  # (G, K)


def _count(table: pd.DataFrame, validation_share: float) -> _Counted:
    if not 0 <= validation_share < 1:
        raise FoldError(
            f"validation_share: expected a share from 0 to below 1, found {validation_share}; "
            "write it like 0.2"
        )
    missing = [name for name in ("image", "label", "group") if name not in table]
    if missing:
        raise FoldError(f"table: expected column {missing[0]}, found {list(table.columns)}; add it")
    gaps = table[["label", "group"]].isna().any(axis=1).to_numpy()
    if gaps.any():
        raise FoldError(f"table row {int(np.argmax(gaps))}: expected a label and a group; fill in")
    labels, label_of = np.unique(table["label"].to_numpy(str), return_inverse=True)
    groups, group_of = np.unique(table["group"].to_numpy(str), return_inverse=True)
    rows = np.zeros((len(groups), len(labels)), np.int64)
    np.add.at(rows, (group_of, label_of), 1)
    if len(labels) < 2:
        raise FoldError(f"table: expected two classes or more, found {labels.tolist()}; add images")
    per_class = (rows > 0).sum(axis=0)
    worst = int(np.argmin(per_class))
    least = MIN_GROUPS if validation_share > 0 else MIN_GROUPS - 1
    if per_class[worst] < least:
        raise FoldError(
            f"class {str(labels[worst])!r}: expected at least {least} groups, found "
            f"{per_class[worst]}; add images or leave the class out"
        )
    return _Counted(labels, groups, label_of, group_of, rows)


def _with_training(
    counted: _Counted, tests: Sequence[np.ndarray], validation_share: float, seed: int
) -> pd.DataFrame:
    """Folds that test these groups (codes), with the others in training and validation."""
    labels, groups, rows = counted.labels, counted.groups, counted.rows
    generators = np.random.SeedSequence(seed).spawn(len(tests))
    pair_group, pair_label = np.nonzero(rows)
    frames = []
    for fold, test in enumerate(tests):
        part_of = np.full(len(groups), "train", dtype="<U10")
        part_of[test] = "test"
        training = np.flatnonzero(part_of == "train")
        absent = labels[rows[training].sum(axis=0) == 0]
        if len(test) == 0 or len(absent):
            what = (
                f"no group of class {absent[0]!r} to train on" if len(absent) else "an empty test"
            )
            raise FoldError(f"fold {fold}: {what}; use other folds.n_splits, or smaller groups")
        order = np.random.default_rng(generators[fold]).permutation(training)
        if validation_share > 0:
            chosen = _validation_groups(rows, order, validation_share)
            if not chosen:
                raise FoldError(
                    f"fold {fold}: expected a group to spare for validation, found every training "
                    "group the only one of its class; add images or use fewer folds"
                )
            part_of[chosen] = "validation"
        frames.append(
            pd.DataFrame(
                {
                    "fold": fold,
                    "group": groups[pair_group],
                    "label": labels[pair_label],
                    "part": part_of[pair_group],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _test_groups(counted: _Counted, n_splits: int, seed: int) -> list[np.ndarray]:
    """Codes of the groups tested in each fold."""
    rows, label_of, group_of = counted.rows, counted.label_of, counted.group_of
    largest = rows.sum(axis=1).max()
    if ((rows > 0).sum(axis=1) == 1).all():
        # All as large as the largest: groups are stratified, and equal ones as their rows were.
        label_of = np.repeat(rows.argmax(axis=1), largest)
        group_of = np.repeat(np.arange(len(rows)), largest)
    most = np.bincount(label_of).max()
    with warnings.catch_warnings():
        # The same is said of groups, by class, in make_folds.
        warnings.filterwarnings("ignore", message="The least populated class in y")
        if largest == 1 and most >= n_splits:
            # Every group one row, as with single crops: stratifying groups is stratifying rows,
            # which takes milliseconds where the greedy search takes seconds.
            plain = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
            return [test for _, test in plain.split(label_of, label_of)]
        if most < n_splits:
            # The splitter would refuse a class of fewer rows than folds, though it is groups that
            # matter; repeating every row changes none of the shares it weighs.
            label_of, group_of = np.repeat(label_of, n_splits), np.repeat(group_of, n_splits)
        grouped = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
        return [
            np.unique(group_of[test]) for _, test in grouped.split(label_of, label_of, group_of)
        ]


def _validation_groups(rows: np.ndarray, order: np.ndarray, share: float) -> list[int]:
    """Those of the groups `order` that validate, by the rule of `make_folds`."""
    total = rows[order].sum(axis=0)
    shares = rows / total  # what each group would take of each class
    left = total.copy()
    taken = np.zeros(rows.shape[1])
    distance = np.abs(taken - share).sum()
    chosen = []
    for group in order:
        new = np.abs(taken + shares[group] - share).sum()
        if new < distance - 1e-9 and (left > rows[group]).all():
            chosen.append(int(group))
            taken, left, distance = taken + shares[group], left - rows[group], new
    if not chosen:
        possible = [group for group in order if (total > rows[group]).all()]
        if possible:
            misses = [np.abs(shares[group] - share).sum() for group in possible]
            chosen = [int(possible[int(np.argmin(misses))])]
    return chosen


def check_no_leakage(folds: pd.DataFrame, table: pd.DataFrame) -> None:
    """Refuse folds in which a group could be learnt from and scored as well.

    Parameters
    ----------
    folds
        What `make_folds` or `read_folds` gave.
    table
        The patches to be trained on, with column ``group``.

    Raises
    ------
    FoldError
        A group stands in two parts of one fold, a group of `table` is missing from a fold, or a
        group is tested in two folds or in none. The message names fold, group and parts.
    """
    parts = folds[["fold", "group", "part"]].drop_duplicates()
    parts = parts.assign(group=parts["group"].astype(str))
    remedy = "make the folds again with make_folds"
    twice = parts[parts.duplicated(["fold", "group"], keep=False)]
    if len(twice):
        fold, group = twice.iloc[0][["fold", "group"]]
        found = twice.loc[(twice["fold"] == fold) & (twice["group"] == group), "part"]
        raise FoldError(
            f"fold {fold}: group {group!r}: expected in one part, found in "
            f"{' and '.join(sorted(found))}; {remedy}"
        )
    needed = set(table["group"].astype(str))
    for fold, of_fold in parts.groupby("fold"):
        missing = sorted(needed - set(of_fold["group"]))
        if missing:
            raise FoldError(
                f"fold {fold}: group {missing[0]!r}: expected in train, validation or test, found "
                f"in none ({len(missing)} of {len(needed)} groups missing); {remedy}"
            )
    tests = parts[parts["part"] == "test"]
    tested = tests["group"].value_counts()
    times = tested.reindex(sorted(needed | set(parts["group"])), fill_value=0)
    for group in times.index[times != 1]:
        found = tests.loc[tests["group"] == group, "fold"]
        where = f"folds {', '.join(map(str, found))}" if len(found) else "none"
        raise FoldError(
            f"group {group!r}: expected in the test part of one fold, found in that of {where}; "
            f"{remedy}"
        )


def fold_parts(folds: pd.DataFrame, groups: Sequence[str], fold: int) -> np.ndarray:
    """Part of each patch in one fold.

    Parameters
    ----------
    folds
        What `make_folds` or `read_folds` gave.
    groups
        Group of each of N patches.
    fold
        Number of the fold.

    Returns
    -------
    ndarray of str, (N,)
        ``train``, ``validation`` or ``test``.

    Raises
    ------
    FoldError
        No such fold, a group that the fold does not hold, or one that it holds in two parts.
    """
    of_fold = folds.loc[folds["fold"] == fold, ["group", "part"]].drop_duplicates()
    if of_fold.empty:
        present = sorted(set(folds["fold"].tolist()))
        raise FoldError(f"fold {fold}: expected one of {present}; choose one of these")
    part_of = of_fold.set_index(of_fold["group"].astype(str))["part"]
    if not part_of.index.is_unique:
        group = part_of.index[part_of.index.duplicated()][0]
        raise FoldError(f"fold {fold}: group {group!r}: in two parts; see check_no_leakage")
    wanted = np.asarray(groups).astype(str)
    index = part_of.index.get_indexer(wanted)
    if (index < 0).any():
        raise FoldError(
            f"fold {fold}: group {str(wanted[np.argmin(index)])!r}: expected in a part, found in "
            "none; make the folds from this table"
        )
    return part_of.to_numpy(dtype="<U10")[index]


def fold_summary(folds: pd.DataFrame) -> pd.DataFrame:
    """Count the groups of every part, and name the classes that a part lacks.

    Returns
    -------
    DataFrame
        One row per fold: ``fold``; ``train``, ``validation``, ``test`` (number of groups);
        ``missing_from_validation``, ``missing_from_test`` (classes, joined by commas; empty if
        none). With fewer groups in a class than folds some test fold has to lack it.
    """
    once = folds.drop_duplicates(["fold", "group", "part"])
    counts = pd.crosstab(once["fold"], once["part"])
    summary = counts.reindex(columns=list(PARTS), fill_value=0).rename_axis(columns=None)
    classes = set(folds["label"])
    for part in ("validation", "test"):
        present = folds[folds["part"] == part].groupby("fold")["label"].agg(set)
        summary[f"missing_from_{part}"] = [
            ", ".join(sorted(classes - present.get(fold, set()))) for fold in summary.index
        ]
    return summary.reset_index()


def write_folds(path: Path, folds: pd.DataFrame) -> None:
    """Write folds as CSV (``fold,group,label,part``), atomically."""
    write_csv(path, folds[COLUMNS])


def read_folds(path: Path) -> pd.DataFrame:
    """Read what `write_folds` wrote, or folds made elsewhere in the same four columns.

    Raises
    ------
    FoldError
        No file, columns that differ, or a row (numbered as in the file, the header is 1) whose
        fold is no whole number, whose part is unknown, or that names no group or label.
    """
    path = note_file(path)
    if not path.is_file():
        raise FoldError(f"{path}: expected a file of folds, found none; make it with make_folds")
    folds = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(folds.columns) != COLUMNS:
        raise FoldError(
            f"{path}: expected columns {','.join(COLUMNS)}, found {','.join(folds.columns)}; "
            "rename them"
        )
    for column, good, expected in (
        ("fold", folds["fold"].str.fullmatch(r"\d+"), "a whole number"),
        ("part", folds["part"].isin(PARTS), f"one of {', '.join(PARTS)}"),
        ("group", folds["group"] != "", "a name"),
        ("label", folds["label"] != "", "a name"),
    ):
        bad = np.flatnonzero(~good.to_numpy(bool))
        if len(bad):
            raise FoldError(
                f"{path}: row {bad[0] + 2}: {column}: expected {expected}, found "
                f"{folds[column].iloc[bad[0]]!r}; correct it"
            )
    return folds.astype({"fold": int})
