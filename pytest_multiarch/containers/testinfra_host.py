"""A container as a testinfra host: all of testinfra's modules, on our shell instead of a client per command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

if TYPE_CHECKING:
    from pytest_multiarch.containers.container import Container

__tracebackhide__ = True


class ContainerBackend(BaseBackend):  # type: ignore[misc] # untyped (pyproject.toml)
    """testinfra's view of one of our containers.

    A suite that asks for the connection's type hears what testinfra's own backend says: what holds for
    `docker exec` (a container's port 22 has no client that is testinfra itself) holds here.
    """

    NAME = "docker"

    def __init__(self, container: Container) -> None:
        super().__init__(f"{container.image.tag}@{container.platform}")
        self._container = container

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a command line in the container; a container that is dead raises, it is no `False`."""
        line = self.encode(self.get_command(command, *args))
        result = self._container.run(line.decode(errors="surrogateescape"))  # which it turns into these very bytes
        return self.result(result.returncode, line, result.stdout_bytes, result.stderr_bytes)

    def get_encoding(self) -> str:
        """Return the encoding of the image's locale; it is asked for once something isn't ASCII.

        testinfra asks Python, which few images have; POSIX's `locale` is wherever there are encodings to choose
        from (musl knows UTF-8 only). As for testinfra, ASCII means that nobody has chosen.
        """
        said = self._container.run("locale charmap")
        name = said.stdout.strip() if said.returncode == 0 else ""
        return "UTF-8" if name in ("", "ANSI_X3.4-1968") else name


def host_of(container: Container) -> Host:
    """Return testinfra's host for a container."""
    backend = ContainerBackend(container)
    host = Host(backend)
    backend.set_host(host)
    return host
