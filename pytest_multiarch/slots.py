"""Whose turn it is where there are more workers than emulators should run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

__tracebackhide__ = True


class Turns:
    """One process's turns: it holds a single place among all workers' while any of its commands runs.

    A place for each command would be a trap: of a server and the client that asks it, each in a thread of one
    test, the second might wait for ever. Tests of different workers don't wait for each other.

    Args:
        place: takes a place, and waits for one that is free.

    """

    def __init__(self, place: Callable[[], AbstractContextManager[None]]) -> None:
        self._place = place
        self._guard = threading.Lock()
        self._inside = 0
        self._held = ExitStack()

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the process's place for one command."""
        with self._guard:  # who comes while the first still waits would wait for the same place
            if not self._inside:
                self._held.enter_context(self._place())
            self._inside += 1
        try:
            yield
        finally:
            with self._guard:
                self._inside -= 1
                if not self._inside:
                    self._held.close()
