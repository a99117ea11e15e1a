"""From notebooks to pages: where a run keeps its files, execution in order, the built book."""

import html
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from organelle_fusion.config import Profile, UserError
from organelle_fusion.manifest import read_manifest

UNAVAILABLE = "SourceUnavailable"
EXECUTED = Path("book/executed")


class BookError(UserError):
    """A chapter or the book that cannot be made; the message is one line."""


# --- where things are ---------------------------------------------------------------------------


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
        """The manifest, one row per image; an error says which chapter makes it."""
        return read_manifest(self.require(self.manifest, "01"))

    def require(self, path: Path, chapter: str) -> Path:
        """Return `path`, or say which chapter has to run before this one."""
        if not path.exists():
            raise BookError(
                f"{path.name}: expected in {path.parent.name}/, found nothing; it is written by "
                f"chapter {chapter}: run `make chapter N={chapter}` first"
            )
        return path


def project_root(start: Path | None = None) -> Path:
    """Nearest folder at or above `start` that holds ``_toc.yml`` and ``notebooks``."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise BookError(
        f"{start}: expected a folder with _toc.yml and notebooks/ here or above, found none; "
        "run this inside a clone of the repository"
    )


def open_run(profile: Profile, manifest: str = "") -> Run:
    """Folder and manifest of a run: the phantom, or one's own stacks when `manifest` names a CSV.

    Results of different profiles and manifests never share a folder. The path of the manifest is
    relative to the folder of the repository.
    """
    if not manifest:
        folder = results_folder(profile, "phantom")
        return Run(folder, folder / "images" / "manifest.csv", True)
    path = project_root() / manifest  # an absolute path stays as it is
    return Run(results_folder(profile, f"own-{path.stem}"), path, False)


def results_folder(profile: Profile, dataset: str) -> Path:
    """Folder that keeps the results of one data set under one profile, relative to here."""
    return Path(os.path.relpath(project_root() / "data" / "runs" / profile.name / dataset))


# --- what pages show ----------------------------------------------------------------------------


def data_banner(run: Run | None, text: str = ""):
    """Banner at the head of a page: which data the page shows.

    Parameters
    ----------
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
            "planted truth. They show that the method finds what was planted; they say nothing "
            "about biology." + (f" {text}" if text else "")
        )
    else:
        kind = "real"
        words = f"<b>Own stacks.</b> Images listed in {html.escape(run.manifest.name)}. {text}"
    return HTML(f'<div class="data-banner {kind}">{words}</div>')


def difference_sentence(what: str, difference: dict[str, float]) -> str:
    """State a difference, its 95 % interval, and what follows from it and what does not.

    Parameters
    ----------
    what
        Subject of the sentence, such as "Intermediate minus early fusion".
    difference
        ``value``, ``low``, ``high`` of a balanced accuracy, as `evaluation` gives them.
    """
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    if low > 0:
        verdict = "the interval lies above 0"
    elif high < 0:
        verdict = "the interval lies below 0"
    else:
        verdict = "the interval includes 0, so that these data cannot tell"
    return (
        f"{what}: {value:+.2f} in balanced accuracy (95 % interval {low:+.2f} to {high:+.2f}); "
        f"{verdict}."
    )


def show_table(frame: pd.DataFrame, caption: str, name: str):
    """Markdown output that the book renders as a numbered, referable table.

    Cells are shown as `str` gives them and escaped, so that a label cannot break the page; an
    empty one becomes a dash, and underscores of column names become spaces.
    """
    from IPython.display import Markdown

    def row(cells) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    aligned = [
        "---:" if pd.api.types.is_numeric_dtype(frame[column]) else ":---" for column in frame
    ]
    lines = [row(str(name).replace("_", " ") for name in frame), "| " + " | ".join(aligned) + " |"]
    lines += [row(cells) for cells in frame.itertuples(index=False)]
    return Markdown(
        "\n".join([f"```{{table}} {_cell(caption)}", f":name: {name}", "", *lines, "```"])
    )


def _cell(value: object) -> str:
    text = html.escape(str(value), quote=False) or "–"
    for mark in "\\`*_[]{}$|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


# --- execution ----------------------------------------------------------------------------------


def chapter_sources(root: Path) -> list[Path]:
    """The edited halves of the chapters, ``notebooks/NN_name.py``, in run order."""
    return sorted((root / "notebooks").glob("[0-9][0-9]_*.py"))


def execute_chapter(source: Path, root: Path, parameters: dict[str, str], data: str) -> float:
    """Run one chapter by papermill and put it, whole, into ``book/executed``.

    Parameters
    ----------
    source
        The ``.py`` half: it is what runs, so an edit of it needs no other step.
    root
        Folder of the repository; the chapter runs in it.
    parameters
        Values for the cell tagged ``parameters``; those that the chapter does not declare are
        left out of it.
    data
        Words that replace ``{data}`` in figure captions.

    Returns
    -------
    float
        Wall time in seconds.

    Raises
    ------
    BookError
        A cell raised. The failed notebook is kept beside the others as ``failed-NN_name.ipynb``,
        and no page of an earlier run is left in its place. A chapter whose public data are out
        of reach does not fail: its page ends there and says so.
    """
    import jupytext
    import papermill
    from papermill.exceptions import PapermillExecutionError

    folder = root / EXECUTED
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}.ipynb"
    failed = folder / f"failed-{source.stem}.ipynb"
    raw, output = (folder / f".{source.stem}.{os.getpid()}.{kind}.ipynb" for kind in ("in", "out"))
    target.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    notebook = jupytext.read(source)
    _warn_of_edited_pair(source, notebook)
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            figure["caption"] = figure["caption"].replace("{data}", data)
    started = time.monotonic()
    try:
        jupytext.write(notebook, raw)
        declared = papermill.inspect_notebook(str(raw))
        try:
            papermill.execute_notebook(
                str(raw),
                str(output),
                parameters={k: v for k, v in parameters.items() if k in declared},
                kernel_name="python3",
                cwd=str(root),
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
        except PapermillExecutionError as error:
            if error.ename != UNAVAILABLE:
                os.replace(output, failed)
                raise BookError(
                    f"{source.stem}, cell {error.exec_count}: {error.ename}: "
                    f"{' '.join(str(error.evalue).split())} (traceback in {EXECUTED / failed.name})"
                ) from None
            _end_unavailable(output, error.evalue)
        os.replace(output, target)
    finally:
        raw.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
    return time.monotonic() - started


def _warn_of_edited_pair(source: Path, notebook) -> None:
    """Say so when the .ipynb half holds other code than the .py half, which is what runs."""
    import nbformat

    pair = source.with_suffix(".ipynb")
    if not pair.is_file():
        return
    cells = [(cell.cell_type, cell.source) for cell in nbformat.read(pair, as_version=4).cells]
    if cells != [(cell.cell_type, cell.source) for cell in notebook.cells]:
        print(
            f"{pair.name} differs from {source.name}; the .py runs. `make notebooks` brings the "
            ".ipynb up to date (an edit made in the .ipynb alone would be lost by it)",
            flush=True,
        )


def _end_unavailable(path: Path, message: str) -> None:
    """Turn a notebook that stopped for want of public data into a page that says so."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    kept = []
    for cell in notebook.cells:
        if "papermill-error-cell-tag" in cell.metadata.get("tags", []):
            continue  # papermill's own marks around the cell that raised
        if any(output.get("ename") == UNAVAILABLE for output in cell.get("outputs", [])):
            break
        kept.append(cell)
    note = (
        "```{admonition} Not computed: the data were out of reach\n:class: warning\n"
        f"{' '.join(message.split())}\n```"
    )
    notebook.cells = [*kept, nbformat.v4.new_markdown_cell(note)]
    notebook.metadata.get("papermill", {}).pop("exception", None)
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def reproduce(profile: Profile, profile_name: str, manifest: str = "", chapter: str = "") -> Path:
    """Execute all chapters in order, or only one, then build the book.

    Returns
    -------
    pathlib.Path
        ``index.html`` of the built book.
    """
    root = project_root()
    os.chdir(root)
    # Start-up chatter of TensorFlow's C++ side would hide the progress; warnings in Python stay.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sources = chapter_sources(root)
    if chapter:
        sources = [path for path in sources if path.stem.split("_")[0] == chapter.zfill(2)]
        if not sources:
            raise BookError(
                f"chapter {chapter}: expected one of "
                f"{', '.join(path.stem for path in chapter_sources(root))}; give its number"
            )
    parameters = {"profile": profile_name, "manifest": manifest}
    data = open_run(profile, manifest).data
    known = {path.stem: _last_seconds(root, path.stem) for path in sources}
    for number, source in enumerate(sources, start=1):
        left = sum(known[path.stem] or 0 for path in sources[number - 1 :])
        print(
            f"[{number}/{len(sources)}] {source.stem}"
            + (f", about {left:.0f} s left for the chapters by the last run" if left else ""),
            flush=True,
        )
        seconds = execute_chapter(source, root, parameters, data)
        print(f"[{number}/{len(sources)}] {source.stem} done in {seconds:.0f} s", flush=True)
    return build_pages(root)


def _last_seconds(root: Path, stem: str) -> float | None:
    """Duration of a chapter's last execution, which papermill keeps in the notebook."""
    import nbformat

    path = root / EXECUTED / f"{stem}.ipynb"
    if not path.is_file():
        return None
    return nbformat.read(path, as_version=4).metadata.get("papermill", {}).get("duration")


# --- building -----------------------------------------------------------------------------------


def toc_pages(root: Path) -> list[str]:
    """Pages named in ``_toc.yml``, without suffix, the root page first."""
    import yaml

    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    parts = toc.get("parts", [toc])
    chapters = [entry["file"] for part in parts for entry in part.get("chapters", [])]
    return [toc["root"], *chapters]


def build_pages(root: Path) -> Path:
    """Build the book from the executed chapters, every warning an error; return ``index.html``."""
    missing = [
        page
        for page in toc_pages(root)
        if not any((root / page).with_suffix(suffix).is_file() for suffix in (".md", ".ipynb"))
    ]
    if missing:
        raise BookError(
            f"_toc.yml: expected {missing[0]}, found no such page ({len(missing)} missing); "
            "run `make book` once to execute every chapter"
        )
    shutil.rmtree(root / "_build", ignore_errors=True)
    print("building the pages", flush=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-W", "-n"]
    result = subprocess.run(
        [*command, "--keep-going"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    pages = root / "_build" / "html"
    absent = [page for page in toc_pages(root) if not (pages / f"{page}.html").is_file()]
    if result.returncode or absent:
        print(result.stdout, file=sys.stderr)
        raise BookError(
            f"jupyter-book ended with exit code {result.returncode}, pages missing: "
            f"{', '.join(absent) or 'none'}; its messages are above"
        )
    return pages / "index.html"
