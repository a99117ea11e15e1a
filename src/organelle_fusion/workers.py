"""Computing cells one after another, or several at once in processes of their own."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

import joblib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from organelle_fusion.predictions import Cell, SweepError
from organelle_fusion.provenance import FILES_VARIABLE

Compute = Callable[[Cell], pd.DataFrame]
Computed = tuple[Cell, pd.DataFrame, float]

# A training takes seconds in the quick profile and minutes in the others: a line for each would
# flood the page of the first.
_SECONDS_BETWEEN_LINES = 10.0

# Read by XLA and by TensorFlow when they are first used in a process.
_ONE_THREAD = {
    "NPROC": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}

_ONE_XLA_THREAD = "--xla_cpu_multi_thread_eigen=false"

_MOST_NETWORKS = 4


def processes(kind: str) -> int:
    """Processes that networks with this kind of encoder are trained in on a CPU.

    A small network cannot fill two processors: two processes of one thread each were measured to
    train 1.7 times (intermediate fusion) to 1.8 times (early fusion of the quick profile) as many
    as one process of two threads. A large one can, and needs the memory of all.

    Parameters
    ----------
    kind
        Of `config.EncoderSettings`.

    Returns
    -------
    int
        One for each processor, but at most four, since each takes about 0.8 GB; or 1, this one.
    """
    return min(joblib.cpu_count(), _MOST_NETWORKS) if kind.startswith("compact") else 1


def one_by_one(compute: Compute, cells: Sequence[Cell]) -> Iterator[Computed]:
    """Compute the cells in their order; now and then a line says which one it is.

    Yields
    ------
    tuple
        Cell, its frame, and the seconds it took.

    Raises
    ------
    SweepError
        A cell failed; the message names it, and the cause is attached.
    """
    started = time.perf_counter()
    last_line = -np.inf
    for number, cell in enumerate(cells, start=1):
        now = time.perf_counter()
        if now - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = now
            left = (now - started) / max(number - 1, 1) * (len(cells) - number + 1)
            estimate = f", about {left:.0f} s left" if number > 1 else ""
            print(f"{cell}: {number} of {len(cells)}{estimate}")
            sys.stdout.flush()
        yield _timed(compute, cell)


def in_processes(
    compute: Compute, cells: Sequence[Cell], workers: int, unit: str = "cell"
) -> Iterator[Computed]:
    """Compute cells in processes of one thread each, with a progress bar.

    Parameters
    ----------
    compute
        Sent to a process with all that it refers to, once for each cell, so it should refer to
        names of files rather than to what they hold.
    cells
        What to compute.
    workers
        Number of processes.
    unit
        What the progress bar counts.

    Yields
    ------
    tuple
        As `one_by_one`, in the order in which the cells are done.

    Raises
    ------
    SweepError
        A cell failed, or a process ended before it was done.
    """
    here, notes = os.getcwd(), os.environ.get(FILES_VARIABLE)
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        # One cell at a time for each process: a batch of them would be lost together.
        results = Parallel(return_as="generator_unordered", batch_size=1)(
            delayed(_in_worker)(compute, cell, here, notes) for cell in cells
        )
    try:
        with closing(results), tqdm(total=len(cells), unit=unit) as bar:
            for result in results:
                bar.update()
                yield result
    except BrokenProcessPool as error:
        raise SweepError(
            f"a process of {workers} ended before its cell was done, perhaps for want of memory; "
            "use fewer workers"
        ) from error


def _in_worker(compute: Compute, cell: Cell, folder: str, notes: str | None) -> Computed:
    # Processes are kept for the next call, which may come from another folder or chapter.
    os.chdir(folder)
    os.environ.update(_ONE_THREAD)
    flags = os.environ.get("XLA_FLAGS", "").split()  # those that the user has set are kept
    os.environ["XLA_FLAGS"] = " ".join([*flags, *{_ONE_XLA_THREAD}.difference(flags)])
    os.environ.pop(FILES_VARIABLE, None)
    if notes is not None:
        os.environ[FILES_VARIABLE] = notes
    return _timed(compute, cell)


def _timed(compute: Compute, cell: Cell) -> Computed:
    begun = time.perf_counter()
    try:
        frame = compute(cell)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"{cell}: {type(error).__name__}: {reason}") from error
    return cell, frame, round(time.perf_counter() - begun, 3)
