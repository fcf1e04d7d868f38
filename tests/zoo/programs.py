"""Small real programs and libraries for any platform, made by GNU as and ld, gcc and Go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Target:
    """How programs of one machine are made.

    Attributes:
        tools: the prefix of as and ld.
        hello: a program that writes "hi" and exits 0.
        forever: the instruction that jumps to itself.
        assembler: words for as.
        linker: words for ld.

    """

    tools: str
    hello: str
    forever: str
    assembler: Sequence[str] = ()
    linker: Sequence[str] = ()


X86 = """
    mov ${write}, %eax
    mov $1, %{first}
    mov $text, %{second}
    mov ${size}, %edx
    {call}
    mov ${exit}, %eax
    xor %{first}, %{first}
    {call}
"""
ARM = "mov r7, #4\n mov r0, #1\n adr r1, text\n mov r2, #3\n svc 0\n mov r7, #1\n mov r0, #0\n svc 0\n"
POWER = (
    "li 0, 4\n li 3, 1\n lis 4, text@ha\n addi 4, 4, text@l\n li 5, 3\n sc\n li 0, 1\n li 3, 0\n sc\n .long 0\n"
)

TARGETS: Mapping[str, Target] = {
    "amd64": Target(
        "x86_64-linux-gnu-",
        X86.format(write=1, first="edi", second="esi", size=3, exit=60, call="syscall"),
        "jmp .",
    ),
    "386": Target(
        "i686-linux-gnu-",
        X86.format(write=4, first="ebx", second="ecx", size=3, exit=1, call="int $0x80"),
        "jmp .",
    ),
    "arm/v5": Target("arm-linux-gnueabi-", ".arch armv5te\n" + ARM, "b ."),
    "arm/v6": Target("arm-linux-gnueabi-", ".arch armv6\n" + ARM, "b ."),
    # movw is an instruction that v6 doesn't have
    "arm/v7": Target("arm-linux-gnueabi-", ".arch armv7-a\n movw r3, #1\n" + ARM, "b ."),
    "arm64": Target(
        "aarch64-linux-gnu-",
        "mov x8, #64\n mov x0, #1\n adr x1, text\n mov x2, #3\n svc 0\n mov x8, #93\n mov x0, #0\n svc 0\n",
        "b .",
    ),
    "ppc64le": Target("powerpc64le-linux-gnu-", ".abiversion 2\n" + POWER, "b ."),
    "ppc64": Target("powerpc64le-linux-gnu-", POWER, "b .", ("-mbig", "-a64"), ("-EB", "-melf64ppc")),
    "s390x": Target(
        "s390x-linux-gnu-",
        "lghi %r2, 1\n larl %r3, text\n lghi %r4, 3\n svc 4\n lghi %r2, 0\n svc 1\n",
        "j .",
    ),
}


def static(path: Path, name: str, *linker: str, code: str | None = None) -> Path:
    """Make a static program; without other `code` it writes "hi" and exits 0."""
    target = TARGETS[name]
    source = f'.globl _start\n_start:\n{target.hello if code is None else code}\n.balign 4\ntext: .ascii "hi\\n"\n'
    return _made(path, target, source, "-static", *linker)


def says(words: bytes, status: int) -> str:
    """Return the code of a program for amd64 that writes `words` and ends with `status`."""
    code = X86.format(write=1, first="edi", second="esi", size=len(words), exit=60, call="syscall")
    ended = code.replace("xor %edi, %edi", f"mov ${status}, %edi").replace("$text", "$words")
    return f"{ended}\nwords: .byte {', '.join(map(str, words))}\n"


def library(path: Path, name: str, *linker: str, head: str = "") -> Path:
    """Make a shared library of one function."""
    target = TARGETS[name]
    arch = next((line for line in target.hello.splitlines() if line.startswith(".")), "")
    source = f"{arch}\n{head}\n.globl f\n.type f, %function\nf: {target.forever}\n"
    return _made(path, target, source, "-shared", f"-soname={path.name}", *linker)


def dynamic(path: Path, name: str, interpreter: str, *linker: str, head: str = "") -> Path:
    """Make a program that needs an interpreter; it does nothing but loop."""
    target = TARGETS[name]
    source = f"{head}\n.globl _start\n_start: {target.forever}\n"
    return _made(path, target, source, "-pie", f"--dynamic-linker={interpreter}", *linker)


def _made(path: Path, target: Target, source: str, *linker: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = path.with_name(f".{path.name}.o")
    _run([f"{target.tools}as", *target.assembler, "-o", str(objects), "-"], source)
    _run([f"{target.tools}ld", *target.linker, *linker, "-o", str(path), str(objects)])
    objects.unlink()
    return path


def write(path: Path, program: bytes) -> None:
    """Write a program that was made before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(program)
    path.chmod(0o755)


def go(path: Path, **env: str) -> Path:
    """Make a Go program that says hi."""
    need("go", "golang-go")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_name(f"{path.name}.go")
    source.write_text('package main\n\nfunc main() { println("hi") }\n')
    settings = {**os.environ, "CGO_ENABLED": "0", "GOOS": "linux", "GO111MODULE": "off", "GOFLAGS": "", **env}
    words = ["go", "build", "-trimpath", "-o", str(path), str(source)]
    done = subprocess.run(words, env=settings, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    source.unlink()
    return path


def need(program: str, package: str) -> None:
    """Skip loudly where a tool is missing; in CI that is a failure."""
    if shutil.which(program) is None:
        tell = pytest.fail if os.environ.get("CI") else pytest.skip
        tell(f"NOT CHECKED: no {program} (Debian: apt install {package}); .ci/setup --tests provides it")


def _run(words: Sequence[str], source: str = "") -> None:
    need(words[0], "binutils for that machine")
    done = subprocess.run(words, input=source, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}\n{source}"
