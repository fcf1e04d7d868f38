"""The chain of fixtures: all derive from one private one, parametrised by image and platform."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_multiarch.errors import SettingsError
from pytest_multiarch.suite import SUITE

if TYPE_CHECKING:
    from pytest_multiarch.builders.builder import Builder
    from pytest_multiarch.containers.container import Container
    from pytest_multiarch.containers.services import ContainerFactory
    from pytest_multiarch.emulators.emulators import Emulator
    from pytest_multiarch.images.stored import Image
    from pytest_multiarch.platforms import Platform
    from pytest_multiarch.session import Session, Target

__tracebackhide__ = True


@pytest.fixture(scope="session")
def _multiarch_target(request: pytest.FixtureRequest) -> Target:
    """Return the image and the platform's name that a test was parametrised with.

    Private, and the one that is parametrised: a parameter on a public name would break suites with a
    `platform` of their own.
    """
    if not hasattr(request, "param"):
        raise SettingsError(
            "a container's platform is known only to a test function that names the fixture as an argument",
            do="Request it as an argument, not by getfixturevalue() or in a unittest.TestCase",
        )
    target: Target = request.param
    return target


@pytest.fixture(scope="session")
def _multiarch_session(request: pytest.FixtureRequest) -> Session:
    return request.config.stash[SUITE].session


@pytest.fixture(scope="session")
def multiarch_builder(_multiarch_session: Session) -> Builder:
    """Return the builder of this run (`name`, `apart`, `why`)."""
    return _multiarch_session.builder()


@pytest.fixture(scope="session")
def multiarch_emulator(_multiarch_session: Session, _multiarch_target: Target) -> Emulator:
    """Return how the test's platform runs here (`version`, None natively; `cpu`; `notes`)."""
    return _multiarch_session.emulator(_multiarch_target[1])


@pytest.fixture(scope="session")
def multiarch_image(_multiarch_session: Session, _multiarch_target: Target) -> Image:
    """Return the image under test for the test's platform (`id`, `tag`, `platform`)."""
    return _multiarch_session.image(*_multiarch_target)


@pytest.fixture(scope="session")
def platform(multiarch_emulator: Emulator) -> Platform:
    """Return the platform that the test runs for; `machines` is what `uname -m` may say there."""
    return multiarch_emulator.platform


@pytest.fixture(scope="session")
def container(
    request: pytest.FixtureRequest,
    _multiarch_session: Session,
    _multiarch_target: Target,
    multiarch_image: Image,
) -> Iterator[Container]:
    """Return a running container of the image under test, shared by all tests of one platform."""
    yield _multiarch_session.container(*_multiarch_target)
    request.config.stash[SUITE].release(_multiarch_target)


@pytest.fixture
def fresh_container(
    _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> Iterator[Container]:
    """Start a container of the image under test that this test has for itself."""
    made = _multiarch_session.fresh_container(*_multiarch_target)
    yield made
    made.kill()


@pytest.fixture
def container_factory(
    _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> Iterator[ContainerFactory]:
    """Return what starts the image's own program, as often as the test likes; all of it ends with the test."""
    factory = _multiarch_session.factory(*_multiarch_target)
    yield factory
    factory.end()
