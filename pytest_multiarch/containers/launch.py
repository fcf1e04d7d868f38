"""How a container is started: with a shell that we hold on to, as production starts it, or for one command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_multiarch.containers.attached import Attached
from pytest_multiarch.containers.faults import start_error
from pytest_multiarch.emulators.emulators import Emulator
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.engine.outages import outage
from pytest_multiarch.images.stored import Image

__tracebackhide__ = True

#: Seconds for a container to start: 0.3 natively, more where the machine is busy with emulated builds.
STARTING = 60.0

#: The lifeline: it always sits in a read, so the end of its standard input (our death, too) ends the container.
LIFELINE = "echo up; read x"

#: The runtime's word for an image without `sh`, and tini's.
NO_SHELL = re.compile(r"exec: \"sh\": executable file not found|exec sh failed: No such file", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Launch:
    """What is started in a container.

    Attributes:
        command: the arguments after the image; None is the image's own.
        env: variables to set.
        ports: container port -> port on the host, None for a free one.
        service: whether it is the image's own program, started as in production: without our shell, and
            without `--init`, since tini runs a script without `#!` where production refuses.

    """

    command: Sequence[str] | None = None
    env: Mapping[str, str] | None = None
    ports: Mapping[int, int | None] | None = None
    service: bool = False


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts containers of one image on one platform.

    Attributes:
        engine: where.
        image, emulator: of what, and how its platform runs there.
        run_args: the user's words for `docker run`.

    """

    engine: Engine
    image: Image
    emulator: Emulator
    run_args: Sequence[str]

    def start(self, name: str, launch: Launch) -> Attached | None:
        """Return the client of the started container; None where a shell was wanted and the image has none.

        Raises:
            ContainerError: it can't be started; the type tells whose fault it is.

        """
        words = [*self.engine.command, "run", "--rm", "--log-driver=none", *self._common(name, launch.env)]
        if launch.service:
            words += [*self._published(launch.ports), self.image.id, *(launch.command or ())]
        else:
            words += ["-i", "--init", "--entrypoint", "sh", self.image.id, "-c", LIFELINE]
        client = Attached(words, env=self.engine.env, stdin=not launch.service)
        try:
            up = self._await_service(client, name) if launch.service else self._await_shell(client)
        except BaseException:
            self.engine.remove(name)
            client.end()
            raise
        return client if up else None

    def create(self, name: str, words: Sequence[str], extra: Sequence[str]) -> None:
        """Create a container for one command, which goes away once that has run.

        Args:
            name: the container's.
            words: the command.
            extra: more words for `docker create`.

        Raises:
            ContainerError: it can't be created.

        """
        create = ["create", "--rm", "-i", "--init", "--log-driver=none", *self._common(name), *extra]
        made = self.engine.call(
            *create, "--entrypoint", words[0], self.image.id, *words[1:], timeout=STARTING, check=False
        )
        if not made.ok:
            raise start_error(self.emulator.platform, made.returncode, made.complaint)

    def _await_shell(self, client: Attached) -> bool:
        """Wait for the shell's first word; say whether there is a shell."""
        if client.wait_for(lambda: client.stdout.startswith(b"up\n"), STARTING):
            return True
        client.end()
        if NO_SHELL.search(client.text):
            return False
        raise start_error(self.emulator.platform, client.returncode, client.text)

    def _await_service(self, client: Attached, name: str) -> bool:
        """Wait until the engine has started the program, or the client has given up."""

        def started() -> bool:
            state = (self.engine.inspect("container", name) or {}).get("State", {})
            return state.get("Status") in ("running", "exited")

        client.wait_for(started, STARTING, every=0.05)
        # The image's own program may end with these codes too: then nothing of this is said.
        refused = "docker run --help" in client.text or outage(client.text)
        if client.returncode in (125, 126, 127) and refused:
            raise start_error(self.emulator.platform, client.returncode, client.text)
        return True

    def _common(self, name: str, env: Mapping[str, str] | None = None) -> list[str]:
        platform = str(self.emulator.platform).removesuffix("/v8")
        words = ["--platform", platform, "--pull=never", "--name", name]
        for key, value in {**self.emulator.environment, **(env or {})}.items():
            words += ["--env", f"{key}={value}"]
        return [*words, *self.engine.labels, *self.run_args]

    def _published(self, ports: Mapping[int, int | None] | None) -> list[str]:
        if not ports:
            return []
        at, pairs = f"{self.engine.reach.bind}:".removeprefix(":"), ports.items()
        return [word for inner, outer in pairs for word in ("--publish", f"{at}{outer or ''}:{inner}")]
