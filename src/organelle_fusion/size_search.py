"""The search for a patch size: what every size scores, leaves out, and tells of three claims.

The sizes are trained by intermediate fusion, as in the paper, all in the folds of the same images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion import phantom, preprocessing
from organelle_fusion.comparisons import attrition_difference, size_difference
from organelle_fusion.config import PhantomSettings, Profile, paper_px_to_um
from organelle_fusion.evaluation import score_tables
from organelle_fusion.manifest import read_manifest
from organelle_fusion.scorecard import finding
from organelle_fusion.significance import interval_texts
from organelle_fusion.sweep import train_sizes

PUBLISHED_PX = 350
"""The size that the paper chose, which claim C5 is on."""

DIP_PX, BESIDE_PX = 300, (250, 350)
"""The size at which the paper saw a dip (C6), and its neighbours."""


class PlantedCell(NamedTuple):
    """The cells of one plane, to set a patch beside."""

    outline: np.ndarray | None  # bool (Y, X), pixels of the largest; None: cells are not known
    area_um2: float  # median area of those that the border does not cut; NaN likewise


def planted_cell(
    label: str, z: int, settings: PhantomSettings | None, pixel_size_um: float
) -> PlantedCell:
    """The largest cell of a plane of the phantom, and the median area of a whole one.

    Parameters
    ----------
    label, z
        Class, of whose first image this is a plane, and number of the plane.
    settings
        Of the phantom; None for other images, whose cells are not known.
    pixel_size_um
        Edge of a pixel, µm.
    """
    if settings is None:
        return PlantedCell(None, np.nan)
    cells = phantom.simulate_stack(label, index=0, settings=settings).cells[z]
    area = phantom.median_cell_area(cells) * pixel_size_um**2
    return PlantedCell(phantom.largest_cell(cells), area)


def separate_images(folder: Path, profile: Profile) -> pd.DataFrame:
    """Images to choose on: a phantom of the same laws, none of which is ever scored.

    Parameters
    ----------
    folder
        Receives the images, as far as they are not there.
    profile
        With a phantom; ``selection.seed`` is that of the separate images.

    Returns
    -------
    DataFrame
        Of `manifest.read_manifest`.
    """
    other = profile.phantom.model_copy(update={"seed": profile.selection.seed})
    return read_manifest(phantom.simulate_dataset(folder, other))


def tabulate_sizes(manifest: pd.DataFrame, profile: Profile) -> preprocessing.Tabulated:
    """List the patches of every size of the profile, see `preprocessing.tabulate_patches`."""
    return preprocessing.tabulate_patches(
        manifest,
        sizes_px=profile.patches.sizes_px,
        channels=profile.channels,
        settings=profile.patches,
    )


def train_curve(
    manifest: pd.DataFrame,
    tabulated: preprocessing.Tabulated,
    folds: pd.DataFrame,
    *,
    profile: Profile,
    dataset: str,
    folder: Path,
) -> pd.DataFrame:
    """Intermediate fusion of patches of every size, as far as that is not stored.

    Parameters
    ----------
    manifest, tabulated
        Images, and their patches as `tabulate_sizes` lists them; a size is cut when it is trained.
    folds
        Of `folds.make_folds`; one division of the images serves all sizes.
    profile
        Settings.
    dataset, folder
        Where predictions are stored, see `sweep.train_cells`.

    Returns
    -------
    DataFrame
        Predictions, told apart by ``size_px``.
    """
    patch_sets = preprocessing.each_patch_set(
        manifest,
        tabulated,
        channels=profile.channels,
        settings=profile.patches,
        output_px=profile.encoder.input_px,
    )
    return train_sizes(
        patch_sets,
        folds,
        models=["intermediate"],
        profile=profile,
        dataset=dataset,
        folder=folder,
        seed=profile.folds.seed,
    )


def size_curves(
    predictions: Mapping[str, pd.DataFrame], *, repeats: int, seed: int
) -> pd.DataFrame:
    """Balanced accuracy by patch against patch size, one curve for each set of images.

    Parameters
    ----------
    predictions
        Name of a set of images → predictions of one model at several sizes, ``size_px``.
    repeats, seed
        Of the bootstrap, see `evaluation.score_table`.

    Returns
    -------
    DataFrame
        size_px (the paper's pixels), model, metric, value, low, high, images (the name), size_um.
    """
    tables = [
        score_tables(of_set, "size_px", repeats=repeats, seed=seed).assign(images=name)
        for name, of_set in predictions.items()
    ]
    curves = pd.concat(tables, ignore_index=True)
    curves = curves.assign(size_um=paper_px_to_um(curves["size_px"]))
    return curves[curves["metric"] == "balanced_accuracy"]


def best_size(curves: pd.DataFrame, images: str) -> int:
    """Size of the highest score on one set of images of `size_curves`; of equals the smallest."""
    of_set = curves[curves["images"] == images].sort_values("size_px").set_index("size_px")
    return int(of_set["value"].idxmax())


def yield_lines(table: pd.DataFrame, covered: pd.Series) -> pd.DataFrame:
    """The yield of preprocessing, a row for each size, for a page.

    Parameters
    ----------
    table
        Of `preprocessing.tabulate_patches`.
    covered
        Of `preprocessing.covered_share`.

    Returns
    -------
    DataFrame
        size (paper px), size (µm), extracted, kept, attrition, covered (the shares as per cent),
        used (kept and within the limit per image).
    """
    found = preprocessing.patch_yield(table)
    used = table.loc[table["kept"], "paper_px"].value_counts()
    return found.assign(
        size_um=found["size_um"].round(2),
        covered=[f"{covered[size]:.0%}" for size in found["size_px"]],
        attrition=[f"{share:.1%}" for share in found["attrition"]],
        used=used.reindex(found["size_px"], fill_value=0).to_numpy(),
    ).rename(columns={"size_px": "size (paper px)", "size_um": "size (µm)"})


def size_lines(table: pd.DataFrame, covered: pd.Series, curves: pd.DataFrame) -> pd.DataFrame:
    """The yield of preprocessing and the scores, a row for each size, for a page.

    Parameters
    ----------
    table, covered
        As in `yield_lines`.
    curves
        Of `size_curves`.

    Returns
    -------
    DataFrame
        As of `yield_lines`, and a column of scores with their intervals for each set of images, in
        the order of `curves`.
    """
    texts = curves.assign(score=interval_texts(curves, ""))
    scores = texts.pivot_table(index="size_px", columns="images", values="score", aggfunc="first")
    lines = yield_lines(table, covered)
    return lines.join(scores[curves["images"].unique()], on="size (paper px)")


def covered_sentence(covered: pd.Series) -> str:
    """Say how much of the planes the grids of `preprocessing.covered_share` show."""
    if covered.max() > covered.min():
        return (
            f"The grid covers between {covered.min():.0%} ({covered.idxmin()} px) and "
            f"{covered.max():.0%} ({covered.idxmax()} px) of the planes. A curve over the sizes "
            "therefore mixes two things, what a patch shows and how much of each image is seen."
        )
    return f"The grid covers {covered.max():.0%} of the planes at every size."


def peak_differences(
    predictions: pd.DataFrame, size_px: int, *, repeats: int, seed: int
) -> dict[str, dict]:
    """One size minus the smallest, the largest, and the best of all others (claim C5).

    Parameters
    ----------
    predictions
        Of one model at several sizes, ``size_px``.
    size_px
        The size that is asked for.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    dict
        The difference in words → `comparisons.size_difference`; without those that the size would
        have to itself.
    """
    sizes = sorted(predictions["size_px"].unique().tolist())
    rivals = {
        f"the smallest size, {sizes[0]} px": sizes[:1],
        f"the largest size, {sizes[-1]} px": sizes[-1:],
        "the best of all other sizes": [size for size in sizes if size != size_px],
    }
    return {
        f"{size_px} px minus {words}": size_difference(
            predictions, [size_px], others, repeats=repeats, seed=seed
        )
        for words, others in rivals.items()
        if others and others != [size_px]
    }


def dip_differences(
    predictions: Mapping[str, pd.DataFrame], *, repeats: int, seed: int
) -> dict[str, dict]:
    """By how much the neighbours of 300 px score above it, on each set of images (claim C6).

    Parameters
    ----------
    predictions
        Name of a set of images → predictions of one model at several sizes, ``size_px``.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    dict
        The difference in words → `comparisons.size_difference`; without sets that lack one of the
        three sizes.
    """
    words = f"mean of {' and '.join(map(str, BESIDE_PX))} px minus {DIP_PX} px"
    return {
        f"{words}, {name}": size_difference(of_set, BESIDE_PX, [DIP_PX], repeats=repeats, seed=seed)
        for name, of_set in predictions.items()
        if {DIP_PX, *BESIDE_PX} <= set(of_set["size_px"])
    }


def shape_findings(
    peak: Mapping[str, Mapping], dip: Mapping[str, Mapping], size_px: int, *, data: str
) -> list[dict]:
    """What `peak_differences` and `dip_differences` say of the claims C5 and C6.

    C5 is on `PUBLISHED_PX`, so that another size says nothing on it, and is decided where all
    three rivals are there. C6 is decided where images were rotated as well.
    """
    on_peak = peak if size_px == PUBLISHED_PX else {}
    asked = (("C5", on_peak, len(on_peak) == 3), ("C6", dip, len(dip) > 1))
    return [
        finding(claim, words, difference, reference=0 if decides else np.nan, data=data)
        for claim, differences, decides in asked
        for words, difference in differences.items()
    ]


def attrition_findings(
    table: pd.DataFrame, sizes: Sequence[int], *, data: str, repeats: int, seed: int
) -> list[dict]:
    """What becomes of the patches as they grow, for claim C7: how many are lost, and to what.

    Parameters
    ----------
    table
        Of `preprocessing.tabulate_patches`.
    sizes
        Of which the first is set beside the last.
    data
        As in `scorecard.finding`.
    repeats, seed
        Of the bootstrap.
    """
    first, last = sizes[0], sizes[-1]
    kept = preprocessing.patch_yield(table).set_index("size_px")["kept"]
    removed = attrition_difference(table, first, last, repeats=repeats, seed=seed)
    measures = {
        f"share of the patches at {first} px that is missing at {last} px": 1
        - kept[last] / kept[first],
        f"share removed at {first} px minus that at {last} px": removed,
    }
    return [
        finding("C7", words, figure, reference=0, sense="apart", data=data)
        for words, figure in measures.items()
    ]


def smallest_finding(
    score: Mapping[str, float], size_px: int, whole_um2: float, chance: float, *, data: str
) -> dict:
    """Whether patches smaller than a cell suffice, for claim C13.

    Parameters
    ----------
    score
        ``value``, ``low``, ``high`` of the smallest size.
    size_px
        This size, in the paper's pixels.
    whole_um2
        Area of a whole cell, µm²; NaN where it is not known.
    chance
        Score of guessing, which decides only if the patch is known to be smaller than a cell.
    data
        As in `scorecard.finding`.
    """
    edge = paper_px_to_um(size_px)
    reference = chance if edge**2 < whole_um2 else np.nan
    measure = f"balanced accuracy at {size_px} px ({edge:.1f} µm)"
    return finding("C13", measure, score, reference=reference, data=data)


def dip_sentence(dip: Mapping[str, Mapping]) -> str:
    """Say in how many of the curves of `dip_differences` 300 px are behind; "" if there is none."""
    if not dip:
        return ""
    shown = sum(difference["low"] > 0 for difference in dip.values())
    return f"A dip at {DIP_PX} px shows, with its whole interval, in {shown} of " + (
        f"{len(dip)} curves of the scored images, as they are and rotated."
        if len(dip) > 1
        else "1 curve; no image was rotated."
    )
