"""What `python -m benchmarks` gathers: every script in a process of its own, one table of all."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cpuinfo
import pandas as pd
import psutil

from benchmarks import ROOT
from organelle_fusion import __version__
from organelle_fusion.cluster import one_thread
from organelle_fusion.colophon import SYSTEMS
from organelle_fusion.inputs import PACKAGE, versions
from organelle_fusion.provenance import code_version
from organelle_fusion.speed import COLUMNS, SpeedError, with_ratios

SCRIPTS = ("preprocessing", "tiling", "training", "gradcam", "scaling")
"""The side-by-side scripts, in the order of the page; each is a module with `compare`."""
PEERS = ("monai", "patchify", "scikit-image", "tf-keras-vis", "tiler", "torch")


def frame_of(
    module: str, call: str, environment: Mapping[str, str] = MappingProxyType({})
) -> pd.DataFrame:
    """Frame that a call gives, such as ``compare()``, in a Python process of its own.

    No script has then the backend, the threads or the memory of another. `environment` is added
    to that of this process.

    Raises
    ------
    SpeedError
        The process failed; what it said is on the screen.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.csv"
        code = f"import benchmarks.{module} as m; m.{call}.to_csv({str(path)!r}, index=False)"
        _run([sys.executable, "-c", code], f"benchmarks/{module}.py, {call}", environment)
        return pd.read_csv(path, keep_default_na=False, na_values=[""])


def side_by_side(scripts: tuple[str, ...] = SCRIPTS) -> pd.DataFrame:
    """Rows of all side-by-side scripts.

    Raises
    ------
    SpeedError
        A script is missing or failed, or its rows are not as `speed.COLUMNS` and
        `speed.with_ratios` ask.
    """
    frames = []
    for name in scripts:
        print(f"benchmarks.{name}", flush=True)
        frames.append(check_rows(name, frame_of(name, "compare()")))
    return pd.concat(frames, ignore_index=True)


def check_rows(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one script with the columns in their order, and ``equal`` in words or empty."""
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise SpeedError(
            f"benchmarks/{name}.py: expected columns {', '.join(COLUMNS)}, found no "
            f"{', '.join(missing)}; let compare() give them"
        )
    with_ratios(frame)
    words = {"True": "equal", "False": "not equal", "–": ""}
    said = frame["equal"].fillna("").map(str).replace(words)
    return frame[list(COLUMNS)].assign(equal=said)


def functions() -> pd.DataFrame:
    """Run the pytest-benchmark files of this folder; see `function_table`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "-p", "no:xdist"]
        _run([*command, f"--benchmark-json={path}"], "benchmarks/test_*.py")
        return function_table(json.loads(path.read_text("utf-8")))


def function_table(report: dict[str, Any]) -> pd.DataFrame:
    """Turn a report of pytest-benchmark into rows of name, unit, seconds (median) and rounds."""
    return pd.DataFrame(
        [
            {
                "name": entry["extra_info"]["name"],
                "unit": entry["extra_info"]["unit"],
                "seconds": entry["stats"]["median"],
                "rounds": entry["stats"]["rounds"],
            }
            for entry in report["benchmarks"]
        ]
    )


def stages() -> pd.DataFrame:
    """Costs of all stages, see `stages`, in processes of one thread, as Dask's workers are."""
    alone = {**one_thread(), "OMP_NUM_THREADS": "1"}
    calls = ("stack_costs()", "network_costs('quick')", "network_costs('paper')")
    frames = []
    for call in (*calls, "measuring_cost()"):
        print(f"benchmarks.stages, {call}", flush=True)
        frames.append(frame_of("stages", call, alone))
    return pd.concat(frames, ignore_index=True).fillna({"profile": ""})


def machine(peers: Iterable[str] = PEERS) -> dict[str, Any]:
    """Processor, memory, system, versions and date; no name of the machine and no path.

    Parameters
    ----------
    peers
        Packages whose versions are listed beside those that the project asks for.
    """
    system = platform.system()
    modules = [path.stem for path in Path(resources.files(PACKAGE)).glob("*.py")]
    return {
        "processor": cpuinfo.get_cpu_info()["brand_raw"],
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{SYSTEMS.get(system, system)} {platform.machine()}",
        "versions": {**versions(), **{name: version(name) for name in peers}},
        "organelle_fusion": __version__,
        "code": code_version(*modules)[:12],
        "date": datetime.now(UTC).date().isoformat(),
    }


def _run(
    command: list[str], what: str, environment: Mapping[str, str] = MappingProxyType({})
) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, **environment, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=variables, check=False)
    if done.returncode:
        raise SpeedError(
            f"{what}: expected exit status 0, found {done.returncode}; what it says above is why"
        )
