"""The same fusion with fewer organelles: all pairs, and whatever lies between one and all."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pandas as pd

from organelle_fusion.patchset import PatchSet, new_patches
from organelle_fusion.sweep import train_all
from organelle_fusion.wording import title


def channel_subsets(channels: Sequence[str]) -> list[tuple[str, ...]]:
    """All sets of two channels or more that lack at least one, small ones first."""
    sizes = range(2, len(channels))
    return [subset for size in sizes for subset in combinations(channels, size)]


def subset_title(channels: Sequence[str]) -> str:
    """Name of a set of channels, such as "early endosomes + mitochondria"."""
    return " + ".join(title(name) for name in channels)


def select_channels(patch_set: PatchSet, channels: Sequence[str]) -> PatchSet:
    """The same patches with these of their channels, in this order.

    The channels are called ``channel1``, ``channel2``, …, whichever they are: the networks of sets
    of one size are then one architecture, which is compiled once.
    """
    places = [patch_set.channels.index(name) for name in channels]
    patches = new_patches((*patch_set.patches.shape[:3], len(places)))
    for own, place in enumerate(places):
        patches[..., own] = patch_set.patches[..., place]
    names = tuple(f"channel{number + 1}" for number in range(len(places)))
    return PatchSet(patches, patch_set.table, names, patch_set.pixel_size_um)


def train_subsets(
    patch_set: PatchSet, folds: pd.DataFrame, *, dataset: str, **options: Any
) -> dict[tuple[str, ...], pd.DataFrame]:
    """Intermediate fusion of each of `channel_subsets`, as far as that is not stored.

    Parameters
    ----------
    patch_set, folds
        As in `sweep.train_cells`. All sets have the same patches, which were chosen by all
        channels.
    dataset
        The files of a set are sorted under ``<dataset>-<channel>+<channel>``.
    options
        Of `sweep.train_all`, all but ``models``.

    Returns
    -------
    dict
        Set of channels → predictions.
    """
    trainings = (
        (
            channels,
            {
                "patch_set": select_channels(patch_set, channels),
                "dataset": f"{dataset}-{'+'.join(channels)}",
            },
        )
        for channels in channel_subsets(patch_set.channels)
    )
    return train_all(trainings, folds=folds, models=["intermediate"], **options)
