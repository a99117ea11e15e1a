"""What sees contacts in the contact phantom: networks, their controls, and a coarse probe."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from organelle_fusion.evaluation import level_scores
from organelle_fusion.folds import fold_parts
from organelle_fusion.leakage import chance_words
from organelle_fusion.patchset import PatchSet
from organelle_fusion.significance import interval_of
from organelle_fusion.wording import title

COARSE = 7
"""Grids of the probe with as many blocks along an edge, or fewer, are called coarse."""

_LEVELS = {"patch": "by patch", "image": "by image"}


def control_scores(
    runs: Iterable[tuple[pd.DataFrame, str]], panel: str, **bootstrap: int
) -> pd.DataFrame:
    """Balanced accuracy of networks and of their controls, by patch and by image.

    Parameters
    ----------
    runs
        Predictions of one or more models, and what is other about them, which is added to the
        titles of their models; nothing for those that the controls are of.
    panel
        What they were scored on.
    bootstrap
        ``repeats`` and ``seed``, see `evaluation.level_scores`.

    Returns
    -------
    DataFrame
        Of `evaluation.level_scores`: rows are titles of models, with what is other about them, in
        the order of `runs` and of their models; levels are ``by patch`` and ``by image``.
    """
    frames = {
        (panel, f"{title(str(model))}{other}"): of_model
        for frame, other in runs
        for model, of_model in frame.groupby("model", sort=False)
    }
    return level_scores(frames, _LEVELS, **bootstrap)


def where_chance_lies(scores: pd.DataFrame, rows: Iterable[str]) -> str:
    """Say of every row whether chance lies within its interval.

    Parameters
    ----------
    scores
        ``value``, ``low``, ``high`` and ``chance`` by the row.
    rows
        Those that are named, in this order.
    """
    words = []
    for row in rows:
        of = scores.loc[row]
        within = "within" if of["low"] <= of["chance"] <= of["high"] else "outside"
        where = f"{within} the interval of" if np.isfinite(of["low"]) else "on no known side of"
        words.append(f"{where} {row}, {interval_of(of, '')}")
    return "; ".join(words)


def control_words(scores: pd.DataFrame, models: Iterable[str], wide: str, fewer: str) -> str:
    """Say what the controls of training gave: a wider head, and a part of the patches.

    Parameters
    ----------
    scores
        As for `where_chance_lies`; rows of `control_scores`.
    models
        Titles of those that were trained on a part of the patches.
    wide, fewer
        What is added to a title for a wider head, and for the part.
    """

    def of(row: str) -> str:
        return interval_of(scores.loc[row], "")

    changed = "; ".join(f"{name} from {of(name + fewer)} to {of(name)}" for name in models)
    headed = "; ".join(row for row in scores.index if row.endswith(wide))
    return (
        f"{headed}: {of(headed)}. From {fewer.removeprefix(', ')} to all of them, scores go: "
        f"{changed}."
    )


def kept_words(
    differences: Mapping[tuple[str, str], Mapping[str, float]],
    margins: Mapping[tuple[str, str], float],
) -> str:
    """Say which of the differences named beforehand lie above their margin with the whole interval.

    Parameters
    ----------
    differences
        Two models → their difference, as `comparisons.paired_difference` gives it.
    margins
        Two models → what the interval should lie above.

    Returns
    -------
    str
        Such as "early minus intermediate above 0, yes; spatial minus early above -0.10, no".
    """
    return "; ".join(
        f"{row.first} minus {row.second} above {f'{row.margin:.2f}' if row.margin else 0}, "
        f"{row.kept}"
        for row in margin_table(differences, margins).itertuples()
    )


def margin_table(
    differences: Mapping[tuple[str, str], Mapping[str, float]],
    margins: Mapping[tuple[str, str], float],
) -> pd.DataFrame:
    """Lay the differences named beforehand beside their margins; arguments as for `kept_words`.

    Returns
    -------
    DataFrame
        first, second, value, low, high, margin, kept: "yes" or "no", or "not decided" without an
        interval.
    """
    rows = []
    for pair, margin in margins.items():
        value, low, high = (differences[pair][key] for key in ("value", "low", "high"))
        kept = "not decided" if np.isnan(low) else "yes" if low > margin else "no"
        rows.append((*pair, value, low, high, margin, kept))
    columns = ["first", "second", "value", "low", "high", "margin", "kept"]
    return pd.DataFrame(rows, columns=columns)


def block_correlations(patches: np.ndarray, blocks: int) -> np.ndarray:
    """How alike two channels lie in a patch, seen through a coarse grid.

    Parameters
    ----------
    patches : (N, H, W, C) uint8
        With H = W.
    blocks
        Blocks along each edge; each is replaced by its mean. What does not fill a block at the
        right and lower border is left out.

    Returns
    -------
    ndarray, float64 (N, C (C − 1) / 2)
        Pearson's correlation over the blocks of each pair of channels, in the order of
        `itertools.combinations`; 0 where a channel is the same in all blocks.
    """
    edge = patches.shape[1] // blocks
    cut = patches[:, : blocks * edge, : blocks * edge].astype(np.float64)
    means = cut.reshape(len(cut), blocks, edge, blocks, edge, -1).mean(axis=(2, 4))
    flat = means.reshape(len(cut), blocks * blocks, -1)
    level = np.sqrt((flat**2).sum(axis=1))
    flat = flat - flat.mean(axis=1, keepdims=True)
    size = np.sqrt((flat**2).sum(axis=1))
    varies = size > 1e-12 * level  # more than the means are rounded by
    pairs = list(combinations(range(flat.shape[2]), 2))
    product = np.stack([(flat[..., a] * flat[..., b]).sum(axis=1) for a, b in pairs], axis=1)
    scale = np.stack([size[:, a] * size[:, b] for a, b in pairs], axis=1)
    both = np.stack([varies[:, a] & varies[:, b] for a, b in pairs], axis=1)
    return np.divide(product, scale, out=np.zeros_like(product), where=both)


def coarse_probe(patch_set: PatchSet, folds: pd.DataFrame, blocks: Sequence[int]) -> pd.DataFrame:
    """Classify patches by nothing but `block_correlations`, in the folds of the networks.

    A logistic regression on as many numbers as there are pairs of channels, trained on the
    training and validation parts: what a grid this coarse still tells of who lies with whom.

    Parameters
    ----------
    patch_set, folds
        As for `sweep.train_cells`.
    blocks
        Grids, by their number of blocks along an edge.

    Returns
    -------
    DataFrame
        Predictions of the test parts, see `predictions.read_predictions`; the model of a grid of
        7 × 7 is ``grid of 7 × 7``.
    """
    table, classes = patch_set.table, list(patch_set.classes)
    frames = []
    for number in blocks:
        features = block_correlations(patch_set.patches, number)
        for fold in sorted(folds["fold"].unique().tolist()):
            tested = fold_parts(folds, table["group"], fold) == "test"
            probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
            probe.fit(features[~tested], table["label"].to_numpy(dtype=str)[~tested])
            rows = np.flatnonzero(tested)
            found = table.loc[rows, ["image", "group", "label"]].reset_index(drop=True)
            found.insert(0, "patch", rows)
            found = found.assign(model=_grid(number), fold=fold, seed=0, part="test")
            probabilities = probe.predict_proba(features[tested])
            for name in classes:  # a class that a fold does not train on has none
                column = np.flatnonzero(probe.classes_ == name)
                found[f"p:{name}"] = probabilities[:, column[0]] if len(column) else 0.0
            frames.append(found)
    return pd.concat(frames, ignore_index=True)


def block_um(patch_set: PatchSet, grids: Sequence[int]) -> dict[int, float]:
    """Edge of a block of each grid of `coarse_probe`, µm."""
    pixels = patch_set.patches.shape[1]
    return {number: pixels // number * patch_set.pixel_size_um for number in sorted(grids)}


def probe_words(scores: pd.DataFrame, edges: Mapping[int, float]) -> str:
    """Say what every grid of the probe reaches, and what follows for coarse local means.

    Parameters
    ----------
    scores
        ``value``, ``low``, ``high`` and ``chance`` by the name of the grid, as `coarse_probe` gives
        it.
    edges
        Of `block_um`.

    Returns
    -------
    str
        That coarse local means hold what is needed is said only if a grid that is `COARSE` lies
        above chance.
    """
    rows = {number: scores.loc[_grid(number)] for number in edges}
    listed = "; ".join(
        f"{number} × {number} blocks of {edges[number]:.1f} µm "
        f"{interval_of(row, '')} ({chance_words(row)})"
        for number, row in rows.items()
    )
    above = [number for number, row in rows.items() if chance_words(row) == "above chance"]
    coarse = [number for number in above if number <= COARSE]
    if not above:
        follows = "This does not show that local means hold what is needed."
    else:
        follows = (
            f"Some of what is needed is there in means over blocks of {edges[min(above)]:.1f} µm, "
        )
        follows += (
            "and it takes something that compares them place by place."
            if coarse
            else "but in no coarser ones: it is not shown that coarse local means hold it."
        )
    return (
        f"The probe, by the grid (intervals are not adjusted for the number of grids): {listed}. "
        f"{follows}"
    )


def _grid(number: int) -> str:
    """Name of a grid as a model."""
    return f"grid of {number} × {number}"
