"""The parts of one file that are kept while it streams past: its headers can be read, whatever its size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

#: Bytes kept of a file's beginning (where headers, notes and most string tables are) ...
HEAD = 8 << 20

#: ... and of its end (section headers, what `patchelf` appended). Files up to the sum are kept whole.
TAIL = 4 << 20

#: Bytes kept of what lies between, where a plan names it.
BETWEEN = 8 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a file's middle is worth keeping.

    Attributes:
        ranges: `(begin, end)` known to be needed.
        marks: `(text, begin, end)`: what is needed begins with `text`, somewhere between `begin` and `end`.

    """

    ranges: tuple[tuple[int, int], ...] = ()
    marks: tuple[tuple[bytes, int, int], ...] = ()

    def wants(self, begin: int, piece: bytes, before: bytes) -> bool:
        """Tell whether the piece at offset `begin` is needed; `before` is the end of the one before it."""
        end = begin + len(piece)
        return any(begin < last and first < end for first, last in self.ranges) or any(
            begin < last and first < end and (text in piece or text in before + piece[: len(text)])
            for text, first, last in self.marks
        )


class Parts:
    """What is kept of one file: `read` it by offset; `size` is how long the file is."""

    def __init__(self, pieces: Iterable[tuple[int, bytes]], size: int, plan: Plan | None = None) -> None:
        self.size = size
        kept: dict[int, bytes] = {}
        tail: deque[tuple[int, bytes]] = deque()
        plan, room, following, previous = plan or Plan(), BETWEEN, False, (0, b"")
        for begin, piece in pieces:
            wanted = begin >= HEAD and room > 0 and plan.wants(begin, piece, previous[1][-64:])
            if begin < HEAD or following:
                kept[begin] = piece
            if wanted:  # a mark may begin in the piece before, and what it marks end in the next
                kept |= {previous[0]: previous[1], begin: piece}
                room -= len(piece)
            following, previous = wanted, (begin, piece)
            tail.append(previous)
            while tail[0][0] + TAIL < begin:
                tail.popleft()
        self._kept = sorted((kept | dict(tail)).items())

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset` on; fewer where the file ends or was not kept."""
        found = b""
        for begin, piece in self._kept:
            at = offset + len(found)
            if begin <= at < begin + len(piece):
                found += piece[at - begin : offset + size - begin]
            if len(found) >= size:
                break
        return found

    def find(self, text: bytes, begin: int, end: int) -> list[int]:
        """Return where `text` stands in what is kept between `begin` and `end`, wholly inside one piece."""
        found = []
        for at, piece in self._kept:
            position = piece.find(text, max(begin - at, 0), max(end - at, 0))
            while position >= 0:
                found.append(at + position)
                position = piece.find(text, position + 1, max(end - at, 0))
        return found
