"""Versions, machine and run times as tables: how this book was made, for a page of its own."""

import json
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.downloads import TABLES
from organelle_fusion.inputs import record_path, versions
from organelle_fusion.predictions import read_provenance
from organelle_fusion.provenance import atomic_path, write_csv

SYSTEMS = {"Darwin": "macOS"}
"""Names of operating systems, where Python's own is not the usual one."""


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
    """Write ``versions.md`` and ``run-times.md``, which a page of the book includes, and as CSV.

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
    for name, (text, frame) in (
        ("versions", _versions(unique)),
        ("run-times", _run_times(trainings, unique)),
    ):
        write_csv(folder / TABLES / f"tab-{name}.csv", frame)
        with atomic_path(folder / f"{name}.md") as temporary:
            temporary.write_text(text, "utf-8")


def _trainings(record: Path) -> dict[str, dict[str, Any]]:
    """Provenance of each training that a chapter read or ran, by prediction file."""
    if not record.is_file():
        return {}
    files = json.loads(record.read_text("utf-8"))["files"]
    cells = [name for name in files if Path(name).match("fold-*.parquet")]
    facts = {name: read_provenance(Path(name)) for name in cells}
    # Late fusion combines predictions, it is on no device.
    return {name: fact for name, fact in facts.items() if fact["device"]}


def _versions(trainings: dict[str, dict[str, Any]]) -> tuple[str, pd.DataFrame]:
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
    return f"{machine}\n\n" + _table("Versions of this book.", "tab-versions", head, lines), frame


def _run_times(trainings: dict[Path, dict], unique: dict[str, dict]) -> tuple[str, pd.DataFrame]:
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
    return text, frame


def _table(caption: str, name: str, head: str, lines: list[str]) -> str:
    caption += f" {{download}}`CSV <executed/{TABLES}/{name}.csv>`"
    return "\n".join([f":::{{table}} {caption}", f":name: {name}", "", head, *lines, ":::", ""])
