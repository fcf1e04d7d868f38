"""The lines of the header and of the terminal's summary."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_multiarch.errors import printable
from pytest_multiarch.options import Settings


def header(settings: Settings) -> str:
    """Return the header's line: what was asked for, and who asked; nothing has booted by then."""
    platforms = f"{', '.join(settings.platforms)} ({settings.source})" if settings.platforms else "native"
    return printable(f"multiarch: {platforms}; image: {settings.image}")


def summary(facts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the summary's lines from facts by part ("engine", "builder", "emulators", "images") and name."""
    return [
        printable(f"{part}: {text}" if not name else f"{name}: {text}")
        for part, named in facts.items()
        for name, text in named.items()
    ]
