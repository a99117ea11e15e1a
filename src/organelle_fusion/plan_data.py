"""What data a run will have, before it has them: stacks, crops, patches and their numbers."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.config import (
    NUCLEUS,
    PatchSettings,
    PhantomSettings,
    Profile,
    paper_px_to_um,
)
from organelle_fusion.patches import patch_size_px
from organelle_fusion.sources import SOURCES, crop_list


class Crops(NamedTuple):
    """Ready-cut crops of a public set that a chapter trains on."""

    number: int
    edge_px: int
    channels: tuple[str, ...]


def phantom_stacks(settings: PhantomSettings, channels: Sequence[str]) -> pd.DataFrame:
    """The stacks that a phantom will have, in the columns of `manifest.validate_manifest`."""
    z, y, x = settings.shape_zyx
    classes = [f"class {number}" for number in range(len(settings.images_per_class))]
    labels = np.repeat(classes, settings.images_per_class)
    names = [f"image {number}" for number in range(len(labels))]
    return pd.DataFrame({"image": names, "label": labels, "group": names}).assign(
        channels=", ".join([*channels, NUCLEUS]),
        z=z,
        y=y,
        x=x,
        pixel_size_um=settings.pixel_size_um,
        dtype="uint16",
    )


def public_crops(profile: Profile) -> dict[str, Crops]:
    """Crops that chapters 09 and 10 take, by the lists of the public sets in the package."""
    numbers = {
        "cell-lines-9": crop_list("cell-lines-9")["label"].nunique()
        * profile.real_cells.crops_per_class,
        "mcf10a-mcf7": int(crop_list("mcf10a-mcf7")["keep"].sum()),
    }
    averaged = {"cell-lines-9": 1, "mcf10a-mcf7": 2}  # pixels in a row that become one
    return {
        name: Crops(number, source.height_width[0] // averaged[name], source.channels)
        for (name, number), source in zip(numbers.items(), SOURCES.values(), strict=True)
    }


def count_patches(stacks: pd.DataFrame, settings: PatchSettings) -> pd.DataFrame:
    """Patches of all stacks at each size, before the sparsity filter.

    Parameters
    ----------
    stacks
        Of `manifest.validate_manifest` or `phantom_stacks`.
    settings
        Sizes, and the limit per image.

    Returns
    -------
    DataFrame
        Index ``size_px`` (the paper's pixels); ``grid`` (places in a plane times planes, of all
        images), ``used`` (of each image no more than the limit): so many if none is sparse.

    Raises
    ------
    PatchError
        A patch is larger than an image.
    """
    rows = []
    for size in settings.sizes_px:
        grid = np.array([_places(row, paper_px_to_um(size)) for row in stacks.itertuples()])
        limit = settings.max_per_image or grid.max()
        rows.append((size, grid.sum(), np.minimum(grid, limit).sum()))
    return pd.DataFrame(rows, columns=["size_px", "grid", "used"]).set_index("size_px")


def contact_stacks(profile: Profile) -> pd.DataFrame:
    """Stacks of the contact phantom, see `phantom_stacks`."""
    contact = {"images_per_class": profile.phantom.contact_images_per_class}
    return phantom_stacks(profile.phantom.model_copy(update=contact), profile.channels)


def contact_patches(profile: Profile) -> int:
    """Patches of the contact phantom, at the one size that they are cut at; none are sparse."""
    counts = count_patches(contact_stacks(profile), profile.patches)["used"]
    return int(counts[profile.patches.size_px])


def has_nucleus(profile: Profile, stacks: pd.DataFrame) -> bool:
    """Whether the nucleus can be added to the channels: every stack has one such channel."""
    each = stacks["channels"].str.split(", ").map(lambda names: names.count(NUCLEUS) == 1)
    return NUCLEUS not in profile.channels and bool(each.all())


def _places(row, size_um: float) -> int:
    stack = SimpleNamespace(
        path=f"image {row.image}", shape=(0, row.z, row.y, row.x), pixel_size_um=row.pixel_size_um
    )
    edge = patch_size_px(stack, size_um)
    return row.z * (row.y // edge) * (row.x // edge)
