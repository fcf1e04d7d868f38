"""The zoo's fixtures: every image built once per image store, the checks run over all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import own_registry
import programs
import pytest
import runs
from cases import CASES
from engines import TestEngine
from own_registry import Registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Return an empty registry of these tests' own."""
    programs.need("docker-registry", "docker-registry")
    with own_registry.started(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Return a program that says hi for each platform, by "linux/" and its name."""
    folder = tmp_path_factory.mktemp("hello")
    return {f"linux/{name}": programs.static(folder / name, name).read_bytes() for name in programs.TARGETS}


@pytest.fixture(scope="session")
def zoo(
    engine: TestEngine, registry: Registry, hello: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, runs.Run]:
    """Return what the checks say of every image of the table, on one image store, by the way they were run."""
    for tag, platform in (("only-arm-v7", "linux/arm/v7"), ("only-386", "linux/386"), ("arm64", "linux/arm64")):
        registry.index("base", tag, [registry.image("base", {"start": hello[platform]}, platform)])
    folder = tmp_path_factory.mktemp(f"zoo-{engine.store}") / f"zoo-{engine.store}"
    runs.lay_out(folder, CASES, engine.base_images, registry.address)
    runs.ini(folder)
    words = runs.options(runs.platforms(CASES), *runs.nodes(CASES))
    return {way: runs.run(folder, engine, *options, *words) for way, options in runs.WAYS.items()}
