"""What a user of vlmcsd relies on, on every platform: the scenario this tool was started for."""

from __future__ import annotations

from pytest_multiarch import Container, Platform


def test_executes(container: Container) -> None:
    version = container.run(["vlmcsd", "-V"], check=True)
    assert version.stdout.startswith("vlmcsd ")


def test_runs_on_the_expected_machine(container: Container, platform: Platform) -> None:
    assert container.run("uname -m", check=True).stdout.strip() in platform.machines


def test_is_installed_for_everyone(container: Container) -> None:
    program = container.host.file("/usr/bin/vlmcsd")
    assert program.mode == 0o755
    assert program.user == "root"
