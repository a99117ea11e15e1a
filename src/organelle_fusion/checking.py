"""A whole data set looked at before any training: everything wrong with it, at once.

What stops or spoils an analysis is an error; what may be meant, but should be known, a warning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from organelle_fusion.config import NUCLEUS, Profile, UserError, paper_px_to_um
from organelle_fusion.confounding import Finding, confounded
from organelle_fusion.image_paths import split_path
from organelle_fusion.inspecting import (
    SATURATED,
    UNRELATED,
    acquisition_date,
    image_suffix,
    inspect_analysed,
    sizes_without_patches,
)
from organelle_fusion.manifest import group_problems, open_image, read_leniently
from organelle_fusion.manifest_cells import channels_remedy, misspelt, spelt_alike
from organelle_fusion.volumes import Volume, VolumeError
from organelle_fusion.wording import few

SCARCE = 1e-4
"""Share of voxels above Otsu's threshold below which these are a few hot pixels, no organelle."""
DIM = 0.1
"""An intensity range below this share of the median of its data type is that of a channel without
stain, or of another exposure."""
LEAST_EDGE_PX = 10
"""Pixels along a patch below which no organelle can be seen; of the smallest patch of the paper,
7 µm, with pixels of more than 0.7 µm, which are rather nanometres or a lost decimal point."""
LARGEST_STEP_UM = 5.0
"""Distance of planes beyond which they are no stack of one cell."""
ALIKE = 0.05
"""Sizes in µm that differ by less are taken for the same."""
DEEPER = 8
"""Largest values that differ by more than three bits come from another bit depth, or other gain."""

SIZES = ("z", "y", "x", "pixel_size_um", "z_step_um", "dtype")
COLUMNS = ("image", "label", "group", "path", "format", "date", "channels", *SIZES, "readable")


class Problem(NamedTuple):
    """One thing to mend or to know."""

    severity: str  # error or warning
    where: str  # an image, a class, a row of the manifest, or all of them
    what: str
    remedy: str


class Report(NamedTuple):
    """What a check has found."""

    manifest: Path
    profile: str
    images: pd.DataFrame  # `COLUMNS`; channels are a tuple
    channels: pd.DataFrame  # image, label, and the columns of `inspect_analysed`
    problems: list[Problem]
    confounding: list[Finding]

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(problem.severity == "error" for problem in self.problems)

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return len(self.problems) - self.errors


def check_data_set(manifest: str | Path, profile: Profile, *, progress: bool = False) -> Report:
    """Look at every voxel of every image of a manifest, and say all that is wrong with the whole.

    Parameters
    ----------
    manifest
        Path of the manifest.
    profile
        Says which channels are needed, how large patches are, and how many folds are made.
    progress
        Show a progress bar on stderr, if that is a terminal.

    Raises
    ------
    ManifestError
        The file is no manifest, see `manifest.read_leniently`.
    """
    from tqdm import tqdm

    manifest = Path(manifest)
    frame, wrong_rows = read_leniently(manifest)
    problems = [_of_error(error, manifest) for error in wrong_rows]
    rows, channels = [], []
    shown = tqdm(frame.itertuples(), "images", len(frame), disable=None if progress else True)
    for row in shown:
        described, of_channels, found = _inspect(row, profile)
        rows.append(described)
        channels.append(of_channels)
        problems += found
    images = pd.DataFrame(rows, columns=list(COLUMNS))
    columns = pd.concat(channels, ignore_index=True) if channels else pd.DataFrame()
    readable = images[images["readable"].astype(bool)].astype(dict.fromkeys(("z", "y", "x"), int))
    unmapped = [each["image"] for each in rows if each["unmapped"]]
    problems += _missing_channels(readable, profile.channels, unmapped)
    problems += _patch_sizes(readable, profile)
    copies: set[str] = set()
    if len(columns):
        concerned = _concerned(columns, readable, profile.channels)
        problems += _intensities(concerned) + _differences(readable, concerned)
        found, copies = _repeated_pixels(columns, images)
        problems += found
    labelled = images[images["label"] != ""]
    problems += _classes(labelled, profile.folds.n_splits)
    findings = confounded(readable[(readable["label"] != "") & ~readable["image"].isin(copies)])
    problems += [Problem("warning", "all images", each.what, each.remedy) for each in findings]
    problems.sort(key=lambda problem: problem.severity != "error")
    return Report(manifest, profile.name, images, columns, problems, findings)


def _of_error(error: UserError, path: str | Path, where: str = "") -> Problem:
    """An error's line in its parts: errors of this package end in a semicolon and the remedy."""
    text = str(error).removeprefix(f"{path}: ")
    if not where:
        where, _, text = text.partition(": ")
    what, parted, remedy = text.rpartition("; ")
    return Problem("error", where, what if parted else text, remedy if parted else "")


def _inspect(row: Any, profile: Profile) -> tuple[dict[str, Any], pd.DataFrame, list[Problem]]:
    """Describe one image and its channels, and say why that cannot be done."""
    described: dict[str, Any] = {
        "image": row.image or row.path,
        "label": row.label,
        "group": row.group,
        "path": row.path,
        "format": image_suffix(row.path),
        "date": None,
        "channels": (),
        **dict.fromkeys(SIZES, np.nan),
        "readable": False,
        "unmapped": row.channel_map == {},
    }
    if not row.path or not split_path(row.path)[0].exists():
        return described, pd.DataFrame(), []  # said of its row already
    where = described["image"]
    volume, errors, guessed = _open_anyway(row)
    problems = [_of_error(error, row.path, where) for error in errors]
    if volume is None:
        return described, pd.DataFrame(), problems
    described["unmapped"] |= "channel_map" in guessed
    size = np.nan if "pixel_size_um" in guessed else volume.pixel_size_um
    step = np.nan if volume.z_step_um is None else volume.z_step_um
    sizes = (*volume.shape[1:], size, step, str(volume.dtype))
    described |= dict(zip(SIZES, sizes, strict=True))
    described |= {"channels": volume.channels, "date": acquisition_date(row.path)}
    try:
        columns = inspect_analysed(volume, profile.channels)
    except UserError as error:
        return described, pd.DataFrame(), [*problems, _of_error(error, row.path, where)]
    columns.insert(0, "image", where)
    columns.insert(1, "label", row.label)
    for found in () if problems else sizes_without_patches(volume, profile):
        problems.append(Problem("error", where, *found))
    return described | {"readable": True}, columns, problems


def _open_anyway(row: Any) -> tuple[Volume | None, list[UserError], dict[str, Any]]:
    """Open an image without what its file or row lacks, so that the rest is looked at as well.

    Returns
    -------
    Volume or None, list of errors, and what was put in the place of the row's own.
    """
    errors: list[UserError] = []
    guessed: dict[str, Any] = {}
    for change in ({}, {"pixel_size_um": 1.0}, {"channel_map": {}}):
        trial = guessed | change
        try:
            return open_image(row._replace(**trial)), errors, trial
        except VolumeError as error:
            if str(error) not in map(str, errors):  # the change has mended what came first
                errors.append(error)
                guessed = trial
    return None, errors, guessed


def _missing_channels(
    images: pd.DataFrame, wanted: Sequence[str], unmapped: Sequence[str]
) -> list[Problem]:
    """What channels lack or differ, but for images whose channel map is refused already."""
    problems = []
    for row in images[~images["image"].isin(unmapped)].itertuples():
        missing = [name for name in wanted if name not in row.channels]
        twice = [name for name in wanted if row.channels.count(name) > 1]
        has = ", ".join(row.channels)
        remedy = channels_remedy(row.channels, wanted, "in channel_map", known=[NUCLEUS])
        if missing:
            what = f"lacks the channels {', '.join(missing)}; it has {has}"
            problems.append(Problem("error", row.image, what, remedy))
        if twice:
            what = f"has {', '.join(twice)} more than once; its channels are {has}"
            problems.append(Problem("error", row.image, what, remedy))
    complete = _complete(images, wanted)
    more = [tuple(sorted(set(names) - set(wanted))) for names in complete["channels"]]
    if len(set(more)) > 1:
        listed = _listed(
            pd.Series([", ".join(names) or "none" for names in more], complete["image"])
        )
        what = f"the images differ in channels beside those that are needed: {listed}"
        remedy = f"only {NUCLEUS} is used, and only if every image has it"
        problems.append(Problem("warning", "all images", what, remedy))
    return problems


def _patch_sizes(images: pd.DataFrame, profile: Profile) -> list[Problem]:
    largest, smallest = max(profile.patches.sizes_px), min(profile.patches.sizes_px)
    size_um, small_um = paper_px_to_um(largest), paper_px_to_um(smallest)
    problems = []
    for row in images[images["pixel_size_um"].notna()].itertuples():
        edge = round(size_um / row.pixel_size_um)
        if edge > min(row.y, row.x):
            what = (
                f"the largest patch, {size_um:.1f} µm, is {edge} pixels of {row.pixel_size_um:.4g} "
                f"µm, and the image {row.y:.0f} × {row.x:.0f}"
            )
            remedy = "check pixel_size_um, or set smaller patches.sizes_px in a profile of your own"
            problems.append(Problem("error", row.image, what, remedy))
        elif (small_edge := round(small_um / row.pixel_size_um)) < LEAST_EDGE_PX:
            what = (
                f"the smallest patch, {small_um:.1f} µm, is {small_edge} pixels of "
                f"{row.pixel_size_um:.4g} µm: too few to show organelles"
            )
            problems.append(Problem("error", row.image, what, "check pixel_size_um and its unit"))
        if row.z_step_um > LARGEST_STEP_UM:
            what = f"its planes are {row.z_step_um:.4g} µm apart, more than a cell is high"
            problems.append(Problem("warning", row.image, what, "check z_step_um and its unit"))
    return problems


def _concerned(columns: pd.DataFrame, images: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """The channels that are analysed, with their data type.

    All of an image that lacks one, as it may be any of them.
    """
    complete = _complete(images, wanted)["image"]
    used = columns["channel"].isin([*wanted, NUCLEUS]) | ~columns["image"].isin(complete)
    return columns[used].merge(images[["image", "dtype"]], on="image")


def _complete(images: pd.DataFrame, wanted: Sequence[str]) -> pd.DataFrame:
    """Images that have all channels."""
    return images[images["channels"].map(set(wanted).issubset).astype(bool)]


def _intensities(columns: pd.DataFrame) -> list[Problem]:
    problems = []
    of_type = columns.groupby(["channel", "dtype"])["range"]  # 8 bits hold less than 16
    typical, several = of_type.transform("median"), of_type.transform("size") >= 3
    for row, median, comparable in zip(columns.itertuples(), typical, several, strict=True):

        def say(severity: str, what: str, remedy: str, row: Any = row) -> None:
            problems.append(Problem(severity, row.image, f"channel {row.channel} {what}", remedy))

        if row.smallest == row.largest:
            what = f"is empty: {row.largest:g} in every voxel"
            say("error", what, "check channel_map and the file")
            continue
        if row.flat_planes:
            what = f"has one value in all of {row.flat_planes} of {row.planes} planes"
            say("warning", what, "leave these planes out, or check the acquisition")
        if row.repeated_planes:
            what = f"has the same pixels in {row.repeated_planes} of {row.planes} planes"
            say("warning", what, "check the stage and the export")
        if row.saturated >= SATURATED:
            what = f"is saturated: {row.saturated:.2%} of its voxels have its largest value"
            say("warning", f"{what}, {row.largest:g}", "take it again with less light or gain")
        if abs(row.correlation) < UNRELATED:
            what = "holds noise without an image: pixels side by side are unrelated"
            say(
                "warning", f"{what} (correlation {row.correlation:.2f})", "check that it is stained"
            )
        elif row.foreground < SCARCE:
            what = f"has {row.foreground:.4%} of its voxels above Otsu's threshold"
            say("warning", f"{what}: a few hot pixels", "remove these, or check that it is stained")
        elif comparable and row.range < DIM * median:
            what = f"is nearly empty: its values range over {row.range:.3g}"
            remedy = "check that it is stained, and exposed as the others"
            others = f"in the middle of the {row.dtype} images over {median:.3g}"
            say("warning", f"{what}, {others}", remedy)
    return problems


def _repeated_pixels(columns: pd.DataFrame, images: pd.DataFrame) -> tuple[list[Problem], set[str]]:
    """Channels whose pixels are those of an earlier one, and images that are whole copies."""
    about = images.set_index("image")
    first: dict[str, tuple[str, str]] = {}
    shared: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in columns[columns["smallest"] < columns["largest"]].itertuples():
        origin = first.setdefault(row.sha256, (row.image, row.channel))
        if origin != (row.image, row.channel):
            shared.setdefault((row.image, origin[0]), []).append((row.channel, origin[1]))
    problems, copies = [], set()
    for (image, origin), pairs in shared.items():
        if image == origin:
            what = "; ".join(f"the channels {b} and {a} hold the same pixels" for a, b in pairs)
            problems.append(Problem("error", image, what, "check the export of the file"))
            continue
        names = ", ".join(a for a, _ in pairs)
        part = f"has in {names} the same pixels as"
        if len(pairs) == len(about.loc[image, "channels"]):
            part = "is the same image as"
            copies.add(image)
        one, other = about.loc[image], about.loc[origin]
        if one["label"] != other["label"]:
            why = f", and their labels differ ({one['label']}, {other['label']})"
        elif one["group"] != other["group"]:
            why = f", in another group ({one['group']}, {other['group']}): one may test the other"
        else:
            why = ", and would count twice"
        what = f"{part} {origin}{why}"
        problems.append(Problem("error", image, what, "remove one of the two rows"))
    return problems, copies


def _differences(images: pd.DataFrame, columns: pd.DataFrame) -> list[Problem]:
    """What differs between images that should have been taken alike."""
    problems = []

    def warn(what: str, remedy: str) -> None:
        problems.append(Problem("warning", "all images", what, remedy))

    named = images.set_index("image")
    for column, name, remedy in (
        ("pixel_size_um", "pixel sizes", "patches keep their µm, but coarser images show less"),
        ("z_step_um", "z-steps", "chapter 5 measures in three dimensions, and coarser ones less"),
    ):
        known = named[column].astype(float).dropna()
        if len(known) and known.max() > known.min() * (1 + ALIKE):
            texts = known.map(lambda value: f"{value:.4g} µm")
            warn(f"the {name} differ: {_listed(texts)}", remedy)
    flat = named["z"] == 1
    if len(lacking := named.index[~flat & named["z_step_um"].isna()]):
        remedy = "give z_step_um (Fiji leaves out one of 1 unit); else chapter 5 measures none"
        warn(f"no z-step is known of {few(lacking)}", remedy)
    if flat.any():
        remedy = "chapter 5 measures volumes, and measures none while one image is flat"
        warn(f"of a single plane: {few(named.index[flat])}", remedy)
    if len(named["dtype"].unique()) > 1:
        remedy = "each image is scaled by itself, but fewer bits show less; save all alike"
        warn(f"the data types differ: {_listed(named['dtype'])}", remedy)
    if len(named[["y", "x"]].drop_duplicates()) > 1:
        sizes = named["y"].astype(int).astype(str) + " × " + named["x"].astype(int).astype(str)
        warn(f"the image sizes differ: {_listed(sizes)}", "larger images give more patches")
    if len(named) and named["z"].max() > 2 * named["z"].min():
        low, high = named["z"].idxmin(), named["z"].idxmax()
        what = f"the numbers of planes differ: from {named['z'].min()} ({low}) to "
        warn(f"{what}{named['z'].max()} ({high})", "deeper images give more patches")
    for dtype, of_type in named[named["dtype"].astype(str).str.contains("int")].groupby("dtype"):
        largest = columns[columns["image"].isin(of_type.index)].groupby("image")["largest"].max()
        if largest.min() > 0 and largest.max() > DEEPER * largest.min():
            low, high = largest.idxmin(), largest.idxmax()
            what = f"the largest values in {dtype} differ: from {largest.min():g} ({low}) to "
            remedy = "another bit depth or gain; take or save all images alike"
            warn(f"{what}{largest.max():g} ({high})", remedy)
    return problems


def _classes(images: pd.DataFrame, n_splits: int) -> list[Problem]:
    problems = [
        Problem(severity, "classes", what, remedy)
        for severity, _, what, remedy in group_problems(images, n_splits)
    ]
    for column, where in (("label", "classes"), ("group", "groups")):
        for alike in spelt_alike(images[column]):
            what = f"{' and '.join(alike)} are {len(alike)} {where}, and differ in spelling only"
            remedy = f"write the {column} in one way, if they are one"
            problems.append(Problem("warning", where, what, remedy))
    for rarer, other in misspelt(images["label"]):
        named = few(images.loc[images["label"] == rarer, "image"])
        what = f"{rarer} (of {named}) and {other} are two classes, and differ in one letter only"
        problems.append(Problem("warning", "classes", what, "correct the label, if they are one"))
    return problems


def _listed(texts: pd.Series) -> str:
    """Values with their images, the commonest first: "a in 6 images, b in 2 (x, y)"."""
    counts = texts.value_counts()
    parts = []
    for value, count in counts.head(5).items():
        names = f" ({few(texts.index[texts == value])})" if count <= 3 else ""
        parts.append(f"{value} in {count} image{'s' * (count > 1)}{names}")
    more = len(counts) - 5
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
