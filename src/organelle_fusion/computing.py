"""Computing cells, each with a file of its own, only where that is not stored already.

A cell's file says in its metadata what it came from; the cell is left alone as long as that still
holds, and a run that was interrupted goes on where it was.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from organelle_fusion.cluster import HERE
from organelle_fusion.locks import run_lock
from organelle_fusion.predictions import Cell, SweepError, stored_provenance, write_predictions
from organelle_fusion.provenance import note_file, provenance
from organelle_fusion.workers import Job, asked_of_workers, on_workers, one_by_one

Inputs = Mapping[str, str]
Compute = Callable[[Cell], pd.DataFrame]


@dataclass(frozen=True)
class CellSet:
    """Cells that one function computes, of one data set for instance.

    Parameters
    ----------
    cells
        What to compute, in this order. `Cell`, or another frozen dataclass that can be printed and
        has such a ``path``.
    folder
        Root of the files, see `Cell.path`.
    inputs
        Hashes of everything the results depend on; or a function that gives them per cell.
    beside
        Cell → further files that are written with its own and belong to a whole cell.
    device
        Gives the kind of device computed on; asked only if something is computed.
    """

    cells: Sequence[Cell]
    folder: Path
    inputs: Inputs | Callable[[Cell], Inputs]
    beside: Callable[[Cell], Iterable[Path]] = lambda cell: ()
    device: Callable[[], str] | None = None

    @property
    def paths(self) -> list[Path]:
        """One file per cell, in the order of the cells."""
        return [cell.path(self.folder) for cell in self.cells]

    def inputs_of(self, cell: Cell) -> Inputs:
        """Hashes of everything the result of this cell depends on."""
        return self.inputs(cell) if callable(self.inputs) else self.inputs


def run_cells(
    cells: Sequence[Cell],
    compute: Compute,
    folder: Path,
    *,
    inputs: Inputs | Callable[[Cell], Inputs],
    beside: Callable[[Cell], Iterable[Path]] = lambda cell: (),
    device: Callable[[], str] | None = None,
    workers: int = HERE,
    unit: str = "cell",
) -> list[Path]:
    """Compute the cells that are not there yet, or came from something else.

    Parameters
    ----------
    cells, folder, inputs, beside, device
        See `CellSet`.
    compute, workers, unit
        See `run_cell_sets`.

    Returns
    -------
    list of pathlib.Path
        One file per cell, in the order of `cells`.

    Raises
    ------
    SweepError, LockError
        See `run_cell_sets`.
    """
    cell_set = CellSet(cells, folder, inputs, beside, device)
    run_cell_sets([(cell_set, compute)], workers=workers, unit=unit)
    return cell_set.paths


def run_cell_sets(
    cell_sets: Iterable[tuple[CellSet, Compute]], *, workers: int = HERE, unit: str = "cell"
) -> None:
    """Compute the cells of several sets, where the last cells of one keep no worker idle.

    A cell is skipped if its file and those `beside` it are as they were written, by their
    checksums, and its stored inputs equal `inputs`; a line names a file that was damaged. Where
    `device` is given, one set does not mix devices either: as long as all of it is stored, and of
    one kind of device, it is taken as it is; as soon as anything of it must be computed, `device`
    is asked, and its cells of another device are computed again too. So a run that finds everything
    done need not load Keras to learn where it would have computed.

    Files appear whole or not at all: an exception, Ctrl-C or the end of the process loses the
    running cells only, and such as have ended while the next set was made. Two runs in one folder
    at once are refused, see `locks.run_lock`.

    Parameters
    ----------
    cell_sets
        Pairs of a set and the function that computes its cells: cell → frame, of predictions for
        instance. What it puts into ``frame.attrs`` (JSON) is stored under ``details`` of the
        provenance. What it reads is noted (`note_file`) only where it runs, so note for yourself
        what a stored cell depends on. The next pair is taken when no cell is left waiting for a
        worker, and the one before is not held any longer: a generator may make large data for
        each, which are in memory one after the other, and in files as long as workers need them.
    workers
        `HERE`: this process computes. Else so many workers do, see `cluster.connect`, and a bar
        shows how far it is; functions are sent to them with all that they refer to. The results are
        the same for any number; this process may have more threads, and round otherwise.
    unit
        What a cell is called where its progress is printed.

    Raises
    ------
    SweepError
        A cell failed; the message names it, and the cause is attached. Or no worker could
        compute it, its file could not be written, or two sets have it.
    LockError
        Another run is at work in the folder.
    """
    taken: list[tuple[CellSet, str | None]] = []  # with the device that is computed on
    places: set[Path] = set()

    @cache  # asked once, since workers answer between two cells only
    def device_here(device: Callable[[], str]) -> str:
        return device() if workers == HERE else asked_of_workers(device, workers)

    with ExitStack() as locks:

        def jobs() -> Iterator[Job]:
            for cell_set, compute in cell_sets:
                for cell, path in zip(cell_set.cells, cell_set.paths, strict=True):
                    if path in places:
                        raise SweepError(
                            f"{cell}: expected in one set of cells, found in two, which would "
                            "overwrite each other's file; name their data sets differently"
                        )
                    places.add(path)
                locks.enter_context(run_lock(cell_set.folder))
                stale, here = _stale(cell_set, device_here)
                if cell_set.cells:
                    there = len(cell_set.cells) - len(stale)
                    print(f"{len(cell_set.cells)} {unit}s: {there} stored, {len(stale)} to compute")
                taken.append((cell_set, here))
                if stale:
                    if here is not None and workers != HERE:
                        compute = _on_device(compute, cell_set.device, here)
                    yield Job(len(taken) - 1, compute, stale, cell_set.folder)
                del compute  # and all it refers to, before the next set is made

        started = time.perf_counter()
        done = 0
        results = one_by_one(jobs()) if workers == HERE else on_workers(jobs(), workers, unit=unit)
        try:
            with closing(results):
                for number, cell, frame, seconds in results:
                    cell_set, here = taken[number]
                    facts = provenance(
                        cell=asdict(cell),
                        inputs=dict(cell_set.inputs_of(cell)),
                        device=here,
                        seconds=seconds,
                    )
                    write_predictions(
                        frame, cell.path(cell_set.folder), facts, cell_set.beside(cell)
                    )
                    done += 1
        except SweepError as error:
            if not done:
                raise
            raise SweepError(
                f"{error}; {done} {unit}s computed before are kept, run again to go on"
            ) from error.__cause__
        if done:
            print(f"{done} {unit}s computed in {time.perf_counter() - started:.1f} s")
    for cell_set, _ in taken:
        for cell in cell_set.cells:
            for path in (cell.path(cell_set.folder), *cell_set.beside(cell)):
                note_file(path)


def _on_device(compute: Compute, device: Callable[[], str], here: str) -> Compute:
    """Refuse workers of another kind of device, which may have joined since they were asked."""

    def on_device(cell: Cell) -> pd.DataFrame:
        if (found := device()) != here:
            raise SweepError(
                f"worker: expected the device {here} of the other workers, found {found}; one run "
                "does not mix devices, start workers of one kind"
            )
        return compute(cell)

    return on_device


def _stale(
    cell_set: CellSet, device_here: Callable[[Callable[[], str]], str]
) -> tuple[list[Cell], str | None]:
    """Cells that have to be computed, and the device they are computed on, if it was asked."""
    devices = {}
    for cell in cell_set.cells:
        try:
            stored = stored_provenance(
                cell.path(cell_set.folder), cell, cell_set.inputs_of(cell), cell_set.beside(cell)
            )
        except SweepError as error:
            print(f"{cell}: computed again, {error}")
            continue
        if stored is not None:
            devices[cell] = stored["device"]
    stale = [cell for cell in cell_set.cells if cell not in devices]
    if cell_set.device is None or not (stale or len(set(devices.values())) > 1):
        return stale, None
    here = device_here(cell_set.device)
    return [cell for cell in cell_set.cells if devices.get(cell) != here], here
