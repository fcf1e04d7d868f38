"""How a probe is run: in an empty root of its own on this kernel, or in a container of nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_multiarch import process
from pytest_multiarch.emulators.programs import EXIT_CODE, EXIT_CODE_PATH, NAME
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import DeadlinePassed

__tracebackhide__ = True

#: Seconds for one run: it takes 0.01 in an empty root and 0.3 in a container.
PATIENCE = 30.0

#: Exit codes of the helper below, out of reach of the probe's: no root of one's own is to be had; no exec.
NO_ROOT, NO_EXEC = 125, 126

# coreutils' chroot would do, but it runs what the kernel refuses by sh, and then says that there is no sh.
_HELPER = f"""\
import os, sys
try:
    os.chroot(sys.argv[1])
    os.chdir("/")
except OSError as error:
    print(error.strerror, file=sys.stderr)
    sys.exit({NO_ROOT})
try:
    os.execv("/{NAME}", ["{NAME}"])
except OSError as error:
    print(error.strerror, file=sys.stderr)
    sys.exit({NO_EXEC})
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run of a probe showed."""

    #: It ran, to its end.
    runs: bool
    #: It saw the argv[0] that it was given, not its path.
    keeps_name: bool = True
    #: The word of `uname -m`, "" where it didn't run.
    machine: str = ""
    #: What QEMU said of itself instead of running it (QEMU_VERSION), None where it didn't.
    version: str | None = None
    #: The last words of what did not run it.
    said: str = ""

    @classmethod
    def of(cls, finished: process.Finished) -> Answer:
        """Judge what a run left: exit code and standard output."""
        if finished.returncode in (EXIT_CODE, EXIT_CODE_PATH):
            machine = finished.stdout.partition(b"\0")[0].decode(errors="backslashreplace")
            return cls(True, finished.returncode == EXIT_CODE, machine, said="it runs")
        first = finished.text.partition("\n")[0]
        if finished.ok and first:
            return cls(False, version=first, said=first)
        return cls(False, said=finished.complaint or f"exit code {finished.returncode}")


#: Runs a probe with these variables set, and neither QEMU_CPU nor QEMU_VERSION besides.
Run = Callable[[Mapping[str, str]], Answer]


class NoRoot(Exception):
    """No root of one's own is to be had by this user, or in the folder for temporary files."""


@contextlib.contextmanager
def in_chroot(program: bytes, scratch: Path | None = None) -> Iterator[Run]:
    """Yield what runs `program` alone in an empty root, and raises `NoRoot` where none is to be had.

    There it sees what a container sees. Run plainly it would also succeed by a binfmt entry without `F`, or with
    a dynamically linked emulator: both fail in a container.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="probe-") as folder:
        path = Path(folder, NAME)
        path.write_bytes(program)
        path.chmod(0o755)
        helper = [sys.executable, "-I", "-S", "-c", _HELPER, folder]
        unshare = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]

        def run(env: Mapping[str, str]) -> Answer:
            words = [f"{key}={value}" for key, value in env.items()]
            clean = ["env", "-u", "QEMU_CPU", "-u", "QEMU_VERSION", *words]
            try:
                finished = process.run([*unshare, *clean, *helper], timeout=PATIENCE)
            except DeadlinePassed as error:
                return Answer(False, said=str(error))
            except FileNotFoundError:
                raise NoRoot from None
            noexec = finished.returncode == NO_EXEC and b"Permission denied" in finished.stderr
            if noexec or finished.returncode == NO_ROOT or finished.stderr.startswith(b"unshare:"):
                raise NoRoot
            return Answer.of(finished)

        yield run


@contextlib.contextmanager
def in_container(engine: Engine, program: bytes) -> Iterator[Run]:
    """Yield what runs `program` in a container of an image made of that file alone; nothing is pulled.

    The image is labelled as the engine's own platform: what is in it, not what is said of it, is at stake, and
    stores of both kinds run it so.

    Raises:
        EngineError: the image can't be made.

    """
    name, native = f"multiarch-probe-{uuid.uuid4().hex[:12]}", ("--platform", str(engine.platform))
    tag = engine.passing("multiarch-probe")
    engine.call("import", *native, "-", tag, timeout=60, input=_tar(program))
    # The shortest way to an argv[0] that is not the path: a word that is found on PATH.
    words = ("run", "--rm", "--pull=never", "--network=none", *native, "--name", name, *engine.labels)

    def run(env: Mapping[str, str]) -> Answer:
        variables = [word for pair in {"PATH": "/", **env}.items() for word in ("--env", "=".join(pair))]
        try:
            return Answer.of(engine.call(*words, *variables, tag, NAME, timeout=PATIENCE, check=False))
        except DeadlinePassed as error:
            return Answer(False, said=str(error))
        finally:
            engine.remove(name)

    try:
        yield run
    finally:
        engine.call("image", "rm", "--force", tag, timeout=60, check=False)


def _tar(program: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(NAME)
        info.size, info.mode = len(program), 0o755
        tar.addfile(info, io.BytesIO(program))
    return packed.getvalue()
