"""What the faults are done to."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engines import TestEngine
from grounds import Ground, make_ground

from pytest_multiarch.state import State


@pytest.fixture(scope="session")
def faults_engine(containerd: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestEngine]:
    folder = tmp_path_factory.mktemp("state of faults")
    made = replace(containerd, state=State(folder / "pytest-multiarch"))
    yield made
    made.clean()


@pytest.fixture
def ground(tmp_path: Path, faults_engine: TestEngine, buildkit_image: str) -> Iterator[Ground]:
    path = tmp_path / "ground"
    made = make_ground(path, faults_engine, buildkit_image)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)
    made.engine.clean() if made.engine.containers else None
