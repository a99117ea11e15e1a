"""Two workers of one thread against one such worker: trainings, and measuring of images.

``python -m benchmarks.scaling`` prints seconds, ratios and agreement. Trainings are done by one and
by two plain processes without Dask too: what two of these lose, the machine loses, whose cores
share their memory, and no scheduler can give it back. And by one process of as many threads as
there are processors, which `cluster.network_workers` could choose instead.
"""

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib.externals.loky import ProcessPoolExecutor

from benchmarks.timing import OURS, compare_ways, print_table
from organelle_fusion.cluster import HERE, SCHEDULER_VARIABLE, one_thread, start_cluster
from organelle_fusion.config import load_profile
from organelle_fusion.folds import make_folds
from organelle_fusion.manifest import read_manifest
from organelle_fusion.measuring import measure_images
from organelle_fusion.patchset import PatchSet
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.scaling import ONE_WORKER
from organelle_fusion.sweep import train_cells

CELLS = 10  # an even number, so that two workers end together
PROCESS_CELLS = 4  # of each of two seeds
IMAGES = 4
ONE_PROCESS = "one process of one thread, without Dask"
ALL_THREADS = "one process of all threads, without Dask"


def train(
    patch_set: PatchSet, folds: pd.DataFrame, profile, folder: Path, workers: int = 2, seed: int = 1
) -> np.ndarray:
    """Probabilities of early fusion in all folds, float32 (rows, K)."""
    found = train_cells(
        patch_set, folds, models=["early"], profile=profile, dataset="noise",
        size_px=profile.patches.size_px, folder=folder, seed=seed, workers=workers,
    )  # fmt: skip
    return found.filter(like="p:").to_numpy()


def train_here(patch_set: PatchSet, folds: pd.DataFrame, profile, seed: int) -> np.ndarray:
    """Probabilities as of `train`, in this process and with files that nobody has made before."""
    with tempfile.TemporaryDirectory() as folder:
        return train(patch_set, folds, profile, Path(folder), workers=HERE, seed=seed)


def in_processes(pool: ProcessPoolExecutor, *task) -> np.ndarray:
    """Probabilities as of `train_here` with two seeds, by the process or processes of a pool."""
    jobs = [pool.submit(train_here, *task, seed) for seed in (1, 2)]
    return np.concatenate([job.result() for job in jobs])


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


def noise(profile, n_splits: int) -> tuple[PatchSet, pd.DataFrame]:
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
        table, n_splits=n_splits, validation_share=profile.folds.validation_share, seed=1
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
    ):
        numbers = [IMAGES, *[0] * (len(profile.phantom.images_per_class) - 1)]
        phantom = profile.phantom.model_copy(update={"images_per_class": tuple(numbers)})
        images = read_manifest(simulate_dataset(Path(folder), phantom, progress=False))
        patches, fewer = noise(profile, CELLS), noise(profile, PROCESS_CELLS)
        env = {
            **one_thread(),
            "OMP_NUM_THREADS": "1",
            "KERAS_BACKEND": os.environ["KERAS_BACKEND"],
        }
        pools = {
            OURS: ProcessPoolExecutor(2, env=env),
            ONE_PROCESS: ProcessPoolExecutor(1, env=env),
            ALL_THREADS: ProcessPoolExecutor(1, env={"KERAS_BACKEND": env["KERAS_BACKEND"]}),
        }
        clusters = {OURS: two.scheduler_address, ONE_WORKER: one.scheduler_address}
        tasks = {
            "training early fusion of the profile quick, s per training": (
                {
                    who: partial(on_cluster, address, partial(train, *patches, profile))
                    for who, address in clusters.items()
                },
                CELLS,
            ),
            "the same in two processes without Dask, s per training": (
                {who: partial(in_processes, pool, *fewer, profile) for who, pool in pools.items()},
                2 * PROCESS_CELLS,
            ),
            "measuring objects of a phantom stack, s per stack": (
                {
                    who: partial(on_cluster, address, partial(measure, images, profile))
                    for who, address in clusters.items()
                },
                IMAGES,
            ),
        }
        frames = [
            compare_ways("scaling", task, ways, units=units, repeats=3)
            for task, (ways, units) in tasks.items()
        ]
        for pool in pools.values():
            pool.shutdown()
    del os.environ[SCHEDULER_VARIABLE]
    return pd.concat(frames, ignore_index=True)


if __name__ == "__main__":
    print_table(compare())
