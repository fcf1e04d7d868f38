"""What all tests share: engines, base images, pytest projects, and a look at what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from engines import TestEngine, said_by_setup
from hypothesis import settings
from projects import Project

from pytest_multiarch.state import State

pytest_plugins = ["pytester"]

# How long one example takes is the machine's affair: emulated builds keep both cores busy beside it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# What a shell has in the background (`./tests/run &`) ignores Ctrl-C; what these tests interrupt must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: The ways that a suite is run: behaviour must not depend on them.
MODES: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "two-workers": ("-n", "2"),
    "without-xdist": ("-p", "no:xdist"),
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of one way to run a suite."""
    return MODES[request.param]


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """Give these tests a state folder: what they make is then theirs by its label, whoever else uses the engine.

    The client's settings stay the user's, although pytester gives its projects another HOME.
    """
    folder = tmp_path_factory.getbasetemp() / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.setenv("DOCKER_CONFIG", os.environ.get("DOCKER_CONFIG", str(Path.home() / ".docker")))
        yield State(folder / "pytest-multiarch")


def no_engine(why: str) -> None:
    """Skip loudly, or fail where a missing engine is a fault."""
    if os.environ.get("CI"):
        pytest.fail(f"{why}; .ci/setup --tests provides it", pytrace=False)
    pytest.skip(f"{why}; .ci/setup --tests provides it")


@pytest.fixture(scope="session")
def containerd(state: State) -> Iterator[TestEngine]:
    """Return the machine's own engine."""
    yield from _engine("", state)


@pytest.fixture(scope="session")
def classic(state: State) -> Iterator[TestEngine]:
    """Return the engine that set-up started beside it, with the classic image store."""
    address = said_by_setup("engine-classic")
    if not address:
        no_engine("there is no second engine")
    yield from _engine(address, state)


@pytest.fixture(scope="session", params=["containerd", "classic"])
def engine(request: pytest.FixtureRequest) -> TestEngine:
    """Return the engine of each image store in turn."""
    found: TestEngine = request.getfixturevalue(request.param)
    return found


def _engine(address: str, state: State) -> Iterator[TestEngine]:
    env = {"DOCKER_HOST": address} if address else {}
    asked = ["docker", "info", "--format", "{{.DriverStatus}}"]
    try:
        done = subprocess.run(
            asked, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        no_engine("there is no docker client")
    if done.returncode:
        no_engine(f"no engine answers at {address or 'the default address'}")
    made = TestEngine("containerd" if "io.containerd.snapshotter" in done.stdout else "classic", env, state)
    yield made
    made.clean()


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    """Return an empty project."""
    return Project(pytester)


@pytest.fixture
def told_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Put a `docker` on PATH that leaves a mark and fails; return what tells that nobody called it."""
    mark = tmp_path / "called"
    folder = tmp_path / "bin"
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{mark}\nexit 1\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return lambda: not mark.exists() and not (tmp_path / "state").exists()


@pytest.fixture(scope="session")
def buildkit_image() -> str:
    """Return the image for the session builder: the one that set-up made, or the one that can be pulled."""
    from pytest_multiarch.pins import BUILDKIT_IMAGE

    return said_by_setup("buildkit-image") or BUILDKIT_IMAGE
