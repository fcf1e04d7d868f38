"""An existing testinfra suite, unchanged but for its `host`: testinfra's usual modules in a real Debian image."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from subprocess import run

import debian
import pytest
from engines import TestEngine
from projects import Project

SUITE = """
import time

def test_file(host):
    file = host.file("/etc/passwd")
    assert (file.is_file, file.user, file.group, file.mode) == (True, "root", "root", 0o644)
    assert file.contains("^root:") and file.content_string.endswith("\\n") and file.size > 100
    assert host.file("/bin").is_symlink and host.file("/bin").linked_to == "/usr/bin"
    assert "passwd" in host.file("/etc").listdir()
    assert not host.file("/no such file").exists
    assert len(file.sha256sum) == 64

def test_user_and_group(host):
    root = host.user("root")
    assert (root.uid, root.gid, root.home, root.shell, root.groups) == (0, 0, "/root", "/bin/bash", ["root"])
    assert host.user().name == "root"
    assert host.group("mail").gid == 8
    assert not host.user("nobody-at-all").exists

def test_package(host):
    assert host.package("dpkg").is_installed
    assert host.package("dpkg").version.startswith("1.21.")
    assert not host.package("nginx").is_installed

def test_process(host):
    assert 1 in [each.pid for each in host.process.filter(user="root")]
    assert host.process.get(pid=1).user == "root"
    assert host.process.filter(comm="nginx") == []

def test_socket(host):
    server = "IO::Socket::INET->new(Listen => 1, LocalAddr => q(127.0.0.1), LocalPort => 8765); sleep 30"
    host.run("perl -MIO::Socket::INET -e %s >/dev/null 2>&1 &", f"my $s = {server}")
    deadline = time.monotonic() + 20
    while not host.socket("tcp://127.0.0.1:8765").is_listening:
        assert time.monotonic() < deadline
    assert not host.socket("tcp://127.0.0.1:8766").is_listening
    assert "tcp://127.0.0.1:8765" in host.socket.get_listening_sockets()

def test_service(host):
    assert not host.service("nginx").is_enabled
    assert not host.service("nginx").is_running

def test_facts(host):
    assert (host.system_info.distribution, host.system_info.codename) == ("debian", "bookworm")
    assert host.mount_point("/").exists
    assert "/usr/bin" in host.environment()["PATH"]
    assert host.exists("perl") and host.find_command("perl") == "/usr/bin/perl"
    assert host.check_output("echo %s", "it's") == "it's"
    assert host.run("exit 7").rc == 7
"""

OVERRIDE = """
import pytest

@pytest.fixture
def host(container):
    return container.host
"""


@pytest.fixture(scope="module")
def image(containerd: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return an image of Debian's essential packages, and of what the modules ask."""
    root = tmp_path_factory.mktemp("debian") / "root.tar"
    words = debian.unpack("essential", debian.need_mirror(), ("procps", "iproute2"))
    with root.open("wb") as file:
        done = run(words, stdout=file, stderr=-1, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    name = f"multiarch-test-of-testinfra:{uuid.uuid4().hex[:8]}"
    containerd.docker("import", str(root), name)
    yield name
    containerd.docker("rmi", "--force", name)


def test_a_testinfra_suite_runs_unchanged(
    project: Project, image: str, mode: tuple[str, ...], containerd: TestEngine
) -> None:
    project.tests(SUITE)
    project.file("conftest.py", OVERRIDE)
    result = project.run(f"--multiarch-image={image}", "--platforms=native", *mode, "test_it.py")
    result.assert_outcomes(passed=7)


def test_the_same_suite_passes_with_testinfras_own_backend(
    project: Project, image: str, containerd: TestEngine
) -> None:
    project.tests(SUITE)
    name = containerd.docker("run", "--detach", "--rm", "--init", image, "sleep", "300")
    try:
        result = project.run("-p", "no:multiarch", f"--hosts=docker://{name}", "test_it.py")
        result.assert_outcomes(passed=7)
    finally:
        containerd.docker("kill", name)
