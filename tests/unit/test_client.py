"""What an engine's answers mean: captured words in, values out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_multiarch import EngineError
from pytest_multiarch.engine import client
from pytest_multiarch.engine.client import Engine, parse_info, version_of
from pytest_multiarch.engine.reach import Reach, gateway_of, own_container


def a_client(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a `docker` on PATH that a shell runs."""
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


#: Captured from Docker 28.5 with the containerd store, cut to what is read.
SAID = {
    "ID": "b5a2",
    "ServerVersion": "28.5.2",
    "OSType": "linux",
    "Architecture": "x86_64",
    "Name": "box",
    "KernelVersion": "6.8.0",
    "MemTotal": 1000,
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "ClientInfo": {"Context": "mine", "Plugins": [{"Name": "buildx", "Version": "v0.30.1-desktop.1"}]},
}


def test_an_engine_on_this_machine() -> None:
    info = parse_info(SAID)
    assert (str(info.platform), info.containerd, info.machine) == ("linux/amd64", True, ("box", "6.8.0", 1000))
    assert (info.context, info.buildx, info.id) == ("mine", (0, 30, 1), "b5a2")
    assert str(info) == "Docker 28.5.2, linux/amd64, containerd image store"


def test_an_engine_elsewhere_with_the_classic_store_and_no_buildx() -> None:
    said = {**SAID, "DriverStatus": [["Backing Filesystem", "extfs"]], "ClientInfo": {}, "Architecture": "aarch64"}
    info = parse_info(said)
    assert (str(info.platform), info.containerd) == ("linux/arm64", False)
    assert (info.buildx, info.context) == ((), "default")


#: The keys of what `podman info --format '{{json .}}'` says (podman-info(1)).
PODMAN = '{"host": {"arch": "amd64"}, "store": {}, "registries": {}, "version": {"Version": "4.3.1"}}'


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (PODMAN, "the `docker` client is Podman's: Podman builds without BuildKit"),
        ("Emulate Docker CLI", "the `docker` client's answer can't be read"),
    ],
)
def test_a_client_that_is_not_dockers(
    answer: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_client(tmp_path, monkeypatch, f"echo '{answer}'")
    with pytest.raises(EngineError, match=says):
        _ = Engine().info


#: What an engine on this machine says of it.
HERE = {
    "Name": os.uname().nodename,
    "KernelVersion": os.uname().release,
    "MemTotal": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
}


@pytest.mark.parametrize(
    ("changed", "host", "context", "ours"),
    [
        ({}, "", "unix:///var/run/docker.sock", True),
        ({}, "unix:///run/other.sock", "ssh://me@twin", True),
        ({}, "ssh://me@twin", "unix:///var/run/docker.sock", False),
        ({}, "tcp://127.0.0.1:2375", "", False),
        ({}, "", "ssh://me@twin", False),
        ({"Name": "twin"}, "", "unix:///forwarded/by/ssh.sock", False),
        ({"MemTotal": 1}, "", "unix:///home/me/.docker/desktop/docker.sock", False),
        ({"KernelVersion": "6.8.0-linuxkit"}, "", "unix:///home/me/.docker/desktop/docker.sock", False),
    ],
)
def test_a_machine_that_is_equal_is_not_this_one(
    changed: Mapping[str, object],
    host: str,
    context: str,
    ours: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = json.dumps({**SAID, **HERE, **changed})
    a_client(tmp_path, monkeypatch, f"case $1 in info) echo '{said}' ;; context) echo '{context}' ;; esac")
    monkeypatch.setenv("DOCKER_HOST", host)
    assert Engine().shares_kernel is ours


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v0.30.1-desktop.1", (0, 30, 1)),
        ("docker/buildx 0.13.1 abc", (0, 13, 1)),
        ("dev", ()),
        ("", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize("version", ["v0.10.2", "0.13.1+ds1-3", "v1.0.0", "v0.0.0+unknown"])
def test_a_buildx_of_today_is_taken_and_one_that_tells_no_version(version: str) -> None:
    engine_with(version).need_buildx()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("v0.8.2", "Docker's buildx is too old: it is 0.8.2, and 0.10.2 is needed. Install"),
        ("v0.10.0", "Docker's buildx is too old: it is 0.10.0, and 0.10.2 is needed. Install"),
        ("", "the `docker` client has no buildx. Install"),
    ],
)
def test_an_older_buildx_is_refused_by_name(version: str, told: str) -> None:
    with pytest.raises(EngineError) as caught:
        engine_with(version).need_buildx()
    assert str(caught.value).startswith(told)


def engine_with(buildx: str) -> Engine:
    engine = Engine()
    plugins = [{"Name": "buildx", "Version": buildx}]
    engine.info = parse_info({**SAID, "ClientInfo": {"Plugins": plugins}})
    return engine


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
            "the Docker engine's socket refuses this user. Run as a user who may use it",
        ),
        (
            "dial unix /var/run/docker.sock: connect: permission denied",
            "the Docker engine's socket refuses this user. Run as a user who may use it",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "no Docker engine answers",
        ),
        ("error during connect: dial tcp: lookup nowhere: no such host", "no Docker engine answers. Start it"),
        ("dial tcp 127.0.0.1:2375: connect: connection refused", "no Docker engine answers. Start it"),
        (
            'Failed to initialize: context "a b": context not found: open /x: no such file',
            "there is no Docker context 'a b'",
        ),
        ("invalid reference format", "`docker x` failed"),
    ],
)
def test_a_refusal_says_what_to_do_and_keeps_the_words(said: str, told: str) -> None:
    error = client._refusal(said, shown="docker x")
    assert isinstance(error, EngineError)
    assert str(error).startswith(told)
    assert said in str(error)


#: What the containerd store says while an image goes away: whose listing meets that can't be chosen.
GOES_AWAY = (
    "Error response from daemon: failed to read config content: NotFound: content digest sha256:28: not found"
)


@pytest.mark.parametrize("failures", [0, 3, 99])
def test_a_listing_of_images_is_asked_again(
    failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_client(
        tmp_path,
        monkeypatch,
        f"""
echo >>{tmp_path}/asked
[ "$(wc -l <{tmp_path}/asked)" -gt {failures} ] || {{ echo "{GOES_AWAY}" >&2; exit 1; }}
printf 'b:1\\na:1\\nb:1\\n'
""",
    )
    if failures < 5:
        assert Engine().tags("*") == ["a:1", "b:1"]
    else:
        with pytest.raises(EngineError, match="failed to read config content"):
            Engine().tags("*")


@pytest.mark.parametrize(
    ("endpoint", "bind", "host"),
    [
        ("tcp://docker:2375", "", "docker"),
        ("tcp://10.1.2.3:2375/", "", "10.1.2.3"),
        ("tcp://[2001:db8::1]:2375", "", "2001:db8::1"),
        ("tcp://127.0.0.1:2375", "127.0.0.1", "127.0.0.1"),
        ("tcp://127.0.0.2:2375", "127.0.0.2", "127.0.0.2"),
        ("tcp://localhost:2375", "127.0.0.1", "localhost"),
        ("tcp://[::1]:2375", "[::1]", "::1"),
        ("tcp://0.0.0.0:2375", "127.0.0.1", "127.0.0.1"),
        ("unix:///var/run/docker.sock", "127.0.0.1", "127.0.0.1"),
        ("ssh://Twin", "", "10.9.8.7"),
        ("ssh://me@Twin:2222", "", "10.9.8.7"),
        ("ssh://me@Twin/run/docker.sock", "", "10.9.8.7"),
        ("ssh://other.example", "", "other.example"),
    ],
)
def test_where_ports_are_published_and_reached(
    endpoint: str, bind: str, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\n[ "$2" = Twin ] || exit 255\nprintf "user me\\nhostname 10.9.8.7\\nport 22\\n"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_HOST", endpoint)
    assert Engine().reach == Reach(bind, host)


OWN = "b" * 64
MOUNTS = f"""\
617 616 0:52 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/X
627 617 254:0 /var/lib/docker/containers/{OWN}/resolv.conf /etc/resolv.conf rw - ext4 /dev/root rw
628 617 254:0 /var/lib/docker/containers/{OWN}/hostname /etc/hostname rw - ext4 /dev/root rw
"""


def test_a_container_of_the_engines_reaches_its_host_by_the_gateway() -> None:
    assert own_container(MOUNTS) == OWN
    assert own_container(MOUNTS.replace(OWN, "short")) == ""
    networks = {"none": {"Gateway": ""}, "bridge": {"Gateway": "172.17.0.1"}}
    assert gateway_of({"NetworkSettings": {"Networks": networks}}) == "172.17.0.1"
    assert gateway_of({"NetworkSettings": {"Networks": {"host": {"Gateway": ""}}}}) == ""
    assert gateway_of({}) == ""


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2026-11-30T21:02:50.123456789Z", 1796072570),
        ("2026-11-30T22:02:50.12+01:00", 1796072570),
        ("2026-11-30T21:02:50Z", 1796072570),
    ],
)
def test_the_engines_clock(said: str, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho {said}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert Engine().clock == seconds
