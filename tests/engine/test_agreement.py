"""The question and the load give one image the same digest, by the BuildKit that is pinned and by an older one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engines import TestEngine, contexts, said_by_setup
from sources import Opener

from pytest_multiarch import ImageSpec
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.process import Finished
from pytest_multiarch.state import State


@pytest.fixture(params=["buildkit-image", "oldest-buildkit-image"])
def opener(
    request: pytest.FixtureRequest, at: TestEngine, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opener]:
    """Return what opens a session on a builder of its own, of one release of BuildKit."""
    image = said_by_setup(request.param)
    if not image:
        pytest.skip(f"set-up made no image that stands in for {request.param}")
    folder = tmp_path / "state-of-its-own"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    yield partial(opened, driver="docker-container", buildkit_image=image)
    replace(at, state=State(folder / "pytest-multiarch")).clean()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return the calls of buildx that build, from now on: whether each loads."""
    seen: list[bool] = []
    call = Engine.call

    def spy(engine: Engine, *args: str, **options: Any) -> Finished:
        if args[0] == "buildx" and args[1] in ("build", "bake"):
            seen.append(any(word.startswith("type=docker") for word in args))
        return call(engine, *args, **options)

    monkeypatch.setattr(Engine, "call", spy)
    return seen


@pytest.mark.parametrize("names", [("native",), ("native", "linux/arm64")])
def test_what_is_unchanged_is_loaded_once(
    opener: Opener, tmp_path: Path, names: tuple[str, ...], loads: list[bool]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nRUN uname -m >/machine\nCOPY Dockerfile /copy\n")
    spec = ImageSpec(folder, build_contexts=contexts())
    first = opener()
    ids = [first.image(spec, name).id for name in names]
    assert loads == [True] * len(names)
    loads.clear()
    second = opener()
    second.start_builds([(spec, name) for name in names])
    again = [second.image(spec, name) for name in names]
    assert [image.id for image in again] == ids
    assert {image.how for image in again} == {"unchanged"}
    assert loads == [False]
