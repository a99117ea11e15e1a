"""What a planned run costs: memory, and time on this machine by timing one step of each kind."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import numpy as np
import pandas as pd

from organelle_fusion.config import Profile, UserError
from organelle_fusion.manifest import open_image, read_manifest
from organelle_fusion.pages import Run
from organelle_fusion.plan import hyperband_rounds
from organelle_fusion.plan_data import (
    contact_patches,
    contact_stacks,
    count_patches,
    has_nucleus,
    public_crops,
)
from organelle_fusion.settings import ONE_ENCODER, Strategy
from organelle_fusion.volumes import write_ome_tiff

NETWORKS = get_args(Strategy)

TRAINING_COPIES = {"jax": 1, "tensorflow": 3}
"""How often Keras holds the patches it trains on, by backend; measured, at the peak of `fit`."""

Result = TypeVar("Result")

# Timed until so many seconds have passed or so many repeats are done, one of them at least.
_SECONDS, _REPEATS = 5.0, 5


class CostError(UserError):
    """A step that could not be timed; the message is one line."""


class NetworkCost(NamedTuple):
    """One network of the profile on this machine."""

    step: float  # training on one batch, s
    prediction: float  # of one patch, s
    start: float  # initial values and first state of a training, s
    trainable: int  # parameters
    parameters: int  # with those that are not trained
    activations: int  # values of all layers for one patch


class PreprocessingCost(NamedTuple):
    """Seconds of preprocessing on this machine."""

    simulated: float  # one stack of the phantom
    turned: float  # one plane
    tabulated: float  # one plane at all patch sizes
    cut: float  # one patch


def patch_memory(
    profile: Profile, stacks: pd.DataFrame, plan: pd.DataFrame, run: Run, backend: str
) -> pd.Series:
    """Bytes of patches that each chapter holds in memory at its peak.

    Parameters
    ----------
    profile, stacks, run
        As in `plan.planned_trainings`.
    plan
        What that gives.
    backend
        Of Keras; one that was not measured is taken as TensorFlow.

    Returns
    -------
    Series
        Index ``chapter``.
    """
    one = profile.encoder.input_px**2 * len(profile.channels)
    counts = count_patches(stacks, profile.patches)["used"]
    own = counts[profile.patches.size_px] * one
    nucleus = own * (1 + 1 / len(profile.channels)) * has_nucleus(profile, stacks)
    crops = public_crops(profile)["cell-lines-9"]
    sets = pd.Series(
        {
            "02": own,
            "03": counts.max() * one,  # one size at a time
            "04": own * (1 + run.is_phantom),
            "06": own * 2 + nucleus,
            "07": own,
            "09": crops.number * crops.edge_px**2 * len(crops.channels),
            "10": own * (2 + run.is_phantom),  # one set more without the planes between slabs
            # The phantom, the null phantom and its places in the other; a copy for each organelle.
            "11": contact_patches(profile) * one + own * (3 + len(profile.channels))
            if run.is_phantom
            else 0,
            "12": own * (1 + (len(profile.channels) - 1) / len(profile.channels)),
        }
    )
    of_row = plan["train"] * plan["edge_px"] ** 2 * plan["channels"]
    copies = TRAINING_COPIES.get(backend, TRAINING_COPIES["tensorflow"])
    training = (of_row * copies).groupby(plan["chapter"]).max()
    return sets.add(training, fill_value=0)


def planned_preprocessing(profile: Profile, stacks: pd.DataFrame, run: Run) -> dict[str, int]:
    """How often the chapters do what can be timed on one plane.

    Returns
    -------
    dict
        ``simulated`` (stacks), ``turned`` (planes), ``tabulated`` (planes, over all chapters),
        ``cut`` (patches, likewise).
    """
    counts = count_patches(stacks, profile.patches)["used"]
    own, every = int(counts[profile.patches.size_px]), int(counts.sum())
    phantom, angles = int(run.is_phantom), len(profile.patches.rotations_deg)
    nucleus = int(has_nucleus(profile, stacks))
    planes = int(stacks["z"].sum())
    sets = 1 + phantom + angles  # of all sizes, in 03
    contact = contact_stacks(profile) if phantom else stacks[:0]
    touching = contact_patches(profile) if phantom else 0
    return {
        # scored, second and null
        "simulated": 3 * len(stacks) * phantom + len(contact),
        "turned": planes * angles,
        # 02 twice, 03, 04, 06 twice, 08, 10, 11 and its contacts
        "tabulated": planes * (2 + sets + phantom + 1 + nucleus + 1 + phantom * 2)
        + int(contact["z"].sum()),
        # 11 cuts two phantoms at the places of one
        "cut": own * (1 + phantom + 1 + nucleus + phantom * 3) + every * sets + touching,
    }


def time_network(network: str, profile: Profile, n_classes: int) -> NetworkCost:
    """Time training and prediction of one network, with random weights and random pixels.

    Parameters
    ----------
    network
        Out of `NETWORKS`.
    profile
        Encoder and training settings. Its weights are not needed: they take no time in a step.
    n_classes
        Number of classes.

    Returns
    -------
    NetworkCost
        Medians of a few repeats after the first, in which the network is compiled.

    Raises
    ------
    CostError
        A step failed, for want of memory for instance.
    ModelError
        The network cannot be built.
    """
    from organelle_fusion.models import count_parameters, layer_summary
    from organelle_fusion.training import (
        PREDICTION_BATCH,
        compiled_model,
        predict_proba,
        reset_model,
    )

    encoder = profile.encoder.without_weights()
    channels = ("channel",) if network == "single" else profile.channels
    batch, size = profile.training.batch_size, profile.encoder.input_px
    random = np.random.default_rng(0)
    try:
        model, build = compiled_model(network, channels, n_classes, encoder, profile.training)
        start = _median_seconds(lambda: reset_model(model, build, 0))
        images = random.integers(0, 256, (PREDICTION_BATCH, size, size, len(channels)), np.uint8)
        step = _step_seconds(model, images, n_classes, profile)
        prediction = _median_seconds(lambda: predict_proba(model, images))
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise CostError(
            f"{network} network, {size} px, batches of {batch}: expected to time one step, found "
            f"{type(error).__name__}: {reason[:300]}; if memory is short, lower "
            "training.batch_size or encoder.input_px"
        ) from error
    sizes = count_parameters(model)
    values = layer_summary(model)["output shape"].map(lambda shape: int(np.prod(shape)))
    return NetworkCost(
        step=step,
        prediction=prediction / PREDICTION_BATCH,
        start=start,
        trainable=sizes["trainable"],
        parameters=sizes["total"],
        activations=int(values.sum()),
    )


def _warm_seconds(call: Callable[[], Result]) -> tuple[float, Result]:
    """Time of a second call, and what it returned; the first compiles, or loads what is."""
    call()
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def _median_seconds(call: Callable[[], object]) -> float:
    """Median of a few calls after the first, which compiles."""
    call()
    seconds: list[float] = []
    while not seconds or (len(seconds) < _REPEATS and sum(seconds) < _SECONDS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def _step_seconds(model, images: np.ndarray, n_classes: int, profile: Profile) -> float:
    """Median time of a training step inside `fit`, as trainings run it."""
    import keras

    ends = []

    class Clock(keras.callbacks.Callback):
        # Given numbers as logs, Keras has waited for the step to end.
        def on_train_batch_end(self, batch, logs=None):
            ends.append(time.perf_counter())
            self.model.stop_training = len(ends) > 1 and ends[-1] - ends[0] > _SECONDS

    at_once = profile.training.steps_per_execution
    rows = np.resize(np.arange(len(images)), profile.training.batch_size * at_once * (_REPEATS + 1))
    model.fit(
        images[rows],
        rows % n_classes,
        sample_weight=np.ones(len(rows), np.float32),
        batch_size=profile.training.batch_size,
        callbacks=[Clock()],
        verbose=0,
    )
    return float(np.median(np.diff(ends))) / at_once


def time_preprocessing(profile: Profile, stacks: pd.DataFrame, run: Run) -> PreprocessingCost:
    """Time the preprocessing of one plane: the middle one of the first stack.

    The phantom's is simulated, with its whole stack. The plane is written into a temporary folder
    and goes through the functions of the chapters, with no patch left out as sparse; the first
    time each of them compiles, or loads what is, and does not count.

    Parameters
    ----------
    profile, run
        Settings and data set.
    stacks
        Of `manifest.validate_manifest` or `plan_data.phantom_stacks`.
    """
    from organelle_fusion.preprocessing import build_patch_set, tabulate_patches
    from organelle_fusion.rotation import rotate_dataset

    if run.is_phantom:
        from organelle_fusion.phantom import class_names, simulate_stack

        started = time.perf_counter()
        stack = simulate_stack(class_names("full")[0], index=0, settings=profile.phantom)
        simulated = time.perf_counter() - started
        names, array = stack.channels, stack.image
        plane = array[:, array.shape[1] // 2]
    else:
        row = next(read_manifest(run.manifest).itertuples(index=False))
        volume = open_image(row).select(profile.channels)
        simulated, names = 0.0, volume.channels
        plane = volume.plane(volume.shape[1] // 2)
    settings = profile.patches.model_copy(update={"min_foreground": 0.0, "max_per_image": None})
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pixel = float(stacks["pixel_size_um"].iloc[0])
        write_ome_tiff(
            folder / "plane.ome.tif", plane[:, None], names, pixel_size_um=pixel, z_step_um=None
        )
        (folder / "manifest.csv").write_text("image,path,label\nplane,plane.ome.tif,any\n", "utf-8")
        images = read_manifest(folder / "manifest.csv")
        common = {"channels": profile.channels, "settings": settings, "progress": False}
        tabulating, tabulated = _warm_seconds(
            lambda: tabulate_patches(images, sizes_px=settings.sizes_px, **common)
        )
        seconds, (patch_set, *_) = _warm_seconds(
            lambda: build_patch_set(
                images, output_px=profile.encoder.input_px, tabulated=tabulated, **common
            )
        )
        cutting = seconds / len(patch_set.table)
        turning = 0.0
        if settings.rotations_deg:
            turning, _ = _warm_seconds(
                lambda: rotate_dataset(
                    images,
                    Path(tempfile.mkdtemp(dir=folder)),  # what one holds is not made again
                    degrees=settings.rotations_deg[0],
                    channels=profile.channels,
                    progress=False,
                )
            )
    return PreprocessingCost(simulated, turning, tabulating, cutting)


def training_seconds(
    plan: pd.DataFrame, costs: dict[str, NetworkCost], profile: Profile
) -> pd.DataFrame:
    """Seconds of all trainings of each row of a plan.

    A network on patches of another size, or with other channels, is taken to cost in proportion to
    its pixels and, where each channel has an encoder, to their number.

    Parameters
    ----------
    plan
        Of `plan.planned_trainings`.
    costs
        Network → what `time_network` found.
    profile
        Its input size, channels and batch are those of the costs.

    Returns
    -------
    DataFrame
        ``least`` (early stopping ends every training as soon as it can), ``most`` (all epochs);
        rows as in `plan`.
    """

    timed = pd.DataFrame(costs.values(), index=list(costs)).reindex(plan["network"])
    step, prediction, start = (
        timed[name].set_axis(plan.index) for name in ("step", "prediction", "start")
    )
    work = (plan["edge_px"] / profile.encoder.input_px) ** 2 * encoders(plan, profile)
    steps = np.ceil(plan["train"] / profile.training.batch_size)
    epoch = (steps * step + plan["validation"] * prediction) * work
    once = start + (plan["validation"] + plan["test"]) * prediction * work
    return pd.DataFrame(
        {
            end: (plan["trainings"] * (plan[f"epochs_{end}"] * epoch + once)).fillna(0)
            for end in ("least", "most")
        }
    )


def encoders(plan: pd.DataFrame, profile: Profile) -> np.ndarray:
    """Size of each planned network as a share of the timed one, which may have other channels."""
    share = plan["channels"] / len(profile.channels)
    return np.where(plan["network"].isin([*ONE_ENCODER, ""]), 1, share)  # late fusion has none


def weight_bytes(
    plan: pd.DataFrame, costs: dict[str, NetworkCost], profile: Profile
) -> tuple[float, float]:
    """Bytes of the weights that are kept, and of those that a search keeps until it is done."""
    each = plan["network"].map({name: 4 * cost.parameters for name, cost in costs.items()})
    each = each.fillna(0) * encoders(plan, profile)
    kept = plan["files"].where(plan["trainings"] > 0, 0) * each
    trials = sum(trials for trials, _ in hyperband_rounds(profile.tuning))
    return float(kept.sum()), float(trials * 4 * costs["intermediate"].parameters)
