"""Paths and fields that a build is given, as buildx reads them: commas, secrets by a name alone, caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engines import TestEngine, contexts
from sources import Opener

from pytest_multiarch import BuildError, ImageSpec
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.process import Finished

TAKES_A_WORD = "FROM alpine:3.22\nRUN --mount=type=secret,id=word cat /run/secrets/word >/word\n"
TWO = ("native", "linux/arm64")


@pytest.fixture
def opener(at: TestEngine, booted: Callable[[TestEngine], None], buildkit_image: str, opened: Opener) -> Opener:
    """Return what opens a session on the session builder."""
    booted(at)
    return partial(opened, driver="docker-container", buildkit_image=buildkit_image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a comma in its name."""
    made = tmp_path / 'a,"b"'
    made.mkdir()
    return made


def test_a_folder_with_a_comma_is_no_end_of_a_field(opener: Opener, folder: Path) -> None:
    folder.joinpath("Dockerfile").write_text(TAKES_A_WORD)
    folder.joinpath("password").write_text("sesame\n")
    spec = ImageSpec(
        ".",
        build_contexts=contexts(),
        secrets=["id=word,src=password"],
        cache_to=["type=local,dest=cache,mode=max"],
    ).at(folder)
    session = opener()
    assert session.container(spec, "native").run("cat /word").stdout == "sesame\n"
    assert (folder / "cache/index.json").is_file()
    session.close()
    again = ImageSpec(
        ".", build_contexts=contexts(), secrets=spec.secrets, cache_from=["type=local,src=cache"]
    ).at(folder)
    for _ in range(2):  # the second time, one question for both
        session = opener()
        session.start_builds([(again, name) for name in TWO])
        images = [session.image(again, name) for name in TWO]
        session.close()
    assert {image.how for image in images} == {"unchanged"}


def test_a_cache_holds_every_platform_and_is_exported_once_for_each(
    opener: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nRUN uname -m >/machine\n")
    spec = ImageSpec(".", build_contexts=contexts(), cache_to=["type=local,dest=cache/{platform},mode=max"]).at(
        folder
    )
    exports: list[bool] = []
    call = Engine.call

    def spy(engine: Engine, *args: str, **options: Any) -> Finished:
        if args[:2] == ("buildx", "build"):
            exports.append("--cache-to" in args)
        return call(engine, *args, **options)

    monkeypatch.setattr(Engine, "call", spy)
    session = opener()
    for name in TWO:
        session.image(spec, name)
    session.close()
    assert sorted(path.parent.name for path in folder.glob("cache/*/index.json")) == ["linux-amd64", "linux-arm64"]
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nRUN uname -m >/changed\n")
    exports.clear()
    session = opener()
    for name in TWO:
        assert session.image(spec, name).how == "built"
    assert exports == [False, True] * 2  # asked first, for the engine held one: what asks exports nothing


@pytest.mark.parametrize("named", ["variable", "file", "typed"])
def test_a_secret_that_is_named_alone_is_given_and_masked(
    opener: Opener, folder: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {"variable": "id=MULTIARCH_WORD", "file": "id=word", "typed": "type=env,id=word,src=MULTIARCH_WORD"}
    name = "MULTIARCH_WORD" if named == "variable" else "word"
    monkeypatch.chdir(folder)
    if named == "file":
        folder.joinpath("word").write_text("open-sesame\n")
    else:
        monkeypatch.setenv("MULTIARCH_WORD", "open-sesame")
    folder.joinpath("Dockerfile").write_text(
        f"FROM alpine:3.22\nRUN --mount=type=secret,id={name},required=true"
        f" echo said: && cat /run/secrets/{name} && exit 3\n"
    )
    spec = ImageSpec(".", build_contexts=contexts(), secrets=[secret[named]]).at(folder)
    with pytest.raises(BuildError, match=r"said:") as caught:
        opener().image(spec, "native")
    assert "***" in str(caught.value)
    assert "open-sesame" not in str(caught.value)
