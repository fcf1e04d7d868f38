"""Sessions side by side: one builder, nobody disturbed, the last one cleans up."""

from __future__ import annotations

import contextlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from grounds import Ground, make_ground

from pytest_multiarch.errors import BuildError
from pytest_multiarch.session import Session
from pytest_multiarch.state import State
from pytest_multiarch.suite import SUITE

TESTS = """
import pytest
@pytest.mark.parametrize("n", range(3))
def test_a(container, fresh_container, multiarch_builder, here, n):
    here("using-" + multiarch_builder.name)
    assert container.run("echo $(uname -s)", check=True).stdout == "Linux\\n"
    assert fresh_container.run("sleep 0.3; touch /x; ls /x").returncode == 0
"""


def test_sessions_of_two_projects_share_one_builder_and_the_last_removes_it(
    ground: Ground, tmp_path: Path
) -> None:
    other = make_ground(tmp_path / "another project", ground.engine, ground.buildkit)
    for each in (ground, other):
        each.tests(TESTS)
        each.file(
            "Dockerfile", each.path.joinpath("Dockerfile").read_text() + f"LABEL project={each.path.name!r}\n"
        )
    ways = [(ground, ()), (ground, ("-n2",)), (other, ()), (other, ())]
    runs = [each.start("--platforms=native,386", "test_it.py", *how) for each, how in ways]
    assert [run.end() for run in runs] == [0] * 4, "\n".join(run.text for run in runs)
    assert [run.outcomes() for run in runs] == [{"passed": 6}] * 4
    builders = {path.name for each in (ground, other) for path in each.path.glob("using-*")}
    assert len(builders) == 1
    ground.settled()
    assert len(ground.engine.volumes) == 1


def test_one_that_ends_or_dies_leaves_the_builder_to_the_others(ground: Ground) -> None:
    ground.tests("import time\ndef test_a(container, here):\n    here('first')\n    time.sleep(300)\n")
    ground.file(
        "test_other.py",
        "import time, pathlib\n"
        "def test_b(container, multiarch_builder, here):\n"
        "    here('second')\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.05)\n",
    )
    dying = ground.start("--platforms=native", "test_it.py")
    dying.reach("first")
    staying = ground.start("--platforms=native", "test_other.py")
    staying.reach("second")
    dying.signal(9)
    dying.end()
    third = ground.start("--platforms=native", "test_third.py")
    ground.file("test_third.py", "def test_c(container): pass\n")
    third.end()
    assert ground.engine.containers & ground.engine.volumes, "the builder is still there"
    ground.file("go", "")
    assert staying.end() == 0, staying.text
    ground.settled()


@pytest.fixture
def stranger(ground: Ground, tmp_path: Path) -> Ground:
    """Return the same engine's second user: another state folder."""
    engine = replace(ground.engine, state=State(tmp_path / "other state" / "pytest-multiarch"))
    return make_ground(tmp_path / "ground of another", engine, ground.buildkit)


def test_two_state_folders_on_one_socket_never_meet(ground: Ground, stranger: Ground) -> None:
    try:
        for each in (ground, stranger):
            each.tests(TESTS)
        runs = [each.start("--platforms=native", "test_it.py") for each in (ground, stranger)]
        assert [run.end() for run in runs] == [0, 0], "\n".join(run.text for run in runs)
        used = [{path.name for path in each.path.glob("using-*")} for each in (ground, stranger)]
        assert len(used[0]) == len(used[1]) == 1
        assert used[0] != used[1]
        assert not ground.engine.volumes & stranger.engine.volumes
        for each in (ground, stranger):
            each.settled()
    finally:
        stranger.engine.clean()


def test_the_state_folder_may_be_deleted_while_sessions_run(ground: Ground, stranger: Ground) -> None:
    try:
        stranger.tests(
            "import time, pathlib\n"
            "def test_a(container, here):\n"
            "    here('here')\n"
            "    while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
            "    assert container.run('true').returncode == 0\n"
            "def test_b(fresh_container): assert fresh_container.run('true').returncode == 0\n"
        )
        run = stranger.start("--platforms=native", "test_it.py")
        run.reach("here")
        shutil.rmtree(stranger.state.folder)
        second = stranger.start("--platforms=native", "test_it.py", "-k", "test_b")
        assert second.end() == 0, second.text
        stranger.file("go", "")
        assert run.end() == 0, run.text
        stranger.settled()
        again = replace(stranger, engine=replace(stranger.engine, state=State(stranger.state.folder)))
        again.settled()
        again.engine.clean()
    finally:
        stranger.engine.clean()


@pytest.mark.parametrize("fails", [True, False], ids=["an-error", "second-best"])
def test_what_one_worker_was_making_when_it_ended_another_makes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    settings = request.config.stash[SUITE].settings
    leaving, staying = (Session(settings, tmp_path, "one-run") for _ in range(2))
    begun, closed = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        closed.wait(10)
        if fails:
            raise BuildError("its client was ended")
        return "second best"

    def lead() -> None:
        with contextlib.suppress(Exception):  # it is told to nobody
            leaving.once("image", slow)

    thread = threading.Thread(target=lead)
    thread.start()
    begun.wait(10)
    waiting = ThreadPoolExecutor().submit(staying.once, "image", lambda: "made by the other")
    leaving.close()
    closed.set()
    thread.join()
    assert waiting.result(10) == "made by the other"
    staying.close()
