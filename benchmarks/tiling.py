"""Planes and stacks cut into patches, and maps stitched: this package, tiler and MONAI.

``python -m benchmarks.tiling`` prints seconds, ratios and agreement.
"""

import os
from functools import partial
from importlib.metadata import version
from pathlib import Path

# MONAI imports TensorFlow where it finds it; nothing here computes on it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import torch
from monai.inferers.merger import AvgMerger
from monai.transforms import GridPatch
from scipy.ndimage import zoom
from tiler import Merger, Tiler

from benchmarks.timing import OURS, agreement, compare_ways, print_table
from organelle_fusion.patches import extract_patches, patch_grid
from organelle_fusion.stitching import stitch, tile_table
from organelle_fusion.volumes import Volume

SIZE = 350
"""Edge of a patch, px: the paper's."""
EDGE = 1400
"""Edge of a plane, px: about the paper's, and such that peers without a shift at the border cover
it with patches side by side and overlapping by half alike."""
PLANES = 8
LOW, HIGH = 100, 3937  # an odd range: no scaled value lies half way between two of 8 bits
CHANNELS = ("early_endosomes", "mitochondria", "recycling_endosomes")
TILER, MONAI = (f"{name} {version(name.lower())}" for name in ("tiler", "MONAI"))


def volume_of(array: np.ndarray) -> Volume:
    """A stack in memory, (C, Z, Y, X), as a `Volume`: no side reads a file."""
    return Volume(
        Path("memory"), array.shape, array.dtype, CHANNELS, 0.03534, None,
        lambda z, channels: array[:, z], tuple(range(len(array))),
    )  # fmt: skip


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Patches (…, C, h, w) to 8 bits as ours are, (…, h, w, C)."""
    of_one = np.clip((pixels - float(LOW)) / float(HIGH - LOW), 0, 1) * 255
    return np.moveaxis(np.rint(of_one).astype(np.uint8), -3, -1)


def cut_by_us(array: np.ndarray, *, overlap: bool) -> np.ndarray:
    """Patches of all planes of a stack (C, Z, Y, X), uint8 (N, h, w, C)."""
    _, n_planes, *shape = array.shape
    if overlap:
        tables = [tile_table(tuple(shape), z, SIZE, overlap=True) for z in range(n_planes)]
    else:
        corners = pd.DataFrame(patch_grid(*shape, SIZE), columns=["y", "x"])
        tables = [corners.assign(z=z, size_px=SIZE, kept=True) for z in range(n_planes)]
    statistics = pd.DataFrame({"channel": CHANNELS, "low": LOW, "high": HIGH})
    return extract_patches(
        volume_of(array),
        pd.concat(tables, ignore_index=True),
        output_px=SIZE,
        statistics=statistics,
    )


def cut_by_tiler(array: np.ndarray, *, overlap: bool) -> np.ndarray:
    """The same by tiler, patch by patch."""
    tiles = Tiler(
        array.shape,
        (len(array), 1, SIZE, SIZE),
        overlap=(0, 0, SIZE // 2, SIZE // 2) if overlap else 0,
        channel_dimension=0,
        mode="drop",
    )
    return np.stack([scaled(tile[:, 0]) for _, tile in tiles(array)])


def cut_by_monai(array: np.ndarray, *, overlap: bool) -> np.ndarray:
    """The same by MONAI's GridPatch, plane by plane, whose patches are one tensor."""
    grid = GridPatch((SIZE, SIZE), overlap=0.5 if overlap else 0.0)
    planes = (array[:, z] for z in range(array.shape[1]))
    return np.concatenate([scaled(grid(plane).numpy()) for plane in planes])


def stitch_by_tiler(maps: np.ndarray, *, overlap: bool) -> np.ndarray:
    """Maps (N, E, h, w) over a plane by tiler, with our window."""
    n_maps = maps.shape[1]
    tiles = Tiler(
        (n_maps, EDGE, EDGE),
        (n_maps, SIZE, SIZE),
        overlap=(0, SIZE // 2, SIZE // 2) if overlap else 0,
        channel_dimension=0,
    )
    profile = np.minimum(np.arange(SIZE) + 0.5, SIZE - np.arange(SIZE) - 0.5)
    window = np.broadcast_to(np.outer(profile, profile), (n_maps, SIZE, SIZE))
    merger = Merger(tiles, window if overlap else None, save_visits=False)
    for number, tile in enumerate(upsampled(maps)):
        merger.add(number, tile)
    return merger.merge()


def stitch_by_monai(maps: np.ndarray) -> np.ndarray:
    """Maps side by side over a plane by MONAI's AvgMerger."""
    merger = AvgMerger((1, maps.shape[1], EDGE, EDGE))
    for tile, corner in zip(upsampled(maps), patch_grid(EDGE, EDGE, SIZE), strict=True):
        merger.aggregate(torch.from_numpy(tile)[None], corner.tolist())
    return merger.finalize().numpy()[0]


def upsampled(maps: np.ndarray):
    """Each map in the size of its tile, bilinearly as ours are; as it is, if it has that size."""
    if maps.shape[-1] == SIZE:
        yield from maps
        return
    factor = SIZE / maps.shape[-1]
    for small in maps:
        yield zoom(small, (1, factor, factor), order=1, mode="nearest", grid_mode=True)


def stitching_ways(maps: np.ndarray, *, overlap: bool) -> dict:
    """All ways to stitch; MONAI's mean with equal weights is ours only without overlap."""
    table = tile_table((EDGE, EDGE), 0, SIZE, overlap=overlap)
    ways = {
        OURS: partial(stitch, maps, table, (EDGE, EDGE), overlap=overlap),
        TILER: partial(stitch_by_tiler, maps, overlap=overlap),
    }
    return ways if overlap else ways | {MONAI: partial(stitch_by_monai, maps)}


def compare() -> pd.DataFrame:
    """Time all tasks; columns as of `timing.compare_ways`."""
    random = np.random.default_rng(0)
    stack = random.integers(0, 4096, (len(CHANNELS), PLANES, EDGE, EDGE), dtype=np.uint16)
    frames = []
    for what, array in (("a plane", stack[:, :1]), (f"a stack of {PLANES} planes", stack)):
        for how, overlap in (("side by side", False), ("overlapping by half", True)):
            if overlap and array is stack:
                continue  # the same, for eight times as long
            ways = {
                OURS: partial(cut_by_us, array, overlap=overlap),
                TILER: partial(cut_by_tiler, array, overlap=overlap),
                MONAI: partial(cut_by_monai, array, overlap=overlap),
            }
            task = f"cut {what} into patches {how}, scaled to 8 bits, s per plane"
            frames.append(compare_ways("tiling", task, ways, units=array.shape[1]))
    for how, overlap in (("side by side", False), ("overlapping by half", True)):
        n_tiles = len(tile_table((EDGE, EDGE), 0, SIZE, overlap=overlap))
        for edge in (14, SIZE):
            shape = (n_tiles, len(CHANNELS), edge, edge)
            ways = stitching_ways(random.normal(size=shape).astype(np.float32), overlap=overlap)
            task = f"stitch maps of {edge} px {how}, s per plane"
            frames.append(compare_ways("tiling", task, ways))
            constant = stitching_ways(np.ones(shape, np.float32), overlap=overlap)
            plane = np.ones((len(CHANNELS), EDGE, EDGE), np.float32)
            frames[-1]["equal"] = [
                f"{text}; a constant: {agreement(plane, way())}".removeprefix("; ")
                for text, way in zip(frames[-1]["equal"], constant.values(), strict=True)
            ]
    return pd.concat(frames, ignore_index=True)


def main() -> None:
    """Print all rows."""
    print_table(compare())


if __name__ == "__main__":
    main()
