"""SIGKILL at any moment: gone at once where somebody is left to do it, and by the next run in any case."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from grounds import QUICK, Ground

from pytest_multiarch.engine.client import OWNER, SESSION

BUSY = """
def test_busy(container, container_factory, here):
    container_factory.start()
    here("busy")
    container.run("sleep 300", timeout=400)
"""


@pytest.mark.parametrize("how", [(), ("-n2",)], ids=["plain", "workers"])
def test_after_sigkill_of_everything_in_a_test_nothing_is_left(ground: Ground, how: tuple[str, ...]) -> None:
    ground.tests(BUSY)
    run = ground.start("--platforms=native", "test_it.py", *how)
    run.reach("busy")
    run.signal(signal.SIGKILL, everybody=True)
    run.end()
    ground.settled()


def test_after_sigkill_of_the_controller_the_workers_go_too(ground: Ground) -> None:
    ground.tests(BUSY)
    run = ground.start("--platforms=native", "test_it.py", "-n2", QUICK)
    run.reach("busy")
    run.signal(signal.SIGKILL)
    run.end()
    ground.settled(25)  # execnet's workers wait 5 seconds for their test, and end it then


@pytest.mark.parametrize("driver", ["docker-container", "docker"])
def test_a_build_that_says_nothing_ends_with_the_session_that_wanted_it(ground: Ground, driver: str) -> None:
    ground.tests("def test_a(container): pass")
    slow = f"--multiarch-build-arg=SLOW={time.time()}"
    run = ground.start("--platforms=native", "test_it.py", slow, f"--multiarch-driver={driver}")
    run.until(lambda: any("buildx build" in words for words in ground.processes().values()), "the build")
    time.sleep(1)
    run.signal(signal.SIGKILL, everybody=True)
    run.end()
    ground.settled()


def test_what_nobody_was_left_to_remove_the_next_run_removes(ground: Ground) -> None:
    ground.tests(BUSY)
    run = ground.start("--platforms=native", "test_it.py")
    run.reach("busy")
    engine = ground.engine
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all at the same moment, heirs and clients too
        for pid in ground.processes():
            os.kill(pid, number)
    run.end()
    assert engine.containers, "there is something to remove"
    # What stops half-way: a container that was created only, a tag for a moment, somebody else's of the same kind.
    image = next(iter(engine.images()))
    ours = ["--label", f"{OWNER}={ground.state.id}", "--label", f"{SESSION}=dead.session"]
    engine.docker("create", *ours, image, "true")
    theirs = ["--label", f"{OWNER}=somebody", "--label", f"{SESSION}=dead.session"]
    foreign = engine.docker("create", *theirs, image, "true")
    engine.docker("tag", image, f"{image.partition(':')[0]}:of-dead.session-1")
    try:
        ground.tests("def test_a(container): pass")
        assert ground.run("--platforms=native", "test_it.py").process.returncode == 0
        ground.settled()
        assert foreign[:12] in engine.docker("ps", "--all", "--quiet")
    finally:
        engine.docker("rm", foreign)


def test_clients_killed_in_their_first_moments_leave_nothing(ground: Ground) -> None:
    """Kill everything at random moments of the first second: some containers are then `created` for ever."""
    ground.tests("def test_a(fresh_container, container): container.run('sleep 300', timeout=400)")
    chance = random.Random(6)  # noqa: S311
    for _ in range(5):
        run = ground.start("--platforms=native", "test_it.py", QUICK)
        run.until(lambda: any("docker run" in words for words in ground.processes().values()), "a container")
        time.sleep(chance.uniform(0, 0.3))
        run.signal(signal.SIGKILL, everybody=True)
        run.end()
    ground.settled()
