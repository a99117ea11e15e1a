"""What one stack, one patch and one training step cost on this machine, for the projection.

Each function gives rows with columns stage, profile (or empty), unit, seconds (per unit),
per_stack (how many units a stack of the paper's size has, where that was found) and mb (size of a
unit, MB).
"""

import math
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.stacks import CHANNELS, write_planes
from organelle_fusion.cells import segment_cells
from organelle_fusion.config import load_profile, paper_px_to_um, use_backend
from organelle_fusion.intensity import stack_statistics
from organelle_fusion.objects import measure_stack
from organelle_fusion.patches import extract_patches, patch_table
from organelle_fusion.phantom import class_names, simulate_stack
from organelle_fusion.volumes import Volume, open_volume, write_ome_tiff

SHAPE = (125, 3, 1364, 1364)
"""Planes, channels and pixels of a stack: the middle of the paper's 43 to 207 planes."""
BINNED = 3
TIMED_BATCH = 8
"""Patches in a training step of ResNet50 encoders, to spare memory; seconds are per patch."""


def stack_costs() -> pd.DataFrame:
    """Preprocessing of one stack of the paper's size, with a phantom's planes repeated in it."""
    with tempfile.TemporaryDirectory() as folder:
        few = write_planes(
            Path(folder) / "few.ome.tif", islice(phantom_planes(), 2), (2, *SHAPE[1:])
        )
        _preprocessing_costs(few)  # what is compiled once
        volume = write_planes(Path(folder) / "stack.ome.tif", phantom_planes(), SHAPE)
        return _preprocessing_costs(volume)


def _preprocessing_costs(volume: Volume) -> pd.DataFrame:
    profiles = [load_profile("quick"), load_profile("paper")]
    settings = profiles[0].patches
    reading, _ = _timed(lambda: deque(volume.planes(), maxlen=0))
    counting, statistics = _timed(lambda: stack_statistics(volume))
    tabulating, table = _timed(
        lambda: patch_table(
            volume,
            paper_px_to_um(settings.size_px),
            min_foreground=settings.min_foreground,
            statistics=statistics,
        )
    )
    times = {"read": reading, "statistics": counting, "table": tabulating}
    mb = math.prod(volume.shape) * volume.dtype.itemsize / 1e6
    frames = [_frame([(name, "", "stack", seconds, 1, mb) for name, seconds in times.items()])]
    kept = int(table["kept"].sum())
    for profile in profiles:
        cutting, _ = _timed(
            partial(
                extract_patches, volume, table,
                output_px=profile.encoder.input_px, statistics=statistics,
            )
        )  # fmt: skip
        row = ("cut", profile.name, "patch", cutting / kept, kept, _patch_mb(profile))
        frames.append(_frame([row]))
    return pd.concat(frames, ignore_index=True)


def _patch_mb(profile) -> float:
    return profile.encoder.input_px**2 * len(profile.channels) / 1e6


def phantom_planes() -> Iterator[np.ndarray]:
    """As many planes as `SHAPE` has, those of a phantom stack in turn, enlarged to its size."""
    quick = load_profile("quick")
    edge = -(-SHAPE[-1] // BINNED)
    settings = quick.phantom.model_copy(
        update={"shape_zyx": (quick.phantom.shape_zyx[0], edge, edge)}
    )
    stack = simulate_stack(class_names("full")[0], index=0, settings=settings)
    small = stack.image[[stack.channels.index(name) for name in CHANNELS]]
    for z in range(SHAPE[0]):
        plane = small[:, z % small.shape[1]]
        large = plane.repeat(BINNED, axis=-1).repeat(BINNED, axis=-2)
        yield large[:, : SHAPE[-2], : SHAPE[-1]]


def measuring_cost() -> pd.DataFrame:
    """Objects of one phantom stack of the profile quick, cells found and measured."""
    quick = load_profile("quick")
    phantom, law = quick.phantom, quick.handcrafted
    stack = simulate_stack(class_names("full")[0], index=0, settings=phantom)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.ome.tif"
        write_ome_tiff(
            path, stack.image, stack.channels,
            pixel_size_um=phantom.pixel_size_um, z_step_um=phantom.z_step_um,
        )  # fmt: skip
        volume = open_volume(path)

        def measure() -> pd.DataFrame:
            cells = segment_cells(volume, quick.channels, reach_um=law.cell_reach_um)
            return measure_stack(
                volume, quick.channels, cells,
                voxel_um=law.voxel_um, min_volume_um3=law.min_volume_um3,
            )  # fmt: skip

        seconds, _ = _timed(measure)
    size = stack.image[: len(quick.channels)].nbytes / 1e6
    return _frame([("measure", "quick", "phantom stack", seconds, 1, size)])


def network_costs(name: str) -> pd.DataFrame:
    """Training and prediction of intermediate fusion, per patch, with random weights.

    Parameters
    ----------
    name
        Of the profile; Keras computes on its backend, so that this process can time one profile.
    """
    profile = load_profile(name)
    use_backend(profile)
    from organelle_fusion.costs import time_network

    if profile.encoder.kind == "resnet50":
        profile = profile.model_copy(
            update={
                "training": profile.training.model_copy(update={"batch_size": TIMED_BATCH}),
            }
        )
    cost = time_network("intermediate", profile, len(class_names("full")))
    step = cost.step / profile.training.batch_size
    mb = _patch_mb(profile)
    return _frame(
        [
            ("train", name, "patch", step, np.nan, mb),
            ("predict", name, "patch", cost.prediction, np.nan, mb),
        ]
    )


def _timed(call: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _frame(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["stage", "profile", "unit", "seconds", "per_stack", "mb"])
