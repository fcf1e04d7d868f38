"""The hooks that this plugin adds to pytest."""

from __future__ import annotations

import pytest

from pytest_multiarch.imagespec import ImageSpec


@pytest.hookspec(firstresult=True)
def pytest_multiarch_image(config: pytest.Config) -> ImageSpec | None:
    """Return the image that the tests beside and below a conftest are about; the nearest conftest wins.

    `None`, and no hook at all, mean the image of the options.
    """
