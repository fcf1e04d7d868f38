"""Whatever comes from outside is a value or one of our errors: JSON, /proc entries, options, words."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_multiarch.audit import config as audit_config
from pytest_multiarch.audit import index as audit_index
from pytest_multiarch.audit.config import Config
from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.programs import probe
from pytest_multiarch.engine.client import Engine, version_of
from pytest_multiarch.errors import MultiarchError, from_dict, printable
from pytest_multiarch.images import published
from pytest_multiarch.options import OPTIONS
from pytest_multiarch.platforms import Platform
from pytest_multiarch.process import Finished

PLATFORM = Platform.parse("arm/v7")

PLACES = ["manifests", "platform", "digest", "annotations", "config", "Config", "vnd.docker.reference.type"]
FIELDS = ["os", "architecture", "variant", "Env", "Entrypoint", "Cmd", "WorkingDir", "schemaVersion", ""]
KEYS = st.sampled_from([*PLACES, *FIELDS])
WORDS = st.sampled_from(["linux", "arm", "v7", ""])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), WORDS)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)

bounded = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@bounded
@given(OBJECTS)
def test_a_config_is_judged_whatever_it_says(said: dict[str, Any]) -> None:
    config = Config.parse(said)
    assert all(isinstance(word, str) for word in config.argv)
    assert all(folder.startswith("/") for folder in config.path)
    text = audit_config.judge(config, PLATFORM).text()
    assert len(text) < 5000
    assert printable(text) == text or "\\" in printable(text)


@bounded
@given(OBJECTS, OBJECTS)
def test_an_index_is_judged_whatever_it_says(index: dict[str, Any], config: dict[str, Any]) -> None:
    entries = audit_index.entries(index)
    configs = {entry.digest: Config.parse(config) for entry in entries}
    assert audit_index.judge(entries, configs, PLATFORM).text()


class Registry(Engine):
    """An engine whose client prints what a registry made it print."""

    def __init__(self, said: bytes) -> None:
        super().__init__()
        self.said = said

    def need_buildx(self) -> None:
        """Ask nobody."""

    def call(self, *args: str, **_: Any) -> Finished:  # type: ignore[override]
        return Finished(args, 0, self.said if "imagetools" in args else b"[]", b"", 0.0)


@bounded
@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
def test_a_registrys_answer_is_an_image_or_an_error_of_ours(said: bytes) -> None:
    registry = Registry(said)
    with contextlib.suppress(MultiarchError):
        found = published.find(registry, "host/name:tag")
        with contextlib.suppress(MultiarchError):
            published.platforms(registry, found)
        with contextlib.suppress(MultiarchError):
            found.entry(PLATFORM)
        published.configs(registry, found, PLATFORM)


def test_deep_nesting_is_an_error_of_ours() -> None:
    with contextlib.suppress(MultiarchError):
        published.find(Registry(b"[" * 200_000), "host/name:tag")


ENTRY = st.lists(
    st.one_of(
        st.sampled_from(["enabled", "disabled", "interpreter /x", "flags: POCF", "offset 18", "magic 7f454c46"]),
        st.builds("{} {}".format, st.sampled_from(["magic", "mask", "offset", "flags:"]), st.text(max_size=20)),
        st.builds("{} {}".format, st.sampled_from(["magic", "mask"]), st.binary(max_size=40).map(bytes.hex)),
        st.text(max_size=30),
    ),
    max_size=7,
).map("\n".join)


@bounded
@given(ENTRY)
def test_an_entry_of_the_kernel_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):  # what `entries` takes for nothing that we know
        entry = binfmt.parse("name", text)
        entry.takes(probe(PLATFORM))
        str(entry)


@bounded
@given(st.sampled_from(OPTIONS), st.text(max_size=40))
def test_an_option_is_a_value_or_a_usage_error(option: Any, text: str) -> None:
    with contextlib.suppress(MultiarchError):
        option.parse(text, Path("/base"))


def test_a_number_of_thousands_of_digits_is_a_usage_error() -> None:
    for option in OPTIONS:
        with contextlib.suppress(MultiarchError):
            option.parse("9" * 9999, Path("/base"))


@bounded
@given(st.text(), st.text(), st.text(), st.text())
def test_an_errors_words_are_data(what: str, why: str, do: str, evidence: str) -> None:
    error = MultiarchError(what, why=why, do=do, evidence=evidence)
    text = str(error)
    assert all(each.isprintable() or each in "\n\t" for each in text)
    assert not re.search(r"(?m)^[ \t]*::", text)
    assert not re.search(r"##\w*\[", text)
    assert str(from_dict(json.loads(json.dumps(error.as_dict())))) == text


@bounded
@given(st.text(st.sampled_from("\x1b[0m:# \n\tvso[]\r\x9b/@ab"), max_size=60))
def test_what_is_tamed_stays_tame(text: str) -> None:
    once = printable(text)
    assert printable(once) == once


@bounded
@given(st.text(max_size=60))
def test_a_version_is_numbers_or_nothing(text: str) -> None:
    assert all(isinstance(part, int) for part in version_of(text))
