"""The command that compares pinned digests with a registry, on a registry of our own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from own_registry import Registry, index

from pytest_multiarch import pins

COMMAND = Path(__file__).parents[2] / ".ci/check-pins"
WRONG = f"sha256:{'0' * 64}"


def check(*references: str) -> tuple[int, str]:
    """Run the command and return its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, COMMAND, *references], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def pin(registry: Registry) -> str:
    """Return the reference of an index in the registry, with its digest."""
    entry = registry.image("pins", {"start": b"x"}, "linux/amd64")
    return f"{registry.address}/pins:v1@{registry.manifest('pins', index([entry]), 'v1')['digest']}"


def test_the_pinned_digest_is_what_the_registry_says(pin: str) -> None:
    name, _, digest = pin.partition("@")
    code, said = check(pin)
    assert (code, said) == (0, f"{name}: http://{name.partition('/')[0]} says the pinned {digest}\n")


def test_another_digest_is_told_with_both(pin: str) -> None:
    name, _, digest = pin.partition("@")
    code, said = check(pin, f"{name}@{WRONG}")
    assert code == 1
    assert f"{name}: http://{name.partition('/')[0]} says {digest}; pinned is {WRONG}\n" in said


def test_a_tag_that_is_gone_differs(registry: Registry) -> None:
    code, said = check(f"{registry.address}/pins:gone@{WRONG}")
    assert (code, "has no such tag" in said) == (1, True)


def test_where_nobody_answers_nothing_is_known(pin: str) -> None:
    code, said = check(f"127.0.0.1:1/pins:v1@{WRONG}", pin)
    assert code == 3
    assert (
        "127.0.0.1:1/pins:v1: no registry is reached (http://127.0.0.1:1: [Errno 111] Connection refused)" in said
    )
    assert "says the pinned" in said


def test_a_pin_that_differs_is_told_before_one_of_which_nothing_is_known(pin: str) -> None:
    assert check(f"127.0.0.1:1/pins:v1@{WRONG}", f"{pin.partition('@')[0]}@{WRONG}")[0] == 1


@pytest.mark.parametrize("text", ["name:tag", "name@sha256:0", f"name@{WRONG}"])
def test_what_is_no_pin_is_refused(text: str) -> None:
    code, said = check(text)
    assert (code, f"no NAME:TAG@DIGEST: {text}" in said) == (2, True)


class TokenFirst(BaseHTTPRequestHandler):
    """A registry that wants a token of anybody, as Docker Hub does."""

    def do_GET(self) -> None:
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        if self.path == "/token?service=this&scope=repository%3Apins%3Apull":
            self.answer(200, json.dumps({"token": "sesame"}).encode())
        elif self.headers.get("Authorization") == "Bearer sesame":
            self.answer(200, b"index")
        else:
            wanted = f'Bearer realm="{here}/token",service="this",scope="repository:pins:pull"'
            self.answer(401, b"", {"WWW-Authenticate": wanted})

    def answer(self, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def wants_a_token() -> Iterator[str]:
    """Start a registry that wants a token, and return its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), TokenFirst) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_token_is_fetched_where_the_registry_wants_one(wants_a_token: str) -> None:
    code, said = check(f"{wants_a_token}/pins:v1@{WRONG}")
    assert (code, "says sha256:1bc04b52" in said) == (1, True)


def test_the_products_own_pins_are_those_that_are_asked_about() -> None:
    """Where a registry is reached they agree with it; where none is, it says so."""
    code, said = check()
    assert code in (0, 3), said
    assert set(re.findall(r"^(\S+):", said, re.M)) == {
        image.partition("@")[0] for image in (pins.BUILDKIT_IMAGE, pins.BINFMT_IMAGE)
    }
