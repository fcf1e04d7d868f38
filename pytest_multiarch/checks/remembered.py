"""Verdicts reached before: an image that passed is not read again while it and the rules are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest_multiarch
from pytest_multiarch.audit.config import Config
from pytest_multiarch.platforms import Platform


def key(image: str, config: Config, platform: Platform, foreign: Sequence[str]) -> str:
    """Return what stands for all that the rules read: 64 hex digits, other ones for anything else that they read.

    Args:
        image: the image's id, which never means another image.
        config: the image's config.
        platform: the one that was asked for; `platform.level` is the CPU that it was raised to.
        foreign: `multiarch_foreign_files`.

    """
    read = (image, config, str(platform), platform.level, tuple(foreign), rules())
    return hashlib.sha256(repr(read).encode(errors="surrogateescape")).hexdigest()


def marked(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a verdict, JSON-ready, that says of itself that this run did not read the image."""
    return {**verdict, "subject": f"{verdict['subject']}, as an earlier run found"}


@cache
def rules() -> str:
    """Return what stands for the rules themselves: a sum over their text, which a version may forget to follow."""
    package = Path(pytest_multiarch.__file__).parent
    said = hashlib.sha256()
    for path in sorted([*(package / "audit").glob("*.py"), package / "platforms.py"]):
        said.update(path.read_bytes())
    return said.hexdigest()
