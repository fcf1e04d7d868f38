"""Files that several processes share: locks that die with their holder, writes that nobody sees half of."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pytest_multiarch.errors import StateError

__tracebackhide__ = True

#: Seconds between two looks at a lock that somebody else holds.
POLL = 0.01


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the lock at `path` alone; wait at most `timeout` seconds for it.

    It is an open file, so the kernel frees it when its holder dies, however it dies. A released lock file is never
    unlinked while another process may wait for it: two processes would then hold "the same" lock on two files.

    Raises:
        Timeout: it was not free in time.
        StateError: the folder can't be used.

    """
    lock = FileLock(path, thread_local=False)  # whoever lets go of it may be another thread
    with usable(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=timeout, poll_interval=POLL)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def held(path: Path, timeout: float) -> Iterator[None]:
    """Do as `locked` does, for whom it is an error that the lock isn't free in time.

    Raises:
        StateError: it was not free in time, or the folder can't be used.

    """
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(locked(path, timeout))
        except Timeout:
            raise StateError(
                f"the lock {path} was not free within {timeout:g} seconds", why="another session holds it"
            ) from None
        yield


@contextlib.contextmanager
def usable(folder: Path) -> Iterator[None]:
    """Say in our own words that the folder can't be used."""
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise StateError(
            f"the state folder {folder} can't be used",
            why=error.strerror or str(error),
            do="Make it writable, free some space, or set XDG_STATE_HOME to a folder of your own",
        ) from None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def children(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing where there is none."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
