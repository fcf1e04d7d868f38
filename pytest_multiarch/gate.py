"""The controller's last word: an image that proved nothing on a platform that was asked for fails the run."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_multiarch.outcomes import Pair, explain, silent
from pytest_multiarch.suite import Suite

__tracebackhide__ = True

#: The node that the verdicts stand under in terminal and JUnit.
NODE = "multiarch"


class Gate:
    """Counts what each platform reached, where all reports arrive: in a plain run, or on xdist's controller."""

    def __init__(self, config: pytest.Config, suite: Suite) -> None:
        self._config, self._suite = config, suite
        self.warnings: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one report."""
        pair = getattr(report, "multiarch_pair", None)
        if pair:
            reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
            self._suite.tally.add(Pair(*pair), report.when, report.outcome, reason, hasattr(report, "wasxfail"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Speak before the exit code is made; an interrupted run doesn't come here."""
        result = yield
        option = self._config.option
        if not (option.collectonly or option.setupplan or session.shouldstop or session.shouldfail):
            self._speak(session)
        return result

    def _speak(self, session: pytest.Session) -> None:
        settings, tally = self._suite.settings, self._suite.tally
        # Of a module with a failure, `--lf` collects nothing else, and calls that no deselection.
        chosen = any("::" in word for word in self._config.args) or self._config.getoption("lf", default=False)
        failing, warning = silent(
            self._suite.platforms if settings.platforms else (),
            tally,
            insisted=settings.source == "--platforms",
            chosen=chosen,
        )
        self.warnings = [f"{tally.label(pair)}: not verified, its tests were deselected" for pair in warning]
        for pair in failing:
            self._fail(tally.label(pair), explain(pair, tally))

    def _fail(self, name: str, text: str) -> None:
        """Report one failure as a test's, so that terminal, JUnit and exit code agree."""
        node = f"{NODE}::verified[{name}]"
        place = (NODE, None, f"verified[{name}]")
        hook = self._config.hook
        hook.pytest_runtest_logstart(nodeid=node, location=place)
        for report in (
            pytest.TestReport(node, place, {}, outcome="failed", longrepr=text, when="call"),
            pytest.TestReport(node, place, {}, outcome="passed", longrepr=None, when="teardown"),
        ):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=node, location=place)
        self._forget(node)

    def _forget(self, node: str) -> None:
        """Keep the verdict out of `--lf`: it is no test that could run again."""
        plugin = self._config.pluginmanager.getplugin("lfplugin")
        if plugin is not None:  # its keys are text, and in newer versions objects that read like it
            for key in [key for key in plugin.lastfailed if str(key) == node]:
                del plugin.lastfailed[key]
