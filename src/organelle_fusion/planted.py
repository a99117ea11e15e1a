"""The truth of the phantom, laid beside patches: which organelle tells, and where it lies.

And the networks that learnt such patches, with patches that each has not seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.folds import fold_parts
from organelle_fusion.intensity import PatchError
from organelle_fusion.patches import extract_patches
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, load_weights
from organelle_fusion.provenance import note_file
from organelle_fusion.volumes import open_volume

NOTHING = "nothing"
"""What is planted in the null phantom, and named where no organelle is."""


class Shown(NamedTuple):
    """What a network explains: patches of images that it has not seen."""

    rows: np.ndarray  # (N,) of the patch set
    patches: np.ndarray  # (N, H, W, C) uint8
    targets: np.ndarray  # (N,) int, place of the label among the classes
    training: np.ndarray  # (M, H, W, C) uint8, all patches that the network was trained on

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel over the training patches, rounded; float64 (C,)."""
        return self.training.mean(axis=(0, 1, 2)).round()


def only_organelle(full: PatchSet, null: np.ndarray, organelle: str) -> PatchSet:
    """Patches of the phantom variant ``only-<organelle>``, without its stacks.

    Each channel of the phantom draws from a random stream of its own, so that this variant is one
    channel of ``full`` and the others of ``null``.

    Parameters
    ----------
    full
        Patches of the variant ``full``, at the places that the sparsity filter keeps of ``null``;
        see `preprocessing.cut_places`. Those that it keeps of ``full`` depend on the class, of
        which some cover more than others.
    null
        Patches of the variant ``null`` at these places, uint8 (N, H, W, C).
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


def of_images(places: pd.DataFrame, own: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Places of the images of one variant of the phantom, as those of another's, row by row.

    Parameters
    ----------
    places
        Of a `PatchSet`: ``image``, ``label``, ``group`` and others.
    own, others
        Manifests of the two variants, with images of the same classes in the same order.

    Returns
    -------
    DataFrame
        The same rows, with the image and the group of the other variant.

    Raises
    ------
    PatchError
        The classes of the two manifests differ, or an image is in none of them.
    """
    if list(own["label"]) != list(others["label"]):
        raise PatchError(
            f"images: expected those of {len(own)} images with their classes in one order, found "
            f"others in a second manifest of {len(others)}; simulate both by one profile"
        )
    row = pd.Index(own["image"]).get_indexer(places["image"])
    if (row < 0).any():
        raise PatchError(
            f"images: expected {places['image'].iloc[row.argmin()]} in the first manifest, found "
            "none; cut the places from its images"
        )
    return places.assign(**{name: others[name].to_numpy()[row] for name in ("image", "group")})


def variants(full: PatchSet, null: np.ndarray) -> dict[str, PatchSet]:
    """Patches of all variants in which one organelle or none tells the class.

    Parameters
    ----------
    full, null
        As for `only_organelle`.

    Returns
    -------
    dict
        What is planted, a channel or `NOTHING` → patches with the table of `full`; the channels in
        their order first.
    """
    only = {name: only_organelle(full, null, name) for name in full.channels}
    return only | {NOTHING: PatchSet(null, full.table, full.channels, full.pixel_size_um)}


def labels_by_lot(patch_set: PatchSet, seed: int) -> PatchSet:
    """Deal the labels out anew among the groups, so that there is nothing to be learnt.

    Parameters
    ----------
    patch_set
        Each of its groups has one label.
    seed
        Of the lots.

    Returns
    -------
    PatchSet
        The same patches. Classes have as many groups as before, and a group has one label.
    """
    label_of = patch_set.table.groupby("group")["label"].first()
    lot = np.random.default_rng(seed).permutation(label_of.to_numpy())
    drawn = dict(zip(label_of.index, lot, strict=True))
    table = patch_set.table.assign(label=patch_set.table["group"].map(drawn))
    return PatchSet(patch_set.patches, table, patch_set.channels, patch_set.pixel_size_um)


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
) -> Iterator[Shown]:
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
    Shown
        Rows out of the fold's test part, and all patches of its training part.
    """
    table, patches, targets = patch_set.table, patch_set.patches, patch_set.class_numbers
    for fold, cell in cells.items():
        load_weights(network, cell, folder)
        parts = fold_parts(folds, table["group"], fold)
        tested = np.flatnonzero(parts == "test")
        of_image = pd.Series(tested).groupby(table["image"].to_numpy()[tested], sort=False)
        chosen = [
            rows.to_numpy()[np.arange(per_image) * len(rows) // per_image]
            if len(rows) > per_image
            else rows.to_numpy()
            for _, rows in of_image
        ]
        rows = np.concatenate(chosen)
        yield Shown(rows, patches[rows], targets[rows], patches[parts == "train"])
