"""From notebooks to pages: chapters executed in order by papermill, and the built book."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from organelle_fusion.config import Profile, UserError
from organelle_fusion.pages import open_run, project_root

UNAVAILABLE = "SourceUnavailable"
EXECUTED = Path("book/executed")


class BookError(UserError):
    """A chapter or the book that cannot be made; the message is one line."""


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
