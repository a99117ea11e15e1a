"""The array of patches that networks are trained on, its table, and both on disk."""

import json
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import psutil
import pyarrow

from organelle_fusion.handover import keep_while_sent
from organelle_fusion.intensity import PatchError
from organelle_fusion.provenance import (
    atomic_path,
    code_version,
    hash_of,
    note_file,
    provenance,
    remove_leftovers,
    temporary_name,
    write_json,
)
from organelle_fusion.volumes import READERS

FILES = ("patches.npy", "patches.parquet", "patches.json")

MEMORY_SHARE = 0.25
"""Patches that take more than this share of the machine's memory stay in a file, mapped."""


class _Mapped(NamedTuple):
    """Where in which file mapped patches lie."""

    path: str
    offset: int
    shape: tuple[int, ...]

    def open(self) -> np.memmap:
        return np.memmap(self.path, np.uint8, "r", self.offset, self.shape)


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches ready for training, one table row each.

    Attributes
    ----------
    patches
        uint8, `(N, H, W, C)`; read-only. A `numpy.memmap` where they are too many for the memory,
        see `new_patches`.
    table
        At least ``image``, ``label`` (text), ``group``, ``z``, ``y``, ``x``.
    channels
        Names of the last axis.
    pixel_size_um
        Edge of one pixel of `patches`, µm; None where the source has no scale.

    Raises
    ------
    PatchError
        A column is missing, a label is no text, or patches, table and channels do not fit.
    """

    patches: np.ndarray
    table: pd.DataFrame
    channels: tuple[str, ...]
    pixel_size_um: float | None

    def __post_init__(self) -> None:
        missing = {"image", "label", "group", "z", "y", "x"} - set(self.table.columns)
        expected = (len(self.table), len(self.channels))
        if missing:
            raise PatchError(f"patch set: expected column {min(missing)} in its table; add it")
        # Numbers would be sorted in another order than the texts that files and scores have.
        for label in self.table["label"].unique():
            if not isinstance(label, str):
                raise PatchError(
                    f"patch set: column label: expected text, found {label} "
                    f"({type(label).__name__}); name every class, numbers with astype(str)"
                )
        if self.patches.dtype != np.uint8 or self.patches.ndim != 4:
            raise PatchError(
                "patch set: expected uint8 patches (N, H, W, C), found "
                f"{self.patches.dtype} {self.patches.shape}; see extract_patches"
            )
        if (self.patches.shape[0], self.patches.shape[3]) != expected:
            raise PatchError(
                f"patch set: expected N, C = {expected} after table and channels, found patches "
                f"{self.patches.shape}; they do not belong together"
            )
        patches = self.patches.view()
        patches.flags.writeable = False  # the hash is taken once
        object.__setattr__(self, "patches", patches)
        object.__setattr__(self, "channels", tuple(self.channels))

    def __getstate__(self) -> dict:
        # Mapped patches are sent to a process by the name of their file, not pixel by pixel.
        state, patches = dict(self.__dict__), self.patches
        if isinstance(patches, np.memmap) and patches.flags.c_contiguous:
            mapped = _Mapped(os.fspath(patches.filename), patches.offset, patches.shape)
            # Of a part of the file NumPy does not say where it begins.
            if mapped.offset + patches.nbytes == os.path.getsize(mapped.path):
                state["patches"] = mapped
                keep_while_sent(patches)
        return state

    def __setstate__(self, state: dict) -> None:
        if isinstance(state["patches"], _Mapped):
            state = {**state, "patches": state["patches"].open()}
        self.__dict__.update(state)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that occur, sorted."""
        return tuple(sorted(set(self.table["label"])))

    @property
    def class_numbers(self) -> np.ndarray:
        """Place of each patch's label among `classes`, int (N,)."""
        return np.searchsorted(self.classes, self.table["label"].to_numpy(dtype=str))

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 (hex) of pixels, table, channels and pixel size."""
        return hash_of([self.patches, self.table, self.channels, self.pixel_size_um])

    @classmethod
    def from_crops(
        cls, crops: np.ndarray, table: pd.DataFrame, channels: tuple[str, ...]
    ) -> "PatchSet":
        """Take ready-cut crops, uint8 (N, C, H, W), as they are: no scale, no place in a stack.

        `table` has ``image``, ``label`` and ``group``, one row per crop; ``z``, ``y`` and ``x``
        become 0, the whole crop.
        """
        placed = table[["image", "label", "group"]].reset_index(drop=True).assign(z=0, y=0, x=0)
        return cls(np.ascontiguousarray(crops.transpose(0, 2, 3, 1)), placed, channels, None)

    def take(self, index: np.ndarray) -> "PatchSet":
        """Part of the set: those of a boolean mask (N,), or of row numbers in the order given."""
        rows = np.arange(len(self.table))[np.asarray(index)]
        patches = take_rows(self.patches, rows)
        table = self.table.iloc[rows].reset_index(drop=True)
        return PatchSet(patches, table, self.channels, self.pixel_size_um)

    def split_groups(self) -> "PatchSet":
        """Make every patch a group of its own, so that folds may part an image: this leaks.

        The name of a new group is that of the old one and the number of the patch, since patches
        of equal names would be kept together.
        """
        groups = self.table["group"].astype(str) + " patch " + self.table.index.astype(str)
        return replace(self, table=self.table.assign(group=groups))

    @property
    def planes(self) -> pd.Series:
        """Number of planes of each image, from the first to the last that holds a patch."""
        z = self.table.groupby("image", sort=True)["z"]
        return z.max() - z.min() + 1

    def split_slabs(self, n_slabs: int, guard_planes: int) -> "PatchSet":
        """Cut every image in depth and make every slab a group of its own: this leaks as well.

        The `planes` of an image are divided into stretches of equal depth, or the first ones a
        plane deeper; the planes between two of them are left out of the set. So folds may part an
        image, but never patches of planes that are nearer than the gap.

        Parameters
        ----------
        n_slabs
            Slabs per image. One without a patch is no group.
        guard_planes
            Planes left out between two neighbours.

        Returns
        -------
        PatchSet
            The patches of the slabs; ``group`` is the image and the number of its slab, from 1.

        Raises
        ------
        PatchError
            An image has fewer planes than slabs and gaps together, as ready-cut crops have.
        """
        least = n_slabs + guard_planes * (n_slabs - 1)
        planes = self.planes
        if (planes < least).any():
            image = planes.index[planes < least][0]
            raise PatchError(
                f"image {image}: expected {least} planes or more for {n_slabs} slabs with "
                f"{guard_planes} left out between two, found {planes[image]}; ask for fewer slabs "
                "or a thinner gap, or divide by image (ready-cut crops have one plane)"
            )
        images, z = self.table["image"].to_numpy(), self.table["z"].to_numpy()
        slab = np.zeros(len(z), dtype=int)  # from 1; 0 is a gap
        for image, depth in planes.items():
            rows = images == image
            number = np.zeros(depth, dtype=int)
            stretches = np.array_split(np.arange(depth - guard_planes * (n_slabs - 1)), n_slabs)
            for k, stretch in enumerate(stretches):
                number[stretch + k * guard_planes] = k + 1
            slab[rows] = number[z[rows] - z[rows].min()]
        part = self.take(slab > 0)
        names = part.table["image"].astype(str) + " slab " + pd.Series(slab[slab > 0]).astype(str)
        return replace(part, table=part.table.assign(group=names))

    def save(self, folder: Path) -> None:
        """Write ``patches.npy``, ``patches.parquet`` and last ``patches.json`` into `folder`.

        Each file appears whole or not at all, and the JSON holds the hash of all, so that `load`
        notices files of different runs side by side. A folder that holds this set already is left
        alone, so that what was made from its files still holds.

        Raises
        ------
        PatchError
            `folder` is a file.
        """
        folder = Path(folder)
        if folder.is_file():
            raise PatchError(
                f"{folder}: expected a folder for three files, found a file; name another"
            )
        facts = {
            "channels": list(self.channels),
            "code": code_version(
                *("intensity", "kernels", "patches", "patchset", "preprocessing", "streaming"),
                *READERS,
            ),
            "data_hash": self.data_hash,
            "pixel_size_um": self.pixel_size_um,
        }
        if _holds(folder, facts):
            return
        with atomic_path(folder / "patches.npy") as temporary:
            np.save(temporary, self.patches)
        with atomic_path(folder / "patches.parquet") as temporary:
            self.table.to_parquet(temporary, index=False)
        write_json(folder / "patches.json", provenance(**facts))

    @classmethod
    def load(cls, folder: Path, images: pd.DataFrame | None = None) -> "PatchSet":
        """Read what `save` wrote; patches are mapped if they exceed `MEMORY_SHARE`.

        Parameters
        ----------
        folder
            Of `save`.
        images
            The manifest as it is now; the set has to be of it, see `check_manifest`. Not given:
            it is not asked.

        Raises
        ------
        PatchError
            A file is missing, cannot be read, does not belong to the others, or the manifest has
            changed since.
        """
        folder = Path(folder)
        remedy = "save the patch set again"
        for name in FILES:
            if not (folder / name).is_file():
                raise PatchError(
                    f"{folder / name}: expected a file of a patch set, found none; {remedy}"
                )
            note_file(folder / name)
        try:
            facts = json.loads((folder / "patches.json").read_text("utf-8"))
            size = (folder / "patches.npy").stat().st_size
            patches = np.load(
                folder / "patches.npy",
                mmap_mode="r" if exceeds_memory(size) else None,
                allow_pickle=False,
            )
            table = pd.read_parquet(folder / "patches.parquet")
            loaded = cls(patches, table, tuple(facts["channels"]), facts["pixel_size_um"])
        except (ValueError, KeyError, EOFError, OSError, pyarrow.ArrowException) as error:
            raise PatchError(
                f"{folder}: expected a patch set, found files that cannot be read "
                f"({' '.join(str(error).split())}); {remedy}"
            ) from None
        if loaded.data_hash != facts["data_hash"]:
            raise PatchError(
                f"{folder}: expected data of hash {facts['data_hash'][:12]}, as patches.json says, "
                f"found {loaded.data_hash[:12]}; {remedy}"
            )
        if images is not None:
            check_manifest(loaded.table, images)
        return loaded


def manifest_change(table: pd.DataFrame, images: pd.DataFrame) -> str:
    """Say in what a manifest differs from what was made of it, in words; "" if in nothing.

    Parameters
    ----------
    table
        ``image``, ``label`` and ``group`` of patches, or of their predictions, of every image.
    images
        Of `manifest.read_manifest`.
    """
    columns = ["image", "label", "group"]
    made = {row[0]: row[1:] for row in table[columns].drop_duplicates().itertuples(index=False)}
    for image, *found in images[columns].itertuples(index=False):
        if image not in made:
            return f"image {image}, of which there is no patch"
        for name, now, before in zip(columns[1:], found, made.pop(image), strict=True):
            if now != before:
                return f"image {image} with {name} {now}, not {before}"
    return f"no image {min(made)}, of which there are patches" if made else ""


def check_manifest(table: pd.DataFrame, images: pd.DataFrame, chapter: str = "02") -> None:
    """Refuse what was made of a manifest that names other images, labels or groups by now.

    Parameters
    ----------
    table, images
        As in `manifest_change`.
    chapter
        The one that made it.

    Raises
    ------
    PatchError
        Which image, and what is to be run again.
    """
    if found := manifest_change(table, images):
        raise PatchError(
            f"manifest: expected the images, labels and groups that the patches were cut from, "
            f"found {found}; run `make chapter N={chapter}` again, with the same PROFILE and "
            "MANIFEST"
        )


def new_patches(shape: tuple[int, int, int, int]) -> np.ndarray:
    """Array to be filled with patches: in memory, or in a file if it exceeds `MEMORY_SHARE`.

    The file lies where Python puts temporary ones (``TMPDIR``) and goes with the array.

    Returns
    -------
    ndarray of uint8, or numpy.memmap, (N, H, W, C)

    Raises
    ------
    PatchError
        The disk has no room for the file.
    """
    size = int(np.prod(shape))
    if not exceeds_memory(size):
        return np.empty(shape, np.uint8)
    folder = tempfile.gettempdir()
    remove_leftovers(Path(folder))
    free = shutil.disk_usage(folder).free
    if size >= free:  # else found out by a signal that ends the process
        raise PatchError(
            f"{folder}: expected {size / 1e9:.1f} GB free for patches that do not fit into memory, "
            f"found {free / 1e9:.1f}; set TMPDIR to a folder on a larger disk"
        )
    handle, name = tempfile.mkstemp(prefix=temporary_name("patches-"), suffix=".npy")
    os.close(handle)
    patches = np.lib.format.open_memmap(name, "w+", np.uint8, shape)
    # Of the map and not of the array, of which only views may be left.
    weakref.finalize(patches._mmap, Path(name).unlink, missing_ok=True)
    return patches


def take_rows(data: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Copy rows, int (n,), of patches, kept as those of `new_patches`, or of features."""
    shape = (len(rows), *data.shape[1:])
    taken = new_patches(shape) if data.dtype == np.uint8 else np.empty(shape, data.dtype)
    # Not "raise", which would copy the result once more.
    return np.take(data, rows, axis=0, out=taken, mode="clip")


def exceeds_memory(size: int) -> bool:
    """Whether so many bytes of patches are more than `MEMORY_SHARE`."""
    return size > MEMORY_SHARE * psutil.virtual_memory().total


def _holds(folder: Path, facts: dict) -> bool:
    """Whether the patch set in `folder` has these facts and can be read whole."""
    if not any((folder / name).is_file() for name in FILES):
        return False
    try:
        PatchSet.load(folder)
        stored = json.loads((folder / "patches.json").read_text("utf-8"))
    except PatchError as error:
        print(f"written again, {error}", flush=True)
        return False
    return all(stored.get(key) == value for key, value in facts.items())
