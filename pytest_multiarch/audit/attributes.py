"""What the tools wrote into an ELF file for other tools: build attributes, notes, Go's build info."""

from __future__ import annotations

import re
import struct
from typing import Literal

Order = Literal["little", "big"]

#: Begins the build info of a Go program, at a multiple of 16 (Go's debug/buildinfo).
GO = b"\xff Go buildinf:"

#: Bytes of build info read: the list of a large program's modules takes some tens of thousands.
GO_SIZE = 1 << 20

#: Begins the attributes' vendor part on ARM, five bytes into the section.
AEABI = b"aeabi\0"

#: Go's settings that name a CPU: `go help environment`, "Architecture-specific environment variables".
GO_CPU = re.compile(
    rb"^build\t((?:GOARCH|GOARM|GOARM64|GOAMD64|GO386|GOMIPS64|GOPPC64|GORISCV64|CGO_ENABLED)=[!-~]{0,64})$", re.M
)

#: Tags with a text for a value although their number is even (Addenda to the ARM ABI, 3.3.5.2 and 3.3.6).
_ARM_TEXTS = frozenset({4, 5})
_COMPATIBILITY = 32


def build_attributes(data: bytes, vendor: bytes, order: Order) -> dict[int, int | str]:
    """Return the whole file's attributes: tag -> number or text, as far as `data` makes sense.

    Args:
        data: the section `.ARM.attributes` or `.riscv.attributes`: "A", then parts of one vendor each.
        vendor: whose part to read: `aeabi` or `riscv`.
        order: the file's byte order.

    """
    found: dict[int, int | str] = {}
    if data[:1] != b"A":
        return found
    for name, part in _parts(data[1:], order):
        if name == vendor:
            for scope, attributes in _scopes(part, order):
                if scope == 1:  # Tag_File
                    found |= _attributes(attributes, texts=_ARM_TEXTS if vendor == b"aeabi" else frozenset())
    return found


def _parts(data: bytes, order: Order) -> list[tuple[bytes, bytes]]:
    found = []
    while len(data) > 4 and (size := int.from_bytes(data[:4], order)) > 4:
        vendor, _, rest = data[4:size].partition(b"\0")
        found.append((vendor, rest))
        data = data[size:]
    return found


def _scopes(data: bytes, order: Order) -> list[tuple[int, bytes]]:
    found = []
    while len(data) > 5 and (size := int.from_bytes(data[1:5], order)) > 5:
        found.append((data[0], data[5:size]))
        data = data[size:]
    return found


def _attributes(data: bytes, texts: frozenset[int]) -> dict[int, int | str]:
    found: dict[int, int | str] = {}
    while data:
        tag, data = _uleb(data)
        if tag == _COMPATIBILITY and texts:  # a number and a text, and none of our business
            _, data = _uleb(data)
            _, _, data = data.partition(b"\0")
        elif tag in texts or (tag % 2 and (tag > _COMPATIBILITY or not texts)):
            text, _, data = data.partition(b"\0")
            found[tag] = text[:1024].decode("ascii", "replace")
        else:
            found[tag], data = _uleb(data)
    return found


def _uleb(data: bytes) -> tuple[int, bytes]:
    """Return a ULEB128 number (ten bytes at most) and what follows it."""
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, data[index + 1 :]
    return value, b""


def x86_isa_needed(notes: bytes, order: Order, align: int) -> int:
    """Return GNU_PROPERTY_X86_ISA_1_NEEDED: bit 0 baseline, 1 x86-64-v2, 2 v3, 3 v4 (x86-64 psABI, 0 = no note).

    Args:
        notes: a note segment.
        order: the file's byte order.
        align: what the notes are padded to, 4 or 8.

    """
    needed, end = 0, "<" if order == "little" else ">"
    while len(notes) >= 12:
        name, size, kind = struct.unpack_from(end + "III", notes)
        begin = 12 + name + -name % 4
        begin += -begin % align
        if (notes[12 : 12 + name], kind) == (b"GNU\0", 5):  # NT_GNU_PROPERTY_TYPE_0
            needed |= _property(notes[begin : begin + size], 0xC0008002, end, align)
        notes = notes[begin + size + -size % align :]
    return needed


def _property(data: bytes, wanted: int, end: str, align: int) -> int:
    value = 0
    while len(data) >= 8:
        kind, size = struct.unpack_from(end + "II", data)
        if kind == wanted and size == 4 and len(data) >= 12:
            (value,) = struct.unpack_from(end + "I", data, 8)
        data = data[8 + size + -size % align :]
    return value


def go_settings(data: bytes) -> tuple[str, ...] | None:
    """Return a Go program's settings that name a CPU, such as "GOARM=7"; None where `data` is no build info.

    Args:
        data: from the magic text on. Go before 1.18 has pointers there and no settings: an empty tuple.

    """
    if not data.startswith(GO) or len(data) < 32:
        return None
    if not data[15] & 2:
        return ()
    size, rest = _uleb(data[32:])
    size, rest = _uleb(rest[size:])
    return tuple(match.decode() for match in GO_CPU.findall(rest[: min(size, GO_SIZE)]))
