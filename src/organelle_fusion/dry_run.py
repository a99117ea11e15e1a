"""The plan of a run as text: what would be trained, and what it would cost on this machine."""

import sys
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from organelle_fusion import costs
from organelle_fusion.config import Profile
from organelle_fusion.costs import NetworkCost, PreprocessingCost
from organelle_fusion.intensity import PatchError
from organelle_fusion.pages import Run
from organelle_fusion.plan import compare_with_files, planned_trainings
from organelle_fusion.plan_data import contact_stacks, count_patches

_WIDTH = 100
_INDENT = 10
_ENDS = {"from": "least", "to": "most"}
_UNITS = (("h", 3600), ("min", 60), ("s", 1))


def dry_run(profile: Profile, stacks: pd.DataFrame, run: Run) -> str:
    """Plan a run, time a step of everything on this machine, and say what it would take.

    Nothing is trained, and nothing written but one plane into a temporary folder.

    Parameters
    ----------
    profile
        The settings; `config.use_backend` comes first.
    stacks
        Of `manifest.validate_manifest`, or `plan_data.phantom_stacks`.
    run
        Of `pages.open_run`.

    Returns
    -------
    str
        Lines of text.

    Raises
    ------
    PatchError, CostError
        A patch is larger than an image; a step cannot be timed.
    """
    from organelle_fusion.devices import backend_name, keras_device

    plan = planned_trainings(profile, stacks, run)
    print("timing one step of each network, minutes without a GPU", file=sys.stderr, flush=True)
    n_classes = stacks["label"].nunique()
    networks = {name: costs.time_network(name, profile, n_classes) for name in costs.NETWORKS}
    try:
        plane = costs.time_preprocessing(profile, stacks, run)
    except PatchError:  # a middle plane without an image; a whole stack may have one
        plane = None
    backend = backend_name()
    memory = costs.patch_memory(profile, stacks, plan, run, backend)
    timed = plan.join(costs.training_seconds(plan, networks, profile))
    preparing = 0.0
    if plane is not None:
        work = costs.planned_preprocessing(profile, stacks, run)
        preparing = sum(number * getattr(plane, name) for name, number in work.items())
    on = f"{keras_device()} by {backend}"
    stored = compare_with_files(plan, run.folder.parent)
    return "\n".join(
        [
            _head(profile, stacks, run),
            "",
            *_table(timed, memory, preparing),
            "",
            _note("Time", _time_words(timed, profile, networks, plane, on)),
            _note("Memory", _memory_words(profile, networks, memory, backend)),
            _note("Disk", _disk_words(profile, stacks, run, plan, networks)),
            _note("Patches", _patch_words(profile, stacks)),
            _note("Stored", _stored_words(stored)),
        ]
    )


def _head(profile: Profile, stacks: pd.DataFrame, run: Run) -> str:
    frames = stacks[["y", "x"]].drop_duplicates()
    pixels = " or ".join(f"{row.y} × {row.x}" for row in frames.itertuples())
    return (
        f"Plan of profile {profile.name} for {run.data}: {len(stacks)} images in "
        f"{stacks['label'].nunique()} classes, {stacks['z'].sum():,} planes of "
        f"{pixels if len(frames) < 3 else 'several sizes in'} pixels.\n"
        "Nothing is trained and nothing is written. All numbers are estimates."
    )


def _table(plan: pd.DataFrame, memory: pd.Series, preparing: float) -> list[str]:
    """Aligned lines, one for each thing that a chapter does; `plan` with its seconds."""
    in_all = plan["most"].sum() + preparing
    unit, seconds = next(
        (name, length) for name, length in _UNITS if in_all > 2 * length or length == 1
    )
    times = [f"{word}, {unit}" for word in _ENDS]
    cells = [
        ("", "chapter", "trainings", "of patches", "epochs", *times, "memory"),
        ("all", "stacks and patches", "", "", "", *2 * (_figure(preparing / seconds),), ""),
    ]
    last = ""
    for (chapter, what), of_line in plan.groupby(["chapter", "what"], sort=False):
        trained = of_line[of_line["trainings"] > 0]
        cells.append(
            (
                chapter,
                what,
                f"{trained['trainings'].sum():,}",
                _range(trained["train"]),
                _range([*trained["epochs_least"], *trained["epochs_most"]]),
                *(_figure(trained[end].sum() / seconds) for end in _ENDS.values()),
                "" if chapter == last else _bytes(memory[chapter]),
            )
        )
        last = chapter
    sums = [(plan[end].sum() + preparing) / seconds for end in _ENDS.values()]
    cells.append(("all", "", f"{plan['trainings'].sum():,}", "", "", *map(_figure, sums), ""))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _time_words(
    plan: pd.DataFrame,
    profile: Profile,
    networks: dict[str, NetworkCost],
    plane: PreprocessingCost | None,
    computer: str,
) -> str:
    batch = profile.training.batch_size
    share = plan.groupby(["chapter", "what"])["most"].sum() / plan["most"].sum()
    largest = "; ".join(
        f"{chapter} {what} {part:.0%}" for (chapter, what), part in share.nlargest(3).items()
    )
    trained, guessed = (
        ", ".join(
            f"{name} {_seconds(getattr(cost, step) * times)}" for name, cost in networks.items()
        )
        for step, times in (("step", 1), ("prediction", batch))
    )
    prepared = (
        "The middle plane of the first stack holds no image, so that preprocessing is left out."
        if plane is None
        else "Preprocessing is that of one plane, for all planes."
    )
    return (
        f'"from": every training stops as early as a patience of {profile.training.patience} '
        f'epochs allows; "to": none stops early. Most of it: {largest}. Timed now on {computer}, '
        f"with random pixels and weights: a training step of {batch} patches takes {trained}; to "
        f"predict as many, {guessed}. Networks for crops or with more channels are taken in "
        f"proportion. {prepared} Measured objects and their classifiers (05, 10), maps (08), "
        "scores and figures are left out."
    )


def _memory_words(
    profile: Profile, networks: dict[str, NetworkCost], memory: pd.Series, backend: str
) -> str:
    cost = max(networks.values(), key=lambda cost: cost.activations)
    layers = 4 * cost.activations * profile.training.batch_size
    # Weights, their gradients, and Adam's two moments; 32 bits each.
    state = 4 * (cost.parameters + 3 * cost.trainable)
    return (
        f"{_bytes(memory.max())} for patches, in chapter {memory.idxmax()}, with the "
        f"copies that Keras makes of those it trains on ({backend}). Besides, in each process that "
        f"trains, on its device: {_bytes(state)} for the largest network (weights, gradients, two "
        f"moments of Adam) and up to {_bytes(layers)} for its layers in a step."
    )


def _disk_words(
    profile: Profile,
    stacks: pd.DataFrame,
    run: Run,
    plan: pd.DataFrame,
    networks: dict[str, NetworkCost],
) -> str:
    kept, searching = costs.weight_bytes(plan, networks, profile)
    count = count_patches(stacks, profile.patches)["used"][profile.patches.size_px]
    patches = count * profile.encoder.input_px**2 * len(profile.channels)
    size = stacks["dtype"].map(lambda name: np.dtype(name).itemsize)
    voxels = (stacks["z"] * stacks["y"] * stacks["x"] * size).sum()
    turned = voxels * len(profile.channels) * len(profile.patches.rotations_deg)
    # Three phantoms and the one of contacts, four channels of image and as many of labels.
    phantoms = 3 + len(contact_stacks(profile)) / len(stacks) if run.is_phantom else 0
    made = voxels * phantoms * 2 * (len(profile.channels) + 1)
    return (
        f"{_bytes(kept)} of weights, {_bytes(patches)} of patches, and at most "
        f"{_bytes(turned + made)} of stacks, which are compressed; "
        f"{_bytes(searching)} more while chapter 04 searches."
    )


def _patch_words(profile: Profile, stacks: pd.DataFrame) -> str:
    counts = count_patches(stacks, profile.patches)
    limit = profile.patches.max_per_image
    each = "; ".join(
        f"{size} px {row.used:,}" + (f" of {row.grid:,}" if limit else "")
        for size, row in counts.iterrows()
    )
    return (
        f"{each}; of all images, as if none were sparse. Those that are will be left out, and all "
        "of the above be less." + (f" Of an image, {limit} at most." if limit else "")
    )


def _stored_words(stored: pd.DataFrame) -> str:
    there = stored.min(axis=1).sum()
    return (
        f"{there:,} of {stored['planned'].sum():,} files of predictions are there already. A run "
        "skips those whose patches, settings and code are the same; above, all are counted."
        if there
        else f"none of {stored['planned'].sum():,} files of predictions is there yet."
    )


def _note(label: str, text: str) -> str:
    indent = " " * _INDENT
    return textwrap.fill(
        text, _WIDTH, initial_indent=label.ljust(_INDENT), subsequent_indent=indent
    )


def _figure(value: float) -> str:
    """Two digits or more, and none that mean nothing: 0, 0.012, 0.53, 4.2, 318, 12,345."""
    if value >= 9.95:
        return f"{value:,.0f}"
    if value >= 0.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.0995 else f"{value:.3f}" if value else "0"


def _bytes(value: float) -> str:
    return f"{_figure(value / 1e9)} GB" if value >= 0.95e9 else f"{_figure(value / 1e6)} MB"


def _seconds(value: float) -> str:
    return f"{_figure(value)} s" if value >= 0.95 else f"{_figure(value * 1000)} ms"


def _range(values: Sequence[int]) -> str:
    if len(values) == 0:  # nothing is trained
        return ""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
