"""Do the maps of the organelles resemble each other, and is it the network that makes them?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.config import UserError

WITH_OTHERS = "the other organelles"
WITH_FUSED = "the fused map"

_COMPARED = ["organelle", "compared_with"]


class SimilarityError(UserError):
    """Maps that cannot be compared; the message is one line."""


def map_similarity(
    maps: np.ndarray, channels: Sequence[str], where: np.ndarray | None = None
) -> pd.DataFrame:
    """How much each organelle's map of one image resembles the others and the fused map.

    The fused map contains the organelle's own, so that the two correlate even where organelles
    have nothing in common (a part with its whole). The correlation with the sum of the *other*
    maps is free of that.

    Parameters
    ----------
    maps : (C, H, W) float
        Before ReLU, two organelles or more.
    channels
        Names of the C organelles.
    where : (H, W) bool
        The pixels to be compared; all, if not given.

    Returns
    -------
    DataFrame
        organelle, compared_with (`WITH_OTHERS` or `WITH_FUSED`), value: Pearson's correlation
        over the pixels, NaN where one of the two maps is constant.
    """
    flat = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
    if where is not None:
        flat = flat[:, np.ravel(where)]
    fused = flat.sum(axis=0)
    rows = []
    for channel, own in zip(channels, flat, strict=True):
        rows.append((channel, WITH_OTHERS, _pearson(own, fused - own)))
        rows.append((channel, WITH_FUSED, _pearson(own, fused)))
    return pd.DataFrame(rows, columns=[*_COMPARED, "value"])


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if not a.size or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def excess_similarity(trained: pd.DataFrame, randomised: pd.DataFrame) -> pd.DataFrame:
    """Correlations of a trained network beyond those of networks with random weights.

    Two maps of one image may be alike because of the image and the architecture alone (Adebayo
    et al. 2018). What networks of the same architecture that have learnt nothing show on the same
    image is taken off, so that images are compared with themselves.

    Parameters
    ----------
    trained
        Rows of `map_similarity` for every image, with ``image`` and other columns; by ``squares``,
        if there is such a column.
    randomised
        The same columns, with several rows per image, one for each drawing of the weights.

    Returns
    -------
    DataFrame
        The rows of `trained`, with ``value`` less the mean of `randomised`; NaN where either has
        none.
    """
    keys = [*(name for name in ("image", "squares") if name in trained), *_COMPARED]
    null = randomised.groupby(keys)["value"].mean().rename("null")
    found = trained.join(null, on=keys)
    return found.assign(value=found["value"] - found["null"]).drop(columns="null")


def mean_similarity(similarities: pd.DataFrame, *, repeats: int, seed: int) -> pd.DataFrame:
    """Mean correlation over images, with a 95 % bootstrap interval over groups within classes.

    Parameters
    ----------
    similarities
        Rows of `map_similarity` for every image, with the columns ``label`` and ``group``; of
        several networks as well, whose mean is then taken.
    repeats, seed
        Number of resamples, and their seed.

    Returns
    -------
    DataFrame
        organelle, compared_with, value, low, high, images: how many have a correlation. Rows
        without one (NaN) are left out.

    Raises
    ------
    SimilarityError
        An organelle has no correlation in any image.
    """
    rows = []
    for (organelle, other), found in similarities.groupby(_COMPARED, sort=False):
        known = found.dropna(subset="value")
        if known.empty:
            raise SimilarityError(
                f"Grad-CAM of {organelle}: expected maps that vary, found them constant in all "
                f"{found['image'].nunique()} images; train the network longer"
            )
        mean = mean_interval(
            *(known[name].to_numpy() for name in ("value", "label", "group")),
            repeats=repeats,
            seed=seed,
        )
        rows.append((organelle, other, *mean, known["image"].nunique()))
    return pd.DataFrame(rows, columns=[*_COMPARED, "value", "low", "high", "images"])
