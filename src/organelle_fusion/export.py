"""Export of trained networks to LiteRT (TensorFlow Lite) files, which run without Keras.

TensorFlow converts, whatever Keras computes on elsewhere: the weights are read into the same
network in a process of its own, where Keras runs on TensorFlow.
"""

import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from joblib.externals.loky import ProcessPoolExecutor
from scipy.special import softmax

from organelle_fusion.bootstrap import interval, sample_of
from organelle_fusion.chatter import import_keras
from organelle_fusion.computing import run_cells
from organelle_fusion.config import Profile, UserError
from organelle_fusion.folds import check_no_leakage, fold_parts
from organelle_fusion.metrics import probability_columns
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, prediction_frame, read_predictions, read_provenance
from organelle_fusion.provenance import code_version, file_hash, hash_of
from organelle_fusion.sweep import NETWORK_CODE

if TYPE_CHECKING:
    import keras

FORMATS = ("float32", "float16", "int8")
"""Numbers of an exported file: as trained; weights in half precision; weights and activations in
8-bit integers."""

BATCHES = (1, 32)
"""Numbers of patches whose latency is measured."""

_TIMED = 30  # runs whose median is the latency


class ExportError(UserError):
    """A network that cannot be exported here; the message is one line."""


class Network(NamedTuple):
    """A trained network: what it is called, how it is built, and where its weights are."""

    name: str
    strategy: str
    profile: Profile  # its encoder and training settings count
    weights: Mapping[int, Path]  # fold → file


def convert(network: "keras.Model", number: str, calibration: np.ndarray) -> bytes:
    """Convert a network to a LiteRT file that takes patches 0..255 as float32 and gives logits.

    Parameters
    ----------
    network
        Of `models.build_model`, with Keras on TensorFlow.
    number
        One of `FORMATS`. With ``int8`` all arithmetic is in integers, and only input and output of
        the file are floating-point numbers.
    calibration
        Patches (N, H, W, C) of the training part. The ranges of the activations are taken from
        them where the format is ``int8``.

    Returns
    -------
    bytes
        Content of a ``.tflite`` file.

    Raises
    ------
    ExportError
        Keras runs on another backend, the format is not known, or ``int8`` has no patches of the
        network's shape to take the ranges from.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"Keras backend: expected tensorflow for export, found {keras.backend.backend()}; set "
            "KERAS_BACKEND=tensorflow, or call exported_predictions, which starts it"
        )
    if number not in FORMATS:
        raise ExportError(f"format: expected one of {', '.join(FORMATS)}, found {number!r}")
    shape = network.input_shape[1:]
    if number == "int8" and (len(calibration) == 0 or np.shape(calibration)[1:] != shape):
        # Without any the converter would leave all numbers float32.
        raise ExportError(
            f"calibration: expected a patch or more of shape {shape} for int8, found an array of "
            f"shape {np.shape(calibration)}; give some of the training part"
        )
    import tensorflow as tf

    # At prediction: the random changes of training are no part of the file.
    call = tf.function(
        lambda patches: network(patches, training=False),
        input_signature=[tf.TensorSpec((None, *shape), tf.float32)],
    )
    # The variables become constants at once. Given the network too, the converter would first save
    # all of it to disk, which takes five times as long.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
    if number != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if number == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if number == "int8":
        converter.representative_dataset = lambda: (
            [patch[None].astype(np.float32)] for patch in calibration
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings():
        # Of a statistic that the calibration above provides.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs")
        return converter.convert()


class ExportedNetwork:
    """A LiteRT file, loaded to run on one thread of the CPU; it needs no Keras."""

    def __init__(self, content: bytes) -> None:
        import tensorflow as tf

        with warnings.catch_warnings():
            # Of its move to a package of its own in a later TensorFlow.
            warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")
            self._interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._batch = None

    def logits(self, patches: np.ndarray) -> np.ndarray:
        """Logits, float32 (N, K), of patches 0..255 (N, H, W, C)."""
        if self._batch != len(patches):
            self._interpreter.resize_tensor_input(self._input, patches.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(patches)
        self._interpreter.set_tensor(self._input, patches.astype(np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    def latency_ms(self, patches: np.ndarray) -> float:
        """Median time of a batch, divided by the number of patches in it, ms per patch."""
        self.logits(patches)
        seconds = []
        for _ in range(_TIMED):
            started = time.perf_counter()
            self.logits(patches)
            seconds.append(time.perf_counter() - started)
        return 1e3 * float(np.median(seconds)) / len(patches)


def exported_predictions(
    networks: Sequence[Network],
    patch_set: PatchSet,
    folds: pd.DataFrame,
    *,
    calibration_patches: int,
    dataset: str,
    size_px: int,
    folder: Path,
    seed: int,
) -> pd.DataFrame:
    """Export every fold's network in every format, and predict with the files.

    Parameters
    ----------
    networks
        Trained by `sweep.train_cells` or `distillation.distill_cells`, in some or all folds.
    patch_set, folds
        Those that they were trained on.
    calibration_patches
        Number of training patches that the ranges of 8-bit numbers are taken from.
    dataset, size_px, folder, seed
        As in `sweep.train_cells`.

    Returns
    -------
    DataFrame
        Predictions, see `predictions.read_predictions`; the model is ``<network>-<format>``.

    Raises
    ------
    SweepError
        A network could not be exported.
    """
    check_no_leakage(folds, patch_set.table)
    jobs = {
        Cell(dataset, size_px, f"{network.name}-{number}", fold, seed): _Job(
            network.strategy, network.profile, number, path
        )
        for network in networks
        for fold, path in network.weights.items()
        for number in FORMATS
    }
    # Started when the first network is exported, and without a look at what calls this.
    pool = ProcessPoolExecutor(1, env={"KERAS_BACKEND": "tensorflow"})

    def compute(cell: Cell) -> pd.DataFrame:
        parts = fold_parts(folds, patch_set.table["group"], cell.fold)
        train, rows = np.flatnonzero(parts == "train"), np.flatnonzero(parts != "train")
        drawn = np.random.default_rng([cell.seed, cell.fold]).choice(
            train, min(calibration_patches, len(train)), replace=False
        )
        try:
            logits, facts = pool.submit(
                _export, jobs[cell], patch_set.channels, len(patch_set.classes),
                patch_set.patches[drawn], patch_set.patches[rows],
            ).result()  # fmt: skip
        except BrokenProcessPool as error:
            raise ExportError(
                "the process that exports ended before it was done, perhaps for want of memory; "
                "run it again"
            ) from error
        probabilities = softmax(logits, axis=1)
        frame = prediction_frame(patch_set.table, rows, parts, patch_set.classes, probabilities)
        frame.attrs = facts
        return frame

    inputs = {
        "data": patch_set.data_hash,
        "folds": hash_of(folds),
        "code": code_version(*NETWORK_CODE, "export", "predictions"),
        "calibration": hash_of(calibration_patches),
    }
    try:
        paths = run_cells(
            list(jobs),
            compute,
            folder,
            inputs=lambda cell: {
                **inputs,
                "settings": hash_of([jobs[cell].profile.encoder, jobs[cell].profile.training]),
                "weights": file_hash(jobs[cell].weights),
            },
            unit="export",
        )
    finally:
        pool.shutdown()
    return read_predictions(paths)


def export_table(
    networks: Sequence[Network],
    trained: Mapping[str, pd.DataFrame],
    exported: pd.DataFrame,
    folder: Path,
    *,
    repeats: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Score, size, latency and faithfulness of every network in every format.

    Parameters
    ----------
    networks
        As given to `exported_predictions`.
    trained
        Name of a network → predictions of Keras; folds that were not exported are left out.
    exported
        Of `exported_predictions`.
    folder
        Root of its files.
    repeats, seed
        Of the bootstrap over groups.

    Returns
    -------
    DataFrame
        network, format; value, low, high (balanced accuracy by patch on the test parts);
        deviation (largest difference of a probability from Keras' own, validation and test parts);
        changed (share of these patches whose class is another); size_kb (kB, mean over folds);
        latency_1 and latency_32 (ms per patch, in batches of 1 and 32 on one thread of this CPU,
        median over folds).

    Raises
    ------
    ExportError
        The rows of Keras' predictions are others.
    """
    keys = ["fold", "patch"]
    rows = []
    for network in networks:
        own = trained[network.name]
        own = own[own["fold"].isin(list(network.weights))].sort_values(keys, ignore_index=True)
        for number in FORMATS:
            model = f"{network.name}-{number}"
            of_model = exported[exported["model"] == model].sort_values(keys, ignore_index=True)
            if not own[keys].equals(of_model[keys]):
                raise ExportError(
                    f"{model}: expected the {len(own)} patches that Keras predicted, found "
                    f"{len(of_model)} that differ; use the same folds"
                )
            columns = probability_columns(of_model)
            ours, theirs = of_model[columns].to_numpy(), own[columns].to_numpy()
            sample = sample_of(of_model, "patch")
            low, high = interval(sample.resampled("balanced_accuracy", repeats, seed))
            details = [read_provenance(cell.path(folder))["details"] for cell in cells_of(of_model)]
            facts = pd.DataFrame(details)
            rows.append(
                {
                    "network": network.name,
                    "format": number,
                    "value": sample.scores()["balanced_accuracy"],
                    "low": low,
                    "high": high,
                    "deviation": float(np.abs(ours - theirs).max()),
                    "changed": float((ours.argmax(axis=1) != theirs.argmax(axis=1)).mean()),
                    "size_kb": facts["bytes"].mean() / 1e3,
                    **{f"latency_{n}": facts[f"latency_{n}"].median() for n in BATCHES},
                }
            )
    return pd.DataFrame(rows)


def cells_of(predictions: pd.DataFrame) -> list[Cell]:
    """Cells that a frame of `predictions.read_predictions` was read from."""
    names = ["dataset", "size_px", "model", "fold", "seed"]
    return [Cell(*row) for row in predictions[names].drop_duplicates().itertuples(index=False)]


@dataclass(frozen=True)
class _Job:
    strategy: str
    profile: Profile
    number: str
    weights: Path


def _export(
    job: _Job, channels: tuple[str, ...], n_classes: int, calibration: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """Convert, load and run one network, in a process where Keras is on TensorFlow."""
    import_keras()
    from organelle_fusion.models import build_model

    network = build_model(
        job.strategy,
        channels=channels,
        n_classes=n_classes,
        encoder=job.profile.encoder,
        # What is stored is float32 in mixed precision as well, and `number` says what it becomes.
        training=job.profile.training.model_copy(update={"precision": "float32"}),
    )
    network.load_weights(job.weights)
    content = convert(network, job.number, calibration)
    exported = ExportedNetwork(content)
    full = max(BATCHES)
    facts = {"bytes": len(content)}
    for size in BATCHES:
        facts[f"latency_{size}"] = exported.latency_ms(np.resize(rows, (size, *rows.shape[1:])))
    logits = [
        exported.logits(np.pad(batch, [(0, full - len(batch)), *[(0, 0)] * 3]))[: len(batch)]
        for batch in (rows[start : start + full] for start in range(0, len(rows), full))
    ]
    return np.concatenate(logits).astype(np.float64), facts
