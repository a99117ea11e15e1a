"""From the source of a chapter to its executed notebook, whole or not at all."""

import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

from organelle_fusion import downloads
from organelle_fusion.config import UserError
from organelle_fusion.provenance import remove_leftovers, temporary_name
from organelle_fusion.run_log import forwarded, note

_LOGGER = logging.getLogger(__name__)

UNAVAILABLE = "SourceUnavailable"
EXECUTED = Path("book/executed")


class BookError(UserError):
    """A chapter or the book that cannot be made; the message is one line."""


class Execution(NamedTuple):
    """How the execution of a chapter ended."""

    seconds: float
    complete: bool  # False: its public data were out of reach, and the page says so


def _leave_to_exceptions() -> None:
    """Keep what is said of a kernel that ends off the terminal: an exception tells it as well."""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    # A message that comes while its stream is being closed, now and then on a busy machine.
    logging.getLogger("tornado.general").addFilter(_only_into_the_log)


def _only_into_the_log(record: logging.LogRecord) -> bool:
    _LOGGER.debug("%s: %s", record.name, record.getMessage(), exc_info=record.exc_info)
    return False


def execute_chapter(source: Path, root: Path, parameters: dict[str, str], data: str) -> Execution:
    """Run one chapter by papermill and put it, whole, into ``book/executed``.

    Figures and tables are offered as files as well, see `downloads.write_files`.

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
    Execution

    Raises
    ------
    BookError
        A cell raised: the failed notebook is kept beside the others as ``failed-NN_name.ipynb``.
        Or the kernel died. No page of an earlier run is left in its place. A chapter whose public
        data are out of reach does not fail: its page ends there and says so.
    """
    import jupytext
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    folder = root / EXECUTED
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{source.stem}.ipynb"
    failed = folder / f"failed-{source.stem}.ipynb"
    remove_leftovers(folder)
    raw, output = (folder / temporary_name(f"{source.stem}.{kind}.ipynb") for kind in ("in", "out"))
    target.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    notebook = jupytext.read(source)
    _warn_of_edited_pair(source, notebook)
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure")
        if figure:
            figure["caption"] = figure["caption"].replace("{data}", data)
    prepare = nbformat.v4.new_code_cell(downloads.PREPARE, metadata={"tags": ["remove-cell"]})
    notebook.cells.insert(0, prepare)
    _leave_to_exceptions()
    started = time.monotonic()
    message = None
    try:
        jupytext.write(notebook, raw)
        declared = papermill.inspect_notebook(str(raw))
        given = {k: v for k, v in parameters.items() if k in declared}
        _LOGGER.debug("%s with %s", source.stem, given)
        try:
            with forwarded() as (stdout, stderr):
                papermill.execute_notebook(
                    str(raw),
                    str(output),
                    parameters=given,
                    kernel_name="python3",
                    cwd=str(root),
                    progress_bar=False,
                    stdout_file=stdout,
                    stderr_file=stderr,
                    # Otherwise each kernel warns that it talks by TCP, as Jupyter's kernels do.
                    extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                )
        except PapermillExecutionError as error:
            if error.ename != UNAVAILABLE:
                os.replace(output, failed)
                note("\n".join(error.traceback))
                raise BookError(
                    f"{source.stem}, cell {error.exec_count}: {error.ename}: "
                    f"{' '.join(str(error.evalue).split())} (traceback in {failed})"
                ) from None
            message = error.evalue
        except RuntimeError as error:
            if type(error).__name__ != "DeadKernelError":  # of nbclient, which papermill uses
                raise
            raise BookError(
                f"{source.stem}: expected its kernel to run to the end, found that it died, "
                "perhaps for want of memory; run it again to go on"
            ) from None
        notebook = nbformat.read(output, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if cell.source != downloads.PREPARE]
        _tell_slow_cells(source.stem, notebook)
        if message is not None:
            _end_unavailable(notebook, message)
        downloads.write_files(notebook, folder)
        nbformat.validate(notebook)
        nbformat.write(notebook, output)
        os.replace(output, target)
    finally:
        raw.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
    return Execution(time.monotonic() - started, complete=message is None)


def _warn_of_edited_pair(source: Path, notebook) -> None:
    """Say so when the .ipynb half holds other code than the .py half, which is what runs."""
    import nbformat

    pair = source.with_suffix(".ipynb")
    if not pair.is_file():
        return
    try:
        cells = [(cell.cell_type, cell.source) for cell in nbformat.read(pair, as_version=4).cells]
    except (ValueError, AttributeError, nbformat.ValidationError):  # torn, or with marks of a merge
        cells = None
    if cells != [(cell.cell_type, cell.source) for cell in notebook.cells]:
        _LOGGER.info(
            "%s differs from %s; the .py runs. `make notebooks` brings the .ipynb up to date (an "
            "edit made in the .ipynb alone would be lost by it)",
            *(pair.name, source.name),
        )


def _tell_slow_cells(chapter: str, notebook) -> None:
    """Say how long each cell took that took a second or more, and how it begins."""
    for number, cell in enumerate(notebook.cells):
        seconds = cell.metadata.get("papermill", {}).get("duration") or 0
        if seconds >= 1:
            first = next(iter(cell.source.splitlines()), "")
            _LOGGER.debug("%s, cell %d: %.0f s, %s", chapter, number, seconds, first)


def _end_unavailable(notebook, message: str) -> None:
    """Turn a notebook that stopped for want of public data into a page that says so."""
    import nbformat

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
