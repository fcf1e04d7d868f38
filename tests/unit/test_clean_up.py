"""The process that cleans up after a death without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pytest_multiarch.sweep import CLEAN_UP


def test_it_imports_nothing_from_the_folder_that_it_starts_in(
    tmp_path: Path, told_nobody: Callable[[], bool]
) -> None:
    tmp_path.joinpath("json.py").write_text("raise SystemExit('a file of the project was imported')")
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_UP],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not told_nobody()  # it asked the engine
