"""Two workers of one thread against one such worker: trainings, and measuring of images.

``python -m benchmarks.scaling`` prints seconds, ratios and agreement.
"""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from distributed import Client

from benchmarks.timing import OURS, compare_ways, print_table
from organelle_fusion.cluster import SCHEDULER_VARIABLE, start_cluster
from organelle_fusion.config import load_profile
from organelle_fusion.folds import make_folds
from organelle_fusion.manifest import read_manifest
from organelle_fusion.measuring import measure_images
from organelle_fusion.patchset import PatchSet
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.sweep import train_cells

CELLS = 10  # an even number, so that two workers end together
IMAGES = 4


def train(patch_set: PatchSet, folds: pd.DataFrame, profile, folder: Path) -> np.ndarray:
    """Probabilities of early fusion in all folds, float32 (rows, K)."""
    found = train_cells(
        patch_set, folds, models=["early"], profile=profile, dataset="noise",
        size_px=profile.patches.size_px, folder=folder, seed=1, workers=2,
    )  # fmt: skip
    return found.filter(like="p:").to_numpy()


def measure(manifest: pd.DataFrame, profile, folder: Path) -> np.ndarray:
    """Numbers of all objects of all images."""
    objects, _ = measure_images(
        manifest, channels=profile.channels, settings=profile.handcrafted, folder=folder, workers=2
    )
    return objects.select_dtypes("number").to_numpy()


def on_cluster(address: str, task: Callable[[Path], np.ndarray]) -> np.ndarray:
    """Do a task on one cluster, with files that nobody has made before."""
    os.environ[SCHEDULER_VARIABLE] = address
    with tempfile.TemporaryDirectory() as folder:
        return task(Path(folder))


def noise(profile) -> tuple[PatchSet, pd.DataFrame]:
    """As many patches of noise as the profile's training sees, in folds of whole images."""
    images, each = 30, profile.patches.max_per_image
    edge, n_channels = profile.encoder.input_px, len(profile.channels)
    random = np.random.default_rng(0)
    shape = (images * each, edge, edge, n_channels)
    names = [f"image-{number:02d}" for number in range(images)]
    table = pd.DataFrame({"image": np.repeat(names, each), "z": 0, "y": 0, "x": 0})
    table["group"] = table["image"]
    table["label"] = np.repeat([f"class-{number % 3}" for number in range(images)], each)
    patches = random.integers(0, 256, shape, dtype=np.uint8)
    patch_set = PatchSet(patches, table, profile.channels, None)
    folds = make_folds(
        table, n_splits=CELLS, validation_share=profile.folds.validation_share, seed=1
    )
    return patch_set, folds


def compare() -> pd.DataFrame:
    """Rows of both tasks: ours is by two workers, beside it one."""
    profile = load_profile("quick")
    os.environ.setdefault("KERAS_BACKEND", profile.backend)
    with (
        tempfile.TemporaryDirectory() as folder,
        start_cluster(1) as one,
        start_cluster(2) as two,
        Client(one) as first,
        Client(two) as second,
    ):
        first.wait_for_workers(1)
        second.wait_for_workers(2)
        numbers = [IMAGES, *[0] * (len(profile.phantom.images_per_class) - 1)]
        phantom = profile.phantom.model_copy(update={"images_per_class": tuple(numbers)})
        images = read_manifest(simulate_dataset(Path(folder), phantom, progress=False))
        patch_set, folds = noise(profile)
        tasks = {
            "training early fusion of the profile quick, s per training": (
                partial(train, patch_set, folds, profile),
                CELLS,
            ),
            "measuring objects of a phantom stack, s per stack": (
                partial(measure, images, profile),
                IMAGES,
            ),
        }
        frames = [
            compare_ways(
                "scaling",
                task,
                {
                    OURS: partial(on_cluster, two.scheduler_address, work),
                    "one worker": partial(on_cluster, one.scheduler_address, work),
                },
                units=units,
                repeats=3,
            )
            for task, (work, units) in tasks.items()
        ]
    del os.environ[SCHEDULER_VARIABLE]
    return pd.concat(frames, ignore_index=True)


if __name__ == "__main__":
    print_table(compare())
