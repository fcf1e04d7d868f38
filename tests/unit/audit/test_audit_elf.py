"""What ELF files say, sound ones, lying ones, and ones that only look like it."""

from __future__ import annotations

import dataclasses
import io
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from audit_samples import DYN, EXEC, REL, Sample, build_attributes, go_info, isa_note, library, program
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_multiarch.audit import attributes, elf, parts
from pytest_multiarch.audit.dynamic import Dynamic
from pytest_multiarch.audit.elf import Elf, Ident, Type
from pytest_multiarch.audit.parts import Parts, Plan
from pytest_multiarch.audit.tar import PIECE


def pieces(data: bytes, size: int = PIECE):
    return [(begin, data[begin : begin + size]) for begin in range(0, len(data), size)]


def read(data: bytes) -> Elf | None:
    return elf.read(Parts(pieces(data), len(data), elf.plan(data[:PIECE])))


def facts(data: bytes) -> Elf:
    found = read(data)
    assert found is not None
    return found


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_class_and_byte_order(bits, order):
    sample = Sample(40, bits, order, DYN, 0x5000400, "/lib/ld.so", ("libc.so.6", "libm.so.6"), "libx.so.1")
    assert facts(sample.bytes()) == Elf(
        Ident(bits, order, 40),
        Type.DYN,
        0x5000400,
        "/lib/ld.so",
        Dynamic(("libc.so.6", "libm.so.6"), "libx.so.1"),
        align=0x10000,
    )


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("order", ["little", "big"])
def test_libraries_versions_and_folders(bits, order):
    versions = {"wants": {"liba.so": ("A_1", "A_2"), "libb.so": ("B_1",)}, "offers": ("X_1", "X_2")}
    sample = Sample(40, bits, order, DYN, needed=("liba.so",), soname="libx.so.1", runpath="/opt", **versions)
    assert facts(sample.bytes()).linked == Dynamic(
        ("liba.so",),
        "libx.so.1",
        runpath="/opt",
        wants=(("liba.so", ("A_1", "A_2")), ("libb.so", ("B_1",))),
        offers=frozenset({"X_1", "X_2"}),
    )


@pytest.mark.parametrize(
    ("sample", "is_program"),
    [
        (Sample(type=EXEC), True),
        (Sample(type=DYN, pie=True), True),
        (Sample(type=DYN, interpreter="/lib/ld.so"), True),
        (Sample(type=DYN, interpreter="/lib/ld.so", soname="libc.so.6"), False),
        (Sample(type=DYN, soname="libx.so"), False),
        (Sample(type=DYN), False),
        (Sample(type=REL), False),
    ],
    ids=["static", "static pie", "old pie", "libc", "library", "plug-in", "object"],
)
def test_what_is_started_and_what_is_loaded(sample, is_program):
    assert facts(sample.bytes()).program is is_program


def test_arm_build_attributes():
    found = facts(
        Sample(40, 32, flags=0x5000000, arm={5: "ARM v7", 6: 10, 7: 65, 8: 1, 28: 1, 67: "2.09"}).bytes()
    )
    assert (found.cpu_arch, found.vfp_args) == (10, 1)


def test_build_attributes_of_another_vendor_and_scope_are_passed_over():
    ours, theirs = build_attributes({6: 6}), build_attributes({6: 14}, b"gnu")
    section = ours.replace(b"aeabi\0\x01", b"aeabi\0\x02")
    assert attributes.build_attributes(theirs + ours[1:], b"aeabi", "little") == {6: 6}
    assert attributes.build_attributes(section, b"aeabi", "little") == {}
    assert attributes.build_attributes(build_attributes({32: 1, 6: 6}), b"aeabi", "little") == {}


def test_riscv_build_attributes():
    assert facts(Sample(243, flags=5, riscv="rv64i2p1_m2p0_c2p0").bytes()).riscv == "rv64i2p1_m2p0_c2p0"


@pytest.mark.parametrize("machine", [3, 62])
def test_x86_isa_notes(machine):
    assert facts(Sample(machine, 64, isa=0b111).bytes()).isa == 7


def test_isa_notes_are_x86_s_own():
    assert facts(Sample(183, isa=0b111).bytes()).isa == 0


def test_an_isa_note_behind_another_note():
    build_id = struct.pack("<III4s", 4, 20, 3, b"GNU\0") + bytes(20)
    assert attributes.x86_isa_needed(build_id + isa_note(4), "little", 4) == 4
    used = isa_note(8).replace(struct.pack("<I", 0xC0008002), struct.pack("<I", 0xC0010002))
    assert attributes.x86_isa_needed(used, "little", 8) == 0, "what may be used is not what is needed"


def test_go_build_info():
    found = facts(
        Sample(40, 32, go=("-buildmode=exe", "CGO_ENABLED=0", "GOARCH=arm", "GOARM=7", "vcs=git")).bytes()
    )
    assert found.go == ("CGO_ENABLED=0", "GOARCH=arm", "GOARM=7")


def test_go_before_1_18_says_nothing():
    old = b"\xff Go buildinf:\x08\x00" + bytes(16)
    assert attributes.go_settings(old) == ()
    assert facts(Sample(go=None).bytes()).go is None


def test_go_s_magic_in_a_text_is_no_build_info():
    sample = Sample(go=()).bytes()
    assert attributes.go_settings(b"\xff Go buildinf:") is None
    moved = sample.replace(b"\xff Go buildinf:", b"\xff Go buildin_:")
    assert facts(moved).go is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF",
        b"\x7fELF" + bytes(100),
        b"\x7fELF\x03\x01\x01" + bytes(100),
        b"\x7fELF\x02\x03\x01" + bytes(100),
        b"\x7fELF\x02\x01\x00" + bytes(100),
        b"\x7fELF, the magic, is what this text is about",
    ],
)
def test_what_only_looks_like_elf(data):
    assert read(data) is None


def test_a_file_cut_off_is_said_at_every_length():
    whole = Sample(interpreter="/lib/ld.so", needed=("libc.so.6",)).bytes()
    for length in range(20, len(whole)):
        assert facts(whole[:length]).flaw, length
    assert not facts(whole).flaw


@pytest.mark.parametrize("bits", [32, 64])
def test_tables_that_lie_are_bounded(bits):
    data = bytearray(Sample(40, bits, interpreter="/lib/ld.so", arm={6: 10}, needed=("a",)).bytes())
    phnum, shnum = (56, 60) if bits == 64 else (44, 48)
    data[phnum : phnum + 2] = data[shnum : shnum + 2] = b"\xff\xff"
    began = time.monotonic()
    assert facts(bytes(data)).flaw
    width = bits // 8
    for offset in range(64 if bits == 64 else 52, 600, width):  # every offset and size: as large as can be
        lying = bytearray(data)
        lying[offset : offset + width] = b"\xff" * width
        read(bytes(lying))
    assert time.monotonic() - began < 5


class TestParts:
    """A file too large to be kept."""

    def test_what_is_kept_of_a_large_one(self, monkeypatch):
        monkeypatch.setattr(parts, "HEAD", 1000)
        monkeypatch.setattr(parts, "TAIL", 1000)
        data = bytes(range(256)) * 100
        data = data[:9995] + b"MARKED" + data[10001:]
        plan = Plan(ranges=((5000, 5100),), marks=((b"MARKED", 6000, 20000),))
        kept = Parts(pieces(data, 100), len(data), plan)
        assert kept.read(900, 100) == data[900:1000]
        assert kept.read(950, 200) == data[950:1000], "as far as it was kept"
        assert kept.read(3000, 10) == b""
        assert kept.read(5000, 100) == data[5000:5100]
        assert kept.read(9990, 20) == data[9990:10010], "although the mark is in two pieces"
        assert kept.read(24700, 2000) == data[24700:]
        assert sum(len(piece) for _, piece in kept._kept) < 3500

    def test_what_lies_between_is_bounded(self, monkeypatch):
        monkeypatch.setattr(parts, "HEAD", 0)
        monkeypatch.setattr(parts, "TAIL", 0)
        monkeypatch.setattr(parts, "BETWEEN", 1000)
        kept = Parts(pieces(b"X" * 100_000, 100), 100_000, Plan(ranges=((0, 100_000),)))
        assert sum(len(piece) for _, piece in kept._kept) <= 1200

    @pytest.mark.parametrize("before", [0, parts.HEAD + 5 * PIECE])
    @pytest.mark.parametrize("after", [0, parts.TAIL + 5 * PIECE])
    def test_a_large_program_is_read_like_a_small_one(self, before, after):
        small = Sample(40, 32, interpreter="/lib/ld.so", arm={6: 10}, go=("GOARM=7",), needed=("libc.so.6",))
        large = facts(dataclasses.replace(small, before=before, after=after).bytes())
        assert large == facts(small.bytes())

    def test_attributes_before_much_debug_information(self):
        data = Sample(40, 32, arm={6: 10}, before=parts.HEAD).bytes()
        table = data[-80:]
        debug = bytes(parts.TAIL + 3 * PIECE)
        moved = bytearray(data[:-80] + debug + table)
        moved[32:36] = struct.pack("<I", len(moved) - 80)
        assert facts(bytes(moved)).cpu_arch == 10


@settings(max_examples=300, deadline=2000)
@given(st.binary(max_size=2000))
def test_arbitrary_bytes_behind_the_magic(data):
    read(b"\x7fELF" + data)


WHOLE = Sample(
    40, 32, "little", DYN, 0x5000400, "/lib/ld.so", ("a", "b"), "c", arm={6: 10}, go=("GOARM=7",)
).bytes()
NOTED = Sample(62, 64, "little", DYN, 0, "/lib/ld.so", ("a", "b"), "c", isa=7, go=("GOAMD64=v2",)).bytes()
RISCV = Sample(243, 64, "little", DYN, 5, "/lib/ld.so", ("a",), riscv="rv64gc").bytes()


@settings(max_examples=500, deadline=2000)
@given(
    st.sampled_from([WHOLE, NOTED, RISCV]),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=8),
)
def test_a_damaged_file_is_read_or_said_to_be_flawed(data, damage):
    damaged = bytearray(data)
    for at, value in damage:
        damaged[at % len(damaged)] = value
    read(bytes(damaged))


REAL = [
    path
    for path in ("/bin/ls", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/python3", "/sbin/ldconfig")
    if Path(path).exists()
]


@pytest.mark.parametrize("path", REAL)
def test_pyelftools_says_the_same(path):
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    data = Path(path).read_bytes()
    other = ELFFile(io.BytesIO(data))
    tags = [tag for part in other.iter_segments() if isinstance(part, DynamicSegment) for tag in part.iter_tags()]
    found = facts(data)
    assert found.ident == Ident(
        other.elfclass, "little" if other.little_endian else "big", int.from_bytes(data[18:20], "little")
    )
    assert found.type.name == other["e_type"].removeprefix("ET_")
    assert found.interpreter == next(
        (s.get_interp_name() for s in other.iter_segments() if isinstance(s, InterpSegment)), None
    )
    assert list(found.needed) == [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
    assert found.flaw == ""


@pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
def test_gcc_s_march_leaves_no_trace_and_the_linker_s_note_does(tmp_path):
    source = tmp_path / "x.c"
    source.write_text("int main(void) { return 0; }\n")
    machine = subprocess.run(["gcc", "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    if not machine.startswith("x86_64"):
        pytest.skip("the note is x86's")
    for name, flags in {"bare": [], "note": ["-Wl,-z,x86-64-v3"]}.items():
        subprocess.run(["gcc", "-march=x86-64-v3", *flags, "-o", tmp_path / name, source], check=True)
    assert facts((tmp_path / "bare").read_bytes()).isa <= 1
    assert facts((tmp_path / "note").read_bytes()).isa.bit_length() == 3


def test_the_samples_are_read_by_their_platforms():
    assert facts(program("linux/s390x")).ident == Ident(64, "big", 22)
    assert facts(library("linux/ppc64le")).soname == "libx.so.1"
    assert go_info("GOARM=7").startswith(attributes.GO)
