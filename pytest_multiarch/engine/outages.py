"""Which words are of the engine's own trouble, and so neither an image's fault nor a step's."""

from __future__ import annotations

import re

__tracebackhide__ = True

#: What engine and client say (each seen on Docker 28, or in moby's own issues), why, and what to do.
OUTAGES: tuple[tuple[str, str, str], ...] = (
    (
        r"cannot connect to the docker daemon|is the docker daemon running|error during connect"
        r"|error reading from server: EOF|rpc error: code = Unavailable|error waiting for container"
        r"|daemon is shutting down|ttrpc: closed|transport is closing",
        "the engine was stopped or restarted meanwhile",
        "Run again once it answers (`docker info`); its log says why it ended",
    ),
    (
        r"failed to create endpoint|adding interface \S+ to bridge|could not find an available.*address pool"
        r"|failed to (create|delete|program) .*(iptables|nftables)|iptables failed",
        "the engine could not give a container its network",
        "Restart the engine, which makes its bridge and its firewall's rules anew",
    ),
    (
        r"docker-init\S*: (no such file|executable file not found|not found)|exec: \"?[\w/.-]*docker-init\"?: ",
        "the engine's `docker-init` is missing, which gives a container its first process",
        "Install it where the engine runs: it comes with Docker's packages, and is Debian's package tini",
    ),
    (
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "`docker system df` says of what; `docker buildx prune` frees the build cache",
    ),
    (
        r"cannot allocate memory|resource temporarily unavailable|too many open files"
        r"|failed to create new OS thread",
        "the engine's machine has no memory, process or open file to spare",
        "Run less at once (--multiarch-jobs, -n), or raise its limits",
    ),
)


def outage(said: str) -> tuple[str, str] | None:
    """Return why the engine failed and what to do, None where its words aren't of its own trouble."""
    return next(((why, do) for seen, why, do in OUTAGES if re.search(seen, said, re.IGNORECASE)), None)
