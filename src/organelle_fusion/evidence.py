"""What speaks for the class on whole planes: how much of it is where, and whose it is."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.faithfulness import organelle_mass
from organelle_fusion.pages import score_words
from organelle_fusion.wording import capital, title


def plane_evidence(maps: np.ndarray, sparse: np.ndarray, channels: Sequence[str]) -> pd.DataFrame:
    """How much of a plane is sparse, how much speaks for the class there, and whose the rest is.

    Parameters
    ----------
    maps : (C, H, W) float
        Of each organelle, before ReLU and on one scale.
    sparse : (H, W) bool
        Where only squares lie that the sparsity filter drops.
    channels
        Names of the C organelles.

    Returns
    -------
    DataFrame
        One row: ``sparse``, share of the pixels; ``heat``, share of the fused map after ReLU that
        lies there, NaN where it is positive nowhere; and for each organelle its share of what
        speaks for the class elsewhere, see `faithfulness.organelle_mass`, NaN if there is no
        other place.
    """
    fused = np.maximum(maps.sum(axis=0, dtype=np.float64), 0)
    heat = fused[sparse].sum() / fused.sum() if fused.any() else np.nan
    shares = np.full(len(channels), np.nan)
    if not sparse.all():
        shares = organelle_mass(maps[None, :, None, ~sparse])[0]
    return pd.DataFrame([[sparse.mean(), heat, *shares]], columns=["sparse", "heat", *channels])


def sparse_sentence(evidence: pd.DataFrame) -> str:
    """Say how much is sparse, and how much speaks for the class there, by ``squares``.

    Parameters
    ----------
    evidence
        Rows of `plane_evidence` for every image and way to cover it, with ``squares``.
    """
    parts = []
    for squares, rows in evidence.groupby("squares", sort=False):
        words = (
            f"where squares are {squares}, sparse ones alone cover {rows['sparse'].mean():.0%} of "
            "the planes of all images"
        )
        if rows["heat"].notna().any():
            words += f", with {rows['heat'].mean():.0%} of what speaks for the class in the fused "
            words += "maps"
        parts.append(words)
    return f"{capital('; '.join(parts))}."


def organelle_shares(
    evidence: pd.DataFrame, channels: Sequence[str], **bootstrap: int
) -> pd.DataFrame:
    """How much of what speaks for the class each organelle has, where squares are not sparse.

    Parameters
    ----------
    evidence
        Rows of `plane_evidence` for every image, with ``label`` and ``group``.
    channels
        Names of the organelles.
    bootstrap
        ``repeats`` and ``seed``, see `bootstrap.mean_interval`.

    Returns
    -------
    DataFrame
        organelle, value, low, high: the mean over images. Images that are sparse throughout are
        left out; where all are, there are no rows.
    """
    known = evidence.dropna(subset=list(channels))
    rows = [
        (channel, *mean_interval(known[channel], known["label"], known["group"], **bootstrap))
        for channel in (channels if len(known) else ())
    ]
    return pd.DataFrame(rows, columns=["organelle", "value", "low", "high"])


def shares_sentence(shares: pd.DataFrame) -> str:
    """Say what `organelle_shares` found, beside equal shares; nothing if it has no rows."""
    if shares.empty:
        return ""
    each = "; ".join(
        f"{title(row['organelle'])} {score_words(row)}" for _, row in shares.iterrows()
    )
    return (
        "What speaks for the class where squares are not sparse is shared by the organelles like "
        f"this (equal shares would be {1 / len(shares):.2f}): {each}."
    )
