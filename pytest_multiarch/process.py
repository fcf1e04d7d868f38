"""The one place that starts processes: an argv list, a group of its own, a deadline, captured output."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pytest_multiarch.errors import DeadlinePassed, MultiarchError, OutputTooLarge

__tracebackhide__ = True

#: Bytes of one stream kept where nobody said otherwise.
OUTPUT_LIMIT = 128 * 1024 * 1024

#: Seconds between SIGTERM and SIGKILL: a docker client that hears SIGTERM passes its cancel on to the engine.
GRACE = 2.0

#: Seconds for what a program wrote to be read after its end.
DRAIN = 1.0

_running: set[subprocess.Popen[bytes]] = set()
_running_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process left: exit code (negative: the signal that ended it), streams, seconds taken."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    duration: float

    @property
    def ok(self) -> bool:
        """Tell whether the exit code is 0."""
        return self.returncode == 0

    @property
    def text(self) -> str:
        """Return standard output as text without the last newline."""
        return self.stdout.decode(errors="backslashreplace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """Return the last ten lines that the process wrote on standard error, or else on standard output."""
        said = (self.stderr.strip() or self.stdout.strip()).decode(errors="backslashreplace")
        return "\n".join(said.splitlines()[-10:])


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout: float,
    input: bytes | None = None,  # noqa: A002 - subprocess's own word
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: int = OUTPUT_LIMIT,
    until: Callable[[bytes], bool] | None = None,
) -> Finished:
    """Run `argv` to its end and return what it left.

    Args:
        argv: the program and its arguments; no shell is involved.
        timeout: seconds; then the process group is ended.
        input: bytes for standard input, which is empty without them.
        env: variables to add to this process's own.
        cwd: the folder to run in.
        limit: bytes kept of each stream.
        until: asked of each line of standard error as it comes: true asks the process group to end (SIGTERM).

    Raises:
        DeadlinePassed: the time was up.
        OutputTooLarge: a stream was longer than `limit`.
        FileNotFoundError: there is no such program.

    """
    began = time.monotonic()
    process = start(argv, env=env, cwd=cwd, stdin=input is not None)
    streams = [_Stream(process.stdout, limit, process), _Stream(process.stderr, limit, process, until)]
    try:
        if input is not None:
            threading.Thread(target=_feed, args=(process, input), daemon=True).start()
        if not ended(process, timeout):
            end(process)
            raise DeadlinePassed(
                f"`{shown(process.args)}` did not end in {timeout:g} seconds",
                evidence=_tail(streams[1].data or streams[0].data),
            )
        for stream in streams:
            stream.finish(process)
    finally:
        end(process)
    if any(stream.overflown for stream in streams):
        raise OutputTooLarge(f"`{shown(process.args)}` wrote more than {limit} bytes")
    out, err = (bytes(stream.data) for stream in streams)
    return Finished(
        tuple(os.fspath(word) for word in argv), process.returncode, out, err, time.monotonic() - began
    )


def start(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bool = True,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a group of its own, with pipes; whoever starts it ends it with `end`."""
    process = subprocess.Popen(
        [os.fspath(word) for word in argv],
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        start_new_session=True,
    )
    with _running_lock:
        _running.add(process)
    return process


@contextlib.contextmanager
def streaming(
    argv: Sequence[str], *, timeout: float, late: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `argv` for whoever reads its output as it comes, and end it with the block or when the time is up.

    Args:
        argv: the program and its arguments.
        timeout: seconds for the whole block.
        late: what failed where the time was up, a clause.
        env: variables to add to this process's own.

    Raises:
        DeadlinePassed: the time was up, in place of what the reader made of the output's sudden end.

    """
    client, passed = start(argv, env=env, stdin=False), threading.Event()

    def stop() -> None:
        passed.set()
        end(client, grace=0)

    timer = threading.Timer(timeout, stop)
    timer.start()
    try:
        yield client
    except MultiarchError:
        if passed.is_set():
            raise DeadlinePassed(f"{late} in {timeout:g} seconds") from None
        raise
    finally:
        timer.cancel()
        end(client, grace=0)
        for pipe in (client.stdout, client.stderr):
            if pipe:
                pipe.close()


class Watchdog:
    """Runs a program if this process ends, even by SIGKILL, without having called `cancel`.

    A shell waits for the end of a pipe that only this process holds: the kernel closes it after SIGKILL and
    `os._exit` too. In a session of its own it hears no Ctrl-C.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        wait = ["sh", "-c", 'read -r word || exec "$@"', "sh", *argv]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            wait, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
        )

    def cancel(self) -> None:
        """End the watchdog: there is nothing left to do."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(b"done\n", timeout=5)


def ended(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait for a process's end, at most `timeout` seconds, and tell whether it came.

    Its streams may stay open, for a grandchild has them too. `Popen.wait` polls, and hears of the end up to 50 ms
    late; a kernel before Linux 5.3, and a process that another thread has waited for, leave only that.
    """
    deadline = time.monotonic() + timeout
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            poll.poll(max(timeout, 0) * 1000)
        finally:
            os.close(handle)
    try:
        process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return False
    return True


def end(process: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """End a process and its group, politely for `grace` seconds first; one that has ended is left alone."""
    if process.poll() is None:
        for word, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            if word is signal.SIGTERM and not grace:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, word)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
    with _running_lock:
        _running.discard(process)


def end_all(grace: float = GRACE) -> None:
    """End whatever is still running: the last thing that a session does."""
    with _running_lock:
        left = list(_running)
    for process in left if grace else ():
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    for process in left:
        end(process, grace)


def shown(argv: object) -> str:
    """Return an argument vector as one would type it, cut to a readable length."""
    words = argv if isinstance(argv, (list, tuple)) else [str(argv)]
    line = shlex.join(str(word) for word in words)
    return line if len(line) <= 300 else f"{line[:200]} ... {line[-80:]}"


class _Stream:
    """One stream of a process, read to its end by a thread, at most `limit` bytes of it kept."""

    def __init__(
        self,
        pipe: IO[bytes] | None,
        limit: int,
        process: subprocess.Popen[bytes],
        until: Callable[[bytes], bool] | None = None,
    ) -> None:
        if pipe is None:
            raise AssertionError("processes are started with pipes")
        self.data = bytearray()
        self.overflown = False
        self._pipe, self._limit, self._process, self._until = pipe, limit, process, until
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            for piece in iter(self._next, b""):
                if len(self.data) + len(piece) > self._limit:
                    self.overflown = True
                    end(self._process, grace=0)
                    return
                self.data += piece

    def _next(self) -> bytes:
        if self._until is None:
            return os.read(self._pipe.fileno(), 1 << 16)
        line = self._pipe.readline()
        if line and self._until(line):
            self._until = lambda _: False  # once: a client that hears it three times leaves without a word
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
        return line

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of the stream; end a grandchild that keeps it open after the program's end."""
        self._thread.join(DRAIN)
        if self._thread.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            self._thread.join(DRAIN)


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    if process.stdin is None:
        raise AssertionError("a process with input is started with a pipe for it")
    with contextlib.suppress(BrokenPipeError), process.stdin:  # it ended without reading all
        process.stdin.write(data)


def _tail(data: bytearray) -> str:
    return "\n".join(bytes(data[-4096:]).decode(errors="backslashreplace").splitlines()[-10:])
