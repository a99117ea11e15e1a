"""Planes and stacks cut into patches, and maps stitched: this package, tiler and MONAI.

``python -m benchmarks.tiling`` prints seconds, ratios and agreement.
"""

import os
import tempfile
from collections.abc import Iterator
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
from skimage.transform import resize_local_mean
from tiler import Merger, Tiler

from benchmarks.stacks import CHANNELS, write_planes
from benchmarks.timing import OURS, agreement, compare_ways, print_table
from organelle_fusion.patches import extract_patches, patch_grid
from organelle_fusion.stitching import stitch, tile_table
from organelle_fusion.volumes import Volume

SIZE = 350
"""Edge of a patch, px: the paper's."""
SMALL = 56
"""Edge of a patch as a network of the profile quick sees it, px."""
EDGE = 1400
"""Edge of a plane, px: about the paper's, and such that peers without a shift at the border cover
it with patches side by side and overlapping by half alike."""
PLANES = 8
LOW, HIGH = 100, 3937  # an odd range: no scaled value lies half way between two of 8 bits
TILER, MONAI = (f"{name} {version(name.lower())}" for name in ("tiler", "MONAI"))


def prepared(pixels: np.ndarray, output_px: int) -> np.ndarray:
    """A patch (C, h, w) scaled to 8 bits, and resized where asked, as ours are, (h, w, C)."""
    of_one = np.clip((pixels - float(LOW)) / float(HIGH - LOW), 0, 1) * 255
    if output_px != SIZE:
        of_one = resize_local_mean(of_one, (output_px, output_px), channel_axis=0)
    return np.moveaxis(np.rint(of_one).astype(np.uint8), 0, -1)


def cut_by_us(volume: Volume, output_px: int, *, overlap: bool) -> np.ndarray:
    """Patches of all planes of a stack, uint8 (N, h, w, C)."""
    _, n_planes, *shape = volume.shape
    if overlap:
        tables = [tile_table(tuple(shape), z, SIZE, overlap=True) for z in range(n_planes)]
    else:
        corners = pd.DataFrame(patch_grid(*shape, SIZE), columns=["y", "x"])
        tables = [corners.assign(z=z, size_px=SIZE, kept=True) for z in range(n_planes)]
    statistics = pd.DataFrame({"channel": CHANNELS, "low": LOW, "high": HIGH})
    return extract_patches(
        volume, pd.concat(tables, ignore_index=True), output_px=output_px, statistics=statistics
    )


def cut_by_tiler(volume: Volume, output_px: int, *, overlap: bool) -> np.ndarray:
    """The same by tiler, plane by plane, each read as ours are."""
    channels, _, *shape = volume.shape
    tiles = Tiler(
        (channels, *shape),
        (channels, SIZE, SIZE),
        overlap=(0, SIZE // 2, SIZE // 2) if overlap else 0,
        channel_dimension=0,
        mode="drop",
    )
    planes = volume.planes()
    return np.stack([prepared(tile, output_px) for plane in planes for _, tile in tiles(plane)])


def cut_by_monai(volume: Volume, output_px: int, *, overlap: bool) -> np.ndarray:
    """The same by MONAI's GridPatch, which makes one tensor of the patches of a plane."""
    grid = GridPatch((SIZE, SIZE), overlap=0.5 if overlap else 0.0)
    planes = volume.planes()
    return np.stack(
        [prepared(patch, output_px) for plane in planes for patch in grid(plane).numpy()]
    )


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


def cutting() -> Iterator[pd.DataFrame]:
    """Rows of all tasks of cutting; every way reads the planes by `Volume`."""
    random = np.random.default_rng(0)
    shape = (PLANES, len(CHANNELS), EDGE, EDGE)
    planes = random.integers(0, 4096, shape, dtype=np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plane = write_planes(folder / "plane.ome.tif", planes[:1], (1, *shape[1:]))
        stack = write_planes(folder / "stack.ome.tif", planes, shape)
        for what, volume, how, overlap, output_px in (
            ("a plane", plane, "side by side", False, SIZE),
            ("a plane", plane, "overlapping by half", True, SIZE),
            (f"a stack of {PLANES} planes", stack, "side by side", False, SIZE),
            ("a plane", plane, "side by side", False, SMALL),
            ("a plane", plane, "overlapping by half", True, SMALL),
        ):
            ways = {
                OURS: partial(cut_by_us, volume, output_px, overlap=overlap),
                TILER: partial(cut_by_tiler, volume, output_px, overlap=overlap),
                MONAI: partial(cut_by_monai, volume, output_px, overlap=overlap),
            }
            size = "" if output_px == SIZE else f", {SIZE} to {output_px} px"
            task = f"cut {what} into patches {how}, in 8 bits{size}, s per plane"
            yield compare_ways("tiling", task, ways, units=volume.shape[1])


def stitching() -> Iterator[pd.DataFrame]:
    """Rows of all tasks of stitching."""
    random = np.random.default_rng(0)
    for how, overlap in (("side by side", False), ("overlapping by half", True)):
        n_tiles = len(tile_table((EDGE, EDGE), 0, SIZE, overlap=overlap))
        for edge in (14, SIZE):
            shape = (n_tiles, len(CHANNELS), edge, edge)
            ways = stitching_ways(random.normal(size=shape).astype(np.float32), overlap=overlap)
            task = f"stitch maps of {edge} px {how}, s per plane"
            frame = compare_ways("tiling", task, ways)
            constant = stitching_ways(np.ones(shape, np.float32), overlap=overlap)
            plane = np.ones((len(CHANNELS), EDGE, EDGE), np.float32)
            kept = [f"a constant: {agreement(plane, way())}" for way in constant.values()]
            both = zip(frame["equal"], kept, strict=True)
            yield frame.assign(equal=["; ".join(filter(None, texts)) for texts in both])


def compare() -> pd.DataFrame:
    """Time all tasks; columns as of `timing.compare_ways`."""
    frame = pd.concat([*cutting(), *stitching()], ignore_index=True)
    # PyTorch's memory is not seen.
    return frame.assign(peak_mb=frame["peak_mb"].where(frame["who"] != MONAI))


def main() -> None:
    """Print all rows."""
    print_table(compare())


if __name__ == "__main__":
    main()
