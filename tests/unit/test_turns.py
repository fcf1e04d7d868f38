"""Whose turn it is: one place for all threads of a process, so that none waits for another for ever."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_multiarch.errors import StateError
from pytest_multiarch.slots import Turns
from pytest_multiarch.state import State


@pytest.fixture
def process(tmp_path: Path) -> Callable[[], Turns]:
    """Return what makes the turns of one more process, of which one may run commands at a time."""
    state = State(tmp_path / "state")
    return lambda: Turns(lambda: state.run("run").place("commands", 1, 0.2))


def free(turns: Turns) -> bool:
    with contextlib.suppress(StateError), turns.take():
        return True
    return False


def test_one_process_has_the_only_place_until_its_last_command_ends(process: Callable[[], Turns]) -> None:
    mine, other = process(), process()
    with mine.take():
        with mine.take():
            assert not free(other)
        assert not free(other)
    assert free(other)
    assert free(mine)


def test_threads_of_one_process_do_not_wait_for_each_other(process: Callable[[], Turns]) -> None:
    turns, other = process(), process()
    served, asked = threading.Event(), threading.Event()

    def server() -> None:
        with turns.take():
            served.set()
            asked.wait(10)

    thread = threading.Thread(target=server)
    thread.start()
    assert served.wait(10)
    with turns.take():  # longer than the thread that took the place
        asked.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not free(other)
    assert free(other)


def test_a_turn_that_never_came_leaves_nothing_held(process: Callable[[], Turns]) -> None:
    mine, other = process(), process()
    with mine.take(), pytest.raises(StateError, match="none of the 1 places"):
        other.take().__enter__()
    assert free(other)


def test_a_command_that_fails_gives_its_turn_back(process: Callable[[], Turns]) -> None:
    mine = process()
    with contextlib.suppress(KeyError), mine.take():
        raise KeyError
    assert free(process())
