"""A mistake in an option or the ini file: exit code 4 and one paragraph, before anything runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from documents import IN_A_CLASH
from projects import Project, one_paragraph

LIST = "multiarch_platforms = linux/arm64\n"

MISTAKES = {
    "unknown-platform": ("", ["--platforms=linux/arm46"], ["'linux/arm46'", "linux/arm64"]),
    "empty-list": ("", ["--platforms="], ["--platforms is an empty list", "linux/arm64"]),
    "list-of-commas": ("", ["--platforms=,"], ["--platforms is an empty list"]),
    "all-without-a-list": ("", ["--platforms=all"], ["--platforms=all", "multiarch_platforms ="]),
    "all-in-the-list": ("multiarch_platforms = all\n", [], ["'all'", "multiarch_platforms"]),
    "driver": ("", ["--multiarch-driver=podman"], ["--multiarch-driver", "auto, docker-container, docker"]),
    "binfmt": ("", ["--multiarch-binfmt=yes"], ["--multiarch-binfmt", "auto, require, never"]),
    "cpu": ("", ["--multiarch-cpu=best"], ["--multiarch-cpu", "baseline, default"]),
    "time": ("", ["--multiarch-timeout=soon"], ["--multiarch-timeout", "'soon' is not a number above 0"]),
    "no-time": ("", ["--multiarch-build-timeout=0"], ["--multiarch-build-timeout", "above 0"]),
    "endless-time": ("", ["--multiarch-timeout=inf"], ["--multiarch-timeout", "above 0"]),
    "jobs": ("", ["--multiarch-jobs=1.5"], ["--multiarch-jobs", "above 0"]),
    "size": ("", ["--multiarch-output-limit=big"], ["--multiarch-output-limit", "128MiB"]),
    "baseline-without-level": ("", ["--multiarch-baseline=amd64"], ["--multiarch-baseline", "'amd64'", "="]),
    "baseline-unknown-level": ("", ["--multiarch-baseline=amd64=v9"], ["linux/amd64", "v9", "v2"]),
    "baseline-unknown-platform": ("", ["--multiarch-baseline=arm46=v2"], ["'arm46'", "arm64"]),
    "build-context": (
        "",
        ["--multiarch-build-context=NAME"],
        ["--multiarch-build-context", "'NAME' is not NAME=VALUE"],
    ),
    "ini-value": ("multiarch_cpu = best\n", [], ["multiarch_cpu in tox.ini", "baseline, default"]),
    "ini-platform": ("multiarch_platforms = arm46\n", [], ["multiarch_platforms in tox.ini", "arm64"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_paragraph(mistake: str, project: Project, told_nobody: Callable[[], bool]) -> None:
    ini, args, parts = MISTAKES[mistake]
    project.ini(ini)
    project.tests("def test_nothing(): pass")
    text = one_paragraph(project.look(*args))
    assert [part for part in parts if part not in text] == []
    assert told_nobody()


def test_it_is_the_same_paragraph_in_every_mode(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("def test_nothing(platform): pass")
    assert "'linux/arm46'" in one_paragraph(project.run("--platforms=linux/arm46", *mode))


def test_an_all_that_nobody_can_tell_is_one_paragraph_too(
    project: Project, mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.tests("def test_it(platform): pass", "test_a.py")
    project.tests("def test_it(platform): pass", "test_b.py")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/dead.sock")
    result = project.run("--platforms=all", "--multiarch-image=nowhere.invalid/typo:1", *mode)
    assert "no Docker engine answers" in one_paragraph(result)


def test_all_stands_for_the_ini_list(project: Project) -> None:
    project.ini("multiarch_platforms = linux/arm64\n    s390x, arm/v7\n")
    project.tests("def test_it(platform): pass")
    assert len(project.ids("--platforms=all")) == 3


@pytest.mark.parametrize("flag", ["--platforms=arm64", "--multiarch-platforms=arm64"])
def test_a_conftest_with_the_option_of_the_same_name_stops_pytest(flag: str, project: Project) -> None:
    # One real project has it. The README says what pytest says, and what to do.
    said, cure = IN_A_CLASH
    project.file("conftest.py", "def pytest_addoption(parser): parser.addoption('--platforms')\n")
    project.tests("def test_nothing(): pass")
    result = project.run(flag)
    assert result.ret != 0
    result.stderr.fnmatch_lines([f"*argument --platforms: {said}"])
    project.run(*cure.split(), "--platforms=arm64").assert_outcomes(passed=1)
