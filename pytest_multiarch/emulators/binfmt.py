"""The kernel's entries for foreign programs (binfmt_misc): read, written, and undone."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_multiarch import process
from pytest_multiarch.platforms import Elf, Platform

#: Where the kernel shows its entries (the kernel's documentation, admin-guide/binfmt-misc.rst).
FOLDER = Path("/proc/sys/fs/binfmt_misc")

#: How the names of our own entries begin; no other is ever changed.
PREFIX = "multiarch-"

#: Preserve argv[0]; take the credentials of the program (so that sudo works), which implies O, open it for the
#: emulator; fix the emulator at registration, so that containers, which don't contain it, have it too.
FLAGS = "POCF"

#: Where emulators lie besides PATH; Debian keeps the ones that its own entries name in the last.
FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/libexec/qemu-binfmt")

PT_LOAD, PT_INTERP = 1, 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: programs that begin with `magic`, where `mask` has a bit set, are given to `interpreter`."""

    name: str
    enabled: bool
    interpreter: str
    flags: str
    magic: bytes
    mask: bytes

    def takes(self, program: bytes) -> bool:
        """Tell whether the entry matches a program that begins so; entries by file name never do."""
        if not self.magic or len(program) < len(self.magic):
            return False
        head = program[: len(self.magic)]
        return all(
            (byte ^ wanted) & bits == 0 for byte, wanted, bits in zip(head, self.magic, self.mask, strict=True)
        )

    def __str__(self) -> str:
        state = "enabled" if self.enabled else "disabled"
        return f"{self.name}: {state}, interpreter {self.interpreter}, flags {self.flags or 'none'}"


def parse(name: str, text: str) -> Entry:
    """Return the entry that the kernel shows as `text`; lines that it doesn't show are empty."""
    lines = text.splitlines()
    said = {key.rstrip(":"): value for key, _, value in (line.partition(" ") for line in lines)}
    offset = int(said.get("offset", "0"))
    magic = bytes.fromhex(said.get("magic", ""))
    mask = bytes.fromhex(said.get("mask", "")) or b"\xff" * len(magic)
    if len(mask) != len(magic) or not 0 <= offset < 4096:
        raise ValueError(f"{name} is no entry of this kernel's")
    return Entry(
        name=name,
        enabled=lines[:1] == ["enabled"],
        interpreter=said.get("interpreter", ""),
        flags=said.get("flags", ""),
        magic=bytes(offset) + magic if magic else b"",
        mask=bytes(offset) + mask if magic else b"",
    )


def line(name: str, elf: Elf, interpreter: str) -> bytes:
    r"""Return what registers `interpreter` for the programs of `elf`: `:name:M::magic:mask:interpreter:flags`.

    The header's first 20 bytes say which machine a program is for. Bytes 7 to 15 (OS, ABI version, padding) are
    not looked at, as the kernel itself doesn't for its own programs; the lowest bit of the type (2: executable,
    3: position-independent or library) is not either.
    """
    order = elf.order
    ident = b"\x7fELF" + bytes((elf.bits // 32, 1 if order == "little" else 2, 1)) + bytes(9)
    magic = ident + (2).to_bytes(2, order) + elf.machine.to_bytes(2, order)
    mask = b"\xff" * 7 + bytes(9) + (0xFFFE).to_bytes(2, order) + b"\xff\xff"
    return b":%s:M::%s:%s:%s:%s" % (
        name.encode(),
        _escaped(magic),
        _escaped(mask),
        os.fsencode(interpreter),
        FLAGS.encode(),
    )


def _escaped(data: bytes) -> bytes:
    return "".join(f"\\x{byte:02x}" for byte in data).encode()


def entries(folder: Path = FOLDER) -> list[Entry]:
    """Return the entries that there are, none where binfmt_misc isn't mounted or not to be read."""
    found = []
    for path in _files(folder):
        try:
            found.append(parse(path.name, path.read_text()))
        except (OSError, ValueError):  # it went away meanwhile, or is nothing that we know
            continue
    return found


def enabled(folder: Path = FOLDER) -> bool:
    """Tell whether the kernel looks at its entries at all."""
    try:
        return (folder / "status").read_text().strip() == "enabled"
    except OSError:
        return False


def mount(folder: Path = FOLDER) -> bool:
    """Mount binfmt_misc where it isn't; tell whether entries can be written afterwards."""
    if not (folder / "register").exists() and os.geteuid() == 0 and folder.is_dir():
        process.run(["mount", "-t", "binfmt_misc", "binfmt_misc", folder], timeout=10)
    return os.access(folder / "register", os.W_OK)


def register(platform: Platform, emulator: Path, folder: Path = FOLDER) -> str:
    """Register `emulator` for the platform's programs and return the entry's name.

    The newest entry wins, so whatever else is there for them stays, unused. An older one of ours goes.

    Raises:
        OSError: the kernel refuses.

    """
    name = f"{PREFIX}{platform.architecture}"
    with contextlib.suppress(FileNotFoundError):
        _write(folder / name, b"-1")
    with contextlib.suppress(FileExistsError):  # another session was faster
        _write(folder / "register", line(name, platform.elf, os.fspath(emulator)))
    return name


def unregister(folder: Path = FOLDER, name: str | None = None) -> list[str]:
    """Remove our own entries (the one of that name, or all) and return their names; others stay.

    Raises:
        OSError: the kernel refuses.

    """
    ours = [
        path for path in _files(folder) if path.name.startswith(PREFIX) and (name is None or path.name == name)
    ]
    for path in ours:
        _write(path, b"-1")
    return [path.name for path in ours]


def emulators(platform: Platform, folders: Iterable[str] | None = None) -> Iterator[Path]:
    """Yield this machine's own static QEMUs for the platform: the only kind that a container can use."""
    if folders is None:
        folders = (*os.environ.get("PATH", "").split(os.pathsep), *FOLDERS)
    seen = set()
    for folder in dict.fromkeys(folders):
        for name in (f"qemu-{platform.qemu}-static", f"qemu-{platform.qemu}", f"{platform.qemu}-binfmt-P"):
            found = shutil.which(name, path=folder) if folder else None
            if found and (path := Path(found).resolve()) not in seen and is_static(path):
                seen.add(path)
                yield path


def is_static(program: Path) -> bool:
    """Tell whether a file is an ELF program that needs no loader (no PT_INTERP); a script isn't one."""
    try:
        with program.open("rb") as file:
            head = file.read(64)
            if len(head) < 52 or head[:4] != b"\x7fELF":
                return False
            order, wide = "<" if head[5] == 1 else ">", head[4] == 2
            (start,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)
            size, count = struct.unpack_from(f"{order}2H", head, 54 if wide else 42)
            file.seek(start)
            table = file.read(size * count)
        kinds = [struct.unpack_from(f"{order}I", table, size * row)[0] for row in range(count)]
    except (OSError, OverflowError, ValueError, struct.error):
        return False
    return PT_LOAD in kinds and PT_INTERP not in kinds


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in found if path.name not in ("register", "status")]


def _write(path: Path, order: bytes) -> None:
    file = os.open(path, os.O_WRONLY)  # what open() does besides, create and truncate, the kernel refuses
    try:
        os.write(file, order)
    finally:
        os.close(file)
