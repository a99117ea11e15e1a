"""Patches of the reference run: full-resolution phantoms, simulated and cut without being written.

A stack of the paper's size takes 300 MB with its labels, and none is needed once its patches are
cut. Patches can be cut again wherever the run goes on, so that they are not kept with the results.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from organelle_fusion import intensity, patches, phantom, sources
from organelle_fusion.config import PatchSettings, Profile, paper_px_to_um
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import SweepError, stored_provenance, write_predictions
from organelle_fusion.provenance import atomic_path, code_version, hash_of, provenance
from organelle_fusion.repository import DOWNLOADS, RUNS
from organelle_fusion.volumes import volume_from_array

CROPS = "cell-lines-9"
VARIANTS = {"phantom": "full", "contact": "contact"}
"""Data sets that are simulated, and which variant of the phantom they are."""


@dataclass(frozen=True)
class Image:
    """One stack to be simulated and cut, and where its patches lie."""

    variant: str
    index: int
    label: str

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.index:03d}"

    def path(self, folder: Path) -> Path:
        """Table of its patches below the folder of the data set."""
        return Path(folder) / f"{self.name}.parquet"

    def pixels_path(self, folder: Path) -> Path:
        """Pixels of its patches, beside the table."""
        return self.path(folder).with_suffix(".npy")

    def __str__(self) -> str:
        return f"image {self.name}"


def planned_images(profile: Profile, dataset: str) -> list[Image]:
    """The stacks of a data set, numbered and named as `phantom.simulate_dataset` does."""
    variant, settings = VARIANTS[dataset], profile.phantom
    contact = variant == "contact"
    numbers = settings.contact_images_per_class if contact else settings.images_per_class
    labels = np.repeat(phantom.class_names(variant), numbers)
    return [Image(variant, index, str(label)) for index, label in enumerate(labels)]


def recipe(profile: Profile, dataset: str) -> str:
    """Hash of all that the patches of a data set and their folds are made from."""
    code = code_version("folds", "patchset", "sources")
    if dataset == CROPS:
        return hash_of([profile.real_cells, profile.folds, code])
    images = [[str(image), image.label] for image in planned_images(profile, dataset)]
    return hash_of([_image_inputs(profile, dataset), images, profile.folds, code])


def cut_folder(profile: Profile, dataset: str, root: Path) -> Path:
    """Folder of the patches that a data set of the reference run is cut into."""
    return root / RUNS / profile.name / dataset / "cut"


def cut_images(images: list[Image], profile: Profile, dataset: str, folder: Path) -> None:
    """Simulate and cut some stacks at once, each in a process of its own.

    Not on the workers of `computing.run_cells`: a borrowed machine may have no more than Python's
    own means to compute in several processes.
    """
    pool = ProcessPoolExecutor(
        len(images), mp_context=get_context("spawn"), initializer=_read_in_one_thread
    )
    with pool as processes:
        for _ in processes.map(partial(_cut_and_write, profile, dataset, folder), images):
            pass


def _read_in_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # see `streaming.thread_count`


def _cut_and_write(profile: Profile, dataset: str, folder: Path, image: Image) -> None:
    table = cut_image(image, profile, dataset, folder)
    facts = provenance(cell=asdict(image), inputs=_inputs_of(image, profile, dataset))
    write_predictions(table, image.path(folder), facts, [image.pixels_path(folder)])


def is_cut(image: Image, profile: Profile, dataset: str, folder: Path) -> bool:
    """Whether the patches of a stack are there and hold."""
    inputs = _inputs_of(image, profile, dataset)
    try:
        stored = stored_provenance(image.path(folder), image, inputs, [image.pixels_path(folder)])
    except SweepError as error:
        print(f"{image}: cut again, {error}", flush=True)
        return False
    return stored is not None


def cut_image(image: Image, profile: Profile, dataset: str, folder: Path) -> pd.DataFrame:
    """Simulate one stack and cut its patches.

    Returns
    -------
    DataFrame
        Table of the kept patches, as `preprocessing.build_patch_set` has it. Their pixels are
        written beside it, uint8 (N, H, W, C).
    """
    stack = phantom.simulate_stack(
        image.label, index=image.index, variant=image.variant, settings=profile.phantom
    )
    sizes = profile.phantom.pixel_size_um, profile.phantom.z_step_um
    volume = volume_from_array(stack.image, stack.channels, *sizes, image.name)
    volume = volume.select(profile.channels)
    settings = _patch_settings(profile, dataset)
    statistics = intensity.stack_statistics(volume)
    table = patches.patch_table(
        volume,
        paper_px_to_um(settings.size_px),
        min_foreground=settings.min_foreground,
        statistics=statistics,
        max_patches=settings.max_per_image,
    )
    pixels = patches.extract_patches(
        volume, table, output_px=profile.encoder.input_px, statistics=statistics
    )
    with atomic_path(image.pixels_path(folder)) as temporary:
        np.save(temporary, pixels)
    table = table.assign(
        image=image.name, label=image.label, group=image.name, paper_px=settings.size_px
    )
    first = ["image", "label", "group", "paper_px"]
    kept = table.loc[table["kept"], first + [name for name in table if name not in first]]
    return kept.drop(columns=["kept", "reason"]).reset_index(drop=True)


def phantom_patches(profile: Profile, dataset: str, folder: Path) -> PatchSet:
    """The patches of all stacks of a data set, once all are cut."""
    images = planned_images(profile, dataset)
    return PatchSet(
        np.concatenate([np.load(image.pixels_path(folder)) for image in images]),
        pd.concat([pd.read_parquet(image.path(folder)) for image in images], ignore_index=True),
        profile.channels,
        paper_px_to_um(profile.patches.size_px) / profile.encoder.input_px,
    )


def crops_at_hand(root: Path) -> bool:
    """Whether the real crops are here; the run downloads nothing."""
    return sources.at_hand(CROPS, folder=root / DOWNLOADS)


def crop_patches(profile: Profile, root: Path) -> PatchSet:
    """The crops as chapter 09 takes them."""
    crops, table, channels = sources.read_crops(CROPS, folder=root / DOWNLOADS)
    chosen = sources.balanced_subset(
        table, profile.real_cells.crops_per_class, seed=profile.real_cells.seed
    )
    return PatchSet.from_crops(crops[chosen], table.iloc[chosen], channels)


def _patch_settings(profile: Profile, dataset: str) -> PatchSettings:
    # As chapter 11: the area that all organelles cover together shrinks where they overlap.
    if dataset == "contact":
        return profile.patches.model_copy(update={"min_foreground": 0.0})
    return profile.patches


def _inputs_of(image: Image, profile: Profile, dataset: str) -> dict[str, str]:
    return {**_image_inputs(profile, dataset), "label": image.label}


def _image_inputs(profile: Profile, dataset: str) -> dict[str, str]:
    law = profile.phantom.model_dump(exclude={"images_per_class", "contact_images_per_class"})
    cut = _patch_settings(profile, dataset).model_dump(
        include={"size_px", "min_foreground", "max_per_image"}
    )
    return {
        "settings": hash_of([law, cut, profile.encoder.input_px, profile.channels]),
        "code": code_version(
            "intensity", "kernels", "microscope", "mosaic", "organelles", "patches", "phantom",
            "reference_data", "streaming", "volumes",
        ),
    }  # fmt: skip
