"""Where the content of a sparse file belongs, in the four ways that tar archives write it.

https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

#: `(offset, length)` of each extent, in bytes.
Extents = list[tuple[int, int]]

#: Extents of one file that are believed: GNU tar writes a gigabyte of alternating blocks with as many.
LIMIT = 1 << 17

_PAIR = struct.Struct("12s12s")


def old(header: bytes, number: Callable[[bytes], int], block: Callable[[], bytes]) -> tuple[Extents, int]:
    """Return the extents and the whole size of a type-S member: four pairs, then blocks of 21.

    Raises:
        ValueError: there are more than `LIMIT`.

    """

    def pairs() -> Iterator[tuple[int, int]]:
        table, more = header[386:482], header[482]
        while True:
            for offset, length in _PAIR.iter_unpack(table):
                yield number(offset), number(length)
            if not more:
                return
            following = block()
            table, more = following[:504], following[504]

    return _bounded(pairs()), number(header[483:495])


def listed(text: bytes) -> Extents:
    """Return the extents of pax formats 0.0 and 0.1: offset, length, offset, length, ...

    Raises:
        ValueError: these are no pairs of numbers, or more than `LIMIT`.

    """
    numbers = text.strip(b",").split(b",") if text.strip(b",") else []
    return _paired(iter(numbers))


def leading(lines: Iterator[bytes]) -> Extents:
    """Return the extents of pax format 1.0: a count and then pairs, one number a line, before the content.

    Raises:
        ValueError: these are no pairs of numbers, or more than `LIMIT`.

    """
    count = decimal(next(lines, b""))
    if count > LIMIT:
        raise ValueError(f"{count} extents")
    return _paired(next(lines, b"") for _ in range(2 * count))


def decimal(digits: bytes) -> int:
    """Return a decimal number of at most 20 digits.

    Raises:
        ValueError: it isn't one.

    """
    if not digits.isdigit() or len(digits) > 20:
        raise ValueError(f"{digits[:20]!r} is no number")
    return int(digits)


def _paired(numbers: Iterator[bytes]) -> Extents:
    return _bounded((decimal(offset), decimal(next(numbers, b""))) for offset in numbers)


def _bounded(pairs: Iterable[tuple[int, int]]) -> Extents:
    found: Extents = []
    for offset, length in pairs:
        if len(found) >= LIMIT:
            raise ValueError(f"more than {LIMIT} extents")
        if length:
            found.append((offset, length))
    return found
