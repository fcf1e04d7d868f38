"""What a program starts in its turn: no words make it fail."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch.audit.command import WRAPPERS, Command, following
from pytest_multiarch.audit.scripts import forwards

NAMES = [*WRAPPERS, "sh", "bash", "python3", "node", "java", "perl", "busybox"]
WORDS = st.one_of(
    st.sampled_from([*NAMES, "--", "-", "-c", "-S", "-e", "-jar", "A=1", "x", "$x", "exec", ""]), st.text()
)


@given(st.sampled_from(NAMES), st.lists(WORDS, max_size=6))
def test_any_words_are_followed_to_an_end(name, words):
    step = Command((name, *words), ("/bin",))
    for _ in range(2 * len(words) + 2):
        step = following(step)
        if not isinstance(step, Command):
            return
        assert step.argv
        if not step.argv[0]:
            return
    raise AssertionError("it goes round in a circle")


@given(st.lists(st.sampled_from([*NAMES, "--", "-x", "/x"]), min_size=1, max_size=4).map(" ".join))
def test_a_shells_line_and_its_words_start_the_same(line):
    by_words, by_line = (
        following(Command(("nohup", *line.split()), ())),
        following(Command(("sh", "-c", line), ())),
    )
    if isinstance(by_words, Command) and isinstance(by_line, Command):
        assert by_line.argv == tuple(line.split())


def test_only_a_script_that_certainly_starts_its_arguments_forwards():
    assert forwards(b'#!/usr/bin/env bash\nset -euo pipefail\n\numask 022\nexec "$@"\n')
    for line in (b"cd /srv", b'[ "$1" ] || set -- x', b"PATH=/x", b". /env", b"cp /a /bin/x", b"A=$(x)", b"exit"):
        assert not forwards(b"#!/bin/sh\n" + line + b'\nexec "$@"\n'), line
    assert not forwards(b'#!/usr/bin/python3\nexec "$@"\n')
    assert not forwards(b"#!/bin/sh\n")
