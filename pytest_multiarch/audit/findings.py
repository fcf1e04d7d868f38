"""What a check found, as values, and how it is told: an image's words are data, never terminal commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Rows of one verdict's text; the rest is counted.
ROWS = 10

#: Characters of one word of an image that are shown.
WIDTH = 160


class Severity(Enum):
    """What a finding means for the check."""

    #: The check says no.
    FAILURE = "failure"
    #: Suspicious, and legitimate in some sound images.
    WARNING = "warning"
    #: Nothing speaks against it, and nothing proves it.
    UNVERIFIED = "not verified"
    #: For another machine on purpose, by the shipped list or by `multiarch_foreign_files`.
    FOREIGN = "foreign on purpose"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        where: the path or the field, as the image says it.
        found: what is there.
        expected: what should be; "" where `found` says it all.
        severity: what it means for the check.
        cause: the likely cause, "" where none is likely.
        number: how many alike this stands for; `where` names the first.

    """

    where: str
    found: str
    expected: str = ""
    severity: Severity = Severity.FAILURE
    cause: str = ""
    number: int = 1

    def __str__(self) -> str:
        more = f" and {self.number - 1} more" if self.number > 1 else ""
        wanted = f", expected {shown(self.expected)}" if self.expected else ""
        return f"{shown(self.where)}{more}: {shown(self.found)}{wanted}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check of one image says.

    Attributes:
        subject: what was looked at ("379 ELF files, 379 built for linux/arm/v6's oldest CPU").
        findings: everything that it has to say.
        note: what the check could not look at, "" for nothing.

    """

    subject: str
    findings: tuple[Finding, ...] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether the check says yes."""
        return not self.of(Severity.FAILURE)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity is severity)

    @property
    def summary(self) -> str:
        """Return one line: the subject, and how much was found of each severity."""
        counts = {severity: sum(finding.number for finding in self.of(severity)) for severity in Severity}
        counted = [_counted(severity, count) for severity, count in counts.items() if count]
        return "; ".join([shown(self.subject, 2 * WIDTH), *counted])

    def text(self, rows: int = ROWS) -> str:
        """Return the summary, at most `rows` findings, the worst first, the likely causes and the note."""
        worst = [finding for severity in Severity for finding in self.of(severity)]
        lines = [f"  {finding.severity.value}: {finding}" for finding in worst[:rows]]
        if rest := sum(finding.number for finding in worst[rows:]):
            lines.append(f"  and {rest} more")
        causes = dict.fromkeys(finding.cause for finding in worst if finding.cause)
        lines += [f"  likely cause: {cause}" for cause in list(causes)[:rows]]
        return "\n".join([self.summary, *lines, *([f"  {self.note}"] if self.note else [])])


def shown(text: str, width: int = WIDTH) -> str:
    r"""Return `text` as it can be printed anywhere: `\n`, `\x1b`, `\u202e`, an undecodable byte as `\xff`.

    A backslash becomes two, so that no two texts look alike; the middle of a long one is left out.
    """
    safe = "".join(map(_safe, text if len(text) <= 2 * width else text[:width] + text[-width:]))
    return safe if len(safe) <= width else f"{safe[: width - 33]}...{safe[-30:]}"


def _safe(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # surrogateescape
        return f"\\x{number - 0xDC00:02x}"
    if character == "\\" or not character.isprintable():
        return character.encode("unicode_escape").decode("ascii")
    return character


def _counted(severity: Severity, count: int) -> str:
    plural = "s" if count != 1 and severity in (Severity.FAILURE, Severity.WARNING) else ""
    return f"{count} {severity.value}{plural}"
