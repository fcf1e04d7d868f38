"""A published image's index: which platforms it offers, and whether its entries are what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_multiarch.audit.config import Config, mapping
from pytest_multiarch.audit.findings import Finding, Severity, Verdict
from pytest_multiarch.platforms import Platform


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One entry of an index: the manifest's digest, and whom it is for, "" for what it doesn't say."""

    digest: str
    os: str
    architecture: str
    variant: str = ""

    @property
    def triple(self) -> str:
        """Return the platform as the entry says it: "linux/arm/v7"."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part) or "no platform"


def entries(index: Mapping[str, Any]) -> tuple[Descriptor, ...]:
    """Return the images of an OCI index or a Docker manifest list, each once, without its attestations.

    Some tools list one image several times (anchore/syft#825). Attestations are `unknown/unknown`, or annotated as
    referring to another entry (BuildKit's docs/attestations/attestation-storage.md).
    """
    listed = index.get("manifests")
    found = [mapping(entry) for entry in listed] if isinstance(listed, list) else []
    images = (
        Descriptor(
            str(entry.get("digest", "")),
            *(str(mapping(entry.get("platform")).get(key) or "") for key in ("os", "architecture", "variant")),
        )
        for entry in found
        if not _attests(entry)
    )
    return tuple(dict.fromkeys(images))


def judge(offered: tuple[Descriptor, ...], configs: Mapping[str, Config], platform: Platform) -> Verdict:
    """Say whether the index offers `platform`, once, and whether that entry's config agrees.

    Args:
        offered: what `entries` returned.
        configs: manifest's digest -> its config, as far as they were fetched.
        platform: the one that was asked for.

    """
    fitting = (entry for entry in offered if platform.matches(entry.os, entry.architecture, entry.variant))
    mine = list({entry.digest: entry for entry in fitting}.values())  # arm64 and arm64/v8 may be one image
    subject = f"the index offers {', '.join(entry.triple for entry in offered) or 'nothing'}"
    if not mine:
        cause = f"the build that was pushed left it out: `--platform` without {platform}, or one push over another"
        return Verdict(subject, (Finding("manifests", f"no entry for {platform}", cause=cause),))
    findings = [finding for entry in mine for finding in _agrees(entry, configs.get(entry.digest), platform)]
    if len(mine) > 1:
        found = f"{len(mine)} entries for {platform}: {', '.join(entry.digest for entry in mine)}"
        cause = "the index was put together from several, or an image that BuildKit labelled as asked was added"
        findings.insert(0, Finding("manifests", found, "one entry", cause=cause))
    return Verdict(subject, tuple(findings))


def _agrees(entry: Descriptor, config: Config | None, platform: Platform) -> list[Finding]:
    if config is None:
        return [Finding(entry.digest, "its config was not read", severity=Severity.UNVERIFIED)]
    if platform.matches(config.os, config.architecture, config.variant):
        return []
    cause = "the index was put together with two entries exchanged, or with an image of the build machine"
    return [
        Finding(
            entry.digest,
            f"its config says {config.triple or 'nothing'}",
            f"{platform}, as its entry says",
            cause=cause,
        )
    ]


def _attests(entry: Mapping[str, Any]) -> bool:
    platform = mapping(entry.get("platform"))
    return "vnd.docker.reference.type" in mapping(entry.get("annotations")) or (
        platform.get("os"),
        platform.get("architecture"),
    ) == ("unknown", "unknown")
