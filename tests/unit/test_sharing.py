"""Locks that die with their holder, values made once, a folder that may vanish."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_multiarch.errors import BuildError, MultiarchError, StateError, UnexpectedError
from pytest_multiarch.sharing import Withdrawn
from pytest_multiarch.state import State, forget, write_whole


@pytest.fixture
def shared(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_the_folder_is_for_its_owner_alone(shared: State) -> None:
    assert shared.folder.stat().st_mode & 0o777 == 0o700


def test_the_id_stays(shared: State) -> None:
    assert State(shared.folder).id == shared.id
    assert len(shared.id) == 12


def test_those_who_come_at_once_have_one_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len({state.id for state in pool.map(lambda _: State(tmp_path / "state"), range(8))}) == 1


def refuse(number: int) -> Callable[..., None]:
    """Return what fails as a filesystem that can't do it."""

    def fail(*args: object, **more: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_filesystem_without_links_and_modes_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "state"
    folder.mkdir(0o755)
    for name in ("link", "symlink", "chmod"):  # as exFAT has it
        monkeypatch.setattr(os, name, refuse(errno.EPERM))
    run = State(folder).enter("run", "session")
    assert run.once("key", lambda: 1, timeout=5) == 1
    assert State(folder).id == State(folder).id
    run.sessions.leave("session")


def test_two_folders_have_two_ids(shared: State, tmp_path: Path) -> None:
    assert State(tmp_path / "other").id != shared.id


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="can't be used"):
        State(tmp_path / "file" / "state")


def test_a_project_is_known_to_the_next_session_for_as_long_as_its_folder_is_there(
    shared: State, tmp_path: Path
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    shared.project("p").enter(root)
    shared.project("p").built("linux/arm/v7", 2.5)
    known = State(shared.folder).project("p")
    assert known.lives
    assert (known.took("linux/arm/v7"), known.took("linux/arm/v6")) == (2.5, 0.0)
    root.rmdir()
    assert not known.lives
    known.forget()
    assert known.took("linux/arm/v7") == 0.0


@pytest.mark.parametrize("text", ["", "garbage", "{}", "[1]", "null", "\0"])
def test_a_corrupt_project_is_an_unknown_one(shared: State, text: str) -> None:
    folder = shared.folder / "projects" / "p"
    folder.mkdir(parents=True)
    for name in ("root", "seconds-linux-arm64", "shell-linux-arm64"):
        (folder / name).write_text(text)
    assert (shared.project("p").lives, shared.project("p").took("linux/arm64")) == (False, 0.0)


def test_a_value_is_made_once_by_threads_that_ask_at_once(shared: State) -> None:
    made: list[int] = []
    run = shared.run("r")
    threads = [
        threading.Thread(target=run.once, args=("key", lambda: made.append(1) or "value", 10)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert run.once("key", lambda: "another", 1) == "value"


def test_a_failure_is_remembered_not_repeated(shared: State) -> None:
    tried: list[int] = []

    def fail() -> None:
        tried.append(1)
        raise BuildError("it failed", evidence="why")

    for _ in range(3):
        with pytest.raises(BuildError, match="it failed") as caught:
            shared.run("r").once("key", fail, 1)
        assert caught.value.evidence == "why"
    assert tried == [1]


def test_busy_tells_of_a_value_that_is_being_made(shared: State) -> None:
    run, begun, go = shared.run("r"), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go.wait(10)
        return "value"

    assert not run.busy("key")
    thread = threading.Thread(target=run.once, args=("key", slow, 10))
    thread.start()
    begun.wait(10)
    assert run.busy("key")
    go.set()
    thread.join()
    assert run.busy("key")


HOLDER = """
import sys, time
from pathlib import Path
from pytest_multiarch.state import State
users = State(Path(sys.argv[1])).users("builder")
users.join("other")
print("joined", flush=True)
time.sleep(60)
"""


def test_a_user_that_was_killed_is_no_user(shared: State) -> None:
    users = shared.users("builder")
    users.join("me")
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(shared.folder)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        assert users.others("me") == ["other"]
    finally:
        other.kill()
        other.communicate()
    assert users.others("me") == []
    users.leave("me")
    assert shared.users("builder").others("") == []


def test_runs_of_the_dead_are_forgotten_and_no_other(shared: State) -> None:
    dead, living = shared.run("dead"), shared.run("living")
    dead.once("key", lambda: 1, 1)
    living.sessions.join("me")
    shared.living()
    assert not dead.folder.exists()
    assert living.folder.exists()
    living.sessions.leave("me")


def test_a_label_says_which_session_and_whether_it_lives(shared: State) -> None:
    run = shared.enter("run.with.dots", "me")
    assert shared.lives("run.with.dots.me")
    assert shared.living() == ["run.with.dots.me"]
    run.sessions.leave("me")
    for nobody in ("run.with.dots.me", "run.with.dots.other", "other.me", "me", "", "../..", "."):
        assert not shared.lives(nobody)


def test_a_label_that_is_a_path_names_nobody_and_touches_nothing(shared: State, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    shared.enter("run", "session")
    for label in (f"run.{victim}", "run.session/../../../../victim", "../../victim.x", "...", "..x"):
        assert not shared.lives(label)
    assert victim.read_text() == "kept"


#: What a user may give to xdist's `--testrunuid`.
UIDS = ["feature/x", "../../victim", "..", ".", "/victim", "a b", "é" * 40, "x" * 300, "nightly.2", "\udcff"]


@pytest.mark.parametrize("uid", UIDS)
def test_a_run_of_any_id_stays_in_its_folder_and_is_forgotten(
    uid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shared = State()
    run = shared.enter(uid, "session")
    assert run.folder.parent == shared.folder / "runs"
    assert re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", run.folder.name)  # it is part of a tag
    assert shared.lives(f"{run.folder.name}.session")
    run.sessions.leave("session")
    forget(uid)
    assert not run.folder.exists()
    assert victim.is_dir()
    assert shared.folder.is_dir()


def test_runs_of_ids_that_are_alike_are_two(shared: State) -> None:
    folders = {shared.run(uid).folder for uid in [*UIDS, "feature-x", "a-b", "nightly-2", ""]}
    assert len(folders) == len(UIDS) + 4


def test_sessions_that_come_and_go_at_once_never_lose_their_file(shared: State) -> None:
    stop, lost = threading.Event(), []

    def sweep() -> None:
        while not stop.is_set():
            State(shared.folder).living()

    def live(name: str) -> None:
        for number in range(20):
            run = State(shared.folder).enter(f"{name}-{number}", "me")
            if not run.sessions.knows("me"):
                lost.append(f"{name}-{number}")
            run.sessions.leave("me")

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    lives = [threading.Thread(target=live, args=(name,)) for name in "abcd"]
    for thread in lives:
        thread.start()
    for thread in lives:
        thread.join()
    stop.set()
    sweeper.join()
    assert lost == []
    assert shared.living() == []


@pytest.mark.parametrize("text", ["", "\0\0\0", "1 short", "nonsense", "1 abcdef123456 more", "0 abcdef123456"])
def test_an_id_that_cannot_be_read_is_replaced(shared: State, text: str) -> None:
    (shared.folder / "id").write_text(text)
    ids = {State(shared.folder).id for _ in range(3)}
    assert len(ids) == 1
    assert shared.id not in ids


def test_a_folder_of_a_newer_version_is_left_alone(shared: State) -> None:
    (shared.folder / "id").write_text("2 something-new")
    with pytest.raises(StateError, match="newer pytest-multiarch"):
        State(shared.folder)
    assert (shared.folder / "id").read_text() == "2 something-new"


def test_a_folder_that_others_may_read_is_closed(shared: State) -> None:
    shared.folder.chmod(0o755)
    State(shared.folder)
    assert shared.folder.stat().st_mode & 0o777 == 0o700


def test_without_a_home_the_folder_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # nobody knows the user's home
    with pytest.raises(StateError, match="no home folder"):
        State()


def test_deleting_the_folder_at_any_time_is_harmless(shared: State) -> None:
    def make() -> str:
        shutil.rmtree(shared.folder)
        return "value"

    run = shared.enter("r", "me")
    users = shared.users("builder")
    users.join("me")
    with shared.mutex("m", timeout=1):
        assert run.once("key", make, 1) == "value"
    assert run.once("key", lambda: "another", 1) == "value"
    shutil.rmtree(shared.folder)
    assert not run.sessions.knows("me")
    assert users.others("me") == []
    users.leave("me")
    run.sessions.leave("me")
    assert State(shared.folder).id != shared.id


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"neither": 1}'])
def test_a_value_that_cannot_be_read_is_made_again(shared: State, text: str) -> None:
    run = shared.enter("r", "me")
    (run.folder / "key.json").write_text(text)
    assert run.once("key", lambda: "made", 1) == "made"
    run.sessions.leave("me")


def test_waiting_for_a_value_has_an_end(shared: State) -> None:
    run, begun, go = shared.run("r"), threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go.wait(10)
        return "value"

    thread = threading.Thread(target=run.once, args=("key", slow, 10))
    thread.start()
    begun.wait(10)
    with pytest.raises(StateError, match="was not free within"):
        shared.run("r").once("key", lambda: "mine", 0.1)
    go.set()
    thread.join()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_lies_in_the_folder_is_an_id_or_one_clear_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "id").write_bytes(data)
        with contextlib.suppress(StateError):
            assert re.fullmatch("[0-9a-f]{12}", State(Path(folder)).id)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_whatever_lies_in_a_value_is_no_accident(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = State(Path(folder)).run("r")
        run.folder.mkdir(parents=True)
        (run.folder / "key.json").write_bytes(data)
        with contextlib.suppress(MultiarchError):
            run.once("key", lambda: "made", 1)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "first")
    write_whole(tmp_path / "file", "second")
    assert (tmp_path / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_slots_bound_what_is_under_way_at_once(state: State) -> None:
    run, going, most, guard = state.run("r"), [0], [0], threading.Lock()

    def work() -> None:
        with run.slot("builds", 2, 10):
            with guard:
                going[0] += 1
                most[0] = max(most[0], going[0])
            threading.Event().wait(0.05)
            with guard:
                going[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [2]


def test_whichever_slot_is_free_first_is_taken_and_each_kind_has_its_own(state: State) -> None:
    run = state.run("r")
    with run.slot("builds", 2, 1), contextlib.ExitStack() as second:
        second.enter_context(run.slot("builds", 2, 1))
        with (
            pytest.raises(StateError, match="none of the 2 slots for builds was free"),
            run.slot("builds", 2, 0),
        ):
            pass
        threading.Timer(0.1, second.close).start()
        with run.slot("builds", 2, 10), run.slot("commands", 1, 0):
            pass


def test_a_slot_is_free_again_when_its_holder_fails(state: State) -> None:
    run = state.run("r")
    with pytest.raises(StateError, match="mine"), run.slot("builds", 1, 1):
        raise StateError("mine")
    with run.slot("builds", 1, 1):
        pass


def test_what_nobody_expected_is_remembered_as_an_error_with_its_traceback(shared: State) -> None:
    tries = []

    def breaks() -> str:
        tries.append(1)
        return str({}["no such key"])

    for run in (shared.run("one"), shared.run("one")):
        with pytest.raises(UnexpectedError, match=r"did not expect this: KeyError: 'no such key'") as caught:
            run.once("value", breaks, timeout=5)
        assert "in breaks" in caught.value.evidence
    assert len(tries) == 1


def test_what_a_run_uses_is_known_until_it_is_forgotten(shared: State) -> None:
    run = shared.enter("one", "session")
    run.claim("here/app:1")
    run.claim("here/app:1")
    shared.run("two").claim("here/app:2")
    assert shared.claimed() == {"here/app:1", "here/app:2"}
    run.remove()
    assert shared.claimed() == {"here/app:2"}


def test_what_is_withdrawn_is_made_by_whoever_asks_next(shared: State) -> None:
    def withdraws() -> str:
        raise Withdrawn

    with pytest.raises(Withdrawn):
        shared.run("one").once("value", withdraws, timeout=5)
    assert shared.run("one").once("value", lambda: "made", timeout=5) == "made"
