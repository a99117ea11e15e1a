"""Which organelle a measure names, on phantoms in which one organelle or none tells the class."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import mean_interval
from organelle_fusion.evaluation import score_table
from organelle_fusion.metrics import probability_columns
from organelle_fusion.planted import NOTHING
from organelle_fusion.wording import capital, title

ALONE = "balanced accuracy, alone"
"""Measure: the score of a classifier of the organelle alone."""

SHARE = "Grad-CAM, share"
"""Measure: the organelle's share of all that speaks for the true class in its maps."""

COLUMNS = ("measure", "planted", "organelle", "value", "low", "high", "reference")
"""Of a table of measures: reference is what an organelle gets that tells nothing."""


def shapley_measure(kind: str) -> str:
    """Name of the Shapley value as a measure; `kind` is one of `shapley.ABSENT`."""
    return f"Shapley value, logits ({kind})"


def part_rows(
    parts: Mapping[str, np.ndarray], rows: np.ndarray, organelles: Sequence[str]
) -> pd.DataFrame:
    """Parts of organelles patch by patch, as a frame.

    Parameters
    ----------
    parts
        Measure → (N, C), of `map_tests.organelle_parts`.
    rows : (N,) int
        Row of each patch in the table of the patch set.
    organelles
        Names of the C channels.

    Returns
    -------
    DataFrame
        measure, row, and a column for each organelle.
    """
    frames = [
        pd.DataFrame(values, columns=list(organelles)).assign(measure=measure, row=rows)
        for measure, values in parts.items()
    ]
    return pd.concat(frames, ignore_index=True)


def mean_parts(
    parts: pd.DataFrame, table: pd.DataFrame, organelles: Sequence[str], **bootstrap: int
) -> pd.DataFrame:
    """Mean part of each organelle over patches, with a 95 % interval over images.

    Parameters
    ----------
    parts
        Of `part_rows`, and ``planted``: the organelle that was, or `NOTHING`.
    table
        Of the patch set that ``row`` counts in: ``label`` and ``group``.
    organelles
        Those that have a column.
    bootstrap
        ``repeats`` and ``seed``, see `bootstrap.mean_interval`.

    Returns
    -------
    DataFrame
        `COLUMNS`. The reference is an equal part of a share, and 0 of what need not add up to 1.
    """
    long = parts.melt(["row", "planted", "measure"], list(organelles), "organelle")
    rows = []
    for key, found in long.groupby(["measure", "planted", "organelle"], sort=False):
        of_patch = table.iloc[found["row"]]
        mean = mean_interval(
            found["value"].to_numpy(), of_patch["label"], of_patch["group"], **bootstrap
        )
        rows.append((*key, *mean, 1 / len(organelles) if key[0] == SHARE else 0.0))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def alone_scores(
    telling: pd.DataFrame, silent: pd.DataFrame, phantoms: Iterable[str], **bootstrap: int
) -> pd.DataFrame:
    """Balanced accuracy of each organelle alone, on every phantom.

    An organelle by itself looks as in the ordinary phantom where it is what was planted, and as in
    the null phantom else, so that its classifiers of these two stand for all phantoms. Each has
    learnt from the places that the sparsity filter keeps of its own phantom.

    Parameters
    ----------
    telling
        Predictions of each organelle alone where all tell the class; their models are the
        organelles.
    silent
        The same where none does; other models in it are left out.
    phantoms
        What was planted: an organelle, or `NOTHING`.
    bootstrap
        ``repeats`` and ``seed``, see `evaluation.score_table`.

    Returns
    -------
    DataFrame
        `COLUMNS`, by phantom and organelle; the reference is chance, 1/K.
    """
    organelles = telling["model"].unique()
    chance = 1 / len(probability_columns(telling))
    known, unknown = (
        score_table(frame[frame["model"].isin(organelles)], **bootstrap)
        .query("metric == 'balanced_accuracy'")
        .set_index("model")[["value", "low", "high"]]
        for frame in (telling, silent)
    )
    rows = [
        (ALONE, planted, name, *(known if name == planted else unknown).loc[name], chance)
        for planted in phantoms
        for name in organelles
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def named_organelles(naming: pd.DataFrame) -> pd.DataFrame:
    """Say which organelle each measure names, if any.

    An organelle is named if its interval lies above what one gets that tells nothing, and above
    the intervals of all others. Where images are so alike (such as all classified rightly)
    that there is no interval, the value stands for it.

    Parameters
    ----------
    naming
        `COLUMNS`, of `mean_parts` and `alone_scores`.

    Returns
    -------
    DataFrame
        measure, planted, named: an organelle, or `NOTHING`; in the order of `naming`.
    """
    rows = []
    for (measure, planted), found in naming.groupby(["measure", "planted"], sort=False):
        found = found.fillna({end: found["value"] for end in ("low", "high")})
        best, *others = found.sort_values("value", ascending=False).to_dict("records")
        beaten = max([best["reference"], *(other["high"] for other in others)])
        rows.append((measure, planted, best["organelle"] if best["low"] > beaten else NOTHING))
    return pd.DataFrame(rows, columns=["measure", "planted", "named"])


def naming_words(verdicts: pd.DataFrame) -> list[str]:
    """Say how often each measure names what was planted, and what it names where nothing was.

    Parameters
    ----------
    verdicts
        Of `named_organelles`, with a phantom in which nothing was planted.

    Returns
    -------
    list of str
        A line of a list for each measure.
    """
    lines = []
    for measure, found in verdicts.groupby("measure", sort=False):
        found = found.set_index("planted")["named"]
        false, planted = found[NOTHING], found.drop(NOTHING)
        right = (planted == planted.index).sum()
        lines.append(
            f"- {capital(measure)}: names the planted organelle in {right} of "
            f"{len(planted)} phantoms, and {false if false == NOTHING else title(false)} where "
            "nothing was planted."
        )
    return lines
