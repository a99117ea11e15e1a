"""How many images a second one network takes, one way: the timing that `benchmarks.gpu` lists."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from organelle_fusion.config import Profile, load_profile, paper_px_to_um

PLAIN = "plain Keras"
OURS = "organelle_fusion"
PLAIN_STEP = "plain step"
STACKED = ("encoders stacked", "two folds stacked")
N_CLASSES = 6
EPOCHS = 3  # the first compiles


class Case(NamedTuple):
    """One thing to be timed."""

    task: str  # matrix product, training, prediction, full image, stacked weights
    network: str
    way: str
    precision: str
    batch: int


class Timed(NamedTuple):
    """What was found."""

    per_second: float  # images; of a full image, its tiles; of a matrix product, products
    seconds: float  # of all that was timed
    gflop: float  # of one of them


# --- networks -----------------------------------------------------------------------------------


def build(network: str, profile: Profile, precision: str):
    """Network of six classes with random weights."""
    from organelle_fusion.models import build_model

    channels = ("channel",) if network == "single" else profile.channels
    return build_model(
        network,
        channels=channels,
        n_classes=N_CLASSES,
        encoder=profile.encoder.without_weights(),
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
    from organelle_fusion.stitching import tile_table
    from organelle_fusion.training import predict_proba
    from organelle_fusion.volumes import volume_from_array

    model = build(case.network, profile, case.precision)
    random = np.random.default_rng(0)
    counts = random.integers(0, 4096, (len(profile.channels), 1, edge, edge), dtype=np.uint16)
    settings = load_profile("reference").phantom  # the paper's pixels
    volume = volume_from_array(counts, profile.channels, settings.pixel_size_um, name="plane")
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
    """Patches per second of training steps: plain, of stacked encoders, or of two folds; on JAX."""
    import jax

    from benchmarks import stacked

    model = build(case.network, profile, case.precision)
    pixels, labels = noise(case.batch, model)
    values, logits = stacked.variables(model), stacked.forward(model)
    if case.way == "encoders stacked":
        values, logits = stacked.with_stacked_encoders(values), stacked.stacked_forward(model)
    images, classes = jax.device_put(pixels.astype(np.float32)), jax.device_put(labels)
    given = (values["trainable"], values["non_trainable"])
    given = (*given, stacked.first_moments(given[0]), images, classes)
    step, folds = stacked.training_step(logits), 1
    if case.way == "two folds stacked":
        folds = 2
        given = jax.tree.map(lambda array: jax.numpy.stack([array] * folds), given)
        step = stacked.step_of_folds(logits)
    *state, images, classes = given

    def steps() -> None:
        now = state
        for _ in range(batches):
            *now, loss = step(*now, images, classes)
        loss.block_until_ready()

    seconds = fastest(steps)
    return Timed(folds * batches * case.batch / seconds, seconds, 3 * gflop(model))


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
