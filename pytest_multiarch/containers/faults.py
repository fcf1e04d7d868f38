"""Whose fault it is: what a program's last words and exit code tell of image, emulator and machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_multiarch.engine.outages import outage
from pytest_multiarch.errors import (
    ContainerError,
    CpuTooOld,
    EmulatorCrash,
    EngineError,
    ExecFormatError,
    FaultError,
    IllegalInstruction,
    ImageError,
    LoaderMissing,
    MultiarchError,
)
from pytest_multiarch.platforms import Platform


@dataclass(frozen=True, slots=True)
class Signature:
    """How one kind of fault shows.

    Attributes:
        kind: the error's type, whose name `--only-rerun` matches.
        said: a pattern of what was written; "" for any.
        codes: the exit codes that go with it; empty for any but 0.
        why: what it means.
        do: what to do.

    """

    kind: type[FaultError]
    said: str
    codes: tuple[int, ...]
    why: str
    do: str = ""


#: The first that fits counts. 128 + n is a shell's word for signal n; 255 is QEMU's for a program it can't load.
SIGNATURES: tuple[Signature, ...] = (
    Signature(
        CpuTooOld,
        r"CPU ISA level is lower than required|CPU does not support x86-64-v\d|requires? .*x86-64-v\d"
        r"|This program can only be run on AMD64 processors with v\d|Fatal glibc error: .*CPU lacks",
        (),
        "its C library or program wants a newer CPU than the platform's oldest",
        "If every machine it is for has one, raise the baseline: --multiarch-baseline=PLATFORM=LEVEL",
    ),
    Signature(
        ExecFormatError,
        # ... and a shell that the kernel gave it back to, which took it for a script
        r"exec format error|Invalid ELF image for this architecture|unable to find CPU model"
        r"|: (line )?\d+: \x7fELF",
        (),
        "its program is of another machine than the platform's, or a script without `#!`",
        "Look for a final stage with --platform=$BUILDPLATFORM, or a stage that uses TARGETARCH without its ARG",
    ),
    Signature(
        LoaderMissing,
        r"Could not open '[^']*ld[^']*'|[Nn]o such file or directory.*ld-(linux|musl)"
        r"|error while loading shared libraries|Error loading shared library|Error relocating",
        (),
        "the loader or a library that the program was linked with is not in the image",
        "Copy it into the final stage, link statically, or take a base with the same C library",
    ),
    Signature(
        LoaderMissing,
        r"version `[^']+' not found",
        (),
        "a library in the image is older than the one that the program was linked with",
        "Build on the final stage's own base (an older C library runs with a newer one, not the reverse)",
    ),
    Signature(
        IllegalInstruction,
        r"uncaught target signal 4|Illegal instruction",
        (),
        "the program was built for a newer CPU than the platform's oldest",
        "Build it for the oldest (-march, GOARM, ...), or raise the baseline: --multiarch-baseline=PLATFORM=LEVEL",
    ),
    Signature(IllegalInstruction, "", (132,), "the program was built for a newer CPU than the platform's oldest"),
    Signature(
        EmulatorCrash,
        r"qemu: uncaught target signal (11|6|7|8)|qemu: fatal|qemu-\S+: .*(Assertion|assert|Unhandled)"
        r"|qemu:.*internal error",
        (),
        "the program crashed under the emulator, whose fault it may be",
        "Run it on the real machine; if it is the emulator's, take a newer one, or --only-rerun EmulatorCrash",
    ),
)


def fault(code: int | None, said: str, *, cpu: str | None, emulated: bool) -> FaultError | None:
    """Return the error for how a program ended, None where nothing special is known of it.

    Args:
        code: its exit code.
        said: what it wrote last.
        cpu: the CPU that it was emulated on.
        emulated: whether an emulator ran it.

    """
    if not code:
        return None
    for signature in SIGNATURES:
        if signature.codes and code not in signature.codes:
            continue
        if signature.kind is EmulatorCrash and not emulated:  # an emulator that the image itself runs
            continue
        found = re.search(signature.said, said, re.IGNORECASE)
        if found:
            by_cpu = signature.kind in (IllegalInstruction, CpuTooOld)
            ran_on = cpu or ("the emulator's own CPU" if emulated else "this machine's CPU")
            why = f"{signature.why} (it ran on {ran_on})" if by_cpu else signature.why
            do = signature.do.replace("PLATFORM=LEVEL", _wanted_level(said))
            return signature.kind(f"exit code {code}", why=why, do=do, evidence=said[-2000:])
    return None


#: How C libraries say which CPU they want: a pattern, and the baseline that has it.
LEVELS: tuple[tuple[str, str], ...] = (
    (r"x86-64-v(\d)", r"linux/amd64=v\1"),
    (r"\(z(\d+) or later", r"linux/s390x=z\1"),  # glibc's sysdeps/s390/s390-64/dl-hwcap-check.h
    (r"\(POWER(\d+) or later", r"linux/ppc64le=power\1"),  # ... and sysdeps/powerpc/powerpc64/le
)


def _wanted_level(said: str) -> str:
    """Return the value of `--multiarch-baseline` that a program asks for, "PLATFORM=LEVEL" if it doesn't say."""
    found = ((match, value) for pattern, value in LEVELS if (match := re.search(pattern, said)))
    return next((match.expand(value) for match, value in found), "PLATFORM=LEVEL")


#: What the engine says of a port that somebody else has, often after words about its network.
PORT_TAKEN = r"port is already allocated|address already in use"

#: What the client says when a container doesn't start, why, and what to do.
REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        PORT_TAKEN,
        "a port of the host is taken",
        "Leave the choice to the engine: ports=[PORT] publishes on a free one",
    ),
    (
        r"unable to find CPU model",
        "the emulator does not know the CPU: the image's programs are of another architecture than the platform's",
        "Look for a base image that lacks the platform, which BuildKit replaces by a sibling without a word",
    ),
    (
        r"executable file not found|exec: \"[^\"]*\": stat [^:\n]+: no such file",
        "its program is missing in the image",
        "",
    ),
    (
        r"exec [^:\n]+: no such file or directory",
        "its program, or the interpreter or loader that it names, is missing in the image",
        "",
    ),
)


def start_error(platform: Platform, code: int | None, said: str) -> MultiarchError:
    """Return the error for a container that could not be started: an engine's if that failed."""
    what, evidence = f"the container for {platform} could not be started", said[-2000:]
    refusal = next(((why, do) for seen, why, do in REFUSALS if re.search(seen, said, re.IGNORECASE)), None)
    trouble = outage(said)
    if trouble and not re.search(PORT_TAKEN, said, re.IGNORECASE):
        return EngineError(what, why=trouble[0], do=trouble[1], evidence=evidence)
    known = fault(code or 125, said, cpu=None, emulated=True)
    why, do = refusal or ((known.why, known.do) if known else (f"exit code {code}", ""))
    kind = ImageError if "no such image" in said.lower() else type(known) if known else ContainerError
    return kind(what, why=why, do=do, evidence=evidence)
