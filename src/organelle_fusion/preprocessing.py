"""From the images of a manifest to patch sets: every image tabulated, and its patches cut.

What is done to one stack stands in `patches`; here it is done to all of them.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.config import PatchSettings, paper_px_to_um
from organelle_fusion.image_paths import note_image
from organelle_fusion.intensity import PatchError, stack_statistics
from organelle_fusion.manifest import open_image
from organelle_fusion.patches import extract_patches, patch_tables
from organelle_fusion.patchset import PatchSet, new_patches
from organelle_fusion.workers import of_each


class Tabulated(NamedTuple):
    """All patches of all images, and the statistics that their masks came from."""

    table: pd.DataFrame
    statistics: pd.DataFrame


def tabulate_patches(
    manifest: pd.DataFrame,
    *,
    channels: Sequence[str],
    settings: PatchSettings,
    sizes_px: Sequence[int] | None = None,
    progress: bool = True,
) -> Tabulated:
    """Patch tables of every image of a manifest, at one or several sizes.

    Parameters
    ----------
    manifest
        Of `read_manifest`.
    channels
        Organelle channels, by name; others, such as the nucleus, are not looked at.
    settings
        Sparsity cut-off, limit per image, and the size where `sizes_px` names none.
    sizes_px
        Edges in the paper's pixels of 0.03534 µm.
    progress
        Show a bar.

    Returns
    -------
    Tabulated
        ``table``: ``image``, ``label``, ``group``, ``paper_px`` and the columns of `patch_tables`;
        ``statistics``: ``image`` and the columns of `stack_statistics`.
    """
    sizes_px = [settings.size_px] if sizes_px is None else list(sizes_px)
    rows = {row.image: row for row in manifest.itertuples(index=False)}

    def tabulate(image: str) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
        volume = open_image(rows[image]).select(channels)
        of_image = stack_statistics(volume)
        return of_image, patch_tables(
            volume,
            [paper_px_to_um(size) for size in sizes_px],
            min_foreground=settings.min_foreground,
            statistics=of_image,
            max_patches=settings.max_per_image,
        )

    found = dict(of_each(tabulate, list(rows), "tabulating", progress=progress))
    tables, statistics = [], []
    for row in rows.values():
        note_image(row.path)
        of_image, of_sizes = found[row.image]
        statistics.append(of_image.assign(image=row.image))
        for size, table in zip(sizes_px, of_sizes, strict=True):
            tables.append(
                table.assign(image=row.image, label=row.label, group=row.group, paper_px=size)
            )
    table = pd.concat(tables, ignore_index=True)
    first = ["image", "label", "group", "paper_px"]
    table = table[first + [name for name in table if name not in first]]
    summary = pd.concat(statistics, ignore_index=True)
    return Tabulated(table, summary[["image", *(n for n in summary if n != "image")]])


def patch_yield(table: pd.DataFrame) -> pd.DataFrame:
    """Patches extracted and left by the sparsity filter at each size: the numbers of Fig 7.

    Patches "over the limit" of an image count as left: it is not the filter that removed them.

    Parameters
    ----------
    table
        Of `tabulate_patches`.

    Returns
    -------
    DataFrame
        size_px (the paper's pixels), size_um, extracted, kept, attrition (share removed).
    """
    found = table.assign(sparse=table["reason"] == "sparse").groupby("paper_px")["sparse"]
    extracted, sparse = found.size(), found.sum()
    return pd.DataFrame(
        {
            "size_px": extracted.index,
            "size_um": paper_px_to_um(extracted.index.to_numpy()),
            "extracted": extracted.to_numpy(),
            "kept": (extracted - sparse).to_numpy(),
            "attrition": (sparse / extracted).to_numpy(),
        }
    )


def covered_share(table: pd.DataFrame, manifest: pd.DataFrame) -> pd.Series:
    """Share of all planes that the grid of each size covers; the rest is left over at the border.

    Parameters
    ----------
    table
        Of `tabulate_patches`: kept patches and others.
    manifest
        Of `read_manifest`, with all images of `table`.

    Returns
    -------
    Series
        ``paper_px`` → patches' area over the area of all planes of all images.
    """
    pixels = {
        row.image: np.prod(open_image(row).shape[1:], dtype=float)
        for row in manifest.itertuples(index=False)
    }
    area = (table["size_px"].astype(float) ** 2).groupby(table["paper_px"]).sum()
    whole = table[["paper_px", "image"]].drop_duplicates()
    return area / whole["image"].map(pixels).groupby(whole["paper_px"]).sum()


def seconds_of_one(
    row: NamedTuple, *, channels: Sequence[str], settings: PatchSettings, output_px: int
) -> float:
    """Seconds that one image takes in this process: read, thresholds, sparsity filter, patches cut.

    All patches that the filter leaves are cut, whatever the limit per image.

    Parameters
    ----------
    row
        An image of a manifest.
    channels, settings, output_px
        As in `build_patch_set`.
    """
    started = time.perf_counter()
    volume = open_image(row).select(channels)
    statistics = stack_statistics(volume)
    (table,) = patch_tables(
        volume,
        [paper_px_to_um(settings.size_px)],
        min_foreground=settings.min_foreground,
        statistics=statistics,
    )
    extract_patches(volume, table, output_px=output_px, statistics=statistics)
    return time.perf_counter() - started


def build_patch_set(
    manifest: pd.DataFrame,
    *,
    channels: Sequence[str],
    settings: PatchSettings,
    output_px: int,
    size_px: int | None = None,
    tabulated: Tabulated | None = None,
    progress: bool = True,
) -> tuple[PatchSet, pd.DataFrame, pd.DataFrame]:
    """Cut the patches of every image of a manifest, in its order.

    Images are tabulated first and cut afterwards, so that the array is made once, at its final
    size, and beside it only one plane is in memory.

    Parameters
    ----------
    manifest, channels, settings, progress
        As in `tabulate_patches`.
    output_px
        Edge of the patches after resizing, pixels: the encoder's input.
    size_px
        Edge of the patches in the paper's pixels; ``settings.size_px`` unless given.
    tabulated
        Of `tabulate_patches` over these images and this size among others, which saves two of
        three passes over the files.

    Returns
    -------
    PatchSet
        The kept patches. ``pixel_size_um`` is the nominal one: where the edge is no whole number
        of an image's pixels, that image deviates by up to half a pixel in the edge.
    DataFrame
        All patches of this size, kept or not.
    DataFrame
        Statistics, with column ``image``.

    Raises
    ------
    PatchError
        An image yields no patch, is missing from `tabulated`, or what `patch_tables` and
        `stack_statistics` raise.
    """
    size_px = settings.size_px if size_px is None else size_px
    if tabulated is None:
        tabulated = tabulate_patches(
            manifest, channels=channels, settings=settings, sizes_px=[size_px], progress=progress
        )
    table = tabulated.table[tabulated.table["paper_px"] == size_px].reset_index(drop=True)
    statistics = tabulated.statistics
    rows = list(manifest.itertuples(index=False))
    kept = [table[(table["image"] == row.image) & table["kept"]] for row in rows]
    for row, of_image in zip(rows, kept, strict=True):
        if of_image.empty:
            found = (table["image"] == row.image).sum()
            raise PatchError(
                f"{row.path}: image {row.image}: expected patches of {size_px} px with foreground "
                f"of {settings.min_foreground:g} or more, found none among {found}; lower "
                "patches.min_foreground, choose smaller patches or leave the image out"
                if found
                else f"image {row.image}: expected its patches of {size_px} px in `tabulated`, "
                "found none; tabulate this manifest at this size"
            )
    ends = np.cumsum([len(of_image) for of_image in kept])
    patches = new_patches((ends[-1], output_px, output_px, len(channels)))
    jobs = {row.image: (row, of_image) for row, of_image in zip(rows, kept, strict=True)}
    starts = dict(zip(jobs, ends - [len(of_image) for of_image in kept], strict=True))

    def cut(image: str) -> np.ndarray:
        row, of_image = jobs[image]
        return extract_patches(
            open_image(row).select(channels),
            of_image,
            output_px=output_px,
            statistics=statistics[statistics["image"] == image],
        )

    for image, found in of_each(cut, list(jobs), "cutting", progress=progress):
        note_image(jobs[image][0].path)
        patches[starts[image] : starts[image] + len(found)] = found
    patch_set = PatchSet(
        patches,
        pd.concat(kept, ignore_index=True).drop(columns=["kept", "reason"]),
        tuple(channels),
        paper_px_to_um(size_px) / output_px,
    )
    return patch_set, table, statistics


def cut_places(
    places: pd.DataFrame, manifest: pd.DataFrame, channels: Sequence[str], output_px: int
) -> np.ndarray:
    """Cut patches at places that were chosen before, whatever chose them.

    Parameters
    ----------
    places
        ``image``, ``z``, ``y``, ``x`` and ``size_px``, as in the table of a `PatchSet`; in any
        order.
    manifest
        Of `read_manifest`, with all images of `places`.
    channels
        Names of the channels; each is scaled per image, see `extract_patches`.
    output_px
        Edge of the patches after resizing, pixels.

    Returns
    -------
    ndarray, uint8 (N, output_px, output_px, C)
        One patch per row of `places`; see `patchset.new_patches`.

    Raises
    ------
    PatchError
        An image is not in the manifest, or a place is not within its image.
    VolumeError
        An image lacks a channel.
    """
    unknown = sorted(set(places["image"]) - set(manifest["image"]))
    if unknown:
        raise PatchError(
            f"manifest: expected image {unknown[0]} of the patch set, found none; "
            "cut the patches from this manifest"
        )
    patches = new_patches((len(places), output_px, output_px, len(channels)))
    rows = {row.image: row for row in manifest.itertuples(index=False)}
    wanted = dict(list(places.assign(kept=True).groupby("image", sort=False)))

    def cut(image: str) -> np.ndarray:
        volume = open_image(rows[image]).select(channels)
        return extract_patches(
            volume, wanted[image], output_px=output_px, statistics=stack_statistics(volume)
        )

    for image, found in of_each(cut, list(wanted), "cutting", progress=False):
        note_image(rows[image].path)
        patches[(places["image"] == image).to_numpy()] = found
    return patches


def each_patch_set(
    manifest: pd.DataFrame,
    tabulated: Tabulated,
    *,
    channels: Sequence[str],
    settings: PatchSettings,
    output_px: int,
) -> Iterator[tuple[int, PatchSet]]:
    """Cut the patches of every image, at one size of ``settings.sizes_px`` after the other.

    A set is cut when it is asked for, so that a user who drops it before the next has one in
    memory, and not all.

    Parameters
    ----------
    manifest, channels, settings, output_px
        As in `build_patch_set`.
    tabulated
        Of `tabulate_patches` over these images and sizes.

    Yields
    ------
    int
        Size in the paper's pixels.
    PatchSet
        The kept patches of this size.

    Raises
    ------
    PatchError
        As `build_patch_set`.
    """
    for size in settings.sizes_px:
        yield (
            size,
            build_patch_set(
                manifest,
                channels=channels,
                settings=settings,
                output_px=output_px,
                size_px=size,
                tabulated=tabulated,
            )[0],
        )
