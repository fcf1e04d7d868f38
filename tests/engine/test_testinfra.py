"""testinfra on our shell is testinfra: a suite unchanged but for its `host`, and testinfra's own tests of itself.

The peer is testinfra's own backend for Docker. The image is like the one that testinfra is tested on: Debian with
systemd and services, in French and in an encoding that isn't UTF-8.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from importlib.metadata import version

import debian
import pytest
from engines import TestEngine
from projects import Project

#: What testinfra's own Dockerfile (images/debian_bookworm) installs, without what needs a registry or a network.
PACKAGES = (
    *("apt", "iproute2", "iptables", "locales", "openssh-server"),
    *("procps", "python3-minimal", "sudo", "supervisor", "systemd-sysv"),
)

#: Run on the unpacked root, $1: what that Dockerfile does then.
PREPARE = r"""
set -eu
cd "$1"
rm -f etc/systemd/system/*.wants/* lib/systemd/system/multi-user.target.wants/*
rm -f lib/systemd/system/local-fs.target.wants/* lib/systemd/system/sockets.target.wants/*udev*
find lib/systemd/system/sysinit.target.wants -type l ! -name systemd-tmpfiles-setup.service -delete
chroot . systemctl --quiet enable ssh supervisor
echo fr_FR.ISO-8859-15 ISO-8859-15 >etc/locale.gen
chroot . locale-gen
chroot . useradd --create-home --comment gecos.comment user
chroot . useradd --create-home unprivileged
chroot . chage --expiredate 2030-01-01 --mindays 7 --maxdays 90 user
printf "root:foo\nuser:foo\n" | chroot . chpasswd
echo "user ALL=NOPASSWD: ALL" >etc/sudoers.d/user
printf "[program:tail]\ncommand=tail -f /dev/null\nuser=user\n" >etc/supervisor/conf.d/tail.conf
"""

CHANGES = ("ENV LANG=fr_FR.ISO-8859-15 LANGUAGE=fr_FR container=docker", 'CMD ["/sbin/init"]')

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

#: A file whose name isn't ASCII, and words that aren't UTF-8.
ENCODED = """
def test_encoding(host):
    said = host.run("ls -l %s", "/é")
    assert said.stderr == "ls: impossible d'accéder à '/é': Aucun fichier ou dossier de ce type\\n"
    assert said.stderr_bytes == said.stderr.encode("iso-8859-15")
    host.check_output("echo %s >%s", "30 €", "/tmp/très")
    assert host.file("/tmp").listdir() == ["très"]
    assert host.file("/tmp/très").content == b"30 \\xa4\\n"
    assert host.file("/tmp/très").content_string == "30 €\\n"
"""

#: All of testinfra's own tests that a Docker host can run, on each backend in containers of its own.
BOTH = """
import sys
import types

import pytest
import testinfra
from testinfra.backend import parse_hostspec

# test_backends.py imports a word of the backend for Windows, which needs a package of its own.
sys.modules["testinfra.backend.winrm"] = types.SimpleNamespace(_quote=None)

IMAGE = "debian_bookworm"
BACKENDS = ("peer", "ours")
HOSTS = ("docker://" + IMAGE, "docker://" + IMAGE + "?sudo=True&sudo_user=user")

def up(container):
    # testinfra's test of supervisor expects that it answers as soon as systemd has started it.
    return container.run("systemctl is-active ssh && supervisorctl pid").returncode == 0

def started(factory):
    return factory.start(ready=up)

@pytest.fixture(scope="session")
def lasting(_multiarch_session, _multiarch_target):
    factory = _multiarch_session.factory(*_multiarch_target)
    yield {backend: started(factory) for backend in BACKENDS}
    factory.end()

@pytest.fixture
def host(request, lasting, container_factory):
    backend, spec = request.param
    destructive = request.node.get_closest_marker("destructive")
    container = started(container_factory) if destructive else lasting[backend]
    how = parse_hostspec(spec)[1]
    if backend == "ours":
        made = container.host
        made.backend.sudo, made.backend.sudo_user = how.get("sudo", False), how.get("sudo_user")
    else:
        made = testinfra.get_host("root@" + container.id, **how)
    return made

@pytest.fixture
def docker_image():
    return IMAGE

def pytest_generate_tests(metafunc):
    if "host" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("testinfra_hosts")
        specs = [spec for spec in (marker.args if marker else HOSTS[:1]) if spec in HOSTS]
        values = [(backend, spec) for spec in specs for backend in BACKENDS]
        metafunc.parametrize("host", values, indirect=True, ids="=".join)

def pytest_collection_modifyitems(items):
    items[:] = [each for each in items if "host" in each.fixturenames and "=docker:" in each.name]
"""

#: Tests of programs that the image hasn't, and of the Internet.
LEFT_OUT = ("salt", "puppet", "facter", "pip", "iptables", "addr")

#: Tests that end otherwise on our backend.
EXPLAINED = {
    # A byte of a command that isn't UTF-8 is U+FFFD once Docker's client has put the command into JSON, and the
    # test expects that ("docker bug ?"). Our shell hands it on, as ssh does.
    "test_encoding",
}


#: A line of pytest's summary: how a test ended, its name, its backend, its host.
ENDED = re.compile(r"^(PASSED|FAILED|ERROR) \S+::(\w+)\[(peer|ours)=(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def image(containerd: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return an image like the one that testinfra is tested on."""
    folder = tmp_path_factory.mktemp("debian")
    root, prepare = folder / "root.tar", folder / "prepare"
    prepare.write_text(PREPARE)
    words = debian.unpack("essential", debian.need_mirror(), PACKAGES, f'--customize-hook=sh {prepare} "$1"')
    with root.open("wb") as file:
        done = subprocess.run(words, stdout=file, stderr=-1, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    name = f"multiarch-test-of-testinfra:{uuid.uuid4().hex[:8]}"
    containerd.docker("import", *(f"--change={change}" for change in CHANGES), str(root), name)
    yield name
    containerd.docker("rmi", "--force", name)


@pytest.fixture(scope="module")
def own_tests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return testinfra's own tests by name, from the source of the version that is installed."""
    folder, name = tmp_path_factory.mktemp("source"), "pytest-testinfra"
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--no-binary={name}"]
    words += [f"--dest={folder}", f"{name}=={version(name)}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"NOT CHECKED: PyPI does not give testinfra's own tests: {done.stderr.strip()[-300:]}")
    with tarfile.open(next(folder.iterdir())) as source:
        source.extractall(folder, filter="data")
    return {path.name: path.read_text() for path in folder.glob("*/test/test_[bm]*.py")}


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


def test_what_is_not_utf_8_goes_both_ways(project: Project, image: str, containerd: TestEngine) -> None:
    project.tests(ENCODED)
    project.file("conftest.py", OVERRIDE)
    result = project.run(f"--multiarch-image={image}", "--platforms=native", "test_it.py")
    result.assert_outcomes(passed=1)


def test_testinfras_own_tests_end_alike_on_both_backends(
    project: Project, image: str, own_tests: dict[str, str], containerd: TestEngine
) -> None:
    for name, text in own_tests.items():
        project.file(name, text)
    project.file("conftest.py", BOTH)
    project.ini("multiarch_run_args = --privileged\nmarkers =\n    testinfra_hosts\n    destructive\n")
    chosen = " and ".join(f"not test_{name}" for name in LEFT_OUT)
    result = project.run(f"--multiarch-image={image}", "--platforms=native", "-k", chosen, "-rA", "--tb=short")
    ended: dict[str, dict[str, str]] = {"peer": {}, "ours": {}}
    for end, test, backend, host in ENDED.findall("\n".join(result.outlines)):
        ended[backend][f"{test}[{host}"] = end
    assert ended["peer"].keys() == ended["ours"].keys()
    assert len(ended["peer"]) >= 30
    assert [name for name, end in ended["peer"].items() if end != "PASSED"] == []
    differ = {name for name, end in ended["ours"].items() if end != "PASSED"}
    assert {name.partition("[")[0] for name in differ} == EXPLAINED
