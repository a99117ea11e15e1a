"""Clusters: which one is computed on, how large it is, and what a killed worker costs."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import Client, LocalCluster

from organelle_fusion import cluster, workers
from organelle_fusion.computing import run_cells
from organelle_fusion.config import ORGANELLES, load_profile
from organelle_fusion.inputs import noted_files
from organelle_fusion.manifest import read_manifest
from organelle_fusion.measuring import measure_images
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.predictions import Cell, SweepError, read_predictions, read_provenance
from organelle_fusion.preprocessing import build_patch_set, cut_places, tabulate_patches
from organelle_fusion.rotation import rotate_dataset

CELLS = [Cell("toy", 350, model, fold, 7) for model in ("early", "late") for fold in (0, 1)]


@pytest.fixture(scope="module")
def running():
    """Address of a cluster that somebody has started: two workers of one thread."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0, silence_logs=50
    ) as found:
        yield found


@pytest.fixture
def named(running, monkeypatch):
    """The same, named as the one to compute on."""
    monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, running.scheduler_address)
    cluster.connect(2).wait_for_workers(2, timeout=60)  # one may have been killed
    return running


def numbers():
    """Stands in for a training; workers cannot import this module, so it is made in a function."""

    def compute(cell):
        frame = pd.DataFrame({"patch": [0, 1], "p:x": np.float32([cell.fold, 0.5])})
        frame.attrs = {"process": os.getpid()}
        return frame

    return compute


def test_workers_of_this_machine(monkeypatch):
    """One for each processor, eight at most; a published network has all to itself."""
    monkeypatch.setattr(cluster, "_gpus", tuple)
    for found, expected in ((1, cluster.HERE), (2, 2), (3, 3), (64, 8)):
        monkeypatch.setattr(cluster.joblib, "cpu_count", lambda found=found: found)
        assert cluster.network_workers("compact", "jax") == expected
        assert cluster.network_workers("compact_convnext", "jax") == expected
        assert cluster.network_workers("resnet50", "jax") == cluster.HERE
        assert cluster.image_workers() == expected


def test_gpus_have_a_worker_each_if_there_are_several(monkeypatch):
    """Networks of any kind; images are measured on the processors still."""
    monkeypatch.setattr(cluster.joblib, "cpu_count", lambda: 16)
    for found, expected in ((1, cluster.HERE), (2, 2), (4, 4)):
        monkeypatch.setattr(cluster, "_used_gpus", lambda backend, found=found: found)
        assert cluster.network_workers("resnet50", "jax") == expected
        assert cluster.network_workers("compact", "jax") == expected
        assert cluster.image_workers() == 8


def test_each_worker_sees_a_gpu_of_its_own(monkeypatch):
    """Two GPUs, of which the user has chosen the second and the fourth; one thread each."""
    monkeypatch.setattr(cluster, "_gpus", lambda: ("1", "3"))
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    with cluster.start_cluster(2) as started, Client(started) as client:
        client.wait_for_workers(2, timeout=60)
        wanted = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "NPROC", "XLA_FLAGS")
        found = client.run(lambda: tuple(os.environ[name] for name in wanted))
    flags = "--xla_dump_to=x --xla_cpu_multi_thread_eigen=false"
    assert sorted(found.values()) == [("1", "1", "1", flags), ("3", "1", "1", flags)]


def test_gpus_are_those_that_are_listed_or_chosen(monkeypatch, tmp_path):
    """A stand-in for nvidia-smi that lists two; the user's choice among them counts."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for visible, expected in ((None, ("0", "1")), ("1", ("1",)), ("-1", ()), ("", ())):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        cluster._gpus.cache_clear()
        assert cluster._gpus() == expected
    cluster._gpus.cache_clear()


def test_pytorch_is_asked_for_its_gpus_itself(monkeypatch, tmp_path):
    """Keras lists no devices for it; here a stand-in finds two."""
    (tmp_path / "torch.py").write_text("class cuda:\n    device_count = lambda: 2\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(cluster, "_gpus", lambda: ("0", "1"))
    cluster._used_gpus.cache_clear()
    assert cluster.network_workers("resnet50", "torch") == 2
    cluster._used_gpus.cache_clear()


def test_a_named_cluster_computes(named, tmp_path):
    """On its two workers, whatever number is asked for; stored cells are not computed again."""
    assert cluster.network_workers("resnet50", "jax") == cluster.image_workers() == 2
    compute = numbers()
    paths = run_cells(CELLS, compute, tmp_path, inputs={}, workers=9)
    assert read_predictions(paths)["p:x"].tolist() == [0, 0.5, 1, 0.5] * 2
    processes = {read_provenance(path)["details"]["process"] for path in paths}
    own = set(cluster.connect(9).run(os.getpid).values())
    assert processes <= own
    assert os.getpid() not in own


def test_a_worker_killed_in_a_cell_costs_that_cell_only(named, tmp_path):
    """The cell is computed again on another worker; every file is whole and there once."""
    calls, runs = tmp_path / "calls", tmp_path / "runs"
    calls.mkdir()

    def compute(cell):
        number = len(list(calls.glob(f"{cell.model}-{cell.fold}-*")))
        calls.joinpath(f"{cell.model}-{cell.fold}-{number}").touch()
        if (cell.model, cell.fold, number) == ("early", 1, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        return pd.DataFrame({"patch": [0, 1], "p:x": [cell.fold, 0.5]})

    paths = run_cells(CELLS, compute, runs, inputs={}, workers=2)
    assert read_predictions(paths)["p:x"].tolist() == [0, 0.5, 1, 0.5] * 2
    assert sorted(path for path in runs.rglob("*") if path.is_file()) == sorted(paths)
    assert {"early-1-0", "early-1-1"} <= {path.name for path in calls.iterdir()}
    stored = {path: path.read_bytes() for path in paths}
    run_cells(CELLS, compute, runs, inputs={}, workers=2)
    assert {path: path.read_bytes() for path in paths} == stored


def test_images_are_worked_on_by_the_same_workers(named, tmp_path, monkeypatch):
    """Simulated, turned, tabulated, cut and measured there as here; files are noted here."""
    profile = load_profile("smoke")
    settings = profile.phantom
    settings = settings.model_copy(update={"images_per_class": (1, 0, 0, 0, 0, 1)})
    patches = profile.patches
    tables, files, pixels = {}, {}, {}
    for place in ("there", "here"):
        if place == "here":
            monkeypatch.delenv(cluster.SCHEDULER_VARIABLE)
            monkeypatch.setattr(workers, "on_workers", lambda *_, **__: pytest.fail("elsewhere"))
        root = tmp_path / place
        quiet = {"progress": False}
        with noted_files() as noted:
            simulated = read_manifest(simulate_dataset(root / "full", settings, **quiet))
            turned = root / "turned"
            rotate_dataset(simulated, turned, degrees=30, channels=ORGANELLES, **quiet)
            images = read_manifest(turned / "manifest.csv")
            table = tabulate_patches(images, channels=ORGANELLES, settings=patches, **quiet)
            built, *_ = build_patch_set(
                images, channels=ORGANELLES, settings=patches, output_px=9, tabulated=table, **quiet
            )
            backwards = built.table[::-1]
            again = cut_places(backwards, images, ORGANELLES, 9)
            np.testing.assert_array_equal(again[::-1], built.patches)
            pixels[place] = built.patches
            measured = measure_images(
                simulated, channels=ORGANELLES, settings=profile.handcrafted, folder=root,
                workers=2 if place == "there" else cluster.HERE,
            )  # fmt: skip
            tables[place] = [*table, built.table, *measured]
        found = [path for path in root.rglob("*") if path.suffix in (".tif", ".csv")]
        assert {str(path) for path in found} <= set(noted)
        files[place] = {path.relative_to(root): path.read_bytes() for path in found}
    for there, here in zip(tables["there"], tables["here"], strict=True):
        pd.testing.assert_frame_equal(there, here)
    np.testing.assert_array_equal(pixels["there"], pixels["here"])
    assert len(np.unique(pixels["here"])) > 50
    assert files["there"] == files["here"]
    assert len(files["here"]) == 2 + 2 + 2 + 1 + 1  # stacks, labels, turned, and the manifests


def test_workers_are_asked_what_they_compute_on(named, tmp_path):
    """Their answer is stored; a difference between them is refused."""
    paths = run_cells(CELLS, numbers(), tmp_path, inputs={}, device=lambda: "gpu", workers=2)
    assert {read_provenance(path)["device"] for path in paths} == {"gpu"}
    with pytest.raises(SweepError, match=r"workers: expected all of one kind, found .*tcp://"):
        workers.asked_of_workers(lambda: str(os.getpid()), 2)


def test_a_worker_that_ends_while_it_is_asked_is_named(named, tmp_path, monkeypatch):
    """The one that comes back in its place has another address, and would never answer."""
    monkeypatch.setattr(workers, "_SECONDS_TO_ANSWER", 1)
    there = tmp_path / "asked before"

    def question():
        if not there.exists():
            there.touch()
            os._exit(9)
        return "cpu"

    with pytest.raises(SweepError, match=r"worker tcp://.*expected an answer, found that it has"):
        workers.asked_of_workers(question, 2)


def test_a_worker_that_joins_with_another_device_is_refused(named, tmp_path):
    """Asked first, each says one thing, and when it computes another, as if it were another."""

    def device():
        mark = tmp_path / str(os.getpid())
        if mark.exists():
            return "cpu"
        mark.touch()
        return "gpu"

    with pytest.raises(SweepError, match="expected the device gpu of the other workers, found cpu"):
        run_cells(CELLS, numbers(), tmp_path / "cells", inputs={}, device=device, workers=2)


def test_a_named_cluster_is_used_though_all_its_workers_have_gone(named, monkeypatch):
    """They come again; this machine, or this process, is not what was named."""
    monkeypatch.setattr(cluster, "number_of_workers", lambda client: 0)
    assert cluster.network_workers("resnet50", "jax") == 1
    assert cluster.image_workers() == cluster.running_workers() == 1


def test_workers_with_other_code_are_refused(named, tmp_path, monkeypatch):
    """A named cluster is not restarted by us: its owner has to."""
    monkeypatch.setattr(workers, "_code", lambda: "another version")
    with pytest.raises(SweepError, match=r"early fold 0 .*found another version.*restart"):
        run_cells(CELLS[:1], numbers(), tmp_path, inputs={}, workers=2)


def test_workers_of_several_threads_are_refused(tmp_path, monkeypatch):
    """A network cannot be trained in two threads at once."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=":0", processes=False, silence_logs=50
    ) as found:
        monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, found.scheduler_address)
        with pytest.raises(SweepError, match=r"one thread, found 2 threads .*--nthreads 1"):
            cluster.connect(2)
        with Client(found) as client:  # as if it had joined later
            monkeypatch.setattr(workers, "connect", lambda number: client)
            with pytest.raises(SweepError, match=r"expected one thread, found 2; .*--nthreads 1"):
                list(workers.on_workers([workers.Job(0, str, ["a"], tmp_path)], 1))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    """One line with its address and the remedy."""
    monkeypatch.setattr(cluster, "_SECONDS_TO_START", 1)
    monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, "tcp://127.0.0.1:9")
    with pytest.raises(SweepError, match=r"scheduler tcp://127.0.0.1:9: .*`dask worker") as raised:
        cluster.connect(2)
    assert "\n" not in str(raised.value)


def test_workers_of_ours_manage_memory_as_this_process_does(tmp_path, monkeypatch):
    """What Dask sets for its workers makes trainings take twice as long; see `_DASK_SETTINGS`."""
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)

    def compute(cell):
        return pd.DataFrame({"patch": [0], "set": ["MALLOC_TRIM_THRESHOLD_" in os.environ]})

    with cluster.start_cluster(1) as started:
        monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, started.scheduler_address)
        paths = run_cells(CELLS[:1], compute, tmp_path, inputs={}, workers=1)
    assert not read_predictions(paths)["set"].any()


def test_workers_of_ours_do_not_watch_themselves(monkeypatch):
    """Dask's looks at its own processes, 150 per second, would take the processors from others."""
    for name in cluster._DASK_SETTINGS:
        monkeypatch.delenv(f"DASK_{name}", raising=False)

    def settings():
        from distributed.config import config

        ours = config["distributed"]
        return [ours["worker"]["profile"]["enabled"], ours["admin"]["tick"]["interval"]]

    with cluster.start_cluster(1) as started, Client(started, set_as_default=False) as client:
        assert list(client.run(settings).values()) == [[False, "1s"]]


def test_processes_share_the_workers_of_the_one_that_started_them(tmp_path, monkeypatch):
    """Two scripts, one after the other, without the guard that spawned processes need."""
    monkeypatch.delenv(cluster.SCHEDULER_VARIABLE, raising=False)
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "import pandas as pd\n"
        "from organelle_fusion.predictions import Cell, read_provenance\n"
        "from organelle_fusion.computing import run_cells\n"
        "def compute(cell):\n"
        "    frame = pd.DataFrame({'p:x': [1.0]})\n"
        "    frame.attrs = {'process': os.getpid()}\n"
        "    return frame\n"
        "cells = [Cell('toy', 350, 'early', fold, 7) for fold in range(3)]\n"
        "paths = run_cells(cells, compute, sys.argv[1], inputs={}, workers=2)\n"
        "print(*{read_provenance(path)['details']['process'] for path in paths})\n"
    )
    found = []
    with cluster.shared_cluster(2):
        for name in ("first", "second"):
            done = subprocess.run(
                [sys.executable, script, tmp_path / name],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found.append(set(done.stdout.splitlines()[-1].split()))
    assert len(found[0] | found[1]) <= 2  # no new processes
    assert cluster._SHARED_VARIABLE not in os.environ


def test_no_worker_is_started_where_none_is_wanted(monkeypatch):
    """A large network on processors, or a cluster that is named already."""
    monkeypatch.setattr(cluster, "start_cluster", lambda workers: pytest.fail("started"))
    with cluster.shared_cluster(cluster.HERE):
        assert cluster._SHARED_VARIABLE not in os.environ
    monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, "tcp://127.0.0.1:9")
    with cluster.shared_cluster(2):
        assert cluster._SHARED_VARIABLE not in os.environ


def test_a_cluster_started_by_hand_computes(tmp_path, monkeypatch):
    """By the commands that the book names: a scheduler, and two workers of one thread."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    dask = [str(Path(sys.executable).with_name("dask"))]
    host, port = address.split(":")
    commands = [
        [*dask, "scheduler", "--host", host, "--port", port, "--no-dashboard"],
        [*dask, "worker", f"tcp://{address}", "--nthreads", "1", "--nworkers", "2"],
    ]
    started = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) for command in commands
    ]
    try:
        monkeypatch.setenv(cluster.SCHEDULER_VARIABLE, f"tcp://{address}")
        cluster.connect(cluster.HERE).wait_for_workers(2, timeout=60)
        assert cluster.running_workers() == 2
        paths = run_cells(CELLS, numbers(), tmp_path / "runs", inputs={}, workers=2)
        assert read_predictions(paths)["p:x"].tolist() == [0, 0.5, 1, 0.5] * 2
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(60)


def test_a_result_that_ends_with_its_worker_is_computed_again(tmp_path):
    """Of three cells on one worker the last kills it once, while the second's waits to be fetched.

    A worker that has ended takes seconds to be replaced.
    """

    def compute(cell):
        if cell == "c":
            try:
                (tmp_path / "ended").touch(exist_ok=False)
            except FileExistsError:
                return cell
            os._exit(1)
        (tmp_path / f"{cell}-{time.monotonic_ns()}").touch()
        return cell

    results = workers.on_workers(
        [workers.Job(0, compute, ["a", "b", "c"], tmp_path)], 1, disable=True
    )
    found = [next(results)]
    deadline = time.monotonic() + 60
    while not (tmp_path / "ended").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # until the scheduler has noticed
    found += results
    assert sorted((cell, result) for _, cell, result, _ in found) == [(x, x) for x in "abc"]
    assert len(list(tmp_path.glob("b-*"))) == 2


def test_what_computes_when_another_cell_fails_does_not_go_on(tmp_path):
    """It would write the weights of a training that nobody waits for, beside no predictions."""
    process = tmp_path / "process"

    def compute(cell):
        if cell == "slow":
            (tmp_path / "new").write_text(str(os.getpid()))
            (tmp_path / "new").rename(process)
            time.sleep(60)
        while not process.exists():
            time.sleep(0.02)
        raise ValueError("no")

    job = workers.Job(0, compute, ["fails", "slow"], tmp_path)
    with pytest.raises(SweepError, match="fails: ValueError: no"):
        list(workers.on_workers([job], 2, disable=True))
    assert not psutil.pid_exists(int(process.read_text()))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(tmp_path, end):
    """In the middle of a cell that would take a minute: killed, or by the Ctrl-C of a terminal.

    That goes to all processes of the group, and none has anything to say about it.
    """
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from organelle_fusion.workers import Job, on_workers\n"
        "folder = Path(sys.argv[1])\n"
        "def slow(cell):\n"
        "    (folder / str(os.getpid())).touch()\n"
        "    time.sleep(60)\n"
        "try:\n"
        "    list(on_workers([Job(0, slow, [0, 1], folder)], 2, disable=True))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    at_work = tmp_path / "at-work"
    at_work.mkdir()
    process = subprocess.Popen(
        [sys.executable, script, at_work], stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(workers_found := list(at_work.iterdir())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if end == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, end)
    complaint = process.communicate(timeout=30)[1].decode()
    assert process.returncode == (-end if end == signal.SIGKILL else 130)
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(int(path.name)) for path in workers_found):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if end == signal.SIGINT:
        assert complaint == ""
