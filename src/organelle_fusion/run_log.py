"""What a command says while it works: on the terminal, and in a log file for each run.

The modules of this package say it to loggers of their own, ``logging.getLogger(__name__)``: INFO is
progress, DEBUG what was read, decided and timed. What a command was asked for, such as a report,
is no log and is printed by the command.
"""

import io
import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TextIO, TypeVar

from organelle_fusion import __version__
from organelle_fusion.config import UserError

KEPT = 20
"""Log files that a folder keeps: the newest."""

_PACKAGE = logging.getLogger("organelle_fusion")
_COLOURS = {"error": "\033[1;31m", "warning": "\033[33m"}
_TERMINAL_CODES = re.compile(r"\033\[[0-9;]*[A-Za-z]")

Row = TypeVar("Row")


# --- on the terminal ----------------------------------------------------------------------------


@contextmanager
def on_terminal(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Show on the terminal what the package says while the block lasts.

    Progress goes to stdout; warnings, errors, and with `verbose` details, go to stderr. With
    `quiet` errors alone are shown; progress bars, and what else is written to stderr, are not.
    """
    level = _PACKAGE.level, _PACKAGE.propagate
    # Others, such as absl, put handlers on the root logger, which would say everything twice.
    _PACKAGE.setLevel(logging.DEBUG)
    _PACKAGE.propagate = False
    shown = [_handler(sys.stderr, lambda number: number >= logging.ERROR)]
    if not quiet:
        shown = [
            _handler(sys.stdout, lambda number: number == logging.INFO),
            _handler(sys.stderr, lambda number: number >= logging.WARNING),
        ]
    if verbose:
        shown.append(_handler(sys.stderr, lambda number: number == logging.DEBUG))
    for handler in shown:
        _PACKAGE.addHandler(handler)
    try:
        with ExitStack() as stack:
            if quiet:
                stack.enter_context(redirect_stderr(_Lines(note)))
            yield
    finally:
        for handler in shown:
            _PACKAGE.removeHandler(handler)
        before, _PACKAGE.propagate = level
        _PACKAGE.setLevel(before)  # which forgets what loggers below it remember of their level


def _handler(stream: TextIO, wanted: Callable[[int], bool]) -> logging.Handler:
    handler = _Shown(stream)
    handler.addFilter(lambda record: wanted(record.levelno) and not hasattr(record, "to_file"))
    handler.setFormatter(_Words(stream))
    return handler


class _Shown(logging.StreamHandler):
    """Lines of the terminal, or of a pipe, whose reader may close it while results are made."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name in logging
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)
            return
        # All that is still written to it, when Python ends too, has to go somewhere.
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self.stream.fileno())


class _Words(logging.Formatter):
    """The message; before a warning or an error, which it is."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.levelno >= logging.WARNING:
            return labelled(record.levelname.lower(), text, self.stream)
        return text


def labelled(label: str, text: str, stream: TextIO) -> str:
    """A line such as ``error: text``, its label coloured if the stream is a terminal.

    The variable ``NO_COLOR``, if it is set and not empty, means no colours (https://no-color.org).
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return f"{label}: {text}" if plain else f"{_COLOURS[label]}{label}:\033[0m {text}"


# --- what others write --------------------------------------------------------------------------


class _Lines(io.TextIOBase):
    """A stream that hands on whole lines; of a progress bar only the last state."""

    def __init__(self, say: Callable[[str], None], beside: TextIO | None = None) -> None:
        self.say, self.beside, self.rest = say, beside, ""

    def write(self, text: str) -> int:
        if self.beside is not None:
            self.beside.write(text)
        *whole, self.rest = (self.rest + text).split("\n")
        for line in whole:
            self._hand_on(line)
        return len(text)

    def flush(self) -> None:
        if self.beside is not None:
            self.beside.flush()

    def finish(self) -> None:
        """Hand on what was written after the last line."""
        self._hand_on(self.rest)
        self.rest = ""

    def _hand_on(self, line: str) -> None:
        states = _TERMINAL_CODES.sub("", line).split("\r")
        last = next((state.rstrip() for state in reversed(states) if state.strip()), "")
        if last:
            self.say(last)


def note(text: str) -> None:
    """Write into the log file, if there is one, and not to the terminal."""
    _PACKAGE.debug(text, extra={"to_file": True})


@contextmanager
def forwarded() -> Iterator[tuple[TextIO, TextIO]]:
    """Two streams for what another process writes to stdout and stderr: lines are progress.

    The second goes to stderr as it is, so that progress bars move, and to the log line by line.
    """
    # Quietly, stderr itself goes to the log.
    bars = sys.stderr if isinstance(sys.stderr, _Lines) else _Lines(note, sys.stderr)
    streams = _Lines(_PACKAGE.info), bars
    try:
        yield streams
    finally:
        for stream in streams:
            stream.finish()


@contextmanager
def prints_are_progress() -> Iterator[None]:
    """Take what is printed in the block for progress; in a chapter such lines are its output."""
    lines = _Lines(_PACKAGE.info)
    with redirect_stdout(lines):
        try:
            yield
        finally:
            lines.finish()


# --- in a file ----------------------------------------------------------------------------------


@contextmanager
def run_file(folder: Path, command: str) -> Iterator[None]:
    """Write all that the package says in the block into a new file of a folder.

    The file, ``<date and time>-<command>.log``, is begun with the first line that is said, so that
    a command which is refused leaves none; and of the folder's log files the newest `KEPT` stay.
    An error that ends the block is written too, and is noted with the place of the file (PEP 678).
    """
    here = Path.cwd()  # where the command was given; it may go elsewhere
    path = here / folder / f"{datetime.now():%Y-%m-%dT%H-%M-%S}-{command}.log"
    handler = _RunFile(path)
    _PACKAGE.addHandler(handler)
    try:
        yield
    except Exception as error:
        if handler.is_begun:
            expected = isinstance(error, UserError)
            _PACKAGE.error(
                str(error) or type(error).__name__, exc_info=not expected, extra={"to_file": True}
            )
            error.add_note(f"log: {_named(path, here)}")
        raise
    except KeyboardInterrupt:
        note("interrupted")
        raise
    finally:
        _PACKAGE.removeHandler(handler)
        handler.close()


def kept(rows: Iterable[Row], folder: Path, command: str) -> Iterator[Row]:
    """Hand on rows, and from the first one on keep a log in a folder, which is then there."""
    rows = iter(rows)
    for first in rows:
        with run_file(folder, command):
            yield from chain([first], rows)


class _RunFile(logging.FileHandler):
    def __init__(self, path: Path) -> None:
        # Names of files may hold bytes that are no letters in UTF-8.
        super().__init__(path, encoding="utf-8", errors="backslashreplace", delay=True)
        self.path = path
        self.setFormatter(_Stamped())

    @property
    def is_begun(self) -> bool:
        return self.stream is not None

    def _open(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        logs = [entry for entry in self.path.parent.glob("*.log") if entry.is_file()]
        for old in sorted(logs)[: -KEPT + 1]:
            old.unlink(missing_ok=True)
        stream = super()._open()
        stream.write(
            f"organelle-fusion {__version__}, Python {platform.python_version()}, "
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors\n"
            f"{' '.join(['organelle-fusion', *sys.argv[1:]])}\n"
        )
        return stream


class _Stamped(logging.Formatter):
    """Time and level before each line, of which a message may have several."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = f"{datetime.fromtimestamp(record.created):%Y-%m-%d %H:%M:%S} {record.levelname:<7}"
        text = _TERMINAL_CODES.sub("", super().format(record))
        return "\n".join(f"{stamp} {line}" for line in text.splitlines())


def _named(path: Path, here: Path) -> str:
    """A path as it is shortest to type from a folder."""
    path = path.resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
