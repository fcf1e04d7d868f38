"""Why a build failed: what BuildKit's words mean, and what to do."""

from __future__ import annotations

import re

from pytest_multiarch.engine.outages import outage
from pytest_multiarch.errors import BuildError, EngineError
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: What BuildKit says, why, and what to do: the first that is found in its words counts.
CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"exec format error",
        "a program of another platform was started in the build, and no emulator runs it there",
        "See `--multiarch-binfmt`; on a builder that exists, its own node needs the emulators",
    ),
    (
        r"unknown scheme oci-layout",
        "the engine's own builder reads no OCI layout where the engine keeps images in its classic store",
        "Use the session builder (--multiarch-driver=docker-container), or the containerd store",
    ),
    (
        r"no match for platform in manifest|does not match the specified platform",
        "a base image lacks the platform",
        "Choose a base image that has it (`docker buildx imagetools inspect BASE` lists them)",
    ),
    (r"dockerfile parse error|unknown instruction", "the Dockerfile has a syntax error", ""),
    (
        r"toomanyrequests|429 Too Many",
        "the registry limits how often it is asked",
        "Log in, wait, or use a mirror",
    ),
    (
        r"(failed to resolve source metadata|failed to do request|no such host|i/o timeout)",
        "a base image or an address could not be reached",
        "Check the network, or replace the base with --multiarch-build-context=NAME=oci-layout://...",
    ),
    (r"no space left on device", "the disk is full", "`docker buildx prune` frees the build cache"),
    (
        r"did not complete successfully: exit code: (132|136|139)",
        "a program of the build crashed, and under an emulator that may be the emulator's fault",
        "Try a newer emulator, or build that step for the build machine (cross-compile)",
    ),
    (r"did not complete successfully: exit code", "a RUN step failed", ""),
)

#: A step that ran, and said no: what it wrote is its own.
STEP_SAID_NO = re.compile(r"did not complete successfully: exit code: \d")


def build_error(platform: Platform, log: str) -> BuildError | EngineError:
    """Return the error for a build whose progress (`--progress=plain`) was `log`: an engine's if that failed."""
    what, said = f"the build for {platform} failed", _last_words(log)
    trouble = None if STEP_SAID_NO.search(said) else outage(said)
    if trouble:
        return EngineError(what, why=trouble[0], do=trouble[1], evidence=said)
    why, do = next(((why, do) for seen, why, do in CAUSES if re.search(seen, said, re.IGNORECASE)), ("", ""))
    return BuildError(what, why=why, do=do, evidence=said)


def _last_words(log: str) -> str:
    """Return what BuildKit repeats at its end: the failing step's output, the Dockerfile's lines, the error."""
    lines = log.rstrip().splitlines()
    rule = next((at for at, line in enumerate(lines) if line == "------"), max(len(lines) - 15, 0))
    return "\n".join(lines[rule:][-40:])
