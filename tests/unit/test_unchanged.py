"""What is asked of bake, and what its progress says: pure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch import ImageSpec, Platform
from pytest_multiarch.builders.builder import Builder
from pytest_multiarch.engine.client import Engine, parse_info
from pytest_multiarch.images.unchanged import Found, Wanted, bake_file, find, step_of
from pytest_multiarch.process import Finished

ARM = Platform.parse("linux/arm/v7")


def target(spec: ImageSpec, tag: str = "") -> dict[str, object]:
    made = bake_file({"one": Wanted(spec, ARM, "project")}, {"one": tag} if tag else {}, "type=image")
    assert made["group"] == {"default": {"targets": ["one"]}}
    found: dict[str, object] = made["target"]["one"]
    return found


def test_bake_is_asked_for_what_build_would_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWN", "from here")
    monkeypatch.delenv("UNKNOWN", raising=False)
    spec = ImageSpec(
        tmp_path,
        dockerfile=tmp_path / "elsewhere/Dockerfile",
        target="last",
        build_args={"WORD": "a b", "KNOWN": None, "UNKNOWN": None},
        build_contexts={"base": "oci-layout:///base"},
        secrets=["id=password,src=file"],
        cache_from=["type=local,src=cache"],
    )
    assert target(spec) == {
        "context": str(tmp_path),
        "dockerfile": f"{tmp_path}/elsewhere/Dockerfile",
        "target": "last",
        "args": {"WORD": "a b", "KNOWN": "from here"},
        "contexts": {"base": "oci-layout:///base"},
        "secret": ["id=password,src=file"],
        "cache-from": ["type=local,src=cache"],
        "platforms": ["linux/arm/v7"],
        "output": ["type=image"],
    }


def test_on_the_engines_own_builder_it_is_loaded_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert target(ImageSpec(dockerfile="other"), tag="multiarch.local/a:of-b") == {
        "context": str(tmp_path),
        "dockerfile": f"{tmp_path}/other",
        "platforms": ["linux/arm/v7"],
        "tags": ["multiarch.local/a:of-b"],
        "output": ["type=docker"],
    }


@pytest.mark.parametrize(
    ("value", "escaped"),
    [("${HOME}", "$${HOME}"), ("%{if x}", "%%{if x}"), ("$HOME 5% {}", "$HOME 5% {}"), ("$${a}", "$$${a}")],
)
def test_what_is_a_template_to_bake_stands_for_itself(value: str, escaped: str) -> None:
    assert target(ImageSpec(build_args={"A": value}))["args"] == {"A": escaped}


def line(name: str, **fields: object) -> bytes:
    return json.dumps({"vertexes": [{"digest": "sha256:0", "name": name, **fields}]}).encode()


STARTED = "2026-11-24T22:22:57.3Z"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("[one 2/2] COPY blob /blob", "one"),
        ("[one linux/arm64 build 3/5] RUN make", "one"),
        ("[2/2] RUN <<EOF (echo 1/2...)", ""),
        ("[one stage-1 1/1] ADD https://example.org/a /a", "one"),
    ],
)
def test_a_step_that_begins_is_seen(name: str, target: str) -> None:
    assert step_of(line(name, started=STARTED)) == target
    assert step_of(line(name, started=STARTED, cached=True)) is None
    assert step_of(line(name)) is None


@pytest.mark.parametrize(
    "name",
    [
        "[one internal] load build definition from Dockerfile",
        "[internal] load build context",
        "[one 1/2] FROM docker.io/library/alpine:3.22",
        "[auth] library/alpine:pull token",
        "[one context alpine:3.22] load metadata for alpine:3.22",
        "exporting to image",
        "",
    ],
)
def test_what_only_looks_is_no_step(name: str) -> None:
    assert step_of(line(name, started=STARTED)) is None


class Asked(Engine):
    """An engine with this buildx, whose client notes what it is asked and knows nothing."""

    def __init__(self, buildx: str) -> None:
        super().__init__()
        plugins = [{"Name": "buildx", "Version": buildx}]
        self.info = parse_info({"OSType": "linux", "Architecture": "x86_64", "ClientInfo": {"Plugins": plugins}})
        self.asked: list[str] = []

    def call(self, *args: str, **_: Any) -> Finished:  # type: ignore[override]
        self.asked.append(" ".join(args[:2]))
        return Finished(args, 1, b"", b"", 0.0)


@pytest.mark.parametrize(("buildx", "asked"), [("v0.10.2", []), ("v0.12.1", []), ("v0.13.0", ["buildx bake"])])
def test_a_buildx_that_tells_its_steps_in_words_only_is_not_asked(
    buildx: str, asked: list[str], tmp_path: Path
) -> None:
    """Nothing would stop it at the first step: it would build everything."""
    engine = Asked(buildx)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    wanted = {"one": Wanted(ImageSpec(tmp_path), ARM, "project")}
    assert find(engine, Builder("its", apart=True, why=""), wanted) == Found({})
    assert engine.asked == asked


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["vertexes", "name", "started"]), inner),
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_line_is_too_strange(said: bytes) -> None:
    found = step_of(said)
    assert found is None or isinstance(found, str)
