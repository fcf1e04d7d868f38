"""Whole runs: what a user sees, how often something is built, what is there afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from engines import TestEngine, contexts
from projects import WITHOUT, Project
from sources import ini_for

TWO = "--platforms=native,linux/s390x"

TESTS = """
def test_machine(container, platform):
    assert container.run("uname -m", check=True).stdout.strip() in platform.machines

def test_file(container):
    assert container.host.file("/www/index.html").exists

def test_service(container_factory):
    assert container_factory.start(ports=[8080]).alive

def test_other(): pass
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Put a `docker` on PATH that writes down what it is asked; return what finds those with some words."""
    log, folder = tmp_path / "calls", tmp_path / "recorder"
    folder.mkdir()
    real = subprocess.run(
        ["sh", "-c", "command -v docker"], capture_output=True, text=True, check=True
    ).stdout.strip()
    docker = folder / "docker"
    docker.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec {real} "$@"\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return lambda words: [line for line in log.read_text().splitlines() if words in line]


@pytest.fixture
def session_built(image_project: Project, buildkit_image: str) -> Project:
    """Return the project, built by the session builder."""
    values = {"multiarch_driver": "docker-container", "multiarch_buildkit_image": buildkit_image}
    image_project.ini(ini_for(contexts(), **values))
    return image_project


def test_a_run_builds_once_and_passes_on_each_platform(
    session_built: Project,
    state_of_its_own: TestEngine,
    mode: tuple[str, ...],
    calls: Callable[[str], list[str]],
    buildkit_image: str,
) -> None:
    session_built.tests(TESTS)
    result = session_built.run(TWO, "-k", "test_", *mode)
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(["builder: session builder, " + buildkit_image])
    assert len(calls("--output type=docker")) == 2
    assert len(calls("buildx create")) <= 2  # once, and once more by each worker: it is there already
    assert not calls("buildx use")
    # Nothing is left but what is kept on purpose.
    assert state_of_its_own.containers == set()
    assert not state_of_its_own.builders & state_of_its_own.volumes
    assert len(state_of_its_own.volumes) == 1
    assert len(state_of_its_own.images()) == 2
    again = session_built.run(TWO, "-k", "test_machine", *mode)
    again.assert_outcomes(passed=2)
    again.stdout.fnmatch_lines(["*, linux/s390x: unchanged in *"])
    assert len(calls("--output type=docker")) == 2


def test_failing_tests_and_a_stop_at_the_first_leave_nothing(
    session_built: Project, state_of_its_own: TestEngine
) -> None:
    session_built.tests("def test_a(container): assert 0\ndef test_b(fresh_container): raise KeyError\n" + TESTS)
    assert session_built.run("--platforms=native", "-k", "test_").ret == pytest.ExitCode.TESTS_FAILED
    assert (state_of_its_own.containers, state_of_its_own.builders & state_of_its_own.volumes) == (set(), set())
    result = session_built.run(TWO, "-x", "-k", "test_")
    result.assert_outcomes(failed=1)
    assert (state_of_its_own.containers, state_of_its_own.builders & state_of_its_own.volumes) == (set(), set())


def test_a_platform_that_cannot_be_built_fails_its_own_tests_alone(
    image_project: Project, mode: tuple[str, ...]
) -> None:
    image_project.file(
        "Dockerfile", 'FROM alpine:3.22\nRUN test "$(uname -m)" != s390x || { echo no paper >&2; exit 3; }\n'
    )
    image_project.tests("def test_a(container): pass\ndef test_b(container): pass\ndef test_c(): pass\n")
    result = image_project.run(TWO, "-k", "test_", *mode)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["errors"]) == (3, 2)
    text = result.stdout.str()
    assert text.count("the build for linux/s390x failed: a RUN step failed") == 1
    assert "no paper" in text
    assert text.count("the build for linux/s390x failed. Told in full above") == 1
    assert "Traceback" not in text
    assert "pytest_multiarch/" not in text


def test_an_image_that_passed_is_not_read_again(
    image_project: Project, calls: Callable[[str], list[str]], state_of_its_own: TestEngine
) -> None:
    image_project.tests("")
    words = (TWO, "-k", "elf")
    image_project.run(*words).assert_outcomes(passed=2)
    assert len(calls("export ")) == 2
    again = image_project.run(*words)
    again.assert_outcomes(passed=2)
    assert len(calls("export ")) == 2, "nothing was read"
    again.stdout.fnmatch_lines(["*::elf[[]linux/*: * ELF files *, as an earlier run found; * not verified"])
    image_project.run(*words, "--multiarch-baseline=linux/amd64=v2").assert_outcomes(passed=2)
    assert len(calls("export ")) == 3, "another baseline of one of them"
    anew = image_project.pytester.runpytest_subprocess("-p", "no:hypothesispytest", *words, "--cache-clear")
    anew.assert_outcomes(passed=2)
    assert len(calls("export ")) == 5


PREPARED = """
import subprocess, time, pytest

def running():
    asked = ["docker", "ps", "--quiet", "--filter", "label=pytest-multiarch.owner=OWNER"]
    return len(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split())

@pytest.fixture(scope="session")
def prepared(container):
    container.run("touch /prepared", check=True)
    yield container
    container.run("rm /prepared", check=True)

def test_one(prepared):
    assert prepared.run("ls /prepared", check=True)

def test_two(container, platform):
    deadline = time.monotonic() + 20
    while str(platform) == "linux/s390x" and running() > 1:
        assert time.monotonic() < deadline, "the other platform's container still runs"
        time.sleep(0.1)
    assert container.run("ls /prepared").returncode == 0, "still the same container"
"""


def test_a_platforms_container_ends_once_its_tests_and_their_fixtures_have(
    image_project: Project, calls: Callable[[str], list[str]], state_of_its_own: TestEngine
) -> None:
    image_project.tests(PREPARED.replace("OWNER", state_of_its_own.state.id))
    image_project.run(TWO, "-k", "test_").assert_outcomes(passed=4)
    assert len(calls("run --rm --log-driver=none")) == 2, "one container of each platform"


def test_what_a_test_killed_the_next_one_gets_anew(image_project: Project, mode: tuple[str, ...]) -> None:
    image_project.tests("""
def test_a(container): container.run("touch /mark; sleep 99", timeout=0.5)
def test_b(container): assert container.run("ls /mark").returncode != 0
""")
    result = image_project.run("--platforms=native", "-k", "test_", *mode)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*DeadlinePassed: `touch /mark; sleep 99` on *it did not end in 0.5 seconds*"])
    assert "pytest_multiarch/" not in result.stdout.str()


def test_a_fresh_container_is_the_tests_own(image_project: Project) -> None:
    image_project.tests("""
def test_a(fresh_container, container):
    assert fresh_container.id != container.id
    fresh_container.run("touch /mark", check=True)

def test_b(fresh_container, container):
    for one in (fresh_container, container):
        assert not one.host.file("/mark").exists
""")
    image_project.run("--platforms=native", "-k", "test_").assert_outcomes(passed=2)


def test_the_first_tests_time_is_not_the_builds(image_project: Project) -> None:
    image_project.file("Dockerfile", f"FROM alpine:3.22\nRUN sleep 3 # {image_project.path}\n")
    image_project.tests("def test_a(container): pass\n")
    image_project.run("--platforms=native", "-k", "test_", "--timeout=2").assert_outcomes(passed=1)


def test_a_second_image_is_declared_by_a_conftest(image_project: Project) -> None:
    image_project.file("other/Dockerfile", "FROM alpine:3.22\nRUN echo other >/which\n")
    image_project.file(
        "other/conftest.py",
        f"""
from pathlib import Path
from pytest_multiarch import ImageSpec

def pytest_multiarch_image():
    return ImageSpec(Path(__file__).parent, build_contexts={contexts()!r})
""",
    )
    image_project.tests(
        "def test_a(container): assert container.host.file('/which').exists", "other/test_other.py"
    )
    image_project.tests("def test_a(container): assert not container.host.file('/which').exists")
    image_project.run("--platforms=native", "-k", "test_").assert_outcomes(passed=2)


def test_a_test_that_takes_an_own_fixture_on_top_is_parametrised(image_project: Project) -> None:
    image_project.tests("""
import pytest

@pytest.fixture(scope="session")
def machine(container): return container.run("uname -m").stdout.strip()

def test_a(machine, platform): assert machine in platform.machines
""")
    image_project.run(TWO, "-k", "test_").assert_outcomes(passed=2)


# --- how much is emulated at once

#: When something began and when it ended, in seconds of the machine's own clock.
SPAN = "cut -d' ' -f1 /proc/uptime; sleep 0.5; cut -d' ' -f1 /proc/uptime"

BOUNDED = """
import os, pathlib, threading, pytest

def test_build(container, platform):
    pathlib.Path(f"build-{platform.architecture}").write_text(container.run("cat /span", check=True).stdout)

@pytest.mark.parametrize("number", range(3))
def test_command(container, platform, number):
    name = f"command-{platform.architecture}-{number}-{os.environ['PYTEST_XDIST_WORKER']}"
    pathlib.Path(name).write_text(container.run(SPAN, check=True).stdout)

def test_two_commands_that_need_each_other(container):
    waits = threading.Thread(target=container.run, args=("until [ -e /go ]; do sleep 0.1; done",))
    waits.start()
    container.run("touch /go", check=True)
    waits.join(30)
    assert not waits.is_alive()
"""


def overlaps(spans: Iterable[Path]) -> int:
    """Return how many of these spans of time begin before the one before them has ended."""
    times = sorted([float(word) for word in path.read_text().split()] for path in spans)
    return sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize(("jobs", "bounded"), [(1, True), (9, False)])
def test_as_many_emulated_builds_and_workers_commands_as_jobs_run_at_once(
    image_project: Project, jobs: int, bounded: bool
) -> None:
    image_project.file(
        "Dockerfile", f"FROM alpine:3.22\nRUN : {image_project.path} {jobs}; {{ {SPAN}; }} >/span\n"
    )
    image_project.tests(BOUNDED.replace("SPAN", repr(SPAN)))
    result = image_project.run(
        "--platforms=arm64,ppc64le,s390x", "-k", "test_", "-n", "3", f"--multiarch-jobs={jobs}"
    )
    result.assert_outcomes(passed=15)
    builds, commands = (list(image_project.path.glob(f"{what}-*")) for what in ("build", "command"))
    assert (len(builds), len(commands)) == (3, 9)
    assert len({path.name.rpartition("-")[2] for path in commands}) > 1, "the test's own point: several workers"
    assert [not overlaps(builds), not overlaps(commands)] == [bounded, bounded]


# --- two sessions, and sessions that die


def start(project: Project, *args: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "pytest", *WITHOUT, "-k", "test_", "--platforms=native", *args]
    return subprocess.Popen(argv, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


SIGNAL = """
import pathlib, time

def test_a(container, multiarch_builder):
    here = pathlib.Path(__file__).parent
    (here / "up-{name}").write_text(multiarch_builder.name)
    while not (here / "go-{name}").exists():
        time.sleep(0.05)
    assert container.run("true").returncode == 0
"""


def test_two_sessions_share_one_builder_and_the_last_removes_it(
    session_built: Project, state_of_its_own: TestEngine
) -> None:
    names = ("one", "two")
    for name in names:
        session_built.tests(SIGNAL.format(name=name), f"test_{name}.py")
    running = {name: start(session_built, f"test_{name}.py") for name in names}
    for name in names:
        wait_for((session_built.path / f"up-{name}").exists)
    used = {(session_built.path / f"up-{name}").read_text() for name in names}
    assert len(used) == 1
    assert used <= state_of_its_own.containers
    session_built.file("go-one", "")
    assert running["one"].wait(60) == 0
    assert used <= state_of_its_own.containers
    session_built.file("go-two", "")
    assert running["two"].wait(60) == 0
    assert state_of_its_own.containers == set()
    for process in running.values():
        process.communicate()


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda word: word.name)
def test_a_session_that_is_ended_leaves_nothing_in_a_few_seconds(
    word: signal.Signals, session_built: Project, state_of_its_own: TestEngine
) -> None:
    session_built.tests(SIGNAL.format(name="one"))
    process = start(session_built)
    wait_for((session_built.path / "up-one").exists)
    process.send_signal(word)
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait_for(lambda: state_of_its_own.containers == set(), 20)
