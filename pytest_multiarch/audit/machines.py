"""Machines in words: whose code a file is, and which of the known platforms it could be for."""

from __future__ import annotations

from functools import lru_cache

from pytest_multiarch.audit.elf import Ident
from pytest_multiarch.platforms import KNOWN, Platform

#: (architecture that was asked for, the one that BuildKit takes when the base image's index lacks it), seen.
SIBLINGS = (("arm64", "arm"), ("amd64", "386"))


@lru_cache(maxsize=64)
def name(ident: Ident) -> str:
    """Return the words for an ELF file's machine: "64-bit little-endian EM_AARCH64 (linux/arm64)"."""
    from elftools.elf.enums import ENUM_E_MACHINE  # 16 ms, and only an alarm needs it

    known = {number: word for word, number in ENUM_E_MACHINE.items() if isinstance(number, int)}
    platforms = list(dict.fromkeys(f"{p.os}/{p.architecture}" for p in KNOWN if of(p) == ident))
    whose = f" ({', '.join(platforms)})" if platforms else ""
    return f"{ident.bits}-bit {ident.order}-endian {known.get(ident.machine, f'machine {ident.machine}')}{whose}"


@lru_cache(maxsize=64)
def of(platform: Platform) -> Ident:
    """Return what a platform's ELF files say."""
    return Ident(platform.elf.bits, platform.elf.order, platform.elf.machine)


def is_sibling(ident: Ident, platform: Platform) -> bool:
    """Tell whether `ident` is of the 32-bit platform that BuildKit takes for `platform` without a word."""
    return any(
        platform.architecture == asked and other.architecture == taken and of(other) == ident
        for asked, taken in SIBLINGS
        for other in KNOWN
    )
