"""Deadlines, groups and limits, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_multiarch import process
from pytest_multiarch.errors import DeadlinePassed, OutputTooLarge


def test_keeps_both_streams_and_the_code() -> None:
    done = process.run(["sh", "-c", "printf out; printf err >&2; exit 7"], timeout=10)
    assert (done.returncode, done.stdout, done.stderr, done.ok) == (7, b"out", b"err", False)


def test_feeds_standard_input_even_when_it_is_larger_than_a_pipe() -> None:
    data = os.urandom(1 << 20)
    assert process.run(["cat"], timeout=10, input=data).stdout == data


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert process.run(["true"], timeout=10, input=b"x" * (1 << 20)).ok


def test_ends_the_whole_group_at_the_deadline(tmp_path: Path) -> None:
    script = f"(sleep 60 & echo $! > {tmp_path}/grandchild; wait); true"
    began = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"did not end in 0\.3 seconds"):
        process.run(["sh", "-c", script], timeout=0.3)
    assert time.monotonic() - began < 5
    assert _ends(int((tmp_path / "grandchild").read_text()))


@pytest.mark.parametrize("start", ["sleep 60 &", "setsid sleep 60 &"], ids=["in its group", "a daemon"])
def test_a_grandchild_that_holds_a_stream_costs_no_deadline(start: str, tmp_path: Path) -> None:
    began = time.monotonic()
    script = f"{start} echo $! >{tmp_path}/grandchild; echo out; exit 3"
    done = process.run(["sh", "-c", script], timeout=60)
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert time.monotonic() - began < 10
    grandchild = int((tmp_path / "grandchild").read_text())
    if "setsid" in start:  # as with a master of ssh's, which serves others as well
        assert _alive(grandchild)
        os.kill(grandchild, signal.SIGKILL)
    assert _ends(grandchild)


def test_the_end_is_heard_at_once() -> None:
    began = time.monotonic()
    for _ in range(20):
        started = process.start(["sleep", "0.01"])
        assert process.ended(started, 10)
        started.communicate()
        process.end(started)
    assert time.monotonic() - began < 20 * 0.04 + 1


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(DeadlinePassed):
        process.run(["sh", "-c", "trap '' TERM; while :; do :; done"], timeout=0.3)
    assert time.monotonic() - began < process.GRACE + 5


def test_an_endless_writer_meets_the_limit() -> None:
    with pytest.raises(OutputTooLarge):
        process.run(["yes"], timeout=30, limit=100_000)


def test_a_line_can_end_it() -> None:
    seen: list[bytes] = []

    def is_b(line: bytes) -> bool:
        seen.append(line)
        return line == b"b\n"

    writes = "trap 'echo c >&2; exit 7' TERM; echo a >&2; echo b >&2; while :; do :; done"
    finished = process.run(["sh", "-c", writes], timeout=10, until=is_b)
    assert (finished.returncode, finished.stderr, seen) == (7, b"a\nb\nc\n", [b"a\n", b"b\n"])


def test_end_all_leaves_nothing() -> None:
    started = process.start([sys.executable, "-c", "import time; time.sleep(60)"])
    process.end_all()
    started.communicate()
    assert started.returncode == -15


DIES = """
import os, signal, sys
from pytest_multiarch.process import Watchdog
watchdog = Watchdog(["sh", "-c", "echo inherited >$0", sys.argv[1]])
{end}
"""


@pytest.mark.parametrize(
    ("end", "inherits"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", True),
        ("os._exit(1)", True),
        ("raise SystemExit(1)", True),
        ("os.killpg(0, signal.SIGKILL)", True),
        ("watchdog.cancel()", False),
        ("watchdog.cancel(); os._exit(1)", False),
    ],
)
def test_a_watchdog_acts_after_any_death_that_was_not_announced(tmp_path: Path, end: str, inherits: bool) -> None:
    will = tmp_path / "will"
    subprocess.run(
        [sys.executable, "-c", DIES.format(end=end), will], start_new_session=True, timeout=20, check=False
    )
    until = time.monotonic() + (5 if inherits else 0.5)
    while not will.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert will.exists() == inherits


def test_end_all_does_not_wait_for_one_after_the_other() -> None:
    slow = ["sh", "-c", "trap 'sleep 0.5; exit' TERM; echo up; while :; do sleep 0.01; done"]
    started = [process.start(slow) for _ in range(4)]
    for each in started:
        assert each.stdout is not None
        each.stdout.readline()
    began = time.monotonic()
    process.end_all()
    assert time.monotonic() - began < 1.5
    for each in started:
        each.communicate()


def _ends(pid: int) -> bool:
    """Tell whether a process ends soon: SIGKILL is heard when its next turn comes."""
    deadline = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
