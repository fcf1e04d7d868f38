"""A container engine to test on, and what these tests have left in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_multiarch.builders.builder import listed
from pytest_multiarch.state import State

#: Set-up leaves here what stands in for a registry: lines NAME=ADDRESS, an image's name, an engine's address.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pytest-multiarch")

#: Found once: some tests put another one in front of it.
CLIENT = shutil.which("docker") or "docker"


@dataclass(frozen=True)
class TestEngine:
    """A container engine to test on; `env` makes the client talk to it."""

    __test__ = False

    store: str
    env: Mapping[str, str]
    state: State

    def docker(self, *args: str, check: bool = True) -> str:
        """Run the client and return what it printed."""
        done = subprocess.run(
            [CLIENT, *args],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, f"docker {args}: {done.stderr}"
        return done.stdout.strip()

    def listed(self, *args: str) -> set[str]:
        """Return the lines of a listing as a set."""
        return set(self.docker(*args).splitlines())

    @property
    def ours(self) -> str:
        """Return the filter for what these tests made."""
        return f"label=pytest-multiarch.owner={self.state.id}"

    @property
    def containers(self) -> set[str]:
        """Return the names of our containers, the builder's among them."""
        return self.listed("ps", "--all", "--filter", self.ours, "--format", "{{.Names}}")

    @property
    def volumes(self) -> set[str]:
        """Return the names of our volumes: at most the builder's cache."""
        return self.listed("volume", "ls", "--filter", self.ours, "--format", "{{.Name}}")

    @property
    def builders(self) -> set[str]:
        """Return the names of all builders that could be ours."""
        return {name for name in listed(self.docker("buildx", "ls")) if "multiarch" in name}

    def images(self, project: str = "") -> set[str]:
        """Return the tags of our images, or of those of one project.

        The engine refuses to list while an image is removed, so it is asked a few times.
        """
        ours = f"multiarch.local/{self.state.id}/{project}"
        asked = (
            "image",
            "ls",
            "--filter",
            "reference=multiarch.local/*/*",
            "--format",
            "{{.Repository}}:{{.Tag}}",
        )
        for last in (False, False, False, True):
            tags = self.docker(*asked, check=last).splitlines()
            if tags:
                break
        return {tag for tag in tags if tag.startswith(ours)}

    @property
    def cache(self) -> str:
        """Return the name that builder, container and cache volume share; "" where no builder was booted."""
        return next(iter(self.volumes), "")

    @property
    def left(self) -> set[str]:
        """Return the containers that are ours, besides the builder's."""
        return self.containers - {self.cache}

    def clean(self) -> None:
        """Remove all that is ours."""
        for what, names in (
            (("rm", "--force", "--volumes"), self.containers),
            (("buildx", "rm", "--force"), self.builders & self.volumes),
            (("volume", "rm", "--force"), self.volumes),
            (("rmi", "--force"), self.images()),
        ):
            if names:
                self.docker(*what, *names, check=False)

    @property
    def base_images(self) -> dict[str, str]:
        """Return the build contexts that stand in for base images, for a builder of the engine's own."""
        return contexts("build-contexts-classic" if self.store == "classic" else "build-contexts")


def contexts(name: str = "build-contexts") -> dict[str, str]:
    """Return the build contexts that stand in for base images; none where a registry is reached."""
    path = CACHE / name
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if not line.startswith("source="))


def said_by_setup(name: str) -> str:
    """Return the one line of a file that set-up left, "" where it left none."""
    path = CACHE / name
    return path.read_text().strip() if path.exists() else ""
