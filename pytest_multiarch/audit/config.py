"""The image's config: what it says of its platform, and what it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_multiarch.audit.findings import Finding, Verdict
from pytest_multiarch.platforms import Platform

#: Where a program is looked for when the image sets no PATH (moby's `DefaultPathEnvUnix`).
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Config:
    """What an image's config says, as far as the checks ask.

    Attributes:
        os, architecture, variant: its platform, "" for what it doesn't say.
        argv: ENTRYPOINT and CMD, as they are started.
        env: its variables.
        folder: the working folder.
        user: USER as it stands there, "" for root.
        healthcheck: what HEALTHCHECK starts, empty for nothing.
        volumes: folders whose content may come from elsewhere.

    """

    os: str
    architecture: str
    variant: str = ""
    argv: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    folder: str = "/"
    user: str = ""
    healthcheck: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, said: Mapping[str, Any]) -> Config:
        """Return what `docker image inspect` or an OCI config says; both have the same keys in another case."""
        words = {str(key).lower(): value for key, value in said.items()}
        inner = mapping(words.get("config"))
        pairs = (pair.partition("=") for pair in _words(inner.get("Env")))
        return cls(
            os=str(words.get("os") or ""),
            architecture=str(words.get("architecture") or ""),
            variant=str(words.get("variant") or ""),
            argv=(*_words(inner.get("Entrypoint")), *_words(inner.get("Cmd"))),
            env=tuple((name, value) for name, _, value in pairs),
            folder=str(inner.get("WorkingDir") or "/"),
            user=str(inner.get("User") or ""),
            healthcheck=_healthcheck(inner),
            volumes=tuple(str(folder).rstrip("/") for folder in mapping(inner.get("Volumes"))),
        )

    @property
    def path(self) -> list[str]:
        """Return the folders of PATH; a relative one is none of them (Go's exec.LookPath refuses it)."""
        return [folder for folder in dict(self.env).get("PATH", PATH).split(":") if folder.startswith("/")]

    @property
    def triple(self) -> str:
        """Return the platform as the config says it: "linux/arm/v7"."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def judge(config: Config, platform: Platform) -> Verdict:
    """Say whether the config's os, architecture and variant are those of `platform`."""
    subject = f"the config says {config.triple or 'nothing'}"
    if platform.matches(config.os, config.architecture, config.variant):
        return Verdict(subject)
    said = {"os": config.os, "architecture": config.architecture, "variant": config.variant}
    wanted = {"os": platform.os, "architecture": platform.architecture, "variant": platform.variant}
    findings = [
        Finding(name, said[name] or "nothing", wanted[name] or "nothing", cause=_cause(config, platform))
        for name in said
        if not platform.matches(**wanted | {name: said[name]})
    ]
    return Verdict(subject, tuple(findings))


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object of JSON as it is, and anything else as an empty one: a registry may say what it likes."""
    return value if isinstance(value, Mapping) else {}


def _healthcheck(inner: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the argument vector of HEALTHCHECK, as the engine makes it (moby's daemon/health.go)."""
    kind, *words = _words(mapping(inner.get("Healthcheck")).get("Test")) or [""]
    shell = _words(inner.get("Shell")) or ["/bin/sh", "-c"]
    return {"CMD": tuple(words), "CMD-SHELL": (*shell, *words[:1])}.get(kind, ())


def _words(value: object) -> list[str]:
    return [str(word) for word in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _cause(config: Config, platform: Platform) -> str:
    if not config.architecture:
        return "the engine holds no image of this platform under this name"
    if config.architecture == platform.architecture:
        return "the base image is of another variant, or the tool that made the image left the variant out"
    return (
        "the final stage uses --platform=$BUILDPLATFORM or a base image pinned to one platform's digest,"
        " or the name was moved by a later build for another platform"
    )
