"""What a choice in preprocessing is worth: the same fusion in the same folds without it.

The paper argues for its sparsity filter (Patch sampling and sparsity filtering) and for leaving the
nucleus out (Patch dataset specifications), and shows neither.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organelle_fusion.bootstrap import interval, sample_of
from organelle_fusion.comparisons import folding_difference
from organelle_fusion.config import Profile
from organelle_fusion.manifest import open_image
from organelle_fusion.metrics import LEVELS
from organelle_fusion.patchset import PatchSet, new_patches
from organelle_fusion.preprocessing import build_patch_set, cut_places
from organelle_fusion.significance import interval_text, interval_texts

OWN = "as in this book"
"""The variant that all others are compared with."""


def channel_obstacle(manifest: pd.DataFrame, channels: Sequence[str], added: str) -> str:
    """Say in a sentence why a channel cannot be added to `channels`; "" if it can."""
    if added in channels:
        return f"What the {added} adds cannot be asked: it is among the channels already."
    for row in manifest.itertuples(index=False):
        if open_image(row).channels.count(added) != 1:
            return (
                f"What the {added} would add cannot be asked: image {row.image} has not "
                "exactly one channel of this name."
            )
    return ""


def with_channel(patch_set: PatchSet, manifest: pd.DataFrame, channel: str) -> PatchSet:
    """Add a channel of the images to patches that were chosen without it.

    Parameters
    ----------
    patch_set
        Of `preprocessing.build_patch_set` over this manifest.
    manifest
        Of `read_manifest`.
    channel
        Name of the channel; it is scaled per image as all others are, see `extract_patches`.

    Returns
    -------
    PatchSet
        The same patches in the same order, `channel` last.

    Raises
    ------
    VolumeError
        An image lacks the channel.
    PatchError
        An image of the patch set is not in the manifest.
    """
    output_px = patch_set.patches.shape[1]
    added = cut_places(patch_set.table, manifest, [channel], output_px)
    *shape, n_channels = patch_set.patches.shape
    patches = new_patches((*shape, n_channels + 1))
    patches[..., :-1] = patch_set.patches
    patches[..., -1:] = added
    return PatchSet(
        patches,
        patch_set.table,
        (*patch_set.channels, channel),
        patch_set.pixel_size_um,
    )


def without_filter(manifest: pd.DataFrame, profile: Profile) -> PatchSet:
    """Cut patches of which none is discarded as sparse: same grid, same limit per image."""
    patches = profile.patches.model_copy(update={"min_foreground": 0.0})
    return build_patch_set(
        manifest,
        channels=profile.channels,
        settings=patches,
        output_px=profile.encoder.input_px,
    )[0]


def ablation_table(
    own: pd.DataFrame, variants: Mapping[str, pd.DataFrame], *, repeats: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Balanced accuracy of one model under several preprocessings, and differences to the first.

    Patches differ between variants and images do not, so the pairs of a difference are groups.
    Scores by image compare like with like: there each variant says one thing of each image.

    Parameters
    ----------
    own
        Predictions of one model as the book preprocesses.
    variants
        Name → predictions of the same model on other patches of the same groups.
    repeats, seed
        Of the bootstrap, see `evaluation.score_table`.

    Returns
    -------
    DataFrame
        variant (`OWN` first), level (``patch`` or ``image``), rows (number of patches or images
        scored), value, low, high; difference, difference_low and difference_high to the first,
        NaN for the first itself.
    """
    rows = []
    for name, predictions in {OWN: own, **variants}.items():
        for level in LEVELS:
            sample = sample_of(predictions, level)
            low, high = interval(sample.resampled("balanced_accuracy", repeats, seed))
            row = {
                "variant": name,
                "level": level,
                "rows": len(sample.labels),
                "value": sample.scores()["balanced_accuracy"],
                "low": low,
                "high": high,
            }
            if predictions is not own:
                found = folding_difference(
                    predictions, own, level=level, repeats=repeats, seed=seed
                )
                row |= {
                    "difference": found["value"],
                    "difference_low": found["low"],
                    "difference_high": found["high"],
                }
            rows.append(row)
    return pd.DataFrame(rows)


def ablation_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Format an `ablation_table` for a page: Variant, Scored by, Number, and two intervals."""
    difference = ["difference", "difference_low", "difference_high"]
    return pd.DataFrame(
        {
            "Variant": table["variant"],
            "Scored by": table["level"],
            "Number": table["rows"],
            "Balanced accuracy": interval_texts(table, ""),
            "Difference": [
                "" if np.isnan(row[0]) else interval_text(*row)
                for row in table.reindex(columns=difference).to_numpy(dtype=float)
            ],
        }
    )
