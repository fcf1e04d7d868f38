"""What a file asks of the kernel's memory: pages no larger than its segments, and a stack that may be executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_multiarch.audit.elf import Elf
from pytest_multiarch.audit.findings import Finding, Severity
from pytest_multiarch.platforms import Platform

#: Bytes of the largest page that an architecture's kernels are built with: on ppc64le distributions have no other,
#: on arm64 RHEL has one (kernel-64k), and the Raspberry Pi 5 and Asahi have 16 KiB.
PAGES = {"arm64": 0x10000, "ppc64le": 0x10000}

#: The version that glibc offers since it refuses to load a library that asks for an executable stack
#: (https://sourceware.org/glibc/wiki/Release/2.41).
REFUSES = "GLIBC_2.41"


def judge(elves: dict[str, Elf], platform: Platform, used: Callable[[str], bool]) -> Iterator[Finding]:
    """Judge the platform's linked files: what kernels with larger pages, and newer C libraries, can't load.

    Args:
        elves: real path -> file.
        platform: the platform.
        used: tells whether the image starts a file, or has it on PATH.

    """
    page = PAGES.get(platform.architecture, 0)
    small = [path for path, elf in elves.items() if 0 < elf.align < page]
    if page and platform.architecture == "ppc64le":
        for path in [each for each in small if elves[each].program and used(each)]:
            small.remove(path)
            yield _small(path, elves, page, Severity.FAILURE, "kernels for ppc64le have no smaller pages", 1)
    if small:
        first = min(small, key=lambda path: elves[path].align)
        why = "kernels with larger pages can't load it"
        yield _small(first, elves, page, Severity.WARNING, why, len(small))
    strict = any(REFUSES in (elf.linked.offers or ()) for elf in elves.values() if elf.soname == "libc.so.6")
    stacks = [path for path, elf in elves.items() if elf.stack and not elf.program]
    if stacks and strict:
        found = "asks for an executable stack, with which this image's glibc doesn't load a plug-in"
        cause = "assembler code without a .note.GNU-stack section, or an old release of the library"
        yield Finding(stacks[0], found, severity=Severity.WARNING, cause=cause, number=len(stacks))


def _small(path: str, elves: dict[str, Elf], page: int, severity: Severity, why: str, number: int) -> Finding:
    found = f"its segments are aligned to {elves[path].align >> 10} KiB: {why}"
    cause = "linked with -z max-page-size, or changed by an old patchelf"
    return Finding(path, found, f"{page >> 10} KiB", severity, cause, number)
