"""The likely cause of what the `elf` check found, for the reader who has to mend a Dockerfile."""

from __future__ import annotations

import posixpath
from collections import Counter

from pytest_multiarch.audit import machines
from pytest_multiarch.audit.elf import Elf, Ident
from pytest_multiarch.platforms import Platform

FLAGS = "built for another ABI of the machine than the platform's (an old or a bare-metal toolchain)"
DISPATCH = "none, if it chooses at run time by what the CPU has: the tag is the maximum at link time"

#: Folders that package managers fill with what they fetch for the machine they run on.
_FETCHED = ("/site-packages/", "/dist-packages/", "/node_modules/", "/gems/")


def foreign(path: str, elf: Elf, platform: Platform, idents: Counter[Ident]) -> str:
    """Return why a file for another machine is in an image.

    Args:
        path: where it is.
        elf: what it says.
        platform: the one that was asked for.
        idents: how many ELF files of each kind the image has.

    """
    if not idents[machines.of(platform)]:
        if machines.is_sibling(elf.ident, platform):
            return (
                f"the base image's index has no {platform}, and BuildKit silently took its 32-bit sibling:"
                " see `docker buildx imagetools inspect BASE`"
            )
        return "the final stage uses --platform=$BUILDPLATFORM, or a base image pinned to one platform's digest"
    if any(folder in path for folder in _FETCHED):
        return "a wheel, npm package or gem that was fetched in a stage with --platform=$BUILDPLATFORM"
    if elf.go is not None:
        return (
            "ARG TARGETARCH is not declared in the stage that runs `go build`, so GOARCH was the build machine's"
        )
    if posixpath.basename(path).endswith(".so") or ".so." in path:
        return "a library copied from a stage with --platform=$BUILDPLATFORM"
    return (
        "copied from a stage with --platform=$BUILDPLATFORM that doesn't compile for $TARGETARCH, or fetched by a"
        " name without it (ARG TARGETARCH not declared in this stage)"
    )


def loader(interpreter: str, libcs: frozenset[str]) -> str:
    """Return why a program's interpreter is missing from an image that has `libcs`, of "musl" and "glibc"."""
    if "musl" not in interpreter and libcs == {"musl"}:
        return "built for glibc, and the image has musl (Alpine): build it on the same base, or link it statically"
    if "musl" in interpreter and libcs == {"glibc"}:
        return "built for musl (Alpine), and the image has glibc: build it on the same base, or link it statically"
    if not libcs:
        return "linked dynamically, and the image has no C library (scratch): link with -static, or CGO_ENABLED=0"
    return "built on another distribution or for another ABI than the final stage's"


def cpu(elf: Elf, platform: Platform) -> str:
    """Return why a program needs a newer CPU than the platform's oldest."""
    if elf.go:
        return f"GOARM, GOAMD64 and their like aren't set from $TARGETVARIANT: set what {platform} allows"
    if platform.architecture == "arm":
        return "its toolchain's default is newer (Debian's armhf is v7), or -march isn't set from $TARGETVARIANT"
    return "compiled with -march, -mcpu or --multiarch-baseline set for a newer CPU than the one asked for"
