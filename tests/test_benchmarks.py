"""What `make bench` gathers, without timing anything."""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import collecting, timing
from organelle_fusion.scaling import BENCHMARK
from organelle_fusion.speed import COLUMNS, PIPELINE, SpeedError, read_measured

ROOT = Path(__file__).parents[1]
README = (ROOT / "benchmarks" / "README.md").read_text("utf-8")


def test_readme_lists_every_side_by_side_script():
    (section,) = re.findall(r"^## Side by side\n(.*?)^## ", README, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"^- `python -m benchmarks\.(\w+)`", section, flags=re.MULTILINE)
    assert named == list(collecting.SCRIPTS)
    assert BENCHMARK in named


def test_measured_table_has_every_benchmark_of_the_readme():
    """And the input pipeline, which `benchmarks.training` measures as well."""
    found = dict.fromkeys(read_measured(ROOT).side_by_side["benchmark"])
    assert [name for name in found if name != PIPELINE] == list(collecting.SCRIPTS)
    assert PIPELINE in found


@pytest.mark.parametrize("line", ["monai==", "patchify==", "tiler==", "torch=="])
def test_peers_are_locked_with_hashes_and_without_addresses(line):
    lock = (ROOT / "benchmarks" / "peers.lock").read_text("utf-8")
    (block,) = re.findall(rf"^{line}.*?\n(?=\S|\Z)", lock, flags=re.MULTILINE | re.DOTALL)
    assert "--hash=sha256:" in block
    assert "://" not in lock


def test_no_peer_comes_in_a_version_beside_the_project_s():
    """What the environment has is not installed once more among the peers."""
    names = [
        set(re.findall(r"^([\w.-]+)==", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE))
        for path in ("requirements.lock", "benchmarks/peers.lock")
    ]
    assert names[0] & names[1] == set()


def test_rows_of_a_script_are_checked():
    rows = [
        (1, "x", "cut", "organelle-fusion", 2.0, np.nan, np.nan),
        (2, "x", "cut", "peer", 3.0, "identical", 1.0),
    ]
    frame = pd.DataFrame(rows, columns=["more", *COLUMNS])
    found = collecting.check_rows("x", frame)
    assert list(found.columns) == list(COLUMNS)
    assert found["equal"].tolist() == ["", "identical"]
    with pytest.raises(SpeedError, match=r"benchmarks/x.py: .* found no equal, peak_mb"):
        collecting.check_rows("x", frame.drop(columns=["equal", "peak_mb"]))
    with pytest.raises(SpeedError, match="expected one row of organelle-fusion, found 2"):
        collecting.check_rows("x", frame.assign(who="organelle-fusion"))
    verdicts = frame.assign(equal=[True, "–"])
    assert collecting.check_rows("x", verdicts)["equal"].tolist() == ["equal", ""]


def test_a_missing_script_is_no_gap_in_the_table(capfd):
    with pytest.raises(SpeedError, match=r"benchmarks/absent.py, compare\(\): expected exit"):
        collecting.side_by_side(("absent",))
    assert "No module named 'benchmarks.absent'" in capfd.readouterr().err


def test_a_frame_comes_back_from_its_own_process():
    """Empty text stays apart from numbers; here a call that needs no peer."""
    call = "print_table.__class__ and m.pd.DataFrame({'a': [1.5], 'b': ['']})"
    found = collecting.frame_of("timing", call)
    assert found.loc[0, "a"] == 1.5
    assert pd.isna(found.loc[0, "b"])


def test_report_of_pytest_benchmark_becomes_rows():
    entry = {
        "extra_info": {"name": "cutting", "unit": "36 patches"},
        "stats": {"median": 0.25, "mean": 0.5, "rounds": 9},
    }
    found = collecting.function_table({"benchmarks": [entry]})
    assert found.to_dict("records") == [
        {"name": "cutting", "unit": "36 patches", "seconds": 0.25, "rounds": 9}
    ]


def test_machine_has_no_name_and_no_path():
    found = collecting.machine(["tf-keras-vis"])
    assert {"processor", "cores", "memory_gb", "system", "versions", "date"} <= found.keys()
    assert found["memory_gb"] > 0
    assert found["versions"]["tf-keras-vis"] == version("tf-keras-vis")
    assert "/" not in json.dumps(found)
    assert platform.node() not in found.values()


def test_agreement_says_how_far_two_arrays_are_apart():
    ours = np.array([1.0, -4.0])
    assert timing.agreement(ours, ours.copy()) == "identical"
    assert timing.agreement(ours, np.array([1.0, -3.75])) == "within 2e-01 of values up to 4"
    assert timing.agreement(ours, ours[:1]) == "another shape, (1,) and not (2,)"
    ours = np.array([np.nan, 2.0])
    assert timing.agreement(ours, ours.copy()) == "identical"
    assert timing.agreement(ours, np.array([np.nan, 1.5])) == "within 5e-01 of values up to 2"
    assert timing.agreement(ours, np.array([1.0, 2.0])) == "other values are missing"
    # bytes do not wrap round
    assert timing.agreement(np.uint8([0]), np.uint8([255])).startswith("within 3e+02")


def test_ways_are_compared_with_ours_and_counted_per_unit(monkeypatch):
    """A clock that adds one second a look: each call lasts 1 s, of 4 units."""
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    ways = {"organelle-fusion": lambda: np.ones(3), "peer": lambda: np.full(3, 1.5)}
    found = timing.compare_ways("b", "t, s per unit", ways, units=4, repeats=2)
    assert found["seconds"].tolist() == [0.25, 0.25]
    assert found["equal"].tolist() == ["", "within 5e-01 of values up to 1"]
    assert (found["peak_mb"] < 1).all()
    assert list(found.columns) == list(COLUMNS)
