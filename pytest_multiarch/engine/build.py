"""One image for one platform: built, loaded into the engine under a tag that never moves, and looked at."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_multiarch.audit.config import Config
from pytest_multiarch.engine.builder import Builder
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.engine.context import check_context
from pytest_multiarch.errors import BuildError, DeadlinePassed, ImageError, MultiarchError
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Layers travel to the engine over a local socket: gzip would only cost time (5 s instead of 10 for 230 MB).
COMPRESSION = "compression=uncompressed"

#: The output that loads nothing and tells the digest that a load would have, so both are compressed alike.
DIGEST_ONLY = f"type=image,push=false,{COMPRESSION}"

#: Attestations carry the time: with them every build would have a new digest.
WITHOUT_ATTESTATIONS = ("--provenance=false", "--sbom=false")


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the engine's store, of one platform, by the id that everything else uses.

    Attributes:
        id: the engine's id of it.
        tag: the tag that keeps it in the store.
        platform: canonical name.
        how: "built", "unchanged" (the engine held it already) or "found" (published).
        seconds: what having it cost.
        says: the platform that its config names, where that is another: such an image can be read, not started.

    """

    id: str
    tag: str
    platform: str
    how: str
    seconds: float
    says: str = ""

    @property
    def project(self) -> str:
        """Return the project whose image it is, as its tag names it."""
        return Engine.project_of(self.tag)


def build(
    engine: Engine, builder: Builder, spec: ImageSpec, platform: Platform, *, project: str, timeout: float
) -> Image:
    """Build `spec` for `platform` and see to it that the engine holds the result.

    On a builder apart from the engine the digest is asked first, and nothing is loaded that the engine holds
    already.

    Args:
        project: a name fit for a tag's path; the newest image of each project and platform is kept.
        timeout: seconds for all of it.

    Raises:
        BuildError: the build failed; the evidence is BuildKit's.
        ImageError: what came out is of another platform.
        DeadlinePassed: the build took too long.

    """
    check_context(spec)
    began = time.monotonic()
    tags = Tags(engine, project, platform)
    task = _Task(engine, builder, spec, platform, began + timeout)
    have = _apart if builder.apart else _inside
    image_id, found = have(task, tags)
    if found is None:
        found = engine.inspect("image", tags.of(image_id))
        how = "built"
        tags.drop_others(tags.of(image_id))
    else:
        how = "unchanged"
    check_platform(found, platform)
    return Image(image_id, tags.of(image_id), str(platform), how, time.monotonic() - began)


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


@dataclass(frozen=True, slots=True)
class _Task:
    """One build to ask for, as often as it takes, until one deadline."""

    engine: Engine
    builder: Builder
    spec: ImageSpec
    platform: Platform
    deadline: float

    def ask(self, *output: str) -> Mapping[str, Any]:
        """Run `buildx build` with these output words; return BuildKit's metadata."""
        with tempfile.TemporaryDirectory(dir=self.engine.scratch, prefix="build-") as folder:
            metadata = Path(folder, "metadata.json")
            words = arguments(self.spec, self.platform, self.builder.name)
            words += ["--metadata-file", str(metadata), *output, str(self.spec.context)]
            left = max(self.deadline - time.monotonic(), 1)
            try:
                finished = self.engine.call(*words, timeout=left, check=False)
            except DeadlinePassed as error:
                raise DeadlinePassed(
                    f"the build for {self.platform} did not end in time",
                    do="Give it more with --multiarch-build-timeout (seconds)",
                    evidence=without_secrets(error.evidence, self.spec),
                ) from None
            if not finished.ok:
                log = finished.stderr.decode(errors="backslashreplace")
                raise build_error(self.platform, without_secrets(log, self.spec))
            found: Mapping[str, Any] = json.loads(metadata.read_bytes())
            return found


def id_in(metadata: Mapping[str, Any], engine: Engine) -> str:
    """Return the id that the engine's store gives to the image of a build's metadata."""
    return str(metadata["containerimage.digest" if engine.info.containerd else "containerimage.config.digest"])


def _apart(task: _Task, tags: Tags) -> tuple[str, Mapping[str, Any] | None]:
    """Build on a builder that keeps its images: ask for the digest, load what the engine lacks.

    Returns the id, and the engine's description where it held the image before.
    """
    promised = id_in(task.ask("--output", DIGEST_ONLY), task.engine)
    found = task.engine.inspect("image", tags.of(promised))
    if found:
        return promised, found
    loaded = task.ask("--output", f"type=docker,{COMPRESSION},name={tags.of(promised)}")
    return id_in(loaded, task.engine), None


def _inside(task: _Task, tags: Tags) -> tuple[str, Mapping[str, Any] | None]:
    """Build on the engine's own builder: the result is in the store, under a tag for the moment."""
    passing = task.engine.passing(tags.project)
    image_id = id_in(task.ask("--load", "--tag", passing), task.engine)
    found = task.engine.inspect("image", tags.of(image_id))
    if not found:
        task.engine.call("tag", passing, tags.of(image_id))
    task.engine.call("rmi", "--no-prune", passing, check=False)
    return image_id, found


class Tags:
    """The tags of one project and platform: one for each image, so none ever moves."""

    def __init__(self, engine: Engine, project: str, platform: Platform) -> None:
        self._engine, self.project = engine, project
        self.repository = f"{engine.repository}/{project}"
        self.slug = "-".join(part for part in (platform.architecture, platform.variant) if part)

    def of(self, image_id: str) -> str:
        """Return the tag that image has."""
        return f"{self.repository}:{self.slug}-{image_id.partition(':')[2][:16]}"

    def drop_others(self, kept: str) -> None:
        """Remove the older images; one that a container still uses stays until next time."""
        pattern = re.compile(re.escape(f"{self.repository}:{self.slug}") + r"-[0-9a-f]{16}")
        with contextlib.suppress(MultiarchError):  # they stay until next time, too
            tags = self._engine.tags(f"{self.repository}:{self.slug}-*")
            older = [tag for tag in tags if tag != kept and pattern.fullmatch(tag)]
            if older:
                self._engine.call("rmi", *older, check=False)


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
    for flag, values in (
        ("--secret", spec.secrets),
        ("--cache-from", spec.cache_from),
        ("--cache-to", spec.cache_to),
    ):
        words += _each(flag, values)
    return words


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


#: What BuildKit says, why, and what to do: the first that is found in its words counts.
CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"exec format error",
        "a program of another platform was started in the build, and no emulator runs it there",
        "See `--multiarch-binfmt`; on a builder that exists, its own node needs the emulators",
    ),
    (
        r"unknown scheme oci-layout",
        "the engine's own builder reads no OCI layout where the engine keeps images in its classic store",
        "Use the session builder (--multiarch-driver=docker-container), or the containerd store",
    ),
    (
        r"no match for platform in manifest|does not match the specified platform",
        "a base image lacks the platform",
        "Choose a base image that has it (`docker buildx imagetools inspect BASE` lists them)",
    ),
    (r"dockerfile parse error|unknown instruction", "the Dockerfile has a syntax error", ""),
    (
        r"toomanyrequests|429 Too Many",
        "the registry limits how often it is asked",
        "Log in, wait, or use a mirror",
    ),
    (
        r"(failed to resolve source metadata|failed to do request|no such host|i/o timeout)",
        "a base image or an address could not be reached",
        "Check the network, or replace the base with --multiarch-build-context=NAME=oci-layout://...",
    ),
    (r"no space left on device", "the disk is full", "`docker buildx prune` frees the build cache"),
    (
        r"did not complete successfully: exit code: (132|136|139)",
        "a program of the build crashed, and under an emulator that may be the emulator's fault",
        "Try a newer emulator, or build that step for the build machine (cross-compile)",
    ),
    (r"did not complete successfully", "a RUN step failed", ""),
)


def build_error(platform: Platform, log: str) -> BuildError:
    """Return the error for a build whose progress (`--progress=plain`) was `log`."""
    why, do = next(((why, do) for seen, why, do in CAUSES if re.search(seen, log, re.IGNORECASE)), ("", ""))
    return BuildError(f"the build for {platform} failed", why=why, do=do, evidence=_last_words(log))


def _last_words(log: str) -> str:
    """Return what BuildKit repeats at its end: the failing step's output, the Dockerfile's lines, the error."""
    lines = log.rstrip().splitlines()
    rule = next((at for at, line in enumerate(lines) if line == "------"), max(len(lines) - 15, 0))
    return "\n".join(lines[rule:][-40:])


def without_secrets(text: str, spec: ImageSpec) -> str:
    """Return a build's words without the values of its secrets, and of the build args that are named alone."""
    for value in sorted(_secrets(spec), key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def _secrets(spec: ImageSpec) -> set[str]:
    """Return each line of each value; one of a few characters would be found everywhere."""
    found = [os.environ.get(name, "") for name, value in spec.build_args.items() if value is None]
    for words in spec.secrets:
        fields = dict(word.partition("=")[::2] for word in words.split(","))
        found.append(os.environ.get(fields.get("env") or fields.get("id", ""), ""))
        path = fields.get("src") or fields.get("source")
        with contextlib.suppress(OSError):
            found.append(Path(path).read_text(errors="replace")[:65536] if path else "")
    return {line.strip() for value in found for line in value.splitlines() if len(line.strip()) >= 4}
