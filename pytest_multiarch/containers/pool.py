"""The containers that all tests of an image and platform share: started once, renewed when dead."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from pytest_multiarch.containers.container import Container
from pytest_multiarch.emulators.emulators import Emulator
from pytest_multiarch.errors import MultiarchError
from pytest_multiarch.images.stored import Image

__tracebackhide__ = True

Key = tuple[str, str]


class SharedContainers:
    """One running container for each image and platform; several threads may ask for several at once.

    Args:
        start: starts one, with a shell.

    """

    def __init__(self, start: Callable[[Image, Emulator], Container]) -> None:
        self._start = start
        self._running: dict[Key, Container] = {}
        self._ending: list[Container] = []
        self._starting: dict[Key, threading.Lock] = {}
        self._guard = threading.Lock()

    def get(self, image: Image, emulator: Emulator) -> Container:
        """Return the container of an image and platform, started by whoever asks first."""
        key = _key(image, emulator)
        with self._guard:
            starting = self._starting.setdefault(key, threading.Lock())
        with starting:
            if key not in self._running:
                self._running[key] = self._start(image, emulator)
            return self._running[key]

    def renew_dead(self) -> None:
        """Start those that died anew: called between two tests."""
        for container in list(self._running.values()):
            with contextlib.suppress(MultiarchError):  # the next command in it says why
                container.renew()

    def release(self, image: Image, emulator: Emulator) -> None:
        """Let go of one that is not needed any more: it ends while other tests run."""
        container = self._running.pop(_key(image, emulator), None)
        if container:
            container.hang_up()
            self._ending.append(container)

    def end(self) -> None:
        """End all of them, whatever cuts this short, and return when the engine has removed them."""
        containers = [*self._ending, *self._running.values()]
        self._ending.clear()
        self._running.clear()
        with contextlib.ExitStack() as steps:
            for container in containers:
                container.hang_up()
                steps.callback(_killed, container)


def _key(image: Image, emulator: Emulator) -> Key:
    return image.id, str(emulator.platform)


def _killed(container: Container) -> None:
    with contextlib.suppress(MultiarchError):  # the next session's sweep does it again
        container.kill()
