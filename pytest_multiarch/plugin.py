"""pytest's hooks: each hands over to the room that knows, and opens late what a suite without us never needs."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_multiarch import hookspecs, options, parametrization
from pytest_multiarch.errors import MultiarchError, SettingsError
from pytest_multiarch.suite import SUITE, Suite

if TYPE_CHECKING:
    from pytest_multiarch.gate import Gate

__tracebackhide__ = True

#: The name under which the gate is registered.
GATE = "multiarch-gate"

pytest_plugins = ("pytest_multiarch.fixtures",)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare our hooks."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our options."""
    options.add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Let `-n N` alone mean `--dist=worksteal`: near to one container per platform, and no idle worker.

    xdist turns it to `load`, first of all hooks: only a wrapper comes before that.
    """
    if config.getoption("numprocesses", None) and config.getoption("dist", None) == "no" and _active(config):
        config.option.dist = "worksteal"
    return (yield)


def _active(config: pytest.Config) -> bool:
    with contextlib.suppress(SettingsError):  # told when pytest configures
        return options.settings(config).active
    return False


def pytest_configure(config: pytest.Config) -> None:
    """Check the settings here, on the controller, where a mistake is a usage error."""
    for marker in parametrization.MARKERS:
        config.addinivalue_line("markers", marker)
    try:
        suite = config.stash[SUITE] = Suite(config)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None
    if suite.settings.active and not suite.is_worker:
        from pytest_multiarch import interrupts
        from pytest_multiarch.gate import Gate

        interrupts.install(config)
        config.pluginmanager.register(Gate(config, suite), GATE)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Settle what to collect, and for which platforms, before a worker starts or a test is collected."""
    suite = session.config.stash[SUITE]
    suite.image = parametrization.image_of_root(session.config, suite.settings)
    if "all" in suite.settings.platforms:
        option = session.config.option
        # The workers' run, which xdist would name later: what is asked once must not be asked again by them.
        suite.run_id = option.testrunuid = getattr(option, "testrunuid", None) or suite.run_id
        try:
            _ = suite.platforms
        except MultiarchError as error:  # it may be a mistake in the image's name
            raise pytest.UsageError(str(error)) from None
    if suite.checking:
        from pytest_multiarch.checks import collection

        try:
            session.config.args[:] = collection.arguments(suite.image, suite.settings, session.config)
        except MultiarchError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what was asked for."""
    settings = config.stash[SUITE].settings
    if not settings.active:
        return []
    from pytest_multiarch.report import lines

    return [lines.header(settings)]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker the platforms as plain strings."""
    from pytest_multiarch.report import once

    once.watch(node.config.pluginmanager)
    suite = node.config.stash[SUITE]
    suite.run_id = node.workerinput["testrunuid"]
    node.workerinput["multiarch_platforms"] = suite.for_worker()


@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Go to the file that makes the image, wherever it is."""
    suite = config.stash[SUITE]
    if not suite.checking:
        return None
    from pytest_multiarch.checks import collection

    return collection.ignored(collection_path, suite.image, config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the built-in checks under the file that makes the image."""
    suite = parent.config.stash[SUITE]
    if not suite.checking:
        return None
    from pytest_multiarch.checks import collection

    return collection.collect(file_path, parent, suite.settings)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a platform once per platform."""
    parametrization.complete(metafunc.definition)
    if parametrization.TARGET in metafunc.fixturenames:
        suite = metafunc.config.stash[SUITE]
        parametrization.parametrize(metafunc, suite.settings, suite.platforms)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Know what an item needs."""
    if isinstance(item, pytest.Function) and parametrization.target_of(item):
        parametrization.complete(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    """Count what was collected before anybody deselects; put the items of one platform side by side."""
    config.stash[SUITE].count_collected(items)
    result = yield
    items[:] = parametrization.by_platform(items)
    return result


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what the user left out himself."""
    if items:
        items[0].config.stash[SUITE].count_deselected(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build, now that it is known what is needed."""
    option = session.config.option
    if not (option.collectonly or option.setupplan):
        session.config.stash[SUITE].start_builds(session.items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for the image outside of the test, so that neither `--durations` nor a time limit counts it."""
    suite = item.config.stash[SUITE]
    suite.await_image(item)
    try:
        return (yield)
    finally:
        suite.count_run(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show an error of ours in set-up as its text alone."""
    report = yield
    suite = item.config.stash[SUITE]
    suite.mark(report, item)
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, MultiarchError) and (call.when != "call" or _is_check(item)):
        from pytest_multiarch.report import once

        if not suite.is_worker:
            once.watch(item.config.pluginmanager)
        once.attach(report, error)
    if parametrization.target_of(item):
        from pytest_multiarch.report.sanitize import sanitize

        sanitize(report)
    return report


def _is_check(item: pytest.Item) -> bool:
    from pytest_multiarch.checks.collection import Checks

    return isinstance(item.parent, Checks)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send what a worker found to the controller."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["multiarch"] = session.config.stash[SUITE].told_by_worker()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take in what a worker found; one that crashed has nothing to say."""
    output = getattr(node, "workeroutput", None) or {}
    node.config.stash[SUITE].hear_worker(output.get("multiarch", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which engine, builder and emulators it was."""
    gate: Gate | None = config.pluginmanager.getplugin(GATE)
    facts, warnings = config.stash[SUITE].facts, gate.warnings if gate else []
    if any(facts.values()) or warnings:
        from pytest_multiarch.report import lines

        terminalreporter.section("multiarch")
        for line in (*lines.summary(facts), *warnings):
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what this process started: not before, for xdist's session may finish before its workers (#1045)."""
    if SUITE in config.stash:
        config.stash[SUITE].close()
