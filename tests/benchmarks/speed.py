"""Whole commands and single checks, each beside a peer in the same run: medians and ratios in one table.

Goals are not asserted: a machine is noisy, and a goal that is missed is a finding to read, not a red test.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pytest-multiarch")
SEVEN = "linux/amd64,linux/386,linux/arm/v6,linux/arm/v7,linux/arm64,linux/ppc64le,linux/s390x"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: medians, of the ratio too, which is taken pair by pair.

    Attributes:
        work: what was done.
        ours, peer: seconds, or mebibytes.
        ratio: ours over the peer's.
        goal: what the ratio, or the difference, should be.

    """

    work: str
    ours: float
    peer: float
    ratio: float
    goal: str
    unit: str = "s"


def took(argv: Sequence[str], cwd: Path) -> float:
    """Run a command to its end and return the seconds that it took; one that fails is no measurement."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        code = subprocess.call(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        seconds = time.monotonic() - began
        if code:
            said.seek(0)
            raise SystemExit(f"{shlex.join(argv)} failed:\n{said.read().decode(errors='replace')[-3000:]}")
    return seconds


def pairs(ours: Callable[[], float], peer: Callable[[], float], runs: int, warm: bool = True) -> tuple[float, ...]:
    """Return the medians of both, and of the ratios pair by pair; run in turn, so that drift hits both."""
    if warm:
        ours(), peer()
    both = [(ours(), peer()) for _ in range(runs)]
    ratios = [mine / other for mine, other in both]
    return tuple(statistics.median(column) for column in (*zip(*both, strict=True), ratios))


def contexts() -> dict[str, str]:
    """Return the addresses of the base images, none where a registry answers."""
    path = CACHE / "build-contexts"
    return dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}


def buildkit() -> list[str]:
    """Return the option that names BuildKit's image, none where the registry's own can be had."""
    path = CACHE / "buildkit-image"
    name = path.read_text().strip() if path.exists() else ""
    return [f"--multiarch-buildkit-image={name}"] if name else []


def project(folder: Path, tests: str, dockerfile: str = "FROM alpine:3.22\n", ini: str = "") -> Path:
    """Write a project with one test file."""
    folder.mkdir()
    named = (f"    {name}={base}" for name, base in contexts().items() if name in dockerfile)
    lines = ["multiarch_build_contexts =", *named, f"multiarch_platforms = {SEVEN}"]
    (folder / "pytest.ini").write_text("\n".join(["[pytest]", *lines, ini, ""]))
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "test_it.py").write_text(textwrap.dedent(tests))
    return folder


CHECKS = """
    import json, os, statistics, time
    import testinfra

    WORK = {
        'run("true")': (lambda c: c.run("true"), lambda h: h.run("true")),
        "file(x).exists": (lambda c: c.host.file("/etc/passwd").exists, lambda h: h.file("/etc/passwd").exists),
        "file(x).content_string": (
            lambda c: c.host.file("/etc/passwd").content_string, lambda h: h.file("/etc/passwd").content_string),
    }

    def median(work, subject, runs):
        took = []
        for _ in range(runs):
            began = time.perf_counter()
            work(subject)
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    def test_measure(container, platform):
        stock = testinfra.get_host(f"docker://{container.id}")
        for name, (ours, peers) in WORK.items():
            median(ours, container, 20), median(peers, stock, 2)
            row = [f"{name} on {platform}", median(ours, container, 300), median(peers, stock, 30)]
            with open(os.environ["BENCH_OUT"], "a") as out:
                out.write(json.dumps(row) + "\\n")
"""


def single(folder: Path) -> list[Row]:
    """One check in a container that runs: ours and stock testinfra's, on the same container."""
    suite = project(folder / "single", CHECKS)
    out = folder / "single.json"
    os.environ["BENCH_OUT"] = str(out)
    took([*PYTEST, "--platforms=linux/amd64,linux/arm64,linux/s390x", "test_it.py"], suite)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [Row(work, ours, peer, ours / peer, f"{_goal(work)} times faster") for work, ours, peer in rows]


def _goal(work: str) -> int:
    native, first = "amd64" in work, work.startswith("run")
    return {(True, True): 100, (True, False): 50, (False, True): 15, (False, False): 10}[native, first]


STRUCTURE = """
    import pytest

    PATHS = ["/etc/passwd", "/etc/group", "/bin/sh", "/bin/busybox", "/tmp"]

    {override}

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("what", ["exists", "user", "group", "mode", "is_directory"])
    def test_file(host, path, what):
        assert getattr(host.file(path), what) is not None
"""

OVERRIDE = """
    @pytest.fixture
    def host(container):
        return container.host
"""


def suite(folder: Path) -> list[Row]:
    """25 testinfra checks on arm64, whole processes; the peer's container runs already."""
    mine = project(folder / "suite", textwrap.dedent(STRUCTURE).format(override=textwrap.dedent(OVERRIDE)))
    stock = folder / "stock"
    stock.mkdir()
    (stock / "test_it.py").write_text(textwrap.dedent(STRUCTURE).format(override=""))
    (stock / "pytest.ini").write_text("[pytest]\n")
    ours = [*PYTEST, "--platforms=linux/arm64", "test_it.py"]
    took(ours, mine)
    image = _docker("image", "ls", "--filter", "reference=multiarch.local/*/suite-*", "--quiet").split()[0]
    name = f"bench-{os.getpid()}"
    run = ("run", "-d", "--rm", "--init", "--platform=linux/arm64", "--name", name, "--entrypoint", "sleep")
    _docker(*run, image, "3600")
    try:
        peer = [*PYTEST, "-p", "no:multiarch", f"--hosts=docker://{name}", "test_it.py"]
        medians = pairs(lambda: took(ours, mine), lambda: took(peer, stock), 5)
    finally:
        _docker("kill", name)
    return [Row("25 testinfra checks on arm64, whole process", *medians, "3 times faster")]


ONE = """
    def test_machine(container, platform):
        assert container.run("uname -m", check=True).stdout.strip() in platform.machines
"""


def unchanged(folder: Path) -> list[Row]:
    """Seven platforms of which nothing changed: one check each, against a shell loop on the same builder."""
    suite = project(folder / "unchanged", ONE, "FROM alpine:3.22\nCOPY blob /blob\n")
    (suite / "blob").write_bytes(random.Random(1).randbytes(30_000_000))  # noqa: S311 - it must not compress
    rows = []
    with _Builder() as name:
        for builder, what, goal in ((name, "a docker-container builder", 0.35), (None, "the engine's own", 0.6)):
            option = f"--multiarch-builder={builder}" if builder else "--multiarch-driver=docker"
            ours = [*PYTEST, "--platforms=all", option, "test_it.py"]
            peer = ["bash", "-euc", _loop(builder or "default")]
            medians = pairs(
                lambda ours=ours: took(ours, suite),  # type: ignore[misc]
                lambda peer=peer: took(peer, suite),  # type: ignore[misc]
                5,
            )
            rows.append(Row(f"seven unchanged platforms on {what}", *medians, f"{goal} or less"))
    return rows


def _loop(builder: str) -> str:
    base = contexts().get("alpine:3.22")
    context = f"--build-context alpine:3.22={base}" if base else ""
    lines = [
        f"docker buildx build -q --builder {builder} --platform {platform} --provenance=false {context}"
        f" --load -t bench-loop:{number} . >/dev/null;"
        f" docker run --rm --pull=never --platform {platform} bench-loop:{number} uname -m"
        for number, platform in enumerate(SEVEN.split(","))
    ]
    return "\n".join(lines)


COMPILED = """\
FROM alpine:3.22 AS toolchain
RUN apk add --no-cache build-base
FROM toolchain AS build
ARG STAMP
COPY greeter.c .
RUN cc -O2 -static -o /greeter greeter.c && echo $STAMP >/stamp
FROM alpine:3.22
COPY --from=build /greeter /stamp /
"""


#: The scenario that this project was started for: what is compiled takes far longer than what is done with it.
EXAMPLE = Path(__file__).parents[2] / "example_project"
SERVER = (
    (EXAMPLE / "vlmcsd/Dockerfile")
    .read_text()
    .replace("RUN make CC=gcc vlmcsd\n", "ARG STAMP\nRUN make CC=gcc vlmcsd && echo $STAMP >/stamp\n")
    .replace("EXPOSE", "COPY --from=build /stamp /\nEXPOSE")
)


def cold(folder: Path) -> list[Row]:
    """Seven platforms that all changed: against one build of all, which loads and runs nothing."""
    small, large = project(folder / "cold", ONE, COMPILED), project(folder / "server", ONE, SERVER)
    (small / "greeter.c").write_text((EXAMPLE / "greeter.c").read_text())
    with _Builder() as name:
        return [
            _changed("one small C file", small, name, runs=3, warm=True),
            _changed("vlmcsd", large, name, runs=2, warm=False),  # minutes each, and the base images are there now
        ]


def _changed(what: str, suite: Path, builder: str, runs: int, *, warm: bool) -> Row:
    """Build a project's image anew for seven platforms, on a builder that knows its base images."""
    words = [word for name, base in contexts().items() for word in ("--build-context", f"{name}={base}")]
    all_of_them = ["docker", "buildx", "build", "--builder", builder, f"--platform={SEVEN}", "--provenance=false"]

    def ours() -> float:
        stamp = f"--multiarch-build-arg=STAMP={time.time_ns()}"
        return took([*PYTEST, "--platforms=all", f"--multiarch-builder={builder}", stamp, "test_it.py"], suite)

    def peer() -> float:
        return took([*all_of_them, *words, "--build-arg", f"STAMP={time.time_ns()}", "."], suite)

    medians = pairs(ours, peer, runs, warm)
    return Row(f"seven changed platforms ({what}), against one build of all", *medians, "1.1 or less")


def idle(folder: Path) -> list[Row]:
    """Measure what the plugin costs where it isn't used."""
    place = folder / "idle"
    place.mkdir()
    (place / "test_it.py").write_text("def test_it():\n    pass\n")
    rows = []
    for what, words in (("pytest --help", ["--help"]), ("an empty suite", [])):
        ours = [*PYTEST, *words]
        peer = [*PYTEST, "-p", "no:multiarch", *words]
        mine, other, ratio = pairs(lambda a=ours: took(a, place), lambda a=peer: took(a, place), 60)  # type: ignore[misc]
        rows.append(Row(f"{what}: {1000 * (mine - other):+.0f} ms", mine, other, ratio, "+15 ms or less"))
    return rows


MANY = """
    import pytest

    @pytest.mark.parametrize("number", range(20))
    def test_many(container, number):
        container.run("for i in 1 2 3 4 5; do cat /etc/passwd; done", check=True)
"""


def workers(folder: Path) -> list[Row]:
    """140 tests for seven platforms: two workers against none; the summary tells the containers."""
    suite = project(folder / "workers", MANY)
    plain = [*PYTEST, "--platforms=all", "--multiarch-driver=docker", "test_it.py"]
    medians = pairs(lambda: took([*plain, "-n", "2"], suite), lambda: took(plain, suite), 5)
    began = str(int(time.time()))
    took([*plain, "-n", "2"], suite)
    owner = next(Path(os.environ["XDG_STATE_HOME"]).glob("*/id")).read_text().split()[-1]
    label = f"--filter=label=pytest-multiarch.owner={owner}"
    starts = _docker(
        "events", "--since", began, "--until", str(int(time.time()) + 1), "--filter=event=start", label
    )
    return [Row(f"140 tests, -n 2: {len(starts.splitlines())} containers", *medians, "below 1; 10 containers")]


CHECK = """
    import pytest

    @pytest.mark.parametrize("number", range({number}))
    def test_it({fixture}number):
        {body}
"""

#: Has pytest write the most memory that it used, in KiB; the kernel's answer to a parent would count the parent's.
PEAK = """
    import pathlib

    def pytest_unconfigure():
        status = pathlib.Path("/proc/self/status").read_text().splitlines()
        pathlib.Path("peak").write_text(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


def growth(folder: Path) -> list[Row]:
    """Many checks in one container, against as many empty tests: seconds, and the peak memory."""
    rows = []
    for number in (50, 500, 5000):
        checks = CHECK.format(number=number, fixture="container, ", body='container.run("true", check=True)')
        ours = project(folder / f"grow{number}", checks)
        empty = project(folder / f"empty{number}", CHECK.format(number=number, fixture="", body="pass"))
        for each in (ours, empty):
            (each / "conftest.py").write_text(textwrap.dedent(PEAK))
        mine = took([*PYTEST, "--platforms=linux/amd64", "--multiarch-driver=docker", "test_it.py"], ours)
        other = took([*PYTEST, "-p", "no:multiarch", "-c", "/dev/null", "test_it.py"], empty)
        rows.append(Row(f"{number} checks in one container", mine, other, mine / other, "linear"))
        most, least = (int((each / "peak").read_text()) / 1024 for each in (ours, empty))
        what = f"{number} checks, memory: {most - least:+.0f} MiB"
        rows.append(Row(what, most, least, most / least, "no more, however many", "MiB"))
    return rows


class _Builder:
    """A docker-container builder of the benchmark's own, which both sides use."""

    def __enter__(self) -> str:
        self.name = f"bench-{os.getpid()}"
        image = [f"--driver-opt=image={option.partition('=')[2]}" for option in buildkit()]
        _docker("buildx", "create", "--name", self.name, "--driver", "docker-container", *image, "--bootstrap")
        return self.name

    def __exit__(self, *ignored: object) -> None:
        _docker("buildx", "rm", self.name)


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=300).stdout


def table(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    lines = ["| work | ours | peer | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        ratio = f"{row.ratio:.2f}" if row.ratio > 0.1 else f"1/{1 / row.ratio:.0f}"
        lines.append(f"| {row.work} | {_shown(row.ours, row)} | {_shown(row.peer, row)} | {ratio} | {row.goal} |")
    return "\n".join(lines)


def _shown(value: float, row: Row) -> str:
    if row.unit != "s":
        return f"{value:.0f} {row.unit}"
    return f"{1000 * value:.2f} ms" if value < 0.5 else f"{value:.2f} s"


GROUPS = (single, suite, unchanged, cold, idle, workers, growth)


def main(names: Sequence[str]) -> None:
    """Measure the groups of these names, all where none is given, and print the table."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="multiarch-bench-") as folder:
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"  # whose containers are ours is then told by a label
        try:
            for group in GROUPS:
                if not names or group.__name__ in names:
                    what = (group.__doc__ or "").splitlines()[0]
                    print(f"==> {group.__name__}: {what}", file=sys.stderr, flush=True)
                    rows += group(Path(folder))
        finally:
            took([str(Path(sys.executable).with_name("pytest-multiarch")), "prune"], Path(folder))
            print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
