"""The checks themselves: each function here is a test, collected once per image and platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_multiarch.checks import verdicts
from pytest_multiarch.suite import SUITE

if TYPE_CHECKING:
    from pytest_multiarch.images.stored import Image
    from pytest_multiarch.session import Session, Target

#: Warnings that a check that passes shows in the terminal's summary.
WARNINGS = 3


def index(request: pytest.FixtureRequest, _multiarch_session: Session, _multiarch_target: Target) -> None:
    """Require that the registry's index offers the platform, once, and that its entry's config agrees."""
    _tell(request, verdicts.index(_multiarch_session, *_multiarch_target))


def config(
    request: pytest.FixtureRequest, _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> None:
    """Require that the image's config says the platform that was asked for."""
    _tell(request, verdicts.audit(_multiarch_session, *_multiarch_target)["config"])


def entrypoint(
    request: pytest.FixtureRequest, _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> None:
    """Require that what the image starts is there, and of a form that can be executed."""
    _tell(request, verdicts.audit(_multiarch_session, *_multiarch_target)["entrypoint"])


def elf(
    request: pytest.FixtureRequest, _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> None:
    """Require that every ELF file of the image is one of its platform."""
    _tell(request, verdicts.audit(_multiarch_session, *_multiarch_target)["elf"])


def link(
    request: pytest.FixtureRequest, _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> None:
    """Require that what the image's programs are linked with is there, in the versions that they want."""
    _tell(request, verdicts.audit(_multiarch_session, *_multiarch_target)["link"])


def runs(
    request: pytest.FixtureRequest, _multiarch_session: Session, _multiarch_target: Target, multiarch_image: Image
) -> None:
    """Require that the image starts, and that `uname -m` says what it must."""
    _tell(request, verdicts.runs(_multiarch_session, *_multiarch_target))


def _tell(request: pytest.FixtureRequest, verdict: verdicts.Verdict) -> None:
    """Fail with the verdict's text; what a check that passes could not verify goes into the report."""
    if not verdict.passed:
        pytest.fail(verdict.text(), pytrace=False)
    if verdict.findings:
        request.config.stash[SUITE].add_facts({"checks": {request.node.nodeid: _in_short(verdict)}})


def _in_short(verdict: verdicts.Verdict) -> str:
    """Return the summary of a check that passes, and its warnings: they need somebody to look at them."""
    warnings = verdict.of(verdicts.Severity.WARNING)
    lines = [f"  {each.severity.value}: {each}" for each in warnings[:WARNINGS]]
    more = [f"  and {len(warnings) - WARNINGS} more"] if len(warnings) > WARNINGS else []
    return "\n".join([verdict.summary, *lines, *more])
