"""What the checks ask of a session: each image is read once per run, whichever worker asks."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_multiarch.audit import config as audit_config
from pytest_multiarch.audit import entrypoint, export, rules
from pytest_multiarch.audit import index as audit_index
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Finding, Severity, Verdict, shown
from pytest_multiarch.engine import published
from pytest_multiarch.errors import ContainerError, DeadlinePassed, WrongMachine

if TYPE_CHECKING:
    from pytest_multiarch.engine.client import Engine
    from pytest_multiarch.engine.containers import Container
    from pytest_multiarch.engine.session import Session
    from pytest_multiarch.imagespec import ImageSpec
    from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Seconds for which an image's own program, asked nothing, must live or write something (design, section 5).
LIVES = 2.0

#: Seconds that it is watched for after its first words, and seconds for its end when they are about a fault.
LINGERS = 0.5
ENDS = 15.0

#: QEMU raises the signal that killed its program on itself, and the kernel ignores that for a container's first
#: process: so the container lives on for ever, at rest.
_STUCK = re.compile(r"^qemu: uncaught target signal (\d+)", re.MULTILINE)


def audit(session: Session, spec: ImageSpec, name: str) -> dict[str, Verdict]:
    """Return the verdicts on the image's config, entrypoint and ELF files, from one reading of its files.

    Raises:
        ImageError: the image can't be read: what could not be verified is no success.

    """
    image = session.image(spec, name)
    made = session.once(f"audit-{image.tag.rpartition(':')[2]}", lambda: _audit(session, spec, name))
    return {check: from_dict(verdict) for check, verdict in made.items()}


def _audit(session: Session, spec: ImageSpec, name: str) -> dict[str, Any]:
    image, platform = session.image(spec, name), session.platform(name)
    said = published.held(session.engine, image.id, platform) or session.engine.inspect("image", image.id) or {}
    config = Config.parse(said)
    found = static(session.engine, image.id, config, platform, session.settings.foreign_files)
    return {check: as_dict(verdict) for check, verdict in found.items()}


def static(
    engine: Engine, image: str, config: Config, platform: Platform, foreign: Sequence[str] = ()
) -> dict[str, Verdict]:
    """Return the verdicts that need nothing but to read an image that the engine holds, by check.

    Raises:
        EngineError: it can't be read.

    """
    honest = platform.matches(config.os, config.architecture, config.variant)  # else the engine would refuse it
    tree = export.read_image(engine, image, platform if honest else None)
    return {
        "config": audit_config.judge(config, platform),
        "entrypoint": entrypoint.judge(tree, config),
        "elf": rules.judge(tree, platform, config, foreign),
    }


def index(session: Session, spec: ImageSpec, name: str) -> Verdict:
    """Return the verdict on the index of a published image.

    Raises:
        ImageError: the registry can't be asked, or the image is not in it.

    """
    found = session.published(spec)
    if not found.index:
        finding = Finding(
            found.reference,
            f"no index: {found.origin}",
            "an index that names its platforms",
            severity=Severity.UNVERIFIED,
        )
        return Verdict("there is no index to look at", (finding,))
    platform = session.platform(name)
    return audit_index.judge(found.entries, published.configs(session.engine, found, platform), platform)


def runs(session: Session, spec: ImageSpec, name: str) -> Verdict:
    """Return the verdict on the running image: it starts, and is on the machine that it must be on.

    Raises:
        ContainerError: it doesn't start; the type tells whose fault it is.
        WrongMachine: `uname -m` says another machine.

    """
    container = session.container(spec, name)
    asked = container.run(["uname", "-m"])
    if asked.returncode == 0:
        said = asked.stdout.strip()
        if said not in container.platform.machines:
            expected = " or ".join(sorted(container.platform.machines))
            raise WrongMachine(
                f"`uname -m` says '{shown(said)}' on {container.platform}",
                why=f"it should say {expected}",
                do="Another emulator or machine ran it: see --multiarch-cpu and --multiarch-binfmt",
            )
        return Verdict(f"`uname -m` says {said}")
    known = container.fault(asked.returncode, asked.stderr)
    if known:
        raise known
    return _starts(session, spec, name)


def _starts(session: Session, spec: ImageSpec, name: str) -> Verdict:
    """Start the own program of an image without `uname`: it must end well, live a while, or say something."""
    factory = session.factory(spec, name)
    try:
        container = factory.start(ready=_Settled(), timeout=ENDS)
        code, words = container.exit_code, container.logs()  # before `end`, which kills it
    except DeadlinePassed:
        return _started("it wrote something, and lives")
    finally:
        factory.end()
    if code is None and (stuck := _STUCK.search(words)):
        code = 128 + int(stuck[1])
    known = container.fault(code, words)
    if known:
        raise known
    if code and (code >= 125 or not words):
        raise ContainerError(
            f"the image's own program ended with exit code {code} on {session.platform(name)}",
            why="" if words else "it wrote nothing",
            evidence=words[-2000:],
        )
    if code == 0:
        return _started("it ended with exit code 0")
    return _started("it wrote something" if words else "it lives")


class _Settled:
    """Tells when a program has ended, or has lived for long enough.

    Its first words may be its last: those about a fault come before the end that they explain, on a busy machine
    seconds before, so after such words its end is awaited.
    """

    def __init__(self) -> None:
        self._began = self._spoke = 0.0

    def __call__(self, started: Container) -> bool:
        """Return whether there is no more to wait for."""
        if not started.alive:
            return True
        now = time.monotonic()
        self._began = self._began or now
        if not self._spoke and started.logs():
            self._spoke = now
        if not self._spoke:
            return now - self._began > LIVES
        if now - self._spoke < LINGERS:
            return False
        words = started.logs()
        return started.fault(1, words) is None or _STUCK.search(words) is not None


def _started(how: str) -> Verdict:
    finding = Finding("uname", "not in the image", "the machine's name", severity=Severity.UNVERIFIED)
    return Verdict(f"started ({how}), machine not asked", (finding,))


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict JSON-ready; `from_dict` is the way back, in another worker."""
    return {
        "subject": verdict.subject,
        "findings": [
            [each.where, each.found, each.expected, each.severity.value, each.cause, each.number]
            for each in verdict.findings
        ],
        "note": verdict.note,
    }


def from_dict(data: Mapping[str, Any]) -> Verdict:
    """Return the verdict that `as_dict` described."""
    findings = tuple(
        Finding(where, found, expected, Severity(severity), cause, number)
        for where, found, expected, severity, cause, number in data["findings"]
    )
    return Verdict(data["subject"], findings, data["note"])


__all__ = ["Severity", "Verdict", "as_dict", "audit", "from_dict", "index", "runs"]
