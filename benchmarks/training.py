"""What a fold costs beside its training steps: this package and a plain Keras loop, side by side.

``python -m benchmarks.training`` prints seconds per fold, what is left of them without the steps,
and what the input pipeline adds to the steps.

The peer is cross-validation as it is commonly written with Keras: for every fold clear the session,
build, compile, fit and predict. Both train the same network, with the same seeds, on the same
patches of noise, in five folds whose parts are whole numbers of batches; so the predictions must be
equal. Each runs in a process of its own that has compiled nothing before. The networks are those of
the paper's strategies: three of a single organelle in each fold, early and intermediate fusion.
"""

import itertools
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import typer

from benchmarks.timing import OURS, print_table
from organelle_fusion.config import Profile, load_profile, use_backend
from organelle_fusion.speed import PIPELINE

FOLDS = 5
CLASSES = 6
GROUP = 32  # patches of an image, of which each part is a whole number
TRAININGS = 8  # of each way, whose epochs tell what the input pipeline costs
PEER, BARE = f"Keras {version('keras')}", "the steps alone"
UNSTEPPED = "without their steps"
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow"}
TITLES = {"single": "one organelle", "early": "early fusion", "intermediate": "intermediate fusion"}


def numbers_of(strategy: str, profile: Profile) -> range:
    """Numbers of the trainings of all folds: of each organelle by itself, or of all together."""
    return range(FOLDS * (len(profile.channels) if strategy == "single" else 1))


def channels_of(strategy: str, profile: Profile) -> tuple[str, ...]:
    """Names of the channels of a network."""
    return ("channel",) if strategy == "single" else profile.channels


def folds_of(profile: Profile, channels: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Patches (960, H, W, C) whose brightness tells their class a little, labels, and parts."""
    random = np.random.default_rng(0)
    size = profile.encoder.input_px
    labels = random.integers(0, CLASSES, 960)
    patches = random.integers(0, 200, (960, size, size, channels), dtype=np.uint8)
    patches += labels.astype(np.uint8)[:, None, None, None] * 11
    parts = []
    for fold in range(FOLDS):
        part = np.full(960, "train", dtype="<U10")
        part[fold * 192 : (fold + 1) * 192] = "test"
        part[np.flatnonzero(part == "train")[:128]] = "validation"
        parts.append(part)
    return patches, labels, parts


def our_folds(strategy: str, profile: Profile) -> Callable[[int], np.ndarray]:
    """Number of a training → probabilities of the patches not trained on, by this package."""
    from organelle_fusion.training import compiled_model, reset_model, train_fold

    channels = channels_of(strategy, profile)
    patches, labels, parts = folds_of(profile, len(channels))

    def fold(number: int) -> np.ndarray:
        model, build = compiled_model(
            strategy, channels, CLASSES, profile.encoder, profile.training
        )
        reset_model(model, build, number)
        return train_fold(
            model, patches, labels, parts[number % FOLDS], settings=profile.training, seed=number
        )[0]

    return fold


def plain_folds(strategy: str, profile: Profile) -> Callable[[int], np.ndarray]:
    """Number of a training → probabilities, by a plain Keras loop."""
    import keras
    from scipy.special import softmax

    from organelle_fusion.models import build_model, set_seed
    from organelle_fusion.training import class_weights, compile_model

    channels = channels_of(strategy, profile)
    patches, labels, parts = folds_of(profile, len(channels))
    settings = profile.training

    def fold(number: int) -> np.ndarray:
        keras.backend.clear_session()
        set_seed(number)
        model = build_model(
            strategy,
            channels=channels,
            n_classes=CLASSES,
            encoder=profile.encoder,
            training=settings,
        )
        compile_model(model, settings)
        set_seed(number)
        train, validation = (parts[number % FOLDS] == part for part in ("train", "validation"))
        model.fit(
            patches[train],
            labels[train],
            sample_weight=class_weights(labels[train], CLASSES)[labels[train]],
            validation_data=(patches[validation], labels[validation]),
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            callbacks=[
                # As in this package, so that the order of the patches is the same.
                keras.callbacks.LambdaCallback(on_train_begin=lambda logs: set_seed(number)),
                keras.callbacks.EarlyStopping(
                    "val_accuracy",
                    patience=settings.patience,
                    mode="max",
                    restore_best_weights=True,
                ),
            ],
            verbose=0,
        )
        return softmax(model.predict(patches[~train], verbose=0), axis=1)

    return fold


def swept(strategies: tuple[str, ...], profile: Profile) -> float:
    """Seconds of the trainings of all `strategies` by `sweep.train_cells`, without their steps.

    In one process and all in all, with what Keras compiles first, and with the files that are
    written for each.
    """
    from organelle_fusion.cluster import HERE
    from organelle_fusion.patchset import PatchSet
    from organelle_fusion.sweep import train_cells

    patches, _, parts = folds_of(profile, len(profile.channels))
    groups = np.arange(len(patches)) // GROUP
    names = np.array([f"group-{number:02d}" for number in range(groups[-1] + 1)])
    classes = np.array([f"class-{number}" for number in range(CLASSES)])
    table = pd.DataFrame({"image": names[groups], "group": names[groups], "z": 0, "y": 0, "x": 0})
    table["label"] = classes[groups % CLASSES]
    folds = pd.concat(
        pd.DataFrame(
            {
                "fold": fold,
                "group": names,
                "label": classes[np.arange(len(names)) % CLASSES],
                "part": part[::GROUP],
            }
        )
        for fold, part in enumerate(parts)
    )
    models = {"single": profile.channels}
    with TemporaryDirectory() as folder:
        begun = time.perf_counter()
        train_cells(
            PatchSet(patches, table, profile.channels, None),
            folds,
            models=[name for found in strategies for name in models.get(found, (found,))],
            profile=profile,
            dataset="noise",
            size_px=profile.patches.size_px,
            folder=Path(folder),
            seed=1,
            workers=HERE,
        )
        seconds = time.perf_counter() - begun
    steps = [len(numbers_of(found, profile)) * epochs_of(found, profile)[0] for found in strategies]
    return seconds - profile.training.epochs * sum(steps)


def epochs_of(strategy: str, profile: Profile) -> tuple[float, float]:
    """Seconds of an epoch: of its bare steps, on batches that are on the device, and of `fit`.

    What `fit`, without validation, needs more is the input pipeline and Keras' own loop. Both are
    medians over the epochs of several trainings, which take turns, so that whatever else the
    machine does for a while meets both.
    """
    import keras

    from organelle_fusion.training import compiled_model, fit_model, reset_model

    settings, channels = profile.training, channels_of(strategy, profile)
    patches, labels, parts = folds_of(profile, len(channels))
    train = np.flatnonzero(parts[0] == "train")
    model, build = compiled_model(strategy, channels, CLASSES, profile.encoder, settings)
    rows = train.reshape(-1, settings.batch_size)
    arrays = [(patches[row], labels[row], np.ones(len(row), np.float32)) for row in rows]
    batches = [tuple(map(keras.ops.convert_to_tensor, batch)) for batch in arrays]
    steps = _jax_steps(model) if keras.backend.backend() == "jax" else _tensorflow_steps(model)

    def bare(begins: Callable) -> None:
        steps(batches, settings.epochs, begins)

    def fit(begins: Callable) -> None:
        at_epochs = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begins())
        fit_model(
            model, patches, labels, parts[0],
            settings=settings, seed=0, validated=False, callbacks=[at_epochs],
        )  # fmt: skip

    seconds: dict[Callable, list[float]] = {bare: [], fit: []}
    for _, way in itertools.product(range(1 + TRAININGS), seconds):
        reset_model(model, build, 0)
        moments: list[float] = []
        way(lambda to=moments: to.append(time.perf_counter()))
        seconds[way].extend(np.diff(moments))
    first = settings.epochs - 1  # of the training that compiles, from beginning to beginning
    return tuple(float(np.median(found[first:])) for found in seconds.values())


def _jax_steps(model) -> Callable:
    import jax

    step = jax.jit(model.train_step, donate_argnums=0)

    def run(batches, epochs: int, begins: Callable) -> None:
        of = (model.trainable_variables, model.non_trainable_variables)
        of = (*of, model.optimizer.variables, model.metrics_variables)
        # Copies, since a step takes the memory of what it is given.
        state = tuple([jax.numpy.array(v.value) for v in variables] for variables in of)
        for _ in range(epochs):
            begins()
            for batch in batches:
                logs, state = step(state, batch)
            jax.block_until_ready(logs)

    return run


def _tensorflow_steps(model) -> Callable:
    import tensorflow as tf

    step = tf.function(lambda *batch: model.train_step(batch))

    def run(batches, epochs: int, begins: Callable) -> None:
        for _ in range(epochs):
            begins()
            for batch in batches:
                logs = step(*batch)
            float(logs["loss"])

    return run


def _measure(way: str, strategy: str, profile: Profile) -> dict:
    """All folds one way, in a new process: seconds of each, probabilities, and memory."""
    # Before the clock runs.
    import keras  # noqa: F401

    from organelle_fusion import training  # noqa: F401

    fold = {"ours": our_folds, "plain": plain_folds}[way](strategy, profile)
    seconds, probabilities = [], []
    for number in numbers_of(strategy, profile):
        begun = time.perf_counter()
        probabilities.append(fold(number))
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mb = peak / (1e6 if sys.platform == "darwin" else 1e3)
    steps, _ = epochs_of(strategy, profile)
    return {
        "seconds": np.array(seconds),
        "probabilities": np.concatenate(probabilities),
        "peak_mb": peak_mb,
        "steps": profile.training.epochs * steps,
    }


def _epochs_on(backend: str, strategy: str, profile: Profile) -> tuple[float, float]:
    os.environ["KERAS_BACKEND"] = backend
    return epochs_of(strategy, profile)


def _in_new_process(function: Callable, *arguments) -> Any:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def compare(
    profile: str = "quick", strategies: tuple[str, ...] = ("single", "early", "intermediate")
) -> pd.DataFrame:
    """Measure both, on the backend of the profile.

    Returns
    -------
    pandas.DataFrame
        benchmark, task, who, seconds, equal, peak_mb. ``fold``: mean of all folds. ``fold without
        its steps``: less the bare steps, measured in the same process; also apart for the first
        fold, with what a new process has to compile, and the later ones. Then the overhead of all
        networks of these strategies together. Benchmark `speed.PIPELINE`: an epoch of `fit` beside
        its bare steps; what is between them is the input pipeline and Keras' own loop.
    """
    settings = load_profile(profile)
    use_backend(settings)
    rows, overheads = [], {OURS: [], PEER: []}
    for strategy in strategies:
        found = {
            way: _in_new_process(_measure, way, strategy, settings) for way in ("ours", "plain")
        }
        deviation = np.abs(found["ours"]["probabilities"] - found["plain"]["probabilities"]).max()
        equal = f"probabilities to {deviation:.0e}"
        for way, who in (("ours", OURS), ("plain", PEER)):
            of = found[way]
            overheads[who].extend(of["seconds"] - of["steps"])
            tasks = {
                "fold": of["seconds"].mean(),
                "fold without its steps": of["seconds"].mean() - of["steps"],
                "first fold without its steps": of["seconds"][0] - of["steps"],
                "later fold without its steps": of["seconds"][1:].mean() - of["steps"],
            }
            rows += [
                {
                    "benchmark": "training",
                    "task": f"{TITLES[strategy]}: {task}, s per fold",
                    "who": who,
                    "seconds": seconds,
                    "equal": equal,
                    "peak_mb": of["peak_mb"] if task == "fold" else np.nan,
                }
                for task, seconds in tasks.items()
            ]
    rows += [
        {
            "benchmark": "training",
            "task": f"all {len(own)} networks of {FOLDS} folds: {UNSTEPPED}, s per network",
            "who": who,
            "seconds": np.mean(own),
        }
        for who, own in overheads.items()
    ]
    by_sweep = _in_new_process(swept, strategies, settings)
    task = f"the same by the sweep, which writes files: {UNSTEPPED}, s per network"
    rows += [
        {"benchmark": "training", "task": task, "who": who, "seconds": seconds}
        for who, seconds in (
            (OURS, by_sweep / len(overheads[OURS])),
            (PEER, np.mean(overheads[PEER])),
        )
    ]
    for backend, strategy in itertools.product(BACKENDS, strategies):
        steps, fit = _in_new_process(_epochs_on, backend, strategy, settings)
        task = f"{TITLES[strategy]}, {BACKENDS[backend]}, s per epoch"
        rows += [
            {"benchmark": PIPELINE, "task": task, "who": who, "seconds": seconds}
            for who, seconds in ((OURS, fit), (BARE, steps))
        ]
    return pd.DataFrame(rows)


def main(profile: str = "quick") -> None:
    """Print the table and the ratios."""
    print_table(compare(profile))


if __name__ == "__main__":
    typer.run(main)
