"""Runs that are killed: whatever the moment, the same command goes on to the same results."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from organelle_fusion import cluster
from organelle_fusion.predictions import Cell, read_cell

CELLS = [Cell("toy", 350, "forest", fold, 3) for fold in range(12)]

# A sweep of twelve forests; what stands for their weights lies beside the predictions. Each line
# that is read is a folder, in which a process of its own runs, so that what is imported is imported
# once; its number is printed, and then how it ended.
FORESTS = """
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from organelle_fusion.predictions import Cell
from organelle_fusion.provenance import atomic_path
from organelle_fusion.sweep import run_cells


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


for line in sys.stdin:
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        run(Path(line.strip()))
        os._exit(0)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""

TRAIN = """
import sys
from pathlib import Path

import numpy as np
import pandas as pd

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
train_cells(
    patch_set,
    make_folds(table, n_splits=3, validation_share=0.34, seed=0),
    models=["a", "early", "late"],
    profile=profile,
    dataset="toy",
    size_px=350,
    folder=Path(sys.argv[1]),
    seed=1,
    workers=0,
)
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


def stored(folder):
    return len(list(folder.rglob("[!.]*.parquet")))


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.001)


@pytest.fixture(scope="module")
def forests():
    """Start the sweep of forests in a folder; gives its process, and how to wait for its end."""
    command = [sys.executable, "-c", FORESTS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, **pipes) as server:

        def start(folder):
            server.stdin.write(f"{folder}\n")
            return int(server.stdout.readline()), lambda: int(server.stdout.readline())

        yield start
        server.stdin.close()


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
    wait_for(lambda: stored(tmp_path) >= cells)
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


@pytest.fixture(scope="module")
def trainings():
    """Start a sweep of Keras networks in a folder, on one thread, as a worker does."""
    environment = {**os.environ, **cluster._ONE_THREAD, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["XLA_FLAGS"] = cluster._ONE_XLA_THREAD

    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", TRAIN, folder], env=environment, stdout=subprocess.DEVNULL
        )

    return start


@pytest.mark.keras
def test_a_training_killed_twice_goes_on_to_the_same_results(tmp_path, trainings):
    """Nine trainings and the late fusion of three folds: equal weights, to the byte, and rows."""
    whole = trainings(tmp_path / "whole")
    killed = tmp_path / "killed"
    for cells, share in ((1, 0.6), (5, 0.3)):
        process = trainings(killed)
        wait_for(lambda: stored(killed) >= cells)
        time.sleep(share * 0.3)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert cells <= stored(killed) < 12
    assert trainings(killed).wait() == 0
    assert whole.wait() == 0
    expected, found = results(tmp_path / "whole"), results(killed)
    assert found.keys() == expected.keys()
    assert len(found) == 12 + 9
    different = [name for name in expected if found[name] != expected[name]]
    assert different == []
