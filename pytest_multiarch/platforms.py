"""The platforms: what each is called, what `uname -m` says there, what its programs look like. Pure data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from pytest_multiarch.errors import SettingsError, UnknownPlatform

__tracebackhide__ = True


@dataclass(frozen=True, slots=True)
class Elf:
    """What the ELF header of a platform's programs says (its psABI; `elf.h` has the numbers)."""

    #: 32 or 64, from EI_CLASS.
    bits: Literal[32, 64]
    #: e_machine: 40 is EM_ARM, 62 is EM_X86_64, ...
    machine: int
    order: Literal["little", "big"] = "little"
    #: (mask, value) of e_flags.
    flags: tuple[tuple[int, int], ...] = ()

    @property
    def required_flags(self) -> int:
        """Return the e_flags that a program of the platform bears at least."""
        return sum(value for _, value in self.flags)

    def allows(self, flags: int) -> bool:
        """Tell whether `e_flags` contradict nothing: bits that are all unset are unknown, never an alarm."""
        return all(flags & mask in (0, value) for mask, value in self.flags)


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform as OCI names it: equal, and hashed, by os, architecture and variant alone.

    `str(platform)` is the canonical name ("linux/arm/v7"), which `Platform.parse` reads back.
    """

    os: str
    architecture: str
    #: Canonical: "" for arm64 (which equals arm64/v8) and for amd64 (v1); always given for arm.
    variant: str
    #: What `uname -m` may say. As parsed: what it says natively, and on the baseline CPU under QEMU.
    machines: frozenset[str] = field(compare=False)
    #: What `uname -m` says natively, on any machine that runs the platform, with or without `linux32`.
    native_machines: frozenset[str] = field(compare=False, repr=False)
    #: The one word that it says under QEMU on the baseline CPU.
    baseline_machine: str = field(compare=False, repr=False)
    #: What it may say under QEMU on QEMU's own default CPU.
    default_machines: frozenset[str] = field(compare=False, repr=False)
    elf: Elf = field(compare=False, repr=False)
    #: Debian's word for the architecture whose packages run here, None where there is none.
    debian: str | None = field(compare=False, repr=False)
    #: Alpine's word, None where there is none.
    alpine: str | None = field(compare=False, repr=False)
    #: QEMU's linux-user target: the program is `qemu-<target>`.
    qemu: str = field(compare=False, repr=False)
    #: QEMU's names for the baseline CPU, to be tried in this order. Empty: QEMU has no such CPU.
    cpus: tuple[str, ...] = field(compare=False, repr=False)
    #: Every name that `parse` takes, in lower case and without the optional `linux/`.
    spellings: tuple[str, ...] = field(compare=False, repr=False)
    #: Raised baselines (`--multiarch-baseline`): level -> QEMU's names for that CPU.
    levels: Mapping[str, tuple[str, ...]] = field(compare=False, repr=False)
    #: What QEMU can't enforce of the baseline CPU, "" where it enforces what is known of.
    unenforced: str = field(default="", compare=False, repr=False)
    #: The level that the baseline was raised to, "" for the platform's oldest CPU.
    level: str = field(default="", compare=False)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that `text` names: any of `spellings`, in any case, with or without `linux/`.

        Raises:
            UnknownPlatform: nobody calls a platform so; names the nearest.

        """
        word = text.strip().lower().removeprefix("linux/")
        try:
            return _BY_SPELLING[word]
        except KeyError:
            raise _unknown(text, word) from None

    def at(self, level: str) -> Platform:
        """Return this platform with its baseline CPU raised to `level`, "v3" of linux/amd64 for one.

        Raises:
            SettingsError: the platform has no such level; names those that it has.

        """
        try:
            return replace(self, level=level, cpus=self.levels[level])
        except KeyError:
            raise SettingsError(
                f"{self} has no baseline {level!r}",
                do=f"It can be raised to: {', '.join(self.levels)}"
                if self.levels
                else "It can't be raised: leave it out of --multiarch-baseline",
            ) from None

    def running(self, *, emulated: bool, baseline: bool) -> Platform:
        """Return this platform with `machines` narrowed to what is true of one way of running it.

        Args:
            emulated: an emulator runs it, not the engine's own CPU.
            baseline: the emulator was given the baseline CPU: then `machines` is exactly one word.

        """
        if not emulated:
            return replace(self, machines=self.native_machines)
        return replace(self, machines=frozenset({self.baseline_machine}) if baseline else self.default_machines)

    def matches(self, os: str, architecture: str, variant: str = "") -> bool:
        """Tell whether the triple of an image's config means this platform.

        Normalised as containerd does (`normalizeArch` in containerd/platforms, database.go): `arm` without a
        variant is v7, arm64/v8 is arm64, amd64/v1 is amd64. Its `armhf` and `armel` are no words of OCI's:
        no config that says them matches.
        """
        architecture, variant = architecture.lower(), (variant or "").lower()
        architecture = _CONTAINERD_WORDS.get(architecture, architecture)
        variant = _CONTAINERD_VARIANTS.get((architecture, variant), variant)
        return (os.lower(), architecture, variant) == (self.os, self.architecture, self.variant)

    def may_run_natively_on(self, host: Platform) -> bool:
        """Tell whether a CPU of `host` may run this by itself; whether it does, only a probe knows."""
        return self.architecture in (host.architecture, _RUNS_TOO.get(host.architecture))


#: A 64-bit CPU that usually runs 32-bit programs too.
_RUNS_TOO: Mapping[str, str] = MappingProxyType({"amd64": "386", "arm64": "arm"})

_CONTAINERD_WORDS = MappingProxyType({"i386": "386", "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"})
_CONTAINERD_VARIANTS = MappingProxyType(
    {("amd64", "v1"): "", ("arm64", "8"): "", ("arm64", "v8"): "", ("arm", ""): "v7"}
    | {("arm", digit): f"v{digit}" for digit in "567"}
)

#: EF_ARM_EABIMASK, version 5. Hard or soft float is no matter of the platform: for linux/arm/v6 Debian's
#: armel is soft, Alpine's armhf hard.
_EABI5 = (0xFF000000, 0x05000000)

_X86 = frozenset({"i386", "i486", "i586", "i686"})
_ARM = frozenset({"armv7l", "armv8l"})
#: An ARM CPU runs the programs of its elders; a 64-bit kernel says `aarch64`, or `armv8l` under `linux32`.
_ARM_NATIVE = _ARM | {"aarch64"}


def _platform(
    name: str,
    spellings: str,
    *,
    baseline_machine: str,
    elf: Elf,
    qemu: str,
    cpus: tuple[str, ...],
    native_machines: Iterable[str] = (),
    default_machines: Iterable[str] = (),
    debian: str | None = None,
    alpine: str | None = None,
    levels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    unenforced: str = "",
) -> Platform:
    architecture, _, variant = name.partition("/")
    natively = frozenset(native_machines) or frozenset({baseline_machine})
    return Platform(
        os="linux",
        architecture=architecture,
        variant=variant,
        machines=natively | {baseline_machine},
        native_machines=natively,
        baseline_machine=baseline_machine,
        default_machines=frozenset(default_machines) or frozenset({baseline_machine}),
        elf=elf,
        debian=debian,
        alpine=alpine,
        qemu=qemu,
        cpus=cpus,
        spellings=(name, *spellings.split()),
        unenforced=unenforced,
        levels=dict(levels),  # a mappingproxy can't be pickled
    )


#: Every platform, in the order in which they are listed and run. Spellings on which the field disagrees:
#:
#: - `armhf` is arm/v7, as for Debian and containerd (Alpine's armhf is v6: write arm/v6);
#: - `armel` is arm/v5, as for Debian, whose armel is built for v5 (containerd takes it for v6: write arm/v6);
#: - `arm`, `arm32` and `aarch32` are arm/v7, what containerd takes `arm` for;
#: - `armv8` and `armv8l` are arm64: what a 64-bit ARM machine calls itself, in its 32-bit personality too.
#:
#: The CPUs are those of QEMU 7.2 to 10.0, each tried against single instructions and whole programs.
KNOWN: tuple[Platform, ...] = (
    _platform(
        "386",
        "i386 i486 i586 i686 x86 ia32",
        native_machines={"x86_64", *_X86},
        baseline_machine="i686",
        default_machines=_X86,
        elf=Elf(32, 3),
        debian="i386",
        alpine="x86",
        qemu="i386",
        cpus=("qemu32",),
    ),
    _platform(
        "amd64",
        "amd64/v1 x86_64 x86-64 x86_64/v1 x86-64-v1 x64",
        baseline_machine="x86_64",
        elf=Elf(64, 62),
        debian="amd64",
        alpine="x86_64",
        qemu="x86_64",
        cpus=("qemu64",),
        levels={"v2": ("Nehalem",), "v3": ("Haswell-noTSX",), "v4": ()},
    ),
    _platform(
        "arm/v5",
        "arm/5 armel armv5 armv5l armv5te armv5tel armv5tejl arm32v5 arm32/v5",
        native_machines=_ARM_NATIVE | {"armv5tel", "armv5tejl", "armv6l"},
        baseline_machine="armv5tel",
        default_machines=_ARM,
        elf=Elf(32, 40, flags=(_EABI5,)),
        debian="armel",
        qemu="arm",
        cpus=("arm926,vfp=off", "arm926", "arm946"),
    ),
    _platform(
        "arm/v6",
        "arm/6 armv6 armv6l armv6hf arm32v6 arm32/v6",
        native_machines=_ARM_NATIVE | {"armv6l"},
        baseline_machine="armv6l",
        default_machines=_ARM,
        elf=Elf(32, 40, flags=(_EABI5,)),
        debian="armel",
        alpine="armhf",
        qemu="arm",
        cpus=("arm1176",),
    ),
    _platform(
        "arm/v7",
        "arm arm/7 arm32 armhf aarch32 armv7 armv7l armv7hf armv7a arm32v7 arm32/v7",
        native_machines=_ARM_NATIVE,
        baseline_machine="armv7l",
        default_machines=_ARM,
        elf=Elf(32, 40, flags=(_EABI5,)),
        debian="armhf",
        alpine="armv7",
        qemu="arm",
        cpus=("cortex-a9,neon=off,vfp-d32=off", "cortex-a9,neon=off", "cortex-a9", "cortex-a8"),
    ),
    _platform(
        "arm64",
        "arm64/v8 arm64/8 aarch64 aarch64/v8 arm64v8 armv8 armv8l",
        baseline_machine="aarch64",
        elf=Elf(64, 183),
        debian="arm64",
        alpine="aarch64",
        qemu="aarch64",
        cpus=("cortex-a53",),
        unenforced="the optional AES, SHA and CRC instructions run, which some v8.0 machines lack",
    ),
    _platform(
        "ppc64le",
        "ppc64el powerpc64le",
        baseline_machine="ppc64le",
        elf=Elf(64, 21, flags=((0x3, 0x2),)),  # EF_PPC64_ABI: ELFv2
        debian="ppc64el",
        alpine="ppc64le",
        qemu="ppc64le",
        cpus=("power8",),
        levels={"power9": ("power9",), "power10": ("power10",)},
    ),
    _platform(
        "s390x",
        "",
        baseline_machine="s390x",
        elf=Elf(64, 22, "big"),
        debian="s390x",
        alpine="s390x",
        qemu="s390x",
        # No machine from z10 on starts by its name, with QEMU 7.2 to 10.0.
        cpus=("qemu,vxeh=off,vxeh2=off", "qemu"),
        unenforced="of a newer machine's instructions only the vector facilities are refused",
        levels={"z14": ("qemu,vxeh2=off", "qemu"), "z15": ("qemu",)},
    ),
    _platform(
        "riscv64",
        "riscv64gc rv64gc",
        baseline_machine="riscv64",
        elf=Elf(64, 243),
        debian="riscv64",
        alpine="riscv64",
        qemu="riscv64",
        cpus=("sifive-u54", "rv64"),
        levels={"rva22": ("rva22u64",), "rva23": ("rva23u64",)},
    ),
    _platform(
        "loong64",
        "loongarch64",
        baseline_machine="loongarch64",
        elf=Elf(64, 258),
        debian="loong64",
        alpine="loongarch64",
        qemu="loongarch64",
        cpus=("la464",),
    ),
    _platform(
        "mips64le",
        "mips64el mips64r2el",
        baseline_machine="mips64",
        elf=Elf(64, 8, flags=((0xF020, 0x0),)),  # EF_MIPS_ABI and EF_MIPS_ABI2: unset in n64
        debian="mips64el",
        qemu="mips64el",
        cpus=("MIPS64R2-generic", "5KEf"),
    ),
)

_AMD64 = next(platform for platform in KNOWN if platform.architecture == "amd64")

#: Those that `parse` knows besides: the levels of the x86-64 psABI as platforms of their own (an index may
#: hold them). Their CPU is that of linux/amd64 raised to the level.
VARIANTS: tuple[Platform, ...] = tuple(
    replace(
        _AMD64.at(level),
        variant=level,
        spellings=(f"amd64/{level}", f"x86_64/{level}", f"x86-64-{level}", f"x86_64_{level}"),
        levels={},
    )
    for level in _AMD64.levels
)

_BY_SPELLING: Mapping[str, Platform] = MappingProxyType(
    {word: platform for platform in (*KNOWN, *VARIANTS) for word in platform.spellings}
)


def _unknown(text: str, word: str) -> UnknownPlatform:
    near = difflib.get_close_matches(word[:40], _BY_SPELLING, n=3, cutoff=0.5)
    nearest = dict.fromkeys(str(_BY_SPELLING[match]) for match in near)
    return UnknownPlatform(
        f"no platform is called {text[:40]!r}",
        why=f"the nearest is {' or '.join(nearest)}" if nearest else "",
        do=f"Known are {', '.join(str(platform) for platform in KNOWN)}, and linux/amd64/v2 to v4",
    )
