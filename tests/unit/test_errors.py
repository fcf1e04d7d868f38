"""What an error says, and that it survives the way to another process."""

from __future__ import annotations

import pickle

import pytest

import pytest_multiarch
from pytest_multiarch import errors


def every_kind() -> list[type[errors.MultiarchError]]:
    return errors._tree(errors.MultiarchError)


def test_says_what_why_and_what_to_do_in_one_paragraph_and_the_evidence_below() -> None:
    error = errors.BuildError(
        "the build failed", why="the disk is full", do="Free some.", evidence="line 1\nline 2\n"
    )
    assert str(error) == "the build failed: the disk is full. Free some.\n    line 1\n    line 2"


def test_parts_that_are_missing_leave_no_trace() -> None:
    assert str(errors.BuildError("the build failed")) == "the build failed."


@pytest.mark.parametrize("kind", every_kind())
def test_survives_the_way_to_another_process(kind: type[errors.MultiarchError]) -> None:
    error = kind("what", why="why", do="do", evidence="evidence")
    for again in (pickle.loads(pickle.dumps(error)), errors.from_dict(error.as_dict())):  # noqa: S301 - our own
        assert type(again) is kind
        assert str(again) == str(error)


def test_the_tree_has_one_root_and_many_leaves() -> None:
    assert {errors.UnknownPlatform, errors.DeadlinePassed, errors.StateError} <= set(every_kind())


@pytest.mark.parametrize("kind", [kind for kind in every_kind() if kind.__module__ == errors.__name__])
def test_every_kind_can_be_expected_by_a_users_test(kind: type[errors.MultiarchError]) -> None:
    assert kind.__name__ in pytest_multiarch.__all__
    assert getattr(pytest_multiarch, kind.__name__) is kind


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert pytest_multiarch.__all__ == sorted(pytest_multiarch.__all__)
    assert all(getattr(pytest_multiarch, name) for name in pytest_multiarch.__all__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://bob:hunter2@host/app.git", "https://***@host/app.git"),
        ("https://ghp_token@host/app.git", "https://***@host/app.git"),
        ("base=docker-image://alpine@sha256:0", "base=docker-image://alpine@sha256:0"),
        ("base=docker-image://alpine:3.22@sha256:0", "base=docker-image://alpine:3.22@sha256:0"),
    ],
)
def test_what_opens_a_door_is_not_shown(text: str, shown: str) -> None:
    assert errors.printable(text) == shown
