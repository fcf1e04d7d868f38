"""Suites that have nothing to do with containers, or words of their own for it: nothing may change for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from projects import Project

OWN = """
import pytest

@pytest.fixture(params=["win", "mac"])
def platform(request): return request.param

@pytest.fixture
def container(): return [1, 2]

def test_fixtures(platform, container): assert platform in ("win", "mac") and container == [1, 2]

@pytest.mark.parametrize("platform", ["a", "b", "c"])
def test_parameter(platform): assert platform in "abc"

@pytest.mark.parametrize("container", [{}])
def test_other_parameter(container): assert container == {}
"""


@pytest.mark.parametrize("asked", [[], ["--platforms=arm64,s390x"]], ids=["silent", "asked"])
def test_fixtures_and_parameters_of_the_same_name_are_kept(
    asked: list[str], project: Project, mode: tuple[str, ...], told_nobody: Callable[[], bool]
) -> None:
    project.tests(OWN)
    result = project.run(*asked, *mode)
    assert result.parseoutcomes()["passed"] == 6
    assert told_nobody()


def test_own_fixtures_in_a_conftest_are_kept(project: Project, told_nobody: Callable[[], bool]) -> None:
    project.file(
        "conftest.py",
        "import pytest\n@pytest.fixture(scope='session', params=[1, 2])\ndef platform(request): return 1\n",
    )
    project.tests("def test_it(platform): assert platform == 1")
    project.look().assert_outcomes(passed=2)
    assert told_nobody()


def test_a_suite_that_uses_nothing_of_it_asks_no_engine(
    project: Project, mode: tuple[str, ...], told_nobody: Callable[[], bool]
) -> None:
    project.file("Dockerfile", "FROM scratch\n")
    project.tests("def test_it(): pass\ndef test_again(tmp_path): pass")
    result = project.run(*mode)
    result.assert_outcomes(passed=2)
    assert "multiarch:" not in result.stdout.str()
    assert told_nobody()


def test_a_suite_that_uses_nothing_of_it_loads_no_module_that_it_does_not_need(project: Project) -> None:
    # What is loaded is the plugin's whole cost for such a suite, so a new name in this list has to be worth it.
    project.tests("""
import sys

def test_it():
    heavy = ("python_on_whales", "pydantic", "testinfra.backend.docker")
    assert [name for name in heavy if name in sys.modules] == []
    ours = {name.partition(".")[2] for name in sys.modules if name.startswith("pytest_multiarch.")}
    assert ours == {
        *("plugin", "hookspecs", "options", "pins", "outcomes", "errors"),
        *("suite", "fixtures", "parametrization", "imagespec"),
    }
""")
    project.run().assert_outcomes(passed=1)


def test_collect_only_builds_nothing(
    project: Project, mode: tuple[str, ...], told_nobody: Callable[[], bool]
) -> None:
    project.file("Dockerfile", "FROM scratch\n")
    project.tests("def test_it(container): pass")
    result = project.run("--collect-only", "--platforms=arm64,s390x", *mode)
    assert result.ret == 0
    assert told_nobody()


def test_a_pickled_distribution_choice_is_left_alone_where_nothing_was_asked(project: Project) -> None:
    project.tests("def test_it(): pass")
    assert dist(project, "-n", "2") == "load"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-n", "2", "--platforms=arm64"], "worksteal"),
        (["-n", "2", "--platforms=arm64", "--dist=loadfile"], "loadfile"),
        (["-n", "2", "--platforms=arm64", "--dist=load"], "load"),
        (["-n", "0", "--platforms=arm64"], "no"),
        (["--platforms=arm64"], "no"),
    ],
)
def test_workers_alone_mean_worksteal_and_an_explicit_choice_stands(
    args: list[str], expected: str, project: Project
) -> None:
    project.tests("def test_it(): pass")
    assert dist(project, *args) == expected


def dist(project: Project, *args: str) -> str:
    project.file(
        "conftest.py",
        "def pytest_unconfigure(config):\n"
        "    if not hasattr(config, 'workerinput'): print('dist', config.option.dist)\n",
    )
    result = project.run(*args)
    (line,) = (line for line in result.outlines if line.startswith("dist "))
    return line.split()[1]


def test_the_header_says_what_was_asked_for_and_only_then(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("def test_it(): pass")
    told = project.run("--platforms=s390x,arm64", *mode)
    told.stdout.fnmatch_lines(["multiarch: linux/s390x, linux/arm64 (--platforms); image: *Dockerfile"])
    project.ini("multiarch_platforms = riscv64\n")
    project.run().stdout.fnmatch_lines(["multiarch: linux/riscv64 (multiarch_platforms in tox.ini); *"])
