"""A project that is run, hurt while it runs, and looked at afterwards: nothing may be left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from engines import TestEngine
from projects import words

from pytest_multiarch.engine.client import Engine
from pytest_multiarch.state import State

T = TypeVar("T")

#: Seconds in which everything must be gone, whatever happened (issue: nothing left behind).
#: It is a promise for a machine that isn't overloaded.
SOON = 10.0 * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))

#: The engine's own builder takes no time to boot.
QUICK = "--multiarch-driver=docker"

#: `SLOW=1` makes a build that says once that it runs, and then nothing for a long time.
DOCKERFILE = """\
FROM alpine:3.22
ARG SLOW=0
ARG TURN=0
RUN echo "turn $TURN, slow $SLOW, $(uname -m)"; [ $SLOW = 0 ] || sleep 120
CMD ["sleep", "300"]
"""

#: What a test says that has come as far as it is wanted.
CONFTEST = """
import os, pathlib, signal, time
import pytest
def mark(name): pathlib.Path(name).touch()
@pytest.fixture
def here(): return mark
"""


class Run:
    """One run of pytest in a process group of its own, its output in a file."""

    def __init__(self, argv: list[str], folder: Path, env: dict[str, str]) -> None:
        self._log = folder / f"log-{time.monotonic_ns()}"
        self.folder = folder
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def reach(self, name: str, timeout: float = 60) -> None:
        """Wait until a test made the mark `name`."""
        self.until(lambda: (self.folder / name).exists(), name, timeout)

    def until(self, find: Callable[[], T], what: str, timeout: float = 60) -> T:
        """Wait until `find` finds something, and return that very thing: asked again, it may be gone."""
        deadline = time.monotonic() + timeout
        while not (found := find()):
            assert self.process.poll() is None, f"it ended before: {what}\n{self.text}"
            assert time.monotonic() < deadline, f"never came: {what}\n{self.text}"
            time.sleep(0.02)
        return found

    def signal(self, number: int, *, everybody: bool = False) -> None:
        (os.killpg if everybody else os.kill)(self.process.pid, number)

    def end(self, timeout: float = 90) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL, everybody=True)
            pytest.fail(f"it did not end in {timeout} seconds:\n{self.text}")

    def outcomes(self) -> dict[str, int]:
        """Return the numbers of pytest's last line."""
        last = self.text.rstrip().rpartition("\n")[2]
        return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)s?\b", last)}


@dataclass(frozen=True)
class Ground:
    """A project on an engine, with a state folder that no other test uses."""

    path: Path
    engine: TestEngine
    buildkit: str

    @property
    def state(self) -> State:
        return self.engine.state

    @property
    def env(self) -> dict[str, str]:
        home = {"XDG_STATE_HOME": str(self.state.folder.parent)}
        return {**os.environ, **self.engine.env, **home, "PYTEST_ADDOPTS": "", "PY_COLORS": "0"}

    def file(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def tests(self, text: str) -> None:
        self.file("test_it.py", text)

    def start(self, *args: str, argv: tuple[str, ...] = (), **env: str | None) -> Run:
        """Start pytest in the project; a variable that is None is unset."""
        own = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:randomly"]
        base = [] if any("build-context" in arg for arg in args) else self.base
        command = [*argv, sys.executable, "-m", "pytest", *own, *base, *args]
        changed = {**self.env, **env}
        return Run(command, self.path, {key: value for key, value in changed.items() if value is not None})

    @property
    def base(self) -> list[str]:
        return [
            f"--multiarch-buildkit-image={self.buildkit}",
            *words("--multiarch-build-context", self.engine.base_images),
        ]

    def run(self, *args: str, **env: str | None) -> Run:
        run = self.start(*args, **env)
        run.end()
        return run

    def leavings(self) -> dict[str, object]:
        """Return what must not be there: by kind, only what there is."""
        instances = Path(self.env.get("DOCKER_CONFIG", Path.home() / ".docker"), "buildx", "instances")
        runs = self.state.folder / "runs"
        found: dict[str, object] = {
            "processes": self.processes(),
            "containers": self.engine.containers,
            "builders": {path.name for path in instances.glob("*") if path.name in self.engine.volumes},
            "living": State(self.state.folder).living(),
            "runs": {path.name for path in runs.glob("*")},
            "passing images": {tag for tag in self.engine.images() if Engine.session_of(tag)},
        }
        return {kind: things for kind, things in found.items() if things}

    def processes(self) -> dict[int, str]:
        """Return the processes that live with our state folder: runs, workers, clients, watchdogs."""
        mark, found = f"XDG_STATE_HOME={self.state.folder.parent}\0".encode(), {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
            except OSError:
                continue
        return found

    def settled(self, within: float = SOON) -> float:
        """Make sure that nothing is left soon; return the seconds that it took."""
        began = time.monotonic()
        while (left := self.leavings()) and time.monotonic() - began < within:
            time.sleep(0.1)
        assert left == {}, left
        return time.monotonic() - began


def make_ground(path: Path, engine: TestEngine, buildkit: str) -> Ground:
    ground = Ground(path, engine, buildkit)
    ground.file("Dockerfile", DOCKERFILE)
    ground.file("conftest.py", CONFTEST)
    ground.file("pytest.ini", "[pytest]\nmultiarch_checks = runs\n")
    return ground
