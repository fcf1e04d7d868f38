"""Links and variables that name another machine's path."""

from __future__ import annotations

import pytest
from audit_samples import a_tree, link, program

from pytest_multiarch.audit import names, rules
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity
from pytest_multiarch.platforms import Platform

ARM64 = Platform.parse("linux/arm64")


def judge(members, **env):
    config = Config("linux", "arm64", env=(("PATH", "/usr/bin"), *env.items()))
    findings = rules.judge(a_tree({"bin/sh": program("linux/arm64"), **members}), ARM64, config).findings
    return [(each.where, each.severity) for each in findings if "another machine's name" in each.found]


def test_a_variable():
    jvm = "/usr/lib/jvm/java-17-openjdk-{}"
    assert judge({}, JAVA_HOME=jvm.format("amd64")) == [("ENV JAVA_HOME", Severity.FAILURE)]
    assert judge({}, JAVA_HOME=jvm.format("arm64")) == [], "nobody's name, though it is missing"
    assert judge({jvm.format("amd64")[1:]: b""}, JAVA_HOME=jvm.format("amd64")) == [], "it is there"
    preload = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
    assert judge({}, LD_PRELOAD=preload) == [("ENV LD_PRELOAD", Severity.FAILURE)]
    assert judge({}, LD_LIBRARY_PATH="/opt/lib:/usr/lib/x86_64-linux-gnu") == [
        ("ENV LD_LIBRARY_PATH", Severity.FAILURE)
    ]


def test_a_link():
    target = link("/usr/lib/x86_64-linux-gnu/libfoo.so.1")
    assert judge({"usr/bin/foo": target}) == [("/usr/bin/foo", Severity.FAILURE)]
    assert judge({"opt/foo": target}) == [("/opt/foo", Severity.WARNING)]
    assert judge({"opt/foo": target, "usr/lib/x86_64-linux-gnu/libfoo.so.1": b"x"}) == []
    assert judge({"opt/foo": link("/usr/lib/libfoo.so.1")}) == []
    assert judge({"opt/foo": link("/run/x86_64/x")}) == []


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/usr/lib/x86_64-linux-gnu/a", "x86_64"),
        ("/usr/lib/s390x-linux-gnu", "s390x"),
        ("/opt/tool-linux-amd64", "amd64"),
        ("/opt/tool_armhf.so", "armhf"),
        ("/opt/aarch64/x", ""),
        ("/usr/aarch64-linux-gnu/x86_64", ""),
        ("/opt/amd64ish", ""),
        ("/opt/charm/arm", ""),
    ],
)
def test_words(path, word):
    assert names.foreign(path, 183) == word
