"""What the workers of a run and the users of a thing share: who lives, results made once, slots to work in."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_multiarch.errors import MultiarchError, StateError, UnexpectedError, from_dict
from pytest_multiarch.files import POLL, children, held, locked, usable, write_whole

__tracebackhide__ = True


class Withdrawn(Exception):
    """What was being made is not wanted any more: no result, and no failure to remember either."""


class Users:
    """A set of living sessions: each holds an exclusive lock on a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: dict[str, FileLock] = {}

    def join(self, session: str) -> None:
        """Count `session` in, until `leave` or its death."""
        path = self._folder / session
        with usable(self._folder):
            while session not in self._mine:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = FileLock(path, thread_local=False)
                lock.acquire(timeout=10)
                if path.exists():
                    self._mine[session] = lock
                else:  # between its making and its locking somebody took it for a dead session's
                    lock.release()

    def leave(self, session: str) -> None:
        """Count `session` out; its file goes with it, for nobody waits for another session's lock."""
        lock = self._mine.pop(session, None)
        if lock is not None:
            (self._folder / session).unlink(missing_ok=True)
            lock.release()

    def alive(self, session: str) -> bool:
        """Tell whether `session` is counted in and lives."""
        path = self._folder / session
        if session in self._mine:
            return True
        if not path.exists():
            return False
        with usable(self._folder), contextlib.suppress(FileNotFoundError):  # deleted meanwhile, folder and all
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return True
            path.unlink(missing_ok=True)
            lock.release()
        return False

    def knows(self, session: str) -> bool:
        """Tell whether the file of `session` is there: if not, the folder was deleted and says nothing."""
        return (self._folder / session).exists()

    def others(self, session: str) -> list[str]:
        """Return the living sessions besides `session`; the files of dead ones are removed on the way."""
        names = [path.name for path in children(self._folder)]
        return [name for name in names if name != session and self.alive(name)]


class Run:
    """What the processes of one pytest run share: each value is made once, by whoever comes first.

    A failure is a value too: it is remembered, and whoever asks later gets the same error without a try
    (an expensive build must not be repeated by every worker).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions = Users(folder / "sessions")

    def once(self, key: str, make: Callable[[], Any], timeout: float) -> Any:
        """Return what `make()` returned, JSON-ready, in whichever process it ran.

        Args:
            key: the value's name, fit for a file's name.
            make: called at most once in all processes.
            timeout: seconds to wait for another process that is making it.

        Raises:
            MultiarchError: `make` raised it, here or elsewhere.
            Withdrawn: `make` raised it, here: whoever asks next makes the value.
            StateError: another process was still making it when the time was up, or the folder can't be used.

        """
        path = self.folder / f"{key}.json"
        outcome = _read(path)
        if outcome is None:
            with held(self.folder / f"{key}.lock", timeout):
                outcome = _read(path)
                if outcome is None:
                    text = json.dumps(_outcome(make))
                    with usable(self.folder):
                        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # deleted meanwhile
                        write_whole(path, text)
                    outcome = json.loads(text)
        if "error" in outcome:
            raise from_dict(outcome["error"])
        return outcome["value"]

    def busy(self, key: str) -> bool:
        """Tell whether the value `key` is made, or being made by another process at this moment."""
        if (self.folder / f"{key}.json").exists():
            return True
        path = self.folder / f"{key}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path).acquire(timeout=0):
                return False
        except Timeout:
            return True

    @contextlib.contextmanager
    def slot(self, what: str, slots: int, timeout: float) -> Iterator[None]:
        """Hold one of the slots for `what` that all processes share; wait at most `timeout` seconds for one."""
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as slot:
            for number in itertools.cycle(range(slots)):
                last = number == slots - 1
                with contextlib.suppress(Timeout):  # taken: look at the next one
                    slot.enter_context(locked(self.folder / f"{what}-{number}.lock", POLL if last else 0))
                    break
                if last and time.monotonic() > deadline:
                    raise StateError(f"none of the {slots} slots for {what} was free within {timeout:g} seconds")
            yield

    def claim(self, name: str) -> None:
        """Note that this run uses the thing called `name`, an image's tag, until the run is forgotten."""
        path = self.folder / "claims" / hashlib.sha256(name.encode()).hexdigest()[:16]
        with usable(self.folder):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, name)

    def claims(self) -> set[str]:
        """Return what this run uses."""
        found = set()
        for path in children(self.folder / "claims"):
            with contextlib.suppress(OSError):  # forgotten meanwhile
                found.add(path.read_text())
        return found

    def remove(self) -> None:
        """Forget the run: its last process calls this."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Return a value's outcome, None where there is none that can be read: it is then made again."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and ("value" in found or "error" in found) else None


def _outcome(make: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"value": make()}
    except MultiarchError as error:
        return {"error": error.as_dict()}
    except Withdrawn:
        raise
    except Exception as error:  # whatever it is, the other processes must not try it again
        unexpected = UnexpectedError(
            f"pytest-multiarch did not expect this: {type(error).__name__}",
            why=str(error),
            do="Please report it, with the lines below",
            evidence=traceback.format_exc(),
        )
        return {"error": unexpected.as_dict()}
