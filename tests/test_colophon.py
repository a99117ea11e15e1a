"""The tables of versions and run times."""

import json
import os
import platform
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.colophon import ColophonError, grouped, papermill_facts, write_tables
from organelle_fusion.predictions import write_predictions
from organelle_fusion.provenance import file_hash

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
        metadata = {
            "duration": seconds,
            "end_time": "2030-01-02T03:04:05.6+00:00",
            "parameters": {"profile": "smoke", "manifest": ""},
        }
        notebook = {"metadata": {"papermill": metadata}}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")
        record = {
            "files": {PREDICTIONS: "hash", late: "hash", "runs/patches.parquet": "hash"},
            "inputs": {
                "source": "a" * 64, "profile": "b" * 64, "data": "phantom", "code": {"x": "c"},
            },
        }  # fmt: skip
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


def test_provenance_names_settings_data_and_files(executed):
    (executed / "06_y.json").unlink()  # its public data were out of reach
    write_tables(executed, ["03_x", "06_y"])
    text = (executed / "provenance.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if "[](executed/" in line]
    assert rows[0].startswith(
        "| 3 · [](executed/03_x.ipynb) | smoke | phantom | 2030-01-02 03:04 | `aaaaaaaaaaaa` | "
        "`bbbbbbbbbbbb` | "
    )
    assert rows[1] == "| 6 · [](executed/06_y.ipynb) | smoke | – | 2030-01-02 03:04 | – | – | – |"
    assert "Chapter 3: 3 files" in text
    assert "| `runs/cv5/350px/early` | `fold-00-seed-7.parquet` | `hash` |" in text
    assert "Chapter 6: its public data were out of reach." in text


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="macOS calls it shasum")
def test_many_alike_files_are_one_line_with_the_hash_of_their_hashes(tmp_path, monkeypatch):
    """The hash is what `sha256sum *.tif | sha256sum` prints in the folder."""
    monkeypatch.chdir(tmp_path)
    files = {}
    for name in ("d.tif", "b.tif", "a.tif", "c.tif", "x.csv"):
        (tmp_path / name).write_text(name)
        files[f"images/{name}"] = file_hash(tmp_path / name)
    printed = subprocess.run(
        "sha256sum *.tif | sha256sum", shell=True, capture_output=True, text=True, check=True
    ).stdout
    assert grouped({**files, "images/gone.csv": None}) == [
        ("images", "`gone.csv`", "no such file"),
        ("images", "`x.csv`", files["images/x.csv"]),
        ("images", "4 files, `a.tif` to `d.tif`", printed.split()[0]),
    ]


def test_no_folder_outside_the_project_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ORGANELLE_FUSION_DATA", str(tmp_path / "secret"))
    files = {f"{tmp_path}/secret/cells/a.zip": "1", f"{tmp_path}/mine/stacks/b.tif": "2"}
    assert grouped(files) == [
        ("$ORGANELLE_FUSION_DATA/cells", "`a.zip`", "1"),
        ("elsewhere/stacks", "`b.tif`", "2"),
    ]


def test_a_link_to_the_folder_of_data_sets_is_named_as_well(tmp_path, monkeypatch):
    """Files are noted by the path that they were opened by."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    monkeypatch.setenv("ORGANELLE_FUSION_DATA", str(tmp_path / "link"))
    assert grouped({f"{tmp_path}/link/cells/a.zip": "1"})[0][0] == "$ORGANELLE_FUSION_DATA/cells"


def test_predictions_that_were_deleted_since_stop_no_page(executed):
    """Another chapter may be executed alone; the pages are those that are there."""
    (executed / PREDICTIONS).unlink()
    write_tables(executed, ["03_x", "06_y"])
    assert "| 3 · [](executed/03_x.ipynb) | 70 | – |" in (executed / "run-times.md").read_text(
        "utf-8"
    )


def test_a_damaged_record_is_named(executed):
    (executed / "06_y.json").write_text('{"files": ', "utf-8")
    with pytest.raises(ColophonError, match=r"06_y\.json: expected the record .* run `make book`"):
        write_tables(executed, ["03_x", "06_y"])


def test_a_damaged_notebook_has_no_time(tmp_path):
    """It will be executed again, so that its page is no reason to stop."""
    (tmp_path / "03_x.ipynb").write_text('{"metadata": ', "utf-8")
    assert papermill_facts(tmp_path / "03_x.ipynb") == {}
    assert papermill_facts(tmp_path / "04_y.ipynb") == {}
