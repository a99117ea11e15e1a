"""Public data sets: brought here once, verified crop by crop against a committed list."""

import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import pandas as pd
import pooch

from organelle_fusion.config import UserError
from organelle_fusion.provenance import atomic_path, note_file, write_csv

DATA_VARIABLE = "ORGANELLE_FUSION_DATA"
"""Environment variable naming a folder that already holds data sets, one folder each."""

DOWNLOADS = Path("data", "sources")
"""Where downloads are kept, under the working directory; ignored by git."""


class Source(NamedTuple):
    """Where a set of ready-cut crops comes from, and what its channels are."""

    url: str
    member: str  # path below the archive's only top folder, with {file} and {part}
    parts: tuple[str, ...]  # one per channel
    channels: tuple[str, ...]
    height_width: tuple[int, int]


SOURCES = {
    "cell-lines-9": Source(
        url="https://github.com/GutKat/AI_project_microscopy/archive/"
        "8e6121eba31645d88024ad6ed9ef528619e36f35.zip",
        member="data/images_train/{file}_{part}.png",
        parts=("blue", "red", "yellow"),
        channels=("nucleus", "microtubules", "endoplasmic_reticulum"),
        height_width=(64, 64),
    )
}


class SourceUnavailable(UserError):  # noqa: N818 - it says what the reader can mend
    """A data set that is not here, or not what it should be; the message is one line."""


def fetch(name: str, *, folder: Path | None = None) -> Path:
    """Return the folder of a public data set, downloading it where it is not yet here.

    Looked for, in this order: the folder that ``ORGANELLE_FUSION_DATA`` names, an earlier
    download, the public source. Wherever it is found, each crop is verified.

    Parameters
    ----------
    name
        A key of `SOURCES`.
    folder
        Where downloads are kept; ``data/sources`` if not given.

    Returns
    -------
    Path
        Folder with ``images.npz``, whose array ``images`` is uint8 (N, C, H, W).

    Raises
    ------
    SourceUnavailable
        The name is not known, the source cannot be reached, or a crop is missing or differs.
        One line: what, where from, the remedy.
    """
    return _fetch(name, folder)[0]


def read_crops(
    name: str, *, folder: Path | None = None
) -> tuple[np.ndarray, pd.DataFrame, tuple[str, ...]]:
    """Read a data set of ready-cut crops, fetching and verifying it first.

    Parameters
    ----------
    name, folder
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
    _, images = _fetch(name, folder)
    table = _list(name).rename(columns={"file": "image"})
    return images, table[["image", "label", "group", "keep"]], SOURCES[name].channels


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


def _fetch(name: str, folder: Path | None) -> tuple[Path, np.ndarray]:
    if name not in SOURCES:
        raise SourceUnavailable(
            f"{name}: expected one of {', '.join(SOURCES)}; choose one of these"
        )
    given = os.environ.get(DATA_VARIABLE)
    downloaded = Path(folder or DOWNLOADS) / name
    for place in ([Path(given) / name] if given else []) + [downloaded]:
        if (place / "images.npz").is_file():
            return place, _load(name, place / "images.npz")
    images = _download(name, downloaded.parent)
    write_csv(downloaded / "manifest.csv", _list(name))
    # Written last: a folder with images.npz is complete.
    with atomic_path(downloaded / "images.npz") as temporary:
        np.savez_compressed(temporary, images=images)
    return downloaded, images


def _list(name: str) -> pd.DataFrame:
    """Return the committed list: file, label, group, keep (bool), sha256, in the crops' order."""
    path = note_file(resources.files("organelle_fusion") / "registry" / f"{name}.csv")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return frame.assign(keep=frame["keep"] == "1")


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
    listed, source = _list(name), SOURCES[name]
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
    source = SOURCES[name]
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    try:
        # The archive is packed anew by the server, so its own hash may change; the crops' do not.
        archive = pooch.retrieve(
            source.url, known_hash=None, fname=f"{name}.zip", path=temporary, progressbar=True
        )
        images = _crops(name, Path(archive))
    except OSError as error:  # requests' exceptions are all of this kind, a full disk is too
        found = f"{type(error).__name__} {error.strerror or ''}".strip()
        raise SourceUnavailable(
            f"{name}: expected it at {source.url}, found no way to get it ({found}); "
            f"run `organelle-fusion fetch {name}` with a network, or set {DATA_VARIABLE} to a "
            f"folder that holds {name}/images.npz"
        ) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise SourceUnavailable(
            f"{name}: expected a whole zip archive at {source.url}, found {error}; {_again(name)}"
        ) from error
    finally:
        shutil.rmtree(temporary)
    _verify(name, images, source.url, _again(name))
    return images


def _again(name: str) -> str:
    return (
        f"run `organelle-fusion fetch {name}` again, or set {DATA_VARIABLE} to a folder that holds "
        f"{name}/images.npz"
    )


def _crops(name: str, archive: Path) -> np.ndarray:
    """Read the crops of the list out of the archive: uint8 (N, C, H, W)."""
    source, files = SOURCES[name], _list(name)["file"]
    images = np.zeros((len(files), len(source.parts), *source.height_width), np.uint8)
    with zipfile.ZipFile(archive) as opened:
        # Everything lies in one folder, named after the repository and the commit.
        members = {member.partition("/")[2]: member for member in opened.namelist()}
        wanted = [
            source.member.format(file=file, part=part) for file in files for part in source.parts
        ]
        missing = [path for path in wanted if path not in members]
        if missing:
            raise SourceUnavailable(
                f"{source.url}: expected {missing[0]}, found no such file, as {len(missing)} of "
                f"{len(wanted)} files; {_again(name)}"
            )
        for index, path in enumerate(wanted):
            crop, channel = divmod(index, len(source.parts))
            pixels = _grey(opened.read(members[path]))
            if pixels is None or pixels.shape != source.height_width:
                found = "none" if pixels is None else f"{pixels.shape}"
                raise SourceUnavailable(
                    f"{source.url}: {path}: expected an 8-bit PNG {source.height_width}, "
                    f"found {found}; {_again(name)}"
                )
            images[crop, channel] = pixels
    return images


def _grey(png: bytes) -> np.ndarray | None:
    """Return the brightest colour of each pixel, (H, W) uint8; None if it is no 8-bit PNG."""
    try:
        pixels = imagecodecs.png_decode(png)
    except (imagecodecs.PngError, ValueError):
        return None
    if pixels.dtype != np.uint8:
        return None
    if pixels.ndim == 2:
        return pixels
    # With 2 or 4 samples the last is opacity.
    colours = pixels.shape[-1] - (pixels.shape[-1] in (2, 4))
    return pixels[..., :colours].max(axis=-1)
