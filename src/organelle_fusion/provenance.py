"""Hashes that say what a result came from, and writing that leaves no half-written file."""

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from organelle_fusion import __version__

FILES_VARIABLE = "ORGANELLE_FUSION_FILES"
"""Environment variable naming the file into which `note_file` writes, if it is to write at all."""


def hash_of(value: Any) -> str:
    """SHA-256 (hex) of settings, an array, a frame or anything JSON can hold.

    Equal content gives equal hashes on every machine: arrays are hashed with shape and dtype,
    frames by columns, mappings by sorted keys.
    """
    digest = hashlib.sha256()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, pd.DataFrame):
        digest.update(value.to_csv(index=False, lineterminator="\n").encode())
    else:
        digest.update(json.dumps(_plain(value), sort_keys=True, allow_nan=False).encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | pd.DataFrame):
        return hash_of(value)
    if isinstance(value, Path):
        return value.as_posix()
    return value


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; of a folder, of names and bytes of all files below it."""
    if Path(path).is_dir():
        return hash_of([[name, file_hash(file)] for name, file in sorted(_files_below(path))])
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name, relative to the folder, and place of every file below it."""
    for place, _, names in os.walk(folder, followlinks=True):
        for name in names:
            file = Path(place, name)
            yield file.relative_to(folder).as_posix(), file


def code_version(*modules: str) -> str:
    """SHA-256 (hex) of the sources of some modules of this package, in the order of their names.

    A result is recomputed when the code that makes it has changed, and only then: a new colour
    in `plots` does not train a network again.
    """
    package = resources.files("organelle_fusion")
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update((package / f"{module}.py").read_bytes())
    return digest.hexdigest()


def provenance(**hashes: Any) -> dict[str, Any]:
    """What is written into every result file: the caller's hashes, versions, machine and time."""
    return {
        **hashes,
        "organelle_fusion": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def note_file(path: str | Path) -> Path:
    """Note that a file was read or written, for the record of what a chapter was made from.

    One line of JSON goes into the file that `FILES_VARIABLE` names: the path, relative to the
    working directory if below it, else absolute, and the file's time and size at this moment (null
    for both where there is no such file). Without the variable nothing happens.

    Returns
    -------
    Path
        `path`, so that a reader can be given ``note_file(path)``.
    """
    path = Path(path)
    notes = os.environ.get(FILES_VARIABLE)
    if notes:
        absolute = Path(os.path.abspath(path))  # links stay as they are named
        below = absolute.is_relative_to(Path.cwd())
        name = absolute.relative_to(Path.cwd()) if below else absolute
        with open(notes, "a", encoding="utf-8") as stream:
            stream.write(json.dumps([name.as_posix(), *file_state(path)]) + "\n")
    return path


def file_state(path: Path) -> tuple[int | None, int | None]:
    """Time of the last change (ns) and size (bytes) of a file; None twice if there is none.

    Of a folder, such as an OME-Zarr: the latest time of all that is below it, and the sum of sizes;
    a link to nothing counts by itself.
    """
    try:
        found = [os.stat(path)]
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    if not Path(path).is_dir():
        return found[0].st_mtime_ns, found[0].st_size
    # The time of a folder changes with what is added to it or taken away.
    for place, _, names in os.walk(path, followlinks=True):
        for name in ("", *names):
            entry = os.path.join(place, name)
            found.append(os.stat(entry, follow_symlinks=os.path.exists(entry)))
    return max(of.st_mtime_ns for of in found), sum(of.st_size for of in found)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well.

    Whoever finds `path` finds it whole, after a power cut too, and it is noted, see `note_file`.
    The temporary name ends as `path` does, since many writers choose the format by the suffix.
    What killed processes left in the folder is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    note_file(path)


def _flush(path: Path) -> None:
    """Bring a file to the disk: renamed before that, it may be empty after a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_name(name: str) -> str:
    """Hidden name of a file or folder that goes with this process, ending in `name`.

    It says host and process, so that `remove_leftovers` can tell whether anybody needs it, and is
    another in each call, so that two threads never write into one file.
    """
    return f"{_mark()}{os.getpid()}.{secrets.token_hex(4)}.{name}"


def remove_leftovers(folder: Path) -> None:
    """Remove what this user's processes that are gone have left under a `temporary_name`.

    What is named for another machine stays: whether that process is gone cannot be seen here.
    """
    mark = _mark()
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.name.startswith(mark)]
    for entry in found:
        number = entry.name.removeprefix(mark).split(".")[0]
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # renamed meanwhile, by the process that wrote it
            continue
        # In a common folder for temporary files other users have theirs.
        if state.st_uid != os.getuid() or not number.isdecimal():
            continue
        if _is_running(int(number), state.st_mtime):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)  # another may be removing it too
        else:
            Path(entry.path).unlink(missing_ok=True)


def _mark() -> str:
    return f".{re.sub('[^A-Za-z0-9-]', '-', platform.node())}."


def _is_running(process: int, at: float) -> bool:
    """Whether the process that had this number at a time (s since 1970) is still there."""
    import psutil

    if process == os.getpid():
        # In a container the next run often has the number of the last.
        return psutil.Process().create_time() <= at + 1
    try:
        found = psutil.Process(process)
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() <= at + 1
    except psutil.NoSuchProcess:
        return False


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as CSV without its index, atomically."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def read_csv(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read what `write_csv` wrote, with names as they are: NA, null and None are classes too.

    Parameters
    ----------
    path
        Of `write_csv`; noted as a file that was read.
    text
        Columns that hold names: a class 01 is no number, and an empty cell is "". In others an
        empty cell, and nothing else, is NaN.
    """
    frame = pd.read_csv(
        note_file(path), dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""]
    )
    return frame.fillna({name: "" for name in text if name in frame})


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_plain(value), indent=1, sort_keys=True) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file holds; None if there is no such file. Noted whether it is there or not."""
    return json.loads(path.read_text("utf-8")) if note_file(path).is_file() else None


def is_current(record: Path, inputs: str, files: Sequence[Path]) -> tuple[bool, str]:
    """Whether `record` says that these files, with these bytes, were made from `inputs`.

    Returns
    -------
    bool
        Whether all of it holds.
    str
        A line that says what is damaged or gone though it was made from these inputs; else nothing.
    """
    if not record.is_file():
        return False, ""
    try:
        stored = json.loads(record.read_text("utf-8"))
        made_from, hashes = stored["inputs"], stored["files"]
    except (ValueError, KeyError, TypeError):
        return False, f"{record}: expected a record of files, found it damaged; they are made again"
    if made_from != inputs:
        return False, ""
    if len(hashes) != len(files):
        return False, (
            f"{record}: expected {len(hashes)} files, found {len(files)}; they are made again"
        )
    for path, known in zip(files, hashes, strict=True):
        if not path.is_file():
            return False, f"{path}: expected a file, found none; it is made again"
        if (found := file_hash(path)) != known:
            return False, (
                f"{path}: expected the content that was written (SHA-256 {known[:12]}), found "
                f"another ({found[:12]}); it is made again"
            )
    return True, ""


def record_files(record: Path, inputs: str, files: Sequence[Path], **facts: Any) -> None:
    """Say in `record` what files were made from, see `is_current`; and further facts of them."""
    hashes = [file_hash(path) for path in files]
    write_json(record, {"inputs": inputs, "files": hashes, **facts})
