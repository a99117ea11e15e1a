"""How this book was made, as tables for pages of their own: versions, run times, provenance."""

import hashlib
import json
import os
import platform
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.config import UserError
from organelle_fusion.downloads import TABLES
from organelle_fusion.inputs import record_path, versions
from organelle_fusion.predictions import read_provenance
from organelle_fusion.provenance import atomic_path, hash_of, write_csv
from organelle_fusion.sources import DATA_VARIABLE

Tables = tuple[str, dict[str, pd.DataFrame]]
"""Text of a page, and the tables in it by their names."""

SYSTEMS = {"Darwin": "macOS"}
"""Names of operating systems, where Python's own is not the usual one."""


class ColophonError(UserError):
    """A record that cannot be read; the message is one line."""


def papermill_facts(notebook: Path) -> dict[str, Any]:
    """What papermill keeps in an executed notebook, such as ``duration`` (s) and ``end_time``.

    Nothing for a chapter that was never executed, or whose notebook is damaged: it will run.
    """
    if not notebook.is_file():
        return {}
    try:
        return json.loads(notebook.read_text("utf-8"))["metadata"].get("papermill", {})
    except (ValueError, KeyError, TypeError, AttributeError):  # no JSON, or of no notebook
        return {}


def write_tables(folder: Path, chapters: list[str]) -> None:
    """Write ``versions.md``, ``run-times.md`` and ``provenance.md``, which pages include, and CSV.

    Parameters
    ----------
    folder
        Holds the executed chapters and receives the tables.
    chapters
        Names of the chapters, in order; one that is not executed is left out.
    """
    executed = [folder / f"{name}.ipynb" for name in chapters]
    executed = [path for path in executed if papermill_facts(path)]
    trainings = {path: _trainings(record_path(path)) for path in executed}
    unique = {name: facts for cells in trainings.values() for name, facts in cells.items()}
    for name, (text, frames) in (
        ("versions", _versions(unique)),
        ("run-times", _run_times(trainings, unique)),
        ("provenance", _provenance(executed)),
    ):
        for table, frame in frames.items():
            write_csv(folder / TABLES / f"{table}.csv", frame)
        with atomic_path(folder / f"{name}.md") as temporary:
            temporary.write_text(text, "utf-8")


def _trainings(record: Path) -> dict[str, dict[str, Any]]:
    """Provenance of each training that a chapter read or ran, by prediction file."""
    if not record.is_file():
        return {}
    files = _read_record(record)["files"]
    # Some may have been deleted since; the chapter is then out of date, and its page stays.
    cells = [name for name in files if Path(name).match("fold-*.parquet") and Path(name).is_file()]
    facts = {name: read_provenance(Path(name)) for name in cells}
    # Late fusion combines predictions, it is on no device.
    return {name: fact for name, fact in facts.items() if fact["device"]}


def _versions(trainings: dict[str, dict[str, Any]]) -> Tables:
    system = platform.system()
    machine = (
        f"Built on {os.cpu_count()} cores ({platform.machine()}) under "
        f"{SYSTEMS.get(system, system)}."
    )
    trained = {(fact["inputs"]["backend"], fact["device"].upper()) for fact in trainings.values()}
    if trained:
        machine += " The networks were trained with Keras on "
        machine += " and ".join(f"{backend} ({device})" for backend, device in sorted(trained))
        machine += "."
    lines = [f"| {name} | {version} |" for name, version in versions().items()]
    head = "| Package | Version |\n|:---|:---|"
    frame = pd.DataFrame(versions().items(), columns=["package", "version"])
    text = _table("Versions of this book.", "tab-versions", head, lines)
    return f"{machine}\n\n{text}", {"tab-versions": frame}


def _run_times(trainings: dict[Path, dict], unique: dict[str, dict]) -> Tables:
    lines, rows, total = [], [], 0.0
    for path, cells in trainings.items():
        facts = papermill_facts(path)
        ended = datetime.fromisoformat(facts["end_time"])
        training = sum(fact["seconds"] for fact in cells.values())
        total += facts["duration"]
        rows.append((path.stem, facts["duration"], training, facts["end_time"]))
        lines.append(
            f"| {int(path.stem[:2])} · [](executed/{path.name}) | {facts['duration']:,.0f} | "
            f"{f'{training:,.0f}' if training else '–'} | {ended:%Y-%m-%d %H:%M} |"
        )
    once = sum(fact["seconds"] for fact in unique.values())
    lines.append(f"| **All chapters** | **{total:,.0f}** | **{once:,.0f}** | |")
    head = "| Chapter | Seconds | Training, s | Ended (UTC) |\n|:---|---:|---:|:---|"
    frame = pd.DataFrame(rows, columns=["chapter", "seconds", "training_s", "ended"])
    text = _table("Run time of each chapter's last execution.", "tab-run-times", head, lines)
    return text, {"tab-run-times": frame}


# --- provenance ---------------------------------------------------------------------------------

SHOWN = 3
"""As many files of one kind in one folder are listed one by one; of more, how many there are."""


def _provenance(executed: list[Path]) -> Tables:
    rows, lists, made, frames = [], [], [], {}
    for path in executed:
        record = _record(path)
        title = f"{int(path.stem[:2])} · [](executed/{path.name})"
        facts = papermill_facts(path)
        given = facts.get("parameters", {})
        ended = f"{datetime.fromisoformat(facts['end_time']):%Y-%m-%d %H:%M}"
        if record is None:
            rows.append(f"| {title} | {given.get('profile', '–')} | – | {ended} | – | – | – |")
            made.append((path.stem, given.get("profile", ""), "", facts["end_time"], "", "", ""))
            lists.append(f"Chapter {int(path.stem[:2])}: its public data were out of reach.\n")
            continue
        inputs = record["inputs"]
        hashes = (inputs["source"], inputs["profile"], hash_of(inputs["code"]))
        rows.append(
            f"| {title} | {given['profile']} | {inputs['data']} | {ended} | "
            + " | ".join(f"`{found[:12]}`" for found in hashes)
            + " |"
        )
        made.append((path.stem, given["profile"], inputs["data"], facts["end_time"], *hashes))
        listed = grouped(record["files"])
        name = f"tab-files-{path.stem[:2]}"
        frames[name] = pd.DataFrame(listed, columns=["folder", "files", "sha256"])
        lists.append(_files_of(path, name, listed, len(record["files"])))
    columns = ["chapter", "profile", "data", "executed", "text", "settings", "code"]
    frames["tab-provenance"] = pd.DataFrame(made, columns=columns)
    head = (
        "| Chapter | Profile | Stacks | Executed (UTC) | Text | Settings | Code |\n"
        "|:---|:---|:---|:---|:---|:---|:---|"
    )
    caption = "What each chapter was made from: first twelve digits of hashes."
    return "\n".join([_table(caption, "tab-provenance", head, rows), *lists]), frames


def _record(notebook: Path) -> dict[str, Any] | None:
    """The record of an executed chapter, see `inputs`; None for one that did not get its data."""
    path = record_path(notebook)
    return _read_record(path) if path.is_file() else None


def _read_record(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        raise ColophonError(
            f"{path}: expected the record of an executed chapter, found a damaged file; run "
            "`make book`, which executes the chapter again"
        ) from None


def _files_of(notebook: Path, name: str, listed: list[tuple[str, str, str]], count: int) -> str:
    number = int(notebook.stem[:2])
    lines = [f"| `{folder}` | {what} | `{found}` |" for folder, what, found in listed]
    head = "| Folder | Files | SHA-256 |\n|:---|:---|:---|"
    table = _table(f"Files that chapter {number} read or wrote.", name, head, lines)
    opening = f"````{{dropdown}} Chapter {number}: {count:,} files"
    return "\n".join([opening, "", table.rstrip("\n"), "````", ""])


def grouped(files: Mapping[str, str | None]) -> list[tuple[str, str, str]]:
    """Files of a record as few lines: alike ones in one folder are one line.

    Parameters
    ----------
    files
        Path, relative to the repository or absolute → hash, None where there is no such file.

    Returns
    -------
    list of (folder, files, hash)
        Sorted. Up to `SHOWN` files of one suffix in one folder have a line each. For more, the
        hash is that of the lines that ``sha256sum`` prints for them, in the order of names. Folders
        elsewhere are not named, since they tell whose machine it was.
    """
    alike = defaultdict(dict)
    for path, found in files.items():
        file = Path(path)
        alike[_place(file.parent), "".join(file.suffixes[-2:])][file.name] = found
    rows = []
    for (folder, _), members in sorted(alike.items()):
        names = sorted(members)
        if len(names) <= SHOWN:
            rows += [(folder, f"`{name}`", members[name] or "no such file") for name in names]
            continue
        lines = "".join(f"{members[name]}  {name}\n" for name in names)
        what = f"{len(names):,} files, `{names[0]}` to `{names[-1]}`"
        rows.append((folder, what, hashlib.sha256(lines.encode()).hexdigest()))
    return rows


def _place(folder: Path) -> str:
    """Name of a folder that holds on other machines as well."""
    if not folder.is_absolute():
        return folder.as_posix()
    data = os.path.abspath(os.environ.get(DATA_VARIABLE) or os.devnull)
    if folder.is_relative_to(data):
        return (Path(f"${DATA_VARIABLE}") / folder.relative_to(data)).as_posix()
    return f"elsewhere/{folder.name}"


def _table(caption: str, name: str, head: str, lines: list[str]) -> str:
    caption += f" {{download}}`CSV <executed/{TABLES}/{name}.csv>`"
    return "\n".join([f":::{{table}} {caption}", f":name: {name}", "", head, *lines, ":::", ""])
