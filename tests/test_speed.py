"""Measured times are read, compared and put into words."""

import json

import pandas as pd
import pytest

from organelle_fusion import speed
from organelle_fusion.speed import SpeedError


@pytest.fixture
def side_by_side():
    """A peer of 3 s beside our 2 s, one of 1 s, and one of 250 s beside our 2 s."""
    rows = [
        ("tiling", "cut, s per plane", "a 1.0", 3.0, "identical", 5.0),
        ("tiling", "cut, s per plane", "organelle-fusion", 2.0, "", None),
        ("tiling", "cut, s per plane", "b 2.0", 1.0, "within 1e-07", 5.0),
        ("maps", "cut", "organelle-fusion", 2.0, "", None),
        ("maps", "cut", "c", 250.0, "identical", None),
    ]
    return pd.DataFrame(rows, columns=speed.COLUMNS)


def test_ratio_is_theirs_over_ours(side_by_side):
    found = speed.with_ratios(side_by_side)
    assert found["who"].tolist() == ["organelle-fusion", "a 1.0", "b 2.0", "organelle-fusion", "c"]
    assert found["ratio"].tolist() == [1, 1.5, 0.5, 1, 125]


def test_what_one_side_does_alone_has_no_ratio(side_by_side):
    """A task of a peer alone, and one of ours alone; the table has a row for each."""
    alone = side_by_side.drop([0, 2, 3])
    found = speed.with_ratios(alone)
    assert found["who"].tolist() == ["organelle-fusion", "c"]
    assert found["ratio"].fillna(0).tolist() == [1, 0]
    assert speed.compared(alone).empty
    assert speed.shown_ratios(alone).to_numpy().tolist() == [
        ["cut, s per plane", "", "", "2.0", "", "", ""],
        ["cut", "c", "", "", "250", "", "identical"],
    ]
    assert speed.compared(alone[:0]).empty


def test_a_task_has_no_two_rows_of_ours(side_by_side):
    twice = pd.concat([side_by_side, side_by_side[1:2]])
    with pytest.raises(
        SpeedError, match=r"tiling, cut, s per plane: expected one row of .* found 2"
    ):
        speed.with_ratios(twice)


def test_table_has_a_row_for_each_peer(side_by_side):
    shown = speed.shown_ratios(side_by_side)
    assert shown[["Peer", "Ratio", "Ours, s", "Theirs, s"]].to_numpy().tolist() == [
        ["a 1.0", "1.5", "2.0", "3.0"],
        ["b 2.0", "0.50", "2.0", "1.0"],
        ["c", "125", "2.0", "250"],
    ]


def test_verdict_names_where_we_are_slower(side_by_side):
    text = speed.verdict_sentence(side_by_side)
    assert text == (
        "In 1 of 2 tasks this package is faster than the fastest peer, by a factor of up to 125 "
        "(cut; c). In the other it is slower, by a factor of 2.0 (cut; b 2.0)."
    )
    assert speed.verdict_sentence(side_by_side.drop(2)).endswith("a factor of up to 125 (cut; c).")


def test_the_input_pipeline_is_what_an_epoch_takes_beyond_its_steps(side_by_side):
    """1.05 s of 1, 1.2 of 1 and 0.99 of 1."""
    times = {"a, JAX": 1.05, "b c, JAX": 1.2, "a, TensorFlow": 0.99}
    rows = [
        (speed.PIPELINE, f"{name}, s per epoch", who, seconds, "", None)
        for name, fed in times.items()
        for who, seconds in (("organelle-fusion", fed), ("the steps alone", 1.0))
    ]
    both = pd.concat([side_by_side, pd.DataFrame(rows, columns=speed.COLUMNS)])
    assert speed.pipeline_sentence(both).endswith(
        "at hand: on JAX by 5% (a), 20% (b c); on TensorFlow by -1% (a)."
    )
    with pytest.raises(speed.SpeedError, match="expected benchmark input pipeline, found none"):
        speed.pipeline_sentence(side_by_side)


def test_reading_is_set_beside_thresholds_and_table(side_by_side):
    """5 s beside 2 s; the peer's seconds do not count."""
    rows = [
        ("preprocessing", speed.READING, "tifffile", 2.0, "", None),
        ("preprocessing", speed.TABLE, "peer", 50.0, "", None),
        ("preprocessing", speed.TABLE, "organelle-fusion", 5.0, "", None),
    ]
    both = pd.concat([side_by_side, pd.DataFrame(rows, columns=speed.COLUMNS)])
    assert "take 2.5 times as long as merely reading" in speed.reading_sentence(both)
    with pytest.raises(speed.SpeedError, match=r"reading once and thresholds .*found not both"):
        speed.reading_sentence(side_by_side)


def test_verdict_counts_a_task_once_and_no_part_of_it(side_by_side):
    """Beside the fastest variant of the fastest peer, whole folds alone."""
    rows = [
        ("training", "late: fold, s per fold", "organelle-fusion", 1.0, "", None),
        ("training", "late: fold, s per fold", "Keras", 2.0, "", None),
        (
            "training",
            "late: later fold without its steps, s per fold",
            "organelle-fusion",
            1,
            "",
            0,
        ),
        ("training", "late: later fold without its steps, s per fold", "Keras", 900.0, "", None),
        ("training", "all folds: without their steps, s", "organelle-fusion", 1.0, "", None),
        ("training", "all folds: without their steps, s", "Keras", 900.0, "", None),
        ("gradcam", "Grad-CAM, s per patch", "organelle-fusion", 1.0, "", None),
        ("gradcam", "Grad-CAM, s per patch", "vis 0.8, patch by patch", 155.0, "", None),
        ("gradcam", "Grad-CAM, s per patch", "vis 0.8, batches of 32", 10.0, "", None),
    ]
    measured = pd.DataFrame(rows, columns=speed.COLUMNS)
    found = speed.whole_tasks(pd.concat([side_by_side, measured], ignore_index=True))
    assert found[["task", "who", "ratio"]].to_numpy().tolist() == [
        ["cut, s per plane", "b 2.0", 0.5],
        ["cut", "c", 125.0],
        ["late: fold, s per fold", "Keras", 2.0],
        ["Grad-CAM, s per patch", "vis 0.8, batches of 32", 10.0],
    ]
    assert speed.verdict_sentence(measured) == (
        "In 2 of 2 tasks this package is faster than the fastest peer, by a factor of up to 10 "
        "(Grad-CAM; vis 0.8, batches of 32)."
    )
    assert speed.whole_tasks(side_by_side[:0]).empty


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.000567, "0.00057"), (0.1, "0.10"), (9.96, "10.0"), (12.3, "12"), (669069.4, "669,069")],
)
def test_numbers_have_two_digits_and_no_exponent(value, text):
    assert speed.two_digits(value) == text


def test_functions_are_shown_in_ms():
    frame = pd.DataFrame({"name": ["f"], "unit": ["3 patches"], "seconds": [0.0123], "rounds": [7]})
    assert speed.shown_functions(frame).to_numpy().tolist() == [["f", "3 patches", "12", 7]]


def test_what_was_written_is_read(tmp_path, side_by_side):
    folder = tmp_path / "data" / "benchmarks"
    folder.mkdir(parents=True)
    versions = dict.fromkeys(("Python", "numpy", "numba", "keras", "jax", "tensorflow"), "1.2")
    machine = {
        "processor": "Some CPU", "cores": 4, "memory_gb": 16.4, "system": "Linux x86_64",
        "versions": versions, "organelle_fusion": "0.1.0", "code": "abc", "date": "2026-01-02",
    }  # fmt: skip
    stages = pd.DataFrame({"stage": ["read"], "profile": [""], "per_stack": [None]})
    side_by_side.to_csv(folder / "side-by-side.csv", index=False)
    stages.to_csv(folder / "stages.csv", index=False)
    (folder / "machine.json").write_text(json.dumps(machine), "utf-8")
    with pytest.raises(SpeedError, match=r"functions.csv: expected .* written by `make bench`"):
        speed.read_measured(tmp_path)
    pd.DataFrame({"name": ["f"]}).to_csv(folder / "functions.csv", index=False)
    found = speed.read_measured(tmp_path)
    assert found.side_by_side["equal"].tolist()[:3] == ["identical", "", "within 1e-07"]
    assert found.side_by_side["seconds"].sum() == 258
    assert found.stages["profile"].tolist() == [""]
    sentence = speed.machine_sentence(found.machine)
    assert sentence.startswith(
        "Measured on 2026-01-02 on 4 cores (Some CPU) with 16 GB of memory under Linux x86_64, by "
        "version 0.1.0 (code abc) with Python 1.2, numpy 1.2"
    )


def test_times_on_a_gpu_are_shown_once_there_are_some(tmp_path, side_by_side):
    """A file of one row; without it, the page says that it is outstanding."""
    folder = tmp_path / "data" / "benchmarks"
    folder.mkdir(parents=True)
    side_by_side.to_csv(folder / "side-by-side.csv", index=False)
    pd.DataFrame({"name": ["f"]}).to_csv(folder / "functions.csv", index=False)
    pd.DataFrame({"stage": ["read"], "profile": [""]}).to_csv(folder / "stages.csv", index=False)
    (folder / "machine.json").write_text("{}", "utf-8")
    without = speed.read_measured(tmp_path)
    assert without.gpu is None
    assert "Not done yet" in speed.gpu_sentence(without)
    row = {
        "task": "training", "network": "early", "way": "ours", "precision": "float32", "batch": 32,
        "per_second": 901.4, "gflop": 3.0, "tflops": 2.7, "share": 0.123, "ratio": None,
    }  # fmt: skip
    product = row | {"task": "matrix product", "network": "", "batch": 1}
    pd.DataFrame([row, product]).to_csv(folder / "gpu.csv", index=False)
    about = {
        "created": "2026-01-02T03:04", "device": "Some GPU", "device_kind": "gpu", "keras": "3.1",
        "backend": "jax",
    }  # fmt: skip
    (folder / "gpu.json").write_text(json.dumps(about), "utf-8")
    found = speed.read_measured(tmp_path)
    assert speed.shown_gpu(found.gpu).to_numpy().tolist() == [
        ["training", "early", "ours", "float32", 32, "901", "", "0.12"],
        ["matrix product", "", "ours", "float32", 1, "901", "", "0.12"],
    ]
    assert speed.gpu_sentence(found) == (
        "Measured on 2026-01-02 on Some GPU (gpu), by Keras 3.1 on jax."
    )
