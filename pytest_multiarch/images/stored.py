"""An image in the engine's store: its id, its digests, the tag that keeps it, the platform that it names."""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from pytest_multiarch import process
from pytest_multiarch.audit.config import Config
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import ImageError, MultiarchError
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Seconds until the engine must have handed out the manifest of an image.
SAVING = 600.0

#: Bytes of the largest manifest that is read (the limit that registries set, distribution-spec's "manifest size").
MANIFEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the engine's store, of one platform, by the id that everything else uses.

    Attributes:
        id: the engine's id of it: in the containerd store its manifest's digest, or that of the index that it was
            published in; in the classic store its config's.
        tag: the tag that keeps it in the store.
        platform: canonical name.
        how: "built", "unchanged" (the engine held it already), "pulled" or "found in the engine" (published).
        seconds: what having it cost.
        says: the platform that its config names, where that is another: such an image can be read, not started.
        manifest_digest: "sha256:...", "" in the classic store, which keeps no manifest.
        known_config: the config's digest, "" where it was not told; ask for `config_digest`.
        engine: the engine that holds it.

    """

    id: str
    tag: str
    platform: str
    how: str
    seconds: float
    says: str = ""
    manifest_digest: str = ""
    known_config: str = ""
    engine: Engine | None = field(default=None, compare=False, repr=False)

    @property
    def project(self) -> str:
        """Return the project whose image it is, as its tag names it."""
        return Engine.project_of(self.tag)

    @property
    def config_digest(self) -> str:
        """Return the digest of its config ("sha256:..."), which is the same in every store and registry.

        Where nobody told it, the engine is asked to hand out the image up to its manifest.

        Raises:
            ImageError: the engine doesn't hand it out.
            DeadlinePassed: it didn't in time.

        """
        if self.known_config or self.engine is None:
            return self.known_config
        return config_digest(self.engine, self.id, self.manifest_digest)

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready, without the engine."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "engine"}


def image_of(
    engine: Engine, found: Mapping[str, Any], tag: str, platform: Platform, *, manifest: str = "", **more: Any
) -> Image:
    """Return the image that the engine describes as `found`.

    Args:
        found: what `docker image inspect` says.
        tag: the tag that keeps it.
        platform: the platform that it is for.
        manifest: the digest of the platform's manifest, where the image is an index.
        more: further attributes.

    """
    image_id = str(found["Id"])
    return Image(
        image_id,
        tag,
        str(platform),
        manifest_digest=(manifest or image_id) if engine.info.containerd else "",
        known_config="" if engine.info.containerd else image_id,
        engine=engine,
        **more,
    )


def check_platform(found: Mapping[str, Any] | None, platform: Platform) -> None:
    """Make sure that an image's config, as the engine tells it, names `platform`.

    Raises:
        ImageError: it names another, or the engine has no such image.

    """
    says = other_platform(found, platform)
    if says:
        raise wrong_platform(platform, says)


def other_platform(found: Mapping[str, Any] | None, platform: Platform) -> str:
    """Return the platform that an image's config names, "" where it is `platform`.

    Raises:
        ImageError: the engine has no such image.

    """
    if found is None:
        raise ImageError(f"the image for {platform} is gone", do="Run again: something removed it meanwhile")
    config = Config.parse(found)
    if platform.matches(config.os, config.architecture, config.variant):
        return ""
    return config.triple or "nothing"


def wrong_platform(platform: Platform, says: str) -> ImageError:
    """Return the error for an image whose config names another platform than the one asked for."""
    return ImageError(
        f"the image for {platform} says that it is {says}",
        do="Look for a fixed --platform in the Dockerfile's last FROM, or for what else made the image",
    )


class Tags:
    """The tags of one project and platform: one for each image, so none ever moves."""

    def __init__(self, engine: Engine, project: str, platform: Platform) -> None:
        self._engine, self.project = engine, project
        self.repository = f"{engine.repository}/{project}"
        self.slug = "-".join(part for part in (platform.architecture, platform.variant) if part)

    def of(self, image_id: str) -> str:
        """Return the tag that image has."""
        return f"{self.repository}:{self.slug}-{image_id.partition(':')[2][:16]}"

    def settle(self, name: str, claim: Callable[[str], None]) -> tuple[Mapping[str, Any], str]:
        """Give the image that was loaded as `name` the tag of its id.

        Args:
            name: the tag that it was loaded under.
            claim: told the tag before it is made.

        Returns what the engine says of the image, and whether that is "built" or was there, "unchanged".

        Raises:
            ImageError: the engine has no such image.

        """
        found = self._engine.inspect("image", name)
        if found is None:
            raise ImageError(
                f"the image that was built as {name} is gone", do="Run again: something removed it meanwhile"
            )
        tag = self.of(found["Id"])
        if tag == name:
            return found, "built"
        claim(tag)
        had = self._engine.inspect("image", tag)
        self._engine.call("tag", name, tag)
        self._engine.call("rmi", "--no-prune", name, check=False)
        return found, "unchanged" if had else "built"

    def drop_others(self, kept: Collection[str]) -> None:
        """Remove the images that are not `kept`; one that a container still uses stays until next time."""
        pattern = re.compile(re.escape(f"{self.repository}:{self.slug}") + r"-[0-9a-f]{16}")
        with contextlib.suppress(MultiarchError):  # they stay until next time, too
            tags = self._engine.tags(f"{self.repository}:{self.slug}-*")
            older = [tag for tag in tags if tag not in kept and pattern.fullmatch(tag)]
            if older:
                self._engine.call("rmi", *older, check=False)


def config_digest(engine: Engine, image_id: str, manifest: str) -> str:
    """Return the digest of the config that the manifest of that digest, an image's own or one of its index, names.

    No answer of the engine's names it, so the image is saved until its manifest comes: `docker save` writes an OCI
    layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md), its blobs by their digests.

    Raises:
        ImageError: the engine doesn't hand the image out.
        DeadlinePassed: it didn't in time.

    """
    late = f"the engine did not hand out the manifest of {image_id}"
    save = [*engine.command, "save", image_id]
    with process.streaming(save, timeout=SAVING, late=late, env=engine.env) as client:
        if client.stdout is None or client.stderr is None:
            raise AssertionError("processes are started with pipes")
        found = _config_in(client.stdout, manifest.partition(":")[2])
        if not found:
            process.end(client, grace=0)
            said = client.stderr.read().decode(errors="backslashreplace")
            raise ImageError(f"the engine does not hand out the manifest of {image_id}", evidence=said)
    return found


def _config_in(stream: IO[bytes], digest: str) -> str:
    """Return the digest of the config that the manifest `digest` of an OCI layout names, "" for none."""
    with contextlib.suppress(tarfile.TarError), tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if (
                member.name.endswith(f"/{digest}")
                and member.size <= MANIFEST
                and (file := archive.extractfile(member))
            ):
                said = json.loads(file.read())
                return str(said.get("config", {}).get("digest", ""))
    return ""
