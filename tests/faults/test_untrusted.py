"""Images that nobody has vetted: their words are data, secrets stay secret, containers are plain."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from grounds import QUICK, Ground

#: What a terminal, GitHub's and Azure's logs would obey, and a bidirectional override.
EVIL = (
    r"\033[2J\033]0;owned\007\n::set-output name=x::y\n  ::add-mask::z\n##[error]no\n##vso[task.x]\n"
    r"\342\200\256\r\b\n"
)


def harmless(text: str) -> None:
    assert not set(text) & {"\x1b", "\x07", "\x08", "\x9b", "\u202e"}
    assert [line for line in text.splitlines() if line.lstrip().startswith("::")] == []
    assert [line for line in text.splitlines() if line.lstrip("E |").startswith(("##[", "##vso["))] == []


def test_an_images_words_are_never_commands(ground: Ground) -> None:
    script = f"printf '{EVIL}'; printf '{EVIL}' >&2"
    ground.file("evil", f"#!/bin/sh\n{script}\nexit 3\n")
    ground.file("Dockerfile", 'FROM alpine:3.22\nCOPY --chmod=755 evil /evil\nCMD ["/evil"]\n')
    ground.tests(
        "def test_check(container): container.run('/evil', check=True)\n"
        "def test_deadline(fresh_container): fresh_container.run('/evil; sleep 9', timeout=1)\n"
        "def test_service(container_factory): container_factory.start(ready='never', timeout=5)\n"
        "def test_missing(container): container.run(['/evil', 'x'], check=True)\n"
        "def test_compared(container): assert container.run('/evil').stdout == ''\n"
        "def test_printed(container): print(container.run('/evil').stdout); assert 0\n"
    )
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert run.outcomes() == {"failed": 6}, run.text
    assert "owned" in run.text
    harmless(run.text)
    ground.file("Dockerfile", "FROM alpine:3.22\nCOPY --chmod=755 evil /evil\nRUN /evil\n")
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert "owned" in run.text
    harmless(run.text)
    ground.settled()


@pytest.mark.parametrize("driver", ["docker", "docker-container"])
def test_secrets_appear_nowhere(ground: Ground, tmp_path: Path, driver: str) -> None:
    values = {"TOKEN": "hunter2-of-the-arg", "PASSWORD": "hunter2-of-the-env"}
    file = tmp_path / "secret"
    file.write_text("hunter2-of-the-file\n")
    ground.file(
        "Dockerfile",
        "FROM alpine:3.22\nARG TOKEN\nARG NOW\n"
        "RUN --mount=type=secret,id=a --mount=type=secret,id=b"
        " echo $NOW $TOKEN $(cat /run/secrets/a /run/secrets/b); sleep 2; exit 7\n",
    )
    ground.tests("def test_a(container): pass")
    secrets = ["--multiarch-secret=id=a,env=PASSWORD", f"--multiarch-secret=id=b,src={file}"]
    args = ["--multiarch-build-arg=TOKEN", f"--multiarch-build-arg=NOW={time.time()}"]
    run = ground.start(
        "--platforms=native", "test_it.py", f"--multiarch-driver={driver}", *secrets, *args, **values
    )
    seen = ""
    while run.process.poll() is None:
        seen += "\n".join(ground.processes().values()) + "\n".join(every_command_line())
        time.sleep(0.05)
    assert "buildx build" in seen
    assert run.outcomes() == {"error": 1}, run.text
    assert "*** ******" in run.text, "they were said, and are not shown"
    for said in (run.text, seen, ground.path.joinpath("pytest.ini").read_text()):
        assert "hunter2" not in said
    for path in ground.state.folder.rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes()
    ground.settled()


def every_command_line() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


#: What differs from a plain `docker run`, and why: the lifeline is ours to remove, needs an init and keeps no log.
OURS = {"AutoRemove", "Init", "LogConfig"}

CONTAINERS = """
import json, subprocess
def inspect(name):
    said = subprocess.run(["docker", "inspect", name], capture_output=True, check=True).stdout
    return json.loads(said)[0]
def test_a(container, container_factory, multiarch_image):
    plain = subprocess.run(["docker", "run", "-d", "--rm", multiarch_image.tag], capture_output=True, check=True, text=True).stdout.strip()
    try:
        there = inspect(plain)
        for mine in (inspect(container.id), inspect(container_factory.start().id)):
            differs = {key for key in there["HostConfig"] if there["HostConfig"][key] != mine["HostConfig"].get(key)}
            assert differs <= OURS
            assert mine["Mounts"] == there["Mounts"] == []
            assert set(mine["NetworkSettings"]["Networks"]) == set(there["NetworkSettings"]["Networks"])
            assert mine["Config"]["User"] == there["Config"]["User"]
            assert mine["Config"]["Env"] == there["Config"]["Env"]
    finally:
        subprocess.run(["docker", "kill", plain], capture_output=True, check=True)
"""  # noqa: E501


def test_containers_get_what_a_plain_run_gives_and_nothing_more(ground: Ground) -> None:
    ground.tests(CONTAINERS.replace("OURS", repr(OURS)))
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert run.outcomes() == {"passed": 1}, run.text
    ground.settled()


def test_hardening_passes_through(ground: Ground) -> None:
    args = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=64m", "--pids-limit=64")
    options = "".join(f"  {word}\n" for word in args)
    ground.file("pytest.ini", f"[pytest]\nmultiarch_checks = runs\nmultiarch_run_args =\n{options}")
    ground.tests(
        "def test_a(container):\n"
        "    said = container.run('cat /proc/self/status').stdout.split('\\n')\n"
        "    status = dict(line.split(':', 1) for line in said if ':' in line)\n"
        "    assert int(status['CapEff'], 16) == 0 and int(status['NoNewPrivs']) == 1\n"
        "    assert container.run('touch /x').returncode == 1\n"
    )
    run = ground.run("--platforms=native", "test_it.py", QUICK)
    assert run.outcomes() == {"passed": 1}, run.text
    ground.settled()


def test_the_privileged_container_is_the_builder_alone(ground: Ground) -> None:
    ground.tests(
        "import subprocess\n"
        "def test_a(container, container_factory):\n"
        "    container_factory.start()\n"
        "    asked = ['docker', 'ps', '--quiet', '--filter', 'label=pytest-multiarch.owner=' + OWNER]\n"
        "    ids = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.split()\n"
        "    form = '{{.HostConfig.Privileged}} {{.Name}} {{.HostConfig.RestartPolicy.Name}}'\n"
        "    asked = ['docker', 'inspect', '-f', form, *ids]\n"
        "    said = subprocess.run(asked, capture_output=True, check=True, text=True).stdout\n"
        "    privileged = [line.split() for line in said.splitlines() if line.startswith('true')]\n"
        "    assert len(ids) == 3 and len(privileged) == 1\n"
        "    assert privileged[0][2] == 'no'\n".replace("OWNER", repr(ground.state.id))
    )
    run = ground.run("--platforms=native", "test_it.py")
    assert run.outcomes() == {"passed": 1}, run.text
    ground.settled()


def test_the_state_folder_is_for_its_owner_alone(ground: Ground) -> None:
    assert ground.state.folder.stat().st_mode & 0o777 == 0o700
    assert ground.state.folder.stat().st_uid == os.geteuid()
