"""Hashes that say what a result came from, and writing that leaves no half-written file."""

import hashlib
import json
import os
import platform
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

    Of a folder, such as an OME-Zarr: the latest time of all that is below it, and the sum of sizes.
    """
    try:
        found = [os.stat(path)]
    except FileNotFoundError:
        return None, None
    if not Path(path).is_dir():
        return found[0].st_mtime_ns, found[0].st_size
    # The time of a folder changes with what is added to it or taken away.
    for place, _, names in os.walk(path, followlinks=True):
        found += [os.stat(os.path.join(place, name)) for name in ("", *names)]
    return max(of.st_mtime_ns for of in found), sum(of.st_size for of in found)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well.

    Whoever finds `path` finds it whole, and it is noted, see `note_file`. The temporary name ends
    as `path` does, since many writers choose the format by the suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    note_file(path)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as CSV without its index, atomically."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(_plain(value), indent=1, sort_keys=True) + "\n", "utf-8")


def is_current(record: Path, inputs: str, files: Sequence[Path]) -> bool:
    """Whether `record` says that these files, with these bytes, were made from `inputs`."""
    if not (record.is_file() and all(path.is_file() for path in files)):
        return False
    try:
        stored = json.loads(record.read_text("utf-8"))
    except json.JSONDecodeError:
        return False
    return stored == {"inputs": inputs, "files": [file_hash(path) for path in files]}


def record_files(record: Path, inputs: str, files: Sequence[Path]) -> None:
    """Say in `record` what files were made from, see `is_current`."""
    write_json(record, {"inputs": inputs, "files": [file_hash(path) for path in files]})
