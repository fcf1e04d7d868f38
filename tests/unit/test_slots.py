"""One slot for all threads of a process, so that none waits for another for ever."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_multiarch.errors import StateError
from pytest_multiarch.slots import ProcessSlot
from pytest_multiarch.state import State


@pytest.fixture
def process(tmp_path: Path) -> Callable[[], ProcessSlot]:
    """Return what makes the slot of one more process, of which one may run commands at a time."""
    state = State(tmp_path / "state")
    return lambda: ProcessSlot(lambda: state.run("run").slot("commands", 1, 0.2))


def free(slot: ProcessSlot) -> bool:
    with contextlib.suppress(StateError), slot.take():
        return True
    return False


def test_one_process_has_the_only_slot_until_its_last_command_ends(process: Callable[[], ProcessSlot]) -> None:
    mine, other = process(), process()
    with mine.take():
        with mine.take():
            assert not free(other)
        assert not free(other)
    assert free(other)
    assert free(mine)


def test_threads_of_one_process_do_not_wait_for_each_other(process: Callable[[], ProcessSlot]) -> None:
    slot, other = process(), process()
    served, asked = threading.Event(), threading.Event()

    def server() -> None:
        with slot.take():
            served.set()
            asked.wait(10)

    thread = threading.Thread(target=server)
    thread.start()
    assert served.wait(10)
    with slot.take():  # longer than the thread that took the slot
        asked.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not free(other)
    assert free(other)


def test_a_slot_that_never_came_leaves_nothing_held(process: Callable[[], ProcessSlot]) -> None:
    mine, other = process(), process()
    with mine.take(), pytest.raises(StateError, match="none of the 1 slots"):
        other.take().__enter__()
    assert free(other)


def test_a_command_that_fails_gives_its_slot_back(process: Callable[[], ProcessSlot]) -> None:
    mine = process()
    with contextlib.suppress(KeyError), mine.take():
        raise KeyError
    assert free(process())
