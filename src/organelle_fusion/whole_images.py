"""Whole images explained, each by the network of the fold that tested it (paper, Fig 6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import pandas as pd

from organelle_fusion import explain
from organelle_fusion.config import Profile, paper_px_to_um
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import open_image
from organelle_fusion.metrics import probability_columns
from organelle_fusion.plots_maps import ExplainedPlane
from organelle_fusion.predictions import Cell
from organelle_fusion.provenance import note_file

TILINGS = {"side by side": False, "overlapping": True}
"""Ways to cover a plane with squares: name → whether they overlap, as `explain.plane_maps` asks."""


class Explained(NamedTuple):
    """Maps of some images, and how alike the organelles' maps are in each."""

    planes: dict[str, dict[str, ExplainedPlane]]  # tiling → image → plane
    similarity: pd.DataFrame  # squares (tiling), image, label, group, and explain.map_similarity's


def explain_images(
    images: pd.DataFrame,
    predictions: pd.DataFrame,
    network: keras.Model,
    *,
    profile: Profile,
    cells: Mapping[int, Cell],
    folder: Path,
) -> Explained:
    """Grad-CAM over the middle plane of every image, for the logit of its true class.

    Parameters
    ----------
    images
        Of `manifest.read_manifest`.
    predictions
        Of the cells: an image is explained by the network of the fold whose test part it is in,
        which has seen neither it nor its group, and the whole image's prediction is noted.
    network
        Of the architecture whose weights are stored; its weights are replaced.
    profile
        Channels and patch size.
    cells
        Fold → cell with stored weights.
    folder
        Root of the stored files.

    Returns
    -------
    Explained
    """
    tested = predictions[predictions["part"] == "test"]
    columns = probability_columns(tested)
    classes = [name.removeprefix("p:") for name in columns]
    guesses = tested.groupby("image")[columns].mean().idxmax(axis=1).str.removeprefix("p:")
    fold_of = tested.groupby("image")["fold"].first()
    planes: dict[str, dict[str, ExplainedPlane]] = {name: {} for name in TILINGS}
    similarities = []
    for fold, cell in cells.items():
        network.load_weights(note_file(cell.weights_path(folder)))
        for image in images[images["image"].map(fold_of) == fold].itertuples():
            for name, plane in _explain(image, network, classes, profile, guesses).items():
                planes[name][image.image] = plane
                found = explain.map_similarity(plane.maps, profile.channels)
                similarities.append(
                    found.assign(
                        image=image.image, label=image.label, group=image.group, squares=name
                    )
                )
    return Explained(planes, pd.concat(similarities, ignore_index=True))


def _explain(
    image, network: keras.Model, classes: Sequence[str], profile: Profile, guesses: pd.Series
) -> dict[str, ExplainedPlane]:
    volume = open_image(image).select(profile.channels)
    statistics = stack_statistics(volume)
    middle = volume.shape[1] // 2
    shown = display_plane(volume, middle, statistics)
    return {
        name: ExplainedPlane(
            image.label,
            guesses[image.image],
            shown,
            explain.plane_maps(
                network,
                volume,
                middle,
                classes.index(image.label),
                size_um=paper_px_to_um(profile.patches.size_px),
                statistics=statistics,
                overlap=overlap,
            ),
            volume.pixel_size_um,
        )
        for name, overlap in TILINGS.items()
    }
