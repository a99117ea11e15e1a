"""What a command says on the terminal and in the log of a run."""

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from organelle_fusion import run_log
from organelle_fusion.config import UserError

LOGGER = logging.getLogger("organelle_fusion.some_module")


def say_all():
    LOGGER.debug("read %d rows", 3)
    LOGGER.info("chapter %d of %d", 1, 2)
    LOGGER.warning("few groups")
    LOGGER.error("i3: no such file")
    print("bar", file=sys.stderr)


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        (
            {},
            "chapter 1 of 2\n",
            "warning: few groups\nerror: i3: no such file\nbar\n",
        ),
        (
            {"verbose": True},
            "chapter 1 of 2\n",
            "read 3 rows\nwarning: few groups\nerror: i3: no such file\nbar\n",
        ),
        ({"quiet": True}, "", "error: i3: no such file\n"),
    ],
    ids=["usual", "verbose", "quiet"],
)
def test_progress_goes_to_stdout_and_the_rest_to_stderr(capsys, options, out, err):
    """Details only if asked for; quietly errors alone, and once, also after another command."""
    for _ in range(2):
        with run_log.on_terminal(**options):
            say_all()
        assert capsys.readouterr() == (out, err)


def test_a_pipe_that_is_closed_ends_nothing(tmp_path):
    """As by `| head -1`: of 1000 lines one is read, all are logged, and no error is said."""
    code = f"""
import logging, pathlib, sys
from organelle_fusion import run_log
with run_log.on_terminal(), run_log.run_file(pathlib.Path({str(tmp_path)!r}), "many"):
    for number in range(1000):
        logging.getLogger("organelle_fusion.some_module").info("image %d", number)
        if number == 0:
            sys.stdin.readline()
print("Results")
"""
    command = [sys.executable, "-c", code]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "image 0\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    _, lines = lines_of(tmp_path)
    assert sum("image" in line for line in lines) == 1000


def test_without_a_command_the_package_is_as_silent_as_any_other(capsys):
    with run_log.on_terminal():
        pass
    LOGGER.info("chapter 1")
    LOGGER.debug("read")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_labels_are_coloured_on_a_terminal_alone(monkeypatch):
    """`NO_COLOR` and a terminal that knows no colours are respected."""
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    coloured = "\033[1;31merror:\033[0m no file"
    assert run_log.labelled("error", "no file", Terminal()) == coloured
    assert run_log.labelled("error", "no file", io.StringIO()) == "error: no file"
    monkeypatch.setenv("NO_COLOR", "1")
    assert run_log.labelled("error", "no file", Terminal()) == "error: no file"
    monkeypatch.setenv("NO_COLOR", "")
    assert run_log.labelled("error", "no file", Terminal()) == coloured
    monkeypatch.setenv("TERM", "dumb")
    assert run_log.labelled("error", "no file", Terminal()) == "error: no file"


def lines_of(folder):
    (path,) = folder.iterdir()
    return path, path.read_text("utf-8").splitlines()


def test_log_has_all_lines_with_their_time(tmp_path, capsys):
    """Details too, in whole lines; the first two say what ran."""
    with run_log.on_terminal(quiet=True), run_log.run_file(tmp_path, "reproduce"):
        LOGGER.debug("build said:\n  one\n  two")
        LOGGER.info("done")
        run_log.note("\033[31mred\033[0m")
    path, lines = lines_of(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-reproduce\.log", path.name)
    assert re.match(r"organelle-fusion \d.*, Python 3\.", lines[0])
    assert lines[1] == " ".join(["organelle-fusion", *sys.argv[1:]])
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    expected = ["DEBUG   build said:", "DEBUG     one", "DEBUG     two", "INFO    done"]
    for line, words in zip(lines[2:], [*expected, "DEBUG   red"], strict=True):
        assert re.fullmatch(stamp + re.escape(words), line)
    assert capsys.readouterr() == ("", "")


def test_nothing_said_leaves_no_log(tmp_path):
    """A command that is refused has done nothing that one could look up."""
    with (
        pytest.raises(UserError) as caught,
        run_log.on_terminal(),
        run_log.run_file(tmp_path / "logs", "reproduce"),
    ):
        raise UserError("chapter 99: expected another")
    assert not (tmp_path / "logs").exists()
    assert not hasattr(caught.value, "__notes__")


def fail(folder, error):
    with run_log.on_terminal(), run_log.run_file(folder, "fetch"):
        LOGGER.info("begins")
        raise error


def test_error_is_logged_and_noted(tmp_path, monkeypatch):
    """One of the user in a line, any other with its traceback; neither is shown twice."""
    monkeypatch.chdir(tmp_path)
    for number, error in enumerate((UserError("no file"), ValueError("a bug"))):
        folder = tmp_path / str(number)
        with pytest.raises(type(error)) as caught:
            fail(folder, error)
        path, lines = lines_of(folder)
        assert caught.value.__notes__ == [f"log: {number}/{path.name}"]
        assert any(f"ERROR   {error}" in line for line in lines)
        assert any("Traceback" in line for line in lines) == (number == 1)


def test_the_log_is_named_from_where_the_command_was_given(tmp_path, monkeypatch):
    """The command goes to the folder of the repository meanwhile."""
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")

    def go_and_fail():
        LOGGER.warning("begins")
        monkeypatch.chdir(tmp_path)
        raise UserError("no file")

    with pytest.raises(UserError) as caught, run_log.run_file(Path("../logs"), "fetch"):
        go_and_fail()
    (path,) = (tmp_path / "logs").iterdir()
    assert caught.value.__notes__ == [f"log: {path}"]


def test_names_that_are_no_text_are_logged(tmp_path, monkeypatch):
    """An ä of another alphabet of bytes, as Python keeps it; folders of images end in .log too."""
    monkeypatch.setattr(sys, "argv", ["organelle-fusion", "predict", "k\udce4se.tif"])
    for number in range(25):
        (tmp_path / f"{number:02}.log").mkdir()
    with run_log.on_terminal(quiet=True), run_log.run_file(tmp_path, "predict"):
        LOGGER.info("k\udce4se.tif begins")
    (path,) = (path for path in tmp_path.iterdir() if path.is_file())
    assert path.read_text("utf-8").count("k\\udce4se.tif") == 2
    assert len(list(tmp_path.iterdir())) == 26


def test_the_newest_logs_are_kept(tmp_path):
    for number in range(25):
        (tmp_path / f"2020-01-01T00-00-{number:02d}-reproduce.log").touch()
    (tmp_path / "notes.txt").touch()
    with run_log.on_terminal(), run_log.run_file(tmp_path, "reproduce"):
        LOGGER.info("begins")
    logs = sorted(path.name for path in tmp_path.glob("*.log"))
    assert len(logs) == run_log.KEPT == 20
    assert logs[0] == "2020-01-01T00-00-06-reproduce.log"
    assert not logs[-1].startswith("2020")
    assert (tmp_path / "notes.txt").exists()


def test_rows_are_logged_from_the_first_on(tmp_path):
    """Until there is one, the folder may be another's, and must stay as it is."""
    seen = []

    def rows():
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").mkdir()
        yield 1
        LOGGER.info("second")
        yield 2

    with run_log.on_terminal(quiet=True):
        for row in run_log.kept(rows(), tmp_path / "out", "predict"):
            LOGGER.info("row %d", row)
            seen.append(row)
        assert list(run_log.kept([], tmp_path / "none", "predict")) == []
    assert seen == [1, 2]
    _, lines = lines_of(tmp_path / "out")
    assert [line[28:] for line in lines[2:]] == ["row 1", "second", "row 2"]
    assert not (tmp_path / "none").exists()


def test_lines_of_other_processes_are_progress(tmp_path, capsys):
    """Also in pieces and without an end; of a bar the log has the last state."""
    with (
        run_log.on_terminal(),
        run_log.run_file(tmp_path, "reproduce"),
        run_log.forwarded() as (out, err),
    ):
        out.write("  5 cells: 0 st")
        out.write("ored\nlast")
        err.write("\r  0%|   |")
        err.write("\r 50%|## |\r100%|###|\n")
    shown = capsys.readouterr()
    assert shown.out == "  5 cells: 0 stored\nlast\n"
    assert shown.err == "\r  0%|   |\r 50%|## |\r100%|###|\n"
    _, lines = lines_of(tmp_path)
    assert [line[20:] for line in lines[2:]] == [
        "INFO      5 cells: 0 stored",
        "DEBUG   100%|###|",
        "INFO    last",
    ]


def test_bars_are_not_shown_quietly(capsys):
    """Neither those of this process nor of another; tqdm asks whether there is a terminal."""
    with run_log.on_terminal(quiet=True):
        assert not sys.stderr.isatty()
        with run_log.forwarded() as (out, err):
            out.write("5 cells\n")
            err.write("\r100%|###|\n")
    assert capsys.readouterr() == ("", "")


def test_prints_are_progress(capsys):
    with run_log.on_terminal(quiet=True), run_log.prints_are_progress():
        print("written again")
    with run_log.on_terminal(), run_log.prints_are_progress():
        print("written", "again")
    assert capsys.readouterr() == ("written again\n", "")
