"""Secrets in a build's words: each value that the build was given shows as `***`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pytest_multiarch import fields
from pytest_multiarch.imagespec import ImageSpec

__tracebackhide__ = True


def without_secrets(text: str, spec: ImageSpec) -> str:
    """Return a build's words without the values of its secrets, and of the build args that are named alone."""
    for value in sorted(_values(spec), key=len, reverse=True):
        text = text.replace(value, "***")
    return text


def _values(spec: ImageSpec) -> set[str]:
    """Return each line of each value; one of a few characters would be found everywhere."""
    found = [os.environ.get(name, "") for name, value in spec.build_args.items() if value is None]
    found += [_value(secret) for secret in spec.secrets]
    return {line.strip() for value in found for line in value.splitlines() if len(line.strip()) >= 4}


def _value(secret: str) -> str:
    """Return the value of a secret's specification, "" where it can't be read here.

    Named by its id alone, it is the variable of that name, or else the file
    (https://github.com/moby/buildkit/blob/v0.34.0/session/secrets/secretsprovider/store.go).
    """
    words = dict(fields.parse(secret))
    source, variable = words.get("src") or words.get("source") or "", words.get("env") or ""
    if words.get("type") == "env":
        variable, source = variable or source, ""
    if not source and not variable:
        name = words.get("id", "")
        variable, source = (name, "") if name in os.environ else ("", name)
    if variable:
        return os.environ.get(variable, "")
    with contextlib.suppress(OSError, ValueError):
        return Path(source).read_text(errors="replace")[:65536] if source else ""
    return ""
