"""Which CPU a program was built for, and whether a platform's oldest CPU can run it.

A file without evidence is unknown, never fit: `-march=x86-64-v3` alone leaves no trace (seen with gcc 12).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from pytest_multiarch.audit.elf import EM_ARM, EM_RISCV, Elf
from pytest_multiarch.platforms import Platform


class Fit(Enum):
    """Whether a file can run on a platform's oldest CPU."""

    FITS = "fits"
    NEWER = "needs a newer CPU"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Need:
    """What one piece of evidence says: `says` as the tools write it ("Tag_CPU_arch v7", "GOARM=7")."""

    fit: Fit
    says: str
    allowed: str = ""


#: Tag_CPU_arch's values (Addenda to the ARM ABI, "Target-related attributes"). They are no ladder.
ARM_ARCH = (
    *("pre-v4", "v4", "v4T", "v5T", "v5TE", "v5TEJ", "v6", "v6KZ", "v6T2", "v6K", "v7", "v6-M", "v6S-M", "v7E-M"),
    *("v8-A", "v8-R", "v8-M.baseline", "v8-M.mainline", "v8.1-A", "v8.2-A", "v8.3-A", "v8.1-M.mainline", "v9-A"),
)

#: Variant -> the values that its oldest CPU runs: ARM926EJ-S; ARM1176JZF-S; Cortex-A8 and A9. v6-M and v6S-M are
#: subsets of v6K (binutils' bfd/elf32-arm.c, tag_cpu_arch_combine).
_V5 = frozenset({"pre-v4", "v4", "v4T", "v5T", "v5TE", "v5TEJ"})
_V6 = _V5 | {"v6", "v6K", "v6KZ", "v6-M", "v6S-M"}
ARM_RUNS: Mapping[str, frozenset[str]] = MappingProxyType({"v5": _V5, "v6": _V6, "v7": _V6 | {"v6T2", "v7"}})

#: Go's setting -> the values from the oldest on (`go help environment`).
GO_LADDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "GOARM": ("5", "6", "7"),
        "GOAMD64": ("v1", "v2", "v3", "v4"),
        "GO386": ("softfloat", "sse2"),
        "GOARM64": ("v8.0", *(f"v8.{n}" for n in range(1, 10)), *(f"v9.{n}" for n in range(6))),
        "GOMIPS64": ("softfloat", "hardfloat"),
        "GOPPC64": ("power8", "power9", "power10"),
        "GORISCV64": ("rva20u64", "rva22u64", "rva23u64"),
    }
)

#: Architecture -> (its setting, the value that its oldest CPU runs; a level's name replaces the value).
_GO_ALLOWED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "386": ("GO386", "sse2"),
        "amd64": ("GOAMD64", "v1"),
        "arm64": ("GOARM64", "v8.0"),
        "mips64le": ("GOMIPS64", "hardfloat"),
        "ppc64le": ("GOPPC64", "power8"),
        "riscv64": ("GORISCV64", "rva20"),
    }
)

#: Extensions as the tools write them. RVA20U64's mandatory ones: RV64GC, its parts by their later names, and
#: what main memory promises (Debian's busybox names ziccif, ziccrse and ziccamoa; no instruction is in them);
#: then those of RVA22U64 and RVA23U64 (https://github.com/riscv/riscv-profiles).
_RVA20 = frozenset("gimafdc") | {
    *("zicsr", "zifencei", "zicntr", "zihpm", "zmmul", "zaamo", "zalrsc", "zca", "zcd"),
    *("ziccif", "ziccrse", "ziccamoa", "zicclsm", "za128rs"),
}
_RVA22 = _RVA20 | {
    *("b", "zba", "zbb", "zbs", "zic64b", "zicbom", "zicbop", "zicboz", "za64rs", "zfhmin", "zihintpause", "zkt"),
}
_RVA23 = _RVA22 | {
    *(
        "v",
        "supm",
        "zawrs",
        "zcb",
        "zcmop",
        "zfa",
        "zicond",
        "zihintntl",
        "zimop",
        "zvbb",
        "zvfhmin",
        "zvkb",
        "zvkt",
    ),
    *("zve32f", "zve32x", "zve64d", "zve64f", "zve64x", "zvl128b", "zvl32b", "zvl64b"),
}
RISCV_RUNS: Mapping[str, frozenset[str]] = MappingProxyType({"": _RVA20, "rva22": _RVA22, "rva23": _RVA23})


def fit(elf: Elf, platform: Platform) -> Need:
    """Return what the file needs: the first evidence of a newer CPU, else that it fits, else unknown."""
    needs = [
        need
        for need in (_arm(elf, platform), _x86(elf, platform), _riscv(elf, platform), _go(elf, platform))
        if need
    ]
    for wanted in (Fit.NEWER, Fit.FITS):
        if found := next((need for need in needs if need.fit is wanted), None):
            return found
    return Need(Fit.UNKNOWN, "")


def oldest(platform: Platform) -> str:
    """Return the words for a platform's oldest CPU: "the oldest CPU of linux/amd64 (v1)"."""
    level = platform.level or {"amd64": "v1"}.get(platform.architecture, platform.variant)
    return f"the oldest CPU of {platform}" + (f" ({level})" if level and level != platform.variant else "")


def _arm(elf: Elf, platform: Platform) -> Need | None:
    if elf.ident.machine != EM_ARM or elf.cpu_arch is None:
        return None
    known = elf.cpu_arch < len(ARM_ARCH)
    arch = ARM_ARCH[elf.cpu_arch] if known else str(elf.cpu_arch)
    runs = ARM_RUNS.get(platform.variant, frozenset())
    return Need(
        Fit.FITS if arch in runs else Fit.NEWER, f"Tag_CPU_arch {arch}", f"at most {_last(platform.variant)}"
    )


def _last(variant: str) -> str:
    return {"v5": "v5TEJ", "v6": "v6KZ"}.get(variant, variant)


def _x86(elf: Elf, platform: Platform) -> Need | None:
    """Judge by the linker's note of what ld.so demands; that it demands no more than v1 proves nothing."""
    allowed = int(platform.level[1:]) if platform.architecture == "amd64" and platform.level else 1
    needed = elf.isa.bit_length()
    if needed <= allowed:
        return None
    return Need(Fit.NEWER, f"x86 ISA needed: x86-64-v{needed}", f"at most x86-64-v{allowed}")


def _riscv(elf: Elf, platform: Platform) -> Need | None:
    if elf.ident.machine != EM_RISCV or not elf.riscv:
        return None
    base, *rest = re.sub(r"\d+p\d+", "", elf.riscv).split("_")
    extensions = {*base.removeprefix("rv64").removeprefix("rv32"), *rest}
    newer = extensions - RISCV_RUNS.get(platform.level, _RVA20)
    says = f"Tag_RISCV_arch with {', '.join(sorted(newer))}" if newer else f"Tag_RISCV_arch {elf.riscv}"
    return Need(Fit.NEWER if newer else Fit.FITS, says, platform.level or "rv64gc")


def _go(elf: Elf, platform: Platform) -> Need | None:
    settings = dict(setting.split("=", 1) for setting in elf.go or ())
    key, highest = _go_allowed(platform)
    if not key or key not in settings:
        return None
    says, ladder = f"{key}={settings[key]}", GO_LADDERS[key]
    value, *options = settings[key].split(",")
    newer = value not in ladder or ladder.index(value) > ladder.index(highest) or "lse" in options
    if newer:
        return Need(Fit.NEWER, says, f"at most {key}={highest}")
    # With cgo there may be C code inside, whose CPU Go doesn't know.
    return Need(Fit.FITS, says) if settings.get("CGO_ENABLED") == "0" else None


def _go_allowed(platform: Platform) -> tuple[str, str]:
    if platform.architecture == "arm":
        return "GOARM", platform.variant[1:]
    key, value = _GO_ALLOWED.get(platform.architecture, ("", ""))
    value = platform.level or value
    return key, f"{value}u64" if key == "GORISCV64" else value
