"""What one ELF file says, no judgement: its header, what it is linked with, which CPU it was built for.

Read with `struct`, not pyelftools: that takes a hundred times as long for a header, and wants to seek.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pytest_multiarch.audit import attributes, dynamic
from pytest_multiarch.audit.attributes import Order
from pytest_multiarch.audit.dynamic import Dynamic
from pytest_multiarch.audit.parts import Parts, Plan

MAGIC = b"\x7fELF"

#: Bytes that `Ident.of` and `plan` can use: header and program headers of every sound file.
FIRST = 4096

#: What is believed of tables whose sizes the file states itself.
SEGMENTS, SECTIONS, DYNAMIC, TEXT = 256, 4096, 1 << 16, 4096

EM_386, EM_MIPS, EM_PPC64, EM_S390, EM_ARM, EM_X86_64, EM_RISCV = 3, 8, 21, 22, 40, 62, 243

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE = 1, 2, 3, 4
_PT_GNU_PROPERTY, _PT_GNU_STACK, _PT_RISCV_ATTRIBUTES = 0x6474E553, 0x6474E551, 0x70000003
_SHT_ARM_ATTRIBUTES = 0x70000003


class Type(Enum):
    """What an ELF file is for (e_type)."""

    REL = 1
    EXEC = 2
    DYN = 3
    CORE = 4
    OTHER = 0


class Ident(NamedTuple):
    """Whose code it is: what the first 20 bytes say."""

    bits: int
    order: Order
    machine: int

    @classmethod
    def of(cls, data: bytes) -> Ident | None:
        """Return what `data`, a file's beginning, says; None where it only looks like ELF."""
        if len(data) < 20 or data[:4] != MAGIC or data[4] not in (1, 2) or data[5] not in (1, 2) or data[6] != 1:
            return None
        order: Order = "little" if data[5] == 1 else "big"
        return cls(32 * data[4], order, int.from_bytes(data[18:20], order))


class Segment(NamedTuple):
    """A program header's fields that matter here."""

    type: int
    flags: int
    offset: int
    address: int
    size: int
    align: int


class Header(NamedTuple):
    """The ELF header's fields that matter here."""

    type: Type
    flags: int
    phoff: int
    phentsize: int
    phnum: int
    shoff: int
    shentsize: int
    shnum: int


#: Linked with nothing.
_ALONE = Dynamic()


@dataclass(frozen=True, slots=True)
class Elf:
    """What one ELF file says.

    Attributes:
        ident: class, byte order and machine.
        type: what it is for.
        flags: e_flags.
        interpreter: what PT_INTERP names; None where it names none.
        linked: what it says of the libraries that it is linked with.
        program: whether it is started rather than loaded: ET_EXEC, a position-independent executable, or
            dynamic with an interpreter and no name of its own (libc.so.6 has both).
        cpu_arch: ARM's Tag_CPU_arch.
        vfp_args: ARM's Tag_ABI_VFP_args: 0 soft float arguments, 1 hard, 3 either.
        riscv: RISC-V's Tag_RISCV_arch, such as "rv64i2p1_m2p0_c2p0".
        isa: what the linker's note says that an x86 CPU needs: bit 1 is x86-64-v2, 2 v3, 3 v4.
        go: a Go program's settings that name a CPU, None where it is no Go program.
        align: bytes, the least alignment of what is loaded; 0 for nothing.
        stack: whether it asks for a stack that may be executed.
        flaw: what is wrong with the file itself, "" for nothing.

    """

    ident: Ident
    type: Type
    flags: int = 0
    interpreter: str | None = None
    linked: Dynamic = _ALONE
    program: bool = False
    cpu_arch: int | None = None
    vfp_args: int | None = None
    riscv: str | None = None
    isa: int = 0
    go: tuple[str, ...] | None = None
    align: int = 0
    stack: bool = False
    flaw: str = ""

    @property
    def needed(self) -> tuple[str, ...]:
        """Return the names of the libraries that it is linked with."""
        return self.linked.needed

    @property
    def soname(self) -> str:
        """Return its own name as a library, "" where it has none."""
        return self.linked.soname


def plan(first: bytes) -> Plan:
    """Return what of a large file's middle is worth keeping, by its beginning."""
    ident = Ident.of(first)
    header = ident and _header(ident, first)
    if not ident or not header or header.type not in (Type.EXEC, Type.DYN):
        return Plan()
    segments = list(_segments(ident, header, first))
    end = max((segment.offset + segment.size for segment in segments if segment.type == _PT_LOAD), default=0)
    small = [segment for segment in segments if segment.type != _PT_LOAD and segment.size <= DYNAMIC]
    ranges = [(segment.offset, segment.offset + segment.size) for segment in small]
    ranges.append((header.shoff, header.shoff + header.shnum * header.shentsize))
    marks = [(attributes.GO, begin, last) for begin, last in _writable(segments)]
    if ident.machine == EM_ARM:
        marks.append((attributes.AEABI, end, header.shoff))
    return Plan(tuple(ranges), tuple(marks))


def read(parts: Parts) -> Elf | None:
    """Return what an ELF file says; None where it only begins like one.

    Nothing that the file says of its own tables is believed beyond its end or `SEGMENTS`, `SECTIONS`,
    `DYNAMIC` and `TEXT`.
    """
    first = parts.read(0, FIRST)
    ident = Ident.of(first)
    if ident is None:
        return None
    header = _header(ident, first)
    if header is None:
        return Elf(ident, Type.OTHER, flaw="it ends inside its header")
    if header.type not in (Type.EXEC, Type.DYN):
        return Elf(ident, header.type, header.flags)
    return _Reader(ident, header, parts).elf()


class _Reader:
    """One linked file that is being read."""

    def __init__(self, ident: Ident, header: Header, parts: Parts) -> None:
        self.ident, self.header, self.parts = ident, header, parts
        self.end = "<" if ident.order == "little" else ">"
        table = parts.read(header.phoff, header.phnum * header.phentsize)
        self.segments = list(_segments(ident, header._replace(phoff=0), table))

    def elf(self) -> Elf:
        interpreter = self.interpreter()
        linked = dynamic.read(self.parts, self.end, self.pairs(), self.place)
        arm = self.arm_attributes()
        cpu, vfp = arm.get(6), arm.get(28)
        return Elf(
            self.ident,
            self.header.type,
            self.header.flags,
            interpreter,
            linked,
            program=self.header.type is Type.EXEC or linked.pie or (interpreter is not None and not linked.soname),
            cpu_arch=cpu if isinstance(cpu, int) else None,
            vfp_args=vfp if isinstance(vfp, int) else None,
            riscv=self.riscv(),
            isa=self.isa(),
            go=self.go(),
            align=min((load.align for load in self.of(_PT_LOAD) if load.size), default=0),
            stack=any(segment.flags & 1 for segment in self.of(_PT_GNU_STACK)),
            flaw=self.flaw(),
        )

    def of(self, *types: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.type in types]

    def interpreter(self) -> str | None:
        for segment in self.of(_PT_INTERP):
            return _text(self.parts.read(segment.offset, min(segment.size, TEXT))) or None
        return None

    def pairs(self) -> list[tuple[int, int]]:
        """Return PT_DYNAMIC's (tag, value) pairs up to DT_NULL."""
        pair = struct.Struct(self.end + ("QQ" if self.ident.bits == 64 else "II"))
        found: list[tuple[int, int]] = []
        for segment in self.of(_PT_DYNAMIC)[:1]:
            data = self.parts.read(segment.offset, min(segment.size, DYNAMIC))
            for tag, value in pair.iter_unpack(data[: len(data) // pair.size * pair.size]):
                if not tag:
                    break
                found.append((tag, value))
        return found

    def place(self, address: int) -> int | None:
        """Return where in the file an address is, None for nowhere."""
        loads = (load for load in self.of(_PT_LOAD) if load.address <= address < load.address + load.size)
        return next((address - load.address + load.offset for load in loads), None)

    def arm_attributes(self) -> dict[int, int | str]:
        if self.ident.machine != EM_ARM:
            return {}
        for kind, offset, size in self.sections():
            if kind == _SHT_ARM_ATTRIBUTES:
                data = self.parts.read(offset, min(size, TEXT))
                return attributes.build_attributes(data, b"aeabi", self.ident.order)
        return {}

    def sections(self) -> Iterator[tuple[int, int, int]]:
        """Yield (type, offset, size) of each section."""
        header = self.header
        layout = struct.Struct(self.end + ("4xI8x8xQQ24x" if self.ident.bits == 64 else "4xI4x4xII16x"))
        if header.shentsize == layout.size:
            data = self.parts.read(header.shoff, min(header.shnum, SECTIONS) * layout.size)
            yield from layout.iter_unpack(data[: len(data) // layout.size * layout.size])

    def riscv(self) -> str | None:
        for segment in self.of(_PT_RISCV_ATTRIBUTES) if self.ident.machine == EM_RISCV else []:
            data = self.parts.read(segment.offset, min(segment.size, TEXT))
            arch = attributes.build_attributes(data, b"riscv", self.ident.order).get(5)
            return arch if isinstance(arch, str) else None
        return None

    def isa(self) -> int:
        needed = 0
        for segment in self.of(_PT_NOTE, _PT_GNU_PROPERTY) if self.ident.machine in (EM_386, EM_X86_64) else []:
            data = self.parts.read(segment.offset, min(segment.size, TEXT))
            needed |= attributes.x86_isa_needed(data, self.ident.order, 8 if segment.align == 8 else 4)
        return needed

    def go(self) -> tuple[str, ...] | None:
        for begin, end in _writable(self.segments):
            for offset in self.parts.find(attributes.GO, begin, end)[:8]:
                found = attributes.go_settings(self.parts.read(offset, attributes.GO_SIZE))
                if found is not None and offset % 16 == 0:
                    return found
        return None

    def flaw(self) -> str:
        if len(self.segments) < self.header.phnum:
            return "its program headers are cut off or unreadable"
        last = max((segment.offset + segment.size for segment in self.of(_PT_LOAD)), default=0)
        if last > self.parts.size:
            return f"it ends at byte {self.parts.size}, and its code at byte {last}"
        return ""


def _header(ident: Ident, data: bytes) -> Header | None:
    end, wide = "<" if ident.order == "little" else ">", ident.bits == 64
    layout = struct.Struct(end + ("16xHxx4x8xQQI2xHHHH2x" if wide else "16xHxx4x4xIII2xHHHH2x"))
    if len(data) < layout.size:
        return None
    kind, phoff, shoff, flags, phentsize, phnum, shentsize, shnum = layout.unpack_from(data)
    known = Type(kind) if kind in (1, 2, 3, 4) else Type.OTHER
    return Header(known, flags, phoff, phentsize, phnum, shoff, shentsize, shnum)


def _segments(ident: Ident, header: Header, data: bytes) -> Iterator[Segment]:
    end, wide = "<" if ident.order == "little" else ">", ident.bits == 64
    layout = struct.Struct(end + ("IIQQ8xQ8xQ" if wide else "IIII I4xII"))
    if header.phentsize != layout.size:
        return
    for index in range(min(header.phnum, SEGMENTS)):
        begin = header.phoff + index * layout.size
        if begin + layout.size > len(data):
            return
        if wide:
            kind, flags, offset, address, size, align = layout.unpack_from(data, begin)
        else:
            kind, offset, address, _, size, flags, align = layout.unpack_from(data, begin)
        yield Segment(kind, flags, offset, address, size, align)


def _writable(segments: list[Segment]) -> list[tuple[int, int]]:
    """Return the (begin, end) of what is loaded writable: where Go keeps its build info."""
    return [(s.offset, s.offset + s.size) for s in segments if s.type == _PT_LOAD and s.flags & 2]


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
