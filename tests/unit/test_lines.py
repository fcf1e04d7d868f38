"""The lines of header and summary, from values."""

from __future__ import annotations

import pytest

from pytest_multiarch import ImageSpec
from pytest_multiarch.options import Settings
from pytest_multiarch.report import lines
from pytest_multiarch.suite import SUITE


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    found = request.config.stash[SUITE].settings
    return found._replace(image=ImageSpec("/src"), platforms=("linux/arm64", "native"), source="--platforms")


def test_the_header_says_what_was_asked_for_and_by_whom(settings: Settings) -> None:
    assert lines.header(settings) == "multiarch: linux/arm64, native (--platforms); image: /src/Dockerfile"


def test_the_header_of_a_published_image(settings: Settings) -> None:
    published = settings._replace(image=ImageSpec(reference="host/a:1"), platforms=(), source="")
    assert lines.header(published) == "multiarch: native; image: host/a:1"


def test_the_summary_names_each_fact() -> None:
    facts = {"engine": {"": "Docker 28"}, "emulators": {"linux/arm64": "QEMU"}, "builder": {}}
    assert lines.summary(facts) == ["engine: Docker 28", "linux/arm64: QEMU"]
    assert lines.summary({}) == []


def test_the_header_shows_no_password(settings: Settings) -> None:
    secret = settings._replace(image=ImageSpec("https://bob:hunter2@git.example/app.git"))
    assert "hunter2" not in lines.header(secret)
