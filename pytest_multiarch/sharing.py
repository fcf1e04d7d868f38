"""What sessions and workers share: one state folder, locks that die with their holder, results made once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_multiarch.errors import MultiarchError, StateError, from_dict

__tracebackhide__ = True

#: The version of this folder's layout, written before its id.
VERSION = 1

#: Seconds between two looks at a lock that somebody else holds.
POLL = 0.01


class State:
    """The folder that outlives a session: who we are on this engine, and who is using what.

    A lock here is an open file, so the kernel frees it when its holder dies, however it dies. A released
    lock file is never unlinked while another process may wait for it: two processes would then hold "the
    same" lock on two files. Nothing in the folder is missed when it is deleted: a session that runs goes on,
    the next one is somebody new to the engine.

    Raises:
        StateError: the folder can't be used, or is of a newer version.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _default_folder()
        with _usable(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_mode & 0o777 != 0o700:
                self.folder.chmod(0o700)
            self.id = self._known_id() or self._new_id()

    def _known_id(self) -> str:
        """Return this folder's random id: two users of one engine must not share names (design, section 3)."""
        path = self.folder / "id"
        with contextlib.suppress(FileExistsError):
            write_whole(path, f"{VERSION} {uuid.uuid4().hex[:12]}", replace=False)
        version, _, name = path.read_text(errors="replace").strip().partition(" ")
        if version.isascii() and version.isdigit() and int(version[:9]) > VERSION:
            raise StateError(
                f"the state folder {self.folder} is of a newer pytest-multiarch",
                do="Upgrade this one, set XDG_STATE_HOME to another folder, or delete that one",
            )
        return name if version == str(VERSION) and re.fullmatch("[0-9a-f]{12}", name) else ""

    def _new_id(self) -> str:
        """Return a new id in place of one that can't be read: a power cut leaves such files."""
        with self.mutex("id", timeout=10):
            if not (known := self._known_id()):
                known = uuid.uuid4().hex[:12]
                write_whole(self.folder / "id", f"{VERSION} {known}")
            return known

    def mutex(self, name: str, timeout: float) -> contextlib.AbstractContextManager[None]:
        """Hold the lock `name` alone; wait at most `timeout` seconds for it.

        Raises:
            StateError: it was not free in time.

        """
        return _held(self.folder / f"{name}.lock", timeout)

    def users(self, name: str) -> Users:
        """Return those who use the thing called `name`."""
        return Users(self.folder / "users" / name)

    def run(self, uid: str) -> Run:
        """Return the run `uid`, which all its workers share."""
        return Run(self.folder / "runs" / uid)

    def project(self, name: str) -> Project:
        """Return what is known of the project `name` from earlier sessions."""
        return Project(self.folder / "projects" / name)

    def enter(self, uid: str, session: str) -> Run:
        """Count `session` into the run `uid`, and forget the runs of which no process lives any more."""
        with self.mutex("runs", timeout=60):  # or a run could be forgotten while its first session joins
            self._living()
            run = self.run(uid)
            run.sessions.join(session)
        return run

    def living(self) -> list[str]:
        """Return the living sessions as `run.session`; dead runs are forgotten on the way."""
        with self.mutex("runs", timeout=60):
            return self._living()

    def _living(self) -> list[str]:
        found = []
        for folder in _children(self.folder / "runs"):
            run = Run(folder)
            sessions = run.sessions.others("")
            found += [f"{folder.name}.{session}" for session in sessions]
            if not sessions:
                run.remove()
        return found

    def lives(self, label: str) -> bool:
        """Tell whether the session `run.session` lives."""
        run, _, session = label.rpartition(".")
        return bool(run and session) and self.run(run).sessions.alive(session)

    def remove(self) -> None:
        """Delete the folder: whoever comes next is somebody new to the engine."""
        with self.mutex("runs", timeout=60):
            shutil.rmtree(self.folder, ignore_errors=True)


class Project:
    """What one session tells the next of a project: its folder, how long its builds took, what was looked at."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def lives(self) -> bool:
        """Tell whether the project's folder is still there."""
        root = self._read("root")
        return isinstance(root, str) and Path(root).is_dir()

    def enter(self, root: Path) -> None:
        """Note the folder that the project is in."""
        self._write("root", str(root))

    def took(self, platform: str) -> float:
        """Return the seconds that the last build for a platform took, 0 if none is known."""
        seconds = self._read(_name("seconds", platform))
        return float(seconds) if isinstance(seconds, (int, float)) else 0.0

    def built(self, platform: str, seconds: float) -> None:
        """Note the seconds that a build for a platform took."""
        self._write(_name("seconds", platform), seconds)

    def shell_of(self, platform: str) -> str:
        """Return the id of the image for a platform whose shell was seen to be of that platform, "" for none."""
        return str(self._read(_name("shell", platform)) or "")

    def knows_shell(self, platform: str, image: str) -> None:
        """Note that the shell of this image was seen to be of its platform: an id never means another image."""
        self._write(_name("shell", platform), image)

    def forget(self) -> None:
        """Forget the project."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, name: str) -> object:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self._folder / name).read_text())
        return None

    def _write(self, name: str, value: object) -> None:
        with _usable(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._folder / name, json.dumps(value))


def _name(what: str, platform: str) -> str:
    return f"{what}-{platform.replace('/', '-')}"


class Users:
    """A set of living sessions: each holds an exclusive lock on a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: dict[str, FileLock] = {}

    def join(self, session: str) -> None:
        """Count `session` in, until `leave` or its death."""
        path = self._folder / session
        with _usable(self._folder):
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
        with _usable(self._folder), contextlib.suppress(FileNotFoundError):  # deleted meanwhile, folder and all
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
        names = [path.name for path in _children(self._folder)]
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
            StateError: another process was still making it when the time was up, or the folder can't be used.

        """
        path = self.folder / f"{key}.json"
        outcome = _read(path)
        if outcome is None:
            with _held(self.folder / f"{key}.lock", timeout):
                outcome = _read(path)
                if outcome is None:
                    text = json.dumps(_outcome(make))
                    with _usable(self.folder):
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
    def place(self, what: str, places: int, timeout: float) -> Iterator[None]:
        """Hold one of the places for `what` that all processes share; wait at most `timeout` seconds for one."""
        deadline = time.monotonic() + timeout
        with contextlib.ExitStack() as held:
            for number in itertools.cycle(range(places)):
                last = number == places - 1
                with contextlib.suppress(Timeout):  # taken: look at the next one
                    held.enter_context(_locked(self.folder / f"{what}-{number}.lock", POLL if last else 0))
                    break
                if last and time.monotonic() > deadline:
                    raise StateError(f"none of the {places} places for {what} was free within {timeout:g} seconds")
            yield

    def remove(self) -> None:
        """Forget the run: its last process calls this."""
        shutil.rmtree(self.folder, ignore_errors=True)


def forget(uid: str) -> None:
    """Forget the run `uid` if it left anything."""
    folder = _default_folder() / "runs" / uid
    if folder.exists():
        Run(folder).remove()


@contextlib.contextmanager
def _held(path: Path, timeout: float) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_locked(path, timeout))
        except Timeout:
            raise StateError(
                f"the lock {path} was not free within {timeout:g} seconds", why="another session holds it"
            ) from None
        yield


@contextlib.contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    lock = FileLock(path, thread_local=False)  # whoever lets go of it may be another thread
    with _usable(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=timeout, poll_interval=POLL)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
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


def write_whole(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file so that no reader ever sees half of it.

    Raises:
        FileExistsError: `replace` is false and the file is there.

    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        if replace:
            os.replace(name, path)
        else:
            os.link(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


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


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _default_folder() -> Path:
    import platformdirs  # 10 ms that a suite without containers does not owe

    with contextlib.suppress(RuntimeError):  # newer ones raise it; older ones leave the "~"
        folder = platformdirs.user_state_path("pytest-multiarch")
        if folder.is_absolute():
            return folder
    raise StateError("this user has no home folder", do="Set HOME, or XDG_STATE_HOME to a folder of your own")
