"""A shell that stays: one `docker exec -i CONTAINER sh`, commands down its standard input.

A command costs a fork of that shell instead of a client, a request and a new process: 1 ms instead of 80. What
one command did to its shell (`cd`, variables, `exit`, `set -e`) ends with it. What it leaves in the background may
write into the shell's pipes for ever: that shell then takes no other command.
"""

from __future__ import annotations

import os
import re
import secrets
import select
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_multiarch import process
from pytest_multiarch.errors import ContainerError, DeadlinePassed, MultiarchError, OutputTooLarge

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

#: Seconds for a shell to tell whether somebody else holds its output.
_LOOK = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command left: its exit code and both streams, to the byte.

    `ended` says that the shell itself went with it (`kill -9 $$`): the code is then the client's.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    ended: bool = False

    @property
    def lost(self) -> bool:
        """Tell whether the client alone ended: a command can end its shell by a signal only, 128 + its number.

        A client whose connection is cut ends with 255, and with 0 where the engine answers its next question.
        """
        return self.ended and not 128 < self.returncode <= 128 + 64


class Client:
    """A client whose shell says by a mark on both streams that a command is done; for one thread at a time.

    Args:
        argv: the client's command line.
        env: variables to add for the client.
        limit: bytes kept of one command's output.

    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limit: int) -> None:
        self._limit = limit
        self._process = process.start(argv, env=env)
        self._pipes = [pipe for pipe in (self._process.stdin, self._process.stdout, self._process.stderr) if pipe]
        self._in, self._out, self._err = (pipe.fileno() for pipe in self._pipes)
        os.set_blocking(self._in, False)

    def close(self) -> None:
        """End the client, and with it the shell that reads from it."""
        process.end(self._process, grace=0)
        for pipe in self._pipes:
            pipe.close()

    def exchange(
        self, text: bytes, mark: bytes, timeout: float, *, hang_up: bool = False
    ) -> tuple[Answer, set[bytes]]:
        """Write the text and read until both streams had their mark or ended.

        Args:
            text: for standard input.
            mark: what ends the answer.
            timeout: seconds.
            hang_up: whether standard input ends with the text.

        Returns:
            The answer, and the words that followed its exit code.

        Raises:
            DeadlinePassed: it took longer; the command still runs, so the client is lost.
            OutputTooLarge: it wrote more than the limit; the client is lost too.

        """
        streams = self._read_all(text, mark, timeout, hang_up=hang_up)
        out, err = streams[self._out], streams[self._err]
        if out.code is None or not err.found:
            return Answer(self._own_code(), bytes(out.data), bytes(err.data), ended=True), set()
        return Answer(out.code, bytes(out.data), bytes(err.data)), out.words

    def _own_code(self) -> int:
        """Return the client's own exit code, -1 where it has closed its streams and stays."""
        return self._process.returncode if process.ended(self._process, process.GRACE) else -1

    def _read_all(self, text: bytes, mark: bytes, timeout: float, *, hang_up: bool) -> dict[int, _Marked]:
        deadline = time.monotonic() + timeout
        poll = select.poll()
        streams = {self._out: _Marked(mark), self._err: _Marked(mark)}
        for stream in streams:
            poll.register(stream, select.POLLIN)
        waiting = set(streams)
        rest = self._write(text, hang_up=hang_up)
        if rest:
            poll.register(self._in, select.POLLOUT)
        while waiting:
            left = deadline - time.monotonic()
            events = poll.poll(left * 1000) if left > 0 else []
            if not events:
                raise self._late(timeout, streams)
            for ready, _ in events:
                if ready == self._in:
                    poll.unregister(self._in)
                    rest = self._write(rest, hang_up=hang_up)
                    if rest:
                        poll.register(self._in, select.POLLOUT)
                elif self._read(ready, streams[ready]):
                    poll.unregister(ready)
                    waiting.discard(ready)
        return streams

    def _write(self, text: bytes, *, hang_up: bool) -> bytes:
        """Write what fits and return the rest."""
        try:
            text = text[os.write(self._in, text[:_AT_ONCE]) :]
        except BlockingIOError:
            return text
        except BrokenPipeError:
            text = b""
        if hang_up and not text:
            self._pipes[0].close()
        return text

    def _read(self, descriptor: int, stream: _Marked) -> bool:
        """Take what is there; tell whether the stream is done, by its mark or its end."""
        piece = os.read(descriptor, 1 << 20)
        if stream.add(piece):
            return True
        if stream.size > self._limit:
            self.close()
            raise too_large(self._limit, _shown(stream.data[:200]) + " ...")
        return not piece

    def _late(self, timeout: float, streams: Mapping[int, _Marked]) -> DeadlinePassed:
        said = bytes(streams[self._out].data[-1000:]) + bytes(streams[self._err].data[-1000:])
        return late(timeout, f"it had written: {_shown(said)}" if said else "it had written nothing")


class Shell(Client):
    """One client with a shell at its other end that takes one command after the other.

    Args:
        argv: starts a shell that reads commands from standard input.
        env, limit: as a client's.
        timeout: seconds until the shell must answer.

    Raises:
        ContainerError: there is no shell at the other end.
        DeadlinePassed: it didn't answer in time.

    """

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, limit: int, timeout: float
    ) -> None:
        super().__init__(argv, env=env, limit=limit)
        self.held = False
        self._known: set[bytes] = set()
        # Whatever the client itself prints comes before this first answer, and isn't the container's.
        try:
            hello, self._known = self._ask(":", timeout)
        except BaseException:
            self.close()
            raise
        if hello.ended:
            self.close()
            said = (hello.stderr + hello.stdout).decode(errors="backslashreplace")
            raise ContainerError("no shell could be opened in the container", evidence=said)

    @property
    def open(self) -> bool:
        """Tell whether the shell takes another command."""
        return not self.held and self._process.poll() is None

    def run(self, command: str, timeout: float) -> Answer:
        """Run one command line and return what it left.

        If it left a process that holds the shell's output, the shell is `held` from then on: the client stays,
        and all that comes is read and forgotten, for a daemon whose log nobody reads would stop.

        Raises:
            DeadlinePassed: it took longer than `timeout` seconds; it still runs, so the shell is lost.
            OutputTooLarge: it wrote more than the limit; the shell is lost too.

        """
        answer, listed = self._ask(command, timeout)
        if listed - self._known:
            self.held = self._is_held(listed)
            if self.held and not self._pipes[1].closed:
                threading.Thread(target=self._forget, daemon=True).start()
        return answer

    def close(self) -> None:
        """End the client, and with it the shell that reads from it."""
        if not self.held:
            super().close()
            return
        self._pipes[0].close()
        process.end(self._process, grace=0)  # the other pipes are those of who forgets what comes

    def _ask(self, command: str, timeout: float) -> tuple[Answer, set[bytes]]:
        mark = secrets.token_hex(12)
        return self.exchange(framed(command, mark).encode(errors="surrogateescape"), mark.encode(), timeout)

    def _is_held(self, listed: set[bytes]) -> bool:
        """Tell whether a process that wasn't there before holds the shell's output.

        One that ends meanwhile may have left a child, which the next list then has: so it is asked until there
        is nobody new. A shell that can't tell counts as held.
        """
        while new := listed - self._known:
            self._known |= listed
            try:
                answer, listed = self._ask(_holding(new), _LOOK)
            except MultiarchError:
                return True
            if answer.ended or answer.returncode != FREE:
                return True
        self._known = listed
        return False

    def _forget(self) -> None:
        """Read until the client ends."""
        poll = select.poll()
        pipes = {pipe.fileno(): pipe for pipe in self._pipes[1:]}
        for descriptor in pipes:
            poll.register(descriptor, select.POLLIN)
        while pipes:
            for ready, _ in poll.poll():
                if not os.read(ready, 1 << 20):
                    poll.unregister(ready)
                    pipes.pop(ready).close()


#: The exit code that says that nobody holds the shell's output.
FREE = 7


def _holding(folders: Iterable[bytes]) -> str:
    """Return the command that ends with `FREE` if none of these processes (`/proc/PID`) holds the shell's output.

    One of another user's may not be looked into, and may hold it.
    """
    names = b" ".join(sorted(folders)).decode()
    return (
        "o=/proc/$$/fd/1 e=/proc/$$/fd/2; test $o -ef $o || exit 1; "  # a shell whose `test` can't compare
        f"for p in {names}; do for f in $p/fd/*; do "
        "test $f -ef $o || test $f -ef $e && exit 1; "
        "test -e $f || { test ! -L $f && test -r $p/fd; } || test ! -d $p || exit 1; "  # closed, or ended, since
        f"done; done; exit {FREE}"
    )


def run_once(
    argv: Sequence[str],
    command: str,
    data: bytes,
    *,
    env: Mapping[str, str] | None = None,
    limit: int,
    timeout: float,
) -> Answer:
    """Run one command line by a shell of its own and return what it left, whatever it left in the background.

    Args:
        argv: starts a shell that takes `-c COMMAND`.
        command: the command line.
        data: its standard input.
        env: variables to add for the client.
        limit: bytes kept of its output.
        timeout: seconds.

    Raises:
        DeadlinePassed: it took longer.
        OutputTooLarge: it wrote more.

    """
    mark = secrets.token_hex(12)
    client = Client([*argv, "-c", framed(command, mark, alone=True)], env=env, limit=limit)
    try:
        return client.exchange(data, mark.encode(), timeout, hang_up=True)[0]
    finally:
        client.close()


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


def framed(command: str, mark: str, *, alone: bool = False) -> str:
    """Return the line that runs `command` and then writes `mark` on both streams.

    A subshell keeps the `cd`, `exit` and `set` of a command that isn't plain to itself; `eval` of one quoted word
    keeps a syntax error or an open here-document from swallowing the mark; standard input is empty, for the real
    one carries the next commands. `echo` is built into every shell, `printf` isn't into mksh.

    After a command that isn't plain the processes are listed, those that it left in the background among them.
    One that is `alone` in its shell has that shell's standard input, and nothing is listed.
    """
    quoted = command.replace("'", "'\\''")
    plain = _PLAIN.fullmatch(command) and not alone
    body = command if plain else f"(eval '{quoted}')"
    stdin, listed = ("" if alone else " </dev/null"), ("" if alone or plain else " /proc/[0-9]*")
    return f"{body}{stdin}; echo {mark} $?{listed}; echo {mark} >&2\n"


class _Marked:
    """A stream's bytes up to its mark: `data` without the mark, `code` and `words` what followed it."""

    def __init__(self, mark: bytes) -> None:
        self.data = bytearray()
        self.found = False
        self.code: int | None = None
        self.words: set[bytes] = set()
        self._mark, self._at = mark, -1

    @property
    def size(self) -> int:
        """Return the number of bytes before the mark."""
        return len(self.data) if self._at < 0 else self._at

    def add(self, piece: bytes) -> bool:
        """Take a piece; tell whether the mark and its line's end have come."""
        start = max(len(self.data) - len(self._mark), 0)
        self.data += piece
        if self._at < 0:
            self._at = self.data.find(self._mark, start)
        end = self.data.find(b"\n", max(self._at, start)) if self._at >= 0 else -1
        if end < 0:
            return False
        code, *words = bytes(self.data[self._at + len(self._mark) : end]).split() or [b""]
        self.code, self.words = (int(code) if code else None), set(words)
        self.found = True
        del self.data[self._at :]
        return True


def _shown(data: bytes | bytearray) -> str:
    return ascii(bytes(data).decode(errors="backslashreplace"))
