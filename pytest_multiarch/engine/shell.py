"""A shell that stays: one `docker exec -i CONTAINER sh`, commands down its standard input.

A command costs a fork of that shell instead of a client, a request and a new process: 1 ms instead of 80
(field notes, section 3). What one command did to its shell (`cd`, variables, `exit`, `set -e`) ends with it.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_multiarch import process
from pytest_multiarch.errors import ContainerError, DeadlinePassed, OutputTooLarge

__tracebackhide__ = True

#: Commands that leave nothing in the shell that runs them, of words that every shell takes as they are: these need
#: no subshell, whose fork is most of what `test -e` costs.
_PLAIN = re.compile(
    r"(?:true|false|test|cat|getent|grep|head|id|ls|readlink|sha256sum|stat|uname)"
    r"(?: +(?:[\w%+=:,./-]+|'[^'\n\0]*'))*",
    re.ASCII,
)

#: Bytes of the command that fit into an empty pipe at once (its capacity is 64 KiB on Linux).
_AT_ONCE = 32 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command left: its exit code and both streams, to the byte.

    `ended` says that the shell itself went with it (`kill -9 $$`): the code is then the client's.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    ended: bool = False


class Shell:
    """One client with a shell at its other end; for one thread at a time.

    Args:
        argv: starts a shell that reads commands from standard input.
        env: variables to add for the client.
        limit: bytes kept of one command's output.
        timeout: seconds until the shell must answer.

    Raises:
        ContainerError: there is no shell at the other end.
        DeadlinePassed: it didn't answer in time.

    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limit: int, timeout: float
    ) -> None:
        self._limit = limit
        self._process = process.start(argv, env=env)
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (pipe.fileno() for pipe in pipes if pipe)
        os.set_blocking(self._in, False)
        # Whatever the client itself prints comes before this first answer, and isn't the container's.
        try:
            hello = self._answer(":", timeout)
        except BaseException:
            self.close()
            raise
        if hello.ended:
            self.close()
            said = (hello.stderr + hello.stdout).decode(errors="backslashreplace")
            raise ContainerError("no shell could be opened in the container", evidence=said)

    @property
    def open(self) -> bool:
        """Tell whether the shell still reads."""
        return self._process.poll() is None

    def run(self, command: str, timeout: float) -> Answer:
        """Run one command line and return what it left.

        Raises:
            DeadlinePassed: it took longer than `timeout` seconds; it still runs, so the shell is lost.
            OutputTooLarge: it wrote more than the limit; the shell is lost too.

        """
        self._drop_leftovers()
        return self._answer(command, timeout)

    def _answer(self, command: str, timeout: float) -> Answer:
        mark = secrets.token_hex(12)
        streams = self._exchange(framed(command, mark).encode(errors="surrogateescape"), mark.encode(), timeout)
        out, err = streams[self._out], streams[self._err]
        if out.code is None or not err.found:
            return Answer(self._process.wait(process.GRACE), bytes(out.data), bytes(err.data), ended=True)
        return Answer(out.code, bytes(out.data), bytes(err.data))

    def close(self) -> None:
        """End the client, and with it the shell that reads from it."""
        process.end(self._process, grace=0)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _exchange(self, text: bytes, mark: bytes, timeout: float) -> dict[int, _Marked]:
        """Write the text and read until both streams had their mark or ended."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        streams = {self._out: _Marked(mark), self._err: _Marked(mark)}
        for stream in streams:
            poll.register(stream, select.POLLIN)
        waiting = set(streams)
        rest = self._write(text)
        if rest:
            poll.register(self._in, select.POLLOUT)
        while waiting:
            left = deadline - time.monotonic()
            events = poll.poll(left * 1000) if left > 0 else []
            if not events:
                raise self._late(timeout, streams)
            for ready, _ in events:
                if ready == self._in:
                    rest = self._write(rest)
                    if not rest:
                        poll.unregister(self._in)
                elif self._read(ready, streams[ready]):
                    poll.unregister(ready)
                    waiting.discard(ready)
        return streams

    def _write(self, text: bytes) -> bytes:
        try:
            return text[os.write(self._in, text[:_AT_ONCE]) :]
        except BlockingIOError:
            return text
        except BrokenPipeError:
            return b""

    def _read(self, descriptor: int, stream: _Marked) -> bool:
        """Take what is there; tell whether the stream is done, by its mark or its end."""
        piece = os.read(descriptor, 1 << 20)
        if stream.add(piece):
            return True
        if len(stream.data) > self._limit:
            self.close()
            raise too_large(self._limit, _shown(stream.data[:200]) + " ...")
        return not piece

    def _late(self, timeout: float, streams: Mapping[int, _Marked]) -> DeadlinePassed:
        said = bytes(streams[self._out].data[-1000:]) + bytes(streams[self._err].data[-1000:])
        return late(timeout, f"it had written: {_shown(said)}" if said else "it had written nothing")

    def _drop_leftovers(self) -> None:
        """Forget what a child in the background wrote after its command had ended."""
        poll = select.poll()
        for descriptor in (self._out, self._err):
            poll.register(descriptor, select.POLLIN)
        while any(os.read(ready, 1 << 20) for ready, event in poll.poll(0) if event & select.POLLIN):
            pass


def late(timeout: float, evidence: str) -> DeadlinePassed:
    """Return the error for a command that took longer than `timeout` seconds."""
    return DeadlinePassed(
        f"it did not end in {timeout:g} seconds",
        do="Give it more with --multiarch-timeout or run(..., timeout=seconds)",
        evidence=evidence,
    )


def too_large(limit: int, evidence: str = "") -> OutputTooLarge:
    """Return the error for a command that wrote more than `limit` bytes."""
    return OutputTooLarge(
        f"the command wrote more than {limit} bytes",
        do="Raise --multiarch-output-limit, or let it write to a file",
        evidence=evidence,
    )


def framed(command: str, mark: str) -> str:
    """Return the line that runs `command` and then writes `mark` on both streams.

    A subshell keeps the `cd`, `exit` and `set` of a command that isn't plain to itself; `eval` of one quoted word
    keeps a syntax error or an open here-document from swallowing the mark; standard input is empty, for the real
    one carries the next commands. `echo` is built into every shell, `printf` isn't into mksh.
    """
    quoted = command.replace("'", "'\\''")
    body = command if _PLAIN.fullmatch(command) else f"(eval '{quoted}')"
    return f"{body} </dev/null; echo {mark} $?; echo {mark} >&2\n"


class _Marked:
    """A stream's bytes up to its mark: `data` without the mark, `code` what followed it."""

    def __init__(self, mark: bytes) -> None:
        self.data = bytearray()
        self.found = False
        self.code: int | None = None
        self._mark = mark

    def add(self, piece: bytes) -> bool:
        """Take a piece; tell whether the mark and its line's end have come."""
        start = max(len(self.data) - len(self._mark) - 5, 0)  # the mark, a space, three digits, a newline
        self.data += piece
        at = self.data.find(self._mark, start)
        end = self.data.find(b"\n", at) if at >= 0 else -1
        if end < 0:
            return False
        after = self.data[at + len(self._mark) : end].strip()
        self.code = int(after) if after else None
        self.found = True
        del self.data[at:]
        return True


def _shown(data: bytes | bytearray) -> str:
    return ascii(bytes(data).decode(errors="backslashreplace"))
