"""Topological parameters (TPG) of measured stacks: classified by networks, counted and scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from organelle_fusion.comparisons import lost_classes, on_shared_images, rival_difference
from organelle_fusion.config import TrainingSettings, TuningSettings
from organelle_fusion.evaluation import score_table
from organelle_fusion.leakage_words import chance_lines
from organelle_fusion.measuring import topology
from organelle_fusion.mlp import MlpError, train_mlps, tune_folds, tune_mlp

CONTACTS = "otccp_contacts"
"""Name of the network that is told of contacts; those of organelles are ``otccp_<organelle>``."""

SCORES = ["model", "metric", "value", "low", "high", "level", "grouping"]
"""Columns of `level_tables`."""

Tables = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]


def tune_topology(
    objects: pd.DataFrame,
    kind: str,
    validation: Sequence[str],
    *,
    training: TrainingSettings,
    settings: TuningSettings,
    folder: Path,
) -> pd.DataFrame:
    """Search the settings of a network on the objects of one kind, judged by some of the images.

    Parameters
    ----------
    objects
        Of `measuring.measure_images`.
    kind
        Value of its column ``kind``.
    validation
        Images to judge by; all others are trained on.
    training, settings, folder
        As in `mlp.tune_mlp`.

    Returns
    -------
    DataFrame
        One row per trial, see `hyperband.search_settings`.

    Raises
    ------
    MlpError
        There is no object of this kind.
    """
    if objects.empty or kind not in set(objects["kind"]):
        raise MlpError(
            f"tuning: expected objects of {kind} in the images to search settings on, found none; "
            "make the phantom's images larger, so that they hold whole cells"
        )
    values, table, _ = topology(objects, [kind])
    parts = table["image"].isin(validation).map({True: "validation", False: "train"})
    return tune_mlp(
        values, table["label"], parts, training=training, settings=settings, folder=folder
    )


def class_topologies(
    objects: pd.DataFrame, kinds: Mapping[str, Sequence[str]], splits: Sequence[pd.DataFrame]
) -> tuple[Tables, pd.DataFrame]:
    """Features of the objects of every model, where every fold trains on objects of all classes.

    Folds are made of images, and not every image holds objects of every kind. Where the only ones
    of a class are tested or validate, nothing of it is trained on; and a score over fewer classes
    would stand unmarked beside the others.

    Parameters
    ----------
    objects
        Of `measuring.measure_images`.
    kinds
        Model → kinds of objects that it is given.
    splits
        Of `folds.make_folds`: the folds that will be trained in, each with all groups of `objects`.

    Returns
    -------
    tables
        Model → features and table of `measuring.topology`; models that lack a class in some fold
        are not there.
    report
        Reports of `measuring.topology`, of all models, and ``model``.
    """
    tables, reports = {}, []
    for model, of_model in kinds.items():
        values, table, report = topology(objects, of_model)
        reports.append(report.assign(model=model))
        if len(table) and all(_trains_on_all(split, table) for split in splits):
            tables[model] = values, table
    return tables, pd.concat(reports)


def _trains_on_all(folds: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Whether every fold has rows of each of its classes to train on."""
    pairs = table[["group", "label"]].astype(str).drop_duplicates()
    trained = folds[folds["part"] == "train"].merge(pairs)
    classes = trained.groupby("fold")["label"].nunique()
    return classes.reindex(folds["fold"].unique(), fill_value=0).min() == folds["label"].nunique()


def train_topologies(
    tables: Tables,
    folds: pd.DataFrame,
    *,
    training: TrainingSettings | Mapping[int, TrainingSettings],
    dataset: str,
    folder: Path,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Train every model in the same folds by `mlp.train_mlps`.

    Parameters
    ----------
    tables
        Model → features and table of its objects.
    folds, training, dataset, folder, seed
        As in `mlp.train_mlps`.

    Returns
    -------
    dict
        Model → predictions.
    """
    return {
        model: train_mlps(
            values, table, folds, training=training, dataset=dataset, folder=folder, seed=seed,
            model=model,
        )
        for model, (values, table) in tables.items()
    }  # fmt: skip


def train_repeats(
    tables: Tables,
    splits: Mapping[int, pd.DataFrame],
    *,
    training: TrainingSettings,
    tuning: TuningSettings | None,
    folder: Path,
) -> list[dict[str, pd.DataFrame]]:
    """Train every model in several divisions into folds, each trained with a seed of its own.

    Parameters
    ----------
    tables
        Model → features and table of its objects.
    splits
        Seed → folds.
    training
        Settings of all networks.
    tuning
        Where it is given, settings are searched in every fold, on the first of `tables`.
    folder
        Root of the files, below ``predictions`` and ``tuning``.

    Returns
    -------
    list
        For each seed model → predictions.

    Raises
    ------
    MlpError, SweepError, FoldError, TuningError
        As `mlp.train_mlps` and `mlp.tune_folds`.
    """
    runs = []
    for seed, split in splits.items():
        own = training
        if tuning is not None and tables:
            place = folder / "tuning" / f"seed-{seed}"
            first = next(iter(tables.values()))
            own = tune_folds(*first, split, training=training, settings=tuning, folder=place)
        place = folder / "predictions"
        runs.append(
            train_topologies(tables, split, training=own, dataset="cv5", folder=place, seed=seed)
        )
    return runs


def level_tables(
    groupings: Mapping[str, Mapping[str, pd.DataFrame]],
    levels: Mapping[str, str],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score every model by object, cell and image, in single and in repeated folds.

    Parameters
    ----------
    groupings
        Name of a way to make folds → model → predictions.
    levels
        Level of `metrics.pooled` → what it is called.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        The columns `SCORES`, see `evaluation.score_table`; no rows where there are no models.
    """
    tables = [
        score_table(frame, level=level, repeats=repeats, seed=seed).assign(
            level=called, grouping=grouping
        )
        for grouping, frames in groupings.items()
        for frame in frames.values()
        for level, called in levels.items()
    ]
    if not tables:
        return pd.DataFrame(columns=SCORES).astype(dict.fromkeys(SCORES[2:5], float))
    return pd.concat(tables, ignore_index=True)[SCORES]


def contact_differences(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    levels: Mapping[str, str],
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> dict[str, dict]:
    """Contacts minus the best single organelle, on the images that all of them have.

    Parameters
    ----------
    panels
        Data set → model → predictions. One that has no contacts, or nothing else, is left out, and
        one in which no image of some class has objects of all models.
    levels
        Level of `metrics.pooled` → what it is called.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    dict
        "<data set>, contacts minus the best single organelle, <level>" →
        `comparisons.rival_difference`.
    """
    found = {}
    for panel, frames in panels.items():
        if CONTACTS not in frames or len(frames) < 2 or lost_classes(frames):
            continue
        single = on_shared_images(frames)
        contacts = single.pop(CONTACTS)
        for level, called in levels.items():
            name = f"{panel}, contacts minus the best single organelle, {called}"
            found[name] = rival_difference(
                contacts, single, level=level, repeats=repeats, seed=seed
            )
    return found


def control_lines(scored: pd.DataFrame, contacts: str) -> list[str]:
    """Say what single organelles score where only contacts tell, and what of scores below chance.

    Parameters
    ----------
    scored
        Of `evaluation.level_scores`, the contact phantom alone, with the level "object".
    contacts
        Its row of contacts.
    """
    alone = scored[(scored["row"] != contacts) & (scored["level"] == "object")]
    organelles = [name.removeprefix("TPG of ") for name in alone["row"]]
    lines = [
        f"Contact phantom, single organelles by object (chance {alone['chance'].iloc[0]:.2f}): "
        + ", ".join(chance_lines(alone, organelles, "{} ({})"))
        + "."
    ]
    if (scored["high"] < scored["chance"]).any():
        lines.append(
            "Scores below chance can come of the folds: the class of the images that are tested is "
            "rarer in training."
        )
    return lines


def measured_table(objects: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Count the objects of every kind, with medians of their number in a cell and their volume.

    Parameters
    ----------
    objects
        ``kind``, ``cell`` and ``volume_um3`` of each, as of `measuring.measure_images`.
    kinds
        Rows of the table; one that no object is of counts 0.

    Returns
    -------
    DataFrame
        kind; objects; in a cell, median (of the cells that have any); volume, median (µm³).
    """
    of_kind = objects.groupby("kind")
    per_cell = objects.groupby(["kind", "cell"]).size().groupby("kind")
    table = pd.DataFrame(
        {
            "objects": of_kind.size(),
            "in a cell, median": per_cell.median().round(1),
            "volume, median (µm³)": of_kind["volume_um3"].median().round(3),
        }
    ).reindex(kinds)
    table["objects"] = table["objects"].fillna(0).astype(int)
    return _with_spaces(table.rename_axis("kind").reset_index(), "kind")


def left_out_table(dropped: pd.DataFrame) -> pd.DataFrame:
    """Add up what was left out in all images: what, reason, number (`measuring.measure_images`)."""
    counted = dropped.groupby(["what", "reason"], sort=False)["number"].sum()
    return _with_spaces(counted.reset_index(), "what")


def planted_table(planted: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    """Set the numbers of planted and of measured objects side by side.

    Parameters
    ----------
    planted
        kind and planted, of `measuring.count_planted`.
    objects
        What was measured in any images; those that are in `planted` count.

    Returns
    -------
    DataFrame
        kind, planted, measured, measured for each planted.
    """
    measured = objects[objects["image"].isin(planted["image"])]
    table = planted.groupby("kind")["planted"].sum().to_frame()
    table["measured"] = measured.groupby("kind").size().reindex(table.index, fill_value=0)
    table["measured for each planted"] = (table["measured"] / table["planted"]).round(2)
    return _with_spaces(table.reset_index(), "kind")


def _with_spaces(table: pd.DataFrame, column: str) -> pd.DataFrame:
    return table.assign(**{column: table[column].str.replace("_", " ")})
