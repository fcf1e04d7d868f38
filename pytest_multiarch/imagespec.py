"""What is tested: a build to make, or an image that somebody published."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

__tracebackhide__ = True


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image under test, for every platform alike: what `buildx build` takes, or a reference.

    Attributes:
        context: the build's folder, or any address that `buildx build` accepts.
        dockerfile: its Dockerfile; None is `Dockerfile` in the context.
        target: the stage to build; None is the last.
        build_args: `--build-arg`, by name; None takes the value from the environment, and shows it nowhere.
        build_contexts: `--build-context`, by name: replaces a base image or a stage.
        secrets: `--secret` specifications.
        cache_from: `--cache-from` specifications; `{platform}` in them stands for, say, `linux-arm-v7`.
        cache_to: `--cache-to` specifications, likewise: what one platform exports would replace another's.
        reference: test this image and build nothing.

    """

    context: Path | str = "."
    dockerfile: Path | str | None = None
    target: str | None = None
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    build_contexts: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[str] = ()
    cache_from: Sequence[str] = ()
    cache_to: Sequence[str] = ()
    reference: str | None = None

    @property
    def key(self) -> str:
        """Return 16 hex digits that name these values in every process."""
        values = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(values.encode()).hexdigest()[:16]

    @property
    def identity(self) -> str:
        """Return 8 hex digits that name the image itself, whatever its arguments are today."""
        values = [str(self.context), str(self.dockerfile), self.target, self.reference]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path | None:
        """Return the context where it is a folder of this machine, else None."""
        text = str(self.context)
        remote = "://" in text or text.startswith("git@") or text == "-"
        return None if remote else Path(text)

    @property
    def recipe(self) -> Path | None:
        """Return the Dockerfile's path where it is a file of this machine, else None."""
        if self.reference:
            return None
        if self.dockerfile is not None:
            return None if "://" in str(self.dockerfile) else Path(self.dockerfile)
        return self.folder / "Dockerfile" if self.folder else None

    @property
    def title(self) -> str:
        """Return what the report calls it: two of one Dockerfile differ in their stage or build arguments.

        The values of arguments stay out of every log: a few digits that differ with them stand for them.
        """
        stage = [f"target {self.target}"] if self.target else []
        args = [f"{' '.join(self.build_args)}, {self.key[:8]}"] if self.build_args else []
        return f"{self} ({', '.join([*stage, *args])})" if stage or args else str(self)

    def at(self, base: Path) -> ImageSpec:
        """Return it with its relative paths taken from the folder `base`."""
        return replace(
            self,
            context=absolute(str(self.context), base),
            dockerfile=None if self.dockerfile is None else absolute(str(self.dockerfile), base),
            build_contexts={name: absolute(path, base) for name, path in self.build_contexts.items()},
            secrets=tuple(absolute_fields(text, base) for text in self.secrets),
            cache_from=tuple(absolute_fields(text, base) for text in self.cache_from),
            cache_to=tuple(absolute_fields(text, base) for text in self.cache_to),
        )

    def __hash__(self) -> int:
        # Every test asks for it several times, and `key` takes 50 times as long.
        return hash((str(self.context), str(self.dockerfile), self.target, self.reference))

    def __str__(self) -> str:
        return self.reference or str(self.recipe or self.dockerfile or self.context)


def absolute(text: str, base: Path) -> str:
    """Return an absolute path; an address (a URL, `git@...`, `target:stage`) stays as it is."""
    address = "://" in text or re.match(r"git@|target:|-$", text)
    return text if address else os.path.abspath(base / text)


def absolute_fields(text: str, base: Path) -> str:
    """Return `key=value,...` with its paths absolute; the source of a secret of type env is a variable."""
    from pytest_multiarch import fields  # a suite that builds nothing owes it nothing

    pairs = fields.parse(text)
    paths = ("dest",) if ("type", "env") in pairs else ("src", "source", "dest")
    return fields.join((key, absolute(value, base) if key in paths else value) for key, value in pairs)
