"""Whole images turned before they are cut into patches: the same cells, other cuts.

The paper evaluated data sets of rotated images to see whether the dip at 300 px came from where its
patches happened to lie (Dataset distribution and optimization).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from organelle_fusion.image_paths import image_hash, note_image
from organelle_fusion.locks import run_lock
from organelle_fusion.manifest import open_image
from organelle_fusion.provenance import (
    code_version,
    hash_of,
    is_current,
    note_file,
    record_files,
    write_csv,
)
from organelle_fusion.volumes import READERS, write_ome_tiff
from organelle_fusion.workers import of_each


def rotate_plane(plane: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a plane about its middle; the size stays, and the corners are mirrored in.

    Parameters
    ----------
    plane
        (C, H, W).
    degrees
        Angle, counter-clockwise as the image is shown (y downwards).

    Returns
    -------
    ndarray, (C, H, W)
        In the type of `plane`: bilinear, whole numbers rounded. Where a corner of the new frame
        lies outside the old one, the image goes on mirrored at its edge, so that no patch holds
        an empty corner.
    """
    turned = ndimage.rotate(
        plane,
        degrees,
        axes=(2, 1),
        reshape=False,
        order=1,
        mode="reflect",
        output=np.float64,
    )
    if plane.dtype.kind in "iu":
        turned = turned.round()
    return turned.astype(plane.dtype)


def rotate_dataset(
    manifest: pd.DataFrame,
    folder: Path,
    *,
    degrees: float,
    channels: tuple[str, ...],
    progress: bool = True,
) -> Path:
    """Write a rotated copy of every image, and the manifest of the copies; resume if interrupted.

    Parameters
    ----------
    manifest
        Of `read_manifest`.
    folder
        Receives ``stacks/*.ome.tif`` and ``manifest.csv``. A copy is made again unless the JSON
        beside it agrees with the image, the angle, the code and the copy's bytes.
    degrees
        Angle, see `rotate_plane`; the same for all images.
    channels
        Channels that are copied.
    progress
        Show a bar.

    Returns
    -------
    Path
        The manifest: image, path, label, group as in `manifest`.
    """
    folder = Path(folder)
    code = code_version(*READERS, "rotation")
    # Numbered, since an image's name need not be a file's.
    images = {
        row.image: (f"{k:03d}", row) for k, row in enumerate(manifest.itertuples(index=False))
    }

    def turn(image: str) -> str:
        number, row = images[image]
        path, record = (folder / "stacks" / f"{number}.{end}" for end in ("ome.tif", "json"))
        volume = open_image(row).select(channels)
        sizes = (volume.pixel_size_um, volume.z_step_um)
        inputs = hash_of([image_hash(row.path), degrees, list(channels), sizes, code])
        current, line = is_current(record, inputs, [path])
        if current:
            return ""
        planes = [rotate_plane(plane, degrees) for plane in volume.planes()]
        write_ome_tiff(
            path,
            np.stack(planes, axis=1),
            channels,
            pixel_size_um=volume.pixel_size_um,
            z_step_um=volume.z_step_um,
        )
        record_files(record, inputs, [path])
        return line

    with run_lock(folder):
        for _, line in of_each(turn, list(images), f"rotating by {degrees:g}°", progress=progress):
            if line:
                print(line, flush=True)
    rows = []
    for image, (number, row) in images.items():
        name = f"stacks/{number}.ome.tif"
        for path in (folder / "stacks" / f"{number}.json", folder / name):
            note_file(path)
        note_image(row.path)
        rows.append((image, name, row.label, row.group))
    target = folder / "manifest.csv"
    write_csv(target, pd.DataFrame(rows, columns=["image", "path", "label", "group"]))
    return target
