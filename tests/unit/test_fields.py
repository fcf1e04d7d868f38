"""`key=value,...` as buildx reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch import ImageSpec, SettingsError, fields
from pytest_multiarch.images.secrets import without_secrets
from pytest_multiarch.imagespec import absolute_fields

WORD = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=["Cs"]), min_size=1)


@given(st.lists(st.tuples(st.sampled_from(["src", "id", "dest"]), WORD), min_size=1))
def test_what_is_joined_is_read_again(pairs: list[tuple[str, str]]) -> None:
    assert fields.parse(fields.join(pairs)) == pairs


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("id=x,src=file", "id=x,src=/a/file"),
        ('id=x,"src=b,c/file"', 'id=x,"src=/a/b,c/file"'),
        ("type=env,id=x,src=TOKEN", "type=env,id=x,src=TOKEN"),
        ("type=local,dest=cache", "type=local,dest=/a/cache"),
        ("id=x", "id=x"),
        ("user/app:cache", "user/app:cache"),
    ],
)
def test_paths_in_it_become_absolute(text: str, there: str) -> None:
    assert absolute_fields(text, Path("/a")) == there


def test_two_lines_are_no_specification() -> None:
    with pytest.raises(SettingsError, match=r"is not KEY=VALUE,\.\.\.: new-line character"):
        fields.parse("id=x\nid=y")


def test_a_folder_with_a_comma_is_quoted() -> None:
    assert absolute_fields("id=x,src=file", Path("/a,b")) == 'id=x,"src=/a,b/file"'


@pytest.mark.parametrize(
    "secret",
    ["id=x,src={}/word", "id=x,source={}/word", "id={}/word", "type=file,id=x,src={}/word", "id=VARIABLE",
     "id=x,env=VARIABLE", "type=env,id=x,src=VARIABLE", "type=env,id=VARIABLE", 'id=x,"src={}/a,b"'],
)  # fmt: skip
def test_a_secrets_value_is_masked(secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("word").write_text("sesame\n")
    tmp_path.joinpath("a,b").write_text("sesame\n")
    monkeypatch.setenv("VARIABLE", "sesame")
    spec = ImageSpec(secrets=[secret.format(tmp_path)])
    assert without_secrets("open sesame now", spec) == "open *** now"


def test_a_specs_relative_paths_are_taken_from_a_folder() -> None:
    spec = ImageSpec(
        "server",
        dockerfile="server/Dockerfile.alpine",
        build_contexts={"base": "docker-image://alpine", "more": "more", "stage": "target:build"},
        secrets=["id=x,src=secret"],
        cache_from=["type=local,src=cache"],
        cache_to=["type=local,dest=cache"],
    )
    there = spec.at(Path("/root"))
    assert (there.context, there.dockerfile) == ("/root/server", "/root/server/Dockerfile.alpine")
    assert there.build_contexts == {"base": "docker-image://alpine", "more": "/root/more", "stage": "target:build"}
    assert (there.secrets, there.cache_from) == (("id=x,src=/root/secret",), ("type=local,src=/root/cache",))
    assert there.cache_to == ("type=local,dest=/root/cache",)
    assert there == there.at(Path("/elsewhere"))
    assert ImageSpec("https://host/repo.git").at(Path("/root")).context == "https://host/repo.git"
