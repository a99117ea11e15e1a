"""What stands in the cells of a manifest, read one by one."""

import math
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from organelle_fusion import csv_rows
from organelle_fusion.config import UserError
from organelle_fusion.image_paths import as_stored, split_path

_LONGEST_NAME = 200
_SEPARATED = re.compile(r"(?<=[^\W\d_])[\W_]+(?=[^\W_])|(?<=[^\W_])[\W_]+(?=[^\W\d_])")
_WORD = re.compile(r"([^\W\d_]+)")
_LEAST_LETTERS = 5  # of words in which a letter may be wrong; shorter ones are rather symbols


class ManifestError(UserError):
    """A manifest that cannot be used; the message is one line."""


def name_of(path: Path, number: int, column: str, text: str) -> str:
    """Name in the one form of its letters; what would do harm where it is shown is refused."""
    text = unicodedata.normalize("NFC", text)  # file systems and keyboards differ in it
    if len(text) > _LONGEST_NAME:
        found, remedy = f"{len(text)} characters", "shorten it"
        raise cell_error(path, number, column, f"at most {_LONGEST_NAME} characters", found, remedy)
    if not text.isprintable():
        found, remedy = ascii(text), "remove line breaks and characters that cannot be seen"
        raise cell_error(path, number, column, "a name that can be printed", found, remedy)
    if re.match(r"[=@]|[+-].*[(|!]", text):
        # Results are opened in spreadsheet programs, which would compute it.
        remedy = "begin it with a letter or a digit"
        raise cell_error(path, number, column, "a name, not a formula", text, remedy)
    return text


def image_path_of(path: Path, number: int, column: str, text: str, *, exists: bool = True) -> str:
    """Absolute path of an image, which a relative one cannot lead out of the manifest's folder.

    Letters may have another form (NFC, NFD) than in the names of the folders and the file. With
    `exists` a file that is missing is an error.
    """
    if "\0" in text:
        raise cell_error(path, number, column, "a path", ascii(text), "remove the character NUL")
    image_path = Path(os.path.abspath(path.parent / text))
    file, _ = split_path(image_path)
    try:
        if not file.exists():
            choice = str(image_path)[len(str(file)) :]
            file = as_stored(file)
            image_path = Path(f"{file}{choice}")
        found = file.exists()
    except OSError as error:  # such as a name that is too long
        raise cell_error(path, number, column, "a path", error, "correct it") from None
    if exists and not found:
        remedy = f"check the path, which is relative to {path.parent}"
        if "\\" in text:
            remedy = "write / between folders, and a path of this system"
        raise cell_error(path, number, column, "an image file", f"none at {image_path}", remedy)
    real = os.path.realpath(file)
    if not os.path.isabs(text) and not Path(real).is_relative_to(os.path.realpath(path.parent)):
        expected = f"a file below {path.parent}, or a full path"
        remedy = f"write the full path {real}, or put the manifest above its images"
        raise cell_error(path, number, column, expected, f"{text}, which leads out of it", remedy)
    return str(image_path)


def read_channel_map(text: str) -> dict[str, str] | None:
    """Read a channel map such as ``mitochondria=Tom20;early_endosomes=0``; None if it is empty.

    Raises
    ------
    ManifestError
        It is not written so, or names one of ours twice.
    """
    text = unicodedata.normalize("NFC", text)  # as names of channels are when read
    pairs = {}
    for entry in text.strip(";").split(";") if text else ():
        ours, equals, theirs = (part.strip() for part in entry.partition("="))
        if not (ours and equals and theirs) or ours in pairs:
            found = " ".join(text.split())  # a cell in quotes may hold line breaks
            raise ManifestError(
                "channel_map: expected ours=theirs, parted by semicolons, each of ours once, "
                f"found {found}; write it like mitochondria=Tom20;early_endosomes=0"
            )
        pairs[ours] = theirs
    return pairs or None


def example_channel_map(
    channels: Sequence[str], wanted: Sequence[str], known: Sequence[str] = ()
) -> str:
    """A channel map by which an image may come to the channels that are wanted, as an example.

    Parameters
    ----------
    channels
        Those of the image.
    wanted
        Those that it must have, each once.
    known
        Others that are what they are called.

    Returns
    -------
    str
        As it stands in a manifest: each wanted name that is missing with a channel that is to
        spare, each that stands there twice with the first of these; "" if too few are to spare.
    """
    first = {name: channels.index(name) for name in wanted if name in channels}
    spare = [
        index
        for index, name in enumerate(channels)
        if index != first.get(name) and name not in known
    ]
    missing = [name for name in wanted if name not in first]
    if len(spare) < len(missing):
        return ""
    pairs = [f"{name}={first[name]}" for name in first if channels.count(name) > 1]
    alike = {
        name: index
        for index in spare
        for name in missing
        if channels[index].casefold() == name.casefold()
    }
    others = iter(index for index in spare if index not in alike.values())
    for name in missing:
        index = alike[name] if name in alike else next(others)
        theirs = channels[index]
        plain = channels.count(theirs) == 1 and not set(theirs) & set("=;")
        plain = plain and theirs == theirs.strip()  # as a map is read
        pairs.append(f"{name}={theirs if plain else index}")
    return ";".join(pairs)


def channels_remedy(
    channels: Sequence[str], wanted: Sequence[str], where: str, known: Sequence[str] = ()
) -> str:
    """What to do where an image lacks channels or has them twice: a map, given `where`, or none."""
    example = example_channel_map(channels, wanted, known)
    if example:
        return f"say which is which {where}, such as {example}"
    return "leave the image out, or save all of its channels in one file"


def channel_map_of(path: Path, number: int, column: str, text: str) -> dict[str, str] | None:
    """Channel map of a cell, see `read_channel_map`; an error names file and row."""
    try:
        return read_channel_map(text)
    except ManifestError as error:
        raise ManifestError(f"{path}: row {number}, {error}") from None


def length_of(path: Path, number: int, column: str, text: str) -> float:
    """Length in a cell, µm, NaN where it is empty; an error where it is not positive."""
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        remedy = "write a length in µm with a decimal point, such as 0.1"
        raise cell_error(path, number, column, "a positive number", text, remedy)
    return value


def spelt_alike(names: Iterable[str]) -> list[list[str]]:
    """Names, some at a time, that differ in capitals, spaces and signs at letters only."""
    alike = defaultdict(list)
    for name in sorted(set(names)):
        # Signs are dropped at letters; "1-2" is not "12", and "GFP+" not "GFP-".
        alike[_SEPARATED.sub("", name.casefold().strip())].append(name)
    return [alike[plain] for plain in sorted(alike) if len(alike[plain]) > 1]


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names of which one may be the other with a letter wrong, the rarer one first.

    They are the same but for one word of five letters or more, in which a letter other than the
    first is left out, added or another, or two are swapped. An end that may number, as in "DonorA",
    "DonorB" and "StageII", is no error.
    """
    counts = Counter(names)
    ordered = sorted(counts, key=lambda name: (counts[name], name))
    return [
        (rarer, other)
        for place, rarer in enumerate(ordered)
        for other in ordered[place + 1 :]
        if _one_letter_off(rarer, other)
    ]


def _one_letter_off(one: str, other: str) -> bool:
    parts = _WORD.split(one), _WORD.split(other)
    if len(parts[0]) != len(parts[1]):
        return False
    differing = [pair for pair in zip(*parts, strict=True) if pair[0].lower() != pair[1].lower()]
    if len(differing) != 1:
        return False
    short, long = sorted(differing[0], key=len)
    if len(short) < _LEAST_LETTERS or not (short + long).isalpha():
        return False
    letters = enumerate(zip(short.lower(), long.lower(), strict=False))
    same = next((place for place, (a, b) in letters if a != b), len(short))
    rest, of_long = short.lower()[same:], long.lower()[same:]
    if same == 0 or not rest:
        return same > 0 and len(of_long) == 1 and long[-1].islower()
    exchanged = len(rest) > 1 and rest[1:] == of_long[1:]
    swapped = rest[:2] == of_long[1::-1] and rest[2:] == of_long[2:]
    return exchanged or swapped or rest == of_long[1:]


def place_of(path: str) -> str:
    """One spelling for each image: links followed, and the first of a file named or not."""
    file, number = split_path(path)
    return os.path.realpath(file) + (f"#image={number}" if number else "")


def cell_error(
    path: Path, row: int, column: str, expected: str, found: object, remedy: str
) -> ManifestError:
    """Error of one cell, to be raised, see `csv_rows.cell_error`."""
    return csv_rows.cell_error(ManifestError, path, row, column, expected, found, remedy)
