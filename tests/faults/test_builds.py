"""Faults of builds: registries, the builder's death."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from grounds import QUICK, Ground

TESTS = """
def test_a(container): pass
def test_b(platform): pass
"""


class Registry(BaseHTTPRequestHandler):
    """A registry with one fault."""

    fault = ""
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # a TLS greeting gets an answer by which it is known for plain HTTP

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self.answer(200, b"{}")
        elif self.fault == "slow":
            time.sleep(30)
        elif self.fault == "half":
            self.answer(200, b'{"schemaVersion": 2, ', length=5000)
            self.close_connection = True
        else:
            self.answer(
                int(self.fault), b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "\x1b[2Jslow down"}]}'
            )

    do_HEAD = do_GET  # noqa: N815

    def answer(self, code: int, body: bytes, length: int | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/vnd.oci.image.index.v1+json")
        self.send_header("Docker-Content-Digest", "sha256:" + 64 * "0")
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def registry(fault: str) -> Iterator[str]:
    handler = type("Faulty", (Registry,), {"fault": fault})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("429", "the registry limits how often it is asked"),
        ("500", "500 Internal Server Error"),
        ("half", "unexpected EOF"),
        ("slow", "did not end in time. Give it more with --multiarch-build-timeout"),
    ],
)
def test_a_base_image_from_a_faulty_registry(ground: Ground, fault: str, says: str) -> None:
    ground.tests(TESTS)
    with registry(fault) as address:
        ground.file("Dockerfile", f"FROM {address}/base:{time.monotonic_ns()}\n")
        limit = 3 if fault == "slow" else 60
        run = ground.run("--platforms=native", "test_it.py", QUICK, f"--multiarch-build-timeout={limit}")
    assert run.outcomes() == {"passed": 1, "error": 1}, run.text
    assert "the build for linux/amd64" in run.text
    assert says in run.text
    assert "\x1b" not in run.text
    ground.settled()


@pytest.mark.parametrize("fault", ["429", "500", "half"])
def test_a_published_image_from_a_faulty_registry(ground: Ground, fault: str) -> None:
    ground.tests(TESTS)
    with registry(fault) as address:
        run = ground.run("--platforms=native", "test_it.py", f"--multiarch-image={address}/image:1")
    assert run.outcomes() == {"passed": 1, "error": 1}, run.text
    assert f"there is no image {address}/image:1" in run.text
    assert "\x1b" not in run.text
    ground.settled()


def test_a_builder_that_is_killed_is_booted_again_and_the_build_repeated(ground: Ground) -> None:
    ground.tests(TESTS)
    ground.file("Dockerfile", f"FROM alpine:3.22\nRUN : {time.monotonic_ns()}; sleep 3\n")
    run = ground.start("--platforms=native", "test_it.py")

    def builder() -> str:
        names = ground.engine.containers & ground.engine.volumes
        return next((name for name in names if "sleep 3" in ground.engine.docker("top", name, check=False)), "")

    ground.engine.docker("kill", run.until(builder, "the build"))
    assert run.end() == 0, run.text
    assert run.outcomes() == {"passed": 2}
    ground.settled()


def test_every_build_that_a_killed_builder_takes_with_it_is_repeated(ground: Ground) -> None:
    names, mark = ("linux/amd64", "linux/arm64", "linux/s390x"), str(time.monotonic_ns())
    ground.tests("def test_a(container): pass\n")
    ground.file("Dockerfile", f"FROM alpine:3.22\nRUN sleep 5; : {mark}\n")
    run = ground.start(f"--platforms={','.join(names)}", "--multiarch-jobs=3", "test_it.py")

    def busy() -> str:
        builders = ground.engine.containers & ground.engine.volumes
        tops = {name: ground.engine.docker("top", name, check=False) for name in builders}
        return next((name for name, top in tops.items() if top.count(mark) >= len(names)), "")

    ground.engine.docker("kill", run.until(busy, "all builds at once"))
    assert run.end() == 0, run.text
    assert run.outcomes() == {"passed": len(names)}
    ground.settled()
