"""What an ELF file says of the libraries that it is linked with: their names, where they are, their versions.

Tags and tables as in https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/ (chapters
"Dynamic Section" and "Symbol Versioning").
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_multiarch.audit.parts import Parts

_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_FLAGS_1, _VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_PIE, _NODEFLIB, _WEAK, _BASE = 0x08000000, 0x800, 2, 1

#: What is believed of tables whose sizes the file states itself: bytes of a name, rows, bytes of a table.
_NAME, _ROWS, _TABLE = 4096, 4096, 1 << 18

#: What glibc's loaders are called, and where such a file keeps the folders that it searches by itself: a run of
#: paths, each ended by a slash and a zero (elf/dl-load.c, system_dirs).
LOADERS = re.compile(r"ld-linux.*|ld\.so\.1|ld64\.so\.[12]|ld-[0-9.]+\.so")
_FOLDERS = re.compile(rb"(?:/(?:[\w.+-]+/)+\0){2,}")


@dataclass(frozen=True, slots=True)
class Dynamic:
    """What the dynamic section says.

    Attributes:
        needed: names of the libraries that it is linked with.
        soname: its own name as a library, "" where it has none.
        rpath, runpath: folders that are searched first, with colons; None where it names none.
        no_default: whether the loader's own folders are not searched.
        wants: for each library the versions of its symbols without which the file isn't loaded.
        offers: the versions that it has itself; None: it has none at all.
        folders: where a loader searches by itself; empty for any other file.
        pie: whether it says that it is a position-independent program.
        whole: whether all of this could be read.

    """

    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: str | None = None
    runpath: str | None = None
    no_default: bool = False
    wants: tuple[tuple[str, tuple[str, ...]], ...] = ()
    offers: frozenset[str] | None = None
    folders: tuple[str, ...] = ()
    pie: bool = False
    whole: bool = True


def read(parts: Parts, end: str, pairs: Sequence[tuple[int, int]], place: Callable[[int], int | None]) -> Dynamic:
    """Return what a dynamic section says.

    Args:
        parts: what is kept of the file.
        end: its byte order, as `struct` writes it.
        pairs: the section's (tag, value).
        place: returns where in the file an address is, None for nowhere.

    """
    return _Reader(parts, end, pairs, place).dynamic()


class _Reader:
    """One dynamic section that is being read."""

    def __init__(
        self, parts: Parts, end: str, pairs: Sequence[tuple[int, int]], place: Callable[[int], int | None]
    ) -> None:
        self.parts, self.end, self.pairs, self.place = parts, end, pairs, place
        self.first = dict(reversed(pairs))
        self.strings = place(self.first[_STRTAB]) if _STRTAB in self.first else None
        self.whole = self.strings is not None or not pairs

    def dynamic(self) -> Dynamic:
        flags, soname = self.first.get(_FLAGS_1, 0), self.named(_SONAME) or ""
        wants = tuple(self.wanted()) if _VERNEED in self.first else ()
        offers = frozenset(self.offered()) if _VERDEF in self.first else None
        return Dynamic(
            tuple(self.text(value) for tag, value in self.pairs if tag == _NEEDED),
            soname,
            self.named(_RPATH),
            self.named(_RUNPATH),
            bool(flags & _NODEFLIB),
            wants,
            offers,
            self.folders() if LOADERS.fullmatch(soname) else (),
            bool(flags & _PIE),
            self.whole,
        )

    def named(self, tag: int) -> str | None:
        return self.text(self.first[tag]) if tag in self.first else None

    def text(self, offset: int) -> str:
        if self.strings is None:
            return ""
        for size in (64, _NAME):  # nearly all are short
            data = self.parts.read(self.strings + offset, size)
            name, zero, _ = data.partition(b"\0")
            if zero:
                return name.decode("utf-8", "surrogateescape")
        self.whole = False
        return ""

    def wanted(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each library's name, and the versions of it (Elfxx_Verneed, Elfxx_Vernaux)."""
        data = self.table(_VERNEED)
        for at, (_, number, file, first, _) in self.rows(data, 0, "HHIII", self.first.get(_VERNEEDNUM, 0)):
            rows = self.rows(data, at + first, "IHHII", number)
            yield (
                self.text(file),
                tuple(self.text(name) for _, (_, flags, _, name, _) in rows if not flags & _WEAK),
            )

    def offered(self) -> Iterator[str]:
        """Yield each version (Elfxx_Verdef, its first Elfxx_Verdaux); the file's own name is none."""
        data = self.table(_VERDEF)
        name = struct.Struct(self.end + "I")
        rows = self.rows(data, 0, "HHHHIII", self.first.get(_VERDEFNUM, 0))
        for at, (_, flags, _, _, _, first, _) in rows:
            if at + first + name.size > len(data):
                self.whole = False
            elif not flags & _BASE:
                yield self.text(name.unpack_from(data, at + first)[0])

    def rows(self, data: bytes, at: int, form: str, number: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield each row of a chain, and where it is: its last field says how far the next one is."""
        layout = struct.Struct(self.end + form)
        for _ in range(min(number, _ROWS)):
            if at + layout.size > len(data):
                self.whole = False
                return
            row = layout.unpack_from(data, at)
            yield at, row
            if not row[-1]:
                return
            at += row[-1]

    def table(self, tag: int) -> bytes:
        offset = self.place(self.first[tag])
        return self.parts.read(offset, _TABLE) if offset is not None else b""

    def folders(self) -> tuple[str, ...]:
        found = _FOLDERS.search(self.parts.read(0, min(self.parts.size, 4 << 20)))
        return tuple(each.decode() for each in found[0].split(b"\0") if each) if found else ()
