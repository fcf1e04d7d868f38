"""A file system as the engine exports it, read once: which paths there are and what its programs say."""

from __future__ import annotations

import itertools
import re
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from io import BufferedIOBase
from typing import NamedTuple

from pytest_multiarch.audit import elf, members, scripts
from pytest_multiarch.audit.elf import Elf, Ident, Type
from pytest_multiarch.audit.members import Inner
from pytest_multiarch.audit.parts import HEAD, Parts
from pytest_multiarch.audit.tar import Archive, Kind, Member

__tracebackhide__ = True

#: What the engine itself puts into every container: it hides what the image has there.
UNSEEN = ("/.dockerenv", "/dev", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf")

_BELOW_UNSEEN = tuple(f"{path}/" for path in UNSEEN)

#: Symbolic links that the kernel follows on the way to one file (MAXSYMLINKS).
HOPS = 40

#: Bytes of a script's first line that the kernel looks at (BINPRM_BUF_SIZE, linux/binfmts.h).
LINE = 256

#: Files whose text is kept, and bytes of each: who a user is, and where loaders search.
KEPT = re.compile(r"/etc/(passwd|group|ld\.so\.cache|ld-musl-[^/]+\.path)")
KEPT_BYTES = 4 << 20

#: Kinds of plain entries that are told apart; beyond them everybody counts as allowed.
KINDS = 256


class What(Enum):
    """What a path is."""

    FOLDER = "a folder"
    LINK = "a symbolic link"
    ELF = "an ELF file"
    #: Begins with `#!`.
    SCRIPT = "a script"
    #: An `ar` archive.
    LIBRARY = "a static library"
    #: A zip file: wheels and jars are some.
    ZIP = "a zip file"
    DATA = "neither ELF nor a script"
    DEVICE = "a device or a FIFO"


class Access(NamedTuple):
    """Who may do what with a file or a folder, as inode(7) says."""

    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One path.

    Attributes:
        what: what it is.
        executable: whether anybody may execute it.
        target: what a symbolic link says, as it stands there.
        line: what follows a script's `#!`, without the newline.
        elf: what an ELF file says; None: it only begins like one.
        inner: whose code an archive holds.
        access: who may use it; None: everybody may read it, execute what can be, pass through a folder.
        forwards: whether a script does nothing of its own but start its arguments.
        text: the text of a file of `KEPT`.

    """

    what: What
    executable: bool = False
    target: str = ""
    line: str = ""
    elf: Elf | None = None
    inner: tuple[Inner, ...] = ()
    access: Access | None = None
    forwards: bool = False
    text: str | None = None


#: Entries that say nothing but this; images have millions of them.
FOLDER, DATA, PROGRAM, DEVICE = (
    Entry(What.FOLDER, executable=True),
    Entry(What.DATA),
    Entry(What.DATA, executable=True),
    Entry(What.DEVICE),
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A file system: absolute paths, without "." and "..", undecodable bytes as surrogates.

    Attributes:
        entries: what can matter: links, ELF files, scripts, archives.
        plain: of everything else the hashes of the paths, sorted: eight bytes for each of a million files.
        files: how many regular files there are.

    """

    entries: Mapping[str, Entry]
    plain: Mapping[Entry, array[int]] = field(repr=False)
    files: int

    def find(self, path: str, folder: str = "/") -> tuple[str, Entry | None]:
        """Follow `path`, from `folder` on where it is relative, as the kernel does inside a container.

        Returns the path without symbolic links, "" where they lead round in a circle, and what is there.
        What leads out of the tree by `..` stays at its root.
        """
        real = self._real(path if path.startswith("/") else f"{folder}/{path}")
        return real, self.at(real) if real else None

    def at(self, real: str) -> Entry | None:
        """Return what is at a path that leads through no symbolic link, None for nothing."""
        if real == "/":
            return FOLDER
        if entry := self.entries.get(real):
            return entry
        number = hash(real)
        return next((entry for entry, hashes in self.plain.items() if _holds(hashes, number)), None)

    def elves(self) -> Iterator[tuple[str, Elf]]:
        """Yield the path and the facts of every ELF file."""
        return ((path, entry.elf) for path, entry in self.entries.items() if entry.elf)

    def linked(self, ident: Ident) -> dict[str, Elf]:
        """Return the files of one machine that are run or loaded, by path."""
        return {path: elf for path, elf in self.elves() if elf.ident == ident and is_linked(path, elf)}

    def _real(self, path: str) -> str:
        ahead, behind, hops = deque(path.split("/")), list[str](), 0
        while ahead:
            name = ahead.popleft()
            if name == "..":
                del behind[-1:]
            elif name not in ("", "."):
                entry = self.entries.get("/" + "/".join([*behind, name]))
                if entry is None or entry.what is not What.LINK:
                    behind.append(name)
                    continue
                hops += 1
                if hops > HOPS:
                    return ""
                ahead.extendleft(reversed(entry.target.split("/")))
                if entry.target.startswith("/"):
                    behind = []
        return "/" + "/".join(behind)


def is_linked(path: str, elf: Elf) -> bool:
    """Tell whether a file is run or loaded: no object file, and not another file's symbols without its code."""
    debug = path.endswith(".debug") or path.startswith("/usr/lib/debug/")
    return elf.type in (Type.EXEC, Type.DYN) and not debug


def unseen(path: str) -> bool:
    """Tell whether `path` is the engine's own in an export, so that nothing is known of the image's."""
    return path in UNSEEN or path.startswith(_BELOW_UNSEEN)


def read(stream: BufferedIOBase) -> Tree:
    """Return the file system in a tar archive, such as `docker export` writes.

    A whiteout (`.wh.x`) is no whiteout in an export: it is a file, and hides nothing.

    Raises:
        TarError: the stream is no tar archive, or ends too early.

    """
    entries: dict[str, Entry] = {}
    plain: dict[Entry, array[int]] = {entry: array("q") for entry in (FOLDER, DATA, PROGRAM, DEVICE)}
    files = 0
    archive = Archive(stream)
    for member in archive:
        path = normal(member.path)
        if unseen(path) or path == "/":
            continue
        files += member.kind in (Kind.FILE, Kind.HARD_LINK)
        if member.kind is Kind.HARD_LINK:
            entry = entries.get(normal(member.link)) or _limited(_plain(member), member)
        elif member.kind is Kind.FILE and KEPT.fullmatch(path):
            entry = _kept(member, archive)
        else:
            entry = _limited(_entry(member, archive), member)
        entries.pop(path, None)  # of two members with one name the later counts
        if entry not in plain and replace(entry, access=None) in plain:
            entry = entry if len(plain) < KINDS else replace(entry, access=None)
            plain.setdefault(entry, array("q"))
        if entry in plain:
            plain[entry].append(hash(path))
        else:
            entries[path] = entry
    return Tree(entries, {entry: array("q", sorted(hashes)) for entry, hashes in plain.items()}, files)


def _holds(hashes: array[int], number: int) -> bool:
    at = bisect_left(hashes, number)
    return at < len(hashes) and hashes[at] == number


def normal(path: bytes) -> str:
    """Return a member's name as an absolute path that stays in the tree."""
    kept: list[str] = []
    for name in path.decode("utf-8", "surrogateescape").split("/"):
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return "/" + "/".join(kept)


def _entry(member: Member, archive: Archive) -> Entry:
    if member.kind is Kind.LINK:
        return Entry(What.LINK, target=member.link.decode("utf-8", "surrogateescape"))
    if member.kind is not Kind.FILE:
        return FOLDER if member.kind is Kind.FOLDER else DEVICE
    pieces = archive.pieces()
    first = next(pieces, (0, b""))
    data, executable, whole = first[1], bool(member.mode & 0o111), itertools.chain([first], pieces)
    if data.startswith(elf.MAGIC):
        plan = elf.plan(data) if member.size > HEAD else None  # else the file is kept whole
        facts = elf.read(Parts(whole, member.size, plan))
        return Entry(What.ELF, executable, elf=facts)
    if data.startswith(b"#!"):
        line = data[2:LINE].partition(b"\n")[0].partition(b"\0")[0].decode("utf-8", "surrogateescape").strip(" \t")
        forwards = member.size == len(data) and scripts.forwards(data)
        return Entry(What.SCRIPT, executable, line=line, forwards=forwards)
    if data.startswith(scripts.MARK):
        return Entry(What.DATA, executable, line="\ufeff#!")
    if data.startswith(members.AR):
        return Entry(What.LIBRARY, executable, inner=members.of_ar(whole))
    if data.startswith(members.ZIP):
        return Entry(What.ZIP, executable, inner=members.of_zip(whole))
    return _plain(member)


def _kept(member: Member, archive: Archive) -> Entry:
    data = b"".join(piece for offset, piece in archive.pieces() if offset < KEPT_BYTES)[:KEPT_BYTES]
    entry = replace(_plain(member), text=data.decode("utf-8", "surrogateescape"))
    return _limited(entry, member)


def _limited(entry: Entry, member: Member) -> Entry:
    """Return the entry with who may use it, where that is not everybody."""
    if entry.what is What.LINK:
        return entry
    needed = 0o111 if entry.what is What.FOLDER else 0o555 if entry.executable else 0o444
    if member.mode & needed == needed:
        return entry
    return replace(entry, access=Access(member.mode & 0o777, member.uid, member.gid))


def _plain(member: Member) -> Entry:
    return PROGRAM if member.mode & 0o111 else DATA
