"""The one tree of errors: each says what failed, why, and what to do, with the evidence."""

from __future__ import annotations

import re
import textwrap
from typing import Any

#: The frames of this package stay out of a user's traceback.
__tracebackhide__ = True


class MultiarchError(Exception):
    """Anything that this plugin refuses or could not do.

    Args:
        what: what failed, a clause without a full stop ("no Docker engine answers").
        why: the cause, as far as it is known.
        do: what the reader can do about it.
        evidence: what was seen, verbatim (a tool's last lines); shown indented below the sentence.

    """

    def __init__(self, what: str, *, why: str = "", do: str = "", evidence: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.do, self.evidence = what, why, do, evidence

    def __str__(self) -> str:
        sentence = f"{self.what}: {self.why}" if self.why else self.what
        text = " ".join(f"{part.rstrip('. ')}." for part in (sentence, self.do) if part)
        seen = self.evidence.strip("\n")
        return printable(f"{text}\n{textwrap.indent(seen, '    ')}" if seen else text)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.as_dict())

    def as_dict(self) -> dict[str, str]:
        """Return the parts as JSON-ready strings; `from_dict` is the way back."""
        parts = {"what": self.what, "why": self.why, "do": self.do, "evidence": self.evidence}
        return {"type": type(self).__name__, **parts}


def printable(text: str) -> str:
    r"""Return `text` with what is no character to print as `\x1b`: a program's words are no terminal commands.

    Nor are they commands of a CI's log (`::set-output`, `##[group]`, `##vso[...]`); colours are dropped, and so
    is what stands before the host in an address: a name and password, or a token.
    """
    kept = text.replace("\r\n", "\n")
    for pattern, replacement in _TAMED:
        kept = re.sub(pattern, replacement, kept)
    return "".join(each if each.isprintable() or each in "\n\t" else _escaped(each) for each in kept)


#: Not compiled here: a suite that has no error to show owes nothing.
_TAMED = (
    (r"\x1b\[[0-9;]*m", ""),
    (r"(?m)^([ \t]*):(?=:)", r"\1\\x3a"),
    (r"##(?=\w*\[)", r"#\\x23"),
    (r"(?<=://)[^\s/@]+@(?!sha256:)", "***@"),
)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def from_dict(data: dict[str, str]) -> MultiarchError:
    """Return the error that `MultiarchError.as_dict` described, in another process too."""
    kinds = {kind.__name__: kind for kind in _tree(MultiarchError)}
    return _again(kinds.get(data.get("type", ""), MultiarchError), data)


def _again(kind: type[MultiarchError], data: dict[str, str]) -> MultiarchError:
    return kind(data["what"], why=data["why"], do=data["do"], evidence=data["evidence"])


def _tree(kind: type[MultiarchError]) -> list[type[MultiarchError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


class SettingsError(MultiarchError):
    """An option, an ini value or a marker's argument that means nothing."""


class UnknownPlatform(SettingsError):
    """A platform's name that is in nobody's list."""


class EngineError(MultiarchError):
    """The container engine, or its client, is missing, refuses, or answers nonsense."""


class EmulatorError(MultiarchError):
    """A platform does not run here and could not be made to."""


class BuilderError(MultiarchError):
    """The builder is unknown, can't boot or can't do what is asked of it."""


class BuildError(MultiarchError):
    """The image could not be built for a platform."""


class ImageError(MultiarchError):
    """The image isn't what was asked for: missing, or of another platform."""


class ContainerError(MultiarchError):
    """A container could not be started or used."""


class ContainerDied(ContainerError):
    """The container ended although nobody asked it to."""


class DeadlinePassed(ContainerError):
    """A command, a build or a client took longer than it was given."""


class OutputTooLarge(ContainerError):
    """A command wrote more than `--multiarch-output-limit` allows."""


class CommandFailed(ContainerError):
    """A command that had to succeed (`check=True`) did not."""


class StateError(MultiarchError):
    """The folder that sessions and workers share can't be used."""


class UnexpectedError(MultiarchError):
    """A fault of this plugin's own, or of what it stands on: its traceback is the evidence."""


class FaultError(CommandFailed):
    """A program that could not run: the kinds tell whose fault it is; their names serve `--only-rerun`."""


class ExecFormatError(FaultError):
    """A program of another machine, or a script without `#!`."""


class LoaderMissing(FaultError):
    """The loader or a shared library that a program names is not in the image."""


class IllegalInstruction(FaultError):
    """A program built for a newer CPU than the one it ran on."""


class CpuTooOld(FaultError):
    """A C library or program that says itself that it wants a newer CPU."""


class EmulatorCrash(FaultError):
    """A crash under the emulator, whose fault it may be."""


class OutOfMemory(FaultError):
    """The kernel killed a process for want of memory."""


class WrongMachine(FaultError):
    """`uname -m` says another machine than the platform's."""
