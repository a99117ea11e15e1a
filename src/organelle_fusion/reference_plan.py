"""The plan of the reference run as text: what is done, what is left, and what that would take."""

from pathlib import Path

import pandas as pd

from organelle_fusion.config import Profile
from organelle_fusion.plan_data import (
    contact_patches,
    count_patches,
    phantom_stacks,
    public_crops,
)
from organelle_fusion.provenance import read_json
from organelle_fusion.reference import (
    IMAGE_SECONDS,
    longest_so_far,
    planned_trainings,
    stated_seconds,
    stored_facts,
)
from organelle_fusion.reference_data import CROPS, crops_at_hand, cut_folder, is_cut, planned_images
from organelle_fusion.reference_results import RESULTS

LIMIT_BYTES = 40e6
"""What all results together may take, since they are committed."""

# A file of predictions: its provenance with the history of 40 epochs; for each row its number,
# image, group, label and part; a probability in 32 bits for each class. Measured, 1,000 rows.
_FILE_BYTES, _ROW_BYTES, _PROBABILITY_BYTES = 22_000, 14, 4


def dry_run(profile: Profile, root: Path) -> str:
    """Say what the run has done, what is left, and what that would take; nothing is loaded for it.

    Returns
    -------
    str
        Lines of text.
    """
    import joblib

    table = plan_table(profile, root)
    cells, done = int(table["cells"].sum()), int(table["done"].sum())
    stacks = {name: planned_images(profile, name) for name in ("contact", "phantom")}
    cut = {
        name: sum(is_cut(image, profile, name, cut_folder(profile, name, root)) for image in images)
        for name, images in stacks.items()
    }
    left = sum(len(images) for images in stacks.values()) - sum(cut.values())
    cutting = left * IMAGE_SECONDS / joblib.cpu_count() / 60
    minutes = table["minutes"].sum() + cutting
    lines = [f"Plan of the reference run, profile {profile.name}; nothing is computed."]
    lines += [
        f"{name:14}{'stacks cut into patches':24}{cut[name]:4} of {len(images):3} done"
        for name, images in stacks.items()
    ]
    lines += [
        f"{row.dataset:14}{row.step:24}{row.done:4} of {row.cells:3} done, {row.minutes:6.1f} min "
        + ("left" if row.dataset != CROPS or crops_at_hand(root) else "left; data not here")
        for row in table.itertuples()
    ]
    return "\n".join(
        [
            *lines,
            f"{done} of {cells} cells are done. About {minutes:.0f} minutes are left, in calls of "
            f"{profile.reference.minutes:g}.",
            "A training that is like one done takes as long as that; others are taken to run at "
            f"{profile.reference.patches_per_second:g}",
            "patches/s (intermediate fusion), without compilation. Stacks are those of one core.",
            f"Results in {RESULTS.as_posix()}: {stored_bytes(root) / 1e6:.1f} MB now, about "
            f"{table['bytes'].sum() / 1e6:.0f} MB in the end, of {LIMIT_BYTES / 1e6:.0f} at most.",
        ]
    )


def plan_table(profile: Profile, root: Path) -> pd.DataFrame:
    """What the run trains, and how much of it is left.

    Patches are counted as if none were sparse, unless they are cut already.

    Returns
    -------
    DataFrame
        One row per data set and step: ``dataset``, ``step``, ``cells``, ``done``, ``minutes`` (of
        those that are left), ``bytes`` (of all predictions in the end).
    """
    planned = planned_trainings(profile)
    longest = longest_so_far(planned, root)
    stacks = phantom_stacks(profile.phantom, profile.channels)
    size_px = profile.patches.size_px
    patches = {
        "phantom": int(count_patches(stacks, profile.patches)["used"][size_px]),
        "contact": contact_patches(profile),
        CROPS: public_crops(profile)[CROPS].number,
    }
    classes = {
        "phantom": len(profile.phantom.images_per_class),
        "contact": len(profile.phantom.contact_images_per_class),
        CROPS: patches[CROPS] // profile.real_cells.crops_per_class,
    }
    for dataset in patches:
        record = read_json(root / RESULTS / dataset / "patches.json")
        patches[dataset] = record["patches"] if record else patches[dataset]
    rows = []
    for training in planned:
        dataset = training.dataset
        stored = stored_facts(training, root) is not None
        expected = longest.get(
            (dataset, training.network), stated_seconds(training, patches[dataset])
        )
        tested = 1 / profile.folds.n_splits
        predicted = patches[dataset] * (tested + (1 - tested) * profile.folds.validation_share)
        row = _ROW_BYTES + _PROBABILITY_BYTES * classes[dataset]
        rows.append(
            {
                "dataset": dataset,
                "step": training.step,
                "cells": 1,
                "done": int(stored),
                "minutes": 0.0 if stored else expected / 60,
                "bytes": _FILE_BYTES + row * predicted,
            }
        )
    return pd.DataFrame(rows).groupby(["dataset", "step"], sort=False, as_index=False).sum()


def stored_bytes(root: Path) -> int:
    """Bytes of all results that are there."""
    return sum(path.stat().st_size for path in (root / RESULTS).rglob("*") if path.is_file())
