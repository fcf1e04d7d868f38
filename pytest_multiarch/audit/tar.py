"""A tar archive read once, forwards, in bounded memory and strictly; `tarfile` takes twice the time and guesses.

Formats: ustar, pax (POSIX.1-2001) and GNU's; the standard's page on `pax`, and
https://www.gnu.org/software/tar/manual/html_node/Standard.html. Sparse members are refused: engines write with
Go's archive/tar, which knows none (https://pkg.go.dev/archive/tar).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from io import BufferedIOBase
from typing import NamedTuple

from pytest_multiarch.errors import EngineError

__tracebackhide__ = True

#: Bytes of a file's content that are handed on at once.
PIECE = 256 * 1024

#: Bytes of one extended header that are believed: the kernel allows 64 KiB for an attribute, 4 KiB for a path.
EXTENDED = 4 * 1024 * 1024

_BLOCK = 512
_HEADER = struct.Struct("100s8s8s8s12s12x8sc100s8s32x32x8x8x155s12x")
_ZEROS = bytes(_BLOCK)


class TarError(EngineError):
    """What should be a tar archive is none, or ends too early."""


class Kind(Enum):
    """What a member of an archive is."""

    FILE = "file"
    HARD_LINK = "hard link"
    LINK = "symbolic link"
    FOLDER = "folder"
    #: A device node or a FIFO.
    DEVICE = "device"


_KINDS = {
    b"1": Kind.HARD_LINK,
    b"2": Kind.LINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.FOLDER,
    b"6": Kind.DEVICE,
}


class Member(NamedTuple):
    """One member: `size` bytes of content, `link` a link's raw target; names undecoded."""

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    link: bytes


class Archive:
    """A tar archive that is being read: iterate over its members; `pieces` gives the current one's content.

    Args:
        stream: the archive's bytes; a `BufferedReader`, or anything else whose `read` and `readinto` stop
            short at the end only.

    Raises:
        TarError: while iterating: the stream is no tar archive, or ends before the mark of its end.

    """

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._scratch = memoryview(bytearray(PIECE))
        #: Bytes of the current member's content not read yet, and of the zeros behind it.
        self._left = self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        extended: dict[bytes, bytes] = {}
        try:
            while (block := self._exactly(_BLOCK)) != _ZEROS:
                fields = _HEADER.unpack(block)
                _verify(block, fields[5])
                if fields[6] in b"xgLK":
                    extended |= _extensions(fields[6], self._extension(_number(fields[4])))
                    continue
                yield self._member(fields, extended)
                self._skip()
                extended = {}
        except ValueError as error:
            raise TarError("the tar archive is damaged", why=str(error)) from None

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield `(offset, bytes)` of the current member's content, `PIECE` bytes at most."""
        for begin in range(0, self._left, PIECE):
            size = min(PIECE, self._left)
            self._left -= size
            yield begin, self._exactly(size)

    def _member(self, fields: tuple[bytes, ...], extended: dict[bytes, bytes]) -> Member:
        name, mode, uid, gid, size, _, flag, link, magic, prefix = fields
        path = _text(name)
        if magic == b"ustar\x0000" and prefix[0]:  # GNU's magic is another, and its prefix something else
            path = _text(prefix) + b"/" + path
        if flag == b"S" or any(key.startswith(b"GNU.sparse.") for key in extended):
            raise ValueError("it has a sparse member")
        path = extended.get(b"path") or path
        kind = _KINDS.get(flag, Kind.FILE)  # POSIX: an unknown type is a regular file
        if flag in b"\x000" and path.endswith(b"/"):  # how folders were written before POSIX
            kind = Kind.FOLDER
        # A hard link may repeat its target's size: no content follows.
        stored = _stated(extended, b"size", _number(size)) if kind is Kind.FILE else 0
        self._left, self._padding = stored, -stored % _BLOCK
        owner, group = _stated(extended, b"uid", _number(uid)), _stated(extended, b"gid", _number(gid))
        return Member(path, kind, _number(mode), owner, group, stored, extended.get(b"linkpath") or _text(link))

    def _extension(self, size: int) -> bytes:
        if size > EXTENDED:
            raise ValueError(f"an extended header of {size} bytes")
        return self._exactly(size + -size % _BLOCK)[:size]

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise ValueError("it ends before the mark of its end")
        return data

    def _skip(self) -> None:
        left, self._left = self._left + self._padding, 0
        while left:
            got = self._stream.readinto(self._scratch[:left])
            if not got:
                raise ValueError("it ends inside a file")
            left -= got


def _verify(block: bytes, stated: bytes) -> None:
    """Raise ValueError unless the header's sum is right: its own field counts as eight spaces."""
    if sum(block) - sum(stated) + 8 * 32 != _number(stated):
        raise ValueError("a header's checksum is wrong")


def _extensions(flag: bytes, data: bytes) -> dict[bytes, bytes]:
    if flag == b"x":
        return _records(data)
    # A global header ("g") says nothing of a file's content, and Docker's writer knows none.
    return {b"path" if flag == b"L" else b"linkpath": _text(data)} if flag in b"LK" else {}


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a pax header, each "length key=value", the length counting all of it."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 21)
        end = position + _decimal(data[position : max(space, 0)])
        key, equals, value = data[space + 1 : end].partition(b"=")
        if not equals or end > len(data) or not value.endswith(b"\n"):
            raise ValueError("a pax header is damaged")
        found[key] = value[:-1]
        position = end
    return found


def _stated(extended: dict[bytes, bytes], key: bytes, otherwise: int) -> int:
    return _decimal(extended[key]) if key in extended else otherwise


def _decimal(digits: bytes) -> int:
    """Return a decimal number of at most 20 digits; ValueError where it isn't one."""
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(f"{digits[:20]!r} is no number")
    return int(digits)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Return an octal number, or one of GNU's binary ones: high bit set, the rest big-endian."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits and not digits.isdigit():
        raise ValueError("a header's number is none")
    return int(digits or b"0", 8)
