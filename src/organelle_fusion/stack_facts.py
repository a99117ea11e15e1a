"""What chapters 1 and 2 say of stacks: how large they are, a plane of each, how long one takes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import open_image
from organelle_fusion.scorecard import finding
from organelle_fusion.wording import span

PAPER_VOXELS: Mapping[str, int] = {"smallest": 1248**2 * 43, "largest": 1364**2 * 207}
"""Voxels of one channel of the paper's stacks."""


def size_words(overview: pd.DataFrame) -> str:
    """Say how many slices stacks have, and how many pixels of which size these have.

    Parameters
    ----------
    overview
        Of `manifest.validate_manifest`.

    Returns
    -------
    str
        Such as "4 to 6 slices of 416 × 416 or 455 × 455 pixels of 0.1060 µm".
    """
    least, most = overview["z"].min(), overview["z"].max()
    slices = "1 slice" if most == 1 else f"{span(least, most)} slices"
    extents = overview[["y", "x"]].drop_duplicates().sort_values(["y", "x"]).to_numpy()
    pixels = sorted({f"{size:.4f}" for size in overview["pixel_size_um"]})
    listed = " or ".join(f"{y} × {x}" for y, x in extents)
    return f"{slices} of {listed} pixels of {' or '.join(pixels)} µm"


def pixel_sizes(overview: pd.DataFrame) -> dict[str, float]:
    """Edge of a pixel of the first image of each class, µm: those of `middle_planes`.

    Parameters
    ----------
    overview
        Of `manifest.validate_manifest`.
    """
    return overview.drop_duplicates("label").set_index("label")["pixel_size_um"].to_dict()


def middle_planes(images: pd.DataFrame, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """Middle plane of the first image of each class, as it is displayed.

    Parameters
    ----------
    images
        Of `manifest.read_manifest`.
    channels
        Names of organelles.

    Returns
    -------
    dict
        Label, sorted → (C, Y, X), see `intensity.display_plane`.
    """
    planes = {}
    # Whole rows: `first` of a group would fill the empty cells of one image with those of another.
    for row in images.drop_duplicates("label").sort_values("label").itertuples(index=False):
        volume = open_image(row).select(channels)
        planes[row.label] = display_plane(volume, volume.shape[1] // 2, stack_statistics(volume))
    return planes


def half_dropped_plane(table: pd.DataFrame) -> int:
    """Plane of a stack where the share of patches dropped as sparse is nearest to one half.

    Of those that keep a patch, if there are any.

    Parameters
    ----------
    table
        Of `patches.patch_table`.

    Returns
    -------
    int
        ``z``; the lowest of those that are equally near.
    """
    sparse = table["reason"].eq("sparse").groupby(table["z"]).mean()
    keeping = sparse[sparse < 1]
    return ((sparse if keeping.empty else keeping) - 0.5).abs().idxmin()


def time_findings(seconds: float, voxels: int, data: str) -> list[dict]:
    """How long a stack took to preprocess, and how long the paper's would by their voxels.

    Parameters
    ----------
    seconds
        Of `preprocessing.seconds_of_one`.
    voxels
        Of one channel of that stack.
    data
        What it was measured on, see `scorecard.finding`.

    Returns
    -------
    list of dict
        Rows of `scorecard.finding` on the paper's claim C11.
    """
    measured = f"preprocessing of one stack of {voxels / 1e6:.1f} million voxels a channel"
    scaled = {
        f"at most, scaled by voxels, fixed costs too, to the paper's {name} stack, s": seconds
        * size
        / voxels
        for name, size in PAPER_VOXELS.items()
    }
    return [
        finding("C11", measure, figure, data=data)
        for measure, figure in ({f"{measured}, in one process, s": seconds} | scaled).items()
    ]
