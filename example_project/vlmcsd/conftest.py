"""Say which image the tests of this folder are about: the nearest conftest.py wins."""

from __future__ import annotations

from pathlib import Path

from local_copies import local_copies

from pytest_multiarch import ImageSpec


def pytest_multiarch_image() -> ImageSpec:
    """Return vlmcsd, built from the Dockerfile beside this file."""
    return ImageSpec(context=Path(__file__).parent, build_contexts=local_copies())
