"""Published images: what the registry's index offers, and whether what is behind it is what it says."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import programs
import pytest
import runs
from engines import TestEngine
from own_registry import INDEX, MANIFEST, Registry, attestation, index
from runs import Outcome, Run

AMD64, ARM64, V6, V7, S390X = "linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "linux/s390x"
MIPS64 = "linux/mips64"  # big-endian, which is none of ours
ALL = ("index", "config", "entrypoint", "elf", "link", "runs")


@dataclass(frozen=True)
class Shelf:
    """Writes images into a repository of the registry.

    Attributes:
        registry: the registry.
        name: the repository.
        hello: a program for each platform.

    """

    registry: Registry
    name: str
    hello: Mapping[str, bytes]

    def entry(self, platform: str, says: str = "", content: str = "") -> Mapping[str, object]:
        """Write an image and return its entry for `platform`."""
        files = {"start": self.hello[content or platform], "about": f"{platform} {content}".encode()}
        return self.registry.image(self.name, files, platform, says=says)

    def index(self, *entries: Mapping[str, object], tag: str = "1") -> str:
        """Write an index and return its reference."""
        return self.registry.index(self.name, tag, entries)


@dataclass(frozen=True)
class Case:
    """One published image.

    Attributes:
        write: writes it and returns its reference.
        asked: what `--platforms` says.
        platforms: those that are then looked at.
        red: (check, platform) -> pattern of what it must say, as a failure or as an error of its set-up; every
            other item must pass.

    """

    write: Callable[[Shelf], str]
    asked: str
    platforms: tuple[str, ...]
    red: Mapping[tuple[str, str], str] = field(default_factory=dict)


def _good(shelf: Shelf) -> str:
    entries = [shelf.entry(name) for name in (AMD64, ARM64, V7)]
    return shelf.index(*entries, *map(attestation, entries))


def _doubled(shelf: Shelf) -> str:
    return shelf.index(shelf.entry(AMD64), shelf.entry(ARM64), shelf.entry("linux/arm64/v8", content=ARM64))


def _swapped(shelf: Shelf) -> str:
    first, second = shelf.entry(ARM64), shelf.entry(S390X)
    return shelf.index({**first, "platform": second["platform"]}, {**second, "platform": first["platform"]})


def _unknown(shelf: Shelf) -> str:
    """Write what may be tested, what may not yet, and what is not Linux's."""
    odd = [shelf.entry(name, content=ARM64) for name in (MIPS64, "linux/arm64/v9", "windows/amd64")]
    return shelf.index(shelf.entry(ARM64), *odd)


def _thrice(shelf: Shelf) -> str:
    """Write what some tools make of an index: one image listed again and again."""
    entry = shelf.entry(ARM64)
    v8 = {**entry, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    return shelf.index(entry, entry, v8)


def _nested(shelf: Shelf) -> str:
    """Write an index that has another one for an entry, as the specification allows."""
    inner = shelf.registry.manifest(shelf.name, index([shelf.entry(AMD64), shelf.entry(S390X)]))
    return shelf.index({**inner, "platform": {"os": "linux", "architecture": "amd64"}}, shelf.entry(ARM64))


def _single(shelf: Shelf) -> str:
    entry = shelf.entry(ARM64)
    return f"{shelf.registry.address}/{shelf.name}@{entry['digest']}"


def _of(*checks: str, platform: str, says: str) -> dict[tuple[str, str], str]:
    return {(check, platform): says for check in checks}


def _not_to_run(platform: str, says: str) -> dict[tuple[str, str], str]:
    return {("runs", platform): f"the image for {platform} says that it is {says}"}


CASES: Mapping[str, Case] = {
    "good": Case(_good, "all", (AMD64, ARM64, V7)),
    "single": Case(_single, "all", (ARM64,)),
    "missing": Case(
        lambda shelf: shelf.index(shelf.entry(AMD64), shelf.entry(ARM64)),
        f"{AMD64},{S390X}",
        (AMD64, S390X),
        {
            **_of(*ALL[1:], platform=S390X, says=r"has no image for linux/s390x"),
            ("index", S390X): r"(?s)1 failure.*manifests: no entry for linux/s390x",
        },
    ),
    "doubled": Case(
        _doubled,
        "all",
        (AMD64, ARM64),
        {("index", ARM64): r"2 entries for linux/arm64: sha256:.*expected one entry"},
    ),
    "listed-thrice": Case(_thrice, "all", (ARM64,)),
    "nested": Case(_nested, "all", (AMD64, ARM64)),
    "unknown": Case(
        _unknown,
        "all",
        (ARM64, MIPS64, "linux/arm64/v9"),
        {(check, name): f"no platform is called '{name}'" for check in ALL for name in (MIPS64, "linux/arm64/v9")},
    ),
    "swapped": Case(
        _swapped,
        "all",
        (S390X, ARM64),
        {
            ("index", S390X): r"its config says linux/arm64, expected linux/s390x",
            ("index", ARM64): r"its config says linux/s390x, expected linux/arm64",
            ("config", S390X): r"architecture: arm64, expected s390x",
            ("config", ARM64): r"architecture: s390x, expected arm64",
            ("elf", S390X): r"/start: 64-bit little-endian EM_AARCH64",
            ("elf", ARM64): r"/start: 64-bit big-endian EM_S390",
            **_not_to_run(S390X, "linux/arm64"),
            **_not_to_run(ARM64, "linux/s390x"),
        },
    ),
    "config-lies-about-the-architecture": Case(
        lambda shelf: shelf.index(shelf.entry(ARM64, says=S390X)),
        ARM64,
        (ARM64,),
        {
            ("index", ARM64): r"its config says linux/s390x, expected linux/arm64",
            ("config", ARM64): r"architecture: s390x, expected arm64",
            **_not_to_run(ARM64, "linux/s390x"),
        },
    ),
    "config-lies-about-the-variant": Case(
        lambda shelf: shelf.index(shelf.entry(V6, says=V7)),
        V6,
        (V6,),
        {
            ("index", V6): r"its config says linux/arm/v7, expected linux/arm/v6",
            ("config", V6): r"variant: v7, expected v6",
            **_not_to_run(V6, "linux/arm/v7"),
        },
    ),
    "content-lies": Case(
        lambda shelf: shelf.index(shelf.entry(V6, content=V7)),
        V6,
        (V6,),
        {("elf", V6): "Tag_CPU_arch v7", ("runs", V6): r"newer CPU than the platform's oldest"},
    ),
}


@dataclass(frozen=True)
class Project:
    """A project without a Dockerfile, which tests published images on one engine."""

    folder: Path
    engine: TestEngine

    def run(self, *args: str) -> Run:
        """Run pytest in it."""
        return runs.run(self.folder, self.engine, *runs.options(*args))


@pytest.fixture
def project(engine: TestEngine, tmp_path: Path) -> Project:
    """Return an empty project."""
    runs.lay_out(tmp_path / "published", {}, {}, "")
    runs.ini(tmp_path / "published")
    return Project(tmp_path / "published", engine)


@pytest.fixture
def shelf(registry: Registry, hello: Mapping[str, bytes], request: pytest.FixtureRequest) -> Shelf:
    """Return a repository of this test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return Shelf(registry, name, hello)


def faults(case: Case, done: Run) -> list[str]:
    """Return what is not as the case says."""
    found = [done.terminal] if "INTERNALERROR" in done.terminal else []
    asked = {f"pytest.ini::{check}[{platform}]" for check in ALL for platform in case.platforms}
    if set(done.outcomes) != asked:
        found.append(f"collected {sorted(done.outcomes)}\n{done.terminal}\n{done.errors}")
    for check in ALL:
        for platform in case.platforms:
            outcome = done.outcomes.get(f"pytest.ini::{check}[{platform}]", Outcome("missing", ""))
            pattern = case.red.get((check, platform))
            if (pattern is None) != (outcome.outcome == "passed") or not re.search(pattern or "", outcome.text):
                found.append(f"{check}[{platform}] is {outcome}, expected {pattern}")
    return found


@pytest.mark.parametrize("name", CASES)
def test_an_index_is_held_against_what_is_behind_it(name: str, project: Project, shelf: Shelf) -> None:
    case = CASES[name]
    reference = case.write(shelf)
    done = project.run(f"--multiarch-image={reference}", f"--platforms={case.asked}")
    assert faults(case, done) == []
    assert done.code == (1 if case.red else 0)
    assert ("no index" in done.told("pytest.ini::index[linux/arm64]")) == (name == "single")
    forget(project, reference)


def test_two_workers_say_the_same(project: Project, shelf: Shelf) -> None:
    case = CASES["swapped"]
    reference = case.write(shelf)
    done = project.run(f"--multiarch-image={reference}", "--platforms=all", "-n", "2")
    assert faults(case, done) == []
    forget(project, reference)


@pytest.mark.parametrize("way", runs.WAYS)
def test_all_platforms_of_an_image_that_nobody_has_is_a_usage_error(
    way: str, project: Project, shelf: Shelf
) -> None:
    reference = f"{shelf.registry.address}/{shelf.name}/typo:1"
    done = project.run(f"--multiarch-image={reference}", "--platforms=all", *runs.WAYS[way])
    assert done.code == 4, done.terminal
    assert done.errors.count(f"there is no image {reference}: neither the registry nor the engine has it") == 1
    assert "Traceback" not in done.terminal + done.errors


def test_an_image_that_only_the_engine_has_is_asked_for_each_of_its_platforms(
    project: Project, hello: Mapping[str, bytes], tmp_path: Path
) -> None:
    engine, reference = project.engine, f"zoo-local-{os.getpid()}:1"
    held = (AMD64, S390X) if engine.store == "containerd" else (S390X,)
    for name in held:
        programs.write(tmp_path / "context" / name, hello[name])
    recipe = tmp_path / "context/Dockerfile"
    recipe.write_text('FROM scratch\nARG TARGETPLATFORM\nCOPY $TARGETPLATFORM /start\nENTRYPOINT ["/start"]\n')
    words = ["--builder=default", "--provenance=false", f"--platform={','.join(held)}", f"--tag={reference}"]
    engine.docker("buildx", "build", *words, "--load", str(recipe.parent))
    try:
        done = project.run(f"--multiarch-image={reference}", "--platforms=all")
        assert faults(Case(lambda shelf: "", "all", held), done) == []
        assert done.code == 0
        other = project.run(f"--multiarch-image={reference}", f"--platforms={ARM64}")
        assert other.outcomes[f"pytest.ini::config[{ARM64}]"].outcome == "failed"
        assert "says that it is" in other.outcomes[f"pytest.ini::runs[{ARM64}]"].text
    finally:
        engine.docker("rmi", "--force", reference)


def test_an_engines_other_image_of_that_name_is_told_and_can_be_chosen(
    project: Project, shelf: Shelf, tmp_path: Path
) -> None:
    engine, reference = project.engine, shelf.index(shelf.entry(AMD64))
    engine.docker("pull", "--quiet", reference)
    done = project.run(f"--multiarch-image={reference}", f"--platforms={AMD64}")
    assert "is another image" not in done.terminal, "the registry's own"
    engine.docker("rmi", reference)

    programs.static(tmp_path / "start", "amd64", code=programs.says(b"mine", 0))
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "start", "start")
    engine.docker("import", "--platform", AMD64, "--change", 'ENTRYPOINT ["/start"]', str(archive), reference)
    try:
        mine = engine.docker("image", "inspect", "--format", "{{.Id}}", reference)
        (project.folder / "test_it.py").write_text(MINE)
        done = project.run(f"--multiarch-image={reference}", f"--platforms={AMD64}")
        assert f"{reference} is another image, not tested here; --multiarch-image={mine}" in done.terminal
        assert done.outcomes[f"test_it.py::test_mine[{AMD64}]"].outcome == "failed"
        done = project.run(f"--multiarch-image={mine}", f"--platforms={AMD64}")
        assert done.outcomes[f"test_it.py::test_mine[{AMD64}]"].outcome == "passed"
        assert done.code == 0
    finally:
        engine.docker("rmi", "--force", reference)


MINE = """
def test_mine(container):
    assert container.run(["/start"], check=True).stdout == "mine"
"""

MOVE = """

def pytest_collection_modifyitems():
    import urllib.request
    request = urllib.request.Request({url!r}, {data!r}, {{"Content-Type": {kind!r}}}, method="PUT")
    urllib.request.urlopen(request).close()
"""

FIRST = """
def test_first(container):
    assert container.run(["/start"], check=True).stdout == "first"
"""


@pytest.mark.parametrize("kind", [INDEX, MANIFEST], ids=["index", "single"])
@pytest.mark.parametrize("way", runs.WAYS)
def test_a_tag_that_moves_between_asking_and_pulling_changes_nothing(
    way: str, kind: str, project: Project, shelf: Shelf, tmp_path: Path
) -> None:
    first, second = (
        programs.static(tmp_path / word, "amd64", code=programs.says(word.encode(), 0)).read_bytes()
        for word in ("first", "second")
    )
    entries = [shelf.registry.image(shelf.name, {"start": content}, AMD64) for content in (first, second)]
    data: bytes
    if kind == INDEX:
        reference, data = shelf.index(entries[0]), json.dumps(index(entries[1:])).encode()
    else:
        before, data = (shelf.registry.raw(shelf.name, str(entry["digest"])) for entry in entries)
        shelf.registry.manifest(shelf.name, json.loads(before), tag="1")
        reference = f"{shelf.registry.address}/{shelf.name}:1"
    url = f"http://{shelf.registry.address}/v2/{shelf.name}/manifests/1"
    conftest = project.folder / "conftest.py"
    conftest.write_text(runs.REPORTER + MOVE.format(url=url, data=data, kind=kind))
    (project.folder / "test_it.py").write_text(FIRST)
    words = [f"--multiarch-image={reference}", "--platforms=all", *runs.WAYS[way]]
    done = project.run(*words)
    assert done.outcomes["test_it.py::test_first[linux/amd64]"].outcome == "passed", done.terminal
    assert done.code == 0
    later = project.run(*words)  # the tag stands for the second now
    assert later.outcomes["test_it.py::test_first[linux/amd64]"].outcome == "failed"
    forget(project, reference)


def forget(project: Project, reference: str) -> None:
    """Remove what the test pulled."""
    name = reference.partition("@")[0].rpartition(":")[0] if "@" not in reference else reference.partition("@")[0]
    listed = project.engine.docker("image", "ls", "--digests", "--format", "{{.Repository}}@{{.Digest}}", name)
    for image in listed.splitlines():
        project.engine.docker("rmi", "--force", image, check=False)
