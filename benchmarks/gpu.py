"""Images per second of every network on this device, beside plain Keras, on any backend of Keras.

``python -m benchmarks.gpu`` trains and predicts with single, early, intermediate and spatial
networks in 32 bits and in bfloat16, beside `fit` and `predict` as people write them, predicts a
whole image, tries stacked weights on JAX, and sets all of it beside the measured rate of matrix
products. It writes ``gpu.csv`` and ``gpu.json``, goes on where it was stopped on the same device,
and stops in time.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.rates import OURS, PLAIN, PLAIN_STEP, STACKED, Case, Timed, measure
from organelle_fusion.config import EncoderSettings, Profile, load_profile, use_backend
from organelle_fusion.devices import device_name, keras_device
from organelle_fusion.provenance import code_version, provenance, write_csv, write_json

PRECISIONS = ("float32", "mixed_bfloat16")

GOALS = (
    "Goals on an H200: intermediate training 900 patches/s or more and 2 times plain Keras in "
    "32 bits or more; a full image in 0.25 s or less."
)


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
    for way in (PLAIN_STEP, *STACKED):
        cases += [
            Case("stacked weights", "intermediate", way, name, batch)
            for name in PRECISIONS
            for batch in batches
        ]
    return cases


# --- the table ----------------------------------------------------------------------------------


def with_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``tflops``, its ``share`` of the matrix rate, and the ``ratio`` to the peer.

    The peer of training and prediction is plain Keras with the same network; that of stacked
    weights the plain step of the same precision and batch.
    """
    rows = rows.assign(tflops=rows["per_second"] * rows["gflop"] / 1000)
    matrix = rows.loc[rows["task"] == "matrix product", "tflops"]
    rows["share"] = rows["tflops"] / matrix.iloc[0]
    plain = rows[rows["way"] == PLAIN].set_index(["task", "network"])["per_second"]
    step = rows[rows["way"] == PLAIN_STEP].set_index(["precision", "batch"])["per_second"]
    peers = [
        step.get((row.precision, row.batch), np.nan)
        if row.task == "stacked weights"
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
        cases = [case for case in cases if case.task != "stacked weights"]
        print("stacked weights are tried on JAX only")
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
