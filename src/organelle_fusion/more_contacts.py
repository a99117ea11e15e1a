"""Whether four times the stacks teach a fusion contacts: measured once, and kept with the book.

A control of chapter 11 that takes longer than the chapter may: minutes on two processors.
``python -m organelle_fusion.more_contacts``, in the folder of the repository, makes it anew.
"""

import time
from pathlib import Path

import pandas as pd

from organelle_fusion.cluster import network_workers, shared_cluster
from organelle_fusion.config import JOINED, Profile, load_profile, use_backend
from organelle_fusion.contacts import control_scores
from organelle_fusion.devices import backend_name, keras_device
from organelle_fusion.folds import make_folds
from organelle_fusion.manifest import read_manifest
from organelle_fusion.pages import results_folder
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.preprocessing import build_patch_set
from organelle_fusion.provenance import (
    hash_of,
    provenance,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from organelle_fusion.repository import project_root
from organelle_fusion.significance import interval_texts
from organelle_fusion.sweep import train_cells

TIMES = 4
"""As many stacks as the contact phantom of the profile has."""

RESULTS = Path("data", "controls", "more-contacts.csv")
"""Scores, below the folder of the repository, with their provenance in a JSON file beside them."""


def measure(profile: Profile, folder: Path) -> tuple[pd.DataFrame, dict]:
    """Train the three ways to fuse on `TIMES` as many stacks of the contact phantom.

    Parameters
    ----------
    profile
        With a phantom. Networks, patches and folds are those of its chapter 11.
    folder
        Receives stacks and predictions; what is there already is not made again.

    Returns
    -------
    scores : DataFrame
        Of `contacts.control_scores`.
    facts : dict
        What the scores came from: number of stacks and patches, settings, device, seconds.
    """
    begun = time.perf_counter()
    numbers = [TIMES * number for number in profile.phantom.contact_images_per_class]
    settings = profile.phantom.model_copy(update={"contact_images_per_class": tuple(numbers)})
    images = read_manifest(simulate_dataset(folder, settings, variant="contact", progress=False))
    patch_set, *_ = build_patch_set(
        images,
        channels=profile.channels,
        settings=profile.patches.model_copy(update={"min_foreground": 0.0}),
        output_px=profile.encoder.input_px,
        progress=False,
    )
    folds, seed = make_folds(patch_set.table, **profile.folds.model_dump()), profile.folds.seed
    found = train_cells(
        patch_set,
        folds,
        models=JOINED,
        profile=profile,
        dataset="cv5",
        size_px=profile.patches.size_px,
        folder=folder / "predictions",
        seed=seed,
    )
    bootstrap = {"repeats": profile.bootstrap_repeats, "seed": seed}
    facts = provenance(
        profile=profile.name,
        stacks=len(images),
        patches=len(patch_set.table),
        settings=hash_of([settings, profile.encoder, profile.training, profile.folds]),
        data=patch_set.data_hash,
        backend=backend_name(),
        device=keras_device(),
        seconds=round(time.perf_counter() - begun),
    )
    return control_scores([(found, "")], "contact phantom", **bootstrap), facts


def kept_sentence(root: Path) -> str:
    """Say what was measured, and when; or that it was not.

    Parameters
    ----------
    root
        Folder of the repository.
    """
    facts = read_json((root / RESULTS).with_suffix(".json"))
    if facts is None:
        return "What more stacks than these would do was not measured."
    scores = read_csv(root / RESULTS, text=("panel", "row", "level")).query("level == 'by patch'")
    listed = "; ".join(map(" ".join, zip(scores["row"], interval_texts(scores, ""), strict=True)))
    return (
        f"With {TIMES} times the stacks of the profile {facts['profile']} ({facts['stacks']}, "
        f"{facts['patches']:,} patches; measured once, {facts['created'][:10]}, {facts['backend']} "
        f"on {facts['device']}, by patch, chance {scores['chance'].iloc[0]:.2f}): {listed}."
    )


def main() -> None:
    """Measure with the profile ``quick``, and write what was found."""
    root, profile = project_root(), load_profile("quick")
    use_backend(profile)
    workers = network_workers(profile.encoder.kind, backend_name())
    with shared_cluster(workers):
        scores, facts = measure(profile, results_folder(profile, "more-contacts"))
    write_csv(root / RESULTS, scores)
    write_json((root / RESULTS).with_suffix(".json"), facts)
    print(kept_sentence(root))


if __name__ == "__main__":
    main()
