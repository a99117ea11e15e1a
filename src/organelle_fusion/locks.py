"""One run at a time in a folder of results."""

import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from organelle_fusion.config import UserError

LOCK_FILE = ".lock"

# Folders that this process has locked, with the open file of each lock: what it does within may
# lock them again.
_HELD: dict[Path, int] = {}

_FORBIDDEN = (errno.EACCES, errno.EPERM)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class LockError(UserError):
    """Another run is at work in the folder; the message is one line."""


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for this lock out of a folder while the block lasts.

    The system holds the lock and releases it when the process ends in whatever way, so none is
    ever left behind. Processes that this one starts, such as workers, do not hold it unless they
    are given it, see `held_locks`, and need not ask for it. Within the block the same process may
    ask again.

    A folder that this process cannot write to is not locked, since the process cannot change what
    is in it. Where the file system has no locks, a line says so, and the block runs without.

    Parameters
    ----------
    folder
        It is made if there is none. While the lock is held it contains the file `LOCK_FILE`.

    Raises
    ------
    LockError
        Another process holds the lock; the message names it.
    """
    folder = Path(folder).resolve()
    if folder in _HELD:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(folder / LOCK_FILE)
    except OSError as error:
        forbidden = error.errno in _FORBIDDEN and not os.access(folder, os.W_OK)
        read_only = forbidden or error.errno == errno.EROFS
        if not read_only and error.errno not in _NO_LOCKS:
            raise
        if error.errno in _NO_LOCKS:
            print(
                f"{folder}: its file system has no locks ({error.strerror}); see to it that no "
                "other run is at work here",
                flush=True,
            )
        yield
        return
    _HELD[folder] = handle
    try:
        yield
    finally:
        del _HELD[folder]
        try:
            # Removed while it is locked: whoever has opened it meanwhile finds that it is gone.
            # In some folders nobody may remove the file of another user; unlocked it does no harm.
            with suppress(PermissionError):
                (folder / LOCK_FILE).unlink(missing_ok=True)
        finally:
            os.close(handle)


def held_locks() -> tuple[int, ...]:
    """Descriptors of the locks that this process holds.

    A process that is started with them (``pass_fds``) holds the locks too: until both have ended,
    no other gets in. For one that writes into the folder and might outlive this one.
    """
    return tuple(_HELD.values())


def _locked(path: Path) -> int:
    """Open and lock the file, and write into it who holds it; return its descriptor."""
    while True:
        own = True
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not path.exists():
                raise
            # Of another user, who has the folder in common with this one, and may be at work.
            handle, own = os.open(path, os.O_RDONLY), False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                facts = {
                    "process": os.getpid(),
                    "host": platform.node(),
                    "since": datetime.now(UTC).isoformat(" ", "seconds"),
                }
                if own:
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, json.dumps(facts).encode(), 0)
                return handle
        except BlockingIOError:
            holder = _holder(os.pread(handle, 1000, 0))
            os.close(handle)
            raise LockError(
                f"{path.parent}: expected no other run at work here, found {holder}; wait until "
                "it has ended, or end it"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of this name; its holder removes it at the end."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(content: bytes) -> str:
    try:
        facts = json.loads(content)
        return f"process {facts['process']} on {facts['host']}, since {facts['since']}"
    except (ValueError, KeyError, TypeError):  # it is about to write
        return "one that has just begun"
