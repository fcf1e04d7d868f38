"""Every option and ini value that the documents and --help name is taken as it is written."""

from __future__ import annotations

import documents
import pytest
from documents import DOCUMENTS, README, Value
from projects import Project

from pytest_multiarch import options
from pytest_multiarch.options import OPTIONS

LINES = [line for path in DOCUMENTS for line in documents.lines(path.read_text())]
VALUES = dict.fromkeys(
    [
        *documents.table(README),
        *filter(None, map(documents.setting, LINES)),
        *(value for option in OPTIONS for value in documents.told(option)),
    ]
)


@pytest.fixture
def away(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return a project with a Dockerfile where no engine answers."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/dead.sock")
    project.file("Dockerfile", "FROM scratch\n")
    return project


@pytest.mark.parametrize("value", VALUES, ids=" ".join)
def test_a_value_is_taken_as_it_is_written(value: Value, away: Project) -> None:
    option = value.name.startswith("-")
    lines = {"multiarch_platforms": "linux/arm64", **({} if option else {value.name: value.value})}
    away.ini("".join(f"{name} = {said}\n" for name, said in lines.items()))
    result = away.look("--collect-only", "-q", *([f"{value.name}={value.value}"] if option else []))
    assert result.ret == pytest.ExitCode.OK, result.outlines + result.errlines


def test_a_value_that_is_not_taken_is_seen(away: Project) -> None:
    assert away.look("--collect-only", "-q", "--multiarch-cpu=best").ret == pytest.ExitCode.USAGE_ERROR


def test_the_help_says_what_is_tried(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    said = project.run("--help").stdout.str()
    shown = [option.help if option.ini_only else options._help(option) for option in OPTIONS]
    assert [text for text in shown if text not in said] == []
