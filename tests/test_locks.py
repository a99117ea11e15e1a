"""One run at a time: who is refused, and that nothing stays locked."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from organelle_fusion import locks
from organelle_fusion.locks import LOCK_FILE, LockError, run_lock

HOLD = """
import sys, time
from organelle_fusion.locks import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        yield other
        other.kill()


def test_a_second_process_is_told_who_is_at_work(tmp_path, holder):
    """Process, host and time, in one line; once that one is killed, the folder is free."""
    with pytest.raises(LockError) as caught, run_lock(tmp_path):
        pass
    assert re.fullmatch(
        rf"{tmp_path}: expected no other run at work here, found process {holder.pid} on \S+, "
        r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00; wait until it has ended, or end it",
        str(caught.value),
    )
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def of_another_user(monkeypatch):
    """Lock files that may be read and not written, as those of another user in a common folder."""
    opened = os.open

    def refusing(path, flags, *arguments, **options):
        if os.path.basename(path) == LOCK_FILE and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *arguments, **options)

    monkeypatch.setattr(locks.os, "open", refusing)


def test_another_user_is_told_as_well(tmp_path, holder, of_another_user):
    """Where the folder can be written to; and what a run of another user has left is no lock."""
    with (
        pytest.raises(LockError, match=f"found process {holder.pid} on"),
        run_lock(tmp_path),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    left = (tmp_path / LOCK_FILE).read_bytes()
    with run_lock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_bytes() == left


def test_a_child_that_is_given_the_lock_keeps_it(tmp_path):
    """Its parent is killed, and it goes on writing: nobody else gets in until it has ended."""
    code = HOLD.replace("import sys, time", "import subprocess, sys").replace(
        "    time.sleep(60)",
        "    from organelle_fusion.locks import held_locks\n"
        "    child = subprocess.Popen(['sleep', '60'], pass_fds=held_locks())\n"
        "    print(child.pid, flush=True)\n"
        "    child.wait()",
    )
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"held\n"
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    with pytest.raises(LockError), run_lock(tmp_path):
        pass
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while True:
        try:
            with run_lock(tmp_path):
                break
        except LockError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_the_same_process_may_ask_again(tmp_path):
    """A sweep within a sweep; the lock is held until the outer one ends."""
    with run_lock(tmp_path):
        with run_lock(tmp_path / "x" / ".."):
            pass
        assert (tmp_path / LOCK_FILE).is_file()
    assert not (tmp_path / LOCK_FILE).exists()


def test_an_error_frees_the_folder(tmp_path):
    def fails():
        with run_lock(tmp_path):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fails()
    with run_lock(tmp_path):
        pass


def test_a_lock_file_that_its_holder_has_removed_is_no_lock(tmp_path, monkeypatch):
    """Opened before the holder removed it, locked after: it is opened anew under its name."""
    real, calls = fcntl.flock, []

    def removed_meanwhile(handle, how):
        if not calls:
            (tmp_path / LOCK_FILE).unlink()
        calls.append(handle)
        real(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", removed_meanwhile)
    with run_lock(tmp_path):
        assert len(calls) == 2
        assert (tmp_path / LOCK_FILE).is_file()


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys):
    def none(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    done = False
    with run_lock(tmp_path):
        done = True
    assert done
    assert "its file system has no locks (No locks available)" in capsys.readouterr().out


def test_a_folder_that_may_only_be_read_needs_no_lock(tmp_path, monkeypatch, capsys):
    """What is stored in it can be read, by several at once."""

    def refused(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.os, "open", refused)
    done = False
    with run_lock(tmp_path):
        done = True
    assert done
    assert capsys.readouterr().out == ""
