"""Public data sets: brought here once, verified against a committed list of hashes."""

import hashlib
import io
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.archives import ArchiveError, read_pictures
from organelle_fusion.config import UserError
from organelle_fusion.provenance import (
    atomic_path,
    note_file,
    remove_leftovers,
    temporary_name,
    write_csv,
)
from organelle_fusion.repository import downloads_folder

_LOGGER = logging.getLogger(__name__)

DATA_VARIABLE = "ORGANELLE_FUSION_DATA"
"""Environment variable naming a folder that already holds data sets, one folder each."""


class Source(NamedTuple):
    """Where a set of ready-cut crops comes from, and what its channels are."""

    url: str
    member: str  # path below the archive's only top folder, with {file} and {part}
    parts: tuple[str, ...]  # one per channel
    channels: tuple[str, ...]
    height_width: tuple[int, int]


class Measured(NamedTuple):
    """A table of measured objects: its file, and where its values were published."""

    file: str
    origin: str
    names: dict[str, str]  # the file's columns that say which object → ours; the others are values


SOURCES = {
    "cell-lines-9": Source(
        url="https://github.com/GutKat/AI_project_microscopy/archive/"
        "8e6121eba31645d88024ad6ed9ef528619e36f35.zip",
        member="data/images_train/{file}_{part}.png",
        parts=("blue", "red", "yellow"),
        channels=("nucleus", "microtubules", "endoplasmic_reticulum"),
        height_width=(64, 64),
    ),
    "mcf10a-mcf7": Source(
        url="https://github.com/fabiesposit/Breas-Cell-Classification/archive/"
        "1f1dbdb1d2d0780b9908bbda6bb1a19399bf6907.zip",
        member="train_folder/train/{file}/{file}_{part}.npy",
        parts=("N", "M"),
        channels=("nucleus", "membrane"),
        height_width=(100, 100),
    ),
}
"""Sets of ready-cut crops, for `read_crops`."""

MEASURED = {
    "otccp-eea1": Measured(
        file="objects.csv",
        origin="https://github.com/dancan-sandys/publicotccp, commit f928516, "
        "media/temp_folder/*.xls",
        names={
            "cell_line": "label",
            "image": "image",
            "cell": "cell",
            "zoom": "batch",
            "object_id": "object",
        },
    )
}
"""Tables of measured objects, for `read_measurements`."""


class SourceUnavailable(UserError):  # noqa: N818 - it says what the reader can mend
    """A data set that is not here, or not what it should be; the message is one line."""


def fetch(name: str, *, folder: Path | None = None) -> Path:
    """Return the folder of a public data set, downloading it where it is not yet here.

    Looked for, in this order: the folder that ``ORGANELLE_FUSION_DATA`` names, an earlier
    download, the public source. Wherever it is found, all of it is verified. A table of
    measurements is not downloaded, only looked for.

    Parameters
    ----------
    name
        A key of `SOURCES` or `MEASURED`.
    folder
        Where downloads are kept; `repository.downloads_folder` if not given.

    Returns
    -------
    Path
        Folder with ``images.npz``, whose array ``images`` is uint8 (N, C, H, W), or with the
        table.

    Raises
    ------
    SourceUnavailable
        The name is not known, the source cannot be reached, or a crop or the table is missing or
        differs. One line: what, where from, the remedy.
    """
    _check_name(name, {**SOURCES, **MEASURED})
    if name in MEASURED:
        return _find_table(name, folder)[0].parent
    return _fetch(name, folder)[0]


def at_hand(name: str, *, folder: Path | None = None) -> bool:
    """Whether the crops of a set of `SOURCES` are here, so that nothing need be downloaded."""
    return any((place / "images.npz").is_file() for place in _places(name, folder))


def read_crops(
    name: str, *, folder: Path | None = None
) -> tuple[np.ndarray, pd.DataFrame, tuple[str, ...]]:
    """Read a data set of ready-cut crops, fetching and verifying it first.

    Parameters
    ----------
    name
        A key of `SOURCES`.
    folder
        As `fetch`.

    Returns
    -------
    images
        uint8 (N, C, H, W).
    table
        One row per crop: image, label, group (str), keep (bool: one crop of each group of
        duplicates and near-duplicates).
    channels
        One name per channel.

    Raises
    ------
    SourceUnavailable
        As `fetch`.
    """
    _check_name(name, SOURCES)
    _, images = _fetch(name, folder)
    table = crop_list(name).rename(columns={"file": "image"})
    return images, table[["image", "label", "group", "keep"]], SOURCES[name].channels


def crop_list(name: str) -> pd.DataFrame:
    """Read the committed list of a set of `SOURCES`, in the order of its crops, here or not.

    Columns are file, label, group, keep (bool) and sha256.
    """
    frame = _registry(name)
    return frame.assign(keep=frame["keep"] == "1")


def read_measurements(
    name: str, *, folder: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a table of measured objects, finding and verifying it first.

    Parameters
    ----------
    name
        A key of `MEASURED`.
    folder
        As `fetch`.

    Returns
    -------
    features
        float64, one row per object and one column per measured value, in plain names that end in
        their unit (µm, µm², µm³) where they have one.
    table
        str, the same rows: label (cell line), image, cell, batch (zoom), object (its number
        within the cell).

    Raises
    ------
    SourceUnavailable
        As `fetch`; or a value is no finite number: how many, and row and column of the first.
    """
    _check_name(name, MEASURED)
    path, content = _find_table(name, folder)
    names = MEASURED[name].names
    frame = pd.read_csv(
        io.BytesIO(content),
        dtype=dict.fromkeys(names, str),
        keep_default_na=False,
    )
    features = frame.drop(columns=list(names)).apply(pd.to_numeric, errors="coerce").astype(float)
    rows, columns = np.nonzero(~np.isfinite(features.to_numpy()))
    if len(rows):
        # The header is row 1.
        place = f"row {rows[0] + 2}, {features.columns[columns[0]]}"
        raise SourceUnavailable(
            f"{path}: {place}: expected a finite number, found none, as in {len(rows)} of "
            f"{features.size} values; leave the file as it was published"
        )
    return features, frame[list(names)].rename(columns=names)


def balanced_subset(table: pd.DataFrame, per_class: int, seed: int) -> np.ndarray:
    """Choose equally many crops of each class, of as many groups as there are.

    Parameters
    ----------
    table
        Columns label, group, keep, as from `read_crops`; only rows with `keep` are chosen from.
    per_class
        Crops per class.
    seed
        Seed of the choice; equal tables and seeds give equal rows.

    Returns
    -------
    numpy.ndarray
        int64, positions of the chosen rows in `table`, ascending. A second crop of a group is
        taken only where the class has fewer groups than `per_class`.

    Raises
    ------
    SourceUnavailable
        A class has fewer than `per_class` crops to choose from.
    """
    generator = np.random.default_rng(seed)
    kept = table.assign(position=np.arange(len(table)))[table["keep"].to_numpy(bool)]
    counts = kept["label"].value_counts().reindex(sorted(table["label"].unique()), fill_value=0)
    for label, count in counts.items():
        if count < per_class:
            raise SourceUnavailable(
                f"label {label}: expected {per_class} crops or more, found {count}; "
                "ask for fewer crops per class"
            )
    shuffled = kept.iloc[generator.permutation(len(kept))]
    # 0 for the first crop of a group in this order, 1 for the second, …
    turn = shuffled.groupby(["label", "group"]).cumcount()
    in_turn = shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    return np.sort(in_turn.groupby("label").head(per_class)["position"].to_numpy())


def _check_name(name: str, known: Mapping[str, object]) -> None:
    if name not in known:
        raise SourceUnavailable(f"{name}: expected one of {', '.join(known)}; choose one of these")


def _places(name: str, folder: Path | None) -> list[Path]:
    """Return the folders in which a data set may lie, in the order they are looked into."""
    given = os.environ.get(DATA_VARIABLE)
    own = downloads_folder() if folder is None else Path(folder)
    return ([Path(given) / name] if given else []) + [own / name]


def _fetch(name: str, folder: Path | None) -> tuple[Path, np.ndarray]:
    places = _places(name, folder)
    for place in places:
        if (place / "images.npz").is_file():
            return place, _load(name, place / "images.npz")
    downloaded = places[-1]
    images = _download(name, downloaded.parent)
    write_csv(downloaded / "manifest.csv", crop_list(name))
    # Written last: a folder with images.npz is complete.
    with atomic_path(downloaded / "images.npz") as temporary:
        np.savez_compressed(temporary, images=images)
    return downloaded, images


def _find_table(name: str, folder: Path | None) -> tuple[Path, bytes]:
    """Return path and content of a table whose bytes are those of the list."""
    measured = MEASURED[name]
    remedy = f"set {DATA_VARIABLE} to a folder that holds {name}/{measured.file}"
    # Noted whether it is there or not: a table that comes later changes the chapter.
    places = [note_file(place / measured.file) for place in _places(name, folder)]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise SourceUnavailable(
            f"{name}: expected {' or '.join(map(str, places))}, found no such file; {remedy} (it "
            f"is not downloaded; the tables it was made from are at {measured.origin})"
        )
    content = found.read_bytes()
    listed = _registry(name).set_index("file").loc[measured.file, "sha256"]
    if hashlib.sha256(content).hexdigest() != listed:
        raise SourceUnavailable(
            f"{found}: expected the content in the list, SHA-256 {listed[:12]}…, found another; "
            f"replace it, or {remedy}"
        )
    return found, content


def _registry(name: str) -> pd.DataFrame:
    path = note_file(resources.files("organelle_fusion") / "registry" / f"{name}.csv")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _load(name: str, path: Path) -> np.ndarray:
    try:
        with np.load(note_file(path)) as archive:
            images = archive["images"]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise SourceUnavailable(
            f"{path}: expected an array `images`, found a damaged file "
            f"({' '.join(str(error).split())}); {_mend(name, path)}"
        ) from error
    _verify(name, images, str(path), _mend(name, path))
    return images


def _mend(name: str, path: Path) -> str:
    return f"delete {path} and run `organelle-fusion fetch {name}`"


def _verify(name: str, images: np.ndarray, place: str, remedy: str) -> None:
    """Compare shape and every crop's SHA-256 with the list."""
    listed, source = crop_list(name), SOURCES[name]
    shape = (len(listed), len(source.channels), *source.height_width)
    if images.shape != shape or images.dtype != np.uint8:
        raise SourceUnavailable(
            f"{place}: expected uint8 {shape}, found {images.dtype} {images.shape}; {remedy}"
        )
    images = np.ascontiguousarray(images)
    wrong = [
        file
        for file, expected, crop in zip(listed["file"], listed["sha256"], images, strict=True)
        if hashlib.sha256(crop.data).hexdigest() != expected
    ]
    if wrong:
        raise SourceUnavailable(
            f"{place}: crop {wrong[0]}: expected the pixels in the list, found others, as in "
            f"{len(wrong)} of {len(listed)} crops; {remedy}"
        )


def _download(name: str, folder: Path) -> np.ndarray:
    """Download the archive into a temporary folder and return its crops, verified."""
    import pooch

    source = SOURCES[name]
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    temporary = folder / temporary_name("download")
    temporary.mkdir()
    try:
        _LOGGER.info("%s: downloading %s", name, source.url)
        # The archive is packed anew by the server, so its own hash may change; the crops' do not.
        archive = pooch.retrieve(
            source.url, known_hash=None, fname=f"{name}.zip", path=temporary, progressbar=True
        )
        _LOGGER.debug("%s: %.0f MB in the archive", name, Path(archive).stat().st_size / 1e6)
        images = _crops(name, Path(archive))
    except OSError as error:  # requests' exceptions are all of this kind, a full disk is too
        found = f"{type(error).__name__} {error.strerror or ''}".strip()
        raise SourceUnavailable(
            f"{name}: expected it at {source.url}, found no way to get it ({found}); "
            f"run `organelle-fusion fetch {name}` with a network, or set {DATA_VARIABLE} to a "
            f"folder that holds {name}/images.npz"
        ) from error
    except ArchiveError as error:
        raise SourceUnavailable(f"{source.url}: {error}; {_again(name)}") from error
    finally:
        shutil.rmtree(temporary)
    _verify(name, images, source.url, _again(name))
    _LOGGER.debug("%s: %d crops, each with the hash of the list", name, len(images))
    return images


def _again(name: str) -> str:
    return (
        f"run `organelle-fusion fetch {name}` again, or set {DATA_VARIABLE} to a folder that holds "
        f"{name}/images.npz"
    )


def _crops(name: str, archive: Path) -> np.ndarray:
    """Read the crops of the list out of the archive: uint8 (N, C, H, W)."""
    source, files = SOURCES[name], crop_list(name)["file"]
    paths = [source.member.format(file=file, part=part) for file in files for part in source.parts]
    pictures = read_pictures(archive, paths, source.height_width)
    return pictures.reshape(len(files), len(source.parts), *source.height_width)
