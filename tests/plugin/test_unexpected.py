"""What nobody expected ends what needs it, and nothing else: a hook that raises would end the whole run."""

from __future__ import annotations

import pytest
from projects import Project

TESTS = """
def test_a(container): pass
def test_b(container): pass
def test_c(): pass
"""

#: A fault where each hook waits for the engine; one that is known is mended, so it can't be made with a real one.
BROKEN = """
from pytest_multiarch.session import Session
def broken(self, *args, **kwargs): raise ZeroDivisionError("nobody expected this")
Session.{} = broken
"""


@pytest.mark.parametrize("part", ["start_builds", "renew_dead", "image", "_prepare"])
def test_an_exception_fails_the_tests_that_need_the_image(
    part: str, project: Project, mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/dead.sock")
    project.file("Dockerfile", "FROM scratch\n")
    project.file("conftest.py", BROKEN.format(part))
    project.tests(TESTS)
    result = project.run("--platforms=arm64", "test_it.py", *mode)
    assert "INTERNALERROR" not in result.stdout.str()
    result.assert_outcomes(passed=1, errors=2)
    assert ("nobody expected this" in result.stdout.str()) == (part == "image")


@pytest.mark.parametrize("word", ["arm64", "native"])
def test_a_client_that_talks_nonsense_fails_the_tests_that_need_it(
    word: str, project: Project, mode: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.file("bin/docker", "#!/bin/sh\necho Have you heard the news?\n").chmod(0o755)
    monkeypatch.setenv("PATH", str(project.path / "bin"), prepend=":")
    project.file("Dockerfile", "FROM scratch\n")
    project.tests(TESTS)
    result = project.run(f"--platforms={word}", "test_it.py", *mode)
    assert "INTERNALERROR" not in result.stdout.str()
    result.assert_outcomes(passed=1, errors=2)
