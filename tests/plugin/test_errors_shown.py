"""How an error of ours looks to whoever runs the tests: its text, once; no traceback of ours."""

from __future__ import annotations

import pytest
from projects import Project


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path_factory.mktemp('no')}/dead.sock")


def no_traceback(result: pytest.RunResult) -> str:
    text: str = result.stdout.str() + result.stderr.str()
    for word in ("Traceback", "INTERNALERROR", "pytest_multiarch/", "During handling", "are hidden"):
        assert word not in text
    return text


def test_an_error_that_stops_many_tests_is_told_once_and_then_referred_to(
    project: Project, mode: tuple[str, ...]
) -> None:
    project.file("Dockerfile", "FROM scratch\n")
    project.tests("\n".join(f"def test_{number}(container): pass" for number in range(4)))
    result = project.run("--platforms=arm64", "-k", "test_", *mode)
    text = no_traceback(result)
    assert result.parseoutcomes()["errors"] == 4
    assert text.count("Start it (`systemctl start docker`)") == 1
    assert text.count("no Docker engine answers. Told in full above") == 3


def test_the_summary_line_names_the_error(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("def test_a(platform): pass\ndef test_b(platform): pass")
    result = project.run("--platforms=arm64", *mode)
    lines = [line for line in result.outlines if line.startswith("ERROR test_it.py")]
    assert len(lines) == 2
    assert all(line.endswith(" - no Docker engine answers") for line in lines)


def test_other_tests_are_not_affected(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("def test_a(platform): pass\ndef test_b(): pass")
    result = project.run(*mode)
    result.assert_outcomes(passed=1, errors=1)
    assert "no Docker engine answers" in no_traceback(result)


def test_without_an_engine_native_is_one_item_that_says_so(project: Project) -> None:
    project.tests("def test_a(platform): pass")
    assert project.look("--platforms=native", "--collect-only", "-q").outlines[0] == "test_it.py::test_a[native]"


def test_asking_for_a_fixture_by_name_while_running_is_one_sentence(
    project: Project, mode: tuple[str, ...]
) -> None:
    project.tests("def test_it(request): request.getfixturevalue('container')")
    result = project.run("--platforms=arm64", *mode)
    assert "Request it as an argument" in result.stdout.str()
    assert "request.getfixturevalue('container')" in result.stdout.str()  # the user's own line is shown
    assert "pytest_multiarch/" not in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()


def test_a_unittest_class_is_one_sentence(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("""
import unittest
import pytest

@pytest.mark.usefixtures("container")
class TestIt(unittest.TestCase):
    def test_it(self): pass

def test_other(): pass
""")
    result = project.run("--platforms=arm64", *mode)
    text = no_traceback(result)
    assert text.count("Request it as an argument") == 1
    assert result.parseoutcomes()["passed"] == 1
    assert result.parseoutcomes()["errors"] == 1
