"""Whether the way images were taken gives their class away: zoom, day, folder, file format.

A network learns whatever tells the classes apart. If all controls were imaged on Monday at one zoom
and all treated cells on Tuesday at another, zoom and day tell them apart, and a high score says
nothing of cells. In public measurements of the study's cell lines, zoom does so in part.

An attribute of the files is reported if it divides the images as the classes do: each of its values
occurs in one class only. Not every such division is a fault, so left aside are

- values that occur once, since a value of one image is in one class in any case;
- folders named after the class, which is how everybody sorts files: ``control/x.tif``, also
  abbreviated (``ctrl``). Of ``control_day1`` what is left is ``day1``. Any other folder counts:
  ``day1/x.tif`` is a batch, even if each class has one folder;
- what the column group divides in the same way, if each class has several groups: folds keep groups
  whole, so that classes are tested on days never trained on. With one day for each class nothing
  helps, and it is reported.

With few images a division arises by chance; how often is computed by dealing the classes anew to
the groups, and said beside each finding.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

ORDERS = 10_000
"""Random orders of the classes by which chance is judged."""
NEARLY, NEARLY_CHANCE, NEARLY_GROUPS = 0.8, 0.01, 5
"""An attribute that tells most classes is reported as well: share of what guessing the commonest
class leaves open, largest chance, and groups per value, below which much is told by accident."""

_DATE = re.compile(
    r"(?<!\d)(?:(?P<y>(?:19|20)\d\d)(?P<s>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=s)(?P<d>0[1-9]|[12]\d|3[01])"
    r"|(?P<D>0[1-9]|[12]\d|3[01])\.(?P<M>0[1-9]|1[0-2])\.(?P<Y>(?:19|20)\d\d))(?!\d)"
)


class Finding(NamedTuple):
    """An attribute that tells the class of images."""

    attribute: str
    also: tuple[str, ...]  # other attributes that divide the images in the same way
    table: pd.DataFrame  # value, label, images
    told: int  # images whose class it tells, if every value stands for its commonest class
    images: int  # of those judged
    commonest: int  # that guessing the commonest class would get right
    chance: float  # share of random orders that tell as many
    alone: tuple[str, ...]  # classes that have one value only

    @property
    def what(self) -> str:
        """Sentence with the values and their classes."""
        shown = []
        for value, rows in self.table.groupby("value", sort=False):
            of_class = ", ".join(f"{row.label} {row.images}" for row in rows.itertuples())
            shown.append(f"{value}: {of_class}")
        more = f", … {len(shown) - 6} more" if len(shown) > 6 else ""
        also = f" (and likewise {', '.join(self.also)})" if self.also else ""
        chance = f"{self.chance:.1%}" if self.chance >= 0.001 else "less than 0.1%"
        return (
            f"{self.attribute}{also} tells the class of {self.told} of {self.images} images "
            f"[{' | '.join(shown[:6])}{more}]; guessing would tell that of {self.commonest}, and "
            f"{chance} of random orders tell as many"
        )

    @property
    def remedy(self) -> str:
        """What can be done about it."""
        if self.alone:
            return (
                "a network may learn this in place of the cells: take images of every class in "
                "each way, or bring them to one, or leave out those that differ"
            )
        return "name it in the column group, so that no fold tests on what it was trained on"


def date_in(text: str) -> str | None:
    """First date in a path or name as YYYY-MM-DD: year first, or day.month.year; else None.

    Years have four digits: six digits in a row are as often a number as a date.
    """
    found = _DATE.search(text)
    if not found:
        return None
    year, month, day = (found[a] or found[b] for a, b in (("y", "Y"), ("m", "M"), ("d", "D")))
    return f"{year}-{month}-{day}"


def folder_beside_label(folder: str, label: str) -> str:
    """What a folder's name says beside the class: nothing, if it is the class or short for it.

    ``control_day1`` of the class control says ``day1``, ``ctrl`` nothing, ``day1`` all of itself,
    and so does ``c``.
    """
    words = re.findall(r"[^\W_]+", label.casefold())
    pattern = r"[\W_]*".join(map(re.escape, words))
    rest, removed = re.subn(rf"(?<![^\W_]){pattern}(?![^\W_])", " ", folder.casefold())
    if removed:
        return " ".join(re.findall(r"[^\W_]+", rest))
    parts = re.findall(r"[^\W_]+", folder.casefold())
    short, letters = "".join(parts), iter("".join(words))
    # One letter, or a number, is as often a batch.
    brief = len(short) > 1 and not short.isdigit() and short[:1] == "".join(words)[:1]
    shortened = brief and all(letter in letters for letter in short)
    return "" if shortened or (parts and set(parts) <= set(words)) else folder


def attributes_of(images: pd.DataFrame) -> pd.DataFrame:
    """What the files say of how each image was taken and stored.

    Parameters
    ----------
    images
        One row per image: path, label, z, y, x, pixel_size_um, z_step_um (NaN if not known), dtype,
        format, and date (of the file's metadata, or None).

    Returns
    -------
    DataFrame
        The same index; one column of text per attribute, None where an image says nothing.
    """
    frame = pd.DataFrame(index=images.index)
    sizes = [None if np.isnan(um) else f"{um:.3g} µm" for um in images["pixel_size_um"]]
    frame["pixel size"] = pd.Series(sizes, index=images.index, dtype=object)
    frame["z-step"] = [
        "none" if np.isnan(value) else f"{value:.3g} µm" for value in images["z_step_um"]
    ]
    frame["data type"] = images["dtype"]
    frame["image size"] = [f"{y} × {x}" for y, x in zip(images["y"], images["x"], strict=True)]
    frame["number of planes"] = images["z"].astype(str)
    frame["file format"] = images["format"]
    folders, names = _below_common(images["path"])
    dates = [
        # Where some images have none, pandas gives NaN, which is true.
        (date if isinstance(date, str) else "") or date_in("/".join([*parts, name]))
        for date, parts, name in zip(images["date"], folders, names, strict=True)
    ]
    frame["date"] = pd.Series(dates, index=images.index, dtype=object)
    for level in range(max((len(parts) for parts in folders), default=0)):
        said = [
            folder_beside_label(parts[level], label) if level < len(parts) else ""
            for parts, label in zip(folders, images["label"], strict=True)
        ]
        name = "folder" if level == 0 else f"folder at level {level + 1}"
        frame[name] = pd.Series([text or None for text in said], index=images.index, dtype=object)
    return frame


def _below_common(paths: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Folders of each file below the deepest one common to all, and the files' names."""
    parents = [Path(path).parent for path in paths]
    common = os.path.commonpath(parents) if parents else ""
    folders = [list(parent.relative_to(common).parts) for parent in parents]
    return folders, [Path(path).name for path in paths]


def confounded(images: pd.DataFrame) -> list[Finding]:
    """Attributes of the files that tell the class of the images.

    Parameters
    ----------
    images
        As of `attributes_of`, with group.

    Returns
    -------
    list of Finding
        Those that divide the images in the same way are one finding.
    """
    attributes = attributes_of(images)
    found: dict[tuple, Finding] = {}
    for name in attributes:
        finding = _judge(name, attributes[name], images)
        if finding is None:
            continue
        division = tuple(pd.factorize(attributes[name])[0])
        if division in found:
            first = found[division]
            found[division] = first._replace(also=(*first.also, name))
        else:
            found[division] = finding
    return list(found.values())


def _judge(name: str, values: pd.Series, images: pd.DataFrame) -> Finding | None:
    """The finding on one attribute, or None where it tells nothing."""
    counts = values.value_counts()
    often = values.isin(counts.index[counts > 1])
    judged = images.loc[often, ["label", "group"]].assign(value=values[often].astype(str))
    per_class = judged.groupby("label")["value"].nunique()
    if judged["value"].nunique() < 2 or len(per_class) < 2:
        return None
    alone = tuple(per_class.index[per_class == 1])
    if not alone and _same_division(judged["value"], judged["group"]):
        return None
    cross = pd.crosstab(judged["value"], judged["label"])
    told, commonest = int(cross.max(axis=1).sum()), int(cross.sum().max())
    # Images of one group were taken together: the group is dealt a class, not each image.
    units = judged.drop_duplicates(["group", "label", "value"])
    share = (told - commonest) / (len(judged) - commonest)
    complete = told == len(judged)
    enough = len(units) / judged["value"].nunique() >= NEARLY_GROUPS
    if not (complete or (share >= NEARLY and enough)):
        return None
    chance = chance_of(units["value"].to_numpy(), units["label"].to_numpy())
    if not complete and chance > NEARLY_CHANCE:
        return None
    table = judged.groupby(["value", "label"], as_index=False).size()
    table = table.rename(columns={"size": "images"})
    return Finding(name, (), table, told, len(judged), commonest, chance, alone)


def _same_division(values: pd.Series, groups: pd.Series) -> bool:
    pairs = pd.DataFrame({"value": values, "group": groups}).drop_duplicates()
    return len(pairs) == pairs["value"].nunique() == pairs["group"].nunique()


def chance_of(values: np.ndarray, labels: np.ndarray) -> float:
    """Share of `ORDERS` random orders of the classes in which the values tell as many classes.

    Parameters
    ----------
    values, labels
        Of each of N groups.
    """
    rng = np.random.default_rng(0)
    _, codes = np.unique(labels, return_inverse=True)
    places = [np.flatnonzero(values == value) for value in np.unique(values)]

    def told(orders: np.ndarray) -> np.ndarray:
        counts = [
            np.max([(orders[:, place] == k).sum(axis=1) for k in range(codes.max() + 1)], axis=0)
            for place in places
        ]
        return np.sum(counts, axis=0)

    orders = rng.permuted(np.tile(codes, (ORDERS, 1)), axis=1)
    return float(np.mean(told(orders) >= told(codes[None])))
