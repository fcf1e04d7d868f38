"""SIGKILL at any moment: gone at once where somebody is left to do it, and by the next run in any case."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from grounds import QUICK, Ground

from pytest_multiarch import process
from pytest_multiarch.engine.client import CLIENT, OWNER, SESSION, Engine
from pytest_multiarch.sweep import Orphans

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
    for number in (signal.SIGSTOP, signal.SIGKILL):  # all at the same moment, watchdogs and clients too
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


#: What docker-credential-pass does: it has a daemon started that is to serve the next client too.
HELPER = """\
#!/bin/sh
setsid sh -c 'echo $$ >{pid}; exec sleep 300' </dev/null >/dev/null 2>&1 &
while ! [ -s {pid} ]; do sleep 0.01; done
echo credentials not found in native keychain; exit 1
"""


def test_a_daemon_that_a_client_started_outlives_what_kills_the_client(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pid = tmp_path / "helpers", tmp_path / "pid"
    folder.mkdir()
    (folder / "config.json").write_text('{"credsStore": "daemon"}')
    (folder / "docker-credential-daemon").write_text(HELPER.format(pid=pid))
    (folder / "docker-credential-daemon").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    dead = Engine(ground.state.id, "dead.session")
    dead.call("--config", str(folder), "pull", "127.0.0.1:1/x", check=False)
    daemon = int(pid.read_text())
    try:
        assert f"{CLIENT}={ground.state.id}/dead.session" in Path(f"/proc/{daemon}/environ").read_text()
        with process.streaming([*dead.command, "events"], timeout=60, late="", env=dead.env) as client:
            while b"events" not in Path(f"/proc/{client.pid}/cmdline").read_bytes():
                time.sleep(0.01)
            assert Orphans(Engine(ground.state.id), ground.state).end_clients() == 1
            assert client.wait(10) == -signal.SIGKILL
        assert "sleep" in Path(f"/proc/{daemon}/cmdline").read_text()
    finally:
        os.kill(daemon, signal.SIGKILL)
