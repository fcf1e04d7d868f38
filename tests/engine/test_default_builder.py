"""The session builder as a user gets it: no option names its image, so it is the pinned one by name and digest."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import TestEngine, contexts, said_by_setup
from projects import Project
from sources import ini_for

from pytest_multiarch.pins import BUILDKIT_IMAGE
from pytest_multiarch.state import State

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT CHECKED: starting an engine takes root")

START = Path(__file__).parents[2] / ".ci/engine"
NAME, TAG, DIGEST = re.split("[:@]", BUILDKIT_IMAGE, maxsplit=2)


def start(name: str) -> str:
    """Start an engine beside the machine's own, with the classic store, and return its address."""
    return subprocess.run(
        [START, "start", name, "classic"], capture_output=True, text=True, timeout=120, check=True
    ).stdout.strip()


@pytest.fixture
def holds_the_pin(classic: TestEngine, state: State, tmp_path: Path) -> Iterator[TestEngine]:
    """Return an engine that holds an image under the pinned reference, and has not been told another name of it.

    A digest is its manifest's, so what we compiled has another one. The containerd store looks for a digest by its
    content, so nothing stands in for the pinned image there. The classic store believes its list of names.
    """
    name, data = "pinned", Path("/var/lib/multiarch-ci/pinned")
    made = TestEngine("classic", {"DOCKER_HOST": start(name)}, state)
    try:
        stand_in = said_by_setup("buildkit-image")
        if stand_in:
            archive = str(tmp_path / "buildkit.tar")
            classic.docker("save", "--output", archive, stand_in)
            made.docker("load", "--input", archive)
            image = made.docker("image", "inspect", "--format", "{{.Id}}", stand_in)
            subprocess.run([START, "stop", name], timeout=120, check=True)
            known = {"Repositories": {NAME: {f"{NAME}@{DIGEST}": image}}}
            (data / "image/overlay2/repositories.json").write_text(json.dumps(known))
            start(name)
            assert made.docker("image", "inspect", "--format", "{{.Id}}", BUILDKIT_IMAGE) == image
        yield made
        made.clean()
    finally:
        subprocess.run([START, "stop", name], timeout=120, check=True)
        shutil.rmtree(data)


def test_a_user_who_names_no_builder_builds_with_the_pinned_image(
    project: Project, holds_the_pin: TestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in holds_the_pin.env.items():
        monkeypatch.setenv(name, value)
    project.file("Dockerfile", "FROM alpine:3.22\nRUN uname -m >/machine\n")
    project.ini(ini_for(contexts()))
    result = project.run("--platforms=native,linux/arm64")
    assert f"builder: session builder, {NAME}:{TAG}" in result.outlines
    assert result.ret == 0
    assert holds_the_pin.left == set()
