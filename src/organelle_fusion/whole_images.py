"""Whole planes and images explained, each by the network of the fold that tested it (Fig 6)."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from organelle_fusion.config import Profile, paper_px_to_um
from organelle_fusion.evidence import plane_evidence
from organelle_fusion.explain import explain_patches
from organelle_fusion.gradients import BATCH, check_channels
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import open_image
from organelle_fusion.metrics import class_names, probability_columns
from organelle_fusion.models import set_seed
from organelle_fusion.patches import check_share, extract_patches, patch_size_px, patch_table
from organelle_fusion.plots_maps import ExplainedPlane
from organelle_fusion.predictions import Cell, load_weights
from organelle_fusion.similarity import map_similarity
from organelle_fusion.stitching import add_tiles, tile_foreground, tile_table
from organelle_fusion.training import predict_proba
from organelle_fusion.volumes import Volume

TILINGS = {"side by side": False, "overlapping": True}
"""Ways to cover a plane with squares: name → whether they overlap, as `plane_maps` asks."""

TILES_AT_ONCE = 8 * BATCH
"""Cut before they are explained. The plane is read anew for as many, so not too few."""

WITHOUT_SPARSE = "overlapping, without sparse squares"
"""As a way to cover a plane: where a square that is no sparse one lies over a pixel."""


def plane_maps(
    model: keras.Model,
    volume: Volume,
    z: int,
    target: int,
    *,
    size_um: float,
    statistics: pd.DataFrame,
    overlap: bool,
    method: str = "grad_cam",
) -> np.ndarray:
    """Maps of a whole plane, before ReLU, stitched from tiles of the size of a patch.

    Tiles are scaled and resized as training patches are; sparse ones are explained as well. They
    are cut, explained and laid down some at a time: beside the plane and its maps, memory holds
    `TILES_AT_ONCE` of them, whatever the size of the plane.

    Parameters
    ----------
    model
        Of `models.build_model`.
    volume, z
        The stack with the model's channels only, in its order (``volume.select``), and the plane.
    target
        Number of the class whose logit is explained.
    size_um
        Edge of a patch, µm; rounded to whole pixels of the stack.
    statistics
        Of `intensity.stack_statistics` for this volume.
    overlap
        See `stitching.tile_table`.
    method
        One of `explain.METHODS`.

    Returns
    -------
    (E, Y, X) float32
        One map per encoder, or per channel, as `explain.explain_patches` gives them.

    Raises
    ------
    ExplainError
        The volume's channels are not the model's, or what `explain.explain_patches` raises.
    PatchError
        A tile is larger than the plane.
    """
    check_channels(model, volume.channels, volume.path)
    shape = volume.shape[2:]
    table = tile_table(shape, z, patch_size_px(volume, size_um), overlap=overlap)
    plane = None
    for start in range(0, len(table), TILES_AT_ONCE):
        tiles = table[start : start + TILES_AT_ONCE]
        patches = extract_patches(
            volume, tiles, output_px=model.input_shape[1], statistics=statistics
        )
        maps = explain_patches(model, patches, np.full(len(patches), target), method)
        if plane is None:
            plane = np.zeros((maps.shape[1], *shape), np.float32)
        add_tiles(plane, maps, tiles, overlap=overlap)
    return plane


def sparse_places(
    volume: Volume,
    z: int,
    *,
    size_um: float,
    min_foreground: float,
    statistics: pd.DataFrame,
    overlap: bool,
) -> np.ndarray:
    """Where a plane is covered by sparse tiles alone, as no patch is that a network is trained on.

    Parameters
    ----------
    volume, z, size_um, statistics, overlap
        As for `plane_maps`, which explains such tiles as well.
    min_foreground
        A tile is sparse if the union of the organelle masks covers a smaller share of it.

    Returns
    -------
    (Y, X) bool

    Raises
    ------
    PatchError
        `min_foreground` is no share, or a tile is larger than the plane.
    """
    check_share(min_foreground)
    otsu = statistics.set_index("channel").loc[list(volume.channels), "otsu"].to_numpy()
    covered = (volume.plane(z) > otsu[:, None, None]).any(axis=0)
    sparse = np.ones(covered.shape, bool)
    size = patch_size_px(volume, size_um)
    tiles = tile_table(covered.shape, z, size, overlap=overlap)
    for tile in tiles[tile_foreground(covered, tiles) >= min_foreground].itertuples():
        sparse[tile.y : tile.y + size, tile.x : tile.x + size] = False
    return sparse


class Explained(NamedTuple):
    """Maps of some images, and how alike the organelles' maps are in every one."""

    planes: dict[str, dict[str, ExplainedPlane]]  # tiling → image that is shown → plane
    evidence: pd.DataFrame  # squares (`TILINGS`), image, label, group, and `plane_evidence`'s
    similarity: pd.DataFrame  # squares (`TILINGS`, `WITHOUT_SPARSE`), image…, map_similarity's
    randomised: pd.DataFrame  # likewise with random weights, a row for each seed


def explain_images(
    images: pd.DataFrame,
    predictions: pd.DataFrame,
    build: Callable[[], keras.Model],
    build_random: Callable[[], keras.Model],
    *,
    profile: Profile,
    cells: Mapping[int, Cell],
    folder: Path,
    random_seeds: Sequence[int],
    shown: Collection[str],
) -> Explained:
    """Grad-CAM over the middle plane of every image, for the logit of its true class.

    Parameters
    ----------
    images
        Of `manifest.read_manifest`.
    predictions
        Of the cells: an image is explained by the network of the fold whose test part it is in,
        which has seen neither it nor its group, and the whole image's prediction is noted.
    build
        Builds a network of the architecture whose weights are stored.
    build_random
        Builds the same with random weights throughout, also where `build` begins with published
        ones; see `settings.EncoderSettings.without_weights`.
    profile
        Channels and patch size.
    cells
        Fold → cell with stored weights.
    folder
        Root of the stored files.
    random_seeds
        For each, all images are explained once more by a network with freshly drawn weights.
    shown
        Images whose maps are kept. Of the others a few numbers are, so that many images need no
        more memory than few.

    Returns
    -------
    Explained

    Raises
    ------
    SweepError
        See `predictions.load_weights`.
    """
    network = build()
    tested = predictions[predictions["part"] == "test"]
    classes, columns = class_names(tested), probability_columns(tested)
    guesses = tested.groupby("image")[columns].mean().idxmax(axis=1).str.removeprefix("p:")
    fold_of = tested.groupby("image")["fold"].first()
    planes: dict[str, dict[str, ExplainedPlane]] = {name: {} for name in TILINGS}
    similarities, randomised, evidence, kept = [], [], [], {}
    for fold, cell in cells.items():
        load_weights(network, cell, folder)
        for image in images[images["image"].map(fold_of) == fold].itertuples():
            volume = open_image(image).select(profile.channels)
            known = stack_statistics(volume)
            target = classes.index(image.label)
            sparse = _sparse_middle(volume, known, profile)
            kept[image.image] = (known, sparse)  # for the networks that follow
            for name, maps in _middle_maps(network, volume, known, target, profile):
                similarities.append(_similarity(image, name, maps, sparse[name], profile))
                found = plane_evidence(maps, sparse[name], profile.channels)
                evidence.append(_of_image(image, found.assign(squares=name)))
                if image.image in shown:
                    planes[name][image.image] = ExplainedPlane(
                        image.label,
                        guesses[image.image],
                        display_plane(volume, volume.shape[1] // 2, known),
                        maps,
                        volume.pixel_size_um,
                        sparse[name],
                    )
    explained = images[images["image"].isin(kept)]
    random = build_random()
    for seed in random_seeds:
        set_seed(seed)
        random.set_weights(build_random().get_weights())
        for image in explained.itertuples():
            volume, target = open_image(image).select(profile.channels), classes.index(image.label)
            known, sparse = kept[image.image]
            for name, maps in _middle_maps(random, volume, known, target, profile):
                found = _similarity(image, name, maps, sparse[name], profile)
                randomised.append(found.assign(seed=seed))
    return Explained(
        planes,
        pd.concat(evidence, ignore_index=True),
        pd.concat(similarities, ignore_index=True),
        pd.concat(randomised, ignore_index=True),
    )


class Classified(NamedTuple):
    """How many patches of a stack were classified, and how long that took."""

    patches: int
    seconds: float


def time_stack(network: keras.Model, row: NamedTuple, profile: Profile) -> Classified:
    """Cut and classify all patches of one stack that the sparsity filter keeps, and time it.

    Parameters
    ----------
    network
        Of `models.build_model`. It is compiled before the time is taken.
    row
        Of `manifest.read_manifest`, by ``itertuples`` or ``iloc``.
    profile
        Channels, patch size and sparsity filter.

    Returns
    -------
    Classified
        Thresholds and the table of patches are not timed, nor is the opening of the file.
    """
    volume = open_image(row).select(profile.channels)
    statistics = stack_statistics(volume)
    table = patch_table(
        volume,
        paper_px_to_um(profile.patches.size_px),
        min_foreground=profile.patches.min_foreground,
        statistics=statistics,
    )
    predict_proba(network, np.zeros((1, *network.input_shape[1:]), np.uint8))
    started = time.perf_counter()
    patches = extract_patches(
        volume, table, output_px=profile.encoder.input_px, statistics=statistics
    )
    predict_proba(network, patches)
    return Classified(len(patches), time.perf_counter() - started)


def _middle_maps(
    network: keras.Model, volume: Volume, statistics: pd.DataFrame, target: int, profile: Profile
) -> Iterator[tuple[str, np.ndarray]]:
    """Name of the tiling and maps of the middle plane, for each of `TILINGS`."""
    for name, overlap in TILINGS.items():
        yield (
            name,
            plane_maps(
                network,
                volume,
                volume.shape[1] // 2,
                target,
                size_um=paper_px_to_um(profile.patches.size_px),
                statistics=statistics,
                overlap=overlap,
            ),
        )


def _sparse_middle(
    volume: Volume, statistics: pd.DataFrame, profile: Profile
) -> dict[str, np.ndarray]:
    """`sparse_places` of the middle plane, for each of `TILINGS`."""
    return {
        name: sparse_places(
            volume,
            volume.shape[1] // 2,
            size_um=paper_px_to_um(profile.patches.size_px),
            min_foreground=profile.patches.min_foreground,
            statistics=statistics,
            overlap=overlap,
        )
        for name, overlap in TILINGS.items()
    }


def _similarity(
    image, squares: str, maps: np.ndarray, sparse: np.ndarray, profile: Profile
) -> pd.DataFrame:
    """`map_similarity` of a plane, and where squares overlap that without `sparse` places."""
    found = [map_similarity(maps, profile.channels).assign(squares=squares)]
    if squares == "overlapping" and not sparse.all():
        dense = map_similarity(maps, profile.channels, ~sparse)
        found.append(dense.assign(squares=WITHOUT_SPARSE))
    return _of_image(image, pd.concat(found))


def _of_image(image, found: pd.DataFrame) -> pd.DataFrame:
    return found.assign(image=image.image, label=image.label, group=image.group)
