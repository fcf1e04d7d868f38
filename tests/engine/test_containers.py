"""A container: commands, testinfra, deadlines, its death. The image store makes no difference."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import TestEngine
from far import FarEngine
from sources import Opener

from pytest_multiarch import (
    CommandFailed,
    Container,
    ContainerDied,
    ContainerError,
    DeadlinePassed,
    EngineError,
    ImageError,
    ImageSpec,
    OutputTooLarge,
)
from pytest_multiarch.containers.container import HELD
from pytest_multiarch.session import Session


@pytest.fixture(params=["native", "linux/s390x"])
def container(request: pytest.FixtureRequest, session: Session, spec: ImageSpec) -> Container:
    session.renew_dead()  # as between two tests of a user's
    return session.container(spec, request.param)


@pytest.fixture
def fresh(session: Session, spec: ImageSpec) -> Iterator[Container]:
    made = session.fresh_container(spec, "native")
    yield made
    made.kill()


# --- commands


def test_a_command_line_is_the_shells(container: Container) -> None:
    result = container.run("echo out | tr a-z A-Z; echo err >&2; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, "OUT\n", "err\n")


def test_an_argument_vector_is_interpreted_by_no_shell(container: Container) -> None:
    words = ["echo", "$HOME", "a  b", "'", "*", "; exit 9", "\\n", "\n"]
    assert container.run(words).stdout == " ".join(words[1:]) + "\n"


def test_the_machine_is_the_platforms(container: Container) -> None:
    assert container.run(["uname", "-m"]).stdout.strip() in container.platform.machines


def test_what_is_started_without_its_environment_runs_on_the_emulators_own_cpu(
    session: Session, spec: ImageSpec
) -> None:
    """The README says so: nothing of the container's can keep QEMU_CPU in it."""
    container = session.container(spec, "linux/arm/v6")
    assert container.run("uname -m").stdout == "armv6l\n"
    assert container.run("env -i /bin/uname -m").stdout == "armv7l\n"


def test_bytes_are_exact_and_text_never_fails(container: Container) -> None:
    result = container.run(r"printf '\377\000a\n\n'")
    assert result.stdout_bytes == b"\xff\x00a\n\n"
    assert result.stdout == "\\xff\x00a\n\n"


def test_check_raises_with_what_was_said(container: Container) -> None:
    with pytest.raises(CommandFailed, match=r"(?s)`echo no >&2; exit 4` ended with exit code 4 on linux/.*no"):
        container.run("echo no >&2; exit 4", check=True)
    container.run("true", check=True)


def test_standard_input_is_given_and_empty_otherwise(container: Container) -> None:
    assert container.run("cat", stdin="two\nlines").stdout == "two\nlines"
    assert container.run(["cat"], stdin=b"\x00\xff").stdout_bytes == b"\x00\xff"
    assert container.run("cat").stdout == ""


def test_user_workdir_and_environment_are_those_asked_for(container: Container) -> None:
    done = container.run("id -un; pwd; echo $A", user="nobody", workdir="/www", env={"A": "x y"})
    assert done.stdout.splitlines() == ["nobody", "/www", "x y"]


def test_the_images_own_environment_is_there(container: Container) -> None:
    assert container.run("echo $PORT").stdout == "8080\n"


def test_one_command_leaves_nothing_to_the_next(container: Container) -> None:
    container.run("cd /www; A=1; export A; set -e; exit 5")
    assert container.run("pwd; echo ${A:-unset}").stdout == "/\nunset\n"


@pytest.mark.parametrize("command", ["echo 'open", "cat <<END\nx", "if true", ")", "kill -9 $$", "exec true", ""])
def test_a_command_that_breaks_its_shell_harms_no_other(container: Container, command: str) -> None:
    container.run(command)
    assert container.run("echo alive").stdout == "alive\n"


def test_a_missing_program_is_an_exit_code(container: Container) -> None:
    assert container.run(["no-such-program"]).returncode == 127
    assert container.run("no-such-program").returncode == 127


def test_a_signal_shows_as_128_and_its_number(container: Container) -> None:
    assert container.run("sh -c 'kill -9 $$'").returncode == 137


def test_a_nul_in_a_command_is_refused(container: Container) -> None:
    with pytest.raises(ContainerError, match="NUL"):
        container.run(["echo", "a\0b"])


def test_a_child_in_the_background_does_not_hold_the_command_up(container: Container) -> None:
    began = time.monotonic()
    container.run("sleep 30 &")
    container.run("true")
    assert time.monotonic() - began < 10


NOISE = "while sleep 0.02; do echo noise; echo noise >&2; done"


@pytest.mark.parametrize("left", [f"{NOISE} &", f"({NOISE}) & sleep 0.1", f"sh -c '{NOISE}' & true"])
@pytest.mark.parametrize("how", [{}, {"user": "0"}, {"stdin": "x"}], ids=["in the shell", "user", "stdin"])
def test_what_the_background_writes_is_no_later_commands_output(
    container: Container, left: str, how: dict[str, str]
) -> None:
    container.run(left, **how)  # type: ignore[arg-type]
    for command in ("sleep 0.3; echo clean", "cat /www/index.html", "sleep 0.2; echo clean"):
        result = container.run(command)
        assert (result.stdout in ("clean\n", "hello\n"), result.stderr) == (True, "")
    assert container.run("sleep 0.2; echo clean", user="0").stdout == "clean\n"
    container.kill()


def test_shells_that_the_background_holds_do_not_pile_up(fresh: Container, containerd: TestEngine) -> None:
    for _ in range(HELD + 4):
        fresh.run("sleep 300 &")
    assert len(clients(fresh)) <= HELD + 2  # our own client, and the shell in use
    for _ in range(5):
        fresh.run("sleep 300 >/dev/null 2>&1 & sleep 0.1")
    assert len(clients(fresh)) <= HELD + 2
    fresh.kill()
    assert clients(fresh) == []


def clients(container: Container, words: str = "") -> list[int]:
    """Return the docker clients of a container that have these words in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [int(path.parent.name)] if container.name in line and words in line else []
    return found


def test_threads_use_a_container_at_the_same_time(container: Container) -> None:
    said: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda at=at: said.update({at: container.run(f"sleep 0.2; echo {at}").stdout}))  # type: ignore[misc]
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {at: f"{at}\n" for at in range(4)}


# --- testinfra


def test_testinfra_sees_files_users_and_groups(container: Container) -> None:
    host = container.host
    page = host.file("/www/index.html")
    assert (page.exists, page.content_string, page.user, page.mode) == (True, "hello\n", "root", 0o644)
    assert not host.file("/nowhere").exists
    assert host.user("nobody").uid == 65534
    assert host.group("nogroup").exists
    assert host.run("exit 6").rc == 6
    assert host.check_output("uname -m") in container.platform.machines


# --- limits


def test_a_command_that_never_ends_is_named_and_the_container_is_gone(fresh: Container) -> None:
    with pytest.raises(
        DeadlinePassed, match=r"`sleep 99` on linux/amd64: it did not end in 0\.5 seconds"
    ) as caught:
        fresh.run("sleep 99", timeout=0.5)
    assert "--multiarch-timeout" in str(caught.value)
    with pytest.raises(ContainerDied, match="is gone: it was killed after `sleep 99`"):
        fresh.run("true")


@pytest.mark.parametrize("how", [{"stdin": "x"}, {"user": "nobody"}], ids=["stdin", "user"])
def test_a_deadline_holds_for_a_client_of_its_own_too(fresh: Container, how: dict[str, str]) -> None:
    with pytest.raises(DeadlinePassed, match=r"`while :; do :; done` on \S+: it did not end in 0\.5 seconds"):
        fresh.run("while :; do :; done", timeout=0.5, **how)  # type: ignore[arg-type]
    with pytest.raises(ContainerDied):
        fresh.run("true")


def test_an_endless_writer_meets_the_limit(opened: Opener, spec: ImageSpec, containerd: TestEngine) -> None:
    session = opened(output_limit=100_000)
    made = session.fresh_container(spec, "native")
    with pytest.raises(OutputTooLarge, match=r"(?s)`yes` on linux/.*--multiarch-output-limit"):
        made.run("yes")
    with pytest.raises(ContainerDied):
        made.run("true")


def test_output_below_the_limit_is_whole(container: Container) -> None:
    assert len(container.run("head -c 3000000 /dev/zero").stdout_bytes) == 3_000_000


# --- a connection that is cut


@pytest.mark.parametrize("how", [{}, {"user": "root"}, {"stdin": "x"}], ids=["in the shell", "user", "stdin"])
def test_a_client_that_is_killed_is_no_exit_code(fresh: Container, how: dict[str, str]) -> None:
    def kill() -> None:
        for pid in clients(fresh, " exec "):
            os.kill(pid, signal.SIGKILL)

    threading.Timer(2.0, kill).start()
    with pytest.raises(EngineError, match=r"(?s)`echo begun; sleep 9` on \S+ was cut.*ended with -9.*begun"):
        fresh.run("echo begun; sleep 9", **how)  # type: ignore[arg-type]
    assert fresh.run("echo on").stdout == "on\n"


@pytest.mark.parametrize("how", [{}, {"user": "root"}, {"stdin": "x"}], ids=["in the shell", "user", "stdin"])
def test_a_connection_that_is_cut_is_no_exit_code(
    spec: ImageSpec, far_engine: FarEngine, opened: Opener, how: dict[str, str]
) -> None:
    """The client ends with 0 then: it takes the end of the stream for the command's, and asks for the code."""
    container = opened().fresh_container(spec, "native")
    container.run("true")
    threading.Timer(2.0, far_engine.cut, ("exec",)).start()
    with pytest.raises(EngineError, match=r"(?s)`echo begun; sleep 9` on \S+ was cut.*begun"):
        container.run("echo begun; sleep 9", **how)  # type: ignore[arg-type]
    assert container.run("echo on").stdout == "on\n"
    container.kill()


@pytest.mark.parametrize("how", [{}, {"user": "root"}], ids=["in the shell", "user"])
def test_a_command_that_kills_its_own_shell_gives_its_code(fresh: Container, how: dict[str, str]) -> None:
    assert fresh.run("kill -9 $$; sleep 1", **how).returncode == 137  # type: ignore[arg-type]
    assert fresh.run("kill $$; sleep 1", **how).returncode == 143  # type: ignore[arg-type]


def test_what_the_engine_refuses_to_start_is_the_commands_own(fresh: Container) -> None:
    assert "unable to find user" in fresh.run("true", user="nosuch").stderr
    assert fresh.run(["true"], workdir="/no/such").returncode in (126, 127)
    assert fresh.run(["no-such-program"], user="root").returncode == 127


# --- an image without a shell


def test_without_a_shell_a_list_is_a_container_of_its_own(session: Session, bare: ImageSpec) -> None:
    container = session.container(bare, "native")
    assert container.run(["/busybox", "echo", "hello"]).stdout == "hello\n"
    assert container.run(["/busybox", "cat"], stdin="in").stdout == "in"
    assert container.run(["/busybox", "false"]).returncode == 1
    assert container.run(["/busybox", "pwd"], workdir="/dev").stdout == "/dev\n"


def test_without_a_shell_a_deadline_holds_and_nothing_is_left(
    session: Session, bare: ImageSpec, containerd: TestEngine
) -> None:
    container = session.container(bare, "native")
    before = containerd.containers
    with pytest.raises(DeadlinePassed, match=r"`/busybox sleep 99` on \S+: it did not end in 0\.5 s"):
        container.run(["/busybox", "sleep", "99"], timeout=0.5)
    assert containerd.containers == before


def test_without_a_shell_what_needs_one_says_so(session: Session, bare: ImageSpec) -> None:
    container = session.container(bare, "native")
    with pytest.raises(ImageError, match=r"has no shell\. Give an argument vector"):
        container.run("echo hello")
    with pytest.raises(ImageError, match="has no shell"):
        _ = container.host.file("/busybox").exists


def test_without_a_shell_a_missing_program_is_an_exit_code_too(session: Session, bare: ImageSpec) -> None:
    result = session.container(bare, "native").run(["/nothing"])
    assert result.returncode == 127
    assert "/nothing" in result.stderr


# --- death


@pytest.mark.parametrize("how", [{}, {"user": "nobody"}], ids=["in the shell", "apart"])
def test_a_container_killed_from_outside_says_so(
    fresh: Container, containerd: TestEngine, how: dict[str, str]
) -> None:
    threading.Timer(0.5, containerd.docker, ("kill", fresh.name)).start()
    with pytest.raises(ContainerDied, match="is gone: it ended with exit code 137"):
        fresh.run("sleep 20", **how)  # type: ignore[arg-type]
    with pytest.raises(ContainerDied):
        fresh.run("true")
    with pytest.raises(ContainerDied):
        fresh.run("true", user="root")


def test_a_corpse_has_no_files_not_even_missing_ones(fresh: Container, containerd: TestEngine) -> None:
    assert fresh.host.file("/www").exists
    containerd.docker("kill", fresh.name)
    with pytest.raises(ContainerDied):
        _ = fresh.host.file("/www").exists
    with pytest.raises(ContainerDied):
        _ = fresh.host.file("/nowhere").exists


def test_a_container_that_died_is_started_anew_for_the_next_test(session: Session, spec: ImageSpec) -> None:
    session.renew_dead()
    container = session.container(spec, "native")
    first = container.id
    container.run("touch /mark")
    container.kill()
    session.renew_dead()
    assert session.container(spec, "native") is container
    assert container.id != first
    assert container.run("ls /mark").returncode != 0


def test_the_id_is_the_engines_and_ends_with_the_container(fresh: Container, containerd: TestEngine) -> None:
    assert containerd.docker("inspect", "--format", "{{.Id}}", fresh.name) == fresh.id
    fresh.kill()
    assert fresh.name not in containerd.containers


def test_removed_means_gone_though_the_engine_is_at_it_already(
    session: Session, fresh: Container, containerd: TestEngine
) -> None:
    # With `--rm` the engine removes what ends by itself; many files take it a while, and `docker rm` refuses.
    fresh.run("mkdir /many; cd /many; i=0; while [ $i -lt 30000 ]; do : >$i; i=$((i+1)); done", check=True)
    containerd.docker("kill", fresh.name)
    said = containerd.docker("rm", "--force", fresh.name, check=False)
    assert said == "", "the test's own point: it is refused, or it would print the name"
    assert session.engine.remove(fresh.name) == ""
    assert fresh.name not in containerd.containers


def test_a_fresh_container_is_nobody_elses(session: Session, spec: ImageSpec, fresh: Container) -> None:
    fresh.run("touch /mark")
    other = session.fresh_container(spec, "native")
    assert other.run("ls /mark").returncode != 0
    other.kill()


@pytest.mark.parametrize("nothing", [[], ()])
def test_no_command_at_all_is_refused(
    session: Session, spec: ImageSpec, nothing: list[str] | tuple[str, ...]
) -> None:
    with pytest.raises(ContainerError, match="there is no command to run"):
        session.container(spec, "native").run(nothing)
