"""Random forests on measured features: trained, stored, and asked what they rely on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion.bootstrap import interval, sample_of
from organelle_fusion.computing import run_cells
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.metrics import EvaluationError
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.provenance import code_version, hash_of
from organelle_fusion.sweep import network_seed

JOBS = 2
"""Trees grown at once; the forest is the same for any number."""

UNCHANGED = "none"
"""What `predict_shuffled` calls the predictions of features as they are."""


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
        ``image``, ``label`` and ``group`` of each object, and ``cell`` where cells are known.
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
        Predictions, see `predictions.read_predictions`; ``patch`` is the row in `features`, and
        ``cell`` is there where `table` has it.

    Raises
    ------
    SweepError
        A forest failed.
    FoldError
        The folds leak, or do not fit the table.
    """
    values = features.to_numpy(dtype=np.float64)

    def predict(forest: RandomForestClassifier, rows: np.ndarray) -> pd.DataFrame:
        return _named(table, rows, forest, forest.predict_proba(values[rows]))

    return _run("forest", features, table, folds, predict, trees, dataset, folder, seed)


def predict_shuffled(
    features: pd.DataFrame,
    table: pd.DataFrame,
    folds: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    *,
    trees: int,
    shuffles: int,
    dataset: str,
    folder: Path,
    seed: int,
) -> pd.DataFrame:
    """Predict every object as it is, and with a group of its features taken from other objects.

    The forests are those of `train_forests`; one per fold serves all groups. The features of a
    group move together, so that the objects lend whole rows of it. They are shuffled over all
    objects, not within the part that is tested: where a fold tests one image, all its objects are
    of one class, and would lend each other what tells that class.

    Parameters
    ----------
    features, table, folds, trees, dataset, folder, seed
        As for `train_forests`.
    groups
        Name → columns of `features`; they may overlap.
    shuffles
        How often each group is shuffled; the groups share the orders.

    Returns
    -------
    DataFrame
        Predictions as of `train_forests`, with the columns ``shuffled`` (name of the group, or
        `UNCHANGED`: what `train_forests` gives) and ``shuffle`` (0, 1, …).

    Raises
    ------
    SweepError, FoldError
        As `train_forests`.
    EvaluationError
        A group names a column that is not there.
    """
    missing = [name for of_group in groups.values() for name in of_group if name not in features]
    if missing:
        raise EvaluationError(
            f"groups: expected columns of the features, found {missing[0]!r}; correct the name"
        )
    values = features.to_numpy(dtype=np.float64)
    columns = {name: features.columns.get_indexer(list(of)) for name, of in groups.items()}
    orders = [np.random.default_rng([seed, k]).permutation(len(values)) for k in range(shuffles)]

    def predict(forest: RandomForestClassifier, rows: np.ndarray) -> pd.DataFrame:
        inputs = [(UNCHANGED, 0, values[rows])]
        for name, of_group in columns.items():
            for number, order in enumerate(orders):
                changed = values[rows]
                changed[:, of_group] = values[order[rows]][:, of_group]
                inputs.append((name, number, changed))
        found = forest.predict_proba(np.concatenate([changed for _, _, changed in inputs]))
        frames = [
            _named(table, rows, forest, probabilities).assign(shuffled=name, shuffle=number)
            for (name, number, _), probabilities in zip(
                inputs, np.split(found, len(inputs)), strict=True
            )
        ]
        return pd.concat(frames, ignore_index=True)

    plan = [shuffles, {name: list(of) for name, of in groups.items()}]
    return _run(
        "shuffled", features, table, folds, predict, trees, dataset, folder, seed, plan=plan
    )


def permutation_importance(
    predictions: pd.DataFrame, *, level: str = "patch", repeats: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How much balanced accuracy is lost where a group of features tells nothing of the object.

    Both sides of the loss are scored on the pooled test parts of all folds, in the same resamples
    of groups.

    Parameters
    ----------
    predictions
        Of `predict_shuffled`, with the groups that are to be resampled (`leakage.with_groups`).
    level
        As in `metrics.pooled`.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        group (of features), value (mean over shuffles), low, high (95 % interval over resampled
        groups); in the order in which the predictions name them.

    Raises
    ------
    EvaluationError
        As `metrics.pooled`.
    """
    scores = {}
    for (name, _), of_shuffle in predictions.groupby(["shuffled", "shuffle"], sort=False):
        found = sample_of(of_shuffle, level).with_resamples("balanced_accuracy", repeats, seed)
        scores.setdefault(name, []).append(found)
    rows = []
    for name, of_name in scores.items():
        if name != UNCHANGED:
            lost = scores[UNCHANGED][0] - np.mean(of_name, axis=0)
            rows.append((name, lost[0], *interval(lost[1:])))
    return pd.DataFrame(rows, columns=["group", "value", "low", "high"])


Predict = Callable[[RandomForestClassifier, np.ndarray], pd.DataFrame]


def _run(
    model: str,
    features: pd.DataFrame,
    table: pd.DataFrame,
    folds: pd.DataFrame,
    predict: Predict,
    trees: int,
    dataset: str,
    folder: Path,
    seed: int,
    plan: object = None,
) -> pd.DataFrame:
    """Grow one forest per fold, let `predict` ask it about the other rows, and store the answers.

    `plan` is what the answers depend on beside the forest.
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
        # One at a time: threads add up the trees in the order in which they happen to finish.
        forest.set_params(n_jobs=1)
        frame = predict(forest, np.flatnonzero(parts != "train"))
        return frame.assign(part=parts[frame["patch"]])

    cells = [Cell(dataset, 0, model, int(fold), seed) for fold in sorted(folds["fold"].unique())]
    named = [name for name in ("image", "cell", "label", "group") if name in table]
    inputs = {
        "settings": hash_of(trees if plan is None else [trees, plan]),
        "data": hash_of([features.columns.tolist(), values, table[named]]),
        "folds": hash_of(folds),
        "code": code_version("forests", "predictions", "sweep"),
    }
    return read_predictions(run_cells(cells, compute, folder, inputs=inputs))


def _named(
    table: pd.DataFrame, rows: np.ndarray, forest: RandomForestClassifier, found: np.ndarray
) -> pd.DataFrame:
    """Probabilities of some rows of the table, (N, K), as a frame of predictions."""
    names = [name for name in ("image", "cell", "group", "label") if name in table]
    frame = table[names].iloc[rows].reset_index(drop=True)
    frame.insert(0, "patch", rows)
    for column, name in enumerate(forest.classes_):
        frame[f"p:{name}"] = found[:, column]
    return frame
