"""Whose code is in an archive: members of `ar` archives and, at one level, of zip files (wheels, jars)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from pytest_multiarch.audit.elf import Ident

AR = b"!<arch>\n"
ZIP = b"PK\x03\x04"

#: Kinds of machine that are told apart in one archive; further ones are taken for the last.
KINDS = 32

#: Bytes of a zip member's content that its first 20 bytes are inflated from.
DEFLATED = 4096

#: Flags, method, compressed size, and the lengths of name and extra field of a local header (APPNOTE.TXT, 4.3.7).
_LOCAL = Struct("<6xHH8xI4xHH")
_ENCRYPTED, _SIZE_FOLLOWS = 0x1, 0x8
_LONG_NAMES = 1 << 20


class Inner(NamedTuple):
    """The members of one archive with the same kind of code.

    Attributes:
        name: the first one's.
        ident: whose code it is; None: a library by its name, but it could not be read.
        number: how many there are.

    """

    name: str
    ident: Ident | None
    number: int


def of_ar(pieces: Iterable[tuple[int, bytes]]) -> tuple[Inner, ...]:
    """Return what is in an `ar` archive (a static library), its pieces in order from the beginning."""
    return _counted(_ar(_Forward(pieces)))


def of_zip(pieces: Iterable[tuple[int, bytes]]) -> tuple[Inner, ...]:
    """Return what ELF files are in a zip file, its pieces in order from the beginning.

    Read by its local headers, since the directory is at the end: a member whose size only follows its content,
    as `jar` writes them, is passed by searching for the next header.
    """
    return _counted(_zip(_Forward(pieces)))


def _counted(found: Iterable[tuple[bytes, Ident | None]]) -> tuple[Inner, ...]:
    kinds: dict[Ident | None, Inner] = {}
    for name, ident in found:
        if ident not in kinds and len(kinds) >= KINDS:
            ident = next(reversed(kinds))
        first = kinds.get(ident) or Inner(name.decode("utf-8", "surrogateescape"), ident, 0)
        kinds[ident] = first._replace(number=first.number + 1)
    return tuple(kinds.values())


def _ar(data: _Forward) -> Iterator[tuple[bytes, Ident | None]]:
    data.take(len(AR))
    names = b""
    while len(header := data.take(60)) == 60 and header[58:] == b"`\n" and header[48:58].strip().isdigit():
        name, size = header[:16].rstrip(), int(header[48:58])
        begin = data.take(min(size, _LONG_NAMES if name == b"//" else 1024))
        rest = size + size % 2 - len(begin)
        if name == b"//":  # GNU's table of the names that are longer than the field
            names = begin
        elif name.startswith(b"#1/") and name[3:].isdigit():  # BSD's: the name precedes the content
            length = int(name[3:])
            name, begin = begin[:length].rstrip(b"\0"), begin[length:]
        elif name[:1] == b"/" and name[1:].isdigit():
            name = names[int(name[1:]) :].partition(b"\n")[0]
        if ident := Ident.of(begin):
            yield name.rstrip(b"/"), ident
        data.skip(rest)


def _zip(data: _Forward) -> Iterator[tuple[bytes, Ident | None]]:
    while data.find(ZIP):
        header = data.peek(30)
        if len(header) < 30:
            return
        flags, method, size, name_size, extra = _LOCAL.unpack_from(header)
        name = data.peek(30 + name_size)[30:]
        data.skip(30 + name_size + extra)
        begin = _beginning(data.peek(DEFLATED), method, flags)
        if begin is None and (name.endswith(b".so") or b".so." in name):
            yield name, None
        elif begin and (ident := Ident.of(begin)):
            yield name, ident
        if not flags & _SIZE_FOLLOWS and size != 0xFFFFFFFF:  # which stands for: see the zip64 field
            data.skip(size)


def _beginning(data: bytes, method: int, flags: int) -> bytes | None:
    """Return a member's first bytes, None where they can't be known."""
    if flags & _ENCRYPTED or method not in (0, 8):
        return None
    if method == 0:
        return data[:64]
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, 64)
    except zlib.error:
        return None


class _Forward:
    """The pieces of a file as one text that is read forwards."""

    def __init__(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        self._pieces = iter(pieces)
        self._data, self._at = b"", 0

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        while len(self._data) - self._at < size and (piece := next(self._pieces, None)):
            self._data, self._at = self._data[self._at :] + piece[1], 0
        return self._data[self._at : self._at + size]

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes and go behind them."""
        data = self.peek(size)
        self._at += len(data)
        return data

    def skip(self, size: int) -> None:
        """Go on by `size` bytes."""
        while size > len(self._data) - self._at:
            size -= len(self._data) - self._at
            piece = next(self._pieces, None)
            self._data, self._at = piece[1] if piece else b"", 0
            if piece is None:
                return
        self._at += size

    def find(self, text: bytes) -> bool:
        """Go on to the next place where `text` stands, and tell whether there is one."""
        while (found := self._data.find(text, self._at)) < 0:
            rest = self._data[max(self._at, len(self._data) - len(text) + 1) :]
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._data, self._at = rest + piece[1], 0
        self._at = found
        return True
