"""Which images are unchanged: one question for all of them, dropped at the first step that would be taken."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_multiarch.engine.build import (
    DIGEST_ONLY,
    WITHOUT_ATTESTATIONS,
    Image,
    Tags,
    id_in,
    other_platform,
)
from pytest_multiarch.engine.builder import Builder
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.engine.context import check_context
from pytest_multiarch.errors import MultiarchError
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: Seconds for the answer; where nothing changed it takes half of one. Whoever builds has a deadline of his own.
PATIENCE = 30.0

#: A step of a Dockerfile as BuildKit names it, "[arm64 linux/arm64 build 2/5] RUN make"; FROM only looks up.
STEP = re.compile(r"\[[^\]]*\d+/\d+\] (?!FROM\b)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that an earlier session built, and that is probably still what a build would give."""

    spec: ImageSpec
    platform: Platform
    project: str


def find(engine: Engine, builder: Builder, wanted: Mapping[str, Wanted]) -> dict[str, Image]:
    """Return those images of which a build would give just what the engine holds, by their names in `wanted`.

    Seven times `buildx build` is a process, a session and a transfer of the context each: 1.4 s of two cores where
    nothing changed. One `buildx bake` asks for all in 0.4 s. But it has one fate and one log for all of them, so
    it only asks: it is dropped as soon as a step isn't in the builder's cache, its failures are nobody's, and each
    image of which it says nothing is built for itself, which takes what was done from the cache.

    Args:
        wanted: by names of letters, digits, "-" and "_".

    Raises:
        MultiarchError: the engine didn't answer, which says nothing of any image.

    """
    began = time.monotonic()
    specs = {spec for spec in {want.spec for want in wanted.values()} if _can_ask(spec)}
    asked = {name: want for name, want in wanted.items() if want.spec in specs}
    if not asked:
        return {}
    passing = {} if builder.apart else {name: engine.passing(want.project) for name, want in asked.items()}
    try:
        metadata = _asked(engine, builder, bake_file(asked, passing))
        ids = {name: id_in(metadata[name], engine) for name in asked if name in metadata}
        tags = {name: Tags(engine, asked[name].project, asked[name].platform).of(ids[name]) for name in ids}
        held = engine.images(list(tags.values()))
    finally:
        if passing:
            engine.call("rmi", "--no-prune", *passing.values(), check=False)
    return {
        name: Image(ids[name], tag, str(asked[name].platform), "unchanged", time.monotonic() - began)
        for name, tag in tags.items()
        if tag in held and not other_platform(held[tag], asked[name].platform)
    }


def bake_file(wanted: Mapping[str, Wanted], passing: Mapping[str, str]) -> dict[str, Any]:
    """Return the definition that asks `buildx bake` for just what `buildx build` would be asked for.

    Source: https://docs.docker.com/build/bake/reference/; its JSON strings are templates, so theirs are escaped.

    Args:
        passing: the tag that an image is loaded under for the moment, by name; none where nothing is loaded.

    """
    return {
        "group": {"default": {"targets": list(wanted)}},
        "target": {name: _target(want, passing.get(name)) for name, want in wanted.items()},
    }


def _target(want: Wanted, tag: str | None) -> dict[str, Any]:
    spec = want.spec
    args = {name: os.environ.get(name) if value is None else value for name, value in spec.build_args.items()}
    fields: dict[str, Any] = {
        "context": os.path.abspath(spec.folder or "."),
        "dockerfile": os.path.abspath(spec.recipe or "Dockerfile"),
        "target": spec.target,
        "args": {name: value for name, value in args.items() if value is not None},
        "contexts": dict(spec.build_contexts),
        "secret": list(spec.secrets),
        "cache-from": list(spec.cache_from),
        "platforms": [str(want.platform)],
        "tags": [tag] if tag else [],
        "output": ["type=docker" if tag else DIGEST_ONLY],
    }
    return {name: _literal(value) for name, value in fields.items() if value}


def _literal(value: Any) -> Any:
    """Return a value in which a template's openings stand for themselves."""
    if isinstance(value, dict):
        return {name: _literal(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    return re.sub(r"([$%])\{", r"\1\1{", value)


def takes_a_step(line: bytes) -> bool:
    """Tell from a line of BuildKit's progress (`--progress=rawjson`) whether a step began that isn't cached."""
    try:
        steps = json.loads(line).get("vertexes") or []
        return any(STEP.match(step["name"]) and "started" in step and not step.get("cached") for step in steps)
    except (ValueError, TypeError, AttributeError, KeyError):  # no line of progress
        return False


def _can_ask(spec: ImageSpec) -> bool:
    """Tell whether asking does nothing but ask, and of what is readable here."""
    if spec.folder is None or spec.cache_to:
        return False
    try:
        check_context(spec)
    except MultiarchError:
        return False
    return True


def _asked(engine: Engine, builder: Builder, definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return BuildKit's metadata by target, nothing where a step would have to be taken or something failed."""
    with tempfile.TemporaryDirectory(dir=engine.scratch, prefix="unchanged-") as folder:
        metadata = Path(folder, "metadata.json")
        finished = engine.call(
            "buildx", "bake", "--builder", builder.name, *WITHOUT_ATTESTATIONS,
            "--progress=rawjson", "--metadata-file", str(metadata), "--file", "-",
            timeout=PATIENCE, input=json.dumps(definition).encode(), check=False, until=takes_a_step,
        )  # fmt: skip
        found: Mapping[str, Any] = json.loads(metadata.read_bytes()) if finished.ok else {}
        return found
