"""The audit's one act: an image's file system, streamed from the engine without starting anything."""

from __future__ import annotations

import contextlib
import fcntl
import io
import subprocess
from collections.abc import Iterator
from typing import Protocol

from pytest_multiarch import process
from pytest_multiarch.audit import tree
from pytest_multiarch.audit.tar import TarError
from pytest_multiarch.audit.tree import Tree
from pytest_multiarch.errors import EngineError
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Seconds for one image: the engine hands out 100 MB in one.
PATIENCE = 900.0

#: Bytes read from the client at once, and in the pipe from it.
_BUFFER = 1 << 20


class Engine(Protocol):
    """What is asked of `engine.client.Engine`, which is in a later layer."""

    @property
    def command(self) -> list[str]:
        """Return the client's command line up to the subcommand."""

    @property
    def labels(self) -> list[str]:
        """Return the words that label what is made."""

    def call(self, *args: str, timeout: float = ..., check: bool = ...) -> process.Finished:
        """Run the client with `args` and return what it left."""

    def remove(self, container: str) -> str:
        """Remove a container."""


def read_image(engine: Engine, image: str, platform: Platform | None = None, timeout: float = PATIENCE) -> Tree:
    """Return the file system of an image that the engine holds; what is under a VOLUME is the image's own.

    Args:
        engine: who holds it.
        image: its id or name.
        platform: which one of an image of several; None: the engine chooses.
        timeout: seconds for all of it.

    Raises:
        EngineError: there is no such image, or the export broke off.
        DeadlinePassed: the time was up.

    """
    with _container(engine, image, platform) as container:
        export = [*engine.command, "export", container]
        with process.streaming(
            export, timeout=timeout, late="the engine did not hand out the image's files"
        ) as client:
            return _read(client)


@contextlib.contextmanager
def _container(engine: Engine, image: str, platform: Platform | None) -> Iterator[str]:
    """Create a container that is never started; the command is for images that have none."""
    choice = [f"--platform={platform}"] if platform else []
    made = engine.call("create", "--pull=never", *choice, *engine.labels, "--network=none", image, "x")
    container = made.text.splitlines()[-1]
    try:
        yield container
    finally:
        engine.remove(container)


def _read(client: subprocess.Popen[bytes]) -> Tree:
    if client.stdout is None or client.stderr is None:
        raise AssertionError("processes are started with pipes")
    with contextlib.suppress(AttributeError, OSError):  # Linux's, within the user's share
        fcntl.fcntl(client.stdout, fcntl.F_SETPIPE_SZ, _BUFFER)
    with io.BufferedReader(io.FileIO(client.stdout.fileno(), closefd=False), _BUFFER) as stream:
        try:
            found = tree.read(stream)
            while stream.read(_BUFFER):  # zeros behind the mark of the end: the client is to end by itself
                pass
        except TarError as error:
            process.end(client, grace=0)
            said = client.stderr.read().decode(errors="backslashreplace")
            raise EngineError("`docker export` broke off", why=error.why or error.what, evidence=said) from None
    if client.wait():
        said = client.stderr.read().decode(errors="backslashreplace")
        raise EngineError("`docker export` failed", evidence=said)
    return found
