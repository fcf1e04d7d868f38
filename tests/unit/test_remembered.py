"""Verdicts that are remembered: for the very same image, platform, baseline, patterns and rules alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_multiarch.audit.config import Config
from pytest_multiarch.checks import remembered
from pytest_multiarch.platforms import Platform
from pytest_multiarch.state import State

AMD64 = Platform.parse("linux/amd64")
CONFIG = Config("linux", "amd64", argv=("/app",))
SAME = {"image": "sha256:1", "config": CONFIG, "platform": AMD64, "foreign": ("/a",)}


@pytest.mark.parametrize(
    "other",
    [
        {"image": "sha256:2"},
        {"platform": Platform.parse("linux/386")},
        {"platform": AMD64.at("v3")},
        {"foreign": ()},
        {"foreign": ("/a", "/b")},
        {"config": replace(CONFIG, user="app")},
        {"config": replace(CONFIG, env=(("PATH", "/bin"),))},
    ],
)
def test_whatever_the_rules_read_is_in_the_key(other):
    assert remembered.key(**SAME) == remembered.key(**SAME)
    assert remembered.key(**{**SAME, **other}) != remembered.key(**SAME)


def test_other_rules_have_another_key(monkeypatch):
    before = remembered.key(**SAME)
    monkeypatch.setattr(remembered, "rules", lambda: "other rules")
    assert remembered.key(**SAME) != before


def test_what_was_noted_under_another_key_is_nothing(tmp_path: Path):
    project = State(tmp_path / "state").project("p")
    assert project.verdicts_of("linux/arm64", "k") is None
    project.knows_verdicts("linux/arm64", "k", {"elf": {"subject": "s"}})
    assert project.verdicts_of("linux/arm64", "k") == {"elf": {"subject": "s"}}
    assert project.verdicts_of("linux/arm64", "other") is None
    assert project.verdicts_of("linux/amd64", "k") is None


def test_it_says_so():
    assert remembered.marked({"subject": "3 files"}) == {"subject": "3 files, as an earlier run found"}
