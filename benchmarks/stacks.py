"""Stacks as files for the benchmarks: uncompressed OME-TIFF, with the paper's pixel size."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile

from organelle_fusion.config import load_profile, paper_px_to_um
from organelle_fusion.volumes import Volume, open_volume

CHANNELS = load_profile("quick").channels


def write_planes(path: Path, planes: Iterable[np.ndarray], shape: tuple[int, ...]) -> Volume:
    """Write planes (C, Y, X) of 16 bits one after the other, and open the file.

    Parameters
    ----------
    path
        Of the file.
    planes
        As many as there are; they are asked for one at a time.
    shape
        Z, C, Y, X of the whole.
    """
    size = {f"PhysicalSize{axis}": paper_px_to_um(1) for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    pages = (page for plane in planes for page in plane)
    tifffile.imwrite(
        path, pages, shape=shape, dtype=np.uint16, ome=True, photometric="minisblack",
        metadata={"axes": "ZCYX", "Channel": {"Name": list(CHANNELS)}, **size, **units},
    )  # fmt: skip
    return open_volume(path)
