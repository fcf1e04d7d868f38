"""Which builder is used: one of another engine, one that doesn't answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import TestEngine
from sources import Opener

from pytest_multiarch import BuilderError, DeadlinePassed, EngineError, ImageSpec
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.process import Finished

MACHINE = "FROM alpine:3.22\nRUN uname -m >/machine\n"


@pytest.fixture
def spec(tmp_path: Path, containerd: TestEngine) -> ImageSpec:
    tmp_path.joinpath("Dockerfile").write_text(MACHINE)
    return ImageSpec(tmp_path, build_contexts=containerd.base_images)


@pytest.fixture
def elsewhere(containerd: TestEngine, classic: TestEngine) -> Iterator[str]:
    """Return the name of a context, and so of a builder, of another engine."""
    name = f"of-a-user-{containerd.state.id}"
    containerd.docker("context", "create", name, "--docker", f"host={classic.env['DOCKER_HOST']}")
    yield name
    containerd.docker("context", "rm", "--force", name)


def test_the_own_builder_of_another_engine_is_refused(opened: Opener, elsewhere: str, spec: ImageSpec) -> None:
    """It would load what it builds into that engine; buildx refuses it as a failed build."""
    session = opened(builder=elsewhere)
    with pytest.raises(BuilderError, match=rf"the builder '{elsewhere}' is the own one of another engine"):
        session.image(spec, "native")


@pytest.mark.parametrize("driver", ["auto", "docker-container"])
def test_a_session_builder_that_hangs_is_one_that_cannot_be_had(
    opened: Opener, state_of_its_own: TestEngine, buildkit_image: str, spec: ImageSpec, driver: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    call = Engine.call

    def hangs(engine: Engine, *args: str, **options: Any) -> Finished:
        if "--bootstrap" in args:
            raise DeadlinePassed("`docker buildx inspect` did not end in 60 seconds")
        return call(engine, *args, **options)

    monkeypatch.setattr(Engine, "call", hangs)
    session = opened(driver=driver, buildkit_image=buildkit_image)
    if driver == "auto":
        assert session.image(spec, "native").how == "built"
        assert "the session builder does not answer" in session.facts()["builder"][""]
    else:
        with pytest.raises(
            BuilderError, match=r"(?s)the session builder does not answer.*did not end in 60 seconds"
        ):
            session.image(spec, "native")


def test_a_context_that_is_not_there_is_no_missing_image(
    containerd: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "of-nobody")
    for ask in (lambda: Engine().inspect("image", "nothing"), lambda: Engine().info):
        with pytest.raises(EngineError, match="there is no Docker context 'of-nobody'"):
            ask()
