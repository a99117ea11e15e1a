"""Exported networks in a table and a sentence."""

import pandas as pd

from organelle_fusion import export_report

TABLE = pd.DataFrame(
    [
        ("teacher", "float32", 0.5, 0.4, 0.6, 1.23e-7, 0.0, 120.46, 1.23456, 0.98765),
        ("teacher", "int8", 0.45, 0.3, 0.55, 0.0456, 0.1234, 40.44, 0.5, 0.25),
        ("student", "int8", 0.3, float("nan"), float("nan"), 0.04, 0.5, 9.6, 0.5, 0.25),
    ],
    columns=[
        *("network", "format", "value", "low", "high", "deviation", "changed", "size_kb"),
        *("latency_1", "latency_32"),
    ],
)


def test_lines_are_rounded_by_hand():
    lines = export_report.export_lines(TABLE)
    assert lines.iloc[0].to_dict() == {
        "Network": "teacher",
        "Format": "float32",
        "Balanced accuracy": "0.50 [0.40, 0.60]",
        "Largest deviation": "1e-07",
        "Other class": "0.0%",
        "Size, kB": 120.5,
        "One patch, ms": 1.235,
        "In batches of 32, ms": 0.988,
    }
    assert lines["Other class"].tolist() == ["0.0%", "12.3%", "50.0%"]
    assert lines["Balanced accuracy"].iloc[2] == "0.30 [no interval]"


def test_sentence_takes_the_small_files():
    assert export_report.size_sentence(TABLE) == (
        "Exported with 8-bit integers, the student is a file of 10 kB and the teacher one of 40 kB."
    )
