"""What `buildx build` is asked, and what its words mean: values in, values out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_multiarch import BuildError, EngineError, ImageSpec, Platform
from pytest_multiarch.images.build import arguments, promised_id, read_metadata
from pytest_multiarch.images.context import check_context
from pytest_multiarch.images.failures import build_error

ARM64 = Platform.parse("arm64")


def test_everything_of_a_spec_reaches_buildx() -> None:
    spec = ImageSpec(
        "ctx",
        dockerfile="D",
        target="t",
        build_args={"A": "1 2"},
        build_contexts={"base": "/b"},
        secrets=["id=x"],
        cache_from=["type=local,src=/c"],
        cache_to=["type=local,dest=/c"],
    )
    line = " ".join(arguments(spec, ARM64, "the-builder"))
    for words in (
        "buildx build --builder the-builder --platform linux/arm64",
        "--provenance=false --sbom=false",
        "--file D --target t --build-arg A=1 2 --build-context base=/b",
        "--secret id=x --cache-from type=local,src=/c --cache-to type=local,dest=/c",
    ):
        assert words in line


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ('0.1 exec /bin/sh: exec format error\nprocess "/bin/sh" did not complete', "no emulator runs it"),
        ("no match for platform in manifest: not found", "a base image lacks the platform"),
        ("dockerfile parse error on line 2: unknown instruction: COPPY", "the Dockerfile has a syntax error"),
        ("unexpected status: 429 Too Many Requests", "the registry limits"),
        ("failed to resolve source metadata for x: dial tcp: no such host", "could not be reached"),
        ("write /x: no space left on device", "the disk is full"),
        (
            'process "/bin/sh -c cc" did not complete successfully: exit code: 139',
            "a program of the build",
        ),
        ('process "/bin/sh -c false" did not complete successfully: exit code: 1', "a RUN step failed"),
    ],
)
def test_a_cause_is_named(log: str, cause: str) -> None:
    error = build_error(ARM64, log)
    assert str(error).startswith("the build for linux/arm64 failed: ")
    assert cause in str(error)
    assert log.splitlines()[-1] in str(error)


ENDPOINT = """\
#5 ERROR: process "/bin/sh -c echo hi" did not complete successfully: failed to create endpoint x3h on network
------
 > [2/3] RUN echo hi:
------
Dockerfile:2
ERROR: failed to build: failed to solve: process "/bin/sh -c echo hi" did not complete successfully: failed to \
create endpoint x3h on network bridge: adding interface veth1 to bridge docker0 failed: Device does not exist"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("ERROR: failed to build: failed to solve: Unavailable: error reading from server: EOF", "was stopped"),
        ("ERROR: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", "was stopped"),
        (ENDPOINT, "could not give a container its network"),
        ("ERROR: failed to copy: write /blobs/1: no space left on device", "the disk is full"),
        ("failed to solve: fork/exec /usr/bin/runc: resource temporarily unavailable", "has no memory, process"),
    ],
)
def test_a_fault_of_the_engine_is_no_step_s(log: str, cause: str) -> None:
    error = build_error(ARM64, log)
    assert isinstance(error, EngineError)
    assert cause in str(error)
    assert "RUN step failed" not in str(error)


@pytest.mark.parametrize(
    "wrote", ["no space left on device", "Cannot connect to the Docker daemon", "too many open files"]
)
def test_what_a_step_wrote_is_no_fault_of_the_engine(wrote: str) -> None:
    log = f'------\n0.1 {wrote}\n------\nERROR: process "/bin/sh -c x" did not complete successfully: exit code: 1'
    assert isinstance(build_error(ARM64, log), BuildError)


def test_what_an_earlier_step_wrote_is_no_cause() -> None:
    end = 'process "x" did not complete successfully: exit code: 1'
    log = f"#1 0.1 test: exec format error\n------\n > RUN x:\n------\n{end}"
    assert "a RUN step failed" in str(build_error(ARM64, log))


def test_an_unknown_cause_shows_the_last_words_alone() -> None:
    log = "\n".join(f"#{number} line" for number in range(100))
    text = str(build_error(ARM64, log))
    assert text.startswith("the build for linux/arm64 failed.\n")
    assert "#99 line" in text
    assert "#50 line" not in text


def test_what_buildkit_repeats_at_its_end_is_the_evidence() -> None:
    log = "#1 noise\n------\n > RUN false:\n------\nDockerfile:2\nERROR: exit code: 1"
    assert "noise" not in str(build_error(ARM64, log))
    assert "> RUN false" in str(build_error(ARM64, log))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything; tests/engine shows it without that right")
def test_an_unreadable_file_is_refused_unless_a_dockerignore_may_leave_it_out(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "closed").touch(mode=0)
    with pytest.raises(BuildError, match="buildx would send it as an empty one"):
        check_context(ImageSpec(tmp_path))
    (tmp_path / ".dockerignore").write_text("closed\n")
    check_context(ImageSpec(tmp_path))


def test_a_dangling_link_in_the_context_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "link").symlink_to("nowhere")
    check_context(ImageSpec(tmp_path))


def test_an_address_is_left_to_buildkit() -> None:
    check_context(ImageSpec("https://host.invalid/repo.git"))


def test_the_identity_of_an_image_is_not_its_arguments() -> None:
    one, two = ImageSpec("/a", build_args={"A": "1"}), ImageSpec("/a", build_args={"A": "2"})
    assert (one.identity == two.identity, one.key == two.key) == (True, False)
    assert ImageSpec("/a").identity != ImageSpec("/b").identity


@pytest.mark.parametrize("text", [None, "", "{", "[]", "null", '{"containerimage.digest": "sha256:1"}', "\xff"])
def test_metadata_that_names_no_config_promises_nothing(text: str | None, tmp_path: Path) -> None:
    """Docker 20.10's own builder names the manifest alone; a full disk leaves half a file."""
    path = tmp_path / "metadata.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    assert promised_id(read_metadata(path), containerd=False) == ""
