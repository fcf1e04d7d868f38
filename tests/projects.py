"""A project on the spot, to run pytest in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

#: No trace between runs, and none of Hypothesis's half a second, which every run ends with.
WITHOUT = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")


@dataclass(frozen=True)
class Project:
    """A project to run pytest in, in a process of its own."""

    pytester: pytest.Pytester

    @property
    def path(self) -> Path:
        """Return its folder."""
        return self.pytester.path

    def ini(self, text: str) -> None:
        """Write its ini file's section."""
        self.pytester.makeini("[pytest]\n" + text)

    def file(self, name: str, text: str) -> Path:
        """Write a file of it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def tests(self, text: str, name: str = "test_it.py") -> None:
        """Write a test file."""
        self.file(name, text)

    def run(self, *args: str, timeout: float = 300) -> pytest.RunResult:
        """Run pytest in it."""
        return self.pytester.runpytest_subprocess(*WITHOUT, *args, timeout=timeout)

    def look(self, *args: str) -> pytest.RunResult:
        """Run pytest in it, in this process: quick, for what ends before a test runs."""
        return self.pytester.runpytest_inprocess(*WITHOUT, *args)

    def ids(self, *args: str) -> list[str]:
        """Return the node ids that are collected, in order."""
        result = self.look("--collect-only", "-q", *args)
        return [line for line in result.outlines if "::" in line]


def one_paragraph(result: pytest.RunResult, *, code: int = 4) -> str:
    """Return the one line that a usage error is, above its evidence; nothing of ours may look like an accident."""
    assert result.ret == code
    text = "\n".join([*result.outlines, *result.errlines])
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    lines = [line for line in result.errlines if line.strip() and not line.startswith("    ")]
    assert len(lines) == 1, lines
    return lines[0].removeprefix("ERROR: ")


def words(flag: str, values: Sequence[str] | Mapping[str, str]) -> list[str]:
    """Return a repeated option."""
    texts = [f"{name}={value}" for name, value in values.items()] if isinstance(values, Mapping) else values
    return [f"{flag}={text}" for text in texts]
