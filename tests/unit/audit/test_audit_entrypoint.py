"""What the image starts: found without starting it."""

from __future__ import annotations

import pytest
from audit_samples import File, a_tree, link, program, zipped

from pytest_multiarch.audit import entrypoint
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity

SH = {"bin/sh": program(), "usr/bin/env": program()}


def judge(members, *argv, folder="/", path="/usr/bin:/bin"):
    return entrypoint.judge(
        a_tree(members), Config("linux", "amd64", argv=argv, env=(("PATH", path),), folder=folder)
    )


def found(*args, **kwargs):
    return [finding.found for finding in judge(*args, **kwargs).of(Severity.FAILURE)]


@pytest.mark.parametrize(
    "argv", [("/app/x",), ("x",), ("./x",), ("../app/x",), ("/app/link", "-v"), ("/app/script",), ("/app/env",)]
)
def test_sound(argv):
    app = {"app/x": program(), "usr/bin/x": link("/app/x"), "app/link": link("x")}
    scripts = {"app/script": b"#!/bin/sh -e\n", "app/env": b"#!/usr/bin/env x\n"}
    assert judge({**SH, **app, **scripts}, *argv, folder="/app").findings == ()


def test_missing():
    assert found(SH, "/app/x") == ["/app/x is not in the image"]
    assert found(SH, "x") == ["x is not on PATH (/usr/bin:/bin)"]
    assert found({**SH, "x": link("/nowhere")}, "/x") == ["/x is not in the image: it leads to /nowhere"]
    assert found({**SH, "x": link("x")}, "/x") == ["/x is a symbolic link that leads round in a circle"]


def test_not_executable():
    assert found({"app/x": File(program(), 0o644)}, "/app/x") == ["/app/x is not executable"]
    assert found({"bin/x": File(program(), 0o644)}, "x") == ["x is not executable"]
    both = {"usr/bin/x": File(program(), 0o644), "bin/x": program()}
    assert found(both, "x") == [], "the next one on PATH is taken"


def test_a_folder():
    assert found({"app": File(type=b"5")}, "/app") == ["/app is a folder"]


@pytest.mark.parametrize(
    "data", [b"echo hi\n", b"", b"\xef\xbb\xbf#!/bin/sh\n", zipped({"x": b"1"}), b"\x7fELF not really"]
)
def test_what_the_kernel_can_t_execute(data):
    assert found({**SH, "x": data}, "/x") == ["/x is neither ELF nor begins with `#!`"]


def test_a_script_s_interpreter():
    assert found({"x": b"#!/bin/bash\n"}, "/x") == ["its interpreter /bin/bash is not in the image"]
    assert found({**SH, "x": b"#!/usr/bin/env python3\n"}, "/x") == [
        "its interpreter python3 is not on PATH (/usr/bin:/bin)"
    ]
    assert found({**SH, "x": b"#!/usr/bin/env -S A=1 node --x\n"}, "/x") == [
        "its interpreter node is not on PATH (/usr/bin:/bin)"
    ]
    assert found({"x": b"#!\n"}, "/x") == ["its `#!` names no interpreter"]
    assert found({"x": b"#!/lib\n", "lib": File(b"", 0o644)}, "/x") == ["its interpreter /lib is not executable"]


def test_windows_line_ends():
    (finding,) = judge({**SH, "x": b"#!/bin/sh\r\necho\r\n"}, "/x").findings
    assert finding.where == "/x"
    assert "Windows line ends" in finding.cause
    assert str(finding) == "/x: its interpreter /bin/sh\\r is not in the image"


def test_scripts_that_interpret_scripts():
    chain = {f"s{index}": f"#!/s{index + 1}\n".encode() for index in range(4)}
    assert found({**SH, **chain, "s4": b"#!/bin/sh\n"}, "/s0") == []
    assert found({"x": b"#!/x\n"}, "/x") == ["more than 5 scripts interpret each other"]


def test_the_shell_form():
    assert found(SH, "/bin/sh", "-c", "exec /app/x --port 80") == ["/app/x is not in the image"]
    assert found(SH, "/bin/sh", "-c", "exec /app/x >/log 2>&1\n") == ["/app/x is not in the image"]
    assert found(SH, "/bin/sh", "-c", "cd /app && ./x; $APP/x") == []
    assert found(SH, "/bin/sh", "-c", "/app/$NAME") == []
    assert found({}, "/bin/sh", "-c", "x") == ["/bin/sh is not in the image"]


@pytest.mark.parametrize(
    "line",
    [
        "/hooks/pre || true; exec /app/x",
        "/hooks/pre; exec /app/x",
        "/hooks/pre & exec /app/x",
        "/hooks/pre | cat",
        "/hooks/pre\nexec /app/x",
    ],
)
def test_a_shell_that_may_go_on_without_its_first_command_is_no_failure(line):
    assert found(SH, "/bin/sh", "-c", line) == []


def test_what_only_a_running_container_has_is_not_verified():
    for path in ("/dev/init", "/proc/self/exe", "/.dockerenv"):
        assert [finding.severity for finding in judge(SH, path).findings] == [Severity.UNVERIFIED]


def test_an_image_that_starts_nothing():
    verdict = judge(SH)
    assert verdict.passed
    assert verdict.findings[0].severity is Severity.UNVERIFIED


def test_what_is_started_in_all():
    members = {**SH, "x": b"#!/usr/bin/env y\n", "bin/y": link("/opt/y"), "opt/y": program()}
    config = Config("linux", "amd64", argv=("/x",), env=(("PATH", "/bin"),))
    assert entrypoint.programs(a_tree(members), config) == {"/x", "/usr/bin/env", "/opt/y"}
