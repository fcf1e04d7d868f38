"""What an image wrote is data in every report, also where pytest shows it: in a diff, in captured output."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_multiarch.errors import printable


def sanitize(report: pytest.TestReport) -> None:
    """Take what a terminal or a CI's log would obey out of a report."""
    report.sections = [(name, printable(text)) for name, text in report.sections]
    said: Any = report.longrepr
    if isinstance(said, tuple):  # a skip: path, line, reason
        report.longrepr = (said[0], said[1], printable(said[2]))
    elif isinstance(said, str):
        report.longrepr = printable(said)
    elif said is not None:
        _sanitize_exception(said)
    if hasattr(report, "wasxfail"):
        report.wasxfail = printable(report.wasxfail)


def _sanitize_exception(shown: Any) -> None:
    """Do so with what pytest shows of an exception; `--tb=native` makes no chain of it."""
    shown.sections = [(name, printable(text), line) for name, text, line in getattr(shown, "sections", ())]
    whole = (getattr(shown, "reprtraceback", None), getattr(shown, "reprcrash", None))
    for traceback, crash, *_ in getattr(shown, "chain", None) or [whole]:
        if crash is not None:
            crash.message = printable(crash.message)
        for entry in traceback.reprentries if traceback is not None else ():
            entry.lines = [printable(line) for line in entry.lines]
            if local := getattr(entry, "reprlocals", None):  # an image's words in a variable's `__repr__`
                local.lines = [printable(line) for line in local.lines]
