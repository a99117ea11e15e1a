"""Thresholds, patch table and patches of a deep stack: this package, scikit-image and patchify.

``python -m benchmarks.preprocessing`` writes a stack of 1364×1364×3×125 in 16 bits, 1.4 GB, into a
temporary folder and prints seconds, the multiple of ours, agreement and peak memory.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import psutil
import skimage
import tifffile
import typer
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu
from skimage.transform import resize_local_mean

from organelle_fusion.config import PAPER_PIXEL_UM
from organelle_fusion.intensity import stack_statistics
from organelle_fusion.patches import extract_patches, patch_tables
from organelle_fusion.speed import OURS, READING, TABLE
from organelle_fusion.volumes import open_volume

EDGE, CHANNELS, SIZE, OUTPUT = 1364, 3, 350, 112
MIN_FOREGROUND, LIMIT = 0.03, 36
SOME, ALL = f"the same and {LIMIT} patches", "the same and all patches"
MOST = {TABLE: 0, SOME: LIMIT, ALL: None}
"""Task → how many patches are cut at most; None: all that are not sparse."""


def write_stack(path: Path, planes: int) -> None:
    """Write an uncompressed OME-TIFF of blobs on a dim ground, with noise that grows with light."""

    def pages() -> Iterator[np.ndarray]:
        random = np.random.default_rng(0)
        noise = random.standard_normal((EDGE, EDGE), np.float32)
        spots = random.gamma(0.02, 1, (CHANNELS, EDGE, EDGE)).astype(np.float32)
        light = [300 + 40_000 * gaussian_filter(found, 3, mode="wrap") for found in spots]
        for _ in range(planes):
            for field in light:
                mean, rough = (
                    np.roll(a, random.integers(0, EDGE, 2), (0, 1)) for a in (field, noise)
                )
                yield np.clip(mean + 2 * np.sqrt(mean) * rough, 0, 65_535).astype(np.uint16)

    sizes = {"PhysicalSizeX": PAPER_PIXEL_UM, "PhysicalSizeY": PAPER_PIXEL_UM}
    tifffile.imwrite(
        path,
        pages(),
        shape=(planes, CHANNELS, EDGE, EDGE),
        dtype=np.uint16,
        ome=True,
        photometric="minisblack",
        metadata={"axes": "ZCYX", **sizes},
    )


def read(path: Path) -> None:
    """Read every page into the same array."""
    page = np.empty((EDGE, EDGE), np.uint16)
    with tifffile.TiffFile(path) as tiff:
        for each in tiff.pages:
            each.asarray(out=page)


def ours(path: Path, most: int | None) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray | None]:
    """Statistics, patch table and as many patches as `MOST` says."""
    volume = open_volume(path)
    statistics = stack_statistics(volume)
    (table,) = patch_tables(
        volume,
        [SIZE * PAPER_PIXEL_UM],
        min_foreground=MIN_FOREGROUND,
        statistics=statistics,
        max_patches=most or None,
    )
    if most == 0:
        return statistics, table, None
    return (
        statistics,
        table,
        extract_patches(volume, table, output_px=OUTPUT, statistics=statistics),
    )


def theirs(
    path: Path, known: tuple[pd.DataFrame, pd.DataFrame, np.ndarray] | None
) -> tuple[list[float], np.ndarray, np.ndarray | None]:
    """Thresholds, ratios (C + 1, n) and, if ours are known, the same patches.

    Which patches to cut, and the intensities that become 0 and 255, are taken from ours.
    """
    from patchify import patchify

    stack = tifffile.imread(path)
    thresholds = [threshold_otsu(stack[:, channel]) for channel in range(CHANNELS)]
    ratios = []
    for plane in stack:
        masks = [pixels > limit for pixels, limit in zip(plane, thresholds, strict=True)]
        masks.append(np.any(masks, axis=0))
        cut = [patchify(mask, (SIZE, SIZE), step=SIZE) for mask in masks]
        ratios.append([of_mask.mean(axis=(2, 3)).ravel() for of_mask in cut])
    ratios = np.concatenate(ratios, axis=1)
    if known is None:
        return thresholds, ratios, None
    statistics, table, _ = known
    patches = []
    for row in table[table["kept"]].itertuples():
        of_channels = []
        for channel, low, high in zip(
            stack[row.z], statistics["low"], statistics["high"], strict=True
        ):
            pixels = channel[row.y : row.y + SIZE, row.x : row.x + SIZE]
            scaled = np.clip((pixels - float(low)) / (float(high) - low), 0, 1) * 255
            of_channels.append(resize_local_mean(scaled, (OUTPUT, OUTPUT), preserve_range=True))
        patches.append(np.rint(np.round(of_channels, 6)).astype(np.uint8).transpose(1, 2, 0))
    return thresholds, ratios, np.stack(patches)


def agree(
    mine: tuple[pd.DataFrame, pd.DataFrame, np.ndarray],
    other: tuple[list[float], np.ndarray, np.ndarray | None],
) -> bool:
    """Are thresholds and patches equal, and ratios up to the last bits of a mean?"""
    statistics, table, patches = mine
    thresholds, ratios, others = other
    names = [name for name in table if name.startswith("foreground")]
    return (
        statistics["otsu"].tolist() == thresholds
        and np.allclose(table[names].to_numpy().T, ratios, rtol=1e-12, atol=0)
        and (others is None or np.array_equal(patches, others))
    )


def print_peak(path: str, most: int | None, start: int) -> None:
    """Print the most memory that ours took beyond `start` bytes, imports and all, in MB."""
    process, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    ours(Path(path), most)
    done.set()
    watcher.join()
    print((peak[0] - start) / 1e6)


def peak_mb(path: Path, most: int | None) -> float:
    """Most memory of a fresh process that runs ours, beyond that of the bare interpreter, MB."""
    script = (
        "import psutil; start = psutil.Process().memory_info().rss; "
        "from benchmarks.preprocessing import print_peak; "
        f"print_peak({str(path)!r}, {most}, start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def fastest(ways: dict[Any, Callable[[], Any]], repeats: int) -> tuple[dict, dict]:
    """Fastest of several runs of each way, taken in turn, in seconds; and what each returned."""
    seconds = dict.fromkeys(ways, np.inf)
    found = {}
    for _ in range(repeats):
        for name, way in ways.items():
            found.pop(name, None)
            started = time.perf_counter()
            found[name] = way()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds, found


def compare(planes: int = 125, repeats: int = 3) -> pd.DataFrame:
    """Time all in turn.

    Returns
    -------
    DataFrame
        ``benchmark``, ``task``, ``who``, ``seconds`` (fastest run), ``equal`` (agreement with
        ours), ``peak_mb`` (ours, in a process of its own, beyond the bare interpreter).
    """
    reader = f"tifffile {tifffile.__version__}"
    peer = f"scikit-image {skimage.__version__} + patchify 0.2.3"
    with TemporaryDirectory() as folder:
        deep, half = Path(folder) / "deep.ome.tif", Path(folder) / "half.ome.tif"
        write_stack(deep, planes)
        mine = {task: ours(deep, most) for task, most in MOST.items()}  # and compiles once
        ways = {(READING, reader): lambda: read(deep)}
        for task, most in MOST.items():
            ways[task, OURS] = partial(ours, deep, most)
            ways[task, peer] = partial(theirs, deep, mine[task] if most != 0 else None)
        seconds, found = fastest(ways, repeats)
        peaks = {(task, OURS): peak_mb(deep, most) for task, most in MOST.items()}
        write_stack(half, planes // 2)
        shallow = f"{SOME}, {planes // 2} of {planes} planes"
        peaks[shallow, OURS] = peak_mb(half, LIMIT)
        seconds |= fastest({(shallow, OURS): partial(ours, half, LIMIT)}, repeats)[0]
    equal = {way: agree(mine[way[0]], found[way]) for way in found if way[1] == peer}
    return pd.DataFrame(
        {
            "benchmark": "preprocessing",
            "task": task,
            "who": who,
            "seconds": seconds[task, who],
            "equal": equal.get((task, who), "–"),
            "peak_mb": peaks.get((task, who), np.nan),
        }
        for task, who in seconds
    )


def main(planes: int = 125, repeats: int = 3) -> None:
    """Print the table, and the multiples of ours and of reading once."""
    table = compare(planes, repeats)
    seconds = table.set_index(["task", "who"])["seconds"]
    base = seconds[READING].iloc[0]
    own = [seconds.get((task, OURS), np.nan) for task in table["task"]]
    print(
        table.drop(columns="benchmark")
        .assign(of_ours=table["seconds"] / own, of_reading=table["seconds"] / base)
        .to_string(index=False, float_format="%.3g")
    )


if __name__ == "__main__":
    typer.run(main)
