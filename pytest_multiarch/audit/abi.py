"""Which calling convention a linked file was built for, as its flags say: files of two can't be linked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pytest_multiarch.audit.elf import EM_ARM, EM_PPC64, EM_RISCV, Elf

EM_LOONGARCH = 258

#: Machine -> (mask of e_flags, value -> its name). Unset bits are unknown: old linkers leave them so.
#: EF_ARM_ABI_FLOAT_*, EF_PPC64_ABI, EF_RISCV_FLOAT_ABI, EF_LOONGARCH_ABI_* of elf.h.
FLAGS: Mapping[int, tuple[int, Mapping[int, str]]] = MappingProxyType(
    {
        EM_ARM: (0x600, {0x200: "soft float", 0x400: "hard float"}),
        EM_PPC64: (0x3, {1: "ELFv1", 2: "ELFv2"}),
        EM_RISCV: (0x6, {2: "single float", 4: "double float", 6: "quad float"}),
        EM_LOONGARCH: (0x7, {1: "soft float", 2: "single float", 3: "double float"}),
    }
)

#: Tag_ABI_VFP_args, for files whose flags don't say it; 2 is the toolchain's own and 3 goes with both.
VFP_ARGS: Mapping[int, str] = MappingProxyType({0: "soft float", 1: "hard float"})


def of(elf: Elf) -> str | None:
    """Return the convention's name, None where the file doesn't say."""
    mask, names = FLAGS.get(elf.ident.machine, (0, {}))
    return names.get(elf.flags & mask) or (VFP_ARGS.get(elf.vfp_args) if elf.vfp_args is not None else None)
