"""Run many sessions in a row, kill every third at a random moment, and count what is there before and after.

usage: python tests/benchmarks/soak.py [--sessions 200] [--seed 6] [--side-by-side 8]

After one warm-up the counts of containers, builders, volumes, images, locks, files and processes must be equal at
the end. Then as many sessions as asked for run side by side. Exit code 0 only if all of this holds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "faults")]

from engines import TestEngine, said_by_setup  # noqa: E402
from grounds import Ground, make_ground  # noqa: E402

from pytest_multiarch.pins import BUILDKIT_IMAGE  # noqa: E402
from pytest_multiarch.state import State  # noqa: E402

TESTS = """
def test_shell(container): assert container.run("uname -s").stdout == "Linux\\n"
def test_alone(fresh_container): assert fresh_container.run("touch /x").returncode == 0
def test_service(container_factory): container_factory.start()
def test_emulated(container, platform): assert container.run("uname -m").stdout.strip() in platform.machines
"""

#: Ways to run a session in turn: plain, with workers, on the engine's own builder.
WAYS: tuple[tuple[str, ...], ...] = ((), ("-n2",), ("--multiarch-driver=docker",))

#: What the engine writes on volumes that nobody named.
ANONYMOUS = "label=com.docker.volume.anonymous"

#: Numbers of sessions that nobody kills, one of each way.
UNHURT = (1, 4, 7)


def counts(ground: Ground) -> dict[str, int]:
    """Return how much there is of everything that a session makes."""
    files = [path for path in ground.state.folder.rglob("*") if path.is_file()]
    docker = ground.engine.docker
    instances = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"), "buildx", "instances")
    temporary = [path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith("multiarch")]
    return {
        "containers": len(ground.engine.containers),
        "builders": len([path for path in instances.glob("*") if path.name in ground.engine.volumes]),
        "volumes": len(ground.engine.volumes),
        "anonymous volumes": len(docker("volume", "ls", "--quiet", "--filter", ANONYMOUS).split()),
        "images": len(ground.engine.images()),
        "dangling images": len(docker("image", "ls", "--quiet", "--filter", "dangling=true").split()),
        "locks": len([path for path in files if path.suffix == ".lock"]),
        "files": len(files),
        "temporary files": len(temporary),
        "processes": len(ground.processes()),
    }


def session(ground: Ground, number: int, chance: random.Random) -> str:
    """Run one session, or kill it on its way; each third differs in what it builds."""
    way = WAYS[number // 3 % len(WAYS)]
    changed = [f"--multiarch-build-arg=TURN={number % 7 if way else 0}"]
    run = ground.start("--platforms=native,linux/arm64", *way, *changed)
    if number % 3 == 0:
        time.sleep(chance.uniform(0.2, 6.0))
        if run.process.poll() is None:
            run.signal(signal.SIGKILL, everybody=chance.random() < 0.7)
        run.end()
        if chance.random() < 0.5:  # the next one comes before the dust has settled
            ground.settled(60)
        return "killed"
    code = run.end(300)
    if code:
        print(run.text)
    return "passed" if code == 0 else f"FAILED ({code})"


def main() -> int:
    """Soak, then run side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--side-by-side", type=int, default=8)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        engine = TestEngine("containerd", {}, State(Path(folder, "state", "pytest-multiarch")))
        ground = make_ground(Path(folder, "project"), engine, said_by_setup("buildkit-image") or BUILDKIT_IMAGE)
        ground.tests(TESTS)
        try:
            return soak(ground, wanted) | side_by_side(ground, wanted.side_by_side)
        finally:
            engine.clean()


def soak(ground: Ground, wanted: argparse.Namespace) -> int:
    """Return 0 if every session that was left alone passed and the counts are equal."""
    chance = random.Random(wanted.seed)  # noqa: S311
    for number in UNHURT:
        session(ground, number, chance)
    ground.settled(60)
    before, began = counts(ground), time.monotonic()
    outcomes: dict[str, int] = {}
    for number in range(wanted.sessions):
        outcome = session(ground, number, chance)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    for number in UNHURT:  # the next runs, which remove what is left
        session(ground, number, chance)
    ground.settled(60)
    after = counts(ground)
    print(f"{wanted.sessions} sessions in {time.monotonic() - began:.0f} s, seed {wanted.seed}: {outcomes}")
    for kind in before:
        print(
            f"  {kind}: {before[kind]} before, {after[kind]} after{'' if before[kind] == after[kind] else '  <--'}"
        )
    return 0 if before == after and not any("FAILED" in outcome for outcome in outcomes) else 1


def side_by_side(ground: Ground, number: int) -> int:
    """Return 0 if all of `number` sessions at once pass, on one builder."""
    began, most = time.monotonic(), 0
    runs = [ground.start("--platforms=native,linux/arm64", *WAYS[turn % 2]) for turn in range(number)]
    while any(run.process.poll() is None for run in runs):
        builders = ground.engine.containers & ground.engine.volumes
        most = max(most, len(builders))
        time.sleep(0.5)
    codes = [run.end() for run in runs]
    seconds = ground.settled(60)
    print(
        f"{number} sessions side by side in {time.monotonic() - began:.0f} s: exit codes {codes}, {most} builder"
    )
    print(f"  nothing left after {seconds:.1f} s")
    for run in runs:
        if run.process.returncode:
            print(run.text)
    return 0 if not any(codes) and most <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
