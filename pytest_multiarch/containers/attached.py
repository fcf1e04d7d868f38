"""A `docker run` that we stay attached to: its last output, its end, and whether it still runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from pytest_multiarch import process

__tracebackhide__ = True

#: Bytes kept of what a container wrote last: it may write for hours.
KEPT = 1 << 20


class Attached:
    """The client of one running container; both of its streams are read all the time.

    Args:
        argv: the client's command line.
        env: variables to add for it.
        stdin: whether it gets a standard input that is held open and never written to.

    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], stdin: bool) -> None:
        self._process = process.start(argv, env=env, stdin=stdin)
        self._changed = threading.Condition()
        self._both = bytearray()
        self.stdout = bytearray()
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, kept), daemon=True)
            for pipe, kept in ((self._process.stdout, self.stdout), (self._process.stderr, None))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def running(self) -> bool:
        """Tell whether the client, and so the container, still runs."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Return the exit code of the container's program (125: the engine refused), None while it runs."""
        return self._process.poll()

    @property
    def text(self) -> str:
        """Return what was written last, both streams in the order of their coming."""
        with self._changed:
            return bytes(self._both).decode(errors="backslashreplace")

    def wait_for(self, condition: Callable[[], bool], timeout: float, every: float | None = None) -> bool:
        """Wait until `condition()` is true, and tell whether it is; give up when the client ends.

        Args:
            condition: asked whenever something was written or the client ended.
            timeout: seconds.
            every: seconds after which it is asked again in any case, for what shows in no output.

        """
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0 or not self.running:
                self._finish()
                return condition()
            with self._changed:
                self._changed.wait(min(left, every or 0.2))
        return True

    def hang_up(self) -> None:
        """Close the standard input that was held open: whoever reads it in the container comes to its end."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def ended(self, timeout: float) -> bool:
        """Wait for the client's end, at most `timeout` seconds, and tell whether it came."""
        if not process.ended(self._process, timeout):
            return False
        self._finish()
        return True

    def end(self) -> None:
        """End the client."""
        self.hang_up()
        process.end(self._process, grace=0)
        self._finish()

    def _finish(self) -> None:
        """Let the readers take the last words of a client that has ended."""
        if not self.running:
            for reader in self._readers:
                reader.join(1.0)

    def _read(self, pipe: IO[bytes], kept: bytearray | None) -> None:
        with pipe:
            for piece in iter(lambda: os.read(pipe.fileno(), 1 << 16), b""):
                with self._changed:
                    for data in (self._both, kept) if kept is not None else (self._both,):
                        data += piece
                        if len(data) > 2 * KEPT:
                            del data[:-KEPT]
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
