"""What ENTRYPOINT and CMD start: whether the kernel can start it, found without starting it."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Finding, Severity, Verdict
from pytest_multiarch.audit.tree import Entry, Tree, What, unseen

#: Scripts whose interpreter is a script again, as deep as the kernel goes (linux/fs/exec.c, exec_binprm).
DEPTH = 5

#: Where an image's files are not what a running container sees.
_RUNTIME = ("/proc/", "/sys/")


def judge(tree: Tree, config: Config) -> Verdict:
    """Say whether the program that the image starts is there, executable, and of a form that can be executed.

    A path is taken from the working folder on, a bare name searched on the image's PATH. Of the shell form,
    and of `sh -c` in general, the shell and the first word are looked at, the latter where it is a path.
    """
    if not config.argv:
        nothing = Finding("ENTRYPOINT", "neither ENTRYPOINT nor CMD", severity=Severity.UNVERIFIED)
        return Verdict("the image starts nothing by itself", (nothing,))
    programs = [config.argv[0], *_of_shell(config.argv)]
    findings = [finding for name in programs for finding in _program(tree, config, name)]
    return Verdict(f"the image starts {shlex.join(config.argv)}", tuple(findings))


def locate(tree: Tree, config: Config, name: str) -> tuple[str, Entry | None]:
    """Return where the program `name` is, and what is there: (real path, entry), entry None for nothing."""
    if "/" in name:
        return tree.find(name, config.folder)
    for folder in config.path:
        real, entry = tree.find(f"{folder}/{name}")
        if entry and entry.executable and entry.what is not What.FOLDER:
            return real, entry
    for folder in config.path:  # what is there but can't be executed explains more than "missing"
        real, entry = tree.find(f"{folder}/{name}")
        if entry:
            return real, entry
    return "", None


def programs(tree: Tree, config: Config) -> set[str]:
    """Return the real paths of what the image starts: the program, and the interpreters of a script."""
    found: set[str] = set()
    ahead = [config.argv[0], *_of_shell(config.argv)] if config.argv else []
    for _ in range(DEPTH):
        entries = [locate(tree, config, name) for name in ahead]
        found |= {real for real, entry in entries if entry}
        ahead = [
            name for _, entry in entries if entry and entry.what is What.SCRIPT for name in _interpreters(entry)
        ]
    return found


def _program(tree: Tree, config: Config, name: str, script: str = "", depth: int = 0) -> list[Finding]:
    """Return what is wrong with one program: `name` as it is started, or as `#!` of `script` names it."""
    real, entry = locate(tree, config, name)
    where = script or "ENTRYPOINT"
    what = f"its interpreter {name}" if script else name
    if entry is None:
        if real and (unseen(real) or real.startswith(_RUNTIME)):
            return [Finding(where, f"{what} is only there in a running container", severity=Severity.UNVERIFIED)]
        return [
            Finding(where, f"{what} is {_missing(tree, config, name, real)}", cause=_why_missing(name, script))
        ]
    if entry.what in (What.FOLDER, What.DEVICE):
        return [Finding(where, f"{what} is {entry.what.value}", "a program")]
    if not entry.executable:
        return [Finding(where, f"{what} is not executable", "mode 755", cause="COPY without --chmod=755")]
    if entry.what in (What.DATA, What.LIBRARY, What.ZIP) or (entry.what is What.ELF and entry.elf is None):
        cause = "a script whose first line isn't `#!` and an interpreter: a shell runs it, the kernel doesn't"
        return [Finding(where, f"{what} is neither ELF nor begins with `#!`", cause=cause)]
    if entry.what is not What.SCRIPT:
        return []
    if depth >= DEPTH:
        return [Finding(where, f"more than {DEPTH} scripts interpret each other")]
    if not (names := _interpreters(entry)):
        return [Finding(real, "its `#!` names no interpreter")]
    return [finding for each in names for finding in _program(tree, config, each, real, depth + 1)]


def _interpreters(entry: Entry) -> list[str]:
    """Return what a script's first line makes the kernel start, and what `env` starts after it."""
    interpreter, _, argument = entry.line.partition(" ") if " " in entry.line else entry.line.partition("\t")
    if not interpreter or PurePosixPath(interpreter).name != "env":
        return [interpreter] if interpreter else []
    words = argument.split()
    if words[:1] == ["-S"]:
        words = words[1:]
    while words and "=" in words[0]:
        words = words[1:]
    return [interpreter, *(word for word in words[:1] if not word.startswith("-"))]


def _of_shell(argv: tuple[str, ...]) -> list[str]:
    """Return the program of `sh -c "exec /path ..."` where it is a path and nothing else is possible."""
    if len(argv) < 3 or PurePosixPath(argv[0]).name not in ("sh", "bash", "ash", "dash") or argv[1] != "-c":
        return []
    if re.search(r"[;|\n]|(?<!>)&", argv[2].strip()):  # the shell may go on without the first one; 2>&1 is none
        return []
    words = argv[2].split()
    word = next((word for word in words if word != "exec"), "")
    plain = word.startswith("/") and all(character.isalnum() or character in "/._-+" for character in word)
    return [word] if plain else []


def _missing(tree: Tree, config: Config, name: str, real: str) -> str:
    if "/" not in name:
        return f"not on PATH ({':'.join(config.path)})"
    if not real:
        return "a symbolic link that leads round in a circle"
    return "not in the image" if real == name else f"not in the image: it leads to {real}"


def _why_missing(name: str, script: str) -> str:
    if name.endswith("\r"):
        return "the script has Windows line ends: git's core.autocrlf, or an editor's"
    if script:
        return "the script's interpreter isn't installed in the final stage"
    return "the COPY --from of the build stage put it elsewhere, or a build for this platform made nothing"
