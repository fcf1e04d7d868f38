"""One image for one platform: built, loaded into the engine under a tag that never moves, and looked at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_multiarch.builders.builder import Builder
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import DeadlinePassed
from pytest_multiarch.images.context import check_context
from pytest_multiarch.images.failures import build_error
from pytest_multiarch.images.secrets import without_secrets
from pytest_multiarch.images.stored import Image, Tags, check_platform, image_of
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Layers travel to the engine over a local socket: gzip would only cost time (5 s instead of 10 for 230 MB).
COMPRESSION = "compression=uncompressed"

#: The output that loads, and the one that only asks.
LOADED, ASKED = f"type=docker,{COMPRESSION}", f"type=image,push=false,{COMPRESSION}"

#: Attestations carry the time: with them every build would have a new digest.
WITHOUT_ATTESTATIONS = ("--provenance=false", "--sbom=false")


def build(
    engine: Engine,
    builder: Builder,
    spec: ImageSpec,
    platform: Platform,
    *,
    project: str,
    timeout: float,
    known: bool,
    claim: Callable[[str], None],
) -> Image:
    """Build `spec` for `platform` and see to it that the engine holds the result.

    Args:
        project: a name fit for a tag's path.
        timeout: seconds for all of it.
        known: whether the engine may hold the result already: then its digest is asked first, which loads nothing.
        claim: told the tag that the image is about to get, so that nobody takes it for an older one.

    Raises:
        BuildError: the build failed; the evidence is BuildKit's.
        ImageError: what came out is of another platform.
        DeadlinePassed: the build took too long.

    """
    check_context(spec)
    began = time.monotonic()
    task = _Task(engine, builder, spec, platform, Tags(engine, project, platform), claim, began + timeout)
    found, how = (task.load_changed if builder.apart and known else task.load)()
    check_platform(found, platform)
    return image_of(engine, found, task.tags.of(found["Id"]), platform, how=how, seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Task:
    """One build to ask for, as often as it takes, until one deadline."""

    engine: Engine
    builder: Builder
    spec: ImageSpec
    platform: Platform
    tags: Tags
    claim: Callable[[str], None]
    deadline: float

    def load_changed(self) -> tuple[Mapping[str, Any], str]:
        """Ask for the digest, and load only what the engine lacks; return what the engine says, and how.

        The digest is a question and no more: the id is what the engine says of what it holds. They differ where
        the context changed in between, or where an older BuildKit writes other media types.
        """
        containerd = self.engine.info.containerd
        asked = self.ask(replace(self.spec, cache_to=()), "--output", digest_only(containerd))
        promised = promised_id(asked, containerd)
        if not promised:
            return self.load()
        tag = self.tags.of(promised)
        self.claim(tag)
        found = self.engine.inspect("image", tag)
        if found and found["Id"] == promised:
            return found, "unchanged"
        return self.load(tag)

    def load(self, name: str = "") -> tuple[Mapping[str, Any], str]:
        """Build and load by one call, as `name`, or for the moment under a name that says nothing of the image."""
        name = name or self.engine.passing(self.tags.project)
        output = ("--output", f"{LOADED},name={name}") if self.builder.apart else ("--load", "--tag", name)
        self.ask(self.spec, *output)
        return self.tags.settle(name, self.claim)

    def ask(self, spec: ImageSpec, *output: str) -> Mapping[str, Any]:
        """Run `buildx build` with these output words; return BuildKit's metadata."""
        with self.engine.scratch_folder("build-") as folder:
            metadata = folder / "metadata.json"
            words = arguments(spec, self.platform, self.builder.name)
            words += ["--metadata-file", str(metadata), *output, str(spec.context)]
            left = max(self.deadline - time.monotonic(), 1)
            try:
                finished = self.engine.call(*words, timeout=left, check=False)
            except DeadlinePassed as error:
                raise DeadlinePassed(
                    f"the build for {self.platform} did not end in time",
                    do="Give it more with --multiarch-build-timeout (seconds)",
                    evidence=without_secrets(error.evidence, spec),
                ) from None
            if not finished.ok:
                log = finished.stderr.decode(errors="backslashreplace")
                raise build_error(self.platform, without_secrets(log, spec))
            return read_metadata(metadata)


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return what a build's metadata file says, nothing where there is none that can be read.

    It is a hint only: what was loaded, the engine tells.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def promised_id(metadata: Mapping[str, Any], containerd: bool) -> str:
    """Return the id that this kind of store would give to a build's image, "" where the metadata says none.

    Docker 20.10's own builder names no config (https://github.com/docker/buildx/issues/1594).
    """
    key = "containerimage.digest" if containerd else "containerimage.config.digest"
    return str(metadata.get(key) or "")


def digest_only(containerd: bool) -> str:
    """Return the output that loads nothing and tells the digest that a load would have.

    So both are compressed alike, and both write OCI's media types where the engine has the containerd store: that
    is what buildx loads into it, and BuildKit's default only since 0.31.
    """
    return f"{ASKED},oci-mediatypes=true" if containerd else ASKED


def arguments(spec: ImageSpec, platform: Platform, builder: str) -> list[str]:
    """Return `buildx build` and its words for `spec`, up to the output and the context."""
    words = ["buildx", "build", "--builder", builder, "--platform", str(platform)]
    words += [*WITHOUT_ATTESTATIONS, "--progress=plain"]
    words += _each("--file", [str(spec.dockerfile)] if spec.dockerfile else [])
    words += _each("--target", [spec.target] if spec.target else [])
    words += _each(
        "--build-arg", [name if value is None else f"{name}={value}" for name, value in spec.build_args.items()]
    )
    words += _each("--build-context", [f"{name}={value}" for name, value in spec.build_contexts.items()])
    words += _each("--secret", spec.secrets)
    words += _each("--cache-from", caches(spec.cache_from, platform))
    words += _each("--cache-to", caches(spec.cache_to, platform))
    return words


def caches(specs: Sequence[str], platform: Platform) -> list[str]:
    """Return cache specifications with `{platform}` replaced: each platform's export would replace the others'."""
    return [text.replace("{platform}", str(platform).replace("/", "-")) for text in specs]


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
