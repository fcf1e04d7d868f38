"""Services: the image's own program, started as in production, with ports and readiness."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import TestEngine, contexts
from far import FarEngine
from sources import Opener, ini_for

import pytest_multiarch
from pytest_multiarch import (
    Container,
    ContainerDied,
    ContainerError,
    ContainerFactory,
    DeadlinePassed,
    ImageSpec,
)
from pytest_multiarch.session import Session


@pytest.fixture(params=["native", "linux/arm64"])
def anywhere(request: pytest.FixtureRequest, session: Session, spec: ImageSpec) -> Iterator[ContainerFactory]:
    factory = session.factory(spec, request.param)
    yield factory
    factory.end()


@pytest.fixture
def factory(session: Session, spec: ImageSpec) -> Iterator[ContainerFactory]:
    made = session.factory(spec, "native")
    yield made
    made.end()


def page(service: Container, port: int = 8080) -> str:
    host, outer = service.address(port)
    with urllib.request.urlopen(f"http://{host}:{outer}/", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def test_a_service_answers_on_a_published_port_once_it_is_started(anywhere: ContainerFactory) -> None:
    service = anywhere.start(ports=[8080])
    assert page(service) == "hello\n"
    assert "serving on 8080" in service.logs()


def test_ready_is_a_regular_expression(factory: ContainerFactory) -> None:
    service = factory.start(["sh", "-c", "sleep 0.3; echo it is up; sleep 60"], ready=r"is\s+up")
    assert service.logs().endswith("it is up\n")


def test_ready_is_a_function_that_may_run_commands_in_it(factory: ContainerFactory) -> None:
    service = factory.start(
        "sh -c 'sleep 0.3; touch /ready; sleep 60'",
        ready=lambda container: container.run("ls /ready").returncode == 0,
    )
    assert service.host.file("/ready").exists


def test_without_ports_and_ready_it_is_started_and_no_more(factory: ContainerFactory) -> None:
    assert factory.start(["sleep", "60"]).alive


def test_environment_reaches_the_program(factory: ContainerFactory) -> None:
    service = factory.start(env={"PORT": "9000"}, ports=[9000])
    assert page(service, 9000) == "hello\n"


def test_several_services_of_one_image_do_not_meet(factory: ContainerFactory) -> None:
    one, two = factory.start(ports=[8080]), factory.start(ports=[8080])
    assert one.address(8080) != two.address(8080)
    assert page(one) == page(two) == "hello\n"


def test_a_port_may_be_chosen(factory: ContainerFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert factory.start(ports={8080: free}).address(8080)[1] == free


def test_a_port_that_is_taken_is_an_error_that_says_so(factory: ContainerFactory, containerd: TestEngine) -> None:
    before = containerd.containers
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(ContainerError, match=r"a port of the host is taken\. Leave the choice"):
            factory.start(ports={8080: taken})
    assert containerd.containers == before


def test_a_service_that_dies_at_once_shows_its_last_words(factory: ContainerFactory) -> None:
    with pytest.raises(ContainerDied, match=r"(?s)ended before it was ready: its exit code is 3.*no config"):
        factory.start(["sh", "-c", "echo no config >&2; exit 3"], ready="never")


def test_a_service_that_is_never_ready_is_ended_and_shows_its_log(
    factory: ContainerFactory, containerd: TestEngine
) -> None:
    before = containerd.containers
    with pytest.raises(DeadlinePassed, match=r"(?s)was not ready in 1 seconds.*still thinking"):
        factory.start(["sh", "-c", "echo still thinking; sleep 60"], ready="never", timeout=1)
    assert containerd.containers == before


def test_a_program_that_is_missing_says_so(factory: ContainerFactory, containerd: TestEngine) -> None:
    before = containerd.containers
    with pytest.raises(ContainerError, match="its program is missing in the image"):
        factory.start(["/nothing"])
    assert containerd.containers == before


@pytest.mark.parametrize("code", [1, 125, 126, 127])
def test_a_program_that_ends_by_itself_was_started(factory: ContainerFactory, code: int) -> None:
    with pytest.raises(
        ContainerDied, match=rf"(?s)ended before it was ready: its exit code is {code}.*no tool"
    ) as caught:
        factory.start(["sh", "-c", f"echo no tool >&2; exit {code}"], ready="never")
    assert "could not be started" not in str(caught.value)


def test_a_script_without_its_first_line_fails_as_in_production(factory: ContainerFactory) -> None:
    # With `--init` tini would run it by `sh`, and exit code 0 would say that all is well.
    with pytest.raises(ContainerError, match="could not be started"):
        factory.start(["/www/index.html"])


def test_the_address_is_asked_for_once_and_ends_with_the_container(
    factory: ContainerFactory, containerd: TestEngine
) -> None:
    service = factory.start(ports=[8080])
    began = time.monotonic()
    assert len({service.address(8080) for _ in range(1000)}) == 1
    assert time.monotonic() - began < 1
    service.kill()
    with pytest.raises(ContainerDied, match="is gone"):
        service.address(8080)


def test_ports_that_are_never_taken_are_named(factory: ContainerFactory) -> None:
    with pytest.raises(DeadlinePassed, match=r"not all of its ports take a connection at 127\.0\.0\.1:\d+\. Look"):
        factory.start(["sleep", "60"], ports=[8080], timeout=1)


#: The engine's socket is on this machine, so whatever is published on its loopback answers.
@pytest.mark.parametrize(
    ("at", "host", "bound"),
    [
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost", "127.0.0.1"),
    ],
)
def test_an_engine_over_tcp_publishes_where_it_is_reached(
    at: str, host: str, bound: str, spec: ImageSpec, monkeypatch: pytest.MonkeyPatch, opened: Opener
) -> None:
    far = FarEngine(at)
    monkeypatch.setenv("DOCKER_HOST", f"{far.address}/")
    session = opened()
    factory = session.factory(spec, "native")
    service = factory.start(ports=[8080])
    assert service.address(8080)[0] == host
    assert page(service) == "hello\n"
    found = session.engine.inspect("container", service.name) or {}
    assert {each["HostIp"] for each in found["NetworkSettings"]["Ports"]["8080/tcp"]} == {bound}
    factory.end()
    session.close()
    far.close()


#: For a project that is run in a container.
INSIDE = """
import urllib.request
def test_service(container_factory):
    host, port = container_factory.start(ports=[8080]).address(8080)
    assert host != "127.0.0.1"
    assert urllib.request.urlopen(f"http://{host}:{port}/", timeout=10).read() == b"hello\\n"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: to use this machine's files in a container takes root")
def test_a_container_that_was_given_the_engines_socket_reaches_a_service(
    session: Session, spec: ImageSpec, source: Path, containerd: TestEngine, tmp_path: Path
) -> None:
    """The files are this machine's, but 127.0.0.1 is the container that has them, and not the engine's host."""
    for name in ("Dockerfile", "serve", "getent"):
        shutil.copy(source / name, tmp_path)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini_for(contexts(), multiarch_driver='docker')}")
    (tmp_path / "test_it.py").write_text(INSIDE)
    (tmp_path / "hostname").touch()
    names = ("XDG_STATE_HOME", "PATH", "HOME")
    given = [word for name in names for word in ("--env", f"{name}={os.environ[name]}")]
    pytest_here = f"{sys.executable} -m pytest --platforms=native -q -p no:cacheprovider test_it.py"
    said = containerd.docker(
        *("run", "--rm", "--privileged", "--volume=/:/here", *given, "--entrypoint=/bin/sh"),
        *("--env", f"PYTHONPATH={Path(pytest_multiarch.__file__).parents[1]}"),
        *(session.container(spec, "native").image.id, "-c"),
        f"/bin/busybox mount -o bind /etc/hostname /here{tmp_path}/hostname &&"
        f" exec /bin/busybox chroot /here /bin/sh -c 'cd {tmp_path}; {pytest_here} 2>&1; true'",
    )
    assert "1 passed" in said, said


def test_the_address_of_a_port_that_is_not_published_says_what_to_do(factory: ContainerFactory) -> None:
    service = factory.start(ports=[8080])
    with pytest.raises(ContainerError, match=r"port 9 .* not published\. Start it with .*ports=\[9\]"):
        service.address(9)


def test_an_image_without_a_shell_runs_as_a_service(session: Session, bare: ImageSpec) -> None:
    factory = session.factory(bare, "native")
    service = factory.start(["httpd", "-f", "-p", "80", "-h", "/"], ports=[80])
    with socket.create_connection(service.address(80), timeout=10) as connection:
        connection.sendall(b"GET /none HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1")
    factory.end()


def test_the_end_takes_all_of_them(factory: ContainerFactory, containerd: TestEngine) -> None:
    before = containerd.containers
    factory.start(["sleep", "60"])
    factory.start(["sh", "-c", "trap '' TERM; while :; do :; done"])
    factory.end()
    assert containerd.containers == before
