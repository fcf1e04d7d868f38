"""How a verdict is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch.audit.findings import ROWS, WIDTH, Finding, Severity, Verdict, shown


def test_a_verdict_of_many():
    findings = [Finding(f"/bin/{index}", "wrong", "right", cause="a cause") for index in range(300)]
    more = [
        Finding("/lib/x", "odd", severity=Severity.WARNING),
        Finding("/y", "?", severity=Severity.UNVERIFIED, number=9),
    ]
    verdict = Verdict("400 ELF files", (*more, *findings))
    lines = verdict.text().splitlines()
    assert lines[0] == "400 ELF files; 300 failures; 1 warning; 9 not verified"
    assert lines[1] == "  failure: /bin/0: wrong, expected right"
    assert len(lines) == 1 + ROWS + 1 + 1
    assert lines[-2:] == ["  and 300 more", "  likely cause: a cause"]
    assert not verdict.passed


def test_a_verdict_of_few():
    verdict = Verdict("1 ELF file", (Finding("/x", "odd", severity=Severity.WARNING, number=3),))
    assert verdict.passed
    assert verdict.text() == "1 ELF file; 3 warnings\n  warning: /x and 2 more: odd"
    assert Verdict("nothing").text() == "nothing"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("/usr/bin/übung", "/usr/bin/übung"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\u202eevil", "\\u202eevil"),
        ("\x9b31m", "\\x9b31m"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_an_image_s_words_can_be_printed_anywhere(text, safe):
    assert shown(text) == safe


def test_a_long_word_loses_its_middle():
    assert len(shown("/a" * 5000)) == WIDTH
    assert shown("/begin" + "x" * 5000 + "end").startswith("/begin")
    assert shown("/begin" + "x" * 5000 + "end").endswith("end")


@given(st.text(st.characters(), max_size=400), st.text(max_size=50))
def test_whatever_an_image_says_it_stays_on_its_line(path, subject):
    text = Verdict(subject, (Finding(path, path, path),)).text()
    assert text.count("\n") == 1
    assert text.replace("\n", "").isprintable()
    text.encode()
