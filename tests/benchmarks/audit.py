"""Measure the audit of an image against `docker export ID > /dev/null`, and its memory; needs an engine.

    python tests/benchmarks/audit.py [--rounds 7] [--copies 1 10]

Makes two images of this machine's own files, one of 200 MB and 3,000 files at least and one ten times as large,
and removes both. The audit is all of it: create a container, export, read, judge, remove.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_multiarch.audit import config, rules
from pytest_multiarch.audit.export import read_image
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.platforms import Platform

BYTES, FILES, LARGEST = 200_000_000, 3_000, 30_000_000
ROOTS = ("/usr/bin", "/usr/lib", "/usr/share", "/usr/include")
TIMES = 1.25
MEMORY = 64 << 20


def some_files() -> list[Path]:
    """Return files of this machine, about as many from each root, `BYTES` and `FILES` in all at least."""
    chosen: list[Path] = []
    for root in ROOTS:
        size = number = 0
        for folder, _, names in os.walk(root):
            for path in (Path(folder, name) for name in sorted(names)):
                if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                    continue
                if size > BYTES / 2 or (size > BYTES / 3 and number > FILES / 3):
                    break
                chosen.append(path)
                size, number = size + path.stat().st_size, number + 1
    return chosen


@contextmanager
def image(files: list[Path], copies: int) -> Iterator[str]:
    """Give the engine an image with so many copies of the files."""
    name = f"multiarch-benchmark-audit:{copies}"
    with subprocess.Popen(
        ["docker", "import", "-", name], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as importing:
        with tarfile.open(fileobj=importing.stdin, mode="w|") as archive:
            for copy in range(copies):
                for path in files:
                    archive.add(path, f"{copy}{path}", recursive=False)
        if importing.stdin:
            importing.stdin.close()
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", name], stdout=subprocess.DEVNULL, check=True)


def audit(reference: str) -> None:
    """Print as JSON what one audit takes: seconds, bytes of memory more than before, files and ELF files."""
    engine, platform = Engine(), Platform.parse("linux/amd64")
    engine.command  # noqa: B018 - looks for the client, once a session
    before, began = peak(), time.monotonic()
    tree = read_image(engine, reference)
    rules.judge(tree, platform, config.Config("linux", "amd64"))
    seconds = time.monotonic() - began
    sys.stdout.write(json.dumps([seconds, peak() - before, tree.files, len(list(tree.elves()))]))


def peak() -> int:
    """Return the most memory that this process ever used, in bytes; `ru_maxrss` would count its parent's too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def exported(container: str) -> float:
    """Return the seconds that `docker export > /dev/null` takes."""
    began = time.monotonic()
    subprocess.run(["docker", "export", container], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def exported_size(container: str) -> int:
    """Return how many bytes are exported; also makes the engine read them once before anything is measured."""
    with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as client:
        return sum(
            len(piece) for piece in iter(lambda: client.stdout.read(1 << 20) if client.stdout else b"", b"")
        )


def row(reference: str, rounds: int) -> tuple[str, bool]:
    """Measure one image, both ways in turn; return its row and whether it keeps the promise."""
    create = ["docker", "create", reference, "x"]
    container = subprocess.run(create, capture_output=True, text=True, check=True).stdout.strip()
    size = exported_size(container)
    plain, ours = [], []
    try:
        for _ in range(rounds):
            plain.append(exported(container))
            measure = [sys.executable, __file__, "--measure", reference]
            ours.append(json.loads(subprocess.run(measure, capture_output=True, check=True).stdout))
    finally:
        subprocess.run(["docker", "rm", "-v", container], stdout=subprocess.DEVNULL, check=True)
    # The best of each: what else the machine does only ever adds.
    seconds, export, most = min(each[0] for each in ours), min(plain), max(each[1] for each in ours)
    ratio = seconds / export
    cells = f"{size / 1e6:>7.0f} {ours[0][2]:>7} {ours[0][3]:>6} {export:>9.2f} {seconds:>8.2f} {ratio:>6.2f}"
    return f"{cells} {most / (1 << 20):>9.1f}", ratio <= TIMES and most <= MEMORY


def main() -> int:
    """Print the table; the exit code is 1 where a promise is broken."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument(
        "--copies", type=int, nargs="+", default=[1, 10], help="how often each image holds the files"
    )
    options.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        audit(chosen.measure)
        return 0
    sys.stdout.write("     MB   files    ELF  export s  audit s  ratio  peak MiB\n")
    files, kept = some_files(), True
    for copies in chosen.copies:
        with image(files, copies) as reference:
            line, good = row(reference, chosen.rounds if copies == 1 else max(chosen.rounds // 2, 1))
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
            kept &= good
    sys.stdout.write(
        f"promised: ratio at most {TIMES}, peak at most {MEMORY >> 20} MiB: {'kept' if kept else 'BROKEN'}\n"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
