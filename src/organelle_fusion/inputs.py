"""What an executed chapter was made from, and whether that still holds.

The record lies beside the executed notebook, ``NN_name.json``. It holds hashes of the chapter's
source, of the modules of this package that it uses, of the profile, and of every file that was
read or written meanwhile; and versions. A chapter is left alone only if all of these agree.
"""

import ast
import functools
import hashlib
import json
import os
import platform
import re
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from organelle_fusion.config import Profile, UserError
from organelle_fusion.provenance import (
    FILES_VARIABLE,
    code_version,
    file_hash,
    file_state,
    hash_of,
    write_json,
)

PACKAGE = "organelle_fusion"

# Part of every chapter, though none imports them: the package itself, and what executes a chapter.
_ALWAYS = frozenset({"__init__", "chapters"})
_UNSTEADY = "changed while the chapter ran"


class InputsError(UserError):
    """A chapter whose inputs cannot be found out; the message is one line."""


# --- what steers a chapter ----------------------------------------------------------------------


def chapter_inputs(source: Path, profile: Profile, manifest: str, data: str) -> dict[str, Any]:
    """All that a chapter depends on before it runs; the files it reads are noted while it does.

    Parameters
    ----------
    source
        The ``.py`` half of the chapter.
    profile
        Counts by content.
    manifest
        Path of one's own manifest, or nothing; its content counts among the files.
    data
        Words that figure captions say of the data.

    Returns
    -------
    dict
        ``source``, ``profile`` (hashes), ``manifest``, ``data``, ``code`` (module → hash) and
        ``versions`` (name → version).
    """
    return {
        "source": hashlib.sha256(source.read_bytes()).hexdigest(),
        "profile": hash_of(profile),
        "manifest": manifest,
        "data": data,
        "code": {module: code_version(module) for module in modules_used(source)},
        "versions": {
            **versions(),
            "Keras backend": os.environ.get("KERAS_BACKEND", profile.backend),
        },
    }


def modules_used(source: Path) -> list[str]:
    """Modules of this package that a file imports, and those that they import, and so on.

    Imports inside functions count, since they run when the function does.
    """
    package = Path(resources.files(PACKAGE))
    found: set[str] = set()
    waiting = _ALWAYS | _imported(source, package)
    while waiting:
        found |= waiting
        files = [package / f"{module}.py" for module in waiting]
        waiting = set().union(*(_imported(file, package) for file in files)) - found
    return sorted(found)


def _imported(file: Path, package: Path) -> set[str]:
    try:
        names = _imported_names(file.read_text("utf-8"))
    except SyntaxError as error:
        raise InputsError(
            f"{file}, line {error.lineno}: expected Python, found {error.msg}; correct it"
        ) from None
    # What is no file is a name that __init__ defines, and that counts anyway.
    parts = {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}
    return {part for part in parts if (package / f"{part}.py").is_file()}


@functools.cache  # the chapters share most modules
def _imported_names(code: str) -> frozenset[str]:
    """Dotted names of everything that a source imports, relative ones within the package."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = [PACKAGE] if node.level else []
            parts += [node.module] if node.module else []
            names |= {".".join([*parts, alias.name]) for alias in node.names}
    return frozenset(names)


def _requirements() -> list[str]:
    """What this package asks for, as `pyproject.toml` says it, that of extras with their marker."""
    try:
        return metadata.requires("organelle-fusion")
    except metadata.PackageNotFoundError:  # not installed, as in `organelle_fusion.__version__`
        text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
        return tomllib.loads(text)["project"]["dependencies"]


@functools.cache  # nothing is installed meanwhile
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that this one asks for, as they are installed."""
    # Those of an extra carry a marker that says so.
    asked = [text for text in _requirements() if "extra ==" not in text]
    names = sorted(re.match(r"[\w.-]+", text)[0] for text in asked)
    return {
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


# --- the record ---------------------------------------------------------------------------------


@contextmanager
def noted_files() -> Iterator[dict[str, tuple[int | None, int | None]]]:
    """Collect what `provenance.note_file` notes, here and in kernels started meanwhile.

    The mapping that the block is given is filled when it ends: path → time and size when the file
    was noted last.
    """
    files: dict[str, tuple[int | None, int | None]] = {}
    outer = os.environ.get(FILES_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "files"
        notes.touch()
        os.environ[FILES_VARIABLE] = str(notes)
        try:
            yield files
        finally:
            if outer is None:
                del os.environ[FILES_VARIABLE]
            else:
                os.environ[FILES_VARIABLE] = outer
        for line in notes.read_text("utf-8").splitlines():
            path, *state = json.loads(line)
            files[path] = tuple(state)


def write_record(notebook: Path, inputs: dict[str, Any], files: dict[str, tuple]) -> None:
    """Write down what an executed chapter was made from, beside it.

    Parameters
    ----------
    notebook
        The executed notebook, in its place.
    inputs
        `chapter_inputs`, taken before it ran: an edit made meanwhile is noticed next time.
    files
        Of `noted_files`. One that has changed since it was noted could be read neither way, so
        its entry never holds.
    """
    hashes = {
        path: _hash(Path(path)) if file_state(Path(path)) == state else _UNSTEADY
        for path, state in files.items()
    }
    record = {"inputs": inputs, "files": hashes, "notebook": _hash(notebook)}
    write_json(record_path(notebook), {**record, "checksum": hash_of(record)})


def difference(notebook: Path, inputs: dict[str, Any]) -> str:
    """Why an executed chapter does not hold any more, in a few words; nothing if it does."""
    if not notebook.is_file():
        return "not executed yet"
    try:
        record = json.loads(record_path(notebook).read_text("utf-8"))
        checksum = record.pop("checksum")
        whole = checksum == hash_of(record)
    except FileNotFoundError:
        return "no record of its last execution"
    except (ValueError, KeyError, AttributeError, TypeError):  # no JSON, or another kind of it
        whole = False
    if not whole:
        return "the record of its last execution is damaged"
    stored, files, executed = (record[key] for key in ("inputs", "files", "notebook"))
    if executed != _hash(notebook):
        return "its executed notebook was changed"
    for key, words in (("source", "its source"), ("profile", "profile")):
        if stored[key] != inputs[key]:
            return words
    if (stored["manifest"], stored["data"]) != (inputs["manifest"], inputs["data"]):
        return "manifest"
    for key, word in (("code", "code"), ("versions", "version")):
        old, new = stored[key], inputs[key]
        changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if changed:
            return f"{word}: {_few(changed)}"
    changed = [path for path, known in files.items() if _hash(Path(path)) != known]
    return f"file {_few(changed)}" if changed else ""


def record_path(notebook: Path) -> Path:
    """Where the record of an executed notebook lies."""
    return notebook.with_suffix(".json")


def _few(names: list[str]) -> str:
    more = len(names) - 1
    return names[0] + (f" and {more} more" if more else "")


def _hash(path: Path) -> str | None:
    """Hash of a file, each state of it read once; None if there is no such file."""
    state = file_state(path)
    return None if state[0] is None else _hash_of_state(os.path.abspath(path), state)


@functools.cache
def _hash_of_state(path: str, state: tuple[int, int]) -> str:
    return file_hash(Path(path))
