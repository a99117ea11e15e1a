"""The whole book: the chapters that have to run, in order, and the pages built from them."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

from organelle_fusion.chapters import EXECUTED, BookError, execute_chapter
from organelle_fusion.cluster import network_workers, shared_cluster
from organelle_fusion.colophon import papermill_facts, write_tables
from organelle_fusion.config import Profile
from organelle_fusion.inputs import (
    chapter_inputs,
    difference,
    noted_files,
    record_path,
    write_record,
)
from organelle_fusion.locks import held_locks, run_lock
from organelle_fusion.pages import open_run
from organelle_fusion.repository import COMPILED, project_root
from organelle_fusion.sources import DATA_VARIABLE

_LOGGER = logging.getLogger(__name__)

# --- execution ----------------------------------------------------------------------------------


def chapter_sources(root: Path) -> list[Path]:
    """The edited halves of the chapters, ``notebooks/NN_name.py``, in run order."""
    found = sorted((root / "notebooks").glob("[0-9][0-9]_*.py"))
    for one, other in pairwise(found):
        if one.name[:2] == other.name[:2]:
            raise BookError(
                f"notebooks: expected one chapter of each number, found {one.name} and "
                f"{other.name}; give one of them a number that is free"
            )
    return found


def _numbered(root: Path, chapter: str) -> list[Path]:
    """The source of a chapter, by its number."""
    return [path for path in chapter_sources(root) if path.stem.split("_")[0] == chapter.zfill(2)]


def reproduce(profile: Profile, profile_name: str, manifest: str = "", chapter: str = "") -> str:
    """Execute the chapters in order as far as they have to be, then build the book.

    After a single chapter, no book is built if others are not executed.

    Parameters
    ----------
    profile, profile_name, manifest, chapter
        As in `execute_chapters`.

    Returns
    -------
    str
        Where the built book lies; or where the chapter does, and what the pages need.

    Raises
    ------
    BookError
        A chapter failed, or a page is missing.
    LockError
        Another process makes the book of this folder.
    """
    root = project_root()
    if given := os.environ.get(DATA_VARIABLE):  # relative to where the command was given
        os.environ[DATA_VARIABLE] = os.path.abspath(given)
    os.chdir(root)
    with run_lock(root / EXECUTED):
        execute_chapters(root, profile, profile_name, manifest, chapter)
        missing = missing_pages(root)
        if chapter and missing and all(Path(page).parent == EXECUTED for page in missing):
            (source,) = _numbered(root, chapter)
            others = "1 other is" if len(missing) == 1 else f"{len(missing)} others are"
            return (
                f"The chapter: {root / EXECUTED / source.stem}.ipynb\n"
                f"No page is built, as {others} not executed; `make book` does both"
            )
        return f"The book: {build_pages(root)}"


def execute_chapters(
    root: Path, profile: Profile, profile_name: str, manifest: str = "", chapter: str = ""
) -> None:
    """Execute the chapters whose last execution does not hold any more, or only the one asked for.

    Parameters
    ----------
    root
        Folder of the repository, and the working directory.
    profile, profile_name
        The settings, and what the chapters load them by.
    manifest
        Path of one's own manifest, or nothing.
    chapter
        Number of a chapter: it is executed whether it has to be or not, and no other is.

    Raises
    ------
    BookError
        There is no such chapter, or one failed.
    """
    # What TensorFlow's compiled code says once it is imported would hide the progress.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Every chapter and every process compiles the same networks: what one has done, others read.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(root / COMPILED))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    sources = chapter_sources(root)
    if chapter:
        sources = _numbered(root, chapter)
        if not sources:
            raise BookError(
                f"chapter {chapter}: expected one of "
                f"{', '.join(path.stem for path in chapter_sources(root))}; give its number"
            )
    backend = os.environ.get("KERAS_BACKEND", profile.backend)
    parameters = {"profile": profile_name, "manifest": manifest}
    run = open_run(profile, manifest)
    data = run.data
    _LOGGER.debug(
        "profile %s, %s, backend %s, results in %s", profile.name, data, backend, run.folder
    )
    executed = {source: root / EXECUTED / f"{source.stem}.ipynb" for source in sources}
    # Asked before any runs: an execution that fails takes the time of the last one with it.
    known = {source: papermill_facts(executed[source]).get("duration", 0) for source in sources}

    def inputs_of(source: Path) -> dict:
        return chapter_inputs(source, profile, manifest, data)

    def reason(source: Path) -> str:
        return "asked for" if chapter else difference(executed[source], inputs_of(source))

    with ExitStack() as workers:
        for number, source in enumerate(sources, start=1):
            place = f"[{number}/{len(sources)}] {source.stem}"
            why = reason(source)
            if not why:
                _LOGGER.info("%s unchanged", place)
                continue
            # Those that will run as far as is known: this one may change what later ones read.
            left = known[source] + sum(known[later] for later in sources[number:] if reason(later))
            estimate = f", about {left:.0f} s left for the chapters by the last run" if left else ""
            _LOGGER.info("%s runs (%s)%s", place, why, estimate)
            # All chapters train on the same workers, which so compile every network once.
            workers.enter_context(shared_cluster(network_workers(profile.encoder.kind, backend)))
            inputs = inputs_of(source)
            record_path(executed[source]).unlink(missing_ok=True)
            with noted_files() as files:
                execution = execute_chapter(source, root, parameters, data)
            # A chapter that did not get its data has no record, so that it is tried again.
            if execution.complete:
                write_record(executed[source], inputs, files)
            _LOGGER.debug("%s read or wrote %d files", source.stem, len(files))
            _LOGGER.info("%s done in %.0f s", place, execution.seconds)
    if chapter:
        _tell_what_is_out_of_date(root, inputs_of)


def _tell_what_is_out_of_date(root: Path, inputs_of: Callable[[Path], dict]) -> None:
    """Name the pages that one chapter's execution left behind: later ones, or of other settings."""
    for source in chapter_sources(root):
        executed = root / EXECUTED / f"{source.stem}.ipynb"
        why = difference(executed, inputs_of(source)) if executed.is_file() else ""
        if why:
            _LOGGER.info("%s is out of date (%s): `make book` executes it", source.stem, why)


# --- building -----------------------------------------------------------------------------------


def toc_entries(root: Path) -> list[dict]:
    """Entries of ``_toc.yml`` in the order of the pages, out of all parts and sections."""
    toc = _toc(root)

    def below(entry: dict) -> list[dict]:
        held = [*entry.get("chapters", []), *entry.get("sections", [])]
        return [found for each in held for found in (each, *below(each))]

    return [found for part in toc.get("parts", [toc]) for found in below(part)]


def toc_pages(root: Path) -> list[str]:
    """Pages named in ``_toc.yml``, without suffix, the root page first."""
    return [_toc(root)["root"], *(entry["file"] for entry in toc_entries(root))]


def _toc(root: Path) -> dict:
    import yaml

    return yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))


def missing_pages(root: Path) -> list[str]:
    """Pages named in ``_toc.yml`` that are not there, or not yet."""
    return [
        page
        for page in toc_pages(root)
        if not any((root / page).with_suffix(suffix).is_file() for suffix in (".md", ".ipynb"))
    ]


def build_pages(root: Path) -> Path:
    """Build the book from the executed chapters, every warning an error; return ``index.html``."""
    missing = missing_pages(root)
    if missing:
        raise BookError(
            f"_toc.yml: expected {missing[0]}, found no such page ({len(missing)} missing); "
            "run `make book` once to execute every chapter"
        )
    chapters = [Path(page).name for page in toc_pages(root) if Path(page).parent == EXECUTED]
    write_tables(root / EXECUTED, chapters)
    from organelle_fusion.opening import CHAPTER, write_opening  # scikit-learn takes a second

    if CHAPTER in chapters:  # a book of some chapters has another opening page
        write_opening(root / EXECUTED)
    shutil.rmtree(root / "_build", ignore_errors=True)
    _LOGGER.info("building the pages")
    started = time.monotonic()
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-W", "-n"]
    result = subprocess.run(
        [*command, "--keep-going"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        # It would go on if this process were killed, and so would the lock.
        pass_fds=held_locks(),
    )
    seconds = time.monotonic() - started
    _LOGGER.debug("jupyter-book ended after %.0f s; it said:\n%s", seconds, result.stdout)
    pages = root / "_build" / "html"
    absent = [page for page in toc_pages(root) if not (pages / f"{page}.html").is_file()]
    if result.returncode or absent:
        _LOGGER.error("the pages are not built; jupyter-book said:\n%s", result.stdout)
        raise BookError(
            f"jupyter-book ended with exit code {result.returncode}, pages missing: "
            f"{', '.join(absent) or 'none'}; its messages are above"
        )
    return pages / "index.html"
