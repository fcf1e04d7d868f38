"""What an image wrote is data in every report, also where pytest shows it: in a diff, in captured output."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_multiarch.errors import printable


def tame(report: pytest.TestReport) -> None:
    """Take what a terminal or a CI's log would obey out of a report."""
    report.sections = [(name, printable(text)) for name, text in report.sections]
    chain: list[Any] = getattr(report.longrepr, "chain", [])
    for traceback, crash, _ in chain:
        if crash is not None:
            crash.message = printable(crash.message)
        for entry in traceback.reprentries:
            entry.lines = [printable(line) for line in entry.lines]
