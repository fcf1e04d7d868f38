"""Pages and stacks: what newer kernels and C libraries can't load."""

from __future__ import annotations

from audit_samples import a_tree, library, program

from pytest_multiarch.audit import rules
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity
from pytest_multiarch.platforms import Platform


def judge(platform, members, *argv):
    known = Platform.parse(platform)
    verdict = rules.judge(a_tree(members), known, Config("linux", known.architecture, argv=argv))
    return [
        (each.severity, each.number) for each in verdict.findings if "align" in each.found or "stack" in each.found
    ]


def test_small_pages_of_arm64_are_a_warning():
    small, large = program("linux/arm64", align=0x1000), program("linux/arm64")
    assert judge("linux/arm64", {"a": small, "b": small, "c": large}, "/a") == [(Severity.WARNING, 2)]
    assert judge("linux/arm64", {"c": large}, "/c") == []


def test_small_pages_of_ppc64le_start_nowhere():
    small = program("linux/ppc64le", align=0x1000)
    assert judge("linux/ppc64le", {"a": small}, "/a") == [(Severity.FAILURE, 1)]
    assert judge("linux/ppc64le", {"usr/bin/a": small, "opt/b": small}) == [
        (Severity.FAILURE, 1),
        (Severity.WARNING, 1),
    ]


def test_small_pages_are_right_elsewhere():
    assert judge("linux/amd64", {"a": program(align=0x1000)}, "/a") == []
    assert judge("linux/s390x", {"a": program("linux/s390x", align=0x1000)}, "/a") == []


def test_an_executable_stack_matters_to_a_newer_glibc():
    plugin = {"p.so": library(stack=True)}
    old, new = (library(soname="libc.so.6", offers=("GLIBC_2.2.5", last)) for last in ("GLIBC_2.36", "GLIBC_2.41"))
    assert judge("linux/amd64", {**plugin, "lib/libc.so.6": new}) == [(Severity.WARNING, 1)]
    assert judge("linux/amd64", {**plugin, "lib/libc.so.6": old}) == []
    assert judge("linux/amd64", {"lib/libc.so.6": new, "a": program(stack=True)}) == [], "the kernel gives it one"
