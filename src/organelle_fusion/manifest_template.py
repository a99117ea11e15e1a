"""A manifest to begin with, from a folder of images: ``folder/label/group/image``."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from organelle_fusion.config import NUCLEUS, ORGANELLES
from organelle_fusion.inspecting import SUFFIXES, image_suffix
from organelle_fusion.manifest import COLUMNS
from organelle_fusion.manifest_cells import ManifestError, example_channel_map
from organelle_fusion.provenance import write_csv
from organelle_fusion.volumes import VolumeError, open_volume
from organelle_fusion.wording import few


class Template(NamedTuple):
    """A manifest that was written, and what is to be said of it."""

    manifest: pd.DataFrame
    skipped: dict[str, int]  # why, and how many
    notes: list[str]  # what has to be filled in


def write_template(folder: str | Path, output: str | Path) -> Template:
    """Write a manifest of all images below a folder, in the order of their paths.

    The folder directly below is the label, the next one, if there is one, the group. Image names
    are those of the files, with their folders where one occurs twice. Paths are relative to the
    manifest.

    Parameters
    ----------
    folder
        Searched with all its folders, but for hidden ones; a Zarr folder is an image.
    output
        The manifest; an existing file is not overwritten.

    Raises
    ------
    ManifestError
        The folder is none or holds no image, or the manifest exists already.
    """
    folder, output = Path(folder), Path(output)
    if os.path.lexists(output):
        raise ManifestError(
            f"{output}: expected no such file, found one; move it, or give another name (--output)"
        )
    if not folder.is_dir():
        raise ManifestError(f"{folder}: expected a folder with images, found none; check the path")
    paths, skipped = find_images(folder)
    if not paths:
        found = ", ".join(f"{why} ({number})" for why, number in skipped.items()) or "nothing"
        raise ManifestError(
            f"{folder}: expected images ({', '.join(SUFFIXES)}), found {found}; check the path"
        )
    rows = []
    for path, name in zip(paths, _names(paths), strict=True):
        *folders, _ = path.parts
        relative = _path_for(folder / path, output.parent)
        if relative != relative.lstrip():
            relative = f"./{relative}"  # cells are read without the spaces around them
        label, group = (*folders, "", "")[:2]
        rows.append((name, relative, label.strip(), group.strip()))
    manifest = pd.DataFrame(rows, columns=list(COLUMNS[:4]))
    for column in COLUMNS[4:]:
        manifest[column] = ""
    write_csv(output, manifest)
    return Template(manifest, skipped, _notes(manifest, [folder / path for path in paths]))


def _path_for(path: Path, folder: Path) -> str:
    """Path as a manifest in this folder takes it: relative to it, or in full where it is beyond."""
    real, own = os.path.realpath(path), os.path.realpath(folder)
    if Path(real).is_relative_to(own):
        return Path(os.path.relpath(path, folder)).as_posix()
    return real


def find_images(folder: Path) -> tuple[list[Path], dict[str, int]]:
    """Images below a folder, relative to it and sorted; and why other entries were passed over."""
    paths: list[Path] = []
    skipped: Counter[str] = Counter()
    for place, folders, files in os.walk(folder, onerror=_stop):
        below = []
        for name in folders:
            if name.startswith("."):
                skipped["hidden folders"] += 1
            elif image_suffix(name).endswith(".zarr"):
                files.append(name)
            elif os.path.islink(os.path.join(place, name)):
                skipped["linked folders"] += 1
            else:
                below.append(name)
        folders[:] = below
        for name in files:
            suffix = image_suffix(name)
            is_folder = os.path.isdir(os.path.join(place, name))
            if name.startswith("."):
                skipped["hidden files"] += 1
            elif not suffix or is_folder != suffix.endswith(".zarr"):
                skipped[f"files {Path(name).suffix or 'without suffix'}"] += 1
            elif not _is_text(os.path.join(place, name)):
                skipped["files whose name is not UTF-8"] += 1
            else:
                paths.append(Path(place, name).relative_to(folder))
    return sorted(paths), dict(sorted(skipped.items()))


def _stop(error: OSError) -> None:
    raise error


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _names(paths: list[Path]) -> list[str]:
    """A name of its own for each image: of the file, of the path, or of that with its suffix."""
    stems = [path.name[: -len(image_suffix(path.name))].strip() or path.name for path in paths]
    longer = [
        "-".join([*path.parts[:-1], stem]).strip() for path, stem in zip(paths, stems, strict=True)
    ]
    whole = ["-".join(path.parts).strip() for path in paths]
    names = stems
    for other in (longer, whole, [f"{name} {i}" for i, name in enumerate(whole, start=1)]):
        counts = Counter(names)
        names = [
            fuller if counts[name] > 1 else name for name, fuller in zip(names, other, strict=True)
        ]
    return names


def _notes(manifest: pd.DataFrame, files: list[Path]) -> list[str]:
    """What the user has to fill in, found by opening every file."""
    unreadable, sizeless, unnamed = [], [], []
    for image, path in zip(manifest["image"], files, strict=True):
        try:
            volume = open_volume(path)
        except VolumeError as error:
            try:
                volume = open_volume(path, pixel_size_um=1.0)
            except VolumeError:
                unreadable.append(f"{image} cannot be read: {error}")
                continue
            sizeless.append(image)
        if any(volume.channels.count(name) != 1 for name in ORGANELLES):
            unnamed.append((image, volume.channels))
    notes = []
    if not all(manifest["label"]):
        lacking = manifest.loc[manifest["label"] == "", "image"]
        notes.append(f"label: the class of {few(lacking)}, which lie in no folder of a class")
    if not all(manifest["group"]):
        lacking = manifest.loc[manifest["group"] == "", "image"]
        notes.append(
            f"group: specimen, slide or day of {few(lacking)}; while it is empty, each image is a "
            "group of its own, and images of one specimen may be trained on and tested"
        )
    shared = manifest[manifest["group"] != ""].groupby("group")["label"].nunique()
    if any(shared > 1):
        names = few(shared.index[shared > 1])
        notes.append(
            f"group: {names} in several classes is one group; rename it in one of them if these "
            "are not the same specimen, slide or day"
        )
    if sizeless:
        notes.append(f"pixel_size_um: the files of {few(sizeless)} do not say it")
    names = pd.Series(dict(unnamed), dtype=object)
    for has, images in names.groupby(names, sort=False):
        example = example_channel_map(has, ORGANELLES, known=[NUCLEUS])
        which = f"which channels of {few(images.index)} are {', '.join(ORGANELLES)}"
        notes.append(
            f"channel_map: {which}; theirs are called {', '.join(has)}"
            + (
                f" (such as {example})"
                if example
                else ", which are too few: leave these images out, save all of their channels in "
                "one file, or write a profile with other channels"
            )
        )
    return notes + unreadable
