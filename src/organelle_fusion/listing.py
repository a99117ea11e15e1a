"""Images to predict, by their paths or in manifests."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from organelle_fusion.image_paths import split_path
from organelle_fusion.inspecting import image_suffix
from organelle_fusion.manifest import read_images
from organelle_fusion.manifest_cells import place_of
from organelle_fusion.ome_zarr import is_zarr
from organelle_fusion.predicted_files import PredictError, folder_name


def list_images(
    paths: Sequence[Path],
    *,
    channel_map: Mapping[str, str] | None = None,
    pixel_size_um: float | None = None,
) -> pd.DataFrame:
    """Images to predict, as rows of a manifest, from their paths and from manifests.

    Parameters
    ----------
    paths
        Images, named after their files; or manifests (``.csv``), whose rows say all themselves, see
        `manifest.read_images`.
    channel_map, pixel_size_um
        Of the images that are named by their path.

    Returns
    -------
    DataFrame
        ``image``, ``path``, ``channel_map``, ``pixel_size_um`` and ``z_step_um``, as
        `manifest.read_manifest` gives them.

    Raises
    ------
    PredictError
        The pixel size is none; a path is of a folder with images; two images have one name; or all
        are of manifests, which the options are not for.
    ManifestError
        A manifest cannot be used.
    """
    if pixel_size_um is not None and not (math.isfinite(pixel_size_um) and pixel_size_um > 0):
        raise PredictError(
            f"--pixel-size-um: expected a positive number, found {pixel_size_um}; write a length "
            "in µm, such as 0.1"
        )
    columns = ["image", "path", "channel_map", "pixel_size_um", "z_step_um"]
    frames, named = [], 0
    for path in map(Path, paths):
        if path.suffix.lower() == ".csv":
            frames.append(read_images(path)[columns])
            continue
        file, number = split_path(path)
        if file.is_dir() and not image_suffix(file.name) and not is_zarr(file):
            raise PredictError(
                f"{path}: expected an image, found a folder; name the images in it, or a table of "
                f"them, which `organelle-fusion init {shlex.quote(str(path))}` makes"
            )
        name = re.sub(r"(\.ome)?\.[^.]+$", "", file.name, flags=re.IGNORECASE) or file.name
        name += "" if number is None else f"-{number}"
        # It stands in a table and in lines of text; see `manifest_cells.name_of`.
        name = re.sub(r"^[=@+]", "_", "".join(c if c.isprintable() else "_" for c in name))
        size = np.nan if pixel_size_um is None else pixel_size_um
        row = [name, str(path), dict(channel_map or {}) or None, size, np.nan]
        frames.append(pd.DataFrame([row], columns=columns).astype({"channel_map": object}))
        named += 1
    if not named and (channel_map or pixel_size_um is not None):
        raise PredictError(
            "--channel-map, --pixel-size-um: expected with images named by their path, found "
            "manifests only; fill in the columns of the manifest instead"
        )
    images = pd.concat(frames, ignore_index=True)
    folders = images["image"].map(folder_name).str.lower()
    if folders.duplicated().any():
        first = images[folders == folders[folders.duplicated()].iloc[0]]
        one, other = first["path"].iloc[0], first["path"].iloc[1]
        if place_of(one) == place_of(other):
            raise PredictError(f"{other}: expected each image once, found it twice; leave one out")
        raise PredictError(
            f"{other}: expected a name of its own for each image, found "
            f"{first['image'].iloc[1]} as of {one}; name them in a manifest (columns image, path)"
        )
    return images
