"""Builds, on both image stores and by both kinds of builder: what comes out, what is kept, what is refused."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from engines import TestEngine, contexts
from layouts import index_of
from sources import Opener

from pytest_multiarch import BuilderError, BuildError, DeadlinePassed, ImageSpec, MultiarchError
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.process import Finished
from pytest_multiarch.session import Session

MACHINE = "FROM alpine:3.22\nRUN uname -m >/machine\n"


#: A store and a kind of builder. What is BuildKit's own behaviour is shown on two of the four.
ALL = [(store, driver) for store in ("containerd", "classic") for driver in ("docker", "docker-container")]
TWO = [("containerd", "docker"), ("classic", "docker-container")]

on_all = pytest.mark.parametrize(("engine", "driver"), ALL, indirect=True)
on_two = pytest.mark.parametrize(("engine", "driver"), TWO, indirect=True)


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(at: TestEngine, driver: str) -> dict[str, str]:
    """Return the base images, as this builder can read them."""
    return at.base_images if driver == "docker" else contexts()


@pytest.fixture
def open_session(
    at: TestEngine,
    driver: str,
    buildkit_image: str,
    opened: Opener,
    booted: Callable[[TestEngine], None],
) -> Opener:
    """Return what opens a session with this builder."""
    if driver == "docker-container":
        booted(at)
    return partial(opened, driver=driver, buildkit_image=buildkit_image)


@pytest.fixture
def session(open_session: Opener) -> Session:
    return open_session()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    made.joinpath("Dockerfile").write_text(MACHINE)
    return made


def test_the_next_session_begins_with_what_took_longest(opened: Opener, folder: Path, tmp_path: Path) -> None:
    warm = opened()  # the first build of a platform also fetches its base image
    for name in ("linux/arm64", "linux/s390x"):
        warm.image(ImageSpec(shutil.copytree(folder, tmp_path / name), build_contexts=contexts()), name)
    mark = uuid.uuid4().hex  # no builder has it in its cache
    slow = f"FROM alpine:3.22\nARG TARGETARCH\nRUN [ $TARGETARCH = arm64 ] || sleep 2; echo {mark} >/mark\n"
    folder.joinpath("Dockerfile").write_text(slow)
    spec = ImageSpec(folder, build_contexts=contexts())
    targets = [(spec, name) for name in ("linux/arm64", "linux/s390x", "native")]
    first = opened()
    assert [name for _, name in first.in_turn(targets)] == ["native", "linux/arm64", "linux/s390x"]
    for _, name in targets[:2]:
        first.image(spec, name)
    assert [name for _, name in opened().in_turn(targets)] == ["native", "linux/s390x", "linux/arm64"]


@on_all
def test_each_platform_gets_an_image_of_its_own(
    session: Session, folder: Path, base: dict[str, str], at: TestEngine
) -> None:
    spec = ImageSpec(folder, build_contexts=base)
    names = ("native", "linux/arm/v7")
    session.start_builds([(spec, name) for name in names])
    images = {name: session.image(spec, name) for name in names}
    assert len({image.id for image in images.values()}) == 2
    for name, image in images.items():
        container = session.container(spec, name)
        machine = container.run("cat /machine; uname -m").stdout.split()
        assert machine[1] in container.platform.machines
        inspected = json.loads(at.docker("image", "inspect", image.id))[0]
        assert container.platform.matches("linux", inspected["Architecture"], inspected.get("Variant", ""))
        assert image.tag in inspected["RepoTags"]


@on_all
def test_the_same_source_is_the_same_image_and_a_change_replaces_it(
    session: Session, open_session: Opener, folder: Path, base: dict[str, str], at: TestEngine
) -> None:
    spec = ImageSpec(folder, build_contexts=base)
    first = session.image(spec, "native")
    assert first.how == "built"
    session.close()
    again = open_session()
    assert (again.image(spec, "native").how, again.image(spec, "native").id) == ("unchanged", first.id)
    again.close()
    folder.joinpath("Dockerfile").write_text(f"{MACHINE}RUN echo more >/more\n")
    second = open_session().image(spec, "native")
    assert (second.how, second.tag != first.tag) == ("built", True)
    assert at.images(first.project) == {second.tag}


@on_all
def test_an_images_digests_are_those_of_its_manifest_and_its_config(
    session: Session, folder: Path, base: dict[str, str], at: TestEngine
) -> None:
    image = session.image(ImageSpec(folder, build_contexts=base), "linux/arm64")
    layout = folder / "layout"
    layout.mkdir()
    at.docker("save", "--output", str(layout / "image.tar"), image.tag)
    with tarfile.open(layout / "image.tar") as archive:
        archive.extractall(layout, filter="data")
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    config = json.loads((layout / "blobs/sha256" / manifest["digest"][7:]).read_text())["config"]["digest"]
    assert image.config_digest == config
    assert image.manifest_digest == (manifest["digest"] if at.store == "containerd" else "")
    assert image.id in (image.config_digest, image.manifest_digest)


def test_the_digests_of_a_local_index_are_those_of_the_platforms_own_image(
    opened: Opener, containerd: TestEngine, folder: Path
) -> None:
    name = f"index-of-a-user-{containerd.state.id}:1"
    folder.joinpath("Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    containerd.docker("build", "--load", "--platform=linux/amd64,linux/arm64", "--tag", name, str(folder))
    try:
        image = opened().image(ImageSpec(reference=name), "linux/arm64")
        with tarfile.open(fileobj=io.BytesIO(saved(containerd, name))) as archive:
            blobs = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            texts = {path: file.read() for path, file in blobs.items() if file}
        manifest = json.loads(texts[f"blobs/sha256/{image.manifest_digest[7:]}"])
        config = json.loads(texts[f"blobs/sha256/{image.config_digest[7:]}"])
        assert manifest["config"]["digest"] == image.config_digest
        assert config["architecture"] == "arm64"
    finally:
        containerd.docker("rmi", "--force", name)


def saved(engine: TestEngine, name: str) -> bytes:
    return subprocess.run(
        ["docker", "save", name], env={**os.environ, **engine.env}, capture_output=True, check=True, timeout=60
    ).stdout


@on_all
def test_a_context_that_changes_between_the_question_and_the_load_is_no_error(
    session: Session,
    open_session: Opener,
    folder: Path,
    base: dict[str, str],
    at: TestEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nCOPY . /all\n")
    spec = ImageSpec(folder, build_contexts=base)
    session.image(spec, "native")
    session.close()
    call, said = Engine.call, iter(range(100))

    def changes(engine: Engine, *args: str, **options: Any) -> Finished:
        if args[0] == "buildx" and args[1] == "build":
            folder.joinpath("cache").write_text(str(next(said)))
        return call(engine, *args, **options)

    monkeypatch.setattr(Engine, "call", changes)
    image = open_session().image(spec, "native")
    found = json.loads(at.docker("image", "inspect", image.tag))[0]
    assert (found["Id"], image.tag.endswith(image.id[7:23])) == (image.id, True)
    assert at.images(image.project) == {image.tag}


@on_two
def test_images_that_differ_in_a_build_argument_leave_each_other_alone(
    session: Session, open_session: Opener, folder: Path, base: dict[str, str], at: TestEngine
) -> None:
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nARG WORD\nRUN echo $WORD >/word\n")
    one, two = (ImageSpec(folder, build_contexts=base, build_args={"WORD": word}) for word in ("one", "two"))
    tags = {session.image(spec, "native").tag for spec in (one, two)}
    assert at.images(session.image(one, "native").project) == tags
    said = [session.container(spec, "native").run("cat /word").stdout for spec in (one, two)]
    assert said == ["one\n", "two\n"]
    told = session.facts()["images"]
    assert len(told) == 2
    assert all(re.search(r"Dockerfile \(WORD, [0-9a-f]{8}\), native$", name) for name in told)
    other = open_session().image(replace(one, build_args={"WORD": "three"}), "native")
    assert at.images(other.project) == {*tags, other.tag}  # the first session still lives


@on_two
def test_what_is_known_to_be_unchanged_is_kept_until_it_is_asked_for(
    open_session: Opener, folder: Path, base: dict[str, str], at: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nARG WORD\nRUN echo $WORD >/word\n")
    specs = [ImageSpec(folder, build_contexts=base, build_args={"WORD": word}) for word in ("one", "two")]
    first = open_session()
    one, two = (first.image(spec, "native") for spec in specs)
    first.close()
    at.docker("rmi", one.tag)
    monkeypatch.setattr(Session, "_work", lambda *_: None)  # nobody asks for the second one meanwhile
    session = open_session()
    session.start_builds([(spec, "native") for spec in specs])
    assert (session.image(specs[0], "native").id, session.image(specs[0], "native").how) == (one.id, "built")
    assert at.images(one.project) == {one.tag, two.tag}
    assert session.image(specs[1], "native").how == "unchanged"


@on_two
def test_an_image_that_somebody_removed_is_loaded_once_more(
    session: Session, folder: Path, base: dict[str, str], at: TestEngine
) -> None:
    image = session.image(ImageSpec(folder, build_contexts=base), "native")
    at.docker("rmi", "--force", image.tag)
    container = session.container(ImageSpec(folder, build_contexts=base), "native")
    assert container.image.id == image.id
    assert container.run("cat /machine").returncode == 0


@on_two
def test_what_is_built_for_the_first_time_takes_one_call(
    open_session: Opener, folder: Path, base: dict[str, str], asked: list[tuple[str, bool]]
) -> None:
    open_session().image(ImageSpec(folder, build_contexts=base), "native")
    assert asked == [("build", True)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Return the builds that are run from now on: buildx's subcommand, and whether it came to a good end."""
    seen: list[tuple[str, bool]] = []
    call = Engine.call

    def spy(engine: Engine, *args: str, **options: Any) -> Finished:
        finished = call(engine, *args, **options)
        if args[0] == "buildx" and args[1] in ("build", "bake"):
            seen.append((args[1], finished.ok))
        return finished

    monkeypatch.setattr(Engine, "call", spy)
    return seen


THREE = ("native", "linux/arm64", "linux/s390x")


@on_all
def test_whether_anything_changed_is_one_question_for_all_platforms(
    open_session: Opener, folder: Path, base: dict[str, str], asked: list[tuple[str, bool]]
) -> None:
    folder.joinpath("Dockerfile").write_text("""
FROM alpine:3.22 AS chosen
ARG WORD
RUN --mount=type=secret,id=password echo "$WORD" >/word
FROM chosen
RUN exit 1
""")
    folder.joinpath("password").write_text("sesame\n")
    spec = ImageSpec(
        folder,
        target="chosen",
        build_args={"WORD": "${HOME} $${a} %{if b} $c"},
        build_contexts=base,
        secrets=[f"id=password,src={folder}/password"],
    )
    targets = [(spec, name) for name in THREE]
    first = [open_session().image(*target) for target in targets]
    assert {image.how for image in first} == {"built"}
    asked.clear()
    session = open_session()
    session.start_builds(targets)
    again = [session.image(*target) for target in targets]
    assert {image.how for image in again} == {"unchanged"}
    assert [image.id for image in again] == [image.id for image in first]
    assert asked == [("bake", True)]


@pytest.mark.parametrize(
    ("line", "to_its_end"),
    [("RUN echo {mark} >/more", False), ("COPY Dockerfile /more", False), ("LABEL mark={mark}", True)],
)
@on_two
def test_what_changed_is_built_platform_by_platform(
    open_session: Opener,
    folder: Path,
    base: dict[str, str],
    at: TestEngine,
    asked: list[tuple[str, bool]],
    line: str,
    to_its_end: bool,
) -> None:
    mark = uuid.uuid4().hex  # no builder has it in its cache
    spec = ImageSpec(folder, build_contexts=base)
    targets = [(spec, name) for name in THREE]
    warm = open_session()
    first = [warm.image(*target) for target in targets]
    warm.close()
    folder.joinpath("Dockerfile").write_text(f"{MACHINE}{line.format(mark=mark)}\n# {mark}\n")
    asked.clear()
    session = open_session()
    session.start_builds(targets)
    second = [session.image(*target) for target in targets]
    assert {image.how for image in second} == {"built"}
    assert {image.id for image in second}.isdisjoint(image.id for image in first)
    assert asked[0] == ("bake", to_its_end)
    assert asked[1:] == [("build", True)] * 3  # built and loaded by one call
    assert at.images(first[0].project) == {image.tag for image in second}


def test_a_question_without_an_answer_costs_no_image(
    opened: Opener, containerd: TestEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ImageSpec(folder, build_contexts=containerd.base_images)
    targets = [(spec, name) for name in THREE[:2]]
    first = [opened(driver="docker").image(*target).id for target in targets]
    call = Engine.call

    def hangs(engine: Engine, *args: str, **options: Any) -> Finished:
        if args[:2] == ("buildx", "bake"):
            raise DeadlinePassed("`docker buildx bake` did not end in 30 seconds")
        return call(engine, *args, **options)

    monkeypatch.setattr(Engine, "call", hangs)
    session = opened(driver="docker")
    session.start_builds(targets)
    assert [session.image(*target).id for target in targets] == first


@on_two
def test_a_platform_that_fails_now_takes_no_other_with_it(
    open_session: Opener, folder: Path, base: dict[str, str], asked: list[tuple[str, bool]]
) -> None:
    spec = ImageSpec(folder, build_contexts=base)
    targets = [(spec, name) for name in THREE]
    for target in targets:
        open_session().image(*target)
    folder.joinpath("Dockerfile").write_text(f'{MACHINE}RUN test "$(uname -m)" != s390x # {folder}\n')
    asked.clear()
    session = open_session()
    session.start_builds(targets)
    assert {session.image(*target).how for target in targets[:2]} == {"built"}
    with pytest.raises(BuildError, match="the build for linux/s390x failed: a RUN step failed"):
        session.image(*targets[2])
    assert asked[0] == ("bake", False)


@on_two
def test_the_images_of_other_platforms_and_projects_are_kept(
    session: Session, folder: Path, base: dict[str, str], at: TestEngine, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    images = [
        session.image(ImageSpec(path, build_contexts=base), name)
        for path, name in ((folder, "native"), (folder, "linux/arm64"), (other, "native"))
    ]
    assert images[0].project == images[1].project != images[2].project
    for image in images:
        assert image.tag in at.images(image.project)


@on_two
def test_what_buildx_takes_is_passed_on(
    session: Session, folder: Path, base: dict[str, str], tmp_path: Path
) -> None:
    folder.joinpath("Dockerfile.other").write_text("""
FROM alpine:3.22 AS chosen
ARG WORD
RUN --mount=type=secret,id=password cat /run/secrets/password >/secret; echo "$WORD" >/word
COPY --from=extra file /extra
FROM chosen
RUN exit 1
""")
    extra = tmp_path / "extra"
    extra.mkdir()
    extra.joinpath("file").write_text("from elsewhere\n")
    tmp_path.joinpath("password").write_text("sesame\n")
    spec = ImageSpec(
        folder,
        dockerfile=folder / "Dockerfile.other",
        target="chosen",
        build_args={"WORD": "a b"},
        build_contexts={**base, "extra": str(extra)},
        secrets=[f"id=password,src={tmp_path}/password"],
    )
    said = session.container(spec, "native").run("cat /secret /word /extra").stdout
    assert said == "sesame\na b\nfrom elsewhere\n"


@on_two
def test_a_cache_is_written_and_read(
    session: Session, folder: Path, base: dict[str, str], at: TestEngine, driver: str, tmp_path: Path
) -> None:
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nRUN cat /proc/sys/kernel/random/uuid >/once\n")
    spec = ImageSpec(folder, build_contexts=base, cache_to=[f"type=local,dest={tmp_path}/cache,mode=max"])
    once = session.container(spec, "native").run("cat /once").stdout
    assert (tmp_path / "cache/index.json").exists()
    # Another context's name is another build; what was exported is found nevertheless.
    reader = replace(spec, cache_to=(), cache_from=[f"type=local,src={tmp_path}/cache"], build_args={"A": "1"})
    assert session.container(reader, "native").run("cat /once").stdout == once


# --- refused


def layout_of_alpine() -> str:
    address = contexts().get("alpine:3.22", "")
    if not address.startswith("oci-layout://"):
        pytest.skip("base images come from a registry here: there is no OCI layout to take a platform out of")
    return address


@on_two
def test_a_run_that_fails_shows_its_own_words(session: Session, folder: Path, base: dict[str, str]) -> None:
    folder.joinpath("Dockerfile").write_text("FROM alpine:3.22\nRUN echo out of paper >&2; exit 3\n")
    with pytest.raises(BuildError, match=r"(?s)failed: a RUN step failed.*out of paper.*exit code: 3"):
        session.image(ImageSpec(folder, build_contexts=base), "native")


@on_two
def test_a_platform_that_fails_harms_no_other(session: Session, folder: Path, base: dict[str, str]) -> None:
    folder.joinpath("Dockerfile").write_text('FROM alpine:3.22\nRUN test "$(uname -m)" != s390x\n')
    spec = ImageSpec(folder, build_contexts=base)
    session.start_builds([(spec, "linux/s390x"), (spec, "native")])
    assert session.image(spec, "native").how == "built"
    for _ in range(2):
        with pytest.raises(BuildError, match="the build for linux/s390x failed"):
            session.image(spec, "linux/s390x")


@on_two
def test_a_syntax_error_names_the_line(session: Session, folder: Path) -> None:
    folder.joinpath("Dockerfile").write_text("FROM scratch\nCOPPY a b\n")
    with pytest.raises(BuildError, match=r"(?s)the Dockerfile has a syntax error.*COPPY"):
        session.image(ImageSpec(folder), "native")


@on_two
def test_a_base_image_that_nobody_has_says_so(session: Session, folder: Path) -> None:
    folder.joinpath("Dockerfile").write_text("FROM nowhere.invalid/none:1\n")
    with pytest.raises(BuildError, match=r"(?s)could not be reached.*nowhere\.invalid"):
        session.image(ImageSpec(folder), "native")


@pytest.mark.parametrize(
    ("text", "has", "lacks"),
    [
        ("FROM base\n", "linux/arm/v7", "linux/arm64"),
        ("FROM base\nRUN echo hello\n", "linux/386", "linux/amd64"),
    ],
)
@on_two
def test_a_base_image_that_lacks_the_platform_is_not_replaced_by_its_sibling(
    session: Session, folder: Path, at: TestEngine, driver: str, has: str, lacks: str, text: str, tmp_path: Path
) -> None:
    """BuildKit takes arm/v7 for arm64 and 386 for amd64 without a word, and labels the result as asked."""
    base = layout_of_alpine()
    address = index_of(base, [has], tmp_path / "layout")
    folder.joinpath("Dockerfile").write_text(text)
    spec = ImageSpec(folder, build_contexts={"base": address})
    pattern = rf"{lacks}.*(another architecture|another machine's programs)"
    with pytest.raises(MultiarchError, match=pattern) as caught:
        session.container(spec, lacks)
    assert "sibling without a word" in str(caught.value)


@on_two
def test_a_base_image_that_lacks_another_platform_says_so(
    session: Session, folder: Path, at: TestEngine, driver: str, tmp_path: Path
) -> None:
    base = layout_of_alpine()
    folder.joinpath("Dockerfile").write_text("FROM base\n")
    spec = ImageSpec(folder, build_contexts={"base": index_of(base, ["linux/amd64"], tmp_path / "layout")})
    with pytest.raises(BuildError, match=r"linux/s390x failed: a base image lacks the platform\. Choose a base"):
        session.image(spec, "linux/s390x")


@on_two
def test_a_build_that_takes_too_long_names_the_option(
    open_session: Opener, folder: Path, base: dict[str, str]
) -> None:
    session = open_session(build_timeout=3.0)
    folder.joinpath("Dockerfile").write_text(f"FROM alpine:3.22\nRUN sleep 60 # {folder}\n")
    with pytest.raises(DeadlinePassed, match=r"did not end in time\. Give it more with --multiarch-build-timeout"):
        session.image(ImageSpec(folder, build_contexts=base), "native")


# --- refused before BuildKit is asked: one builder is as good as another


def test_a_missing_context_a_missing_dockerfile_and_a_file_for_a_folder(
    opened: Opener, containerd: TestEngine, tmp_path: Path
) -> None:
    session = opened(driver="docker")
    with pytest.raises(BuildError, match=r"the build context \S+/none is missing\. Name the folder"):
        session.image(ImageSpec(tmp_path / "none"), "native")
    with pytest.raises(BuildError, match=r"there is no \S+/Dockerfile\. Name the Dockerfile with --multiarch"):
        session.image(ImageSpec(tmp_path), "native")
    tmp_path.joinpath("file").touch()
    with pytest.raises(BuildError, match=r"the build context \S+/file is not a folder"):
        session.image(ImageSpec(tmp_path / "file"), "native")


def test_an_unknown_builder_is_an_error_that_lists_those_there_are(
    opened: Opener, containerd: TestEngine, folder: Path
) -> None:
    session = opened(builder="no-such-builder")
    with pytest.raises(BuilderError, match=r"there is no builder 'no-such-builder'\. Create it .*: .*default"):
        session.image(ImageSpec(folder), "native")


def test_buildkits_image_that_cannot_be_pulled_is_an_error_that_names_the_option(
    opened: Opener, containerd: TestEngine, folder: Path
) -> None:
    before = containerd.left
    session = opened(driver="docker-container", buildkit_image="nowhere.invalid/buildkit:1")
    with pytest.raises(BuilderError, match=r"can't be pulled\. Name one .* --multiarch-buildkit-image"):
        session.image(ImageSpec(folder), "native")
    assert containerd.left == before


def test_left_to_itself_it_then_uses_the_engines_own_and_says_so(
    opened: Opener, containerd: TestEngine, folder: Path
) -> None:
    session = opened(driver="auto", buildkit_image="nowhere.invalid/buildkit:1")
    spec = ImageSpec(folder, build_contexts=containerd.base_images)
    assert session.image(spec, "native").how == "built"
    assert "the engine's own" in session.facts()["builder"][""]
    assert "nowhere.invalid/buildkit:1 can't be pulled" in session.facts()["builder"][""]


def test_a_builder_that_exists_is_used_and_left_as_it_was(
    opened: Opener, containerd: TestEngine, folder: Path, buildkit_image: str, tmp_path: Path
) -> None:
    name = f"of-a-user-{containerd.state.id}"
    containerd.docker(
        "buildx",
        "create",
        "--name",
        name,
        "--driver",
        "docker-container",
        "--driver-opt",
        f"image={buildkit_image}",
    )
    try:
        containerd.docker("buildx", "inspect", "--bootstrap", name)
        before = containerd.docker("buildx", "inspect", name).split("GC Policy")[0]
        session = opened(builder=name)
        assert session.image(ImageSpec(folder, build_contexts=contexts()), "native").how == "built"
        assert session.facts()["builder"][""] == f"builder {name} (docker-container driver), as asked for"
        session.close()
        after = containerd.docker("buildx", "inspect", name).split("GC Policy")[0]
        assert stable(after) == stable(before)
    finally:
        containerd.docker("buildx", "rm", "--force", name, check=False)


def stable(inspected: str) -> list[str]:
    return [line for line in inspected.splitlines() if not line.startswith("Last Activity")]
