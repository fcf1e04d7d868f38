"""Machines that lack something: one clear paragraph, the other tests unaffected, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import TestEngine, contexts
from projects import WITHOUT, Project
from sources import ini_for

TESTS = "def test_a(container): pass\ndef test_b(container): pass\ndef test_c(): pass\n"

#: Where the client looks for its plugins (docker/cli, cli-plugins/manager).
PLUGINS = tuple(f"/usr/{folder}/docker/cli-plugins" for folder in ("lib", "libexec", "local/lib", "local/libexec"))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, containerd: TestEngine) -> Callable[[str], None]:
    """Return what puts a `docker` on PATH that goes through some lines of shell before the real one."""
    folder, real = tmp_path / "bin", shutil.which("docker")

    def put(lines: str) -> None:
        folder.mkdir()
        docker = folder / "docker"
        docker.write_text(f"#!/bin/sh\ndocker={real}\n{lines}\n")
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    return put


def refused(project: Project, *args: str) -> str:
    """Run tests of which all that need the image must fail alike, and return what was said."""
    project.tests(TESTS)
    result = project.run("--platforms=linux/amd64", "-k", "test_", *args)
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["errors"]) == (1, 2)
    return checked(result.stdout.str() + result.stderr.str())


def checked(text: str) -> str:
    for word in ("Traceback", "INTERNALERROR", "pytest_multiarch/", "are hidden"):
        assert word not in text
    assert text.count("Told in full above") <= 1
    return text


def works(*argv: str) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_setpriv = pytest.mark.skipif(
    not works("setpriv", "--reuid=65534", "--clear-groups", "true"), reason="no other user can be had (setpriv)"
)
needs_mounts = pytest.mark.skipif(
    not works("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"), reason="nothing can be mounted (unshare)"
)


@needs_setpriv
def test_a_socket_that_refuses_this_user(image_project: Project, client: Callable[[str], None]) -> None:
    client('exec setpriv --reuid=65534 --regid=65534 --clear-groups $docker "$@"')
    text = refused(image_project)
    assert "the Docker engine's socket refuses this user. Run as a user who may use it" in text


@needs_mounts
def test_a_client_without_buildx(image_project: Project, client: Callable[[str], None]) -> None:
    folders = " ".join([*PLUGINS, "$DOCKER_CONFIG/cli-plugins"])
    hide = f'for at in {folders}; do [ ! -d "$at" ] || mount -t tmpfs none "$at"; done; exec "$@"'
    client(f"exec unshare -m sh -c '{hide}' sh $docker \"$@\"")
    text = refused(image_project)
    assert "the `docker` client has no buildx. Install Docker's buildx plugin: package" in text


def test_a_buildx_that_is_too_old(
    image_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, containerd: TestEngine
) -> None:
    plugin = tmp_path / "config/cli-plugins/docker-buildx"
    plugin.parent.mkdir(parents=True)
    said = '{"SchemaVersion":"0.1.0","Vendor":"Docker Inc.","Version":"v0.5.1","ShortDescription":"old"}'
    plugin.write_text(f"#!/bin/sh\necho '{said}'\n")
    plugin.chmod(0o755)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    text = refused(image_project)
    assert "Docker's buildx is too old: it is 0.5.1, and 0.10.2 is needed. Install" in text


def test_no_client_at_all(image_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    text = refused(image_project)
    monkeypatch.undo()
    assert "there is no `docker` command. Install a Docker client and engine, or put it on PATH" in text


def test_an_engine_that_refuses_privileged_containers(
    image_project: Project, client: Callable[[str], None], state_of_its_own: TestEngine, buildkit_image: str
) -> None:
    # The engine can't be made to refuse without a plugin of its own (authorization, user namespaces).
    client("""
case " $* " in
*" --privileged "*) echo "docker: Error response from daemon: privileged mode is incompatible" >&2; exit 125 ;;
esac
exec $docker "$@"
""")
    image = f"--multiarch-buildkit-image={buildkit_image}"
    text = refused(image_project, "--multiarch-driver=docker-container", image)
    assert "the session builder's container can't be started: BuildKit needs a privileged container" in text
    assert "--multiarch-driver=docker" in text
    image_project.tests(TESTS)
    result = image_project.run("--platforms=linux/amd64", "-k", "test_", "--multiarch-driver=auto", image)
    result.assert_outcomes(passed=3)
    why = "the session builder's container can't be started: *privileged mode is incompatible"
    result.stdout.fnmatch_lines([f"builder: the engine's own (there is no session builder: {why})"])
    assert state_of_its_own.containers == set()
    assert not state_of_its_own.builders & state_of_its_own.volumes


def test_a_state_folder_that_cannot_be_written(image_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    text = refused(image_project)
    assert "the state folder /dev/null/pytest-multiarch can't be used" in text
    assert "XDG_STATE_HOME" in text


@pytest.fixture
def without_rights(image_project: Project) -> Callable[..., str]:
    """Return what runs the project's tests by a root that may not read what its mode forbids."""
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and not works(*drop, "true"):
        pytest.skip("root can read everything here")

    def run() -> str:
        image_project.tests(TESTS)
        argv = [*(drop if os.geteuid() == 0 else []), sys.executable, "-m", "pytest", *WITHOUT, "-k", "test_"]
        done = subprocess.run(
            [*argv, "--platforms=linux/amd64"],
            cwd=image_project.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "1 passed" in done.stdout
        assert "2 errors" in done.stdout
        return checked(done.stdout + done.stderr)

    return run


def test_a_build_context_that_cannot_be_read(
    image_project: Project, without_rights: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    image_project.ini(ini_for(contexts(), multiarch_driver="docker", multiarch_context=str(folder)))
    folder.chmod(0)
    text = without_rights()
    folder.chmod(0o700)
    assert f"the build context {folder} can't be read" in text


def test_a_dockerfile_that_cannot_be_read(image_project: Project, without_rights: Callable[..., str]) -> None:
    file = image_project.path / "Dockerfile"
    file.chmod(0)
    assert f"{file} can't be read. Give its reader the right" in without_rights()


def test_a_file_of_the_context_that_buildx_would_send_empty(
    image_project: Project, without_rights: Callable[..., str]
) -> None:
    file = image_project.path / "serve"
    file.chmod(0)
    text = without_rights()
    assert f"a file of the build context can't be read: {file}: buildx would send it as an empty one" in text
