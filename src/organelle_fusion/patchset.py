"""The array of patches that networks are trained on, its table, and both on disk."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

from organelle_fusion.intensity import PatchError
from organelle_fusion.provenance import (
    atomic_path,
    code_version,
    hash_of,
    note_file,
    provenance,
    write_json,
)

FILES = ("patches.npy", "patches.parquet", "patches.json")


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches ready for training, one table row each.

    Attributes
    ----------
    patches
        uint8, `(N, H, W, C)`; read-only.
    table
        At least ``image``, ``label``, ``group``, ``z``, ``y``, ``x``.
    channels
        Names of the last axis.
    pixel_size_um
        Edge of one pixel of `patches`, µm; None where the source has no scale.
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

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels that occur, sorted."""
        return tuple(sorted(set(self.table["label"])))

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
        index = np.asarray(index)
        table = self.table.iloc[index].reset_index(drop=True)
        return PatchSet(self.patches[index], table, self.channels, self.pixel_size_um)

    def split_groups(self) -> "PatchSet":
        """Make every patch a group of its own, so that folds may part an image: this leaks.

        The name of a new group is that of the old one and the number of the patch, since patches
        of equal names would be kept together.
        """
        groups = self.table["group"].astype(str) + " patch " + self.table.index.astype(str)
        return replace(self, table=self.table.assign(group=groups))

    def save(self, folder: Path) -> None:
        """Write ``patches.npy``, ``patches.parquet`` and last ``patches.json`` into `folder`.

        Each file appears whole or not at all, and the JSON holds the hash of all, so that `load`
        notices files of different runs side by side. A folder that holds this set already is left
        alone, so that what was made from its files still holds.
        """
        folder = Path(folder)
        facts = {
            "channels": list(self.channels),
            "code": code_version("intensity", "patches", "patchset", "preprocessing"),
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
    def load(cls, folder: Path) -> "PatchSet":
        """Read what `save` wrote.

        Raises
        ------
        PatchError
            A file is missing, cannot be read, or does not belong to the others.
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
            patches = np.load(folder / "patches.npy", allow_pickle=False)
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
        return loaded


def _holds(folder: Path, facts: dict) -> bool:
    """Whether the patch set in `folder` has these facts and can be read whole."""
    try:
        PatchSet.load(folder)
        stored = json.loads((folder / "patches.json").read_text("utf-8"))
    except PatchError:
        return False
    return all(stored.get(key) == value for key, value in facts.items())
