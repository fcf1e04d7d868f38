"""What an engine's answers mean: captured words in, values out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_multiarch import EngineError
from pytest_multiarch.engine import client
from pytest_multiarch.engine.client import Engine, parse_info, version_of

#: Captured from Docker 28.5 with the containerd store, cut to what is read.
SAID = {
    "ID": "b5a2",
    "ServerVersion": "28.5.2",
    "OSType": "linux",
    "Architecture": "x86_64",
    "KernelVersion": "6.8.0",
    "MemTotal": 1000,
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "ClientInfo": {"Context": "mine", "Plugins": [{"Name": "buildx", "Version": "v0.30.1-desktop.1"}]},
}


def test_an_engine_on_this_machine() -> None:
    info = parse_info(SAID, kernel="6.8.0", memory=1000)
    assert (str(info.platform), info.containerd, info.shares_kernel) == ("linux/amd64", True, True)
    assert (info.context, info.buildx, info.id) == ("mine", (0, 30, 1), "b5a2")
    assert str(info) == "Docker 28.5.2, linux/amd64, containerd image store"


def test_an_engine_elsewhere_with_the_classic_store_and_no_buildx() -> None:
    said = {**SAID, "DriverStatus": [["Backing Filesystem", "extfs"]], "ClientInfo": {}, "Architecture": "aarch64"}
    info = parse_info(said, kernel="6.8.0", memory=2000)
    assert (str(info.platform), info.containerd, info.shares_kernel) == ("linux/arm64", False, False)
    assert (info.buildx, info.context) == ((), "default")


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
    docker = tmp_path / "docker"
    docker.write_text(
        f"""#!/bin/sh
echo >>{tmp_path}/asked
[ "$(wc -l <{tmp_path}/asked)" -gt {failures} ] || {{ echo "{GOES_AWAY}" >&2; exit 1; }}
printf 'b:1\\na:1\\nb:1\\n'
"""
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    if failures < 5:
        assert Engine().tags("*") == ["a:1", "b:1"]
    else:
        with pytest.raises(EngineError, match="failed to read config content"):
            Engine().tags("*")
