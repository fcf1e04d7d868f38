"""Every line that the documents tell a user to type is tried, or said to be tried nowhere, and why."""

from __future__ import annotations

from pathlib import Path

import documents
import pytest
from documents import DOCUMENTS, ELSEWHERE, FIRST, IN_A_CLASH, IN_A_TEST, IN_TURN, RUN, Value

DOCUMENT = """
Say `pytest --platforms=all
-x`, or `./it/run`, with `-n 4` or `--multiarch-image=you/app` (`--multiarch-image`), and
`multiarch_run_args = --init`.

```sh
pip install it   # a comment
make
```

```python
def test(): assert "`not this`"
```

| option | values | default |
| --- | --- | --- |
| `--platforms`, `--multiarch-platforms` | `native`; on the command line also `all` | |
| `--multiarch-build-arg` (ini `multiarch_build_args`) | `NAME` | `X=1` |
| ini `multiarch_checks` | `elf` | all |
| `pytest -v` | no option | |
"""


def test_what_a_user_could_type_is_found() -> None:
    assert documents.lines(DOCUMENT) == [
        "pip install it",
        "make",
        "pytest --platforms=all -x",
        "./it/run",
        "-n 4",
        "--multiarch-image=you/app",
        "multiarch_run_args = --init",
        "pytest -v",
    ]
    assert [block.language for block in documents.blocks(DOCUMENT)] == ["sh", "python"]


def test_a_setting_is_a_name_and_a_value() -> None:
    assert documents.setting("--multiarch-image=you/app") == Value("--multiarch-image", "you/app")
    assert documents.setting("--platforms=a,b") == Value("--platforms", "a,b")
    assert documents.setting("multiarch_run_args = --init -x=1") == Value("multiarch_run_args", "--init -x=1")
    assert [documents.setting(line) for line in ("pytest --platforms=all", "-n 4", "elf", "x = y")] == [None] * 4


def test_each_value_of_a_table_is_found_by_each_of_its_names() -> None:
    assert [" ".join(value) for value in documents.table(DOCUMENT)] == [
        "--platforms native",
        "--platforms all",
        "--multiarch-platforms native",
        "--multiarch-platforms all",
        "multiarch_platforms native",
        "--multiarch-build-arg NAME",
        "--multiarch-build-arg X=1",
        "multiarch_build_args NAME",
        "multiarch_build_args X=1",
        "multiarch_checks elf",
    ]


def test_what_is_quoted_or_a_default_or_a_flag_is_an_example_of_the_help() -> None:
    said = "doesn't 'x': linux/amd64=v2, the engine's --read-only, not-this (default: a:b)"
    assert documents._examples(said) == ["x", "linux/amd64=v2", "--read-only", "a:b"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_line_has_one_place(path: Path) -> None:
    places = ((FIRST,), RUN, IN_TURN, IN_A_TEST, IN_A_CLASH, ELSEWHERE)
    found = documents.lines(path.read_text())
    counts = {line: sum(line in place for place in places) + bool(documents.setting(line)) for line in found}
    assert {line: count for line, count in counts.items() if count != 1} == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_says_what_it_is(path: Path) -> None:
    assert {block.language for block in documents.blocks(path.read_text())} <= {"sh", "python", "toml", "text"}


def test_no_place_has_a_line_that_no_document_has() -> None:
    found = {line for path in DOCUMENTS for line in documents.lines(path.read_text())}
    assert {FIRST, *RUN, *IN_TURN, *IN_A_TEST, *IN_A_CLASH, *ELSEWHERE} - found == set()


def test_each_script_is_there() -> None:
    scripts = [line for line in (*RUN, *ELSEWHERE) if line.startswith(".")]
    assert len(scripts) == 5
    assert [line for line in scripts if not documents.ROOT.joinpath(line).stat().st_mode & 0o111] == []
