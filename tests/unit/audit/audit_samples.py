"""Small ELF files, archives and trees, made byte by byte, so that every test says what is in them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_multiarch.audit import tree
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.tree import Tree
from pytest_multiarch.platforms import Platform

ADDRESS = 0x10000
EXEC, DYN, REL = 2, 3, 1


def uleb(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def build_attributes(pairs: Mapping[int, int | str], vendor: bytes = b"aeabi", order: str = "little") -> bytes:
    body = b"".join(
        uleb(tag) + (uleb(value) if isinstance(value, int) else value.encode() + b"\0")
        for tag, value in pairs.items()
    )
    scope = b"\x01" + (len(body) + 5).to_bytes(4, order) + body
    part = vendor + b"\0" + scope
    return b"A" + (len(part) + 4).to_bytes(4, order) + part


def go_info(*settings: str) -> bytes:
    lines = "path\tm\nmod\tm\t(devel)\t\n" + "".join(f"build\t{setting}\n" for setting in settings)
    info = (
        b"0w\xaf\x0c\x92t\x08\x02A\xe1\xc1\x07\xe6\xd6\x18\xe6"
        + lines.encode()
        + b"\xf92C1\x86\x18 r\x00\x82B\x10A\x16\xd8\xf2"
    )
    version = b"go1.22.0"
    return b"\xff Go buildinf:\x08\x02".ljust(32, b"\0") + uleb(len(version)) + version + uleb(len(info)) + info


def isa_note(bits: int) -> bytes:
    return struct.pack("<III4sIII4x", 4, 16, 5, b"GNU\0", 0xC0008002, 4, bits)


@dataclass(frozen=True)
class Sample:
    """One ELF file to be made: a header, one loaded segment with everything in it, sections at the end."""

    machine: int = 62
    bits: int = 64
    order: str = "little"
    type: int = EXEC
    flags: int = 0
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: str = ""
    runpath: str = ""
    #: A library's name -> the versions that are wanted of it; those that the file has itself.
    wants: Mapping[str, tuple[str, ...]] | None = None
    offers: tuple[str, ...] = ()
    #: Behind everything, as a loader keeps the names of its folders.
    tail: bytes = b""
    pie: bool = False
    #: Bytes to which what is loaded is aligned, and whether it asks for an executable stack.
    align: int = 0x10000
    stack: bool = False
    arm: Mapping[int, int | str] | None = None
    riscv: str = ""
    isa: int = 0
    go: tuple[str, ...] | None = None
    #: Bytes between the header and the rest, and behind the rest.
    before: int = 0
    after: int = 0

    def bytes(self) -> bytes:
        end, wide = "<" if self.order == "little" else ">", self.bits == 64
        header, entry, section = (64, 56, 64) if wide else (52, 32, 40)
        parts: list[tuple[int, int, bytes]] = []
        data = b"\0" * self.before
        if self.interpreter:
            parts.append((3, 4, self.interpreter.encode() + b"\0"))
        if self.isa:
            parts.append((0x6474E553, 8, isa_note(self.isa)))
        if self.stack:
            parts.append((0x6474E551, 1, b""))
        if self.riscv:
            parts.append((0x70000003, 1, build_attributes({4: 16, 5: self.riscv}, b"riscv")))
        count = len(parts) + 1 + bool(self.dynamic)
        base = header + entry * count
        segments = []
        for kind, align, content in parts:
            data += b"\0" * (-(base + len(data)) % 8)
            segments.append((kind, base + len(data), len(content), align))
            data += content
        if self.dynamic:
            wants = self.wants or {}
            words = [
                *self.needed,
                self.soname,
                self.rpath,
                self.runpath,
                *wants,
                *sum(wants.values(), ()),
                *self.offers,
            ]
            names = b"\0" + b"".join(word.encode() + b"\0" for word in dict.fromkeys(words) if word)

            def at(word: str) -> int:
                return names.index(b"\0" + word.encode() + b"\0") + 1

            data += b"\0" * (-(base + len(data)) % 8)
            pairs = [(1, at(name)) for name in self.needed]
            said = ((14, self.soname), (15, self.rpath), (29, self.runpath))
            pairs += [(tag, at(word)) for tag, word in said if word]
            pairs += [(0x6FFFFFFB, 0x08000000)] if self.pie else []
            pairs += [(5, ADDRESS + base + len(data))]
            data += names
            for tag, table, number in (
                (0x6FFFFFFE, self._wants(end, at), len(wants)),
                (0x6FFFFFFC, self._offers(end, at), len(self.offers) + 1),
            ):
                if table:
                    data += b"\0" * (-(base + len(data)) % 8)
                    pairs += [(tag, ADDRESS + base + len(data)), (tag + 1, number)]
                    data += table
            pairs += [(0, 0)]
            data += b"\0" * (-(base + len(data)) % 8)
            table = b"".join(struct.pack(end + ("QQ" if wide else "II"), *pair) for pair in pairs)
            segments.append((2, base + len(data), len(table), 8))
            data += table
        if self.go is not None:
            data += b"\0" * (-(base + len(data)) % 16) + go_info(*self.go)
        data += self.tail
        segments.append((1, 0, base + len(data), self.align))
        data += b"\0" * self.after
        attributes = build_attributes(self.arm, order=self.order) if self.arm is not None else b""
        sections = [(0, 0, 0), (0x70000003, base + len(data), len(attributes))] if attributes else []
        data += attributes
        ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if self.order == "little" else 2, 1]) + bytes(9)
        numbers = (self.type, self.machine, 1, ADDRESS, header, base + len(data) if sections else 0, self.flags)
        sizes = (header, entry, count, section, len(sections), 0)
        head = ident + struct.pack(end + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), *numbers, *sizes)
        return (
            head
            + b"".join(self._segment(end, wide, *each) for each in segments)
            + data
            + b"".join(self._section(end, wide, *each) for each in sections)
        )

    def _wants(self, end: str, at: Callable[[str], int]) -> bytes:
        out, rows = b"", list((self.wants or {}).items())
        for index, (name, versions) in enumerate(rows):
            following = 0 if index + 1 == len(rows) else 16 + 16 * len(versions)
            out += struct.pack(end + "HHIII", 1, len(versions), at(name), 16, following)
            for position, version in enumerate(versions):
                more = 0 if position + 1 == len(versions) else 16
                out += struct.pack(end + "IHHII", 0, 0, 2, at(version), more)
        return out

    def _offers(self, end: str, at: Callable[[str], int]) -> bytes:
        if not self.offers:
            return b""
        rows = [(1, at(self.soname)), *((0, at(version)) for version in self.offers)]
        return b"".join(
            struct.pack(
                end + "HHHHIIIII", 1, flags, index + 1, 1, 0, 20, 0 if index + 1 == len(rows) else 28, name, 0
            )
            for index, (flags, name) in enumerate(rows)
        )

    @property
    def dynamic(self) -> bool:
        return bool(self.needed or self.soname or self.pie or self.type == DYN)

    @staticmethod
    def _segment(end: str, wide: bool, kind: int, offset: int, size: int, align: int) -> bytes:
        address = ADDRESS + offset
        if wide:
            return struct.pack(end + "IIQQQQQQ", kind, 7, offset, address, address, size, size, align)
        return struct.pack(end + "IIIIIIII", kind, offset, address, address, size, size, 7, align)

    @staticmethod
    def _section(end: str, wide: bool, kind: int, offset: int, size: int) -> bytes:
        layout = "IIQQQQIIQQ" if wide else "IIIIIIIIII"
        return struct.pack(end + layout, 0, kind, 0, 0, offset, size, 0, 0, 1, 0)


def program(platform: Platform | str = "linux/amd64", **changes: object) -> bytes:
    """Return a statically linked program of a platform."""
    known = platform if isinstance(platform, Platform) else Platform.parse(platform)
    flags = 0
    for _, value in known.elf.flags:
        flags |= value
    facts = {"machine": known.elf.machine, "bits": known.elf.bits, "order": known.elf.order, "flags": flags}
    return Sample(**{**facts, **changes}).bytes()  # type: ignore[arg-type]


def library(platform: Platform | str = "linux/amd64", soname: str = "libx.so.1", **changes: object) -> bytes:
    return program(platform, type=DYN, soname=soname, **changes)


@dataclass(frozen=True)
class File:
    """One member: its content, or where it leads to."""

    data: bytes = b""
    mode: int = 0o755
    link: str = ""
    hard: str = ""
    type: bytes = tarfile.REGTYPE
    owner: tuple[int, int] = (0, 0)


def link(target: str) -> File:
    return File(link=target)


def tar(members: Mapping[str, bytes | File], format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape") as archive:
        for name, content in members.items():
            file = content if isinstance(content, File) else File(content)
            member = tarfile.TarInfo(name)
            member.mode, member.size, member.type = file.mode, len(file.data), file.type
            member.uid, member.gid = file.owner
            if file.link or file.hard:
                member.type = tarfile.SYMTYPE if file.link else tarfile.LNKTYPE
                member.linkname = file.link or file.hard
            archive.addfile(member, io.BytesIO(file.data))
    return out.getvalue()


def a_tree(members: Mapping[str, bytes | File]) -> Tree:
    return tree.read(io.BytesIO(tar(members)))


def ar(members: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(data):<10}".encode()
            + b"`\n"
            + data
            + b"\n" * (len(data) % 2)
        )
    return out


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, streamed: bool = False) -> bytes:
    out = io.BytesIO()

    class Unseekable(io.RawIOBase):  # zipfile then writes sizes behind the content, as `jar` does
        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            return out.write(data)

    with zipfile.ZipFile(Unseekable() if streamed else out, "w", method) as archive:  # type: ignore[arg-type]
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


CONFIG = Config("linux", "amd64", env=(("PATH", "/usr/bin:/bin"),))
