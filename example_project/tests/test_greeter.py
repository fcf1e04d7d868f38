"""What a user of the greeter's image relies on, on every platform."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pytest_multiarch import Container, ContainerFactory, Platform

PORT = 7070


def test_executes(container: Container, platform: Platform) -> None:
    words = container.run(["greeter", "--version"], check=True).stdout.split()
    assert words[:2] == ["greeter", "1.0.0"]
    assert words[2].strip("()") in platform.machines


def test_runs_on_the_expected_machine(container: Container, platform: Platform) -> None:
    assert container.run("uname -m", check=True).stdout.strip() in platform.machines


def test_is_installed_for_everyone(container: Container) -> None:
    program = container.host.file("/usr/local/bin/greeter")
    assert program.mode == 0o755
    assert program.user == "root"


@pytest.fixture
def greeter(container_factory: ContainerFactory) -> Container:
    """Start the image's own program, as in production."""
    return container_factory.start(ports=[PORT], ready="listening on port")


@pytest.fixture
def connection(greeter: Container) -> Iterator[socket.socket]:
    with socket.create_connection(greeter.address(PORT), timeout=30) as opened:
        yield opened


def test_greets_over_tcp(connection: socket.socket, platform: Platform) -> None:
    with connection.makefile("rw", encoding="ascii", newline="\n") as stream:
        hello, source, machine = stream.readline().split()
        assert (hello, source) == ("hello", "from")
        assert machine in platform.machines

        stream.write("Ada\n")
        stream.flush()
        assert stream.readline() == f"hello Ada from {machine}\n"


def test_refuses_a_port_that_is_none(container: Container) -> None:
    refused = container.run(["greeter", "seventy"])
    assert refused.returncode == 1
    assert refused.stderr.startswith("usage: greeter")
