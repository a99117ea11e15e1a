"""On how much the folds of a division train: of everything, and of the class that is tested."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.folds import fold_parts


class Coverage(NamedTuple):
    """Shares of patches, 0 to 1, means over what is tested."""

    of_all: float
    of_class: float  # of the class of the tested patch


def training_coverage(
    divisions: Iterable[pd.DataFrame], table: pd.DataFrame, whole: pd.DataFrame
) -> Coverage:
    """Say how much of the patches, and of those of the tested class, networks are trained on.

    Folds that keep images whole take a larger part of a class out of training than folds that part
    them, the more so where a class has few images: what they score less is not all leakage.

    Parameters
    ----------
    divisions
        One or several of `folds.make_folds` or `folds.leave_one_group_out`.
    table
        What they divide: ``group`` and ``label``.
    whole
        All that there is, of which a division may leave a part out: ``label``.

    Returns
    -------
    Coverage
        Validation parts are not trained on, and do not count.
    """
    sizes = whole["label"].value_counts()
    labels, groups = table["label"].to_numpy(dtype=str), table["group"].to_numpy(dtype=str)
    of_all, of_class = [], []
    for folds in divisions:
        for fold in folds["fold"].unique():
            parts = fold_parts(folds, groups, fold)
            tested, trained = labels[parts == "test"], labels[parts == "train"]
            share = pd.Series(trained).value_counts().reindex(sizes.index, fill_value=0) / sizes
            of_class.extend(share[tested])
            of_all.extend([len(trained) / len(whole)] * len(tested))
    return Coverage(float(np.mean(of_all)), float(np.mean(of_class)))


def row_shares(table: pd.DataFrame, coverages: Mapping[tuple[str, str], Coverage]) -> pd.DataFrame:
    """Shares of each row of a table, of_all and of_class, by its ``data`` and ``grouping``."""
    keys = zip(table["data"], table["grouping"], strict=True)
    return pd.DataFrame([coverages[key] for key in keys], columns=Coverage._fields)


def shown_shares(coverages: Iterable[Coverage]) -> dict[str, list[str]]:
    """Two columns for a table: per cent of all and of the tested class that is trained on."""
    rows = [(f"{one.of_all:.0%}", f"{one.of_class:.0%}") for one in coverages]
    of_all, of_class = (list(column) for column in zip(*rows, strict=True))
    return {"trained on, of all": of_all, "of the tested class": of_class}
