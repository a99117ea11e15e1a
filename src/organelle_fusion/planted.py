"""The truth of the phantom, laid beside patches: which organelle tells, and where it lies."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from organelle_fusion.folds import fold_parts
from organelle_fusion.intensity import PatchError
from organelle_fusion.leakage import chance_words
from organelle_fusion.patches import extract_patches
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell
from organelle_fusion.provenance import note_file
from organelle_fusion.significance import interval_text
from organelle_fusion.volumes import open_volume

NOTHING = "nothing"
"""What is planted in the null phantom, and named where no organelle is."""

COARSE = 7
"""Grids of the probe with as many blocks along an edge, or fewer, are called coarse."""


def only_organelle(full: PatchSet, null: np.ndarray, organelle: str) -> PatchSet:
    """Patches of the phantom variant ``only-<organelle>``, without its stacks.

    Each channel of the phantom draws from a random stream of its own, so that this variant is one
    channel of ``full`` and the others of ``null``.

    Parameters
    ----------
    full
        Patches of the variant ``full``.
    null
        Patches of the variant ``null`` at the same places, uint8 (N, H, W, C), see
        `preprocessing.cut_places`.
    organelle
        Channel that tells the class.

    Returns
    -------
    PatchSet
        Same table and channels.

    Raises
    ------
    PatchError
        There is no such channel, or the patches do not fit each other.
    """
    if organelle not in full.channels or null.shape != full.patches.shape:
        raise PatchError(
            f"only-{organelle}: expected a channel of {', '.join(full.channels)} and patches "
            f"{full.patches.shape} of the null phantom, found {null.shape}; cut them at the same "
            "places"
        )
    patches = null.copy()
    position = full.channels.index(organelle)
    patches[..., position] = full.patches[..., position]
    return PatchSet(patches, full.table, full.channels, full.pixel_size_um)


def planted_masks(
    places: pd.DataFrame, folder: Path, channels: Sequence[str], output_px: int
) -> np.ndarray:
    """Where the planted organelles lie in patches.

    Parameters
    ----------
    places
        Of a `PatchSet`: ``image``, ``z``, ``y``, ``x``, ``size_px``.
    folder
        Of `phantom.simulate_dataset`, with ``labels/<image>.ome.tif``.
    channels
        Names of organelles.
    output_px
        Edge of a patch, pixels.

    Returns
    -------
    ndarray, bool (N, output_px, output_px, C)
        True where an organelle covers half of the pixel or more.

    Raises
    ------
    VolumeError
        The labels of an image cannot be read.
    """
    masks = np.empty((len(places), output_px, output_px, len(channels)), bool)
    # Whatever its number, a label is all of its pixel.
    scale = pd.DataFrame({"channel": list(channels), "low": 0.0, "high": 1.0})
    for image, of_image in places.groupby("image", sort=False):
        labels = open_volume(note_file(Path(folder) / "labels" / f"{image}.ome.tif"))
        covered = extract_patches(
            labels.select(channels),
            of_image.assign(kept=True),
            output_px=output_px,
            statistics=scale,
        )
        masks[(places["image"] == image).to_numpy()] = covered >= 128
    return masks


def each_network(
    patch_set: PatchSet,
    folds: pd.DataFrame,
    network,
    *,
    cells: Mapping[int, Cell],
    folder: Path,
    per_image: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go through the networks of all folds, with patches of images that each has not seen.

    Parameters
    ----------
    patch_set, folds
        As for `sweep.train_cells`.
    network
        Keras model of the architecture whose weights are stored; those of the fold are in it when
        its rows are given.
    cells
        Fold → cell with stored weights.
    folder
        Root of the stored files.
    per_image
        Patches of each image, evenly over those there are.

    Yields
    ------
    tested : ndarray of int
        Rows of the patch set, out of the fold's test part.
    trained : ndarray of int
        Rows of its training part, all of them.
    """
    table = patch_set.table
    for fold, cell in cells.items():
        network.load_weights(note_file(cell.weights_path(folder)))
        parts = fold_parts(folds, table["group"], fold)
        tested = np.flatnonzero(parts == "test")
        of_image = pd.Series(tested).groupby(table["image"].to_numpy()[tested], sort=False)
        chosen = [
            rows.to_numpy()[np.arange(per_image) * len(rows) // per_image]
            if len(rows) > per_image
            else rows.to_numpy()
            for _, rows in of_image
        ]
        yield np.concatenate(chosen), np.flatnonzero(parts == "train")


def named_organelles(naming: pd.DataFrame) -> pd.DataFrame:
    """Say which organelle each measure names, if any.

    An organelle is named if its interval lies above what one gets that tells nothing, and above
    the intervals of all others. Where all images are alike (such as all classified rightly), so
    that there is no interval, the value stands for it.

    Parameters
    ----------
    naming
        measure, planted, organelle, value, low, high, reference.

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


def block_correlations(patches: np.ndarray, blocks: int) -> np.ndarray:
    """How alike two channels lie in a patch, seen through a coarse grid.

    Parameters
    ----------
    patches : (N, H, W, C) uint8
        With H = W.
    blocks
        Blocks along each edge; each is replaced by its mean. What does not fill a block at the
        right and lower border is left out.

    Returns
    -------
    ndarray, float64 (N, C (C − 1) / 2)
        Pearson's correlation over the blocks of each pair of channels, in the order of
        `itertools.combinations`; 0 where a channel is the same in all blocks.
    """
    edge = patches.shape[1] // blocks
    cut = patches[:, : blocks * edge, : blocks * edge].astype(np.float64)
    means = cut.reshape(len(cut), blocks, edge, blocks, edge, -1).mean(axis=(2, 4))
    flat = means.reshape(len(cut), blocks * blocks, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    size = np.sqrt((flat**2).sum(axis=1))
    pairs = list(combinations(range(flat.shape[2]), 2))
    product = np.stack([(flat[..., a] * flat[..., b]).sum(axis=1) for a, b in pairs], axis=1)
    scale = np.stack([size[:, a] * size[:, b] for a, b in pairs], axis=1)
    return np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)


def coarse_probe(patch_set: PatchSet, folds: pd.DataFrame, blocks: Sequence[int]) -> pd.DataFrame:
    """Classify patches by nothing but `block_correlations`, in the folds of the networks.

    A logistic regression on as many numbers as there are pairs of channels, trained on the
    training and validation parts: what a grid this coarse still tells of who lies with whom.

    Parameters
    ----------
    patch_set, folds
        As for `sweep.train_cells`.
    blocks
        Grids, by their number of blocks along an edge.

    Returns
    -------
    DataFrame
        Predictions of the test parts, see `predictions.read_predictions`; the model of a grid of
        7 × 7 is ``grid of 7 × 7``.
    """
    table, classes = patch_set.table, list(patch_set.classes)
    frames = []
    for number in blocks:
        features = block_correlations(patch_set.patches, number)
        for fold in sorted(folds["fold"].unique().tolist()):
            tested = fold_parts(folds, table["group"], fold) == "test"
            probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
            probe.fit(features[~tested], table["label"].to_numpy(dtype=str)[~tested])
            rows = np.flatnonzero(tested)
            found = table.loc[rows, ["image", "group", "label"]].reset_index(drop=True)
            found.insert(0, "patch", rows)
            found = found.assign(model=_grid(number), fold=fold, seed=0, part="test")
            probabilities = probe.predict_proba(features[tested])
            for name in classes:  # a class that a fold does not train on has none
                column = np.flatnonzero(probe.classes_ == name)
                found[f"p:{name}"] = probabilities[:, column[0]] if len(column) else 0.0
            frames.append(found)
    return pd.concat(frames, ignore_index=True)


def block_um(patch_set: PatchSet, grids: Sequence[int]) -> dict[int, float]:
    """Edge of a block of each grid of `coarse_probe`, µm."""
    pixels = patch_set.patches.shape[1]
    return {number: pixels // number * patch_set.pixel_size_um for number in sorted(grids)}


def probe_words(scores: pd.DataFrame, edges: Mapping[int, float]) -> str:
    """Say what every grid of the probe reaches, and what follows for coarse local means.

    Parameters
    ----------
    scores
        ``value``, ``low``, ``high`` and ``chance`` by the name of the grid, as `coarse_probe` gives
        it.
    edges
        Of `block_um`.

    Returns
    -------
    str
        That coarse local means hold what is needed is said only if a grid that is `COARSE` lies
        above chance.
    """
    rows = {number: scores.loc[_grid(number)] for number in edges}
    listed = "; ".join(
        f"{number} × {number} blocks of {edges[number]:.1f} µm "
        f"{interval_text(row['value'], row['low'], row['high'], '')} ({chance_words(row)})"
        for number, row in rows.items()
    )
    above = [number for number, row in rows.items() if chance_words(row) == "above chance"]
    coarse = [number for number in above if number <= COARSE]
    if not above:
        follows = "That local means hold what is needed is not shown by it."
    else:
        follows = (
            f"Some of what is needed is there in means over blocks of {edges[min(above)]:.1f} µm, "
        )
        follows += (
            "and it takes something that compares them place by place."
            if coarse
            else "but in no coarser ones: that coarse local means hold it is not shown."
        )
    return (
        f"The probe, by the grid (intervals are not adjusted for the number of grids): {listed}. "
        f"{follows}"
    )


def _grid(number: int) -> str:
    """Name of a grid as a model."""
    return f"grid of {number} × {number}"
