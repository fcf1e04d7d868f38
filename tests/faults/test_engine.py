"""Faults of the engine itself: restarted, stopped, its disk full. On an engine of the test's own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import TestEngine
from grounds import QUICK, Ground, make_ground

from pytest_multiarch.state import State

ENGINE = Path(__file__).parents[2] / ".ci" / "engine"
NAME = "faults"
DISK = Path("/var/lib/multiarch-ci", NAME)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: starting an engine takes root")


def engine(action: str) -> str:
    words = [ENGINE, action, NAME, *(["containerd"] if action == "start" else [])]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


@pytest.fixture(scope="module")
def own_engine(containerd: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestEngine]:
    """Return an engine whose whole disk is a small tmpfs."""
    DISK.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "none", DISK], check=True)
    try:
        state = State(tmp_path_factory.mktemp("state of an engine") / "pytest-multiarch")
        yield TestEngine("containerd", {"DOCKER_HOST": engine("start")}, state)
    finally:
        engine("stop")
        subprocess.run(["umount", "--lazy", DISK], check=True)


@pytest.fixture
def ground(tmp_path: Path, own_engine: TestEngine) -> Iterator[Ground]:
    engine("start")
    yield make_ground(tmp_path / "ground", own_engine, "")
    engine("start")
    own_engine.clean()


RESTARTED = """
import pathlib, pytest, time
def test_a(container, here):
    here("busy")
    try: container.run("sleep 300", timeout=400)
    finally:
        here("noticed")
        while not pathlib.Path("back").exists(): time.sleep(0.05)
def test_b(container): assert container.run("true").returncode == 0
def test_c(fresh_container): assert fresh_container.run("true").returncode == 0
def test_d(): pass
"""


def test_an_engine_restarted_in_a_test_fails_that_test_alone(ground: Ground) -> None:
    ground.tests(RESTARTED)
    run = ground.start("--platforms=native", "test_it.py", QUICK)
    run.reach("busy")
    engine("stop")
    run.reach("noticed")
    engine("start")
    ground.file("back", "")
    run.end()
    assert run.outcomes() == {"passed": 3, "failed": 1}, run.text
    assert "is gone" in run.text or "no Docker engine answers" in run.text
    ground.settled()


def test_an_engine_stopped_for_good_is_said_by_every_test_that_needs_it(ground: Ground) -> None:
    ground.tests(RESTARTED)
    run = ground.start("--platforms=native", "test_it.py", QUICK)
    run.reach("busy")
    engine("stop")
    ground.file("back", "")
    began = time.monotonic()
    run.end()
    assert time.monotonic() - began < 30
    outcomes = run.outcomes()
    assert outcomes["passed"] == 1, run.text
    assert sum(outcomes.values()) == 4, run.text
    assert "no Docker engine answers. Start it" in run.text
    assert "INTERNALERROR" not in run.text
    engine("start")
    ground.tests("def test_a(container): pass")
    assert ground.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    ground.settled()


def test_an_engine_restarted_in_a_build_fails_what_needs_the_image(ground: Ground) -> None:
    ground.tests("def test_a(container): pass\ndef test_b(): pass\n")
    slow = f"--multiarch-build-arg=SLOW={time.time()}"
    run = ground.start("--platforms=native", "test_it.py", QUICK, slow)
    run.until(lambda: any("buildx build" in words for words in ground.processes().values()), "the build")
    time.sleep(2)
    engine("stop")
    run.end()
    assert run.outcomes() == {"passed": 1, "error": 1}, run.text
    assert "INTERNALERROR" not in run.text
    assert "the build for linux/amd64 failed: the engine was stopped or restarted" in run.text
    engine("start")
    ground.settled()


@pytest.mark.parametrize("stage", ["the build", "the container"])
def test_an_engine_that_has_lost_its_bridge_is_no_fault_of_the_image(ground: Ground, stage: str) -> None:
    ground.tests("def test_a(container): pass\n")
    if stage == "the container":
        assert ground.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    subprocess.run(["ip", "link", "delete", f"mac-{NAME}"], check=True, timeout=10)
    slow = () if stage == "the container" else (f"--multiarch-build-arg=TURN={time.time()}",)
    run = ground.run("--platforms=native", "test_it.py", QUICK, *slow)
    engine("stop")
    assert f"{stage} for linux/amd64" in run.text, run.text
    assert "the engine could not give a container its network" in run.text
    assert "a RUN step failed" not in run.text


def test_a_full_disk_in_a_build_says_so_and_harms_no_other_platform(ground: Ground) -> None:
    ground.tests("def test_a(container): assert container.run('true').returncode == 0")
    filling = 'RUN [ "$TARGETARCH" = 386 ] || { sleep 3; dd if=/dev/zero of=/big bs=1M count=400; }'
    ground.file("Dockerfile", f"FROM alpine:3.22\nARG TARGETARCH\n{filling}\n")
    run = ground.run("--platforms=386,native", "test_it.py", QUICK, "--multiarch-jobs=1")
    assert run.outcomes() == {"passed": 1, "error": 1}, run.text
    assert "the build for linux/amd64 failed: the disk is full" in run.text
    ground.settled()


def test_a_program_that_takes_too_much_memory_is_named(ground: Ground) -> None:
    ground.file(
        "pytest.ini",
        "[pytest]\nmultiarch_checks = runs\nmultiarch_run_args =\n  --memory=24m\n  --memory-swap=24m\n",
    )
    ground.tests(
        "import pytest\n"
        "from pytest_multiarch.errors import OutOfMemory\n"
        "def test_a(container):\n"
        "    with pytest.raises(OutOfMemory):\n"
        "        container.run('x=$(head -c 99000000 /dev/zero | tr \"\\\\0\" x); echo ${#x}', check=True)\n"
        "def test_b(container): assert container.run('true').returncode == 0\n"
    )
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert run.outcomes() == {"passed": 2}, run.text
    ground.settled()
