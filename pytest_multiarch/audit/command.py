"""What a program starts in its turn, by its arguments alone: an init, `env`, `gosu`, a shell, an interpreter."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from types import MappingProxyType

#: `Command.by` for what a script's first line names.
KERNEL = "#!"

#: A word that a shell would make something else of: what it becomes is not known.
EXPANDED = "\0"


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its arguments, and how it is started.

    Attributes:
        argv: the words, the first of which is the program.
        path: the folders in which a bare name is searched.
        folder: the working folder.
        user: who starts it, as USER says it; None: not known.
        where: the field or the script that names it.
        by: the program that starts it, `KERNEL` for a script's interpreter, "" for the engine itself.

    """

    argv: tuple[str, ...]
    path: tuple[str, ...]
    folder: str = "/"
    user: str | None = ""
    where: str = "ENTRYPOINT"
    by: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that an interpreter reads: the first of `names` that is there.

    `script` tells whether it is a shell's, and `then` the words that it is given.
    """

    names: tuple[str, ...]
    then: tuple[str, ...]
    script: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """What is started next is not known, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Options:
    """How a program's options are written, up to the words that it starts.

    Attributes:
        flags, valued: short options without and with a value.
        long, long_valued: long ones, without their dashes.
        operands: how many words stand before the program: a user, or a duration.

    """

    flags: str = ""
    valued: str = ""
    long: frozenset[str] = frozenset()
    long_valued: frozenset[str] = frozenset()
    operands: int = 0

    def parse(self, words: Sequence[str]) -> tuple[dict[str, str], list[str]] | None:
        """Return the options' values and the words behind them; None where an option is not known."""
        found: dict[str, str] = {}
        ahead = list(words)
        while ahead and ahead[0].startswith("-") and ahead[0] != "-":
            word = ahead.pop(0)
            if word == "--":
                break
            taken = self._long(word[2:], ahead) if word.startswith("--") else self._short(word[1:], ahead)
            if taken is None:
                return None
            found |= taken
        return found, ahead

    def _long(self, word: str, ahead: list[str]) -> dict[str, str] | None:
        name, equals, value = word.partition("=")
        if name in self.long_valued and (equals or ahead):
            return {name: value if equals else ahead.pop(0)}
        return {name: value} if name in self.long else None

    def _short(self, letters: str, ahead: list[str]) -> dict[str, str] | None:
        found: dict[str, str] = {}
        for at, letter in enumerate(letters):
            if letter in self.valued:
                rest = letters[at + 1 :]
                return found | {letter: rest or ahead.pop(0)} if rest or ahead else None
            if letter not in self.flags:
                return None
            found[letter] = ""
        return found


_TINI = Options("ghlsvw", "ep", long=frozenset({"version", "license"}))
_ENV = Options(
    "i0v",
    "uCS",
    frozenset({"ignore-environment", "null", "debug", "block-signal", "default-signal", "ignore-signal"}),
    frozenset({"unset", "chdir", "split-string"}),
)

#: Programs that become, or wait for, the one that their arguments name, by the manual page of each.
WRAPPERS: Mapping[str, Options] = MappingProxyType(
    {
        "tini": _TINI,
        "tini-static": _TINI,
        "docker-init": _TINI,
        "dumb-init": Options("cv", "r", frozenset({"single-child", "verbose"}), frozenset({"rewrite"})),
        "catatonit": Options("gP"),
        "env": _ENV,
        "gosu": Options(operands=1),
        "su-exec": Options(operands=1),
        "s6-setuidgid": Options(operands=1),
        "setpriv": Options(
            long=frozenset({"clear-groups", "keep-groups", "init-groups", "no-new-privs", "nnp", "reset-env"}),
            long_valued=frozenset({"ruid", "euid", "reuid", "rgid", "egid", "regid", "groups", "inh-caps"})
            | {"ambient-caps", "bounding-set", "securebits", "pdeathsig", "selinux-label", "apparmor-profile"},
        ),
        "nice": Options(valued="n", long_valued=frozenset({"adjustment"})),
        "ionice": Options("t", "cn", frozenset({"ignore"}), frozenset({"class", "classdata"})),
        "nohup": Options(),
        "setsid": Options("cfw", long=frozenset({"ctty", "fork", "wait"})),
        "stdbuf": Options(valued="ioe", long_valued=frozenset({"input", "output", "error"})),
        "timeout": Options(
            "v",
            "ks",
            frozenset({"foreground", "preserve-status", "verbose"}),
            frozenset({"kill-after", "signal"}),
            1,
        ),
    }
)

#: Shells, and the options of all of them (POSIX `sh`, and bash's that have an effect on nothing here).
_SHELL = re.compile(r"(ba|da|a|k|mk|z)?sh")
_SHELL_OPTIONS = Options("abcefhimnuvxBCEP", "oO", frozenset({"norc", "noprofile", "posix"}))

#: Interpreters, how their options are written, and the files that they look for when they are given a name.
_INTERPRETERS: tuple[tuple[re.Pattern[str], Options, tuple[str, ...]], ...] = (
    (re.compile(r"(python|pypy)[\d.]*"), Options("bBdEiIOPqsSuvx", "WX"), ("{}", "{}/__main__.py")),
    (
        re.compile(r"node(js)?"),
        Options(
            valued="r",
            long=frozenset({"enable-source-maps", "no-warnings", "no-deprecation", "trace-warnings", "expose-gc"})
            | {"max-old-space-size", "max-http-header-size", "stack-size", "inspect", "use-openssl-ca"},
            long_valued=frozenset({"require", "import"}),
        ),
        ("{}", "{}.js", "{}.json", "{}.node", "{}/index.js", "{}/package.json"),
    ),
    (re.compile(r"perl[\d.]*"), Options("tTwWX", "I"), ("{}",)),
    (re.compile(r"ruby[\d.]*"), Options("w", "Ir"), ("{}",)),
    (re.compile(r"php[\d.]*"), Options("nq", "cd"), ("{}",)),
    (re.compile(r"lua[\d.]*|tclsh[\d.]*|Rscript"), Options(), ("{}",)),
)

#: What a shell does itself, or reads as the beginning of more than one command.
_BUILTINS = frozenset(
    {
        *("!", ".", ":", "[", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue"),
        *("declare", "echo", "eval", "exit", "export", "false", "fg", "for", "function", "getopts", "hash", "if"),
        *("jobs", "kill", "let", "local", "printf", "pwd", "read", "readonly", "return", "select", "set", "shift"),
        *("source", "test", "time", "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset"),
        *("until", "wait", "while"),
    }
)

#: More than one command in a shell's line; `2>&1` is none.
_SEVERAL = re.compile(r"[;|\n(){}`]|(?<![<>])&")


def following(command: Command) -> Command | Reading | Unknown | None:
    """Return what a command starts or reads next; None where it is the program itself."""
    name, words = PurePosixPath(command.argv[0]).name, command.argv[1:]
    if name in ("busybox", "toybox") and words:
        return following(replace(command, argv=words))
    if _SHELL.fullmatch(name):
        return _shell(command, words)
    if name in WRAPPERS:
        return _wrapped(command, name, words)
    if name == "java":
        return _java(words)
    for pattern, options, names in _INTERPRETERS:
        if pattern.fullmatch(name):
            return _interpreted(name, options, names, words)
    return None


def _wrapped(command: Command, name: str, words: Sequence[str]) -> Command | Unknown | None:
    options = WRAPPERS[name]
    if (parsed := options.parse(words)) is None:
        return Unknown(f"an option of {name}")
    values, rest = parsed
    if name == "env":
        return _environment(command, values, rest)
    operands, argv = rest[: options.operands], tuple(rest[options.operands :])
    user = operands[0] if operands and name != "timeout" else None if name == "setpriv" else command.user
    return _started(replace(command, user=None if user and EXPANDED in user else user), argv, name)


def _environment(command: Command, values: Mapping[str, str], rest: list[str]) -> Command | Unknown | None:
    split = values.get("S", values.get("split-string"))
    if split is not None:
        try:
            words = shlex.split(split)
        except ValueError:
            words = [EXPANDED]
        if re.search(r"[\\$]", split):  # escapes and variables of its own
            return Unknown("what env -S makes of its words")
        return _wrapped(command, "env", [*words, *rest])
    folder = values.get("C", values.get("chdir", command.folder))
    path = command.path
    rest = rest[1:] if rest[:1] == ["-"] else rest
    while rest and "=" in rest[0]:
        key, _, value = rest.pop(0).partition("=")
        if key == "PATH":
            path = tuple(value.split(":"))
    return _started(replace(command, path=path, folder=folder), tuple(rest), "env")


def _started(command: Command, argv: tuple[str, ...], by: str) -> Command | Unknown | None:
    if not argv:
        return None
    if EXPANDED in argv[0]:
        return Unknown("a word that the shell expands")
    return replace(command, argv=argv, by=command.by if command.by == KERNEL else by)


def _shell(command: Command, words: Sequence[str]) -> Command | Reading | Unknown | None:
    if (parsed := _SHELL_OPTIONS.parse(words)) is None:
        return Unknown("an option of the shell")
    values, rest = parsed
    if not rest:
        return None
    if "c" not in values:
        searched = () if "/" in rest[0] else tuple(f"{folder}/{rest[0]}" for folder in command.path)
        return _reading((rest[0], *searched), rest[1:], script=True)
    return _line(command, rest[0])


def _line(command: Command, line: str) -> Command | Unknown | None:
    """Follow a shell's command line where it is one plain command: anything else may go on without it."""
    if _SEVERAL.search(re.sub(r"\$\{\w+\}", "$", line.strip())) or "<<" in line:
        return Unknown("a command line of more than one command")
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return Unknown("a command line with a quote that isn't closed")
    words = _without_redirections(words)
    if any(word.startswith("PATH=") for word in words[:1]):
        return Unknown("a command line that sets PATH")
    while words and re.match(r"\w+=", words[0]):
        words.pop(0)
    if words[:1] == ["exec"]:
        words.pop(0)
    if not words or words[0] in _BUILTINS:
        return None
    known = tuple(EXPANDED if re.search(r"[$*?~]|\[.*\]", word) else word for word in words)
    if known[0].startswith("-"):
        return Unknown("an option of exec")
    return _started(command, known, "the shell")


def _without_redirections(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif match := re.match(r"\d*(>>|>\||>&|<&|<>|>|<)", word):
            skip = match.end() == len(word)
        else:
            kept.append(word)
    return kept


def _interpreted(
    name: str, options: Options, names: Sequence[str], words: Sequence[str]
) -> Reading | Unknown | None:
    if (parsed := options.parse(words)) is None:
        return Unknown(f"an option of {name}")
    rest = parsed[1]
    return _reading(tuple(form.format(rest[0]) for form in names), rest[1:]) if rest else None


def _java(words: Sequence[str]) -> Reading | Unknown:
    ahead = list(words)
    while ahead and ahead[0].startswith("-"):
        word = ahead.pop(0)
        if word == "-jar" and ahead:
            return _reading((ahead[0],), ahead[1:])
        if re.match(r"--?(cp|class-?path|p|module-path|add-\w+)$", word):
            ahead = ahead[1:]
    return Unknown("a class that java searches")


def _reading(names: tuple[str, ...], then: Sequence[str], *, script: bool = False) -> Reading | Unknown:
    if EXPANDED in names[0]:
        return Unknown("a word that the shell expands")
    if names[0] == "-":
        return Unknown("a program from standard input")
    return Reading(names, tuple(then), script)
