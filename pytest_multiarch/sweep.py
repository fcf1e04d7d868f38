"""What dead sessions left, and what is kept on purpose: found by our labels, never by a guess, and removed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_multiarch import process
from pytest_multiarch.builders.builder import is_idle, remove_if_idle
from pytest_multiarch.engine.client import CLIENT, OWNER, SESSION, Engine
from pytest_multiarch.errors import MultiarchError
from pytest_multiarch.state import Project, State

__tracebackhide__ = True

#: Seconds in which the engine ends what a client that was killed had asked of it: it may make a container yet.
SETTLING = 0.5

#: The programs that the client consists of: itself, and the plugin that it starts to build.
CLIENTS = ("docker", "docker-buildx")

#: The clean-up's program, without the current folder on sys.path: a `json.py` there would be imported instead of
#: Python's own (`-P` does the same from Python 3.11 on).
CLEAN_UP = f"import sys; sys.path[:] = filter(None, sys.path); from {__name__} import sweep_twice; sweep_twice()"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing of ours: a "container", a "builder", a "cache" (the builder's volume) or an "image"."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Orphans:
    """All that this user (this state folder) has at an engine.

    Containers and volumes bear our owner's id as a label. An image can't: a label would make it another image
    than the one that is published. Its tag is in a repository that has the owner's id in its name.
    """

    def __init__(self, engine: Engine, state: State) -> None:
        self._engine, self._state = engine, state

    def sweep(self) -> None:
        """Remove what dead sessions left, their docker clients first."""
        if self.end_clients():
            time.sleep(SETTLING)
        for left in self.dead():
            self.remove(left)

    def dead(self) -> Iterator[Leftover]:
        """Yield what dead sessions left: their containers, the builder when it has no user, passing images.

        And the images of projects whose folder is gone: each checkout of a CI server may be in a new one.
        """
        listed = self._engine.call(
            "ps", "--all", "--filter", f"label={OWNER}={self._state.id}",
            "--format", f'{{{{.Names}}}} {{{{.Label "{SESSION}"}}}}',
        ).text  # fmt: skip
        for line in listed.splitlines():
            name, _, session = line.partition(" ")
            if session and not self._state.lives(session):
                yield Leftover("container", name)
            elif not session and is_idle(self._state, name):
                yield Leftover("builder", name)
        yield from (Leftover("image", tag) for tag in self._tags() if not self._lives(tag))

    def kept(self) -> Iterator[Leftover]:
        """Yield what is kept on purpose: the builder's cache, and the last image of each project and platform."""
        listed = self._engine.call(
            "volume", "ls", "--filter", f"label={OWNER}={self._state.id}", "--format", "{{.Name}}"
        ).text
        yield from (Leftover("cache", name) for name in listed.split())
        for tag in self._tags():
            if self._lives(tag) and not self._engine.session_of(tag):
                yield Leftover("image", tag)

    def remove(self, left: Leftover) -> str:
        """Remove one thing; return what the engine said where it refused, "" where it is gone."""
        if left.kind == "builder":
            return remove_if_idle(self._engine, self._state, left.name)
        if left.kind == "container":
            return self._engine.remove(left.name)
        words = {"cache": ("volume", "rm", "--force"), "image": ("image", "rm")}[left.kind]
        finished = self._engine.call(*words, left.name, check=False)
        if left.kind == "image" and not self._project(left.name).lives:
            self._project(left.name).forget()
        return "" if finished.ok or re.search("no such", finished.complaint, re.I) else finished.complaint

    def end_clients(self) -> int:
        """Kill the docker clients that dead sessions left, and return their number.

        The death of pytest ends most of them by itself; one that builds, and has nothing to say, would go on.
        """
        ended = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                handle = os.pidfd_open(int(folder.name))  # from now on the number can't mean another process
                try:
                    environment, program = (folder / "environ").read_bytes(), os.readlink(folder / "exe")
                    if is_client(program) and self._is_orphan(environment):
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                        ended += 1
                finally:
                    os.close(handle)
        return ended

    def _is_orphan(self, environment: bytes) -> bool:
        mark = f"{CLIENT}={self._state.id}/".encode()
        said = next((word for word in environment.split(b"\0") if word.startswith(mark)), b"")
        return bool(said) and not self._state.lives(said[len(mark) :].decode(errors="replace"))

    def _lives(self, tag: str) -> bool:
        """Tell whether the session or the project that an image is there for still is.

        A folder that isn't there for us may be for others who share our state: in a container, on another mount.
        """
        passing = self._engine.session_of(tag)
        if passing:
            return self._state.lives(passing)
        return self._project(tag).lives or tag in self._state.claimed()

    def _project(self, tag: str) -> Project:
        return self._state.project(self._engine.project_of(tag))

    def _tags(self) -> list[str]:
        return self._engine.tags(f"{self._engine.repository}/*")


def is_client(program: str) -> bool:
    """Tell whether a process's program, as the kernel names it, is a docker client or its plugin.

    What a client starts inherits its mark, and may be meant to outlive it: `gpg-agent` behind a credential helper,
    the master connection of ssh that carries the user's other sessions (ssh_config(5), ControlPersist).
    """
    return Path(program.removesuffix(" (deleted)")).name in CLIENTS


def watchdog() -> process.Watchdog | None:
    """Start what sweeps as soon as this process has died; None where it can't be started."""
    with contextlib.suppress(OSError):
        return process.Watchdog([sys.executable, "-c", CLEAN_UP])
    return None


def sweep_twice() -> None:
    """Sweep twice: what a killed client had asked for may come after the first look."""
    with contextlib.suppress(MultiarchError):
        state = State()
        for _ in range(2):
            Orphans(Engine(state.id), state).sweep()
            time.sleep(SETTLING)
