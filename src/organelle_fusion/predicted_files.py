"""The folder that `predict` writes into: which call it is of, and what of it can be kept."""

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from organelle_fusion.config import UserError
from organelle_fusion.provenance import file_hash, hash_of, is_current, record_files, write_json

TABLE = "predictions.csv"
RECORD = "provenance.json"
"""Name of the record of the call, and in the folder of an image of the record of its files."""

TABLES = ("patches.csv",)
MAPS = ("probabilities.ome.tif", "probabilities.png", "report.html")
"""Files of an image, in its folder: of every call, and of one that makes maps."""


class PredictError(UserError):
    """Images that cannot be predicted as asked; the message is one line."""


_LONGEST = 200  # bytes of a name; file systems take 255


def folder_name(image: str) -> str:
    """Name of the folder of an image's files: letters, digits, dots, dashes and underscores.

    Of a long name, of which letters may take several bytes, the beginning and a hash.
    """
    name = re.sub(r"[^\w.-]|^\.", "_", image)
    if len(name.encode()) > _LONGEST:
        name = f"{name.encode()[:_LONGEST].decode(errors='ignore')}-{hash_of(image)[:8]}"
    return f"{name}_" if name.lower() in (TABLE, RECORD) else name  # what lies beside it


def call_of(model: Path, images: pd.DataFrame, *, maps: bool) -> dict[str, Any]:
    """What two calls have in common that may share a folder: network, images and options.

    Parameters
    ----------
    model
        The file of the network.
    images
        Of `listing.list_images`.
    maps
        Whether maps and reports are made.
    """
    return {
        "network": file_hash(model),
        "images": [
            {
                "image": row.image,
                "path": os.path.abspath(row.path),
                "channel_map": row.channel_map if isinstance(row.channel_map, dict) else None,
                "pixel_size_um": _known(row.pixel_size_um),
                "z_step_um": _known(row.z_step_um),
            }
            for row in images.itertuples()
        ],
        "maps": maps,
    }


def take_folder(output: Path, call: dict[str, Any]) -> bool:
    """Begin in a folder that is empty, or go on in one in which the same call has begun.

    A folder in which another call has failed with all of its images is taken as an empty one.

    Parameters
    ----------
    output
        A folder that nobody else works in, see `locks.run_lock`.
    call
        Of `call_of`.

    Returns
    -------
    bool
        Whether a call has begun here before.

    Raises
    ------
    PredictError
        The folder holds something else.
    """
    record = output / RECORD
    # Hidden files, such as those that desktops leave, are no results.
    if not any(not entry.name.startswith(".") for entry in output.iterdir()):
        write_json(record, call)
        return False
    found = "something else"
    if record.is_file():
        try:
            other = _differences(json.loads(record.read_text("utf-8")), call)
        except (ValueError, KeyError, TypeError):
            found = f"a damaged {RECORD}"
        else:
            if not other:
                return True
            if not any(map(_is_of_an_image, output.iterdir())):
                write_json(record, call)
                (output / TABLE).unlink(missing_ok=True)
                return False
            found = f"results of a call with other {' and '.join(other)}"
    raise PredictError(
        f"{output}: expected a folder that is new, empty or of the same call, so that results of "
        f"two calls do not mix, found {found} there; name another by --output, or delete it"
    )


def _differences(before: dict[str, Any], call: dict[str, Any]) -> list[str]:
    """What two calls differ in: network, maps, images, or what is said of the same images."""
    other = [name for name in call if name != "images" and before[name] != call[name]]
    pairs = list(zip(before["images"], call["images"], strict=False))
    changed = [
        name for name in call["images"][0] if any(one[name] != two[name] for one, two in pairs)
    ]
    if len(before["images"]) != len(call["images"]) or {"image", "path"} & set(changed):
        return [*other, "images"]
    return [*other, *changed]


def _is_of_an_image(entry: Path) -> bool:
    """Whether an entry of the folder is more than the table, the record and the logs of a call."""
    if entry.is_dir():
        return (entry / RECORD).is_file()  # written last, of an image that was predicted
    return not (
        entry.name.startswith(".") or entry.suffix == ".log" or entry.name in (TABLE, RECORD)
    )


def read_table(output: Path) -> pd.DataFrame:
    """Cells of ``predictions.csv`` as an earlier call has left them, as text.

    No rows where there is no such table, or one that was edited so that it is none any more: the
    call writes it anew.
    """
    try:
        table = pd.read_csv(output / TABLE, dtype=str, keep_default_na=False)
    except (FileNotFoundError, ValueError):
        table = pd.DataFrame()
    return table if "image" in table else pd.DataFrame({"image": []})


def clear_image(folder: Path) -> None:
    """Delete what was written of an image, so that files of two contents do not lie together."""
    for name in (RECORD, *TABLES, *MAPS):
        (folder / name).unlink(missing_ok=True)


def kept_row(folder: Path, inputs: str, *, maps: bool) -> tuple[dict[str, Any] | None, str]:
    """The row of an image that was predicted before, if all that was written of it is whole.

    Parameters
    ----------
    folder
        That of the image.
    inputs
        Hash of all that the files depend on.
    maps
        Whether maps and report belong to them.

    Returns
    -------
    dict or None
        As `keep_row` was given it; None if the image is to be predicted.
    str
        A line that says what is damaged or gone; else nothing.
    """
    record = folder / RECORD
    current, line = is_current(record, inputs, _files(folder, maps))
    if not current:
        return None, line
    stored = json.loads(record.read_text("utf-8"))
    if hash_of(stored.get("row")) != stored.get("checksum"):
        return None, (
            f"{record}: expected the row that was written, found another; it is made again"
        )
    return stored["row"], ""


def keep_row(folder: Path, inputs: str, row: dict[str, Any], *, maps: bool) -> None:
    """Record the row of an image and the files in its folder, when all are written."""
    files = _files(folder, maps)
    record_files(folder / RECORD, inputs, files, row=row, checksum=hash_of(row))


def _files(folder: Path, maps: bool) -> list[Path]:
    return [folder / name for name in (*TABLES, *(MAPS if maps else ()))]


def _known(value: float) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
