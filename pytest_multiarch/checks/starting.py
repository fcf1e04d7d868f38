"""Whether an image's own program starts, started as production does and asked for nothing."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from pytest_multiarch.audit.findings import Finding, Severity, shown
from pytest_multiarch.containers.faults import start_error
from pytest_multiarch.errors import ContainerError, DeadlinePassed

if TYPE_CHECKING:
    from pytest_multiarch.containers.container import Container
    from pytest_multiarch.containers.services import ContainerFactory

__tracebackhide__ = True

#: Seconds for which a program that says nothing must live.
LIVES = 2.0

#: Seconds that it is watched for after its first words, and seconds for its end when they are about a fault.
LINGERS = 0.5
ENDS = 15.0

#: From here on an exit code is no program's own opinion: the engine's, a shell's that could not start something
#: (126, 127), or 128 and a signal's number. Many a program says 255 itself.
FOREIGN_CODES = range(125, 193)

#: QEMU raises the signal that killed its program on itself, and the kernel ignores that for a container's first
#: process: so the container lives on for ever, at rest.
_STUCK = re.compile(r"^qemu: uncaught target signal (\d+)", re.MULTILINE)

#: All that is written where the kernel refuses the program: the runtime's words (runc's standard_init_linux.go).
_REFUSED = re.compile(r"exec [^\n]+: [a-z ]+")


def start(factory: ContainerFactory) -> tuple[str, tuple[Finding, ...]]:
    """Start the program: it must end with 0, live a while, or say something; return how it went, and what is open.

    One that ends by itself with another code and says why (its usage, a setting that it misses) has started: that
    is all that can be known of it without knowing what it needs.

    Raises:
        ContainerError: it doesn't start; the type tells whose fault it is.

    """
    try:
        container = factory.start(ready=_Settled(), timeout=ENDS)
        code, words = container.exit_code, container.logs()  # before `end`, which kills it
    except DeadlinePassed:
        return "it lives", ()
    finally:
        factory.end()
    if code is None and (stuck := _STUCK.search(words)):
        code = 128 + int(stuck[1])
    ended = f"the image's own program ended with exit code {code} on {container.platform}"
    if known := container.fault(code, words):
        raise type(known)(ended, why=known.why, do=known.do, evidence=known.evidence)
    if code and _REFUSED.fullmatch(words.strip()):
        raise start_error(container.platform, code, words)
    if code and (code in FOREIGN_CODES or not words.strip()):
        raise ContainerError(
            ended,
            why="" if words.strip() else "it wrote nothing",
            do="What it needs to start (variables, mounts) goes into multiarch_run_args",
            evidence=words[-2000:],
        )
    if code:
        how = f"ended by itself with exit code {code}: {words.strip().splitlines()[-1]}"
        return f"it {shown(how)}", (Finding("ENTRYPOINT", how, severity=Severity.UNVERIFIED),)
    if code == 0:
        return "it ended with exit code 0", ()
    return "it wrote something" if words else "it lives", ()


class _Settled:
    """Tells when a program has ended, or has lived for long enough.

    Its first words may be its last, and our client hears of an end later than the engine, on a busy machine by
    seconds: so the engine is asked, and after words about a fault the end is awaited.
    """

    def __init__(self) -> None:
        self._began = self._spoke = 0.0

    def __call__(self, started: Container) -> bool:
        """Return whether there is no more to wait for."""
        if not started.alive:
            return True
        now = time.monotonic()
        self._began = self._began or now
        words = started.logs()
        if not self._spoke and words:
            self._spoke = now
        if now - (self._spoke or self._began) < (LINGERS if self._spoke else LIVES):
            return False
        if started.fault(1, words) is not None:
            return _STUCK.search(words) is not None
        return started.runs_program()
