"""From the results of chapter 6 to a file of one of its networks, see `model_file`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import count_groups, interval, sample_of
from organelle_fusion.chatter import import_keras
from organelle_fusion.config import FUSIONS, JOINED, Profile, UserError, paper_px_to_um, use_backend
from organelle_fusion.earlier import fold_cells, read_cells, read_whole_folds
from organelle_fusion.folds import fold_parts
from organelle_fusion.intensity import PERCENTILES
from organelle_fusion.manifest import open_image
from organelle_fusion.metrics import pooled, probability_columns
from organelle_fusion.model_file import (
    FORMAT,
    ChannelRange,
    ModelFacts,
    Score,
    Seen,
    score_sentence,
)
from organelle_fusion.pages import Run
from organelle_fusion.patches import patch_size_px
from organelle_fusion.patchset import PatchSet, manifest_change
from organelle_fusion.predictions import Cell, load_weights, read_provenance
from organelle_fusion.preprocessing import Tabulated, tabulate_patches
from organelle_fusion.provenance import atomic_path, code_version
from organelle_fusion.sweep import training_inputs
from organelle_fusion.wording import percent, title

if TYPE_CHECKING:
    import keras

CHECKED = 128
"""Test patches that are predicted with the file read back, and compared with what is stored."""

_TOLERANCE = 1e-3  # of a probability; other backends and precisions round otherwise


class PackError(UserError):
    """A network that cannot be packed; the message is one line."""


def pack(path: Path, profile: Profile, run: Run, *, model: str, fold: int) -> ModelFacts:
    """Write a network of chapter 6 to a file, and try the file on test patches.

    Parameters
    ----------
    path
        The file to write, ``.keras``.
    profile, run
        Those of the chapter.
    model
        ``early``, ``intermediate``, ``spatial``, or the name of a channel.
    fold
        Number of the fold whose network it is.

    Returns
    -------
    ModelFacts
        What stands in the file.

    Raises
    ------
    PackError
        The name does not end in ``.keras`` or is taken, there is no such model or fold, the network
        was trained on other patches, folds or settings than are here now, or the file predicts
        otherwise than stored.
    PageError
        The chapter has not been run: which command to run.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise PackError(f"{path}: expected a name that ends in .keras; give it this ending")
    if path.exists():
        raise PackError(f"{path}: expected no such file, found one; delete it, or name another")
    known = (*JOINED, *profile.channels)
    if model not in known:
        remedy = "choose one of these" + (
            "; late fusion has no network of its own" if model == "late" else ""
        )
        raise PackError(f"model: expected one of {', '.join(known)}, found {model}; {remedy}")
    size_px = profile.patches.size_px
    folds = read_whole_folds(run, profile)
    cells = fold_cells(model, folds, profile.folds.seed, size_px=size_px)
    if fold not in cells:
        raise PackError(
            f"fold: expected one of {', '.join(map(str, cells))}, found {fold}; choose among them"
        )
    folder = run.folder / "predictions"
    predictions = read_cells(run, cells.values(), folder, "06")
    cell = cells[fold]
    run.require(cell.weights_path(folder), "06")
    patch_set = PatchSet.load(run.require(run.folder / "patches" / f"{size_px}px", "02"))
    use_backend(profile)
    import_keras(to_save=True)
    stored = read_provenance(cell.path(folder))
    _check_same(cell, stored["inputs"], profile, patch_set, folds)
    channels = profile.channels if model in FUSIONS else (model,)
    images = run.read()
    _check_manifest(run, images, patch_set)
    parts = fold_parts(folds, images["group"], fold)
    seen, least = _seen(images[parts != "test"], channels, profile)
    predictions = _counted(predictions, patch_set, channels, least)
    of_fold = predictions[predictions["fold"] == fold]
    if of_fold.query("part == 'test'").empty:
        raise PackError(
            f"{cell}: expected test patches with {percent(least)} of foreground in "
            f"{', '.join(channels)}, found none to score it on; choose another fold or model"
        )
    facts = ModelFacts(
        format=FORMAT,
        strategy=model if model in FUSIONS else "single",
        channels=channels,
        classes=patch_set.classes,
        patch_um=paper_px_to_um(size_px),
        input_px=profile.encoder.input_px,
        percentiles=PERCENTILES,
        min_foreground=least,
        seen=seen,
        score=score_of(of_fold, profile),
        score_of_all_folds=score_of(predictions, profile),
        data=run.data,
        is_phantom=run.is_phantom,
        profile=profile.name,
        backend=stored["inputs"]["backend"],
        fold=fold,
        n_folds=len(cells),
        seed=profile.folds.seed,
        hashes={name: text for name, text in stored["inputs"].items() if name != "backend"}
        | {
            "code of patches and prediction": code_version(
                "augmentation", "encoders", "intensity", "kernels", "patches", "prediction"
            )
        },
        versions={
            "organelle_fusion": stored["organelle_fusion"],
            "python": stored["python"],
            "keras": _keras_version(),
        },
        trained=stored["created"],
    )
    network = _network(facts, profile)
    load_weights(network, cell, folder)
    _write_checked(path, network, facts, of_fold, patch_set)
    return facts


def pack_lines(path: Path, facts: ModelFacts, model: str) -> list[str]:
    """Say what a file holds, and how well its network and those of all folds do."""
    filtered = [
        f"It knows {title(name)} alone, so images are filtered by them: patches with "
        f"{percent(facts.min_foreground)} of foreground or more, as many of the training images "
        "as all organelles together keep. Scores are of such patches."
        for name in facts.channels
        if facts.strategy == "single"
    ]
    return [
        f"{path}: model {model}, the network of fold {facts.fold} of {facts.n_folds} "
        f"(profile {facts.profile}, {facts.data}).",
        f"On images that it has not seen: {score_sentence(facts.score)}.",
        f"All {facts.n_folds} folds, each image by the network that has not seen it: "
        f"{score_sentence(facts.score_of_all_folds)}.",
        *filtered,
    ]


def score_of(predictions: pd.DataFrame, profile: Profile) -> Score:
    """Score the test rows of one model, of one fold or of several.

    The interval resamples whole groups within their class, as in chapter 6; where a class has a
    single group, nothing can be drawn, and there is none, nor where all groups are alike.
    """
    sample = sample_of(predictions, "patch")
    counts = count_groups(sample.codes, sample.probabilities, sample.groups, auroc=False)
    low = high = None
    if np.unique(counts.stratum, return_counts=True)[1].min() > 1:
        resampled = sample.resampled(
            "balanced_accuracy", profile.bootstrap_repeats, profile.folds.seed
        )
        low, high = (None if np.isnan(end) else end for end in interval(resampled))
    images = pooled(predictions, "image")
    guesses = images[probability_columns(images)].idxmax(axis=1).str.removeprefix("p:")
    return Score(
        value=sample.scores()["balanced_accuracy"],
        low=low,
        high=high,
        patches=len(sample.labels),
        images=len(images),
        images_right=int((guesses == images["label"]).sum()),
        classes=len(set(sample.labels)),
    )


def seen_of(tabulated: Tabulated, dtypes: list[str], pixel_sizes_um: list[float]) -> Seen:
    """Describe images by the smallest and largest of what `tabulate_patches` found of each.

    Parameters
    ----------
    tabulated
        Of the images, at one patch size.
    dtypes, pixel_sizes_um
        Type of the pixels and edge of one, of each image.
    """
    dense = tabulated.table["reason"] != "sparse"  # a limit per image is one of the training only
    of_image = dense.groupby(tabulated.table["image"])
    statistics = tabulated.statistics.groupby("channel", sort=False)
    return Seen(
        images=len(of_image),
        dtypes=tuple(sorted(set(dtypes))),
        pixel_size_um=_ends(pixel_sizes_um),
        patches=_ends(of_image.sum()),
        share_kept=_ends(of_image.mean()),
        intensities={
            channel: ChannelRange(
                **{name: _ends(rows[name]) for name in ("low", "otsu", "high", "saturated")}
            )
            for channel, rows in statistics
        },
    )


def own_cut_off(table: pd.DataFrame, channel: str) -> float:
    """Least foreground of one organelle that keeps as many patches as all organelles together do.

    A network of one organelle was trained on patches in which any organelle is foreground enough.
    Where it is used, the others are not known; at their cut-off, its own foreground would leave
    the few patches that are crowded with it.

    Parameters
    ----------
    table
        Of `patches.patch_table`: ``reason`` and ``foreground_<channel>``.
    channel
        The organelle.

    Returns
    -------
    float
        More than 0, so that empty patches do not pass.
    """
    own = np.sort(table[f"foreground_{channel}"].to_numpy())[::-1]
    own = own[: int((table["reason"] != "sparse").sum())]
    return float(own[own > 0].min(initial=1.0))


def _seen(images: pd.DataFrame, channels: tuple[str, ...], profile: Profile) -> tuple[Seen, float]:
    """Describe the images that a network was trained on, or stopped by; and its cut-off."""
    volumes = [open_image(row) for row in images.itertuples()]
    found = tabulate_patches(
        images, channels=profile.channels, settings=profile.patches, progress=os.isatty(2)
    )
    least, table = profile.patches.min_foreground, found.table
    if channels != profile.channels:
        least = own_cut_off(table, *channels)
        dense = table[f"foreground_{channels[0]}"] >= least
        table = table.assign(reason=np.where(dense, "", "sparse"))
    statistics = found.statistics[found.statistics["channel"].isin(channels)]
    seen = seen_of(
        Tabulated(table, statistics),
        [str(volume.dtype) for volume in volumes],
        [volume.pixel_size_um for volume in volumes],
    )
    return seen, least


def _counted(
    predictions: pd.DataFrame, patch_set: PatchSet, channels: tuple[str, ...], least: float
) -> pd.DataFrame:
    """The rows of patches that the network would be given of an image."""
    if channels == patch_set.channels:
        return predictions
    own = patch_set.table[f"foreground_{channels[0]}"].to_numpy()
    return predictions[own[predictions["patch"]] >= least]


def _ends(values) -> tuple:
    values = np.asarray(values)
    return values.min().item(), values.max().item()


def _check_same(
    cell: Cell, stored: dict, profile: Profile, patch_set: PatchSet, folds: pd.DataFrame
) -> None:
    """Refuse a network that what is here now does not describe."""
    now = training_inputs(profile, patch_set.channels, patch_set.data_hash, folds)
    other = [name for name in ("settings", "data", "folds") if stored.get(name) != now[name]]
    if other:
        raise PackError(
            f"{cell}: expected a network trained on the {', '.join(other)} that are here now, "
            "found one of others; run `make chapter N=06` first, with the same PROFILE and MANIFEST"
        )


def _check_manifest(run: Run, images: pd.DataFrame, patch_set: PatchSet) -> None:
    """Refuse a manifest that names other images, or other sizes, than the patches were cut from."""
    if found := manifest_change(patch_set.table, images):
        raise _other_manifest(run, found)
    cut = patch_set.table.drop_duplicates("image").set_index("image")["size_px"]
    for row in images.itertuples():
        edge = patch_size_px(open_image(row), patch_set.pixel_size_um * patch_set.patches.shape[1])
        if edge != cut[row.image]:
            raise _other_manifest(
                run, f"image {row.image} with patches of {edge} px, not {cut[row.image]} px"
            )


def _other_manifest(run: Run, found: str) -> PackError:
    return PackError(
        f"{run.manifest}: expected the images that the networks were trained on, found {found}; "
        "run the chapters up to 6 again with it, or name the manifest that they were run with"
    )


def _network(facts: ModelFacts, profile: Profile) -> "keras.Model":
    from organelle_fusion.models import build_model

    return build_model(
        facts.strategy,
        channels=facts.channels,
        n_classes=len(facts.classes),
        encoder=profile.encoder.without_weights(),  # read later
        training=profile.training,
    )


def _write_checked(
    path: Path,
    network: "keras.Model",
    facts: ModelFacts,
    predictions: pd.DataFrame,
    patch_set: PatchSet,
) -> None:
    """Write the file, but only if it gives the probabilities that are stored."""
    from organelle_fusion.model_file import read_model, write_model
    from organelle_fusion.training import predict_proba

    tested = predictions[predictions["part"] == "test"].head(CHECKED)
    rows = tested["patch"].to_numpy()
    places = [patch_set.channels.index(name) for name in facts.channels]
    patches = patch_set.patches[rows][..., places]
    with atomic_path(path) as temporary:
        write_model(temporary, network, facts)
        found = predict_proba(read_model(temporary)[0], patches)
        deviation = float(np.abs(found - tested[probability_columns(tested)].to_numpy()).max())
        if not deviation <= _TOLERANCE:
            raise PackError(
                f"{path}: expected the stored probabilities of {len(rows)} test patches, found "
                f"some that deviate by {deviation:.2g}; run `make chapter N=06` again, since code "
                "or versions may have changed since"
            )


def _keras_version() -> str:
    import keras

    return keras.__version__
