"""Differences between models, patch sizes and folds, each in the same resampled groups.

What makes an image easy or hard for both sides cancels in a difference, so both sides are scored
in the same resamples of groups, and the interval is that of the difference. The score is balanced
accuracy, `metrics.PRIMARY_METRIC`.

Each difference is a dict: ``value``; ``low``, ``high``, the ends of its 95 % interval; ``p``, see
`bootstrap.two_sided_p`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import (
    draw_groups,
    group_strata,
    interval,
    of_model,
    sample_of,
    two_sided_p,
)
from organelle_fusion.metrics import PRIMARY_METRIC, EvaluationError


def _paired(predictions, models, repeats, seed) -> tuple[np.ndarray, np.ndarray]:
    """Scores of several models by patch, (M,), and in the same resamples, (M, repeats)."""
    parts = [of_model(predictions, name) for name in models]
    check_same_rows(parts, models, ["seed", "patch", "label", "group"])
    return _resampled(parts, models, "patch", repeats, seed)


def check_same_rows(
    parts: Sequence[pd.DataFrame], models: Sequence[str], columns: Sequence[str]
) -> None:
    """Refuse models whose test rows differ in any of `columns`, which tell the rows apart."""
    tested = [
        part.loc[part["part"] == "test", columns].sort_values(columns, ignore_index=True)
        for part in parts
    ]
    for name, rows in zip(models, tested, strict=True):
        if not rows.equals(tested[0]):
            raise EvaluationError(
                f"predictions: expected {models[0]} and {name} tested on the same patches, found "
                f"{len(tested[0])} and {len(rows)} rows that differ; run both on the same folds"
            )


def _resampled(parts, names, level, repeats, seed) -> tuple[np.ndarray, np.ndarray]:
    """Scores of several frames, (M,), and in resamples of the groups they share, (M, repeats).

    Equal groups in equal classes are drawn equally, whatever rows the frames have of them.
    """
    samples = [sample_of(part, level) for part in parts]
    owners = [set(zip(sample.groups, sample.labels, strict=True)) for sample in samples]
    for name, found in zip(names, owners, strict=True):
        if found != owners[0]:
            group = sorted(str(pair[0]) for pair in found ^ owners[0])[0]
            raise EvaluationError(
                f"predictions: expected {names[0]} and {name} tested on the same groups, found "
                f"{group} in one only; score both on the same images"
            )
    values = [sample.scores()[PRIMARY_METRIC] for sample in samples]
    return np.array(values), np.array([s.resampled(PRIMARY_METRIC, repeats, seed) for s in samples])


def _difference(value: float, resampled: np.ndarray) -> dict:
    """A difference on all rows and in every resample, (repeats,), as this module gives it."""
    low, high = interval(resampled)
    return {"value": float(value), "low": low, "high": high, "p": two_sided_p(resampled)}


def paired_difference(
    predictions: pd.DataFrame,
    a: str,
    b: str,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Difference a − b of two models in the same resampled groups, by patch.

    Both models are scored on each resample of groups before the difference is taken, so what
    makes an image easy or hard for both cancels. Claim C1 of the paper compares strategies so.

    Parameters
    ----------
    predictions
        Predictions of both models, see `metrics`.
    a, b
        Names of the models.
    repeats, seed
        Number of resamples of groups within their class, and their seed.

    Returns
    -------
    dict
        value, low, high, p: the difference a − b.

    Raises
    ------
    EvaluationError
        A model is not there, or the two were not tested on the same rows.
    """
    values, resampled = _paired(predictions, [a, b], repeats, seed)
    return _difference(values[0] - values[1], resampled[0] - resampled[1])


def best_single_difference(
    predictions: pd.DataFrame,
    channels: Sequence[str],
    model: str = "intermediate",
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Difference of a fusion model and the best single channel (claims C2 and C3).

    The best channel is chosen anew inside every resample: naming it on the same rows that score
    it is part of the estimate, and a fixed choice would make the interval too narrow. The best of
    several is flattered by chance, in a resample more than on all rows; the interval is
    therefore biased towards the single channels.

    Parameters
    ----------
    predictions
        Predictions of the fusion model and of each single channel.
    channels
        Names of the single channels.
    model
        Name of the fusion model.
    repeats, seed
        As in `paired_difference`.

    Returns
    -------
    dict
        value, low, high, p as in `paired_difference`; best, the best channel on all rows; chosen,
        channel → share of the resamples in which it was the best.

    Raises
    ------
    EvaluationError
        As `paired_difference`.
    """
    values, resampled = _paired(predictions, [model, *channels], repeats, seed)
    singles = resampled[1:]
    chosen = np.bincount(singles.argmax(axis=0), minlength=len(channels)) / repeats
    return {
        **_difference(values[0] - values[1:].max(), resampled[0] - singles.max(axis=0)),
        "best": channels[int(values[1:].argmax())],
        "chosen": dict(zip(channels, chosen.tolist(), strict=True)),
    }


def strategy_rivals(channels: Sequence[str]) -> dict[str, str | list[str]]:
    """What intermediate fusion is compared with: the comparison in words → model, or channels.

    Early and late fusion (claim C1), and the single channels, of which the best counts (C2).
    """
    return {
        "intermediate minus early fusion": "early",
        "intermediate minus late fusion": "late",
        "intermediate fusion minus the best single channel": list(channels),
    }


def strategy_differences(
    predictions: pd.DataFrame, channels: Sequence[str], *, repeats: int = 2000, seed: int = 0
) -> dict[str, dict]:
    """Intermediate fusion minus each of `strategy_rivals`, in balanced accuracy by patch.

    Parameters
    ----------
    predictions
        Of the single channels, early, intermediate and late fusion.
    channels
        Names of the single channels.
    repeats, seed
        As in `paired_difference`.

    Returns
    -------
    dict
        Words of `strategy_rivals` → `paired_difference`, or `best_single_difference`.
    """
    options = {"repeats": repeats, "seed": seed}
    return {
        words: paired_difference(predictions, "intermediate", rival, **options)
        if isinstance(rival, str)
        else best_single_difference(predictions, rival, **options)
        for words, rival in strategy_rivals(channels).items()
    }


def size_difference(
    predictions: pd.DataFrame,
    first: Sequence[int],
    second: Sequence[int],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Mean score of some patch sizes minus the best of others (claims C5 and C6).

    The patches differ from size to size and the images do not, so the pairs are images. The best
    of `second` is chosen anew in every resample, as in `best_single_difference`.

    Parameters
    ----------
    predictions
        Predictions of one model at several sizes, column ``size_px``.
    first, second
        Patch sizes in the paper's pixels.
    repeats, seed
        As in `paired_difference`.

    Returns
    -------
    dict
        value, low, high, p: the difference.

    Raises
    ------
    EvaluationError
        A size is not there, or the sizes were tested on different groups.
    """
    sizes = [*first, *second]
    missing = sorted(set(sizes) - set(predictions["size_px"]))
    if missing:
        found = ", ".join(str(size) for size in sorted(predictions["size_px"].unique()))
        raise EvaluationError(
            f"predictions: expected patches of {missing[0]} px, found {found}; train them first"
        )
    parts = [predictions[predictions["size_px"] == size] for size in sizes]
    names = [f"{size} px" for size in sizes]
    values, resampled = _resampled(parts, names, "patch", repeats, seed)
    n = len(first)
    return _difference(
        values[:n].mean() - values[n:].max(),
        resampled[:n].mean(axis=0) - resampled[n:].max(axis=0),
    )


def folding_difference(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    level: str = "patch",
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Score of one model in folds `a` minus its score in folds `b` of the same images (claim C9).

    Parameters
    ----------
    a, b
        Predictions of one model each. Their ``group`` is what is resampled: the image, even where
        the folds were cut finer.
    level
        Of `metrics.pooled`.
    repeats, seed
        As in `paired_difference`.

    Returns
    -------
    dict
        value, low, high, p: the difference.

    Raises
    ------
    EvaluationError
        The groups differ.
    """
    values, resampled = _resampled([a, b], ["a", "b"], level, repeats, seed)
    return _difference(values[0] - values[1], resampled[0] - resampled[1])


def lost_classes(frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """Classes of frames of predictions of which no image is in all of them, sorted."""
    shared = set.intersection(*(set(frame["image"]) for frame in frames.values()))
    both = pd.concat([frame[["image", "label"]] for frame in frames.values()])
    return sorted(set(both["label"]) - set(both.loc[both["image"].isin(shared), "label"]))


def on_shared_images(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Keep the images that every frame of predictions has; with none left, an error says so."""
    shared = set.intersection(*(set(frame["image"]) for frame in frames.values()))
    if not shared:
        raise EvaluationError(
            f"predictions: expected images that {', '.join(frames)} have in common, found none; "
            "measure more images"
        )
    return {name: frame[frame["image"].isin(shared)] for name, frame in frames.items()}


def rival_difference(
    own: pd.DataFrame,
    rivals: Mapping[str, pd.DataFrame],
    *,
    level: str = "patch",
    repeats: int = 2000,
    seed: int = 0,
) -> dict:
    """Score of one model minus that of the best of several, whatever rows each was tested on.

    Networks classify patches and the handcrafted baseline objects (claims C4 and C12); what they
    share is the images. The best is chosen anew in every resample, see `best_single_difference`.

    Parameters
    ----------
    own
        Predictions of one model.
    rivals
        Name → predictions of one model each, of the same groups.
    level
        Of `metrics.pooled`.
    repeats, seed
        As in `paired_difference`.

    Returns
    -------
    dict
        value, low, high, p: the difference; best, the best rival on all rows.

    Raises
    ------
    EvaluationError
        The groups differ.
    """
    parts, names = [own, *rivals.values()], ["the model", *rivals]
    values, resampled = _resampled(parts, names, level, repeats, seed)
    return {
        **_difference(values[0] - values[1:].max(), resampled[0] - resampled[1:].max(axis=0)),
        "best": list(rivals)[int(values[1:].argmax())],
    }


def attrition_difference(
    table: pd.DataFrame, a: int, b: int, *, repeats: int = 2000, seed: int = 0
) -> dict:
    """Share of the patches that the sparsity filter removes at size `a`, minus that at `b`.

    Parameters
    ----------
    table
        Of `preprocessing.tabulate_patches`: label, group, paper_px, reason.
    a, b
        Patch sizes in the paper's pixels.
    repeats, seed
        Of the bootstrap, which resamples groups within their class.

    Returns
    -------
    dict
        value, low, high, p: the difference.

    Raises
    ------
    EvaluationError
        A group has patches at one of the sizes only.
    """
    of_sizes = table[table["paper_px"].isin([a, b])].assign(sparse=table["reason"] == "sparse")
    counted = of_sizes.pivot_table(
        index="group", columns="paper_px", values="sparse", aggfunc=["sum", "size"]
    )
    for size in (a, b):
        lacking = counted["size"].reindex(columns=[size])[size].isna()
        if lacking.any():
            raise EvaluationError(
                f"group {lacking.idxmax()}: expected patches of {a} and of {b} px, found none of "
                f"{size} px; tabulate both sizes of the same images"
            )
    stratum = group_strata(of_sizes["label"], of_sizes["group"])
    weights = np.vstack([np.ones(len(stratum)), draw_groups(stratum, repeats, seed)])
    first, second = (
        (weights @ counted["sum"][size].to_numpy(float)) / (weights @ counted["size"][size])
        for size in (a, b)
    )
    difference = first - second
    return _difference(difference[0], difference[1:])
