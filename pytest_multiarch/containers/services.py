"""Services: the image's own program, started as in production, ready when a test gets it, gone after the test."""

from __future__ import annotations

import re
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from pytest_multiarch.containers.container import Container
from pytest_multiarch.containers.launch import Launch
from pytest_multiarch.errors import ContainerDied, DeadlinePassed

__tracebackhide__ = True


class ContainerFactory:
    """Starts containers as production does, for one test: `start` as often as you like, the end is automatic."""

    def __init__(self, start: Callable[[Launch], Container]) -> None:
        self._start = start
        self._started: list[Container] = []

    def start(
        self,
        command: str | Sequence[str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        ports: Sequence[int] | Mapping[int, int | None] = (),
        ready: str | Callable[[Container], bool] | None = None,
        timeout: float = 60.0,
    ) -> Container:
        """Start the image's own program and return its container once it is ready.

        Args:
            command: replaces the image's CMD; the ENTRYPOINT stays.
            env: variables to set.
            ports: TCP ports of the container to publish: on free ports of 127.0.0.1, or, as a mapping, on these.
            ready: a regular expression that its log must match, or a function that must return true; if not
                given, every published port must take a connection.
            timeout: seconds until it must be ready.

        Raises:
            ContainerError: it can't be started, or a port is taken.
            ContainerDied: it ended before it was ready.
            DeadlinePassed: it wasn't ready in time.

        """
        words = shlex.split(command) if isinstance(command, str) else command
        published = dict(ports) if isinstance(ports, Mapping) else dict.fromkeys(ports)
        container = self._start(Launch(words, env, published, service=True))
        self._started.append(container)
        if not container.wait_for(lambda: _ready(container, ready, published), timeout):
            log = container.logs()[-2000:]
            if not container.alive:
                raise ContainerDied(
                    f"the service on {container.platform} ended before it was ready",
                    why=f"its exit code is {container.exit_code}",
                    evidence=log,
                )
            asked = "" if ready else ", ".join("{}:{}".format(*container.address(port)) for port in published)
            container.kill()
            raise DeadlinePassed(
                f"the service on {container.platform} was not ready in {timeout:g} seconds",
                why=f"not all of its ports take a connection at {asked}" if asked else "",
                do="Look at its log below; start(..., timeout=seconds) gives it more",
                evidence=log,
            )
        return container

    def end(self) -> None:
        """End what was started."""
        for container in self._started:
            container.kill()
        self._started.clear()


def _ready(
    container: Container, ready: str | Callable[[Container], bool] | None, ports: Mapping[int, int | None]
) -> bool:
    if callable(ready):
        return ready(container)
    if ready is not None:
        return re.search(ready, container.logs()) is not None
    return all(takes_connections(container.address(port)) for port in ports)


def takes_connections(address: tuple[str, int]) -> bool:
    """Tell whether a program, not only the engine's proxy, takes a connection.

    The proxy accepts before it knows whether anybody listens in the container, and hangs up if nobody does:
    so a connection that stays open, or says something, is one. How soon the proxy's word would be here depends on
    how far it is, which the connecting has shown.
    """
    began = time.monotonic()
    try:
        with socket.create_connection(address, timeout=2.0) as connection:
            connection.settimeout(0.1 + 3 * (time.monotonic() - began))
            return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return True
    except OSError:
        return False
