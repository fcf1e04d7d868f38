"""What one command in a container left."""

from __future__ import annotations

from dataclasses import dataclass

__tracebackhide__ = True


@dataclass(frozen=True, slots=True)
class Result:
    """What one command in a container left.

    Attributes:
        command: as it was given.
        returncode: 0-255; 128 + n where signal n ended it.
        stdout_bytes, stderr_bytes: exact.
        duration: seconds.

    """

    command: str | tuple[str, ...]
    returncode: int
    stdout_bytes: bytes
    stderr_bytes: bytes
    duration: float

    @property
    def stdout(self) -> str:
        r"""Return standard output as text; bytes that aren't UTF-8 show as `\xNN`."""
        return self.stdout_bytes.decode(errors="backslashreplace")

    @property
    def stderr(self) -> str:
        r"""Return standard error as text; bytes that aren't UTF-8 show as `\xNN`."""
        return self.stderr_bytes.decode(errors="backslashreplace")
