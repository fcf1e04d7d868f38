"""The folder that outlives a session: who we are on an engine, which runs live, what is known of a project."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from pathlib import Path

from pytest_multiarch.errors import StateError
from pytest_multiarch.files import children, held, usable, write_whole
from pytest_multiarch.sharing import Run, Users

__tracebackhide__ = True

#: The version of this folder's layout, written before its id.
VERSION = 1


class State:
    """The folder that outlives a session: who we are on this engine, and who is using what.

    Nothing in it is missed when it is deleted: a session that runs goes on, the next one is somebody new to the
    engine.

    Raises:
        StateError: the folder can't be used, or is of a newer version.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _default_folder()
        with usable(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._close()
            self.id = self._known_id() or self._new_id()

    def _close(self) -> None:
        """Close the folder to others; on exFAT and its like the mount says who may read, and only that."""
        found = self.folder.stat()
        if found.st_mode & 0o777 != 0o700:
            try:
                self.folder.chmod(0o700)
            except PermissionError:
                if found.st_uid != os.geteuid():
                    raise

    def _known_id(self) -> str:
        """Return this folder's random id, "" for none: two users of one engine must not share names."""
        path = self.folder / "id"
        if not path.exists():
            return ""
        version, _, name = path.read_text(errors="replace").strip().partition(" ")
        if version.isascii() and version.isdigit() and int(version[:9]) > VERSION:
            raise StateError(
                f"the state folder {self.folder} is of a newer pytest-multiarch",
                do="Upgrade this one, set XDG_STATE_HOME to another folder, or delete that one",
            )
        return name if version == str(VERSION) and re.fullmatch("[0-9a-f]{12}", name) else ""

    def _new_id(self) -> str:
        """Return a new id, the first or in place of one that can't be read: a power cut leaves such files."""
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
        return held(self.folder / f"{name}.lock", timeout)

    def users(self, name: str) -> Users:
        """Return those who use the thing called `name`."""
        return Users(self.folder / "users" / name)

    def run(self, uid: str) -> Run:
        """Return the run `uid`, which all its workers share."""
        return _run_in(self.folder, uid)

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
        for folder in children(self.folder / "runs"):
            run = Run(folder)
            sessions = run.sessions.others("")
            found += [f"{folder.name}.{session}" for session in sessions]
            if not sessions:
                run.remove()
        return found

    def claimed(self) -> set[str]:
        """Return what runs use: those that live, and dead ones that nobody forgot yet."""
        return {name for folder in children(self.folder / "runs") for name in Run(folder).claims()}

    def lives(self, label: str) -> bool:
        """Tell whether the session `run.session` lives."""
        run, _, session = label.rpartition(".")
        return bool(run and session) and self.run(run).sessions.alive(_file_name(session))


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

    def verdicts_of(self, platform: str, key: str) -> object:
        """Return what was noted under this very key for the image for a platform, None for nothing."""
        noted = self._read(_name("verdicts", platform))
        return noted[1] if isinstance(noted, list) and len(noted) == 2 and noted[0] == key else None

    def knows_verdicts(self, platform: str, key: str, verdicts: object) -> None:
        """Note what the checks said of the image for a platform, JSON-ready; what was noted before goes."""
        self._write(_name("verdicts", platform), [key, verdicts])

    def forget(self) -> None:
        """Forget the project."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self, name: str) -> object:
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self._folder / name).read_text())
        return None

    def _write(self, name: str, value: object) -> None:
        with usable(self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._folder / name, json.dumps(value))


def _name(what: str, platform: str) -> str:
    return f"{what}-{platform.replace('/', '-')}"


def forget(uid: str) -> None:
    """Forget the run `uid` if it left anything."""
    run = _run_in(_default_folder(), uid)
    if run.folder.exists():
        run.remove()


def _run_in(folder: Path, uid: str) -> Run:
    return Run(folder / "runs" / _file_name(uid))


def _file_name(name: str) -> str:
    """Return what a name is called in the folder: itself where that is no path, and fit for a label and a tag.

    It may be anything: xdist's `--testrunuid` is the user's, and a label or a variable anybody's.
    """
    if re.fullmatch(r"\w[\w.-]{0,63}", name, re.ASCII):
        return name
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]


def _default_folder() -> Path:
    import platformdirs  # 10 ms that a suite without containers does not owe

    with contextlib.suppress(RuntimeError):  # newer ones raise it; older ones leave the "~"
        folder = platformdirs.user_state_path("pytest-multiarch")
        if folder.is_absolute():
            return folder
    raise StateError("this user has no home folder", do="Set HOME, or XDG_STATE_HOME to a folder of your own")
