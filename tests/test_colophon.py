"""The tables of versions and run times."""

import json
import os
import platform

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.colophon import papermill_facts, write_tables
from organelle_fusion.predictions import write_predictions

PREDICTIONS = "runs/cv5/350px/early/fold-00-seed-7.parquet"


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """Two executed chapters that share one training, as the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/cv5/350px/early").mkdir(parents=True)
    facts = {"device": "cpu", "seconds": 30.4, "inputs": {"backend": "jax"}}
    write_predictions(pd.DataFrame({"patch": [0]}), tmp_path / PREDICTIONS, facts)
    late = PREDICTIONS.replace("early", "late")
    facts = {"device": None, "seconds": 500.0, "inputs": {"backend": "jax"}}
    (tmp_path / late).parent.mkdir(parents=True)
    write_predictions(pd.DataFrame({"patch": [0]}), tmp_path / late, facts)
    for name, seconds in (("03_x", 70.2), ("06_y", 1234.0)):
        metadata = {"duration": seconds, "end_time": "2030-01-02T03:04:05.6+00:00"}
        notebook = {"metadata": {"papermill": metadata}}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
        record = {"files": {PREDICTIONS: "hash", late: "hash", "runs/patches.parquet": "hash"}}
        (tmp_path / f"{name}.json").write_text(json.dumps(record), "utf-8")
    return tmp_path


def test_run_times_are_those_of_the_last_executions(executed):
    """Training that two chapters share counts once in the total; a missing chapter is left out."""
    write_tables(executed, ["03_x", "06_y", "07_missing"])
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (executed / "run-times.md").read_text("utf-8").splitlines()
        if line.startswith("| ")
    ]
    assert rows[1:] == [
        ["3 · [](executed/03_x.ipynb)", "70", "30", "2030-01-02 03:04"],
        ["6 · [](executed/06_y.ipynb)", "1,234", "30", "2030-01-02 03:04"],
        ["**All chapters**", "**1,304**", "**30**", ""],
    ]
    assert (executed / "tables/tab-run-times.csv").read_text() == (
        "chapter,seconds,training_s,ended\n"
        "03_x,70.2,30.4,2030-01-02T03:04:05.6+00:00\n"
        "06_y,1234.0,30.4,2030-01-02T03:04:05.6+00:00\n"
    )


def test_versions_name_the_kind_of_machine_and_not_the_machine(executed):
    write_tables(executed, ["03_x"])
    text = (executed / "versions.md").read_text("utf-8")
    assert f"| numpy | {np.__version__} |" in text
    assert f"| Python | {platform.python_version()} |" in text
    assert f"{os.cpu_count()} cores ({platform.machine()})" in text
    assert "Keras on jax (CPU)" in text
    assert platform.node() not in text
    assert "{download}`CSV <executed/tables/tab-versions.csv>`" in text
    versions = pd.read_csv(executed / "tables/tab-versions.csv", index_col="package")["version"]
    assert versions["numpy"] == np.__version__


def test_a_damaged_notebook_has_no_time(tmp_path):
    """It will be executed again, so that its page is no reason to stop."""
    (tmp_path / "03_x.ipynb").write_text('{"metadata": ', "utf-8")
    assert papermill_facts(tmp_path / "03_x.ipynb") == {}
    assert papermill_facts(tmp_path / "04_y.ipynb") == {}
