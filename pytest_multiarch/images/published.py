"""An image that somebody published: its index, asked once, and one platform of it, pulled by digest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.index import Descriptor, entries
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import DeadlinePassed, EngineError, ImageError, UnknownPlatform
from pytest_multiarch.images.stored import Image, Tags, image_of, other_platform
from pytest_multiarch.platforms import KNOWN, Platform

__tracebackhide__ = True

#: Seconds for one question to a registry.
PATIENCE = 60.0


@dataclass(frozen=True)
class Published:
    """What a reference stands for at one moment: everything after goes by digest, for tags move.

    Attributes:
        reference: as the user gave it.
        index: the index as the registry holds it, {} where there is a single image or no registry.
        origin: where it was found: "an index in the registry", "a single image in the registry", or "local: "
            and why the registry did not have it.
        digest: of a single image's manifest, "" where there is an index or no registry.
        passed_over: the id of the engine's image of that name, where it is another than the registry's.

    """

    reference: str
    index: Mapping[str, Any]
    origin: str
    digest: str = ""
    passed_over: str = ""

    @cached_property
    def entries(self) -> tuple[Descriptor, ...]:
        """Return the index's images, without its attestations."""
        return entries(self.index)

    @property
    def local(self) -> bool:
        """Tell whether only the engine has it."""
        return self.origin.startswith("local")

    @property
    def single(self) -> str:
        """Return the reference of a single image, by digest where a registry has it."""
        return self.by_digest(self.digest) if self.digest else self.reference

    def by_digest(self, digest: str) -> str:
        """Return the reference of one manifest of the same repository."""
        return f"{repository(self.reference)}@{digest}"

    def entry(self, platform: Platform) -> Descriptor:
        """Return the index's entry for a platform.

        Raises:
            ImageError: it has none.

        """
        for entry in self.entries:
            if platform.matches(entry.os, entry.architecture, entry.variant):
                return entry
        offered = ", ".join(entry.triple for entry in self.entries)
        raise ImageError(
            f"{self.reference} has no image for {platform}", why=f"its index offers {offered or 'nothing'}"
        )


def find(engine: Engine, reference: str) -> Published:
    """Ask the registry what a reference stands for; what only the engine has is taken from there.

    Raises:
        ImageError: neither has it.

    """
    if re.fullmatch("sha256:[0-9a-f]{64}", reference) and engine.inspect("image", reference):
        return Published(reference, {}, "local: an id names no registry")
    engine.need_buildx()
    try:
        asked = engine.call("buildx", "imagetools", "inspect", "--raw", reference, check=False, timeout=PATIENCE)
        said = asked.complaint
        if asked.ok:
            found = _answer(reference, asked.stdout)
            digest = f"sha256:{hashlib.sha256(asked.stdout).hexdigest()}"  # a manifest's is its bytes'
            other = _passed_over(engine, reference, digest)
            if "manifests" in found:
                return Published(reference, found, "an index in the registry", passed_over=other)
            return Published(reference, {}, "a single image in the registry", digest, other)
    except DeadlinePassed as error:
        said = str(error)
    if engine.inspect("image", reference):
        return Published(reference, {}, f"local: {said.splitlines()[-1] if said else 'not in a registry'}")
    raise ImageError(
        f"there is no image {reference}",
        why="neither the registry nor the engine has it",
        do="Check the name; `docker login` where the registry wants to know who asks",
        evidence=said,
    )


def _passed_over(engine: Engine, reference: str, digest: str) -> str:
    """Return the id of the image that the engine holds under a name, "" for none or for the one of that digest.

    `docker run` would take it: one that was built here and not pushed is not what somebody has at the registry.
    """
    held = engine.inspect("image", reference) or {}
    known = [str(held.get("Id", "")), *(each.partition("@")[2] for each in held.get("RepoDigests") or [])]
    return "" if digest in known else known[0]


def configs(engine: Engine, published: Published, platform: Platform) -> dict[str, Config]:
    """Return the configs of the index's entries for a platform, by the manifest's digest."""
    return {
        entry.digest: config
        for entry in published.entries
        if platform.matches(entry.os, entry.architecture, entry.variant)
        and (config := _config(engine, published.by_digest(entry.digest)))
    }


def fetch(
    engine: Engine,
    published: Published,
    platform: Platform,
    *,
    project: str,
    timeout: float,
    claim: Callable[[str], None],
) -> Image:
    """Have one platform of a published image in the engine, pulled by digest, under a tag that never moves.

    One whose config names another platform is had too, for the checks to read: it can't be started.

    Args:
        project: a name fit for a tag's path.
        timeout: seconds for the pull.
        claim: told the tag that the image is about to get.

    Raises:
        ImageError: it can't be pulled.

    """
    began = time.monotonic()
    reference, how = published.single, "found in the engine"
    if published.index:
        reference = published.by_digest(published.entry(platform).digest)
    had = published.local or engine.inspect("image", reference) is not None
    if not published.local:
        how = "pulled"
        if published.passed_over:
            how = (
                f"pulled from the registry (the engine's own {published.reference} is another image, not tested"
                f" here; --multiarch-image={published.passed_over} tests that one)"
            )
        pulled = engine.call(
            "pull", "--quiet", "--platform", str(platform), reference, check=False, timeout=timeout
        )
        if not pulled.ok:
            raise ImageError(f"{reference} can't be pulled for {platform}", evidence=pulled.complaint)
    found = engine.inspect("image", reference)
    if found is None:
        raise EngineError(f"the engine gives no id for {reference}")
    own = held(engine, reference, platform) or found
    says = other_platform(own, platform)
    tags = Tags(engine, project, platform)
    tag = tags.of(found["Id"])
    claim(tag)
    engine.call("tag", reference, tag)
    if not had:  # our tag keeps it; a name that only the pull left would be nobody's
        engine.call("rmi", "--no-prune", reference, check=False)
    seconds = time.monotonic() - began
    return image_of(engine, found, tag, platform, manifest=str(own["Id"]), how=how, seconds=seconds, says=says)


def platforms(engine: Engine, published: Published) -> tuple[str, ...]:
    """Return the canonical names of a published image's platforms, in the order of its index.

    A Linux platform that nobody knows is among them as the index calls it: what is asked of it then fails by name,
    where it would else be left out in silence. Other systems' images are left out.

    Raises:
        ImageError: it names none that is known.

    """
    triples = [entry.triple for entry in published.entries]
    if published.local:
        asked = ((each, held(engine, published.reference, each)) for each in KNOWN)
        triples = [str(each) for each, said in asked if said and not other_platform(said, each)]
        triples = triples or [Config.parse(engine.inspect("image", published.reference) or {}).triple]
    elif not published.index and (config := _config(engine, published.single)):
        triples = [config.triple]
    names = {triple: _canonical(triple) for triple in triples}
    if not any(names.values()):
        raise ImageError(f"{published.reference} names no platform that is known", evidence="\n".join(triples))
    offered = (name or _plain(triple) for triple, name in names.items() if name or triple.startswith("linux/"))
    return tuple(dict.fromkeys(offered))


def _canonical(triple: str) -> str:
    """Return the name that we have for a platform, "" where it is unknown."""
    with contextlib.suppress(UnknownPlatform):
        return str(Platform.parse(triple))
    return ""


def _plain(triple: str) -> str:
    """Return a platform's name as an index says it, fit for a test's name: anybody may have written it."""
    return re.sub(r"[^\w./-]", "_", triple[:60], flags=re.ASCII)


def held(engine: Engine, reference: str, platform: Platform) -> dict[str, Any]:
    """Return what the engine says of one platform's image under a name, {} where it doesn't say.

    containerd's store may hold several under one; clients before 28.1 can't ask for one of them.
    """
    asked = engine.call("image", "inspect", "--platform", str(platform), reference, check=False)
    found: list[dict[str, Any]] = json.loads(asked.stdout or b"[]") if asked.ok else []
    return found[0] if found else {}


def repository(reference: str) -> str:
    """Return a reference without its tag and digest: a colon after the last slash begins a tag."""
    return re.sub(r":[^/:@]*$", "", reference.partition("@")[0])


def _config(engine: Engine, reference: str) -> Config | None:
    asked = engine.call(
        "buildx", "imagetools", "inspect", "--format", "{{json .Image}}", reference, check=False, timeout=PATIENCE
    )
    if not asked.ok:
        raise EngineError(f"the config of {reference} can't be read from the registry", evidence=asked.complaint)
    said = _answer(reference, asked.stdout or b"{}")
    nested = any("/" in key for key in said)  # of an index in an index each image is told, by its platform
    return Config.parse(said) if said and not nested else None


def _answer(reference: str, data: bytes) -> dict[str, Any]:
    """Return a registry's JSON; anybody may have written it.

    Raises:
        ImageError: it is no object of JSON.

    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the registry's answer about {reference} can't be read", why=str(error)) from None
    return found if isinstance(found, dict) else {}
