"""Sessions on real engines, in this process and by a project of their own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engines import TestEngine, contexts
from far import FarEngine
from projects import Project
from sources import DOCKERFILE, GETENT, SERVE, WITHOUT_SHELL, Opener, ini_for

from pytest_multiarch import ImageSpec
from pytest_multiarch.options import Settings
from pytest_multiarch.session import Session
from pytest_multiarch.state import State
from pytest_multiarch.suite import SUITE


@pytest.fixture(scope="session")
def settings(request: pytest.FixtureRequest) -> Settings:
    """Return settings with the engine's own builder, which takes no time to boot."""
    return request.config.stash[SUITE].settings._replace(driver="docker", timeout=20.0)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Dockerfiles."""
    folder = tmp_path_factory.mktemp("source")
    folder.joinpath("Dockerfile").write_text(DOCKERFILE)
    folder.joinpath("bare").write_text(WITHOUT_SHELL)
    folder.joinpath("serve").write_text(SERVE)
    folder.joinpath("getent").write_text(GETENT)
    return folder


@pytest.fixture(scope="session")
def spec(source: Path) -> ImageSpec:
    """Return the image that most of these tests use, on the machine's own engine."""
    return ImageSpec(source, build_contexts=contexts())


@pytest.fixture(scope="session")
def bare(source: Path) -> ImageSpec:
    """Return an image without a shell."""
    return ImageSpec(source, dockerfile=source / "bare", build_contexts=contexts())


@pytest.fixture(scope="session")
def session(containerd: TestEngine, settings: Settings, source: Path) -> Iterator[Session]:
    """Return a session on the machine's own engine that many tests share."""
    root = source / f"t{uuid.uuid4().hex[:8]}"
    root.mkdir()
    made = Session(settings, root, uuid.uuid4().hex)
    yield made
    made.close()
    assert containerd.left == set()


@pytest.fixture
def opened(settings: Settings, tmp_path: Path) -> Iterator[Opener]:
    """Return what opens a session with changed settings; all of them end with the test."""
    made: list[Session] = []

    def open_one(**changes: Any) -> Session:
        made.append(Session(settings._replace(**changes), tmp_path, uuid.uuid4().hex))
        return made[-1]

    yield open_one
    for session in made:
        session.close()


@pytest.fixture
def at(engine: TestEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestEngine]:
    """Return the engine of each image store in turn, which this process then talks to."""
    for name, value in engine.env.items():
        monkeypatch.setenv(name, value)
    before = engine.left  # of the session that many tests share
    yield engine
    assert engine.left <= before


@pytest.fixture
def far_engine(containerd: TestEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarEngine]:
    """Return the machine's own engine behind an address of another machine, which this process then talks to."""
    far = FarEngine("127.0.0.2")
    monkeypatch.setenv("DOCKER_HOST", far.address)
    yield far
    far.close()


@pytest.fixture(scope="session")
def booted(settings: Settings, buildkit_image: str, source: Path) -> Iterator[Callable[[TestEngine], None]]:
    """Return what boots the session builder of an engine for all these tests, which then share it."""
    kept: dict[str, tuple[TestEngine, Session]] = {}
    wanted = settings._replace(driver="docker-container", buildkit_image=buildkit_image)

    def boot(engine: TestEngine) -> None:
        if engine.store not in kept:
            kept[engine.store] = (engine, Session(wanted, source, uuid.uuid4().hex))
            kept[engine.store][1].builder()

    yield boot
    for engine, session in kept.values():
        with pytest.MonkeyPatch.context() as patch:
            for name, value in engine.env.items():
                patch.setenv(name, value)
            session.close()


@pytest.fixture
def state_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, containerd: TestEngine
) -> Iterator[TestEngine]:
    """Return the machine's own engine, for sessions that share their builder with no other test."""
    folder = tmp_path / "state-of-its-own"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    made = replace(containerd, state=State(folder / "pytest-multiarch"))
    yield made
    made.clean()


@pytest.fixture
def image_project(project: Project, containerd: TestEngine) -> Iterator[Project]:
    """Return a project with a Dockerfile, on the engine's own builder of the machine's own engine."""
    project.file("Dockerfile", DOCKERFILE)
    project.file("serve", SERVE)
    project.file("getent", GETENT)
    project.ini(ini_for(contexts(), multiarch_driver="docker"))
    before = containerd.left
    yield project
    assert containerd.left <= before
