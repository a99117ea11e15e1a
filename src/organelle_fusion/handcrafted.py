"""Classifiers of measured features: the random forest of the handcrafted baseline (OTCCP)."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.provenance import code_version, hash_of
from organelle_fusion.sweep import network_seed, run_cells

JOBS = 2
"""Trees grown at once; the forest is the same for any number."""


def train_forests(
    features: pd.DataFrame,
    table: pd.DataFrame,
    folds: pd.DataFrame,
    *,
    trees: int,
    dataset: str,
    folder: Path,
    seed: int,
) -> pd.DataFrame:
    """Train and predict a random forest on every fold, as far as that is not stored.

    The forest is scikit-learn's, with classes weighted inversely to their frequency (the method of
    the OTCCP: Wang et al., iScience 26:107229, 2023). It stops nothing early, so that a group set
    aside for validation would be of no use: make the folds with a validation share of 0.

    Parameters
    ----------
    features
        float, one row per object and a column per feature.
    table
        ``image``, ``label`` and ``group`` of each object.
    folds
        Of `folds.make_folds` or `folds.leave_one_group_out`; checked for leakage first.
    trees
        Trees per forest.
    dataset
        Name that the files are sorted under.
    folder
        Root of the files, see `predictions.Cell`; the patch size there is 0.
    seed
        Together with the number of the fold it seeds the forest.

    Returns
    -------
    DataFrame
        Predictions, see `predictions.read_predictions`; ``patch`` is the row in `features`.

    Raises
    ------
    SweepError
        A forest failed.
    FoldError
        The folds leak, or do not fit the table.
    """
    check_no_leakage(folds, table)
    labels = table["label"].to_numpy(dtype=str)
    values = features.to_numpy(dtype=np.float64)

    def compute(cell: Cell) -> pd.DataFrame:
        parts = fold_parts(folds, table["group"], cell.fold)
        forest = RandomForestClassifier(
            trees,
            class_weight="balanced",
            random_state=network_seed(cell.seed, cell.fold),
            n_jobs=JOBS,
        )
        forest.fit(values[parts == "train"], labels[parts == "train"])
        rows = np.flatnonzero(parts != "train")
        # One at a time: threads add up the trees in the order in which they happen to finish.
        probabilities = forest.set_params(n_jobs=1).predict_proba(values[rows])
        frame = table[["image", "group", "label"]].iloc[rows].reset_index(drop=True)
        frame.insert(0, "patch", rows)
        frame["part"] = parts[rows]
        for column, name in enumerate(forest.classes_):
            frame[f"p:{name}"] = probabilities[:, column]
        return frame

    cells = [Cell(dataset, 0, "forest", int(fold), seed) for fold in sorted(folds["fold"].unique())]
    inputs = {
        "settings": hash_of(trees),
        "data": hash_of([features, table[["image", "label", "group"]]]),
        "folds": hash_of(folds),
        "code": code_version("handcrafted", "predictions", "sweep"),
    }
    return read_predictions(run_cells(cells, compute, folder, inputs=inputs))
