"""Do the maps of the organelles resemble each other, and is it the network that makes them?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.config import UserError
from organelle_fusion.pages import score_words
from organelle_fusion.scorecard import finding
from organelle_fusion.significance import interval_text, interval_texts
from organelle_fusion.wording import title

WITH_OTHERS = "the other organelles"
WITH_FUSED = "the fused map"

TRAINED, RANDOM, EXCESS = "trained", "random weights", "trained − random"
"""Networks of a `similarity_table`, and the difference of the two."""

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
    for number, (channel, own) in enumerate(zip(channels, flat, strict=True)):
        # Not fused - own, which rounding makes uneven where all others are constant.
        others = flat[:number].sum(axis=0) + flat[number + 1 :].sum(axis=0)
        rows.append((channel, WITH_OTHERS, _pearson(own, others)))
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


def similarity_table(
    trained: pd.DataFrame, randomised: pd.DataFrame, *, repeats: int, seed: int
) -> pd.DataFrame:
    """`mean_similarity` of trained networks, of random ones, and of what the former have beyond.

    Parameters
    ----------
    trained, randomised
        As in `excess_similarity`, with ``squares``: the way to cover a plane.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Columns of `mean_similarity`, squares, and network: `TRAINED`, `RANDOM` or `EXCESS`.
    """
    measured = {
        TRAINED: trained,
        RANDOM: randomised,
        EXCESS: excess_similarity(trained, randomised),
    }
    return pd.concat(
        mean_similarity(group, repeats=repeats, seed=seed).assign(squares=squares, network=name)
        for name, rows in measured.items()
        for squares, group in rows.groupby("squares", sort=False)
    )


def similarity_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format a `similarity_table` for a page: a row per comparison, a column per network."""
    texts = table.assign(text=interval_texts(table, ""), organelle=table["organelle"].map(title))
    lines = texts.pivot_table(
        index=["squares", "compared_with", "organelle"],
        columns="network",
        values="text",
        aggfunc="first",
        sort=False,
    )
    return lines.reset_index()


def similarity_of(
    table: pd.DataFrame, network: str, compared_with: str, squares: str
) -> pd.DataFrame:
    """Rows of a `similarity_table` by organelle: of one network, comparison and way to cover."""
    chosen = (
        (table["network"] == network)
        & (table["compared_with"] == compared_with)
        & (table["squares"] == squares)
    )
    return table[chosen].set_index("organelle")


def similarity_findings(table: pd.DataFrame, squares: str, *, data: str) -> list[dict]:
    """What a `similarity_table` says of claim C8, each map compared with the others.

    Parameters
    ----------
    table
        Of `similarity_table`.
    squares
        The way to cover a plane that is asked about.
    data
        As in `scorecard.finding`.
    """
    words = {
        TRAINED: "correlation with the joint map of the other organelles",
        EXCESS: "this correlation less that of random weights",
    }
    return [
        finding("C8", f"map of {title(organelle)}: {measure}", row, data=data)
        for network, measure in words.items()
        for organelle, row in similarity_of(table, network, WITH_OTHERS, squares)
        .to_dict("index")
        .items()
    ]


def others_sentence(table: pd.DataFrame, squares: str) -> str:
    """Say how each map correlates with the others, and what random weights give."""
    null = similarity_of(table, RANDOM, WITH_OTHERS, squares)["value"]
    each = "; ".join(
        f"{score_words(row)} for {title(organelle)}, where networks with random weights give "
        f"{null[organelle]:.2f}"
        for organelle, row in similarity_of(table, TRAINED, WITH_OTHERS, squares).iterrows()
    )
    return f"each map correlates with the sum of the other organelles' maps at {each}."


def learnt_sentence(table: pd.DataFrame, squares: str) -> str:
    """Say which maps resemble the others more, and less, than under random weights."""
    excess = similarity_of(table, EXCESS, WITH_OTHERS, squares)
    more = [title(name) for name in excess.index[excess["low"] > 0]]
    less = [title(name) for name in excess.index[excess["high"] < 0]]
    words = "No map is shown to resemble the others more than under random weights"
    if more:
        words = (
            f"The map{'s' * (len(more) > 1)} of {' and '.join(more)} "
            f"resemble{'s' * (len(more) == 1)} the others more than under random weights"
        )
    if less:
        words += (
            f"; {'that' if len(less) == 1 else 'those'} of {' and '.join(less)} "
            f"{'does' if len(less) == 1 else 'do'} so less"
        )
    shown = "intervals of the difference that exclude 0"
    if excess[["low", "high"]].isna().all(axis=None):
        shown = "without an interval"
    elif not (more or less):
        shown = "no interval of the difference excludes 0"
    return f"{words} (image by image, {shown})."


def closest_sentence(table: pd.DataFrame, squares: str) -> str:
    """Say which map is closest to the fused one, and whether that is learnt."""
    fused, null, excess = (
        similarity_of(table, network, WITH_FUSED, squares) for network in (TRAINED, RANDOM, EXCESS)
    )
    best, best_null = fused["value"].idxmax(), null["value"].idxmax()
    beyond = excess.loc[best, ["value", "low", "high"]]
    verdict = "nothing shows that this was learnt"
    if beyond["low"] > 0:
        verdict = "they are more like the fused map"
    elif beyond["high"] < 0:
        verdict = "they are less like the fused map"
    words = (
        f"Compared with the fused map, its own part included, that of {title(best)} is closest, "
        f"at {score_words(fused.loc[best])}. Networks with random weights give "
        f"{null['value'][best]:.2f} for it; the trained ones differ by "
        f"{interval_text(*beyond)}: {verdict}. "
    )
    if best == best_null:
        return (
            f"{words}It is the closest with random weights as well, so that which map is closest "
            "is no sign of what was learnt."
        )
    return f"{words}With random weights, that of {title(best_null)} is closest."
