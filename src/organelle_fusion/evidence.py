"""What speaks for the class on whole planes: how much of it is where, and whose it is."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.faithfulness import organelle_mass
from organelle_fusion.pages import score_words
from organelle_fusion.plots_maps import ExplainedPlane
from organelle_fusion.wording import capital, title


def sparse_sentence(planes: Mapping[str, Mapping[str, ExplainedPlane]]) -> str:
    """Say what the `sparse_shares` are, of each tiling as in `whole_images.Explained`."""
    parts = []
    for squares, of_squares in planes.items():
        area, heat = sparse_shares(of_squares)
        words = (
            f"where squares are {squares}, sparse ones alone cover {area:.0%} of the planes of all "
            "images"
        )
        if np.isfinite(heat):
            words += f", with {heat:.0%} of what speaks for the class in the fused maps"
        parts.append(words)
    return f"{capital('; '.join(parts))}."


def sparse_shares(planes: Mapping[str, ExplainedPlane]) -> tuple[float, float]:
    """How much of some planes is sparse, and how much of what speaks for their classes lies there.

    Parameters
    ----------
    planes
        Image → plane, of one tiling.

    Returns
    -------
    tuple of float
        Means over images of the share of the pixels, and of the share of the fused map after ReLU;
        images whose fused map is positive nowhere are left out of the latter, NaN if all are.
    """
    area = [plane.sparse.mean() for plane in planes.values()]
    heat = []
    for plane in planes.values():
        fused = np.maximum(plane.maps.sum(axis=0, dtype=np.float64), 0)
        if fused.any():
            heat.append(fused[plane.sparse].sum() / fused.sum())
    return float(np.mean(area)), float(np.mean(heat)) if heat else np.nan


def organelle_shares(
    planes: Mapping[str, ExplainedPlane],
    images: pd.DataFrame,
    channels: Sequence[str],
    **bootstrap: int,
) -> pd.DataFrame:
    """How much of what speaks for the class each organelle has, where squares are not sparse.

    Parameters
    ----------
    planes
        As in `sparse_shares`.
    images
        As in `whole_images.explain_images`.
    channels
        Of the maps.
    bootstrap
        ``repeats`` and ``seed``, see `bootstrap.mean_interval`.

    Returns
    -------
    DataFrame
        organelle, value, low, high: mean over images of `faithfulness.organelle_mass`. Images
        that are sparse throughout are left out; where all are, there are no rows.
    """
    dense = {name: plane.maps[:, ~plane.sparse] for name, plane in planes.items()}
    dense = {name: maps[None, :, None] for name, maps in dense.items() if maps.size}
    if not dense:
        return pd.DataFrame(columns=["organelle", "value", "low", "high"])
    about = images.set_index("image").loc[list(dense)]
    shares = np.concatenate([organelle_mass(maps) for maps in dense.values()])
    rows = [
        (channel, *mean_interval(of_channel, about["label"], about["group"], **bootstrap))
        for channel, of_channel in zip(channels, shares.T, strict=True)
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
        "Of what speaks for the class where squares are not sparse, the organelles have these "
        f"shares, of which all alike would be {1 / len(shares):.2f}: {each}."
    )
