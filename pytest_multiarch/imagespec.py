"""What is tested: a build to make, or an image that somebody published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
        cache_from: `--cache-from` specifications.
        cache_to: `--cache-to` specifications.
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
        if self.dockerfile is not None:
            return Path(self.dockerfile)
        return self.folder / "Dockerfile" if self.folder else None

    def __hash__(self) -> int:
        # Every test asks for it several times, and `key` takes 50 times as long.
        return hash((str(self.context), str(self.dockerfile), self.target, self.reference))

    def __str__(self) -> str:
        return self.reference or str(self.recipe or self.context)
