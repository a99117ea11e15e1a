"""What a check has found, or a template needs, as text for a terminal; a check as JSON."""

import json
import math
import shlex
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.checking import Problem, Report
from organelle_fusion.inspecting import SATURATED
from organelle_fusion.leakage import batch_answer
from organelle_fusion.manifest_template import Template
from organelle_fusion.wording import few

WIDTH = 100
"""Columns of text that are used at most."""

_SHRINKING = ("image", "label", "group")  # columns cut short where the table would be too wide
_SHORTEST = 5  # characters of them that stay, however narrow the terminal


def text_width() -> int:
    """Columns of the terminal, `WIDTH` at most, which is also taken where there is none."""
    return min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)


def as_text(report: Report, channels: Sequence[str], width: int = WIDTH) -> str:
    """A table of the images, the problems, and a verdict in the last line.

    Parameters
    ----------
    report
        Of `checking.check_data_set`.
    channels
        Those that every image must have.
    width
        Columns of text; the table needs about 75 at least.
    """
    parts = []
    if len(report.images):
        shown = "of needed channels, those found; planes × rows × columns; pixel and z-step in µm; "
        shown += "share of voxels cut off in the worst channel"
        parts += [_table(_shown(report, channels), width), "", *_wrapped(shown, "", width), ""]
    return "\n".join([*parts, *_concluded(report.problems, report, width)])


def errors_text(report: Report, width: int = WIDTH) -> str:
    """The errors, and a verdict in the last line."""
    errors = [problem for problem in report.problems if problem.severity == "error"]
    return "\n".join(_concluded(errors, report, width))


def _concluded(problems: Sequence[Problem], report: Report, width: int) -> list[str]:
    """Lines of problems, and of the verdict on all that was found."""
    lines = []
    for severity, name, words, remedy in _gathered(problems):
        head = f"{severity:<8} {name}: "
        lines += _wrapped(head + words, "         ", width)
        lines += _wrapped(f"         → {remedy}", "           ", width) if remedy else []
    return [*lines, *[""] * bool(problems), *_wrapped(verdict(report), "", width)]


def template_text(template: Template, output: Path, width: int = WIDTH) -> str:
    """What a template holds, what was passed over, what is to be filled in, and what comes next."""
    classes = template.manifest["label"].replace("", pd.NA).nunique()
    lines = [
        f"{output}: {_count(len(template.manifest), 'image')} "
        f"of {_count(classes, 'class', 'classes')}"
    ]
    if template.skipped:
        skipped = ", ".join(f"{why} ({number})" for why, number in template.skipped.items())
        lines += _wrapped(f"Passed over: {skipped}", "  ", width)
    if template.notes:
        lines += ["To be filled in or mended:"]
        lines += [line for note in template.notes for line in _wrapped(f"- {note}", "  ", width)]
    lines.append(f"Next: organelle-fusion check {shlex.quote(str(output))}")
    return "\n".join(lines)


def verdict(report: Report) -> str:
    """One sentence: how many errors and warnings, in what, and whether it can be used."""
    images = report.images
    classes = images.loc[images["label"] != "", "label"].nunique()
    size = f"{_count(len(images), 'image')} of {_count(classes, 'class', 'classes')}"
    found = f"{_count(report.errors, 'error')}, {_count(report.warnings, 'warning')}"
    end = "mend the errors, then check again" if report.errors else "can be analysed"
    return f"{report.manifest.name}, {size}, profile {report.profile}: {found}; {end}"


def as_json(report: Report) -> str:
    """The same content for machines, one JSON document.

    Keys: ``manifest``, ``profile``, ``ok`` (no errors), ``errors``, ``warnings`` (numbers),
    ``images``, ``channels``, ``problems`` (a list of records each), ``confounding`` (a list:
    ``attribute``, ``also``, ``told``, ``images``, ``commonest``, ``chance``, ``table``), and
    ``groups`` (a sentence). Numbers that are not known are null.
    """
    document = {
        "manifest": str(report.manifest),
        "profile": report.profile,
        "ok": report.errors == 0,
        "errors": report.errors,
        "warnings": report.warnings,
        "images": _records(report.images),
        "channels": _records(report.channels),
        "problems": [problem._asdict() for problem in report.problems],
        "confounding": [
            {
                **{
                    name: getattr(found, name)
                    for name in ("attribute", "also", "told", "images", "commonest", "chance")
                },
                "table": _records(found.table),
            }
            for found in report.confounding
        ],
        "groups": _groups(report.images),
    }
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)


def _groups(images: pd.DataFrame) -> str:
    """Whether groups, where they are named, compare classes."""
    named = images[(images["label"] != "") & (images["group"] != "")]
    named = named[named["group"] != named["image"]]
    if not len(named):
        return "each image is a group of its own"
    return batch_answer(named["label"], named["group"])


def _shown(report: Report, channels: Sequence[str]) -> pd.DataFrame:
    worst = (
        report.channels.groupby("image")["saturated"].max()
        if len(report.channels)
        else pd.Series(dtype=float)
    )
    rows = []
    for row in report.images.itertuples():
        opened = bool(row.channels)
        found = sum(name in row.channels for name in channels)
        extra = f"+{len(row.channels) - found}" if len(row.channels) > found else ""
        pixel, step = (
            "?" if math.isnan(um) else f"{um:.4g}" for um in (row.pixel_size_um, row.z_step_um)
        )
        share = worst.get(row.image, math.nan)
        rows.append(
            {
                "image": row.image,
                "label": row.label or "–",
                "group": "=" if row.group == row.image else row.group or "–",
                "channels": f"{found}/{len(channels)}{extra}" if opened else "–",
                "size": f"{row.z:.0f}×{row.y:.0f}×{row.x:.0f}" if opened else "–",
                "µm": f"{pixel}, {step}" if opened else "–",
                "type": row.dtype if opened else "–",
                "saturated": _percent(share),
            }
        )
    return pd.DataFrame(rows)


def _percent(share: float) -> str:
    if math.isnan(share):
        return "–"
    return f"{share:.1%}" if share >= SATURATED else "0"


def _table(frame: pd.DataFrame, width: int) -> str:
    widths = {name: max(len(name), *frame[name].map(len)) for name in frame}
    while sum(widths.values()) + 2 * (len(widths) - 1) > width:
        longest = max(_SHRINKING, key=widths.get)
        if widths[longest] <= _SHORTEST:
            break
        widths[longest] -= 1

    def line(cells: Sequence[str]) -> str:
        # In the middle, as names are told apart by their ends: "Kontr…Zelle 1".
        cut = (
            cell if len(cell) <= most else f"{cell[: most // 2 - 1]}…{cell[most // 2 - most :]}"
            for cell, most in zip(cells, widths.values(), strict=True)
        )
        padded = (
            cell.rjust(most) if name == "saturated" else cell.ljust(most)
            for cell, (name, most) in zip(cut, widths.items(), strict=True)
        )
        return "  ".join(padded).rstrip()

    rule = ["─" * most for most in widths.values()]
    return "\n".join([line(list(frame)), line(rule), *map(line, frame.to_numpy().tolist())])


def _gathered(problems: Sequence[Problem]) -> list[tuple[str, str, str, str]]:
    """Problems in order, those alike but for the image as one."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for problem in problems:
        key = (problem.severity, problem.what, problem.remedy)
        places.setdefault(key, []).append(problem.where)
    return [
        (severity, few(names), what, remedy) for (severity, what, remedy), names in places.items()
    ]


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number or 'no'} {one if number == 1 else many or one + 's'}"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and math.isnan(value) else value

    return [
        {name: plain(value) for name, value in record.items()}
        for record in frame.to_dict("records")
    ]
