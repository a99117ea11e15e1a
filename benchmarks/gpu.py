"""Images per second of every network on this device, beside plain Keras, on any backend of Keras.

``python -m benchmarks.gpu`` trains and predicts with single, early, intermediate and spatial
networks in 32 bits and in bfloat16, beside `fit` and `predict` as people write them, predicts a
whole image, tries stacked encoders on JAX, and sets all of it beside the measured rate of matrix
products. It writes ``gpu.csv`` and ``gpu.json``, goes on where it was stopped on the same device,
and stops in time.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import typer

from organelle_fusion.config import (
    EncoderSettings,
    Profile,
    load_profile,
    paper_px_to_um,
    use_backend,
)
from organelle_fusion.devices import device_name, keras_device
from organelle_fusion.provenance import code_version, provenance, write_csv, write_json

NETWORKS = ("single", "early", "intermediate", "spatial")
PRECISIONS = ("float32", "mixed_bfloat16")
PLAIN = "plain Keras"
OURS = "organelle_fusion"
N_CLASSES = 6
EPOCHS = 3  # the first compiles

GOALS = (
    "Goals on an H200: intermediate training 900 patches/s or more and 2 times plain Keras in "
    "32 bits or more; a full image in 0.25 s or less."
)


class Case(NamedTuple):
    """One thing to be timed."""

    task: str  # matrix product, training, prediction, full image, stacked encoders
    network: str
    way: str
    precision: str
    batch: int


class Timed(NamedTuple):
    """What was found."""

    per_second: float  # images; of a full image, its tiles; of a matrix product, products
    seconds: float  # of all that was timed
    gflop: float  # of one of them


def all_cases(batches: list[int]) -> list[Case]:
    """Everything to be timed, what matters most first; plain Keras trains in one batch size."""
    from organelle_fusion.training import PREDICTION_BATCH

    first, predicted = batches[0], PREDICTION_BATCH
    cases = [Case("matrix product", "", OURS, "bfloat16", 1)]
    for network in ("intermediate", "early", "single", "spatial"):
        cases.append(Case("training", network, PLAIN, "float32", first))
        for precision in reversed(PRECISIONS):
            cases += [Case("training", network, OURS, precision, batch) for batch in batches]
    for network in ("intermediate", "early", "single", "spatial"):
        cases.append(Case("prediction", network, PLAIN, "float32", predicted))
        cases += [Case("prediction", network, OURS, name, predicted) for name in PRECISIONS]
    cases += [Case("full image", "intermediate", OURS, name, predicted) for name in PRECISIONS]
    for way in ("plain step", "stacked step"):
        cases += [
            Case("stacked encoders", "intermediate", way, name, batch)
            for name in PRECISIONS
            for batch in batches
        ]
    return cases


# --- networks -----------------------------------------------------------------------------------


def build(network: str, profile: Profile, precision: str):
    """Network of six classes with random weights."""
    from organelle_fusion.models import build_model

    channels = ("channel",) if network == "single" else profile.channels
    return build_model(
        network,
        channels=channels,
        n_classes=N_CLASSES,
        encoder=profile.encoder.model_copy(update={"weights": None}),
        training=profile.training.model_copy(update={"precision": precision}),
    )


def gflop(model) -> float:
    """Billions of floating-point operations of the convolutions and dense layers for one image.

    A multiplication and an addition are two. Forward only: training takes three times as many.
    """
    from keras import layers

    total = 0
    for layer in model.layers:
        if hasattr(layer, "layers"):
            total += 1e9 * gflop(layer)
        elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            places = int(np.prod(layer.output.shape[1:3]))
            total += 2 * places * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, layers.Dense):
            places = int(np.prod(layer.output.shape[1:-1]))
            total += 2 * places * int(np.prod(layer.kernel.shape))
    return total / 1e9


def noise(number: int, model) -> tuple[np.ndarray, np.ndarray]:
    """Random patches, uint8, and classes."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (number, *model.input_shape[1:]), dtype=np.uint8)
    return pixels, np.arange(number) % N_CLASSES


# --- what is timed ------------------------------------------------------------------------------


def time_matrix(size: int, repeats: int) -> Timed:
    """Products of square bfloat16 matrices, one after the other."""
    import keras

    random = np.random.default_rng(0)
    matrix = keras.ops.cast(random.normal(size=(size, size)) / size**0.5, "bfloat16")

    def multiply(times: int) -> float:
        product = matrix
        started = time.perf_counter()
        for _ in range(times):
            product = keras.ops.matmul(product, matrix)
        float(keras.ops.convert_to_numpy(keras.ops.cast(product[0, 0], "float32")))  # waits
        return time.perf_counter() - started

    multiply(2)
    seconds = min(multiply(repeats) for _ in range(3))
    return Timed(repeats / seconds, seconds, 2 * size**3 / 1e9)


def epoch_clock():
    """Callback with ``seconds``, one number for each epoch."""
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            float(logs["loss"])  # waits for the device
            self.seconds.append(time.perf_counter() - self.started)

    return Clock()


def time_training(case: Case, profile: Profile, batches: int) -> Timed:
    """Patches per second of the fastest epoch after the first."""
    import keras

    from organelle_fusion.training import compile_model, fit_model

    model = build(case.network, profile, case.precision)
    number = batches * case.batch
    pixels, labels = noise(number, model)
    clock = epoch_clock()
    if case.way == PLAIN:
        model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(
            pixels.astype(np.float32),
            labels,
            batch_size=case.batch,
            epochs=EPOCHS,
            callbacks=[clock],
            verbose=0,
        )
    else:
        settings = profile.training.model_copy(update={"batch_size": case.batch, "epochs": EPOCHS})
        fit_model(
            compile_model(model, settings),
            pixels,
            labels,
            np.full(number, "train"),
            settings=settings,
            seed=0,
            validated=False,
            callbacks=[clock],
        )
    seconds = min(clock.seconds[1:])
    return Timed(number / seconds, seconds, 3 * gflop(model))


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls after the first, which compiles."""
    call()
    found = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def time_prediction(case: Case, profile: Profile, batches: int) -> Timed:
    """Patches per second, probabilities or logits as arrays on the host."""
    from organelle_fusion.training import predict_proba

    model = build(case.network, profile, case.precision)
    number = max(batches // 4, 1) * case.batch
    pixels, _ = noise(number, model)
    if case.way == PLAIN:
        pixels = pixels.astype(np.float32)
        seconds = fastest(lambda: model.predict(pixels, batch_size=case.batch, verbose=0))
    else:
        seconds = fastest(lambda: predict_proba(model, pixels))
    return Timed(number / seconds, seconds, gflop(model))


def time_full_image(case: Case, profile: Profile, edge: int) -> Timed:
    """Tiles per second of one plane of ``edge`` × ``edge`` pixels, cut, scaled and predicted."""
    from organelle_fusion.intensity import stack_statistics
    from organelle_fusion.patches import extract_patches
    from organelle_fusion.reference_data import volume_of
    from organelle_fusion.stitching import tile_table
    from organelle_fusion.training import predict_proba

    model = build(case.network, profile, case.precision)
    random = np.random.default_rng(0)
    counts = random.integers(0, 4096, (len(profile.channels), 1, edge, edge), dtype=np.uint16)
    settings = load_profile("reference").phantom  # the paper's pixels
    volume = volume_of(counts, profile.channels, settings, "plane")
    statistics = stack_statistics(volume)
    tile = round(paper_px_to_um(profile.patches.size_px) / settings.pixel_size_um)
    tiles = tile_table((edge, edge), 0, min(tile, edge), overlap=False)

    def predict() -> None:
        patches = extract_patches(
            volume, tiles, output_px=profile.encoder.input_px, statistics=statistics
        )
        predict_proba(model, patches)

    seconds = fastest(predict)
    return Timed(len(tiles) / seconds, seconds, gflop(model))


def time_stacked(case: Case, profile: Profile, batches: int) -> Timed:
    """Patches per second of training steps, with encoders one by one or stacked; on JAX."""
    import jax

    from benchmarks import stacked

    model = build(case.network, profile, case.precision)
    pixels, labels = noise(case.batch, model)
    values, logits = stacked.variables(model), stacked.forward(model)
    if case.way == "stacked step":
        values, logits = stacked.with_stacked_encoders(values), stacked.stacked_forward(model)
    step = stacked.training_step(logits)
    images, classes = jax.device_put(pixels.astype(np.float32)), jax.device_put(labels)
    state = (values["trainable"], values["non_trainable"])
    state = (*state, stacked.first_moments(state[0]))

    def steps() -> None:
        now = state
        for _ in range(batches):
            *now, loss = step(*now, images, classes)
        loss.block_until_ready()

    seconds = fastest(steps)
    return Timed(batches * case.batch / seconds, seconds, 3 * gflop(model))


def measure(case: Case, profile: Profile, batches: int, full_px: int, matrix: int) -> Timed:
    """Time one case."""
    if case.task == "matrix product":
        return time_matrix(matrix, batches)
    if case.task == "training":
        return time_training(case, profile, batches)
    if case.task == "prediction":
        return time_prediction(case, profile, batches)
    if case.task == "full image":
        return time_full_image(case, profile, full_px)
    return time_stacked(case, profile, batches)


# --- the table ----------------------------------------------------------------------------------


def with_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``tflops``, its ``share`` of the matrix rate, and the ``ratio`` to the peer.

    The peer of training and prediction is plain Keras with the same network; that of stacked
    encoders the plain step of the same precision and batch.
    """
    rows = rows.assign(tflops=rows["per_second"] * rows["gflop"] / 1000)
    matrix = rows.loc[rows["task"] == "matrix product", "tflops"]
    rows["share"] = rows["tflops"] / matrix.iloc[0]
    plain = rows[rows["way"] == PLAIN].set_index(["task", "network"])["per_second"]
    step = rows[rows["way"] == "plain step"].set_index(["precision", "batch"])["per_second"]
    peers = [
        step.get((row.precision, row.batch), np.nan)
        if row.task == "stacked encoders"
        else plain.get((row.task, row.network), np.nan)
        for row in rows.itertuples()
    ]
    return rows.assign(ratio=rows["per_second"] / peers)


def stored_rows(folder: Path, facts: dict) -> pd.DataFrame:
    """Rows timed before with the same device, versions and settings; else none."""
    paths = folder / "gpu.csv", folder / "gpu.json"
    if all(path.is_file() for path in paths):
        before = json.loads(paths[1].read_text("utf-8"))
        if all(before.get(key) == value for key, value in facts.items()):
            return pd.read_csv(paths[0], keep_default_na=False)[
                [*Case._fields, *Timed._fields]
            ].astype({"batch": int, **dict.fromkeys(Timed._fields, float)})
    return pd.DataFrame(columns=[*Case._fields, *Timed._fields])


def settings_of(profile: str, edge: int, kind: str) -> Profile:
    """The profile, with another size of input or kind of encoder if one is given."""
    settings = load_profile(profile)
    encoder = settings.encoder.model_dump()
    encoder["input_px"] = edge or encoder["input_px"]
    if kind:
        encoder |= {"kind": kind, "weights": None}
    return settings.model_copy(update={"encoder": EncoderSettings.model_validate(encoder)})


def main(
    profile: str = "reference",
    edge: Annotated[int, typer.Option(help="Edge of a patch, px; the profile's if 0.")] = 0,
    kind: Annotated[str, typer.Option(help="Kind of encoder; the profile's unless given.")] = "",
    batches: Annotated[int, typer.Option(help="Batches in an epoch.")] = 24,
    batch: Annotated[list[int], typer.Option(help="Patches in a batch; may be repeated.")] = (
        32,
        128,
    ),
    full_px: Annotated[int, typer.Option(help="Edge of the full image, px.")] = 1364,
    matrix: Annotated[int, typer.Option(help="Edge of the matrices.")] = 8192,
    minutes: Annotated[float, typer.Option(help="Nothing is begun after so long.")] = 8.0,
    folder: Path = Path("data/benchmarks"),
) -> None:
    """Time what is not timed yet, and print all."""
    settings = settings_of(profile, edge, kind)
    use_backend(settings)
    import keras

    from organelle_fusion.training import PREDICTION_BATCH

    began = time.monotonic()
    facts = {
        "backend": keras.backend.backend(),
        "device": device_name(),
        "device_kind": keras_device(),
        "keras": keras.__version__,
        "settings": settings.model_dump(mode="json", include={"encoder", "training", "channels"}),
        "batches": batches,
        "full_px": full_px,
        "predicted": PREDICTION_BATCH,
        "matrix": matrix,
        "code": code_version("augmentation", "encoders", "mixing", "models", "training"),
    }
    rows = stored_rows(folder, facts)
    cases = all_cases(list(batch))
    if facts["backend"] != "jax":
        cases = [case for case in cases if case.task != "stacked encoders"]
        print("stacked encoders are tried on JAX only")
    done = {Case(*row) for row in rows[list(Case._fields)].itertuples(index=False)}
    for case in cases:
        if case in done:
            continue
        if len(rows) and time.monotonic() - began > 60 * minutes:
            print("time is over: run again to go on")
            break
        found = measure(case, settings, batches, full_px, matrix)
        keras.backend.clear_session()
        rows.loc[len(rows)] = [*case, *found]
        write_csv(folder / "gpu.csv", with_ratios(rows))
        write_json(folder / "gpu.json", provenance(**facts))
        print(f"{', '.join(map(str, case))}: {found.per_second:.1f} per second", flush=True)
    print(f"\n{facts['device']}, Keras {facts['keras']} on {facts['backend']}")
    table = with_ratios(rows).drop(columns="seconds")
    print(table.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.3g}"))
    whole = rows[rows["task"] == "full image"]
    for row in whole.itertuples():
        print(f"full image of {full_px} px, {row.precision}: {row.seconds:.3f} s")
    print(GOALS)


if __name__ == "__main__":
    typer.run(main)
