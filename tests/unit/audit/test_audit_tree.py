"""The file system: what is remembered of it, and how paths are followed."""

from __future__ import annotations

import io
import tarfile
import tracemalloc

import pytest
from audit_samples import File, a_tree, ar, library, link, program, tar, zipped
from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch.audit import tree
from pytest_multiarch.audit.tree import HOPS, UNSEEN, What


def what(members, path, folder="/"):
    _, entry = a_tree(members).find(path, folder)
    return entry.what if entry else None


def test_every_kind_of_file():
    members = {
        "bin/program": program(),
        "bin/script": b"#! /bin/sh -e\necho\n",
        "lib/x.a": ar({"x.o/": program()}),
        "x.whl": zipped({"x.so": library()}),
        "etc/passwd": File(b"root", 0o644),
        "bin/data": File(b"no program", 0o755),
        "null": File(type=tarfile.CHRTYPE),
        "var": File(type=tarfile.DIRTYPE),
        "lib64": link("lib"),
        "fake": b"\x7fELF is what it begins with",
    }
    found = a_tree(members)
    kinds = {path: entry.what for path in members if (entry := found.at(f"/{path}"))}
    assert kinds == {
        "bin/program": What.ELF,
        "bin/script": What.SCRIPT,
        "lib/x.a": What.LIBRARY,
        "x.whl": What.ZIP,
        "etc/passwd": What.DATA,
        "bin/data": What.DATA,
        "null": What.DEVICE,
        "var": What.FOLDER,
        "lib64": What.LINK,
        "fake": What.ELF,
    }
    assert found.files == 7
    assert found.at("/bin/data").executable
    assert not found.at("/etc/passwd").executable
    assert found.at("/bin/script").line == "/bin/sh -e"
    assert found.at("/fake").elf is None
    assert found.at("/nothing") is None
    assert [path for path, _ in found.elves()] == ["/bin/program"]


def test_what_the_engine_puts_there_is_not_seen():
    members = {
        ".dockerenv": b"",
        "dev/x": program(),
        "etc/hosts": b"",
        "etc/hostname": b"",
        "etc/resolv.conf": b"",
    }
    found = a_tree({**members, "etc/hosts.allow": File(b"", 0o644), "device": program()})
    assert found.files == 2
    assert all(found.at(path) is None for path in UNSEEN)
    assert found.at("/etc/hosts.allow")
    assert found.at("/device")


@pytest.mark.parametrize(
    "path", ["bin/sh", "/bin/sh", "//bin/./sh", "/usr/../bin/sh", "/../../bin/sh", "/bin/../bin/sh"]
)
def test_paths(path):
    assert what({"usr/bin/sh": program(), "bin": link("usr/bin")}, path) is What.ELF


def test_links():
    found = a_tree(
        {
            "usr/lib/x.so.1.2": library(),
            "usr/lib/x.so.1": link("x.so.1.2"),
            "usr/lib/x.so": link("/usr/lib/x.so.1"),
            "lib": link("usr/lib"),
            "out": link("../../../../usr/lib/x.so"),
            "dangling": link("nowhere"),
            "a": link("b"),
            "b": link("/a"),
            "self": link("self/x"),
        }
    )
    assert found.find("/lib/x.so")[0] == "/usr/lib/x.so.1.2"
    assert found.find("/out")[0] == "/usr/lib/x.so.1.2", "a link that leaves the tree stays at its root"
    assert found.find("/dangling") == ("/nowhere", None)
    assert found.find("/a") == ("", None)
    assert found.find("/self") == ("", None)
    assert found.find("x.so", "/lib")[0] == "/usr/lib/x.so.1.2"


def test_as_many_links_as_the_kernel_follows():
    chain = {f"l{index}": link(f"l{index + 1}") for index in range(HOPS + 5)} | {f"l{HOPS + 5}": program()}
    found = a_tree(chain)
    assert found.find("/l5")[1] is not None
    assert found.find("/l4")[0] == ""


def test_hard_links_are_the_file_itself():
    found = a_tree({"a": program(), "b": File(hard="a"), "c": File(b"1", 0o644), "d": File(hard="c", mode=0o644)})
    assert found.at("/b") == found.at("/a")
    assert found.at("/d").what is What.DATA
    assert found.files == 4


def test_a_whiteout_hides_nothing_in_an_export():
    found = a_tree({"bin/x": program(), "bin/.wh.x": b"", "opaque/.wh..wh..opq": b""})
    assert found.at("/bin/x").what is What.ELF
    assert found.at("/bin/.wh.x").what is What.DATA


def test_names_in_no_encoding():
    found = a_tree({"bin/\udcff\udcfe": program(), "l": link("bin/\udcff\udcfe")})
    assert found.find("/l")[0] == "/bin/\udcff\udcfe"


def test_of_two_members_with_one_name_the_later_counts():
    once, twice = tar({"x": program()}), tar({"x": File(b"text", 0o644)})
    found = tree.read(
        io.BytesIO(once[:1024].rstrip() + once[1024:-10240] + twice if False else joined(once, twice))
    )
    assert found.at("/x").what is What.DATA


def joined(*archives: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as both:
        for data in archives:
            with tarfile.open(fileobj=io.BytesIO(data)) as one:
                for member in one:
                    both.addfile(member, one.extractfile(member))
    return out.getvalue()


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (b"#!/bin/sh\n", "/bin/sh"),
        (b"#!/bin/sh", "/bin/sh"),
        (b"#!\t /usr/bin/env  python3 -u \nx", "/usr/bin/env  python3 -u"),
        (b"#!/bin/sh\r\n", "/bin/sh\r"),
        (b"#!\n", ""),
        (b"#!/" + b"x" * 1000, "/" + "x" * 253),
        (b"#!/\xff\n", "/\udcff"),
    ],
)
def test_the_line_of_a_script(first, line):
    assert a_tree({"x": first}).at("/x").line == line


def test_a_plain_file_costs_little():
    class Many(io.RawIOBase):
        """An archive of empty files, made as it is read."""

        def __init__(self, number: int) -> None:
            self.blocks = (self.block(index) for index in range(number))
            self.rest = b""

        @staticmethod
        def block(index: int) -> bytes:
            member = tarfile.TarInfo(f"node_modules/some-package-{index // 10}/lib/file-{index}.js")
            return member.tobuf(tarfile.USTAR_FORMAT)

        def readable(self) -> bool:
            return True

        def readinto(self, buffer):
            data = next(self.blocks, bytes(512))
            buffer[:512] = data
            return 512

    tracemalloc.start()
    found = tree.read(io.BufferedReader(Many(10_000), 4096))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.files == 10_000
    assert used < 10_000 * 32
    assert found.at("/node_modules/some-package-7/lib/file-77.js").what is What.DATA


@given(st.binary(max_size=200))
def test_any_name_becomes_a_path_inside_the_tree(name):
    path = tree.normal(name)
    assert path.startswith("/")
    assert path == "/" or not {"", ".", ".."} & set(path[1:].split("/"))
