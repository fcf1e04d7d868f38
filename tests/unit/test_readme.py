"""The README names every option, fixture and check, and nothing that doesn't exist."""

from __future__ import annotations

import re

import pytest
from documents import DOCUMENTS, README

from pytest_multiarch import errors, options
from pytest_multiarch.options import OPTIONS, Option

#: What names options, one document after the other.
DOCUMENTED = "".join(path.read_text() for path in DOCUMENTS)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_a_row(option: Option) -> None:
    rows = [line for line in README.splitlines() if line.startswith("|")]
    name = f"`{option.ini_name}`" if option.ini_only else f"`--multiarch-{option.name}`"
    assert any(name in row for row in rows)


def test_every_option_that_is_named_exists() -> None:
    flags = {f"--multiarch-{option.name}" for option in OPTIONS if not option.ini_only}
    assert set(re.findall(r"--multiarch-[a-z][a-z-]*[a-z]", DOCUMENTED)) - {"--multiarch-x-y"} <= flags


def test_every_ini_name_that_is_named_exists() -> None:
    names = {option.ini_name for option in OPTIONS}
    fixtures = {"multiarch_x_y", "multiarch_image", "multiarch_builder", "multiarch_emulator"}
    assert set(re.findall(r"\bmultiarch_[a-z_]+", DOCUMENTED)) - names <= fixtures


def test_every_check_has_a_row() -> None:
    assert all(f"| `{check}` |" in README for check in options.CHECKS)


def test_every_fault_that_is_named_is_a_type() -> None:
    faults = [kind.__name__ for kind in errors._tree(errors.FaultError)[1:]]
    assert [name for name in faults if f"`{name}`" not in README] == ["WrongMachine"]
