"""The kernel's entries as text: what is read, and what is written."""

import struct

import pytest

from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.binfmt_image import BinfmtImage
from pytest_multiarch.emulators.programs import probe
from pytest_multiarch.platforms import KNOWN, Platform

# As the kernel shows Debian's entry (qemu-user-binfmt 10.0).
SHOWN = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def test_an_entry_is_read():
    entry = binfmt.parse("qemu-aarch64", SHOWN)
    assert (entry.enabled, entry.flags, len(entry.magic)) == (True, "POF", 20)
    assert entry.interpreter == "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"
    assert str(entry).startswith("qemu-aarch64: enabled, interpreter /usr/libexec/")


def test_an_entry_takes_the_programs_of_its_platform_alone():
    entry = binfmt.parse("qemu-aarch64", SHOWN)
    assert [str(p) for p in KNOWN if entry.takes(probe(p))] == ["linux/arm64"]


def test_an_entry_by_extension_takes_no_program():
    entry = binfmt.parse("jar", "disabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n")
    assert not entry.enabled
    assert not entry.takes(b"PK\3\4")


def test_an_offset_counts():
    entry = binfmt.parse("x", "enabled\ninterpreter /x\nflags: \noffset 2\nmagic 4142\n")
    assert entry.takes(b"..AB")
    assert not entry.takes(b"AB..")


def shown(line):
    """Return what the kernel shows for what was written: the way back of `binfmt.line`."""
    _, name, kind, offset, magic, mask, interpreter, flags = line.decode().split(":")
    assert (kind, offset) == ("M", "")
    numbers = [text.replace("\\x", "") for text in (magic, mask)]
    text = f"enabled\ninterpreter {interpreter}\nflags: {flags}\noffset 0\nmagic {numbers[0]}\nmask {numbers[1]}\n"
    return binfmt.parse(name, text)


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_what_is_written_takes_the_programs_of_that_machine_alone(platform):
    entry = shown(binfmt.line("x", platform.elf, "/usr/bin/qemu"))
    taken = {p.qemu for p in KNOWN if entry.takes(probe(p))}
    assert taken == {platform.qemu}
    assert (entry.flags, entry.interpreter) == ("POCF", "/usr/bin/qemu")


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_libraries_and_other_abi_bytes_are_taken_as_the_kernel_takes_its_own(platform):
    entry = shown(binfmt.line("x", platform.elf, "/usr/bin/qemu"))
    order = "<" if platform.elf.order == "little" else ">"
    program = bytearray(probe(platform))
    program[7:16] = b"\x03\x01AI\x02...."
    struct.pack_into(f"{order}H", program, 16, 3)  # position-independent
    assert entry.takes(bytes(program))
    struct.pack_into(f"{order}H", program, 16, 1)  # an object file
    assert not entry.takes(bytes(program))


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_a_static_program_is_told_from_one_that_needs_a_loader(platform, tmp_path):
    program = tmp_path / "program"
    data = bytearray(probe(platform))
    program.write_bytes(data)
    assert binfmt.is_static(program)
    start = 52 if platform.elf.bits == 32 else 64
    struct.pack_into("<I" if platform.elf.order == "little" else ">I", data, start, binfmt.PT_INTERP)
    program.write_bytes(data)
    assert not binfmt.is_static(program)


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + b"\xff" * 60, b"\x7fELF\2\1\1" + bytes(90)]
)
def test_anything_else_is_no_static_program(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    assert not binfmt.is_static(tmp_path / "x")
    assert not binfmt.is_static(tmp_path / "missing")


def test_the_hosts_own_static_emulators_are_found_once_each(tmp_path):
    platform = Platform.parse("arm64")
    static, script, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    for folder in (static, script, other):
        folder.mkdir()
    (static / "qemu-aarch64-static").write_bytes(probe(Platform.parse("amd64")))
    (script / "qemu-aarch64").write_text("#!/bin/sh\nexec qemu\n")
    (other / "qemu-aarch64").symlink_to(static / "qemu-aarch64-static")
    for path in (static / "qemu-aarch64-static", script / "qemu-aarch64"):
        path.chmod(0o755)
    folders = [str(script), str(other), "", str(tmp_path / "none"), str(static)]
    assert list(binfmt.emulators(platform, folders)) == [static / "qemu-aarch64-static"]
    assert not list(binfmt.emulators(Platform.parse("s390x"), folders))


def test_where_nothing_is_mounted_there_is_nothing(tmp_path):
    assert binfmt.entries(tmp_path / "none") == []
    assert not binfmt.enabled(tmp_path / "none")
    assert binfmt.unregister(tmp_path / "none") == []
    assert not binfmt.mount(tmp_path / "none")


@pytest.mark.parametrize(
    ("reference", "takes"),
    [
        ("tonistiigi/binfmt", True),
        ("tonistiigi/binfmt:qemu-v10.0.4@sha256:12", True),
        ("registry.example:5000/mirror/binfmt:1", True),
        ("docker/binfmt:a7996909642ee92942dcd6cff44b9b95f08dad64", False),
        ("registry.example:5000/docker/binfmt", False),
        ("linuxkit/binfmt:v0.8", False),
        ("mydocker/binfmt", True),
    ],
)
def test_the_kind_of_a_binfmt_image_is_told_by_its_repository(reference, takes):
    assert BinfmtImage(None, reference).takes_arguments is takes
