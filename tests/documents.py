"""What the documents tell a user to type, and where each line is tried."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pytest_multiarch import options
from pytest_multiarch.options import Option

ROOT = Path(__file__).parents[1]

#: The changelog is left out: it tells of what was.
DOCUMENTS = tuple(sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md"}))
README = (ROOT / "README.md").read_text()

#: Run as they stand on an engine (tests/engine/test_documented.py), as are those below.
FIRST = "pytest --platforms=linux/arm64,linux/s390x"
RUN = (
    "pytest --platforms=linux/amd64,linux/arm64",
    "pytest --platforms=all",
    "pytest --help",
    # No whole command: after one of a few platforms.
    "-v",
    "-n 4",
    "-k elf",
    "--lf",
    "--cache-clear",
    "--reruns 2 --only-rerun EmulatorCrash",
    "Dockerfile::config",
    "Dockerfile::elf[linux/s390x]",
)

#: Run one after the other, as IMAGE what the first run built.
IN_TURN = (
    "pytest-multiarch platforms",
    "pytest-multiarch doctor",
    "pytest-multiarch audit IMAGE",
    "pytest-multiarch prune --dry-run",
    "DOCKER_CONTEXT=default pytest-multiarch prune --dry-run",
    "pytest-multiarch prune",
)

#: Python that is no block of its own: each in a test that is run.
IN_A_TEST = (
    '@pytest.mark.platforms("linux/arm64", "s390x")',
    '@pytest.mark.skip_platforms("linux/386", reason="no such board")',
    '.start(env={"PORT": "8080"}, ports=[8080])',
)

#: What pytest says of a conftest that has an option of ours, and what helps (tests/plugin/test_usage_errors.py).
IN_A_CLASH = ("conflicting option string: --platforms", "-p no:multiarch")

NAMED = "the name of something, not a line to type"
PEER = "what a benchmark is measured against, run by tests/benchmarks/run"
BY_HAND = "sets the machine up and takes minutes to hours"

#: What is run nowhere here, and why.
ELSEWHERE = {
    "pip install pytest-multiarch": "needs a release on a package index",
    "./example_project/run": BY_HAND,
    "./tests/run": f"{BY_HAND}; it runs this test",
    "./tests/matrix/run": BY_HAND,
    "./tests/benchmarks/run": BY_HAND,
    ".ci/check-pins": "run on a registry of its own, by tests/zoo/test_pins.py",
    "pytest-multiarch prune --binfmt": "takes the emulators of everybody on this machine",
    "docker export > /dev/null": PEER,
    "buildx build": PEER,
    "buildx build --load": PEER,
    "-k": NAMED,
    "-m": NAMED,
    "-s": NAMED,
    "--init": NAMED,
    "docker build": NAMED,
    "docker info": NAMED,
    "docker run": NAMED,
    "env -i": NAMED,
    "python x.py": NAMED,
    "sh -c": NAMED,
    "uname -m": NAMED,
}


#: What follows these words is no value of the ini file's.
COMMAND_LINE = "on the command line"


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


class Value(NamedTuple):
    """A value that a setting is said to take; `name` is an option's or an ini name."""

    name: str
    value: str


_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (?:ini )?`(?:--|multiarch_\w+` \|).*$", re.MULTILINE)
_TYPED = re.compile(r"\s|\S=\S|^-|^\.\w*/|\w::\w")
_SETTING = re.compile(r"(--multiarch-[\w-]+|--platforms)=(.+)|(multiarch_\w+) = (.+)")
_NAME = re.compile(r"--multiarch-[\w-]+|--platforms")


def blocks(text: str, language: str | None = None) -> list[Block]:
    """Return the fenced blocks, or those of one language."""
    found = [Block(*match.groups()) for match in _FENCE.finditer(text)]
    return [block for block in found if language in (None, block.language)]


def spans(text: str) -> list[str]:
    """Return what stands between backticks in a line or a paragraph."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _FENCE.sub("", text))]


def lines(text: str) -> list[str]:
    """Return what a user could type: lines of shell blocks without their comments, and spans that look like it.

    An option's mere name is none, nor is a value in the table of options (`table`).
    """
    shell = "".join(block.text for block in blocks(text, "sh")).splitlines()
    commands = [line.partition(" #")[0].strip() for line in shell]
    typed = [span for span in spans(_ROW.sub("", text)) if _TYPED.search(span) and not _NAME.fullmatch(span)]
    return list(dict.fromkeys([*filter(None, commands), *typed]))


def setting(line: str) -> Value | None:
    """Return the setting that a line is: `--multiarch-x=value`, or `multiarch_x = value` of the ini file."""
    match = _SETTING.fullmatch(line)
    return Value(match[1] or match[3], match[2] or match[4]) if match else None


def table(text: str) -> list[Value]:
    """Return every value that a table of options names, by each name in its row and by its ini twin."""
    found = []
    for row in _ROW.findall(text):
        head, said = row.strip("|").split("|", 1)
        names = spans(head)
        if all(name.startswith("-") for name in names):
            names += [name[2:].replace("-", "_") for name in names if name != "--platforms"]
        found += [value for name in names for value in _values(name, said, spans)]
    return list(dict.fromkeys(found))


def told(option: Option) -> list[Value]:
    """Return every value that --help names for an option and its ini twin, by each name."""
    flags = [] if option.ini_only else [*option.flags, f"--multiarch-{option.name}"]
    found = [value for flag in flags for value in _values(flag, options._help(option), _examples)]
    return list(dict.fromkeys(found + _values(option.ini_name, option.help, _examples)))


def _values(name: str, said: str, find: Callable[[str], list[str]]) -> list[Value]:
    """Return the values that something says, besides those that the ini file doesn't take."""
    return [Value(name, value) for value in find(said if name[0] == "-" else said.partition(COMMAND_LINE)[0])]


def _examples(text: str) -> list[str]:
    """Return what is quoted, a default, a flag, or NAME=VALUE."""
    found = re.findall(r"(?<!\w)'([^']+)'|default: ([^)]+)\)|(?<!\S)(--\w[\w-]*|[\w/]+=\w+)", text)
    return ["".join(groups) for groups in found]
