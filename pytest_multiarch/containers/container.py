"""Containers: one with a shell for each image and platform, services as in production, all gone at the end."""

from __future__ import annotations

import contextlib
import re
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_multiarch import process
from pytest_multiarch.containers.faults import fault, start_error
from pytest_multiarch.containers.launch import NO_SHELL, STARTING, Launch, Launcher
from pytest_multiarch.containers.results import Result
from pytest_multiarch.containers.shell import Answer, Shell, late, run_once, too_large
from pytest_multiarch.errors import (
    CommandFailed,
    ContainerDied,
    ContainerError,
    DeadlinePassed,
    EngineError,
    FaultError,
    ImageError,
    MultiarchError,
    OutOfMemory,
    OutputTooLarge,
)
from pytest_multiarch.options import Settings
from pytest_multiarch.platforms import Platform

if TYPE_CHECKING:
    from testinfra.host import Host

__tracebackhide__ = True

#: Seconds for a container to end when its lifeline is let go: it takes 0.2, even of a busy loop.
HANG_UP = 5.0

#: Seconds in which a container ends whose shell was killed together with it.
DYING = 1.0

#: Shells kept open for what commands left in the background, the latest: a daemon whose log nobody reads stops.
HELD = 8

#: What the client writes where the engine can't start a command as it is asked to: the command's fault.
REFUSED = re.compile(r"OCI runtime exec failed|Error response from daemon: unable to find (user|group)")


class Container:
    """A running container of one platform.

    `id` is the engine's id of it, `image` and `platform` are what runs in it.

    Args:
        launcher: starts it, and starts it anew.
        launch: what is started in it.
        settings: the limits of its commands.
        slot: held while a command runs.

    """

    def __init__(
        self,
        launcher: Launcher,
        launch: Launch,
        settings: Settings,
        slot: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._launcher, self._launch, self._settings, self._slot = launcher, launch, settings, slot
        self._engine, self._emulator, self.image = launcher.engine, launcher.emulator, launcher.image
        self._id = self._gave_up = ""
        self._guard = threading.Lock()
        self._start()

    @property
    def platform(self) -> Platform:
        """Return the platform, `machines` being what `uname -m` may say on this very engine."""
        return self._emulator.platform

    @cached_property
    def host(self) -> Host:
        """Return testinfra's host for this container: `container.host.file("/etc/passwd").exists`."""
        from pytest_multiarch.containers.testinfra_host import host_of

        return host_of(self)

    @property
    def id(self) -> str:
        """Return the engine's id of this container (64 hex digits)."""
        if not self._id:
            found = self._engine.container(self.name) if self._client else None
            if found is None or found.id is None:
                raise self._gone() if self._client else _no_shell(self)
            self._id = found.id
        return self._id

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = False,
        timeout: float | None = None,
        stdin: str | bytes | None = None,
        user: str | None = None,
        workdir: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command in the container and return what it left.

        Args:
            command: a command line for the image's `sh`, or an argument vector that no shell interprets.
            check: raise if the exit code isn't 0.
            timeout: seconds; `--multiarch-timeout` if not given. When they are over the container is killed.
            stdin: standard input; it is empty if not given.
            user, workdir, env: as for `docker exec`; these, and `stdin`, cost a client of their own (80 ms).

        Raises:
            CommandFailed: `check` is true and the exit code isn't 0.
            DeadlinePassed: the time was up; names the command.
            OutputTooLarge: it wrote more than `--multiarch-output-limit`.
            ContainerDied: there is no container any more.

        """
        words = command if isinstance(command, str) else tuple(command)
        if words == ():
            raise ContainerError("there is no command to run", do="Name a program: run(['true'])")
        if "\0" in (words if isinstance(words, str) else "".join(words)):
            raise ContainerError("a command can't contain a NUL", evidence=repr(words)[:200])
        patience = self._settings.timeout if timeout is None else timeout
        extra = _exec_options(user, workdir, env)
        with self._slot():  # the wait for it is none of the command's time
            result = self._result(words, extra, stdin, patience)
        if check and result.returncode != 0:
            raise self._failure(words, result.returncode, _said(result.stdout_bytes, result.stderr_bytes))
        return result

    def _result(
        self, words: str | tuple[str, ...], extra: list[str], stdin: str | bytes | None, timeout: float
    ) -> Result:
        """Run a command and return what it left; one that must be given up takes its container with it."""
        began = time.monotonic()
        try:
            if self._client is None:
                code, out, err = self._run_alone(words, extra, stdin, timeout)
            elif extra or stdin is not None:
                code, out, err = self._run_apart(words, extra, stdin, timeout)
            else:
                code, out, err = self._run_in_shell(words, timeout)
        except (DeadlinePassed, OutputTooLarge) as error:
            self._gave_up = f"`{_shown(words)}`: {error.what}"
            self.kill()
            kind = type(error)
            raise kind(
                f"`{_shown(words)}` on {self.platform}", why=error.what, do=error.do, evidence=error.evidence
            ) from None
        except MultiarchError:
            raise
        except BaseException:  # pytest-timeout's limit, an interrupt: the command still runs, in this very shell
            self._gave_up = f"`{_shown(words)}`, which was interrupted"
            self.kill()
            raise
        return Result(words, code, out, err, time.monotonic() - began)

    def address(self, port: int) -> tuple[str, int]:
        """Return the (host, port) where a published port of the container is reached.

        Raises:
            ContainerError: the port wasn't published.

        """
        if not self.alive:
            raise self._gone()
        if port not in self._addresses:
            self._addresses[port] = self._published_at(port)
        return self._addresses[port]

    def _published_at(self, port: int) -> tuple[str, int]:
        found = self._engine.container(self.name) if self._client else None
        bindings = (found.network_settings.ports or {}) if found and found.network_settings else {}
        for binding in bindings.get(f"{port}/tcp") or []:
            if binding.get("HostPort"):
                return self._engine.reach.host, int(binding["HostPort"])
        if found is None and self._client:
            raise self._gone()
        raise ContainerError(
            f"port {port} of the container is not published",
            do=f"Start it with container_factory.start(ports=[{port}])",
        )

    def fault(self, code: int | None, said: str) -> FaultError | None:
        """Return the error for how a program in the container ended, None where nothing special is known.

        Args:
            code: its exit code.
            said: what it wrote last.

        """
        emulated, cpu = self._emulator.version is not None, self._emulator.cpu
        found = fault(code, said, cpu=cpu, emulated=emulated)
        if found is None and code == 137 and self._ran_out_of_memory():
            found = OutOfMemory(f"exit code {code}", why="the kernel killed it for want of memory", evidence=said)
        return found

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of the container's own program, None while it runs."""
        return self._client.returncode if self._client else None

    def logs(self) -> str:
        """Return the last mebibyte that the container's own program wrote, both streams in one."""
        return self._client.text if self._client else ""

    @property
    def alive(self) -> bool:
        """Tell whether the container runs; one of an image without a shell has nothing that could die."""
        return self._client is None or self._client.running

    def runs_program(self) -> bool:
        """Ask the engine for the processes of the container: whether its own program is one of them.

        Our client hears of an end seconds later where the machine is busy, and before the program there is the
        runtime's own process, which becomes it (`runc init`).
        """
        listed = self._engine.call("top", self.name, check=False)
        rows = listed.stdout.decode(errors="replace").splitlines()[1:]
        return listed.ok and any(not row.rstrip().endswith("runc init") for row in rows)

    def wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition()` is true, at most `timeout` seconds or until the container ends; say if it is.

        It is asked whenever the container has written something, and 50 times a second.
        """
        return self._client.wait_for(condition, timeout, every=0.02) if self._client else condition()

    def hang_up(self) -> None:
        """Let go of the lifeline, which ends the container soon; `kill` waits for its end."""
        if self._client is not None:
            self._client.hang_up()

    def kill(self) -> None:
        """End the container and all that runs in it; return when the engine has removed it."""
        for shell in self._shells:
            shell.close()
        self._shells.clear()
        client = self._client
        if client is None:
            return
        client.hang_up()
        if self._launch.service or not client.ended(HANG_UP):
            self._engine.remove(self.name)
            client.ended(HANG_UP)
        client.end()

    def renew(self) -> None:
        """Start a container that has died anew: what one test did to it is no later test's fault."""
        if not self.alive:
            self.kill()  # what is left of it: pipes
            self._start()

    def _start(self) -> None:
        self.name = f"multiarch-{uuid.uuid4().hex[:12]}"
        self._began = time.monotonic()
        self._shells: list[Shell] = []
        self._addresses: dict[int, tuple[str, int]] = {}
        self._mine = threading.local()
        self._first: Shell | None = None
        self._id = self._gave_up = ""
        self._client = self._launcher.start(self.name, self._launch)
        if self._client is not None and not self._launch.service:
            self._first = self._new_shell()

    def _new_shell(self) -> Shell:
        words = [*self._engine.command, "exec", "-i", self.name, "sh"]
        try:
            shell = Shell(words, env=self._engine.env, limit=self._settings.output_limit, timeout=STARTING)
        except ContainerError as error:
            if not self._runs():
                raise self._gone() from None
            if NO_SHELL.search(error.evidence):
                raise _no_shell(self) from None
            raise
        with self._guard:
            self._shells.append(shell)
            held = [each for each in self._shells if each.held]
        for each in held[:-HELD]:
            self._drop(each)
        return shell

    def _run_in_shell(self, words: str | tuple[str, ...], timeout: float) -> tuple[int, bytes, bytes]:
        if not self.alive:
            raise self._gone()
        shell: Shell | None = getattr(self._mine, "shell", None)
        if shell is None:  # whoever started the container may be another thread than the one that uses it first
            with self._guard:
                shell, self._first = self._first, None
        if shell is None or not shell.open:
            shell = self._new_shell()
        self._mine.shell = shell
        answer = shell.run(_line(words), timeout)
        if answer.ended:
            self._drop(shell)
            self._check_end(words, answer)
        return answer.returncode, answer.stdout, answer.stderr

    def _check_end(self, words: str | tuple[str, ...], answer: Answer) -> None:
        """Make sure that a shell's end was the command's own doing.

        Raises:
            ContainerDied: the container's end took the shell with it.
            EngineError: only our connection to it ended.

        """
        # What killed the shell may be about to end the container: on a busy machine it takes a moment.
        killed = answer.returncode == 137 and self._client is not None and self._client.ended(DYING)
        if killed or not self._runs():
            raise self._gone()
        if answer.lost:
            raise _cut_off(words, self.platform, answer.returncode, _said(answer.stdout, answer.stderr))

    def _runs(self) -> bool:
        """Ask the engine whether the container runs: our client hears of its end a moment later."""
        return self._engine.runs(self.name)

    def _failure(self, words: str | tuple[str, ...], code: int, said: str) -> CommandFailed:
        what = f"`{_shown(words)}` ended with exit code {code} on {self.platform}"
        known = self.fault(code, said)
        if known is None:
            return CommandFailed(what, evidence=said)
        return type(known)(what, why=known.why, do=known.do, evidence=said)

    def _ran_out_of_memory(self) -> bool:
        """Ask the engine's events: the container itself, and what it said of its end, may be removed by now."""
        names = ["--filter", f"container={self.name}", "--filter", "event=oom"]
        now = self._engine.clock
        since = now - time.monotonic() + self._began
        asked = ["events", "--since", str(int(since) - 1), "--until", str(int(now) + 1), *names]
        return bool(self._engine.call(*asked, check=False).stdout.strip())

    def _drop(self, shell: Shell) -> None:
        shell.close()
        with self._guard, contextlib.suppress(ValueError):
            self._shells.remove(shell)

    def _run_apart(
        self, words: str | tuple[str, ...], extra: list[str], stdin: str | bytes | None, timeout: float
    ) -> tuple[int, bytes, bytes]:
        if not self.alive:
            raise self._gone()
        client = ["exec", "-i", *extra, self.name]
        answer = run_once(
            [*self._engine.command, *client, "sh"],
            _line(words),
            stdin.encode() if isinstance(stdin, str) else (stdin or b""),
            env=self._engine.env,
            limit=self._settings.output_limit,
            timeout=timeout,
        )
        said = _said(answer.stdout, answer.stderr)
        if answer.ended and NO_SHELL.search(said) and not isinstance(words, str):  # a service needs no shell
            done = self._client_run([*client, *words], stdin, timeout)
            answer = Answer(done.returncode, done.stdout, done.stderr)
        elif answer.ended and not REFUSED.match(said):
            self._check_end(words, answer)
        return answer.returncode, answer.stdout, answer.stderr

    def _run_alone(
        self, words: str | tuple[str, ...], extra: list[str], stdin: str | bytes | None, timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run one command as a container of its own: all that an image without a shell can do."""
        if isinstance(words, str):
            raise _no_shell(self)
        name = f"multiarch-{uuid.uuid4().hex[:12]}"
        try:
            # Created first, so that the time of the command is its own; `--rm` takes it away once it has run.
            self._launcher.create(name, words, extra)
            done = self._client_run(["start", "-a", "-i", name], stdin, timeout)
            if done.returncode == 1 and self._engine.inspect("container", name):
                raise start_error(self.platform, 1, done.complaint)
            if done.returncode < 0 or (done.returncode == 125 and self._engine.runs(name)):
                raise _cut_off(words, self.platform, done.returncode, done.complaint)
        except MultiarchError:
            self._engine.remove(name)
            raise
        return done.returncode, done.stdout, done.stderr

    def _client_run(self, argv: list[str], stdin: str | bytes | None, timeout: float) -> process.Finished:
        data = stdin.encode() if isinstance(stdin, str) else (stdin or b"")
        limit = self._settings.output_limit
        try:
            return self._engine.call(*argv, timeout=timeout, input=data, check=False, limit=limit)
        except DeadlinePassed as error:
            raise late(timeout, error.evidence) from None
        except OutputTooLarge:
            raise too_large(limit) from None

    def _gone(self) -> ContainerDied:
        # Our client hears of the end a moment after the engine.
        code = self._client.returncode if self._client and self._client.ended(HANG_UP) else None
        return ContainerDied(
            f"the container of {self.image.tag} on {self.platform} is gone",
            why=f"it was killed after {self._gave_up}" if self._gave_up else f"it ended with exit code {code}",
            do="" if self._gave_up else "137 means killed: by a test, or by the kernel for want of memory",
            evidence=self.logs().removeprefix("up\n"),
        )


def _no_shell(container: Container) -> ImageError:
    return ImageError(
        f"{container.image.tag} has no shell",
        do='Give an argument vector, run(["/program", "argument"]): each is then a container of its own;'
        " container.host and command lines need `sh` in the image",
    )


def _exec_options(user: str | None, workdir: str | None, env: Mapping[str, str] | None) -> list[str]:
    words = ["--user", user] if user is not None else []
    words += ["--workdir", workdir] if workdir is not None else []
    return words + [word for key, value in (env or {}).items() for word in ("--env", f"{key}={value}")]


def _line(words: str | tuple[str, ...]) -> str:
    """Return the command line for a shell."""
    return words if isinstance(words, str) else f"exec {shlex.join(words)}"


def _cut_off(words: str | tuple[str, ...], platform: Platform, code: int, said: str) -> EngineError:
    return EngineError(
        f"the connection to `{_shown(words)}` on {platform} was cut, and what became of it is not known",
        why=f"the docker client ended with {code}, and the container runs",
        do="Look whether the engine, or what stands between it and here, was restarted",
        evidence=said,
    )


def _shown(words: str | tuple[str, ...]) -> str:
    if isinstance(words, tuple):
        return process.shown(words)
    return words if len(words) <= 300 else f"{words[:300]} ..."


def _said(out: bytes, err: bytes) -> str:
    return "\n".join(data.decode(errors="backslashreplace").rstrip()[-2000:] for data in (out, err) if data)
