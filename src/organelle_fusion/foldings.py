"""The same models in several foldings of the same images, side by side.

A folding is one way to make folds: five that keep images whole, the same several times over, thirty
that part them.
"""

from collections.abc import Mapping

import pandas as pd

from organelle_fusion.config import FoldSettings
from organelle_fusion.evaluation import paper_table, score_table
from organelle_fusion.folds import make_folds
from organelle_fusion.wording import METRIC_TITLES


def repeated_folds(
    table: pd.DataFrame, settings: FoldSettings, repeats: int
) -> dict[int, pd.DataFrame]:
    """Divide the images several times, each time with a seed of its own.

    Parameters
    ----------
    table
        Of patches, see `folds.make_folds`.
    settings
        The first repeat has its seed, each further one the next.
    repeats
        Number of repeats.

    Returns
    -------
    dict
        Seed → frame of `folds.make_folds`.
    """
    seeds = range(settings.seed, settings.seed + repeats)
    return {seed: make_folds(table, **settings.model_dump() | {"seed": seed}) for seed in seeds}


def folding_scores(
    predictions: Mapping[str, pd.DataFrame], *, repeats: int, seed: int
) -> pd.DataFrame:
    """Score every model in each folding by patch.

    Parameters
    ----------
    predictions
        Name of a folding → predictions, those of repeats pooled.
    repeats, seed
        Of the bootstrap, see `evaluation.score_table`.

    Returns
    -------
    DataFrame
        Columns of `evaluation.score_table`, and ``grouping``: the name of the folding.
    """
    tables = [
        score_table(of_folding, repeats=repeats, seed=seed).assign(grouping=name)
        for name, of_folding in predictions.items()
    ]
    return pd.concat(tables, ignore_index=True)


def folding_table(
    scores: pd.DataFrame,
    rows: Mapping[str, Mapping[str, str]],
    published: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Format scores as the paper's Table 2, a row for each model and folding.

    Parameters
    ----------
    scores
        Of `folding_scores`.
    rows
        Name of a folding that is shown → model → title, see `evaluation.paper_rows`. The first
        names all models, in their order.
    published
        As in `evaluation.paper_table`.

    Returns
    -------
    DataFrame
        Model, Folds ("" for a model without scores), and a column per metric; the foldings of a
        model stand below each other.
    """
    tables = [
        paper_table(scores[scores["grouping"] == name], titles, published)
        .reset_index()
        .assign(Folds=name)
        for name, titles in rows.items()
    ]
    titles = next(iter(rows.values()))
    place = {title: number for number, title in enumerate(titles.values())}
    table = pd.concat(tables).sort_values(
        "Model", key=lambda names: names.map(place), kind="stable"
    )
    scored = {titles[model] for model in scores["model"].unique()}
    table.loc[~table["Model"].isin(scored), "Folds"] = ""
    return table[["Model", "Folds", *METRIC_TITLES.values()]].reset_index(drop=True)
