"""Runs that are killed: whatever the moment, the same command goes on to the same results."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from organelle_fusion import cluster
from organelle_fusion.predictions import Cell, read_cell

CELLS = [Cell("toy", 350, "forest", fold, 3) for fold in range(12)]

# Each line that is read is a folder, in which a process of its own runs: what is imported is
# imported once. Its number is printed, and then how it ended.
SERVE = """
import os

for line in sys.stdin:
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        run(Path(line.strip()))
        os._exit(0)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""

# A sweep of twelve forests; what stands for their weights lies beside the predictions.
FORESTS = """
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion.predictions import Cell
from organelle_fusion.provenance import atomic_path
from organelle_fusion.computing import run_cells


def run(folder):
    def compute(cell):
        random = np.random.default_rng([cell.seed, cell.fold])
        features = random.normal(size=(300, 8))
        labels = features[:, 0] * features[:, 1] > 0
        forest = RandomForestClassifier(20, random_state=cell.fold).fit(features, labels)
        with atomic_path(cell.weights_path(folder)) as temporary, temporary.open("wb") as stream:
            np.save(stream, forest.feature_importances_)
        frame = pd.DataFrame({"patch": np.arange(300), "label": np.where(labels, "x", "y")})
        frame["p:x"] = forest.predict_proba(features)[:, 1]
        frame.attrs = {"trees": len(forest.estimators_)}
        return frame

    run_cells(
        [Cell("toy", 350, "forest", fold, 3) for fold in range(12)],
        compute,
        folder,
        inputs={"data": "d"},
        beside=lambda cell: [cell.weights_path(folder)],
    )
"""

# Six trainings, and the late fusion of two folds.
TRAIN = """
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from organelle_fusion import training  # and Keras with it
from organelle_fusion.config import load_profile
from organelle_fusion.folds import make_folds
from organelle_fusion.patchset import PatchSet
from organelle_fusion.sweep import train_cells

random = np.random.default_rng(5)
names = [f"{label}{number}" for label in "xyz" for number in range(3)]
table = pd.DataFrame({"image": np.repeat(names, 8)})
table["label"] = table["image"].str[0]
table["group"] = table["image"]
table = table.assign(z=0, y=0, x=0)
patches = random.integers(0, 90, (len(table), 16, 16, 2), np.uint8)
patches[table["label"] == "x", ::4] += 90
patches[table["label"] == "y", :, ::4] += 90
profile = load_profile("smoke")
small = {"kind": "compact", "input_px": 16, "filters": (4,)}
profile = profile.model_copy(
    update={
        "encoder": profile.encoder.model_copy(update=small),
        "training": profile.training.model_copy(update={"epochs": 2, "batch_size": 8}),
    }
)
patch_set = PatchSet(patches, table, ("a", "b"), 0.1)
folds = make_folds(table, n_splits=2, validation_share=0.34, seed=0)


def run(folder):
    options = {"dataset": "toy", "size_px": 350, "folder": folder, "seed": 1, "workers": 0}
    train_cells(patch_set, folds, models=["a", "early", "late"], profile=profile, **options)
"""


def results(folder):
    """All files of a run by name, but for the times that they hold: bytes, or rows and facts."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix == ".parquet":
            facts, table = read_cell(path)
            del facts["created"], facts["seconds"]
            found[str(path.relative_to(folder))] = facts, table.to_pylist()
        elif path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def has(folder, cells):
    """Whether the folder holds the predictions of so many cells, or more."""
    return len(list(folder.rglob("[!.]*.parquet"))) >= cells


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.001)


@contextmanager
def served(code, **environment):
    """Start runs of some code in folders; gives process, and how to wait for its end."""
    command = [sys.executable, "-c", code + SERVE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, **environment}
    with subprocess.Popen(command, text=True, bufsize=1, env=environment, **pipes) as server:

        def start(folder):
            server.stdin.write(f"{folder}\n")
            return int(server.stdout.readline()), lambda: int(server.stdout.readline())

        yield start
        server.stdin.close()


@pytest.fixture(scope="module")
def forests():
    with served(FORESTS) as start:
        yield start


@pytest.fixture(scope="module")
def uninterrupted(forests, tmp_path_factory):
    """Results of a sweep that nobody disturbs, and how long one of its cells took."""
    folder = tmp_path_factory.mktemp("whole")
    assert forests(folder)[1]() == 0
    seconds = [read_cell(cell.path(folder))[0]["seconds"] for cell in CELLS]
    return results(folder), float(np.median(seconds))


# When so many cells are written, and after that share of the time that one takes; writing it and
# what is beside it takes some time too, so more than one is not too late.
MOMENTS = [
    (int(cells), float(share))
    for cells, share in zip(
        np.random.default_rng(8).permutation(np.repeat(np.arange(9), 2)),
        np.random.default_rng(9).uniform(0, 1.5, 18),
        strict=True,
    )
]


@pytest.mark.parametrize(("cells", "share"), MOMENTS)
def test_a_killed_sweep_goes_on_to_the_same_results(tmp_path, forests, uninterrupted, cells, share):
    """kill -9, and the same again: equal rows, weights and facts, and nothing else left behind."""
    expected, seconds = uninterrupted
    process, ended = forests(tmp_path)
    wait_for(partial(has, tmp_path, cells))
    time.sleep(share * seconds)
    os.kill(process, signal.SIGKILL)
    assert ended() == -signal.SIGKILL
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("[!.]*.parquet")}
    assert cells <= len(times) < len(CELLS)
    for path in times:
        read_cell(path)  # whole
    assert forests(tmp_path)[1]() == 0
    assert results(tmp_path) == expected
    assert all(path.stat().st_mtime_ns == known for path, known in times.items())  # not again


@pytest.mark.keras
def test_a_training_killed_twice_goes_on_to_the_same_results(tmp_path):
    """On one thread, as a worker: equal rows, and equal weights to the byte."""
    one_thread = {**cluster._ONE_THREAD, "XLA_FLAGS": cluster._ONE_XLA_THREAD}
    with served(TRAIN, **one_thread, TF_CPP_MIN_LOG_LEVEL="3") as trainings:
        assert trainings(tmp_path / "whole")[1]() == 0
        killed = tmp_path / "killed"
        for cells, seconds in ((1, 0.2), (4, 0.1)):
            process, ended = trainings(killed)
            wait_for(partial(has, killed, cells))
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)
            assert ended() == -signal.SIGKILL
            assert has(killed, cells)
            assert not has(killed, 8)
        assert trainings(killed)[1]() == 0
    expected, found = results(tmp_path / "whole"), results(killed)
    assert found.keys() == expected.keys()
    assert len(found) == 8 + 6
    assert [name for name in expected if found[name] != expected[name]] == []
