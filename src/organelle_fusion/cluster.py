"""The processes that cells are computed in: on this machine, or of a running Dask cluster.

Each is a worker of one thread, since a network is shared by all trainings of a process. They see
the files of this process at the same paths.
"""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import joblib

from organelle_fusion.predictions import SweepError
from organelle_fusion.settings import SMALL_KINDS

if TYPE_CHECKING:
    from distributed import Client, SpecCluster

SCHEDULER_VARIABLE = "ORGANELLE_FUSION_SCHEDULER"
"""Environment variable: address of a running Dask scheduler, such as ``tcp://10.0.0.5:8786``."""

HERE = 0
"""No worker: this process computes."""

# Of a cluster that one process has started for those that it starts in turn.
_SHARED_VARIABLE = "ORGANELLE_FUSION_SHARED_SCHEDULER"

_MOST_WORKERS = 8
_SECONDS_TO_START = 120

# Read by the libraries when they are first used in a process; Dask itself limits the others.
_ONE_THREAD = {
    "NPROC": "1",
    "NUMBA_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
_QUIET_AND_PRIVATE = {
    "host": "127.0.0.1",
    "port": 0,
    "dashboard": False,
    "dashboard_address": "127.0.0.1:0",
}
_SETUP = "organelle_fusion.worker_process"

# Read where Dask is imported, here and in the processes that keep the workers.
_DASK_SETTINGS = {
    "LOGGING__DISTRIBUTED": "error",  # or they would tell of their beginning and their end
    # Dask gives freed memory back to the system at once. But then glibc maps every array of a
    # training step anew, and a training takes twice as long.
    "DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON": '{"MALLOC_TRIM_THRESHOLD_": None}',
    # Each process looks at itself 50 times per second, and each worker at its stack 100 times: with
    # two workers on two processors that was 7 % of the time.
    "DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
}
_ONE_XLA_THREAD = "--xla_cpu_multi_thread_eigen=false"


def image_workers() -> int:
    """Workers that images are measured on, one image at a time each.

    Returns
    -------
    int
        Those of the cluster that `SCHEDULER_VARIABLE` names; without it, one for each processor,
        eight at most, or `HERE` for one.
    """
    return _named_workers() or _local_workers()


def network_workers(kind: str, backend: str) -> int:
    """Workers that networks with this kind of encoder are trained on, each with about 1.3 GB.

    A small network cannot fill two processors: two processes of one thread each train more of them
    than one process of two threads, as ``benchmarks/scaling.py`` measures. A large one can, and
    needs the memory of all.

    Parameters
    ----------
    kind
        Of `settings.EncoderSettings`.
    backend
        Of Keras.

    Returns
    -------
    int
        Those of the cluster that `SCHEDULER_VARIABLE` names; without it, one for each of several
        GPUs, `HERE` for one GPU or a large network, and else as for images.
    """
    if named := _named_workers():
        return named
    if gpus := _used_gpus(backend):
        return gpus if gpus > 1 else HERE
    return _local_workers() if kind in SMALL_KINDS else HERE


def connect(workers: int) -> "Client":
    """Client of the cluster to compute on; one is started, and kept, if there is none.

    Parameters
    ----------
    workers
        Of a cluster that is started for this process alone.

    Raises
    ------
    SweepError
        A scheduler that is named does not answer, or has no worker, or one of several threads.
    """
    named = os.environ.get(SCHEDULER_VARIABLE) or os.environ.get(_SHARED_VARIABLE)
    get, key = (_connected, named) if named else (_own, workers)
    client = get(key)
    if client.status != "running":  # the scheduler has gone
        get.cache_clear()
        client = get(key)
    return client


def running_workers() -> int:
    """Workers of the cluster that is named, or shared by a process above; else `HERE`."""
    if {SCHEDULER_VARIABLE, _SHARED_VARIABLE} & set(os.environ):
        return max(1, number_of_workers(connect(HERE)))  # those that have gone come again
    return HERE


def is_named() -> bool:
    """Whether the cluster is the user's own, which we do not restart."""
    return bool(os.environ.get(SCHEDULER_VARIABLE))


@contextmanager
def shared_cluster(workers: int) -> Iterator[None]:
    """Start workers that the processes started within the block compute on.

    So the chapters of a book compile their networks once, and not each on workers of its own. A
    cluster that is named, or shared already, is used instead; `HERE` starts none.
    """
    if workers == HERE or {SCHEDULER_VARIABLE, _SHARED_VARIABLE} & set(os.environ):
        yield
        return
    with start_cluster(workers) as cluster:
        os.environ[_SHARED_VARIABLE] = cluster.scheduler_address
        try:
            yield
        finally:
            del os.environ[_SHARED_VARIABLE]


def one_thread() -> dict[str, str]:
    """Environment variables of a process that computes in one thread, XLA's flags among them."""
    flags = os.environ.get("XLA_FLAGS", "").split()  # those that the user has set are kept
    return _ONE_THREAD | {"XLA_FLAGS": " ".join([*flags, *{_ONE_XLA_THREAD}.difference(flags)])}


def start_cluster(workers: int) -> "SpecCluster":
    """Start a cluster on this machine, with a worker for each GPU if there are several.

    The scheduler runs in a thread of this process. The workers are processes that do not import
    its script, so a script needs no guard against that.
    """
    for name, value in _DASK_SETTINGS.items():
        os.environ.setdefault(f"DASK_{name}", value)
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.subprocess import SubprocessWorker

    gpus = _gpus()

    def options(number: int) -> dict:
        environment = {
            **one_thread(),
            **({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if len(gpus) > 1 else {}),
        }
        return {
            "worker_class": "distributed.Nanny",  # starts a worker anew that has ended
            "worker_kwargs": {
                **_QUIET_AND_PRIVATE,
                "name": f"{number}",
                "nthreads": 1,
                "memory_limit": 0,  # the system's own
                "silence_logs": logging.ERROR,
                "env": environment,
                "preload": [_SETUP],
                "preload_nanny": [_SETUP],
            },
        }

    cluster = SpecCluster(
        scheduler={"cls": Scheduler, "options": {**_QUIET_AND_PRIVATE, "allowed_failures": 2}},
        workers={
            number: {"cls": SubprocessWorker, "options": options(number)}
            for number in range(workers)
        },
        silence_logs=logging.ERROR,
    )
    try:
        cluster.wait_for_workers(workers, timeout=_SECONDS_TO_START)  # their processes take seconds
    except TimeoutError:
        cluster.close()
        raise SweepError(
            f"workers: expected {workers} processes of this machine to start in "
            f"{_SECONDS_TO_START} s, found fewer; end what else keeps it busy, or set "
            "LOKY_MAX_CPU_COUNT=1 to compute in one process"
        ) from None
    return cluster


def _named_workers() -> int:
    return max(1, number_of_workers(connect(HERE))) if is_named() else 0


def number_of_workers(client: "Client") -> int:
    """Workers that a cluster has at the moment."""
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _local_workers() -> int:
    found = min(joblib.cpu_count(), _MOST_WORKERS)
    return found if found > 1 else HERE


@lru_cache(maxsize=2)
def _connected(address: str) -> "Client":
    from distributed import Client

    where = f"scheduler {address}"
    try:
        client = Client(address, timeout=_SECONDS_TO_START, set_as_default=False)
        client.wait_for_workers(1, timeout=_SECONDS_TO_START)
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(
            f"{where}: expected a Dask scheduler with a worker, found none in "
            f"{_SECONDS_TO_START} s ({reason}); check the address and start "
            "`dask worker ADDRESS --nthreads 1`"
        ) from error
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        if worker["nthreads"] != 1:
            raise SweepError(
                f"{where}: expected workers of one thread, found {worker['nthreads']} threads in "
                f"{worker['name']}; start it with --nthreads 1"
            )
    return client


@lru_cache(maxsize=2)  # where several GPUs are used, images have another number than networks
def _own(workers: int) -> "Client":
    from distributed import Client

    return Client(start_cluster(workers), set_as_default=False)


@lru_cache(maxsize=1)
def _gpus() -> tuple[str, ...]:
    """Names, as ``CUDA_VISIBLE_DEVICES`` takes them, of the NVIDIA GPUs that may be used."""
    if shutil.which("nvidia-smi") is None:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name for name in visible.split(",") if name not in ("", "-1"))
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return tuple(str(number) for number in range(count))


@lru_cache(maxsize=1)
def _used_gpus(backend: str) -> int:
    """How many of them Keras computes on, on this backend.

    It is asked in a process of its own, since it takes hold of every GPU that it has looked at.
    """
    if not _gpus():
        return 0
    # Keras lists no devices for PyTorch.
    code = (
        "import torch; print(torch.cuda.device_count())"
        if backend == "torch"
        else "import keras; names = keras.distribution.list_devices(); "
        "print(sum(name.startswith('gpu') for name in names))"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend}
    asked = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        raise SweepError(
            f"GPU: expected Keras on {backend} to say which it finds, found an error ({last}); "
            "mend the installation, or hide the GPUs by CUDA_VISIBLE_DEVICES=-1"
        )
    return int(asked.stdout.split()[-1])
