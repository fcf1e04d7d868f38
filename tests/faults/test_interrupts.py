"""Interrupts, limits and crashes: containers and builder gone, locks free, within ten seconds."""

from __future__ import annotations

import os
import pty
import signal
import termios
import time

import pytest
from grounds import QUICK, SOON, Ground

BUSY = """
import time
def test_busy(container, container_factory, here):
    service = container_factory.start()
    here("busy")
    container.run("sleep 300", timeout=400)
"""

#: One signal or more, whom they reach (pytest, or its whole group as by Ctrl-C), and how pytest is run.
INTERRUPTS = {
    "int": ((signal.SIGINT,), False, ()),
    "int-twice": ((signal.SIGINT, signal.SIGINT), False, ()),
    "term": ((signal.SIGTERM,), False, ()),
    "int-workers": ((signal.SIGINT,), True, ("-n2",)),
    "term-controller": ((signal.SIGTERM,), False, ("-n2",)),
}


@pytest.mark.parametrize("name", INTERRUPTS)
def test_an_interrupt_in_a_test_leaves_nothing(ground: Ground, name: str) -> None:
    signals, everybody, how = INTERRUPTS[name]
    ground.tests(BUSY)
    run = ground.start("--platforms=native", "test_it.py", *how)
    run.reach("busy")
    began = time.monotonic()
    for number in signals:
        run.signal(number, everybody=everybody)
        time.sleep(0.1)
    code = run.end(SOON)
    ground.settled(SOON - (time.monotonic() - began))
    if len(signals) == 1:
        assert code == 2, run.text
        assert ("Terminated" in run.text) == (signals[0] is signal.SIGTERM)
        assert "INTERNALERROR" not in run.text


@pytest.mark.parametrize(("number", "how"), [(signal.SIGINT, ()), (signal.SIGTERM, ("-n2",))])
def test_an_interrupt_in_a_build_leaves_nothing(ground: Ground, number: int, how: tuple[str, ...]) -> None:
    ground.tests("def test_a(container): pass")
    slow = f"--multiarch-build-arg=SLOW={time.time()}"
    run = ground.start("--platforms=native", "test_it.py", slow, *how)
    run.until(lambda: builds(ground), "the build")
    began = time.monotonic()
    run.signal(number)
    assert run.end(SOON) == 2, run.text
    ground.settled(SOON - (time.monotonic() - began))


def builds(ground: Ground) -> bool:
    """Tell whether BuildKit runs the slow step."""
    names = [name for name in ground.engine.containers if name in ground.engine.volumes]
    return bool(names) and "sleep 120" in ground.engine.docker("top", names[0], check=False)


def test_a_stop_at_the_first_failure_does_not_wait_for_the_other_builds(ground: Ground) -> None:
    ground.tests("def test_a(platform): assert False\ndef test_b(container): pass")
    slow = f"--multiarch-build-arg=SLOW={time.time()}"
    run = ground.start("--platforms=native", "test_it.py", "-x", slow, "--setup-show")
    assert run.end(SOON) == 1, run.text
    ground.settled()


def test_maxfail_leaves_nothing(ground: Ground) -> None:
    ground.tests(
        "import pytest\n@pytest.mark.parametrize('n', range(9))\ndef test_a(container, n): assert n == 9\n"
    )
    run = ground.run("--platforms=native", "test_it.py", "--maxfail=2", "-n2", QUICK)
    assert run.process.returncode in (1, 2), run.text
    ground.settled()


def test_a_time_limit_by_signal_fails_its_test_alone(ground: Ground) -> None:
    ground.tests(
        "import pytest\n@pytest.mark.timeout(1, method='signal', func_only=True)\n"
        "def test_a(container): container.run('touch /mark; sleep 300')\n"
        "def test_b(container): assert container.run('ls /mark').returncode == 1, 'a container of its own again'\n"
    )
    began = time.monotonic()
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert run.outcomes() == {"passed": 1, "failed": 1}, run.text
    assert time.monotonic() - began < 30
    ground.settled()


@pytest.mark.parametrize("how", [(), ("-n2",)], ids=["plain", "workers"])
def test_a_time_limit_by_thread_kills_pytest_and_leaves_nothing(ground: Ground, how: tuple[str, ...]) -> None:
    ground.tests(BUSY + "def test_b(container): assert container.run('true', check=True)\n")
    run = ground.run("--platforms=native", "test_it.py", "--timeout=3", "--timeout-method=thread", QUICK, *how)
    assert run.process.returncode == 1, run.text
    if how:
        assert "crashed while running" in run.text
        assert run.outcomes()["passed"] == 1, run.text
    ground.settled()


def test_a_worker_that_crashes_takes_only_its_test_with_it(ground: Ground) -> None:
    ground.tests(
        "import os, signal, pytest\n"
        "@pytest.mark.parametrize('n', range(6))\n"
        "def test_a(container, container_factory, n):\n"
        "    container_factory.start()\n"
        "    if n == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    assert container.run('true').returncode == 0\n"
    )
    run = ground.run("--platforms=native", "test_it.py", "-n2", QUICK)
    assert run.outcomes() == {"passed": 5, "failed": 1}, run.text
    ground.settled()


def test_the_terminal_is_left_as_it_was(ground: Ground) -> None:
    ground.tests(BUSY)
    outer, inner = pty.openpty()
    before = termios.tcgetattr(inner)
    run = ground.start(
        "--platforms=native", "test_it.py", argv=("sh", "-c", f'exec "$@" </proc/{os.getpid()}/fd/{inner}', "sh")
    )
    run.reach("busy")
    run.signal(signal.SIGTERM)
    assert run.end(SOON) == 2, run.text
    assert termios.tcgetattr(inner) == before
    os.close(outer)
    os.close(inner)
    ground.settled()


def test_a_handler_of_somebody_else_is_left_alone(ground: Ground) -> None:
    ground.file("conftest.py", "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n")
    ground.tests(
        "import os, signal\n"
        "def test_a(platform):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert signal.getsignal(signal.SIGTERM).__module__ == 'conftest'\n"
    )
    assert ground.run("--platforms=native", "test_it.py").process.returncode == 0
    ground.settled()
