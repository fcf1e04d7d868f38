"""The state folder and the surroundings of a run: unwritable, full, corrupt, newer, odd."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from grounds import QUICK, Ground

from pytest_multiarch.state import State

TESTS = """
def test_a(container): assert container.run("echo \\u00e9 $(uname -s)").stdout.split()[1] == "Linux"
def test_b(platform): pass
def test_c(): pass
"""

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: only root may mount")


@pytest.fixture
def home(ground: Ground, tmp_path: Path) -> Path:
    ground.tests(TESTS)
    folder = tmp_path / "state home"
    folder.mkdir()
    return folder


def mounted(command: str, home: Path) -> tuple[str, ...]:
    """Return the words that run something in a mount namespace of its own, after a command in it."""
    return ("unshare", "-m", "sh", "-c", f'h="$0"; {command}; exec "$@"', str(home))


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ('mount --bind "$h" "$h" && mount -o remount,ro,bind "$h"', "Read-only file system"),
        ('mount -t tmpfs -o size=8k none "$h" && head -c 1M /dev/zero >"$h/fill" 2>/dev/null', "No space left"),
        (
            'chmod 500 "$h"; exec setpriv --bounding-set=-dac_override,-dac_read_search -- "$@"',
            "Permission denied",
        ),
    ],
    ids=["read-only", "full", "forbidden"],
)
def test_a_state_folder_that_cannot_be_written_is_one_clear_error(
    ground: Ground, home: Path, command: str, why: str
) -> None:
    run = ground.start("--platforms=native", "test_it.py", argv=mounted(command, home), XDG_STATE_HOME=str(home))
    assert run.end() == 1
    assert run.outcomes()["passed"] == 1, run.text
    assert "can't be used: " + why in run.text
    assert "INTERNALERROR" not in run.text
    assert "Traceback" not in run.text
    ground.settled()


@pytest.mark.parametrize("text", ["", "\0\0\0\0", "garbage"])
def test_a_corrupt_state_folder_heals(ground: Ground, home: Path, text: str) -> None:
    folder = home / "pytest-multiarch"
    (folder / "runs").mkdir(parents=True)
    (folder / "id").write_text(text)
    (folder / "runs" / "file").write_text("where a folder should be")
    run = ground.run("--platforms=native", "test_it.py", QUICK, XDG_STATE_HOME=str(home))
    assert run.outcomes() == {"passed": 3}, run.text
    own = replace(ground, engine=replace(ground.engine, state=State(folder)))
    own.engine.clean()


def test_a_newer_versions_state_folder_is_left_alone(ground: Ground, home: Path) -> None:
    folder = home / "pytest-multiarch"
    folder.mkdir()
    (folder / "id").write_text("2 of the future")
    run = ground.run("--platforms=native", "test_it.py", XDG_STATE_HOME=str(home))
    assert "is of a newer pytest-multiarch. Upgrade this one" in run.text
    assert run.outcomes()["passed"] == 1, run.text
    assert "INTERNALERROR" not in run.text
    assert [path.name for path in folder.iterdir()] == ["id"]


def test_odd_surroundings_harm_nothing(ground: Ground, tmp_path: Path) -> None:
    """HOME unset, the locale C, spaces in paths, another platform as the default of all that the client runs."""
    path = tmp_path / "a project, 'quoted' $HOME"
    shutil.copytree(ground.path, path) if ground.path.exists() else path.mkdir()
    odd = replace(ground, path=path)
    odd.tests(TESTS)
    temporary = tmp_path / "tmp with spaces"
    temporary.mkdir()
    odd_env = {"HOME": None, "LC_ALL": "C", "LANG": None, "TMPDIR": str(temporary)}
    odd_env["DOCKER_DEFAULT_PLATFORM"] = "linux/s390x"
    run = odd.start("--platforms=native", "test_it.py", "-n2", "--multiarch-driver=docker-container", **odd_env)
    assert run.end() == 0, run.text
    assert run.outcomes() == {"passed": 3}
    assert [each.name for each in temporary.iterdir() if not each.name.startswith("pytest-of")] == []
    odd.settled()


def test_a_clock_that_is_set_back_harms_nothing(ground: Ground) -> None:
    ground.file("conftest.py", "import time\nreal = time.time\n")
    ground.tests(
        "import time, conftest, pytest\n"
        "from pytest_multiarch import DeadlinePassed\n"
        "def test_a(container):\n"
        "    time.time = lambda: conftest.real() - 3e8\n"
        "    assert container.run('true').returncode == 0\n"
        "def test_b(fresh_container):\n"
        "    began = time.monotonic()\n"
        "    with pytest.raises(DeadlinePassed): fresh_container.run('sleep 99', timeout=1)\n"
        "    assert time.monotonic() - began < 10\n"
    )
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert run.outcomes() == {"passed": 2}, run.text
    ground.settled()
