"""A verdict goes whole from the worker that read the image to those that tell it."""

from __future__ import annotations

import json
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch.audit.findings import Finding, Severity, Verdict
from pytest_multiarch.checks import verdicts

FINDINGS = st.builds(
    Finding,
    where=st.text(),
    found=st.text(),
    expected=st.text(),
    severity=st.sampled_from(Severity),
    cause=st.text(),
    number=st.integers(1),
)
VERDICTS = st.builds(Verdict, subject=st.text(), findings=st.tuples(FINDINGS, FINDINGS), note=st.text())


@given(VERDICTS)
def test_nothing_of_a_verdict_is_lost_on_its_way_to_another_worker(verdict: Verdict) -> None:
    assert verdicts.from_dict(json.loads(json.dumps(verdicts.as_dict(verdict)))) == verdict


def test_no_field_is_left_out_above() -> None:
    assert [each.name for each in fields(Verdict)] == ["subject", "findings", "note"]
    names = ["where", "found", "expected", "severity", "cause", "number"]
    assert [each.name for each in fields(Finding)] == names
