"""Computing cells here one after another, or several at once on the workers of a cluster."""

import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from organelle_fusion.cluster import (
    HERE,
    connect,
    is_named,
    number_of_workers,
    running_workers,
)
from organelle_fusion.handover import Parcel, parcel, unpack
from organelle_fusion.predictions import Cell, SweepError
from organelle_fusion.provenance import FILES_VARIABLE, code_version

Unit = Cell | str
"""What is computed at once: a cell of a sweep, or the image of a name."""

Compute = Callable[[Unit], Any]
Computed = tuple[int, Unit, Any, float]
"""Number of the job, what was computed, the result, and the seconds it took."""


class Job(NamedTuple):
    """What one function computes; where it has to be sent, it may lie in `folder` for that long."""

    number: int
    compute: Compute
    cells: Sequence[Unit]
    folder: Path


# A training takes seconds in the quick profile and minutes in the others: a line for each would
# flood the page of the first.
_SECONDS_BETWEEN_LINES = 10.0

_SECONDS_TO_RESTART = 60
_SECONDS_TO_ANSWER = 5  # until a look at who is still there


class _Scene(NamedTuple):
    """What a worker takes over of the process that asks it to compute."""

    folder: str
    notes: str | None  # file that `note_file` writes to
    backend: str | None  # of Keras, where it has been chosen
    code: str


class _Failure(NamedTuple):
    message: str
    traceback: str


def one_by_one(jobs: Iterable[Job]) -> Iterator[Computed]:
    """Compute the cells of all jobs in their order; now and then a line says which one it is.

    Yields
    ------
    tuple
        See `Computed`.

    Raises
    ------
    SweepError
        A cell failed; the message names it, and the cause is attached.
    """
    last_line = -np.inf
    for job_number, compute, cells, _ in jobs:
        started = time.perf_counter()
        for number, cell in enumerate(cells, start=1):
            now = time.perf_counter()
            if now - last_line >= _SECONDS_BETWEEN_LINES:
                last_line = now
                left = (now - started) / max(number - 1, 1) * (len(cells) - number + 1)
                estimate = f", about {left:.0f} s left" if number > 1 else ""
                print(f"{cell}: {number} of {len(cells)}{estimate}")
                sys.stdout.flush()
            try:
                computed = _timed(compute, cell)
            except Exception as error:
                raise SweepError(_message(cell, error)) from error
            yield job_number, cell, *computed
        del compute  # and all it refers to, before the next job is made


def of_each(
    compute: Callable[[str], Any], images: Sequence[str], doing: str, *, progress: bool = True
) -> Iterator[tuple[str, Any]]:
    """Compute something of each image, on the workers of the run if it has any.

    Parameters
    ----------
    compute
        Name of an image → result; what is sent, see `on_workers`, should be small.
    images
        Names.
    doing
        What the progress bar says is done.
    progress
        Show it.

    Yields
    ------
    tuple
        Name and result, in the order in which the images are done.

    Raises
    ------
    Exception
        What `compute` raises; on workers a `SweepError` that says it.
    """
    workers = running_workers()
    bar = {"desc": doing, "unit": "image", "disable": not progress}
    if workers == HERE:
        for image in tqdm(images, **bar):
            yield image, compute(image)
    else:
        job = Job(0, compute, images, Path.cwd())
        for _, image, result, _ in on_workers([job], workers, **bar):
            yield image, result


def on_workers(jobs: Iterable[Job], workers: int, **bar: Any) -> Iterator[Computed]:
    """Compute cells on workers of one thread each, with a progress bar.

    The next job is taken when no cell of the ones before waits for a worker, so that the workers go
    on while it is made. A cell whose worker ends, for want of memory for instance, is computed
    again on another. After an error, or where not all is asked for, workers of ours start anew, so
    that nothing is computed and written which nobody waits for.

    Parameters
    ----------
    jobs
        A function is sent to the workers with all that it refers to, once for all its cells, and
        not held here any longer. Without a job, no worker is looked for.
    workers
        Their number, where this process has to start them, see `cluster.connect`.
    bar
        Options of `tqdm.tqdm` for the progress bar.

    Yields
    ------
    tuple
        See `Computed`, in the order in which the cells are done.

    Raises
    ------
    SweepError
        A cell failed, or ended one worker after another; the cluster was lost; or the code of this
        package has changed since the first job was sent.
    Exception
        What `jobs` raises, after the cells of the jobs before it.
    """
    jobs, no_more = iter(jobs), None
    job = next(jobs, None)
    if job is None:
        return
    from distributed import KilledWorker, as_completed

    client = connect(workers)
    scene = _scene(client)
    waiting, left, sent_files = {}, Counter(), {}
    finished = as_completed(loop=client.loop)
    with tqdm(total=len(job.cells), **bar) as done, ExitStack() as files:

        def send(job: Job) -> None:
            if _code() != scene.code:
                raise SweepError(
                    "worker: expected the code that the run began with, found that a module was "
                    "changed meanwhile; run again"
                )
            sent_files[job.number] = files.enter_context(ExitStack())
            sent = sent_files[job.number].enter_context(parcel(job.compute, job.folder))
            left[job.number] = len(job.cells)
            for cell in job.cells:
                future = client.submit(_in_worker, sent, cell, scene, pure=False)
                waiting[future] = job.number, cell
                finished.add(future)

        try:
            send(job)
            del job  # and all it refers to, before the next one is made
            while waiting:
                # One at least: those of a cluster come and go.
                while no_more is None and len(waiting) <= max(1, number_of_workers(client)):
                    try:
                        job = next(jobs, None)
                    except Exception as error:  # raised below, when the cells here are done
                        no_more = error
                        break
                    if job is None:
                        break
                    done.total += len(job.cells)
                    send(job)
                    del job
                future = next(finished)
                number, cell = waiting.pop(future)
                if future.status == "finished":
                    result = future.result()
                    if isinstance(result, _Failure):
                        raise SweepError(result.message) from RuntimeError(result.traceback)
                    future.release()  # or the workers would keep the frames of all
                    left[number] -= 1
                    if not left[number]:
                        sent_files.pop(number).close()
                    done.update()
                    yield number, cell, *result
                elif future.status == "lost" and client.status == "running":
                    # Its worker has ended before the result was fetched; another computes it again.
                    waiting[future] = number, cell
                    finished.add(future)
                elif future.status == "error" and isinstance(future.exception(), KilledWorker):
                    # Dask blames what a worker had next as well as what it computed.
                    raise SweepError(
                        f"{cell}: expected its frame, found that each worker which computed it, or "
                        "had it next, ended, perhaps for want of memory; use fewer workers, or "
                        "with more memory"
                    ) from future.exception()
                else:
                    raise SweepError(
                        f"{cell}: expected its frame, found it {future.status}: "
                        f"{future.exception() if future.status == 'error' else 'no scheduler'}; "
                        "see whether the cluster is still running"
                    )
            if no_more is not None:
                raise no_more
        finally:
            if waiting:
                client.cancel(list(waiting))
                if not is_named() and client.status == "running":
                    # Else what computes goes on, and writes files afterwards. Old workers are gone
                    # even where new ones take too long to come, or the scheduler has gone.
                    with suppress(OSError):  # TimeoutError is one
                        client.restart(timeout=_SECONDS_TO_RESTART)


def asked_of_workers(question: Callable[[], Any], workers: int) -> Any:
    """Ask all workers the same, and return their answer.

    Raises
    ------
    SweepError
        They answer differently; or there is none, or one ends before it has answered.
    """
    client = connect(workers)
    scene = _scene(client)
    addresses = _addresses(client)
    if not addresses:
        raise SweepError(
            "workers: expected one at least, found that all have ended; wait until one has started "
            "again, and run again"
        )
    futures = [
        client.submit(_answer, question, scene, workers=[address], pure=False)
        for address in addresses
    ]
    answers = [
        _answered(client, address, future)
        for address, future in zip(addresses, futures, strict=True)
    ]
    if len(set(answers)) > 1:
        found = ", ".join(f"{answer} ({at})" for at, answer in zip(addresses, answers, strict=True))
        raise SweepError(
            f"workers: expected all of one kind, found {found}; one run does not mix devices, "
            "start workers of one kind"
        )
    return answers[0]


def _answered(client, address: str, future) -> Any:
    """Wait for the answer of a worker, as long as it lives."""
    while True:
        try:
            return future.result(timeout=_SECONDS_TO_ANSWER)
        except TimeoutError:
            if future.done():  # of the question itself
                raise
            # One that comes back has another address, and nobody answers for the old one.
            if address not in _addresses(client):
                raise SweepError(
                    f"worker {address}: expected an answer, found that it has ended, perhaps for "
                    "want of memory; run again, with fewer workers or more memory if it stays so"
                ) from None


def _addresses(client) -> list[str]:
    return list(client.scheduler_info(n_workers=-1)["workers"])


def _scene(client) -> _Scene:
    """What the workers have to take over; of a cluster of ours, they are brought up to date."""
    scene = _Scene(
        os.getcwd(), os.environ.get(FILES_VARIABLE), os.environ.get("KERAS_BACKEND"), _code()
    )
    if not is_named():
        for code, backend in client.run(_loaded).values():
            if code != scene.code or backend not in (None, scene.backend):
                client.restart()
                break
    return scene


def _code() -> str:
    """Hash of this package as it lies on the disk."""
    package = resources.files("organelle_fusion")
    return code_version(*(file.name[:-3] for file in package.iterdir() if file.suffix == ".py"))


_LOADED = _code()


def _loaded() -> tuple[str, str | None]:
    """Hash of the package when this process loaded it, and Keras' backend if that is loaded."""
    return _LOADED, os.environ.get("KERAS_BACKEND") if "keras" in sys.modules else None


def _enter(scene: _Scene) -> None:
    if scene.code != _LOADED:
        raise SweepError(
            "worker: expected the code of the process that asks, found another version of it; "
            "restart the workers, with the same version of this package"
        )
    here = os.environ.get("KERAS_BACKEND")
    if scene.backend is not None and here != scene.backend:
        if "keras" in sys.modules:
            raise SweepError(
                f"worker: expected Keras on {scene.backend}, found it on {here}; start the workers "
                f"anew, with KERAS_BACKEND={scene.backend}"
            )
        os.environ["KERAS_BACKEND"] = scene.backend
    os.chdir(scene.folder)
    os.environ.pop(FILES_VARIABLE, None)
    if scene.notes is not None and os.path.exists(scene.notes):  # or this is another machine
        os.environ[FILES_VARIABLE] = scene.notes


def _check_threads() -> None:
    """Refuse a worker of several threads; it may have joined since the others were looked at."""
    from distributed import get_worker

    if (threads := get_worker().state.nthreads) != 1:
        raise SweepError(
            f"worker: expected one thread, found {threads}; start it with --nthreads 1"
        )


def _in_worker(sent: Parcel, cell: Unit, scene: _Scene) -> tuple[Any, float] | _Failure:
    try:
        _check_threads()
        _enter(scene)
        return _timed(unpack(sent), cell)
    except Exception as error:  # it goes where the sweep is, which says what becomes of it
        return _Failure(_message(cell, error), traceback.format_exc())


def _answer(question: Callable[[], Any], scene: _Scene) -> Any:
    _enter(scene)
    return question()


def _timed(compute: Compute, cell: Unit) -> tuple[Any, float]:
    begun = time.perf_counter()
    result = compute(cell)
    return result, round(time.perf_counter() - begun, 3)


def _message(cell: Unit, error: Exception) -> str:
    return f"{cell}: {type(error).__name__}: {' '.join(str(error).split())}"
