"""What ENTRYPOINT and CMD start: whether the kernel can start it, found without starting it."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from pytest_multiarch.audit import users
from pytest_multiarch.audit.command import KERNEL, Command, Reading, Unknown, following
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Finding, Severity, Verdict
from pytest_multiarch.audit.tree import Entry, Tree, What, unseen
from pytest_multiarch.audit.users import EXECUTE, READ, User

#: Scripts whose interpreter is a script again, as deep as the kernel goes (linux/fs/exec.c, exec_binprm).
DEPTH = 5

#: Programs that start each other which are followed.
CHAIN = 30

#: Where an image's files are not what a running container sees.
_RUNTIME = ("/proc/", "/sys/")

#: These take a carriage return at the end of their options for nothing (perl.c and ruby.c, their option loops).
_TOLERANT = re.compile(r"(perl|ruby)[\d.]*")

WINDOWS = "the script has Windows line ends: git's core.autocrlf, or an editor's"


def judge(tree: Tree, config: Config) -> Verdict:
    """Say whether what the image starts is there, and whether its user may start it: one program after another.

    A path is taken from the working folder on, a bare name searched on the image's PATH. Followed are scripts to
    their interpreters, inits and the like (`command.WRAPPERS`) to what they start, interpreters to what they read,
    and a shell's command line where it is one plain command. What isn't followed is said.
    """
    findings = [*_folder(tree, config), *_health(tree, config)]
    if not config.argv:
        nothing = Finding("ENTRYPOINT", "neither ENTRYPOINT nor CMD", severity=Severity.UNVERIFIED)
        return Verdict("the image starts nothing by itself", (nothing, *findings))
    findings = [*(each for _, wrong in _walk(tree, config, _first(config)) for each in wrong), *findings]
    return Verdict(f"the image starts {shlex.join(config.argv)}", tuple(findings))


def programs(tree: Tree, config: Config) -> set[str]:
    """Return the real paths of what the image starts: programs, scripts and their interpreters."""
    return {real for real, _ in _walk(tree, config, _first(config)) if real} if config.argv else set()


def on_path(tree: Tree, config: Config) -> dict[str, str]:
    """Return what is in the folders of the image's PATH: each path, and its real one."""
    folders = {tree.find(folder)[0] for folder in config.path}
    return {path: tree.find(path)[0] for path in tree.entries if posixpath.dirname(path) in folders}


def _first(config: Config) -> Command:
    return Command(config.argv, tuple(config.path), config.folder, config.user)


def _folder(tree: Tree, config: Config) -> Iterator[Finding]:
    _, entry = tree.find(config.folder)
    if entry is not None and entry.what is not What.FOLDER:  # one that is missing is made by the engine
        yield Finding("WORKDIR", f"{config.folder} is {entry.what.value}", "a folder")


def _health(tree: Tree, config: Config) -> Iterator[Finding]:
    """Judge what HEALTHCHECK starts: without it the container runs, and is called unhealthy."""
    if config.healthcheck:
        command = replace(_first(config), argv=config.healthcheck, where="HEALTHCHECK")
        for _, wrong in _walk(tree, config, command):
            yield from (
                replace(each, severity=Severity.WARNING) if each.severity is Severity.FAILURE else each
                for each in wrong
            )


def _walk(tree: Tree, config: Config, first: Command) -> Iterator[tuple[str, list[Finding]]]:
    """Yield the real path of each program and file that is started or read, "" for none, and what is wrong."""
    command, scripts = first, 0
    for _ in range(CHAIN):
        if json := _single_quoted(command):
            yield "", [json]
            return
        user, wrong = _user(tree, command, first)
        real, entry = locate(tree, command)
        wrong += _program(tree, config, command, user)
        yield real if entry else "", wrong
        if entry is None or any(each.severity is not Severity.UNVERIFIED for each in wrong):
            return
        scripts = scripts + 1 if entry.what is What.SCRIPT else 0
        if scripts > DEPTH:
            yield "", [Finding(first.where, f"more than {DEPTH} scripts interpret each other")]
            return
        step = _interpreter(command, real, entry) if entry.what is What.SCRIPT else following(command)
        if isinstance(step, Reading):
            real, wrong, step = _read(tree, config, command, step, user, first.where)
            yield real, wrong
        if isinstance(step, Unknown):
            yield "", [Finding(first.where, f"not followed: {step.why}", severity=Severity.UNVERIFIED)]
        if not isinstance(step, Command):
            return
        command = step


def locate(tree: Tree, command: Command) -> tuple[str, Entry | None]:
    """Return where a command's program is, and what is there: (real path, entry), entry None for nothing."""
    name = command.argv[0]
    if "/" in name:
        return tree.find(name, command.folder)
    for folder in command.path if name else ():
        real, entry = tree.find(f"{folder}/{name}")
        if entry and entry.executable and entry.what is not What.FOLDER:
            return real, entry
    for folder in command.path if name else ():  # what is there but can't be executed explains more than "missing"
        real, entry = tree.find(f"{folder}/{name}")
        if entry:
            return real, entry
    return "", None


def _single_quoted(command: Command) -> Finding | None:
    """Tell a list in single quotes, which is no JSON: the builder takes it for a shell's command."""
    if command.by or command.argv[1:2] != ("-c",) or not re.match(r"\s*\[\s*'", "".join(command.argv[2:3])):
        return None
    return Finding(
        command.where,
        f"{command.argv[2]} is taken for a shell's command",
        'a list with double quotes: ["/program", "argument"]',
        cause="single quotes make no JSON",
    )


def _user(tree: Tree, command: Command, first: Command) -> tuple[User | None, list[Finding]]:
    """Return who starts a command, None where that is not known, and what is wrong with the user."""
    if command.user is None:
        return None, []
    where = "USER" if command.user == first.user else command.where
    try:
        return users.resolve(command.user, tree), []
    except LookupError as error:
        return None, [Finding(where, str(error.args[0]), "a user of the image")]
    except ValueError as error:
        return None, [Finding(where, f"who that is can't be told: {error}", severity=Severity.UNVERIFIED)]


def _program(tree: Tree, config: Config, command: Command, user: User | None) -> list[Finding]:
    """Return what is wrong with the program of one command."""
    what, where = _what(command), command.where
    real, entry = locate(tree, command)
    if entry is None:
        if real and _elsewhere(config, real):
            return [Finding(where, f"{what} is only there in a running container", severity=Severity.UNVERIFIED)]
        return [Finding(where, f"{what} is {_missing(command, real)}", cause=_why_missing(command))]
    if entry.what in (What.FOLDER, What.DEVICE):
        return [Finding(where, f"{what} is {entry.what.value}", "a program")]
    if not entry.executable:
        return [Finding(where, f"{what} is not executable", "mode 755", cause="COPY without --chmod=755")]
    if entry.what in (What.DATA, What.LIBRARY, What.ZIP) or (entry.what is What.ELF and entry.elf is None):
        cause = "a script whose first line isn't `#!` and an interpreter: a shell runs it, the kernel doesn't"
        if entry.line:
            cause = "a byte order mark stands before its `#!`: save it as UTF-8 without one"
        return [Finding(where, f"{what} is neither ELF nor begins with `#!`", cause=cause)]
    if user and (barrier := users.barrier(tree, user, real, EXECUTE)):
        return [_forbidden(where, command.user, f"{what}: {barrier}")]
    if entry.what is not What.SCRIPT:
        return []
    if not entry.line:
        return [Finding(real, "its `#!` names no interpreter")]
    if entry.line.endswith("\r") and re.search(r"\s", entry.line[:-1]) and not _TOLERANT.search(entry.line):
        return [Finding(real, f"its first line is #!{entry.line}", "Unix line ends", cause=WINDOWS)]
    return []


def _read(
    tree: Tree, config: Config, command: Command, reading: Reading, user: User | None, field: str
) -> tuple[str, list[Finding], Command | Unknown | None]:
    """Judge a file that an interpreter reads; return its real path, what is wrong with it, and what it starts."""
    name, reader = reading.names[0], PurePosixPath(command.argv[0]).name
    what = name if command.by == KERNEL else f"{name}, which {reader} reads,"
    found = [tree.find(each, command.folder) for each in reading.names]
    real, entry = next(
        ((real, entry) for real, entry in found if entry and entry.what is not What.FOLDER), found[0]
    )
    if entry is None and _elsewhere(config, real):
        return (
            "",
            [Finding(field, f"{what} is only there in a running container", severity=Severity.UNVERIFIED)],
            None,
        )
    if entry is None or entry.what is What.FOLDER:
        said = entry.what.value if entry else "not in the image"
        return "", [Finding(field, f"{what} is {said}", "a program's text", cause=_why_missing(command))], None
    if user and (barrier := users.barrier(tree, user, real, READ)):
        return real, [_forbidden(field, command.user, f"{what}: {barrier}")], None
    if not reading.script:
        return real, [], None
    if not entry.forwards:
        return real, [], Unknown(f"what the script {real} starts")
    argv = reading.then
    return real, [], replace(command, argv=argv, where=field, by=real) if argv and argv[0] else None


def _interpreter(command: Command, real: str, entry: Entry) -> Command:
    """Return what the kernel starts for a script: its interpreter, all the rest of the line as one word."""
    interpreter, *argument = re.split(r"[ \t]+", entry.line, maxsplit=1)
    return replace(command, argv=(interpreter, *argument, real, *command.argv[1:]), where=real, by=KERNEL)


def _forbidden(where: str, user: str | None, what: str) -> Finding:
    cause = "COPY and RUN make root the owner: COPY --chown=USER, or --chmod=755 for the file and its folders"
    return Finding(where, f"{what}; the user is {user}", "what the image's user may use", cause=cause)


def _what(command: Command) -> str:
    name = command.argv[0]
    if command.by == KERNEL:
        return f"its interpreter {name}"
    return f"{name}, which {command.by} starts," if command.by else name or "its first word"


def _elsewhere(config: Config, real: str) -> bool:
    """Tell whether what is at a path may come from outside of the image."""
    return unseen(real) or real.startswith((*_RUNTIME, *(f"{folder}/" for folder in config.volumes)))


def _missing(command: Command, real: str) -> str:
    name = command.argv[0]
    if not name:
        return "empty"
    if "/" not in name:
        return f"not on PATH ({':'.join(command.path)})"
    if not real:
        return "a symbolic link that leads round in a circle"
    return "not in the image" if real == name else f"not in the image: it leads to {real}"


def _why_missing(command: Command) -> str:
    if command.argv[0].endswith("\r"):
        return WINDOWS
    if command.by == KERNEL:
        return "the script's interpreter isn't installed in the final stage"
    return "the COPY --from of the build stage put it elsewhere, or a build for this platform made nothing"
