"""All images of a manifest measured, each stored in a file; and the features that are classified.

What is done to one stack stands in `cells` and `objects`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from organelle_fusion.cells import segment_cells
from organelle_fusion.cluster import image_workers
from organelle_fusion.computing import run_cells
from organelle_fusion.config import NUCLEUS, HandcraftedSettings
from organelle_fusion.handcrafted import TPG, drop_unusable, object_features
from organelle_fusion.image_paths import image_hash, note_image
from organelle_fusion.manifest import open_image
from organelle_fusion.objects import BETWEEN, measure_stack, no_objects
from organelle_fusion.predictions import read_provenance
from organelle_fusion.provenance import code_version, hash_of, note_file
from organelle_fusion.volumes import READERS, open_volume
from organelle_fusion.workers import of_each


@dataclass(frozen=True, order=True)
class Stack:
    """One image to measure: its row in the manifest, and its name."""

    number: int
    image: str

    def path(self, folder: Path) -> Path:
        """File of the objects below the folder of the data set."""
        return Path(folder) / f"{self.number:04d}.parquet"

    def __str__(self) -> str:
        return f"objects of {self.image}"


def measuring_obstacle(manifest: pd.DataFrame) -> str:
    """Say in a sentence why the objects of some image cannot be measured; "" if all can."""
    for row in manifest.itertuples(index=False):
        volume = open_image(row)
        if volume.channels.count(NUCLEUS) != 1:
            return (
                f"Cells are found by their nuclei, and image {row.image} has no channel named "
                f"{NUCLEUS}."
            )
        if volume.z_step_um is None:
            return (
                f"Volumes need the distance of two planes, and image {row.image} does not have it; "
                "the manifest column z_step_um can give it."
            )
        if volume.shape[1] < 2:
            return f"Volumes need two planes or more, and image {row.image} has one."
    return ""


def measure_images(
    manifest: pd.DataFrame,
    *,
    channels: Sequence[str],
    settings: HandcraftedSettings,
    folder: Path,
    workers: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the objects of every image, as far as that is not stored.

    Parameters
    ----------
    manifest
        Of `manifest.read_manifest`; every stack has the channels and ``nucleus``.
    channels
        The organelles.
    settings
        Reach of cells, size of voxels and smallest volume count.
    folder
        Root of the files, one for each image.
    workers
        See `run_cells`; by `cluster.image_workers` unless given.

    Returns
    -------
    objects
        Columns of `objects.measure_stack`, and image, label and group; ``cell`` is unique among
        all images. Without objects there are the columns, and no rows.
    dropped
        image, what (cells, or a kind of objects), reason, number.

    Raises
    ------
    SweepError
        An image could not be measured; the message names it and says why.
    """
    rows = {
        Stack(number, row.image): row for number, row in enumerate(manifest.itertuples(index=False))
    }
    law = (settings.cell_reach_um, settings.voxel_um, settings.min_volume_um3)

    def compute(stack: Stack) -> pd.DataFrame:
        volume = open_image(rows[stack])
        cells = segment_cells(volume, channels, reach_um=law[0])
        return measure_stack(volume, channels, cells, voxel_um=law[1], min_volume_um3=law[2])

    def inputs(stack: Stack) -> dict[str, str]:
        row = rows[stack]
        note_image(row.path)
        given = repr((row.channel_map, row.pixel_size_um, row.z_step_um))
        return {
            "settings": hash_of([law, list(channels), given]),
            "data": image_hash(row.path),
            "code": code_version(
                *("cells", "objects", "resampling", "surfaces", "measuring"), *READERS
            ),
        }

    workers = image_workers() if workers is None else workers
    paths = run_cells(list(rows), compute, folder, inputs=inputs, workers=workers, unit="image")
    frames, dropped = [], []
    for path, row in zip(paths, rows.values(), strict=True):
        own = {"image": row.image, "label": row.label, "group": row.group}
        frame = pq.read_table(path).to_pandas()
        if len(frame):
            cell = f"{row.image} cell " + frame["cell"]
            frames.append(frame.assign(**own, cell=cell))
        of_image = read_provenance(path)["details"]["dropped"]
        dropped += [{"image": row.image, **entry} for entry in of_image]
    if not frames:
        texts = {name: pd.Series(dtype=str) for name in ("image", "label", "group")}
        frames.append(no_objects(channels).assign(**texts))
    objects = pd.concat(frames, ignore_index=True)
    return objects, pd.DataFrame(dropped, columns=["image", "what", "reason", "number"])


def count_planted(
    manifest: pd.DataFrame,
    labels: Path,
    *,
    channels: Sequence[str],
    settings: HandcraftedSettings,
) -> pd.DataFrame:
    """Objects that a phantom has in the cells that are found, told apart or not.

    Parameters
    ----------
    manifest, channels, settings
        As in `measure_images`.
    labels
        Folder of the true labels, ``<image>.ome.tif`` (`phantom.simulate_dataset`).

    Returns
    -------
    DataFrame
        image, kind, planted: labels of this channel with a voxel in a cell that is found.
    """
    images = {row.image: row for row in manifest.itertuples(index=False)}

    def count(image: str) -> list[int]:
        cells = segment_cells(open_image(images[image]), channels, reach_um=settings.cell_reach_um)
        truth = open_volume(labels / f"{image}.ome.tif").select(channels)
        seen = [plane[:, cells.labels > 0] for plane in truth.planes()]
        return [
            np.count_nonzero(np.unique(np.concatenate([plane[k] for plane in seen])))
            for k in range(len(channels))
        ]

    found = dict(of_each(count, list(images), "counting", progress=False))
    for image, row in images.items():
        note_image(row.path)
        note_file(labels / f"{image}.ome.tif")
    rows = [
        (image, name, number)
        for image in images
        for name, number in zip(channels, found[image], strict=True)
    ]
    return pd.DataFrame(rows, columns=["image", "kind", "planted"])


def contact_kinds(channels: Sequence[str]) -> list[str]:
    """Names of the contacts between every two channels, as `objects.measure_stack` gives them."""
    return [f"{first}{BETWEEN}{second}" for first, second in combinations(channels, 2)]


def topology(
    objects: pd.DataFrame, kinds: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Topological parameters (TPG) of objects of one kind, or of several in one table.

    Distances to others are those to objects of the same kind in the same cell. Of several kinds,
    a column for each says which one an object is of.

    Parameters
    ----------
    objects
        Of `measure_images`.
    kinds
        Values of its column ``kind``.

    Returns
    -------
    features
        float: the 18 parameters of `handcrafted.TPG`, and a column per kind if there are several;
        no row and no column where there are no usable objects.
    table
        image, cell, label, group of the same rows.
    report
        What was left out, see `handcrafted.drop_unusable`; a "cell" there is one kind in one cell.
    """
    chosen = objects[objects["kind"].isin(kinds)]
    if chosen.empty:
        return pd.DataFrame(), pd.DataFrame(), pd.DataFrame(columns=["reason", "objects", "cells"])
    kept, report = drop_unusable(chosen.assign(cell=chosen["cell"] + " " + chosen["kind"]))
    if kept.empty:
        return pd.DataFrame(), pd.DataFrame(), report
    features = object_features(kept)[list(TPG)]
    if len(kinds) > 1:
        features = features.assign(**{kind: (kept["kind"] == kind).astype(float) for kind in kinds})
    table = chosen.loc[kept.index, ["image", "cell", "label", "group"]]
    return features.reset_index(drop=True), table.reset_index(drop=True), report
