"""What an image wrote is no terminal's or CI's command, in whatever way pytest shows it."""

from __future__ import annotations

import pytest
from projects import Project

TESTS = r"""
import pytest

EVIL = "begin\n::set-output name=x::y\n##[group]z\n\x1b]0;title\x07\u202eend"

@pytest.fixture
def here(_multiarch_target): return _multiarch_target[1]

@pytest.fixture
def broken(here): raise ValueError(EVIL)

class Shown:
    def __repr__(self): return EVIL

def test_raises(here): raise ValueError(EVIL)
def test_chain(here):
    try: raise ValueError(EVIL)
    except ValueError as error: raise KeyError(Shown()) from error
def test_differs(here): assert EVIL == "other"
def test_locals(here):
    shown = Shown()
    assert not here
def test_fails(here): pytest.fail(EVIL)
def test_fails_without_a_traceback(here): pytest.fail(EVIL, pytrace=False)
def test_skips(here): pytest.skip(EVIL)
def test_xfails(here): pytest.xfail(EVIL)
@pytest.mark.xfail(reason=EVIL, strict=False)
def test_marked(here): assert False
def test_prints(here):
    print(EVIL)
    assert False
def test_sets_up(broken): pass
def test_ends(here, request):
    def end(): raise ValueError(EVIL)
    request.addfinalizer(end)
"""


@pytest.mark.parametrize("style", ["long", "short", "line", "native", "no"])
def test_whatever_pytest_shows_of_a_test_of_a_platform_is_tame(style: str, project: Project) -> None:
    project.tests(TESTS)
    result = project.look("--platforms=arm64", f"--tb={style}", "-ra", "-l", "-vv")
    text = result.stdout.str()
    result.assert_outcomes(failed=7, skipped=1, xfailed=2, errors=2, passed=1)
    assert text.count("set-output") >= (3 if style in ("line", "no") else 10)
    assert [line for line in text.splitlines() if line.strip().startswith(("::", "##["))] == []
    assert [each for each in ("\x1b", "\x07", "\u202e") if each in text] == []
