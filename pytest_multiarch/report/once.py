"""An error that stops many tests is shown whole by the first of them, and referred to by the others."""

from __future__ import annotations

import pytest

from pytest_multiarch.errors import MultiarchError, from_dict, printable

#: The attribute of a report that carries the error; it travels from a worker to the controller.
ATTACHED = "multiarch_error"


def attach(report: pytest.TestReport, error: MultiarchError) -> None:
    """Show the error as its text alone, and write it on the report."""
    vars(report)[ATTACHED] = error.as_dict()
    shown = pytest.ExceptionInfo.from_exception(error).getrepr(style="value")
    if shown.reprcrash is not None:  # the summary's line has no room for the error's full type
        shown.reprcrash.message = printable(error.what)
    report.longrepr = shown


#: The name under which `Once` is registered.
NAME = "multiarch-once"


def watch(pluginmanager: pytest.PytestPluginManager) -> None:
    """Shorten from now on what was shown already: for where all reports arrive, not for a worker of xdist."""
    if not pluginmanager.has_plugin(NAME):
        pluginmanager.register(Once(), NAME)


class Once:
    """Shortens what was shown already, where all reports arrive: in a plain run, or on xdist's controller."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Replace an error that was shown before by a reference to it."""
        carried = vars(report).get(ATTACHED)
        if carried is None:
            return
        error = from_dict(carried)
        if str(error) in self._shown:
            attach(report, _raised(type(error)(error.what, do="Told in full above, by the first that it stopped")))
        self._shown.add(str(error))


def _raised(error: MultiarchError) -> MultiarchError:
    """Return the error with a traceback, which pytest wants of what it shows."""
    try:
        raise error
    except MultiarchError as raised:
        return raised
