"""Paths that name another machine and lead nowhere: links and variables that were written for one platform."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType

from pytest_multiarch.audit import machines
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Finding, Severity
from pytest_multiarch.audit.tree import Tree, What, unseen
from pytest_multiarch.platforms import Platform

#: What distributions call a machine in folder names (GNU triplets, the architectures of dpkg, rpm and apk) -> its
#: e_machine.
WORDS: Mapping[str, frozenset[int]] = MappingProxyType(
    {word: frozenset({62}) for word in ("x86_64", "amd64")}
    | {word: frozenset({183}) for word in ("aarch64", "arm64")}
    | {word: frozenset({3}) for word in ("i386", "i486", "i586", "i686")}
    | {word: frozenset({40}) for word in ("armhf", "armel", "armv6l", "armv7l")}
    | {word: frozenset({21}) for word in ("ppc64le", "ppc64el", "powerpc64le")}
    | {"s390x": frozenset({22}), "riscv64": frozenset({243}), "loongarch64": frozenset({258})}
)

_TRIPLET = re.compile(r"(?<![A-Za-z0-9])(arm|[a-z0-9]+(?:_64)?)-(?:[a-z]+-)?linux-(?:gnu|musl)[a-z0-9_]*")
_WORD = re.compile(rf"(?:(?<=[-_/.])|^)({'|'.join(WORDS)})(?=[-_/.]|$)")

#: Where links lead to what only a running container has.
_RUNTIME = ("/proc/", "/sys/", "/run/", "/dev/")


def judge(tree: Tree, platform: Platform, config: Config, on_path: Container[str]) -> Iterator[Finding]:
    """Judge links and variables: what leads nowhere, and names another machine, was meant for that one.

    A variable and a link on PATH are failures: the image itself uses them. Other links are warnings, packages have
    such.
    """
    machine = machines.of(platform).machine
    for path, entry in tree.entries.items():
        if entry.what is not What.LINK:
            continue
        real, there = tree.find(path)
        target = posixpath.join(posixpath.dirname(path), entry.target)
        if there is None and real and not _elsewhere(real) and (word := foreign(target, machine)):
            severity = Severity.FAILURE if path in on_path else Severity.WARNING
            yield _finding(path, f"leads to {entry.target}", word, platform, severity)
    for name, value in config.env:
        for part in re.split("[:; =]", value):
            missing = part.startswith("/") and not _elsewhere(part) and tree.find(part)[1] is None
            if missing and (word := foreign(part, machine)):
                yield _finding(f"ENV {name}", part, word, platform, Severity.FAILURE)


def foreign(path: str, machine: int) -> str:
    """Return the first word of a path that names another machine than `machine`, "" for none.

    A path that names the machine too, as cross compilers' folders do, is nobody's mistake.
    """
    found = [match[1] for pattern in (_TRIPLET, _WORD) for match in pattern.finditer(path) if match[1] in WORDS]
    return found[0] if found and not any(machine in WORDS[word] for word in found) else ""


def _finding(where: str, what: str, word: str, platform: Platform, severity: Severity) -> Finding:
    found = f"{what}, which is not in the image: {word} is another machine's name"
    cause = "written for one platform: take the folder from $TARGETARCH, or from `dpkg-architecture` or the like"
    return Finding(where, found, f"a path of {platform}", severity, cause)


def _elsewhere(path: str) -> bool:
    return unseen(path) or path.startswith(_RUNTIME)
