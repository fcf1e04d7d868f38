"""Whether programs find their libraries and the versions in them, by each loader's own rules."""

from __future__ import annotations

import struct

import pytest
from audit_samples import File, a_tree, library, link, program

from pytest_multiarch.audit import link as link_check
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity
from pytest_multiarch.platforms import Platform

LD = "/lib64/ld-linux-x86-64.so.2"
FOLDERS = b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0"
GLIBC = {
    "lib64/ld-linux-x86-64.so.2": library(soname="ld-linux-x86-64.so.2", tail=FOLDERS),
    "lib/x86_64-linux-gnu/libc.so.6": library(
        soname="libc.so.6", offers=("GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.36")
    ),
}
MUSL = "/lib/ld-musl-x86_64.so.1"
ALPINE = {
    "lib/ld-musl-x86_64.so.1": library(soname="libc.musl-x86_64.so.1"),
    "lib/libc.musl-x86_64.so.1": link("ld-musl-x86_64.so.1"),
}


def linked(*needed, interpreter=LD, **said):
    return program(interpreter=interpreter, needed=(*needed, "libc.so.6") if interpreter == LD else needed, **said)


def judge(members, *argv, root=GLIBC, env=()):
    config = Config("linux", "amd64", argv=argv or ("/app",), env=env)
    return link_check.judge(a_tree({**root, **members}), Platform.parse("linux/amd64"), config)


def found(*args, severity=Severity.FAILURE, **kwargs):
    return [finding.found for finding in judge(*args, **kwargs).of(severity)]


def test_sound():
    verdict = judge({"app": linked("libx.so.1"), "usr/lib/libx.so.1": library()})
    assert verdict.findings == ()
    assert verdict.subject == "1 programs with what they are linked with"


def test_a_missing_library():
    (finding,) = judge({"app": linked("libx.so.1")}).findings
    assert finding.found == "needs libx.so.1, which is not in the image; it is started by the image"
    assert finding.severity is Severity.FAILURE


def test_a_library_that_a_library_needs():
    members = {"app": linked("liba.so.1"), "usr/lib/liba.so.1": library(soname="liba.so.1", needed=("libx.so.1",))}
    assert found(members)[0].startswith("needs libx.so.1 (for /usr/lib/liba.so.1), which is not in the image")
    assert found({**members, "lib/libx.so.1": library()}) == []


def test_who_uses_it_decides():
    assert found({"usr/bin/tool": linked("libx.so.1")}, "/bin/sh") != []
    assert found({"opt/tool": linked("libx.so.1")}, "/bin/sh") == []
    assert found({"opt/tool": linked("libx.so.1")}, "/bin/sh", severity=Severity.WARNING) != []
    assert judge({"opt/tool": File(linked("libx.so.1"), 0o644)}, "/bin/sh").findings == ()


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"runpath": "$ORIGIN/../lib"}, "app/lib/libx.so.1"),
        ({"runpath": "/nowhere:${ORIGIN}/../lib"}, "app/lib/libx.so.1"),
        ({"rpath": "/opt/lib"}, "opt/lib/libx.so.1"),
        ({"runpath": "/opt/$LIB"}, "opt/lib/x86_64-linux-gnu/libx.so.1"),
        ({"runpath": "/opt/$PLATFORM"}, "opt/x86_64/libx.so.1"),
        ({}, "usr/lib/x86_64-linux-gnu/libx.so.1"),
    ],
)
def test_the_folders_that_are_searched(said, place):
    members = {"app/bin/app": linked("libx.so.1", **said), place: library()}
    assert judge(members, "/app/bin/app").findings == ()
    moved = {"app/bin/app": linked("libx.so.1", **said), "srv/libx.so.1": library()}
    (finding,) = judge(moved, "/app/bin/app").findings
    assert finding.severity is Severity.FAILURE
    assert "/srv/libx.so.1 is there, but nothing names its folder" in finding.cause


def test_an_rpath_counts_for_what_is_loaded_and_a_runpath_doesnt():
    inner = {"opt/liba.so.1": library(soname="liba.so.1", needed=("libx.so.1",)), "opt/libx.so.1": library()}
    assert found({"app": linked("liba.so.1", rpath="/opt"), **inner}) == []
    assert len(found({"app": linked("liba.so.1", runpath="/opt"), **inner})) == 1


def test_a_library_with_a_runpath_of_its_own_is_not_helped_by_an_rpath():
    asks = library(soname="liba.so.1", needed=("libx.so.1",), runpath="/nowhere")
    members = {"app": linked("liba.so.1", rpath="/opt"), "opt/liba.so.1": asks, "opt/libx.so.1": library()}
    assert len(found(members)) == 1


def test_what_is_loaded_bears_its_soname_too():
    asks = library(soname="liba.so.1", needed=("libx.so.1",))
    members = {"app": linked("libodd.so", "liba.so.1", rpath="/opt"), "usr/lib/liba.so.1": asks}
    members["opt/libodd.so"] = library(soname="libx.so.1")
    assert found(members) == []


def test_the_environment_of_the_image():
    members = {"app": linked("libx.so.1"), "opt/libx.so.1": library()}
    assert found(members, env=(("LD_LIBRARY_PATH", "/nowhere:/opt"),)) == []
    assert len(found(members)) == 1


def test_another_machines_library_is_passed_over():
    (finding,) = judge({"app": linked("libx.so.1"), "usr/lib/libx.so.1": library("linux/arm64")}).findings
    assert "not in the image" in finding.found
    assert "/usr/lib/libx.so.1 is for another machine" in finding.cause


def cache(rows, capabilities=0):
    """Return /etc/ld.so.cache with these (name, path), all for CPUs with these capabilities."""
    head, strings = 48 + 24 * len(rows), b""
    table = b""
    for name, path in rows:
        table += struct.pack(
            "<iIIIQ", 3, head + len(strings), head + len(strings) + len(name) + 1, 0, capabilities
        )
        strings += name.encode() + b"\0" + path.encode() + b"\0"
    return b"glibc-ld.so.cache1.1" + struct.pack("<IIB3x4x12x", len(rows), len(strings), 2)[:28] + table + strings


def test_the_cache():
    members = {"app": linked("libx.so.1"), "opt/libx.so.1": library()}
    assert len(found(members)) == 1
    assert found({**members, "etc/ld.so.cache": cache([("libx.so.1", "/opt/libx.so.1")])}) == []
    assert len(found({**members, "etc/ld.so.cache": cache([("libx.so.1", "/nowhere/libx.so.1")])})) == 1
    newer = cache([("libx.so.1", "/opt/libx.so.1")], 1 << 62)
    assert len(found({**members, "etc/ld.so.cache": newer})) == 1, "for newer CPUs alone"


def test_a_library_without_its_link():
    members = {"app": linked("libx.so.1"), "usr/lib/libx.so.1.2.3": library()}
    (finding,) = judge(members).findings
    assert "no file is called libx.so.1: copy the links too, or run ldconfig" in finding.cause
    assert judge({**members, "usr/lib/libx.so.1": link("libx.so.1.2.3")}).findings == ()


def test_a_version_that_the_library_lacks():
    assert found({"app": linked(wants={"libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.36")})}) == []
    (said,) = found({"app": linked(wants={"libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.38")})})
    assert said == "needs GLIBC_2.38, which /lib/x86_64-linux-gnu/libc.so.6 lacks (GLIBC_2.36 is its highest)"
    inner = {
        "usr/lib/liba.so.1": library(soname="liba.so.1", needed=("libc.so.6",), wants={"libc.so.6": ("GLIBC_9",)})
    }
    assert "(for /usr/lib/liba.so.1)" in found({"app": linked("liba.so.1"), **inner})[0]
    bare = {"usr/lib/libb.so.1": library(soname="libb.so.1")}  # without any version glibc only warns
    assert found({"app": linked("libb.so.1", wants={"libb.so.1": ("B_1",)}), **bare}) == []


def test_what_a_gpus_runtime_brings_is_not_verified():
    (finding,) = judge({"app": linked("libcuda.so.1")}).findings
    assert finding.severity is Severity.UNVERIFIED


def test_libraries_by_themselves_are_warnings():
    plugin = library(soname="p.so", needed=("libatm.so.1",))
    (finding,) = judge({"bin/sh": linked(), "usr/lib/p.so": plugin, "usr/lib/q.so": plugin}, "/bin/sh").findings
    assert finding.severity is Severity.WARNING
    assert finding.number == 2
    hidden = {"opt/a/p.so": library(soname="p.so", needed=("libx.so.1",)), "opt/b/libx.so.1": library()}
    (finding,) = judge({"bin/sh": linked(), **hidden}, "/bin/sh").findings
    assert finding.severity is Severity.UNVERIFIED


def test_musl():
    members = {"app": linked("libx.so.1", "libc.musl-x86_64.so.1", interpreter=MUSL)}
    assert len(found(members, root=ALPINE)) == 1
    assert found({**members, "usr/local/lib/libx.so.1": library()}, root=ALPINE) == []
    inner = library(soname="libx.so.1", needed=("liby.so.1",))
    members |= {"app": linked("libx.so.1", interpreter=MUSL, runpath="/opt"), "opt/libx.so.1": inner}
    assert found({**members, "opt/liby.so.1": library(soname="liby.so.1")}, root=ALPINE) == [], "it is inherited"
    moved = {"app": linked("libx.so.1", interpreter=MUSL), "srv/libx.so.1": library()}
    assert found({**moved, "etc/ld-musl-x86_64.path": b"/lib\n/srv\n"}, root=ALPINE) == []
    own = {"app": linked("libpthread.so.0", interpreter=MUSL)}
    assert found(own, root=ALPINE) == []


def test_a_program_of_the_other_c_library():
    gnu = linked("libx.so.1", wants={"libc.so.6": ("GLIBC_2.2.5",)})
    assert judge({"app": gnu}, root=ALPINE).passed, "the elf check says that its interpreter is missing"
