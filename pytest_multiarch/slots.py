"""A process's slot among those that emulated commands have in all workers together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__tracebackhide__ = True


class ProcessSlot:
    """One slot of this process, held while any of its commands runs.

    A slot for each command would be a trap: of a server and the client that asks it, each in a thread of one
    test, the second might wait for ever. Tests of different workers don't wait for each other.

    Args:
        slot: takes a slot, and waits for one that is free.

    """

    def __init__(self, slot: Callable[[], AbstractContextManager[None]]) -> None:
        self._slot = slot
        self._guard = threading.Lock()
        self._inside = 0
        self._held = ExitStack()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the process's slot for one command."""
        with self._guard:  # who comes while the first still waits would wait for the same slot
            if not self._inside:
                self._held.enter_context(self._slot())
            self._inside += 1
        try:
            yield
        finally:
            with self._guard:
                self._inside -= 1
                if not self._inside:
                    self._held.close()
