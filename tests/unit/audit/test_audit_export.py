"""How the export of an image ends: whole, broken off, late. What an engine exports, only an engine tells."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import pytest
from audit_samples import program, tar

from pytest_multiarch import process
from pytest_multiarch.audit import export
from pytest_multiarch.errors import DeadlinePassed, EngineError


class Client:
    """A client whose `export` is a line of shell."""

    labels = ("--label", "a=b")

    def __init__(self, line: str) -> None:
        self.command = ["sh", "-c", line]
        self.calls: list[tuple[str, ...]] = []

    def call(self, *args: str, timeout: float = 60, check: bool = True) -> process.Finished:
        self.calls.append(args)
        return process.Finished(args, 0, b"WARNING: something\nabc\n", b"", 0.0)

    def remove(self, container: str) -> str:
        self.calls.append(("remove", container))
        return ""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "x.tar").write_bytes(tar({"bin/x": program()}))
    return tmp_path / "x.tar"


def test_whole(archive):
    client = Client(f"cat {shlex.quote(str(archive))}")
    assert export.read_image(client, "image").at("/bin/x")
    create, remove = client.calls
    assert create == ("create", "--pull=never", "--label", "a=b", "--network=none", "image", "x")
    assert remove == ("remove", "abc")


@pytest.mark.parametrize("end", ["exit 1", "exit 0", "kill -9 $$"])
def test_broken_off(archive, end):
    client = Client(f"head -c 1000 {shlex.quote(str(archive))}; echo no space >&2; {end}")
    with pytest.raises(EngineError, match="broke off") as caught:
        export.read_image(client, "image")
    assert "no space" in caught.value.evidence
    assert client.calls[-1][0] == "remove", "the container is removed all the same"


def test_a_client_that_fails_at_the_end(archive):
    with pytest.raises(EngineError, match="failed"):
        export.read_image(Client(f"cat {shlex.quote(str(archive))}; exit 3"), "image")


def test_late(archive):
    client = Client(f"head -c 1000 {shlex.quote(str(archive))}; sleep 60")
    began = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"in 0\.3 seconds"):
        export.read_image(client, "image", timeout=0.3)
    assert time.monotonic() - began < 5
    assert client.calls[-1][0] == "remove"
