"""What the documents tell a user to type does what it says, as it stands, in a project of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import documents
import pytest
from documents import DOCUMENTS, FIRST, IN_A_TEST, IN_TURN, README, RUN
from engines import TestEngine, contexts
from projects import Project
from sources import DOCKERFILE, GETENT, SERVE

from pytest_multiarch.options import CHECKS

TESTS, HOST, HOOK = (block.text for block in documents.blocks(README, "python"))
SAID, _ = (block.text for block in documents.blocks(README, "text"))
(INI,) = (block.text for block in documents.blocks(README, "toml"))

VALUES = [
    *documents.table(README),
    *(documents.setting(line) for path in DOCUMENTS for line in documents.lines(path.read_text())),
]
RUN_ARGS = [value.value for value in VALUES if value and value.name == "multiarch_run_args"]


def typed(line: str, folder: Path) -> tuple[int, str]:
    """Type a line in a folder; return its exit code and what it said."""
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def ini(project: Project, **values: str) -> None:
    """Write the README's ini file, with local base images and the builder that takes no time to boot."""
    bases = [f"{name}={address}" for name, address in contexts().items()]
    lines = {"multiarch_driver": "docker", "multiarch_build_contexts": bases, **values}
    said = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    project.file("pyproject.toml", INI + said)


@pytest.fixture
def folder(project: Project, containerd: TestEngine) -> Iterator[Path]:
    """Return a folder with the README's ini file and a Dockerfile, of an image such as its tests want."""
    ini(project)
    project.file("Dockerfile", 'FROM alpine:3.22\nCOPY --chmod=755 vlmcsd /usr/bin/\nCMD ["vlmcsd"]\n')
    project.file("vlmcsd", "#!/bin/sh\necho vlmcsd\n")
    before = containerd.left
    yield project.path
    assert containerd.left <= before


def test_a_dockerfile_alone_is_verified_and_tests_come_beside_it(folder: Path) -> None:
    code, said = typed(FIRST, folder)
    assert code == 0, said
    folder.joinpath("test_image.py").write_text(TESTS)
    code, said = typed(f"{FIRST} -v", folder)
    shown = re.findall(r"^\S+ PASSED", said, re.MULTILINE)
    promised = [line for line in SAID.splitlines() if line != "..."]
    assert code == 0, said
    assert [line for line in shown if line in promised] == promised
    assert [check for check in CHECKS[1:] if f"Dockerfile::{check}[linux/arm64] PASSED" not in shown] == []


@pytest.mark.parametrize("line", [line for line in RUN if line != "-v"])
def test_a_line_runs_as_it_stands(line: str, folder: Path) -> None:
    folder.joinpath("test_image.py").write_text(TESTS)
    whole = FIRST if "linux/" in line else "pytest --platforms=native"
    code, said = typed(line if line.startswith("pytest ") else f"{whole} {line}", folder)
    assert code == 0, said
    assert " passed" in said or "--help" in line


@pytest.mark.parametrize("words", RUN_ARGS)
def test_words_for_docker_run_are_run_with(words: str, project: Project, folder: Path) -> None:
    ini(project, multiarch_run_args=words)
    folder.joinpath("test_image.py").write_text(TESTS)
    code, said = typed("pytest --platforms=native", folder)
    assert code == 0, said


def test_python_runs_as_it_stands(project: Project, folder: Path) -> None:
    some, others, start = IN_A_TEST
    project.file("conftest.py", f"import pytest\n{HOST}\n{HOOK}")
    base = contexts("build-contexts-classic").get("alpine:3.22", "alpine:3.22").removeprefix("docker-image://")
    project.file("server/Dockerfile.alpine", DOCKERFILE.replace("alpine:3.22", base))
    project.file("server/serve", SERVE)
    project.file("server/getent", GETENT)
    project.tests(
        f"import pytest\n\n{some}\ndef test_some(platform): assert str(platform) == 'linux/arm64'\n\n"
        f"{others}\ndef test_others(platform): assert str(platform) == 'linux/arm64'\n\n"
        "def test_host(host): assert host.file('/serve').exists\n\n"
        f"def test_service(container_factory): assert container_factory{start}.address(8080)\n"
    )
    result = project.run("--platforms=linux/arm64,linux/386", "test_it.py")
    result.assert_outcomes(passed=6, skipped=1)


def test_the_command_does_what_it_says(folder: Path, state_of_its_own: TestEngine) -> None:
    assert typed("pytest --platforms=native", folder)[0] == 0
    (image,) = state_of_its_own.images()
    said = []
    for line in IN_TURN:
        code, text = typed(line.replace("IMAGE", image), folder)
        assert code == 0, text
        said.append(text)
    platforms, doctor, audit, dry, dry_elsewhere, pruned = said
    assert "linux/arm/v7" in platforms
    assert "binfmt entries:" in doctor
    assert "elf: passed: " in audit
    assert dry == dry_elsewhere == f"would remove image {image}\n"
    assert pruned == f"removed image {image}\n"
