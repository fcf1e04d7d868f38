"""The shell that stays against `docker exec`, in images with each of the usual shells: same code, same bytes."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import TestEngine, contexts
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pytest_multiarch import Container, ImageSpec
from pytest_multiarch.options import Settings
from pytest_multiarch.session import Session

DOCKERFILE = """\
FROM alpine:3.22
COPY root /
RUN ln -sf /bin/SHELL /bin/sh
"""

#: Shells of this machine that go into an image; busybox is the base image's own.
SHELLS = {"busybox": None, "dash": "dash", "bash": "bash", "mksh": "mksh"}


@pytest.fixture(scope="module", params=SHELLS)
def container(
    request: pytest.FixtureRequest,
    containerd: TestEngine,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Container]:
    """Return a container whose `sh` is this shell."""
    folder = tmp_path_factory.mktemp(request.param)
    root = folder / "root/bin"
    root.mkdir(parents=True)
    if SHELLS[request.param]:
        _copy(SHELLS[request.param] or "", folder / "root")
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("SHELL", request.param))
    session = Session(settings, folder, uuid.uuid4().hex)
    yield session.container(ImageSpec(folder, build_contexts=contexts()), "native")
    session.close()
    containerd.clean()


def _copy(shell: str, root: Path) -> None:
    """Copy a shell of this machine, with the libraries that it is linked with."""
    path = shutil.which(shell)
    assert path, f"set-up installs {shell}"
    shutil.copy(path, root / "bin" / shell)
    for word in subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout.split():
        if word.startswith("/"):
            (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, root / word[1:])


def peer(container: Container, command: str) -> tuple[int, bytes]:
    """Return what `docker exec` makes of a command."""
    words = ["docker", "exec", "-i", container.name, "sh", "-c", command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    return done.returncode, done.stdout


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
SIMPLE = st.one_of(
    st.builds(lambda text: "printf '%s' '" + text.replace("'", "'\\''") + "'", WORD),
    st.builds("exit {}".format, st.integers(0, 255)),
    st.sampled_from(
        [
            "true",
            "false",
            "cat -- /etc/passwd",
            "cat /no/such '/nor such'",
            "test -e '/etc/passwd'",
            "test 1 -eq x",
            "stat -c %a /etc/passwd",
            "printf 'a\\0b\\377\\n\\n'",
            "cd /etc && pwd",
            "set -e; false; echo never",
            "cat <<X\n$((6 * 7))\nX",
            "x='a  b'; echo \"$x\" $x",
            "sh -c 'kill -9 $$'",
            "sh -c 'kill -15 $$'; echo $?",
            "(exit 3); echo $?",
            "echo one | tr o 0 | cat",
            "exec echo gone",
            "nosuchprogram 2>/dev/null",
            "head -c 100000 /dev/zero | wc -c",
            "f() { return 7; }; f",
            "trap 'echo trapped' EXIT; echo first",
            'read -r line; echo "<$line>"',
        ]
    ),
)
COMMANDS = st.lists(SIMPLE, min_size=1, max_size=3).map("\n".join)


@given(command=COMMANDS)
@examples(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_command_leaves_what_docker_exec_leaves(container: Container, command: str) -> None:
    result = container.run(command)
    assert (result.returncode, result.stdout_bytes) == peer(container, command)


def test_the_shell_that_kills_itself_gives_its_code_and_a_new_one_answers(container: Container) -> None:
    """`$$` is the shell that stays: what follows in the same command may still run, unlike with `docker exec`."""
    result = container.run("echo before; kill -9 $$")
    assert (result.returncode, result.stdout_bytes) == peer(container, "echo before; kill -9 $$")
    assert container.run("echo on").stdout == "on\n"


def test_a_hundred_megabytes_come_to_the_byte(container: Container) -> None:
    result = container.run("head -c 100000000 /dev/zero; echo end >&2", timeout=60)
    assert (len(result.stdout_bytes), result.stderr) == (100_000_000, "end\n")


def test_a_command_of_a_mebibyte(container: Container) -> None:
    text = "x" * (1 << 20)
    assert container.run(f"echo '{text}' | wc -c", timeout=60).stdout.split() == ["1048577"]


def test_a_child_in_the_background_holds_nobody_up(container: Container) -> None:
    result = container.run("sleep 30 & echo started")
    assert result.stdout == "started\n"
    assert result.duration < 10


@pytest.mark.parametrize("broken", ["if", "(", "'", "cat <<X", "done"])
def test_a_syntax_error_ends_with_its_command(container: Container, broken: str) -> None:
    assert container.run(broken).returncode == peer(container, broken)[0]
    assert container.run("echo on").stdout == "on\n"
