"""The command line: its words, its exit codes, and what an image's words become on the way out."""

from __future__ import annotations

import pytest

from pytest_multiarch import cli
from pytest_multiarch.errors import EngineError, printable
from pytest_multiarch.platforms import KNOWN


def test_platforms_lists_every_name_of_every_platform(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["platforms"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("platform ")
    assert [row.split()[0] for row in rows] == [str(platform) for platform in KNOWN]
    for row, platform in zip(rows, KNOWN, strict=True):
        assert set(platform.spellings[1:]) | platform.machines <= set(row.split())


@pytest.mark.parametrize("words", [[], ["--nope"], ["prune", "--nope"], ["audit"], ["unknown"]])
def test_wrong_words_are_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert "usage: pytest-multiarch" in capsys.readouterr().err


def test_the_help_says_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for words in ("doctor", "platforms", "audit", "prune", "exit codes:\n  0  done"):
        assert words in said


@pytest.mark.parametrize("words", [["doctor"], ["audit", "x"], ["prune"], ["prune", "--dry-run"]])
def test_without_an_engine_each_is_one_paragraph(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path_factory.mktemp('none')}/dead.sock")
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("pytest-multiarch: no Docker engine answers. Start it")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x9b2J\r\x00", "\\x1b[2J\\x9b2J\\r\\x00"),
        ("::set-output name=a::b", "\\x3a:set-output name=a::b"),
        ("first\n  ::add-mask::x", "first\n  \\x3a:add-mask::x"),
        ("x ##[set-env name=a]b", "x #\\x23[set-env name=a]b"),
        ("##vso[task.setvariable]", "#\\x23vso[task.setvariable]"),
        ("https://me:secret@host/x", "https://***@host/x"),
        ("std::string a##b ## [x", "std::string a##b ## [x"),
        ("\u202eevil\ufeff", "\\u202eevil\\ufeff"),
        ("tab\tand\r\nline é 日本", "tab\tand\nline é 日本"),
    ],
)
def test_an_images_words_are_no_commands(said: str, shown: str) -> None:
    assert printable(said) == shown
    assert "\x1b" not in str(EngineError(said, why=said, do=said, evidence=said))
