"""Which images are unchanged: one question for all of them, dropped at the first step that would be taken."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_multiarch.builders.builder import Builder
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import MultiarchError
from pytest_multiarch.images.build import WITHOUT_ATTESTATIONS, caches, digest_only, promised_id, read_metadata
from pytest_multiarch.images.context import check_context
from pytest_multiarch.images.stored import Image, Tags, image_of, other_platform
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Seconds for the answer; where nothing changed it takes half of one. Whoever builds has a deadline of his own.
PATIENCE = 30.0

#: The oldest buildx that tells its steps as JSON. Older ones take the word for "plain": they would take each step.
ASKABLE = (0, 13)

#: A step of a Dockerfile as BuildKit names it, "[arm64 linux/arm64 build 2/5] RUN make"; FROM only looks up.
STEP = re.compile(r"\[(?:([\w-]+) )?[^\]]*\d+/\d+\] (?!FROM\b)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that an earlier session built, and that is probably still what a build would give."""

    spec: ImageSpec
    platform: Platform
    project: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the question said.

    Attributes:
        images: those of which a build would give just what the engine holds, by their names.
        changed: the names of those that a build would change. Of the others nothing is known.

    """

    images: Mapping[str, Image]
    changed: frozenset[str] = frozenset()


def find(engine: Engine, builder: Builder, wanted: Mapping[str, Wanted]) -> Found:
    """Ask which of the images are unchanged.

    Seven times `buildx build` is a process, a session and a transfer of the context each: 1.4 s of two cores where
    nothing changed. One `buildx bake` asks for all in 0.4 s. But it succeeds or fails as a whole, so it is used as
    a question only: cancelled at the first step that isn't in the builder's cache, its errors ignored.

    Args:
        wanted: by names of letters, digits, "-" and "_".

    Raises:
        MultiarchError: the engine didn't answer, which says nothing of any image.

    """
    began = time.monotonic()
    if engine.info.buildx < ASKABLE:
        return Found({})
    specs = {spec for spec in {want.spec for want in wanted.values()} if _can_ask(spec)}
    asked = {name: want for name, want in wanted.items() if want.spec in specs}
    if not asked:
        return Found({})
    temporary = {} if builder.apart else {name: engine.passing(want.project) for name, want in asked.items()}
    try:
        containerd = engine.info.containerd
        metadata, stepped = _asked(engine, builder, bake_file(asked, temporary, digest_only(containerd)))
        promised = {name: promised_id(metadata.get(name) or {}, containerd) for name in asked}
        tags = {
            name: Tags(engine, asked[name].project, asked[name].platform).of(image_id)
            for name, image_id in promised.items()
            if image_id
        }
        held = engine.images(list(tags.values()))
    finally:
        if temporary:
            engine.call("rmi", "--no-prune", *temporary.values(), check=False)
    same = {
        name: image_of(
            engine, held[tag], tag, asked[name].platform, how="unchanged", seconds=time.monotonic() - began
        )
        for name, tag in tags.items()
        if tag in held
        and held[tag]["Id"] == promised[name]
        and not other_platform(held[tag], asked[name].platform)
    }
    return Found(same, _changed(asked, stepped) | frozenset(tags.keys() - same.keys()))


def _changed(asked: Mapping[str, Wanted], stepped: str) -> frozenset[str]:
    """Return the images that share their source with the one of which a step was to be taken."""
    if stepped not in asked:
        return frozenset()
    return frozenset(name for name, want in asked.items() if want.spec == asked[stepped].spec)


def bake_file(wanted: Mapping[str, Wanted], temporary: Mapping[str, str], output: str) -> dict[str, Any]:
    """Return the definition that asks `buildx bake` for just what `buildx build` would be asked for.

    Source: https://docs.docker.com/build/bake/reference/; its JSON strings are templates, so theirs are escaped.

    Args:
        temporary: the tag that an image is loaded under for the moment, by name; none where nothing is loaded.
        output: what is asked where nothing is loaded.

    """
    return {
        "group": {"default": {"targets": list(wanted)}},
        "target": {name: _target(want, temporary.get(name), output) for name, want in wanted.items()},
    }


def _target(want: Wanted, tag: str | None, output: str) -> dict[str, Any]:
    spec = want.spec
    args = {name: os.environ.get(name) if value is None else value for name, value in spec.build_args.items()}
    fields: dict[str, Any] = {
        "context": os.path.abspath(spec.folder or "."),
        "dockerfile": os.path.abspath(spec.recipe) if spec.recipe else str(spec.dockerfile or "Dockerfile"),
        "target": spec.target,
        "args": {name: value for name, value in args.items() if value is not None},
        "contexts": dict(spec.build_contexts),
        "secret": list(spec.secrets),
        "cache-from": caches(spec.cache_from, want.platform),
        "platforms": [str(want.platform)],
        "tags": [tag] if tag else [],
        "output": ["type=docker" if tag else output],
    }
    return {name: _literal(value) for name, value in fields.items() if value}


def _literal(value: Any) -> Any:
    """Return a value in which a template's openings stand for themselves."""
    if isinstance(value, dict):
        return {name: _literal(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    return re.sub(r"([$%])\{", r"\1\1{", value)


def step_of(line: bytes) -> str | None:
    """Return whose step begins, and isn't cached, by a line of BuildKit's progress (`--progress=rawjson`).

    That is the target's name where BuildKit says it, "" where it doesn't, None where no such step begins.
    """
    try:
        for step in json.loads(line).get("vertexes") or []:
            if "started" in step and not step.get("cached") and (found := STEP.match(step["name"])):
                return found[1] or ""
    except (ValueError, TypeError, AttributeError, KeyError):  # no line of progress
        pass
    return None


def _can_ask(spec: ImageSpec) -> bool:
    """Tell whether asking does nothing but ask, and of what is readable here."""
    if spec.folder is None or spec.cache_to:
        return False
    try:
        check_context(spec)
    except MultiarchError:
        return False
    return True


def _asked(engine: Engine, builder: Builder, definition: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return BuildKit's metadata by target, and whose step would have had to be taken, "" for nobody's.

    Where a step would have to be taken or something failed there is no metadata.
    """
    stepped: list[str] = []

    def until(line: bytes) -> bool:
        name = step_of(line)
        if name is not None:
            stepped.append(name)
        return name is not None

    with engine.scratch_folder("unchanged-") as folder:
        metadata = folder / "metadata.json"
        finished = engine.call(
            "buildx", "bake", "--builder", builder.name, *WITHOUT_ATTESTATIONS,
            "--progress=rawjson", "--metadata-file", str(metadata), "--file", "-",
            timeout=PATIENCE, input=json.dumps(definition).encode(), check=False, until=until,
        )  # fmt: skip
        found = read_metadata(metadata) if finished.ok else {}
    return found, next(iter(stepped), "")
