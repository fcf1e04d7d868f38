"""Programs that tell whether a platform runs: a few machine instructions each, assembled by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_multiarch.platforms import Platform

#: What a probe is called, as a file in an otherwise empty root and as its own argv[0].
NAME = "multiarch-probe"

#: A probe's exit code is the first byte of its argv[0]: this one where argv[0] arrives as it was given.
EXIT_CODE = ord(NAME[0])

#: And this one where the program is told its path instead: a binfmt entry without `P`, or an emulator that
#: doesn't know what `P` means. Programs that look at argv[0] then fail, busybox by `applet not found`.
EXIT_CODE_PATH = ord("/")

_ADDRESS = 0x400000


@dataclass(frozen=True, slots=True)
class Program:
    """One probe: writes 65 bytes, the `machine` of uname(2) up to its zero, and exits with argv[0][0].

    `source` is what GNU as makes `code` (hexadecimal) of; a test does it.
    """

    source: str
    code: str


def probe(platform: Platform) -> bytes:
    """Return a static executable of the platform, an ELF file of 136 to 177 bytes.

    It uses the oldest instruction set only, so that it runs on whatever CPU an emulator is given.
    """
    elf = platform.elf
    code = bytes.fromhex(PROGRAMS[platform.qemu].code)
    order = "<" if elf.order == "little" else ">"
    word, header, segment = ("I", 52, 32) if elf.bits == 32 else ("Q", 64, 56)
    start = header + segment
    size = start + len(code)
    ident = struct.pack("4s3B9x", b"\x7fELF", elf.bits // 32, 1 if elf.order == "little" else 2, 1)
    # An executable (2) of version 1, its one program header right behind, without sections.
    rest = (2, elf.machine, 1, _ADDRESS + start, header, 0, elf.required_flags, header, segment, 1, 0, 0, 0)
    head = ident + struct.pack(f"{order}HHI3{word}I6H", *rest)
    # To be loaded (1) whole, to be read and executed (5); flags stand second in ELF64, seventh in ELF32.
    if elf.bits == 32:
        load = struct.pack(f"{order}8I", 1, 0, _ADDRESS, _ADDRESS, size, size, 5, 0x10000)
    else:
        load = struct.pack(f"{order}2I6Q", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x10000)
    return head + load + code


#: One program for each of QEMU's targets. Each is: keep argv[0]; uname(a buffer on the stack); write(1, the
#: buffer's fifth field, 65); exit(the first byte of argv[0]).
PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        "arm": Program(
            """
            ldr r4, [sp, #4]
            sub sp, sp, #400
            mov r0, sp
            mov r7, #122
            svc #0
            mov r0, #1
            add r1, sp, #260
            mov r2, #65
            mov r7, #4
            svc #0
            ldrb r0, [r4]
            mov r7, #1
            svc #0
            """,
            """
            04409de5 19de4de2 0d00a0e1 7a70a0e3 000000ef 0100a0e3 411f8de2 4120a0e3 0470a0e3 000000ef
            0000d4e5 0170a0e3 000000ef
            """,
        ),
        "aarch64": Program(
            """
            ldr x19, [sp, #8]
            sub sp, sp, #400
            mov x0, sp
            mov x8, #160
            svc #0
            mov x0, #1
            add x1, sp, #260
            mov x2, #65
            mov x8, #64
            svc #0
            ldrb w0, [x19]
            mov x8, #93
            svc #0
            """,
            """
            f30740f9 ff4306d1 e0030091 081480d2 010000d4 200080d2 e1130491 220880d2 080880d2 010000d4
            60024039 a80b80d2 010000d4
            """,
        ),
        "i386": Program(
            """
            mov 4(%esp), %esi
            sub $400, %esp
            mov %esp, %ebx
            mov $122, %eax
            int $0x80
            mov $1, %ebx
            lea 260(%esp), %ecx
            mov $65, %edx
            mov $4, %eax
            int $0x80
            movzbl (%esi), %ebx
            mov $1, %eax
            int $0x80
            """,
            """
            8b742404 81ec9001 000089e3 b87a0000 00cd80bb 01000000 8d8c2404 010000ba 41000000 b8040000
            00cd800f b61eb801 000000cd 80
            """,
        ),
        "x86_64": Program(
            """
            mov 8(%rsp), %rbx
            sub $400, %rsp
            mov %rsp, %rdi
            mov $63, %eax
            syscall
            mov $1, %edi
            lea 260(%rsp), %rsi
            mov $65, %edx
            mov $1, %eax
            syscall
            movzbl (%rbx), %edi
            mov $60, %eax
            syscall
            """,
            """
            488b5c24 084881ec 90010000 4889e7b8 3f000000 0f05bf01 00000048 8db42404 010000ba 41000000
            b8010000 000f050f b63bb83c 0000000f 05
            """,
        ),
        "ppc64le": Program(
            """
            ld 30, 8(1)
            addi 1, 1, -400
            mr 3, 1
            li 0, 122
            sc
            li 3, 1
            addi 4, 1, 260
            li 5, 65
            li 0, 4
            sc
            lbz 3, 0(30)
            li 0, 1
            sc
            """,
            """
            0800c1eb 70fe2138 780b237c 7a000038 02000044 01006038 04018138 4100a038 04000038 02000044
            00007e88 01000038 02000044
            """,
        ),
        "s390x": Program(
            """
            lg %r6, 8(%r15)
            aghi %r15, -400
            lgr %r2, %r15
            svc 122
            lghi %r2, 1
            la %r3, 260(%r15)
            lghi %r4, 65
            svc 4
            llgc %r2, 0(%r6)
            svc 1
            """,
            """
            e360f008 0004a7fb fe70b904 002f0a7a a7290001 4130f104 a7490041 0a04e320 60000090 0a01
            """,
        ),
        "riscv64": Program(
            """
            ld s1, 8(sp)
            addi sp, sp, -400
            mv a0, sp
            li a7, 160
            ecall
            li a0, 1
            addi a1, sp, 260
            li a2, 65
            li a7, 64
            ecall
            lbu a0, 0(s1)
            li a7, 93
            ecall
            """,
            """
            83348100 130101e7 13050100 9308000a 73000000 13051000 93054110 13061004 93080004 73000000
            03c50400 9308d005 73000000
            """,
        ),
        "loongarch64": Program(
            """
            ld.d $s0, $sp, 8
            addi.d $sp, $sp, -400
            move $a0, $sp
            li.w $a7, 160
            syscall 0
            li.w $a0, 1
            addi.d $a1, $sp, 260
            li.w $a2, 65
            li.w $a7, 64
            syscall 0
            ld.bu $a0, $s0, 0
            li.w $a7, 93
            syscall 0
            """,
            """
            7720c028 63c0f902 64001500 0b808203 00002b00 04048003 6510c402 06048103 0b008103 00002b00
            e402002a 0b748103 00002b00
            """,
        ),
        "mips64el": Program(
            """
            ld $s0, 8($sp)
            daddiu $sp, $sp, -400
            move $a0, $sp
            li $v0, 5061
            syscall
            li $a0, 1
            daddiu $a1, $sp, 260
            li $a2, 65
            li $v0, 5001
            syscall
            lbu $a0, 0($s0)
            li $v0, 5058
            syscall
            """,
            """
            0800b0df 70febd67 2520a003 c5130224 0c000000 01000424 0401a567 41000624 89130224 0c000000
            00000492 c2130224 0c000000
            """,
        ),
    }
)
