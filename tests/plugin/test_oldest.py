"""The oldest pytest and xdist that are promised: the plugin's own tests pass on them, too."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

#: As pyproject.toml promises them.
OLDEST = ("pytest==8.4.0", "pytest-xdist==3.6.0")

ROOT = Path(__file__).parents[2]


def test_the_promise_is_what_is_tested_here() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    promised = re.findall(r'"(pytest|pytest-xdist)>=([\d.]+)"', text)
    assert {f"{name}=={version}" for name, version in promised} == {name.removesuffix(".0") for name in OLDEST}


@pytest.fixture(scope="session")
def oldest() -> Path:
    """Return a folder with these versions, to go before this environment's; made once per machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pytest-multiarch")
    key = hashlib.sha256(f"{OLDEST} {sys.version} {sys.prefix}".encode()).hexdigest()[:12]
    folder = cache / f"oldest-{key}"
    if not (folder / "done").exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--upgrade"]
        done = subprocess.run([*install, *OLDEST], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{OLDEST} can't be installed: {done.stderr}")
        (folder / "done").touch()
    return folder


def test_the_plugins_own_tests_pass_on_the_oldest(oldest: Path) -> None:
    if os.environ.get("MULTIARCH_OLDEST"):
        pytest.skip("this is the run on the oldest")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(oldest), *sys.path[:1]]), "MULTIARCH_OLDEST": "1"}
    quick = ["-q", "-n", "2", "-p", "no:cacheprovider", "-k", "not without-xdist"]
    argv = [sys.executable, "-m", "pytest", *quick, "tests/plugin"]
    versions = [sys.executable, "-c", "import pytest, xdist; print(pytest.__version__, xdist.__version__)"]
    assert subprocess.run(versions, env=env, capture_output=True, text=True, check=True).stdout == "8.4.0 3.6.0\n"
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
