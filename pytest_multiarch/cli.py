"""The command `pytest-multiarch`: what is ours at the engine, what runs here, what an image holds."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import platform as machine
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_multiarch.audit.config import Config
from pytest_multiarch.builders.builder import name_of
from pytest_multiarch.checks.verdicts import static
from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.emulators import Emulators
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import ImageError, MultiarchError, printable
from pytest_multiarch.pins import BINFMT_IMAGE
from pytest_multiarch.platforms import KNOWN, Platform
from pytest_multiarch.session import described
from pytest_multiarch.state import State
from pytest_multiarch.sweep import Orphans

EXIT_CODES = """\
exit codes:
  0  done; every check passed
  1  a check of the image failed, or something could not be removed
  2  it could not be done: wrong arguments, no engine, no such image, ...
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except MultiarchError as error:
        print(f"pytest-multiarch: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "pytest-multiarch",
        description="What pytest-multiarch has at the container engine, and what runs there.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="say what is here: paste it into a bug report")
    doctor.set_defaults(run=_doctor)

    table = commands.add_parser("platforms", help="list the platforms and every name of theirs")
    table.set_defaults(run=_platforms)

    audit = commands.add_parser("audit", help="read an image that the engine holds; nothing of it is started")
    audit.add_argument("image", metavar="IMAGE")
    audit.add_argument("--platform", help="what it should be for (default: what its config says)")
    audit.set_defaults(run=_audit)

    prune = commands.add_parser("prune", help="remove what pytest-multiarch left and keeps, and nothing else")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.add_argument(
        "--binfmt",
        action="store_true",
        help=f"also the kernel's entries named {binfmt.PREFIX}*: they serve everybody on this machine",
    )
    prune.add_argument("--binfmt-image", metavar="REFERENCE", default=BINFMT_IMAGE, help=argparse.SUPPRESS)
    prune.set_defaults(run=_prune)
    return parser


@dataclass(frozen=True, slots=True)
class _Visit:
    """A session of the command's own: what it makes bears its label, and other sessions leave it alone."""

    state: State
    engine: Engine
    label: str


@contextlib.contextmanager
def _visit() -> Iterator[_Visit]:
    state, run, session = State(), f"command-{uuid.uuid4().hex[:12]}", "main"
    entered = state.enter(run, session)
    try:
        label = f"{run}.{session}"
        yield _Visit(state, Engine(state.id, label), label)
    finally:
        entered.sessions.leave(session)


def _say(*lines: str) -> None:
    for line in lines:
        print(printable(line))  # noqa: T201


def _platforms(arguments: argparse.Namespace) -> int:
    head = ("platform", "`uname -m`, native or emulated", "oldest CPU (QEMU)", "also called")
    rows = [
        (str(each), " ".join(sorted(each.machines)), each.cpus[0], " ".join(each.spellings[1:])) for each in KNOWN
    ]
    _say(*_columns([head, *rows]))
    return 0


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()


def _doctor(arguments: argparse.Namespace) -> int:
    _say(*_versions())
    with _visit() as visit:
        engine = visit.engine
        _say(f"engine: {engine.info}", f"client: {' '.join(engine.command)}, context {engine.info.context}")
        _say(f"buildx: {'.'.join(map(str, engine.info.buildx)) or 'none'}")
        where = "this machine's" if engine.shares_kernel else "another machine's"
        _say(f"kernel: {where}", *_builder(visit), "platforms:")
        _say(*(f"  {line}" for line in _runnable(engine)))
        if engine.shares_kernel:
            _say("binfmt entries:", *(f"  {entry}" for entry in binfmt.entries()))
        others = [label for label in visit.state.living() if label != visit.label]
        _say(f"state: {visit.state.folder}, owner {visit.state.id}, {_sessions(len(others))} running")
    return 0


def _versions() -> Iterator[str]:
    for name in ("pytest-multiarch", "pytest", "pytest-xdist", "pytest-testinfra", "python-on-whales"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{name}: {importlib.metadata.version(name)}"
    yield f"python: {machine.python_version()} on {machine.platform()}"


def _builder(visit: _Visit) -> Iterator[str]:
    name = name_of(visit.engine, visit.state)
    found = visit.engine.container(name)
    state = found.state.status if found and found.state else "not there (it is made when a session builds)"
    users = len(visit.state.users(name).others(""))
    yield f"builder: {name}, {state}, used by {_sessions(users)}"


def _runnable(engine: Engine) -> Iterator[str]:
    """Yield how each platform runs; nothing is registered."""
    emulators = Emulators(engine, "require")
    for each in KNOWN:
        try:
            yield f"{each}: {described(emulators.need(each))}"
        except MultiarchError as error:
            yield f"{each}: no ({error.evidence.splitlines()[0] if error.evidence else error.what})"


def _audit(arguments: argparse.Namespace) -> int:
    with _visit() as visit:
        found = visit.engine.inspect("image", arguments.image)
        if found is None:
            raise ImageError(
                f"the engine has no image {arguments.image}", do=f"Fetch it: docker pull {arguments.image}"
            )
        config = Config.parse(found)
        platform = Platform.parse(arguments.platform or config.triple)
        verdicts = static(visit.engine, arguments.image, config, platform)
    for check, verdict in verdicts.items():
        _say(f"{check}: {'passed' if verdict.passed else 'FAILED'}: {verdict.text()}")
    return 0 if all(verdict.passed for verdict in verdicts.values()) else 1


def _prune(arguments: argparse.Namespace) -> int:
    """Remove what is at this engine; the state folder stays, for what is at another one is found by its id."""
    with _visit() as visit:
        others = [label for label in visit.state.living() if label != visit.label]
        refused = _clear(visit, arguments.dry_run, everything=not others)
        if arguments.binfmt:
            _unregister(visit.engine, arguments)
    if others:
        running = f"{_sessions(len(others))} {'is' if len(others) == 1 else 'are'} running"
        _say(f"{running}: the builder, its cache and the images stay")
    return 1 if refused else 0


def _clear(visit: _Visit, dry: bool, *, everything: bool) -> int:
    """Remove what dead sessions left, and what is kept; return how much the engine refused to remove."""
    orphans = Orphans(visit.engine, visit.state)
    if not dry:
        orphans.end_clients()
    refused = 0
    for left in (*orphans.dead(), *(orphans.kept() if everything else ())):
        said = "" if dry else orphans.remove(left)
        _say(f"refused: {left}: {said}" if said else f"{'would remove' if dry else 'removed'} {left}")
        refused += bool(said)
    return refused


def _unregister(engine: Engine, arguments: argparse.Namespace) -> None:
    names: Iterable[str]
    if arguments.dry_run:
        names = [entry.name for entry in binfmt.entries() if entry.name.startswith(binfmt.PREFIX)]
    else:
        names = Emulators(engine, binfmt_image=arguments.binfmt_image).unregister()
    _say(*(f"{_verb(arguments)} binfmt entry {name}" for name in names))


def _sessions(number: int) -> str:
    return f"{number} session{'' if number == 1 else 's'}"


def _verb(arguments: argparse.Namespace) -> str:
    return "would remove" if arguments.dry_run else "removed"
