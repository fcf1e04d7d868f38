"""What the checks ask of a session: each image is read once per run, whichever worker asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_multiarch.audit import config as audit_config
from pytest_multiarch.audit import entrypoint, export, link, rules
from pytest_multiarch.audit import index as audit_index
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Finding, Severity, Verdict, shown
from pytest_multiarch.checks import remembered, starting
from pytest_multiarch.errors import WrongMachine
from pytest_multiarch.images import published

if TYPE_CHECKING:
    from pytest_multiarch.containers.container import Container
    from pytest_multiarch.engine.client import Engine
    from pytest_multiarch.imagespec import ImageSpec
    from pytest_multiarch.platforms import Platform
    from pytest_multiarch.session import Session

__tracebackhide__ = True


def audit(session: Session, spec: ImageSpec, name: str) -> dict[str, Verdict]:
    """Return the verdicts on the image's config, entrypoint, ELF files and libraries, from one reading of it.

    Raises:
        ImageError: the image can't be read: what could not be verified is no success.

    """
    image = session.image(spec, name)
    made = session.once(f"audit-{image.tag.rpartition(':')[2]}", lambda: _audit(session, spec, name))
    return {check: from_dict(verdict) for check, verdict in made.items()}


def _audit(session: Session, spec: ImageSpec, name: str) -> dict[str, Any]:
    image, platform, config = session.image(spec, name), session.platform(name), _config(session, spec, name)
    settings, known = session.settings, session.known_of(spec)
    key = remembered.key(image.id, config, platform, settings.foreign_files)
    before = None if settings.anew else known.verdicts_of(str(platform), key)
    if isinstance(before, dict):
        return {check: remembered.marked(verdict) for check, verdict in before.items()}
    found = static(session.engine, image.id, config, platform, settings.foreign_files)
    made = {check: as_dict(verdict) for check, verdict in found.items()}
    if all(verdict.passed for verdict in found.values()):
        known.knows_verdicts(str(platform), key, made)
    return made


def _config(session: Session, spec: ImageSpec, name: str) -> Config:
    image = session.image(spec, name)
    held = published.held(session.engine, image.id, session.platform(name))
    return Config.parse(held or session.engine.inspect("image", image.id) or {})


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
        "link": link.judge(tree, platform, config),
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
    """Return the verdict on the running image: it is on the machine that it must be on, and its program starts.

    Raises:
        ContainerError: it doesn't start; the type tells whose fault it is.
        WrongMachine: `uname -m` says another machine.

    """
    machine, unasked = _machine(session.container(spec, name))
    if not unasked and not _config(session, spec, name).argv:
        return Verdict(f"the image starts nothing by itself, {machine}", unasked)
    how, left = starting.start(session.factory(spec, name))
    return Verdict(f"started ({how}), {machine}", (*unasked, *left))


def _machine(container: Container) -> tuple[str, tuple[Finding, ...]]:
    """Ask a container for its machine's name; an image without `uname` can't be asked."""
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
        return f"`uname -m` says {said}", ()
    known = container.fault(asked.returncode, asked.stderr)
    if known:
        raise known
    missing = Finding("uname", "not in the image", "the machine's name", severity=Severity.UNVERIFIED)
    return "machine not asked", (missing,)


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
