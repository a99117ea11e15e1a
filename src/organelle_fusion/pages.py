"""What chapters call to find their files and to show their results: one run, one page."""

import html
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from organelle_fusion.config import Profile, UserError
from organelle_fusion.downloads import with_data
from organelle_fusion.manifest import read_manifest
from organelle_fusion.provenance import hash_of, note_file
from organelle_fusion.published import read_published
from organelle_fusion.repository import RUNS, project_root
from organelle_fusion.wording import capital, decimals

_TOGETHER = re.compile(r"\\\[[^][]*\\\]|&[lg]t; (?=\d)")


class PageError(UserError):
    """A page that cannot be made from what is there; the message is one line."""


@dataclass(frozen=True)
class Run:
    """The data set that the chapters analyse, and the folder that keeps their results."""

    folder: Path
    manifest: Path
    is_phantom: bool

    @property
    def data(self) -> str:
        """What the data are, for captions: the phantom, or the user's own manifest."""
        return "phantom" if self.is_phantom else f"own stacks ({self.manifest.name})"

    def read(self) -> pd.DataFrame:
        """The manifest, one row per image; an error says which chapter makes the phantom's."""
        if not self.is_phantom:
            return read_manifest(self.manifest)
        return read_manifest(self.require(self.manifest, "01"))

    def require(self, path: Path, chapter: str) -> Path:
        """Return `path`, or say which chapter has to run before this one."""
        if not path.exists():
            raise PageError(
                f"{_from_root(path)}: expected a result, found none; it is written by "
                f"chapter {chapter}: run `make chapter N={chapter}` first, "
                f"or `make book`, with the same PROFILE and MANIFEST{_of_others(path)}"
            )
        return note_file(path) if path.is_file() else path


def open_run(profile: Profile, manifest: str = "") -> Run:
    """Folder and manifest of a run: the phantom, or one's own stacks when `manifest` names a CSV.

    Results of different profiles and manifests never share a folder. The path of the manifest is
    relative to the folder of the repository. The folder of results has its name; tables in other
    folders than that of the repository, of which two may have one name, are told apart by eight
    letters and digits, made of the path from the repository to the table.

    Raises
    ------
    PageError
        No manifest is named, and the profile has no phantom to take its place.
    """
    if not manifest and profile.phantom is None:
        raise PageError(
            f"profile {profile.name}: expected a table of your own stacks, as it has no phantom, "
            "found none; name it by MANIFEST=stacks.csv (or --manifest stacks.csv)"
        )
    if not manifest:
        folder = results_folder(profile, "phantom")
        return Run(folder, folder / "images" / "manifest.csv", True)
    root = project_root()
    path = root / manifest  # an absolute path stays as it is
    name, place = f"own-{path.stem}", Path(os.path.relpath(path, root))
    if len(place.parts) > 1 or path.suffix != ".csv":
        name += f"-{hash_of(place.as_posix())[:8]}"
    return Run(results_folder(profile, name), path, False)


def results_folder(profile: Profile, dataset: str) -> Path:
    """Folder that keeps the results of one data set under one profile, relative to here."""
    return Path(os.path.relpath(project_root() / RUNS / profile.name / dataset))


def _from_root(path: Path) -> str:
    """A path as it is from the folder of the repository, or whole if it lies elsewhere."""
    path, root = Path(os.path.abspath(path)), project_root()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _of_others(path: Path) -> str:
    """Say which profiles have a result that one lacks, or nothing."""
    place = Path(_from_root(path)).parts
    if place[:2] != RUNS.parts:
        return ""
    runs = project_root() / RUNS
    others = [one.name for one in sorted(runs.glob("*")) if one.joinpath(*place[3:]).exists()]
    if not others:
        return ""
    profiles = f"profile{'s' * (len(others) > 1)} {', '.join(others)}"
    return f"; found for {profiles}: name it by PROFILE, by --profile, or in a notebook by profile"


def published_table(name: str) -> pd.DataFrame:
    """The article's values of ``table1`` or ``table2``, see `published.read_published`."""
    return read_published(project_root() / "data" / "published" / f"{name}.csv")


def published_sentence(published: pd.DataFrame, name: str, data: str) -> str:
    """Say what stands beside our scores of a table of the paper, and what that can show.

    Parameters
    ----------
    published
        Frame of `published_table`.
    name
        Its name, ``table1`` or ``table2``.
    data
        What our scores were computed on, see `Run.data`.
    """
    where = f"`data/published/{name}.csv`"
    if published.empty:
        return (
            "The article's own values, which are of its six cell lines, are not at hand, so none "
            f"stand beside ours ({data}). If you have the article, you can enter them in {where}."
        )
    return (
        f"*Published* values are the article's, as entered in {where}. They are of its six cell "
        f"lines, ours of the data of this page ({data}); only scores of the same images can "
        "confirm or contradict each other."
    )


def data_banner(profile: Profile, run: Run | None, text: str = ""):
    """Banner at the head of a page: which data the page shows, and by which profile.

    Parameters
    ----------
    profile
        The settings; name and purpose are shown.
    run
        The run whose data the page shows; None for public real cells.
    text
        HTML that is added; for real cells, all that the banner says.
    """
    from IPython.display import HTML

    if run is None:
        kind, words = "real", text
    elif run.is_phantom:
        kind = "phantom"
        words = (
            "<b>Phantom.</b> Every image and score on this page comes from synthetic stacks with "
            "planted truth. They show whether the method finds what was planted; they say "
            "nothing about biology." + (f" {text}" if text else "")
        )
    else:
        kind = "real"
        words = f"<b>Own stacks.</b> Images listed in {html.escape(run.manifest.name)}. {text}"
    made = f"Profile <code>{html.escape(profile.name)}</code>: {html.escape(profile.purpose)}."
    return HTML(f'<div class="data-banner {kind}">{words.rstrip()} {made}</div>')


def class_size_sentence(table: pd.DataFrame) -> str:
    """Say how many images a class has, and what that does to intervals that resample them.

    Parameters
    ----------
    table
        ``image``, ``label`` and ``group`` of patches, crops or images, as of a `PatchSet`.

    Returns
    -------
    str
        Of groups, where a group is not one image; that classes share groups, where they do.
    """
    single = table.groupby("group")["image"].nunique().eq(1).all()
    alone = table.groupby("image")["group"].nunique().eq(1).all()
    noun = "images" if single and alone else "groups"
    if table.groupby("group")["label"].nunique().gt(1).any():
        few = table["group"].nunique()
        counted = f"There are {few} {noun}, some of more than one class."
        drawn = f"n {noun}"
    else:
        sizes = table.groupby("label")["group"].nunique()
        few, many = sizes.min(), sizes.max()
        counted = (
            f"A class has {few} {noun}." if few == many else f"Classes have {few} to {many} {noun}."
        )
        drawn = f"n {noun} of a class"
    return (
        f"{counted} Resampling {drawn} leaves out one n-th of the variance between them, "
        f"here up to {1 / few:.1%}, so that intervals are too narrow."
    )


def score_words(score: Mapping[str, float]) -> str:
    """A score with its 95 % interval, in words; an end that is not finite: it has none.

    Parameters
    ----------
    score
        ``value``, ``low``, ``high``.
    """
    value, low, high = (score[key] for key in ("value", "low", "high"))
    known = math.isfinite(low) and math.isfinite(high)
    words = f"95 % interval {low:.2f} to {high:.2f}" if known else "without an interval"
    return f"{value:.2f} ({words})"


def difference_sentence(what: str, difference: Mapping[str, float], *, margin: float = 0.0) -> str:
    """State a difference, its 95 % interval, and what follows from it and what does not.

    Parameters
    ----------
    what
        Subject of the sentence, such as "intermediate minus early fusion".
    difference
        ``value``, ``low``, ``high`` of a balanced accuracy, as `comparisons` gives them; ends that
        are not finite: no interval could be computed.
    margin
        Below 0: the question is whether a loss as large as this is excluded, and the sentence
        answers it. Otherwise the question is the sign.
    """
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    subject = capital(what)
    if not (math.isfinite(low) and math.isfinite(high)):
        return (
            f"{subject}: {value:+z.2f} in balanced accuracy, without an interval, since none could "
            "be computed; nothing is decided."
        )
    if low > 0:
        verdict = "the interval lies above 0"
    elif high < 0:
        verdict = "the interval lies below 0"
    elif margin < 0:
        verdict = "the sign cannot be told"
    else:
        verdict = "the interval includes 0, so these data cannot tell the sign"
    digits = decimals(low, high)
    if margin < 0:
        digits = max(digits, decimals(low - margin, high - margin))
        verdict += f"; a loss of {-margin:.2f} or more "
        verdict += "is excluded" if low > margin else "is not excluded"
        if high < margin:
            verdict = f"the loss is larger than {-margin:.2f}"
    return (
        f"{subject}: {value:+z.{digits}f} in balanced accuracy "
        f"(95 % interval {low:+z.{digits}f} to {high:+z.{digits}f}); {verdict}."
    )


def show_table(frame: pd.DataFrame, caption: str, name: str, data: pd.DataFrame | None = None):
    """Markdown output that the book renders as a numbered, referable table, offered as a CSV.

    Cells are shown as `str` gives them and escaped, so that a label cannot break the page; their
    lines stay lines, an empty one becomes a dash, and underscores of column names become spaces.

    Parameters
    ----------
    frame
        What is shown.
    caption, name
        Name as it is referred to, and as the CSV is called.
    data
        What the CSV holds; `frame` if not given. Where scores are shown as text, these are the
        numbers behind it, with all digits.
    """
    from IPython.display import Markdown

    def row(cells) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    aligned = [
        "---:" if pd.api.types.is_numeric_dtype(frame[column]) else ":---" for column in frame
    ]
    lines = [row(str(name).replace("_", " ") for name in frame), "| " + " | ".join(aligned) + " |"]
    lines += [row(cells) for cells in frame.itertuples(index=False)]
    # Colons, since the first line of a fence of backticks may not hold a link.
    text = "\n".join([f":::{{table}} {_cell(caption)}", f":name: {name}", "", *lines, ":::"])
    return with_data(Markdown(text), frame if data is None else data, name)


def _cell(value: object) -> str:
    missing = isinstance(value, float) and math.isnan(value)
    text = html.escape("" if missing else str(value), quote=False) or "–"
    for mark in "\\`*_[]{}$|":
        text = text.replace(mark, f"\\{mark}")
    lines = (" ".join(line.split()) for line in text.splitlines())
    # Lines may break between words, and not within an interval or after "<".
    return _TOGETHER.sub(lambda found: found[0].replace(" ", "\xa0"), "<br>".join(lines))
