"""One run of pytest over many images, and what became of each item."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cases import CHECKS, Case
from engines import TestEngine
from projects import WITHOUT

#: The ways to run a suite that matter to the checks: by themselves, and with an image's checks on two workers.
WAYS: Mapping[str, Sequence[str]] = {"plain": (), "two-workers": ("-n", "2")}

#: Writes one line a report, on xdist's controller too: the same in every mode.
REPORTER = """
import json

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter())

class Reporter:
    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            line = {"id": report.nodeid, "when": report.when, "outcome": report.outcome}
            line["text"] = report.longreprtext
            with open("reports", "a") as file:
                file.write(json.dumps(line) + "\\n")
"""

HOOK = """
from pathlib import Path
from pytest_multiarch import ImageSpec

def pytest_multiarch_image():
    return ImageSpec(context=Path(__file__).parent, build_contexts={contexts!r})
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one item: "passed", "failed", "error" (its set-up failed) or "skipped", and its text."""

    outcome: str
    text: str


@dataclass(frozen=True)
class Run:
    """What one run of pytest left."""

    code: int
    outcomes: Mapping[str, Outcome]
    terminal: str
    seconds: float
    folder: Path
    errors: str = field(default="", repr=False)

    def told(self, node: str) -> str:
        """Return the line of the report about a check that passed and could not verify everything, or ""."""
        return next((line for line in self.terminal.splitlines() if line.startswith(f"{node}: ")), "")


def run(folder: Path, engine: TestEngine, *args: str, timeout: float = 600) -> Run:
    """Run pytest in a folder and collect what it reports."""
    reports = folder / "reports"
    reports.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *WITHOUT, *args]
    env = {**os.environ, **engine.env, "COLUMNS": "500"}
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
    )
    seconds = time.monotonic() - began
    outcomes: dict[str, Outcome] = {}
    for line in reports.read_text().splitlines() if reports.exists() else []:
        said = json.loads(line)
        word = "error" if said["outcome"] == "failed" and said["when"] != "call" else said["outcome"]
        outcomes[said["id"]] = Outcome(word, said["text"])
    text = done.stdout.decode(errors="surrogateescape")
    return Run(done.returncode, outcomes, text, seconds, folder, done.stderr.decode(errors="replace"))


def lay_out(folder: Path, cases: Mapping[str, Case], contexts: Mapping[str, str], registry: str) -> None:
    """Write a project with one folder an image; bases are in the registry at that address."""
    folder.mkdir(parents=True)
    (folder / "conftest.py").write_text(REPORTER)
    for name, case in cases.items():
        place = folder / name
        (place / "root").mkdir(parents=True)
        (place / "Dockerfile").write_text(case.recipe.replace("REGISTRY", registry))
        (place / "conftest.py").write_text(HOOK.format(contexts=dict(contexts)))
        case.files(place / "root")


def ini(folder: Path, *lines: str) -> None:
    """Write a project's ini file."""
    (folder / "pytest.ini").write_text("\n".join(["[pytest]", *lines, ""]))


def nodes(cases: Mapping[str, Case]) -> list[str]:
    """Return the node ids of every image's checks, each for the platform that its case is about."""
    return [f"{name}/Dockerfile::{check}[{case.platform}]" for name, case in cases.items() for check in CHECKS]


def platforms(cases: Mapping[str, Case]) -> str:
    """Return the option for the platforms of these cases."""
    return "--platforms=" + ",".join(dict.fromkeys(case.platform for case in cases.values()))


def faults(name: str, case: Case, done: Run) -> list[str]:
    """Return what is not as the case says: nothing where the gate told the truth."""
    found = []
    for check in CHECKS:
        node = f"{name}/Dockerfile::{check}[{case.platform}]"
        outcome = done.outcomes.get(node, Outcome("missing", ""))
        pattern = case.red.get(check)
        if pattern is None and outcome.outcome != "passed":
            found.append(f"{check} is {outcome.outcome} and should pass:\n{outcome.text}")
        if pattern is not None and outcome.outcome != "failed":
            found.append(f"{check} is {outcome.outcome} and should fail:\n{outcome.text}")
        elif pattern is not None and not re.search(pattern, outcome.text):
            found.append(f"{check} should say {pattern!r}:\n{outcome.text}")
        if check in case.told and not re.search(case.told[check], done.told(node)):
            found.append(f"{check} should tell {case.told[check]!r}: {done.told(node)!r}")
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]", outcome.text):
            found.append(f"{check} prints the image's control characters: {outcome.text[:500]!r}")
    return found


def options(*words: str) -> Sequence[str]:
    """Return options with those that every run of the zoo has."""
    return ("--multiarch-driver=docker", "--multiarch-timeout=30", *words)
