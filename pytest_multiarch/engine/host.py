"""A container as a testinfra host: all of testinfra's modules, on our shell instead of a client per command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

if TYPE_CHECKING:
    from pytest_multiarch.engine.containers import Container

__tracebackhide__ = True


class ContainerBackend(BaseBackend):  # type: ignore[misc] # untyped (pyproject.toml)
    """testinfra's view of one of our containers."""

    NAME = "multiarch"

    def __init__(self, container: Container) -> None:
        super().__init__(f"{container.image.tag}@{container.platform}")
        self._container = container

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a command line in the container; a container that is dead raises, it is no `False`."""
        line = self.get_command(command, *args)
        result = self._container.run(line)
        return self.result(result.returncode, self.encode(line), result.stdout_bytes, result.stderr_bytes)

    def get_encoding(self) -> str:
        """Return UTF-8: asking the image for a Python, as testinfra does, costs and proves little."""
        return "UTF-8"


def host_of(container: Container) -> Host:
    """Return testinfra's host for a container."""
    backend = ContainerBackend(container)
    host = Host(backend)
    backend.set_host(host)
    return host
