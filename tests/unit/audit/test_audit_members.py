"""What is in static libraries, wheels and jars, read forwards."""

from __future__ import annotations

import zipfile

import pytest
from audit_samples import REL, ar, program, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_multiarch.audit.elf import Ident
from pytest_multiarch.audit.members import KINDS, Inner, of_ar, of_zip

X86, ARM64 = Ident(64, "little", 62), Ident(64, "little", 183)


def cut(data: bytes, size: int) -> list[tuple[int, bytes]]:
    return [(begin, data[begin : begin + size]) for begin in range(0, len(data), size)]


@pytest.mark.parametrize("size", [7, 100, 1 << 18])
def test_an_ar_archive(size):
    objects = {"a.o/": program(type=REL), "b.o/": program("linux/arm64", type=REL), "c.o/": program(type=REL)}
    found = of_ar(cut(ar({"/": b"symbols!", **objects, "readme/": b"text"}), size))
    assert found == (Inner("a.o", X86, 2), Inner("b.o", ARM64, 1))


def test_long_names_of_gnu_and_bsd():
    names = b"a_very_long_name_indeed.o/\nanother_very_long_name.o/\n"
    gnu = ar({"//": names, "/27": program("linux/arm64")})
    bsd = ar({"#1/24": b"a_very_long_bsd_name.o\0\0" + program()})
    assert of_ar(cut(gnu, 50)) == (Inner("another_very_long_name.o", ARM64, 1),)
    assert of_ar(cut(bsd, 50)) == (Inner("a_very_long_bsd_name.o", X86, 1),)


@pytest.mark.parametrize("size", [13, 1000, 1 << 18])
@pytest.mark.parametrize("streamed", [False, True], ids=["with sizes", "sizes behind"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_zip_file(method, streamed, size):
    members = {
        "META-INF/MANIFEST.MF": b"text" * 1000,
        "linux-x64/libx.so": program(),
        "linux-arm64/libx.so": program("linux/arm64"),
        "scripts/tool": program(),
        "data/libnot.so": b"no library",
    }
    found = of_zip(cut(zipped(members, method, streamed), size))
    assert found == (Inner("linux-x64/libx.so", X86, 2), Inner("linux-arm64/libx.so", ARM64, 1))


def test_one_level_only():
    inside = zipped({"deep/libx.so": program()}, zipfile.ZIP_STORED)
    assert of_zip([(0, zipped({"inner.jar": inside}, zipfile.ZIP_STORED))]) == ()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_library_that_can_t_be_read_is_said(method):
    assert of_zip([(0, zipped({"x/liba.so.1": program(), "b.txt": b"1"}, method))]) == (
        Inner("x/liba.so.1", None, 1),
    )


def test_kinds_are_bounded():
    many = {f"{machine}.o/": program(machine=machine) for machine in range(1, 200)}
    found = of_ar([(0, ar(many))])
    assert len(found) == KINDS
    assert sum(inner.number for inner in found) == 199


SOUND = (ar({"a.o/": program(), "b.o/": program()}), zipped({"a.so": program(), "b.so": program()}, streamed=True))


@settings(max_examples=300)
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(5, 999),
)
def test_damage_ends_the_reading_and_nothing_else(data, damage, size):
    damaged = bytearray(data)
    for at, value in damage:
        damaged[at % len(damaged)] = value
    for read in (of_ar, of_zip):
        assert len(read(cut(bytes(damaged), size))) <= 3


@given(st.binary(max_size=500))
def test_arbitrary_bytes(data):
    assert len(of_ar([(0, b"!<arch>\n" + data)])) <= 1
    assert len(of_zip([(0, b"PK\x03\x04" + data)])) <= 1
