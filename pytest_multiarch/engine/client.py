"""The container engine: what it is, and the one way to talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_multiarch import process
from pytest_multiarch.engine.reach import Reach, gateway_of, own_container, reach_of, ssh_host
from pytest_multiarch.errors import EngineError, MultiarchError, StateError
from pytest_multiarch.platforms import Platform

if TYPE_CHECKING:
    from python_on_whales.components.container.models import ContainerInspectResult

__tracebackhide__ = True

#: Labels of all that we make: whose it is, and which session's.
OWNER, SESSION = "pytest-multiarch.owner", "pytest-multiarch.session"

#: The variable that labels the docker clients that we start.
CLIENT = "PYTEST_MULTIARCH_SESSION"

#: The registry part of our tags: a name that can't be pushed to or pulled from.
REGISTRY = "multiarch.local"

#: Seconds for one question to the engine; it answers in 0.1 where it is well.
PATIENCE = 60.0

#: The oldest buildx that takes `--provenance=false` for what it says: 0.8 has no remote driver, 0.9 refuses the
#: word, 0.10.0 asks it of the builder, and Docker 20.10's own knows no attestations.
BUILDX = (0, 10, 2)

#: What a buildx says whose builder gave it no version (`v0.0.0+unknown`): it may be any.
UNTOLD = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself.

    Attributes:
        id: the engine's own, kept over restarts.
        version: the server's.
        platform: the one that it runs natively.
        containerd: whether images are in containerd's store (an image's id is then its manifest's digest;
            in the classic store it is its config's).
        machine: what its machine says of itself: name, kernel's release, bytes of memory.
        context: the client's context, whose name is also that of the engine's own builder.
        buildx: the version of buildx, () where there is none.

    """

    id: str
    version: str
    platform: Platform
    containerd: bool
    machine: tuple[str, str, int]
    context: str
    buildx: tuple[int, ...]

    def __str__(self) -> str:
        store = "containerd" if self.containerd else "classic"
        return f"Docker {self.version}, {self.platform}, {store} image store"


class Engine:
    """The engine that the `docker` client is set to, asked through one process runner.

    python-on-whales knows the shapes of a container's description. It starts processes without a deadline, so
    the starting is ours, and its import takes 0.25 s, so what every session asks is
    read from JSON directly.

    Args:
        owner: whose what we make is (the state folder's id), put on all of it as a label.
        session: the session's id, put on what must not outlive it.
        scratch: a folder for files of a moment, which goes with the session; None is the system's.

    """

    def __init__(self, owner: str = "", session: str = "", scratch: Path | None = None) -> None:
        self.owner, self.session, self._scratch = owner, session, scratch
        self.lasting_labels = ["--label", f"{OWNER}={owner}"]
        self.labels = [*self.lasting_labels, "--label", f"{SESSION}={session}"]

    @cached_property
    def command(self) -> list[str]:
        """Return the client's command line up to the subcommand."""
        found = shutil.which("docker")
        if found is None:
            raise EngineError(
                "there is no `docker` command", do="Install a Docker client and engine, or put it on PATH"
            )
        return [found]

    @cached_property
    def env(self) -> dict[str, str]:
        """Return the variables that the client gets besides our own.

        Clients 19.03 to 20.10 have buildx behind the first switch; later ones ignore it. With the third one `bake`
        reads what is outside the current folder, as `build` does without a word. BuildKit's and the binfmt image
        are for the engine's platform, whatever the user has for a default; everything else names its own.
        """
        label = {CLIENT: f"{self.owner}/{self.session}"} if self.session else {}
        return {
            "DOCKER_CLI_EXPERIMENTAL": "enabled",
            "DOCKER_CLI_HINTS": "false",
            "BUILDX_BAKE_ENTITLEMENTS_FS": "0",
            "DOCKER_DEFAULT_PLATFORM": "",
            **label,
        }

    @property
    def repository(self) -> str:
        """Return what all our tags begin with; the owner's id in it says whose they are, as a label would."""
        return f"{REGISTRY}/{self.owner}" if self.owner else REGISTRY

    @property
    def scratch(self) -> Path | None:
        """Return the folder for files of a moment; None, the system's, where somebody deleted it."""
        return self._scratch if self._scratch and self._scratch.is_dir() else None

    @contextlib.contextmanager
    def scratch_folder(self, prefix: str) -> Iterator[Path]:
        """Make a folder for files of a moment, and remove it afterwards.

        Raises:
            StateError: it can't be made.

        """
        try:
            folder = tempfile.TemporaryDirectory(dir=self.scratch, prefix=prefix)
        except OSError as error:
            raise StateError(
                f"no temporary folder can be made in {self.scratch or tempfile.gettempdir()}",
                why=error.strerror or str(error),
                do="Free some space, or set TMPDIR and XDG_STATE_HOME to folders of your own",
            ) from None
        with folder as path:
            yield Path(path)

    def passing(self, name: str) -> str:
        """Return a tag for a moment: should we die before it is removed, it says that it was ours."""
        return f"{self.repository}/{name}:of-{self.session or 'nobody'}-{time.monotonic_ns()}"

    @staticmethod
    def session_of(tag: str) -> str:
        """Return the session that made a tag by `passing`, "" for any other tag."""
        found = re.search(r":of-([\w.-]+)-\d+$", tag)
        return found[1] if found else ""

    @staticmethod
    def project_of(tag: str) -> str:
        """Return the project that a tag of ours names: the last part of its repository."""
        return tag.rpartition(":")[0].rpartition("/")[2]

    @cached_property
    def info(self) -> EngineInfo:
        """Return what the engine is, asked once.

        Raises:
            EngineError: no engine answers, or it refuses us.

        """
        answer = self.call("info", "--format", "{{json .}}")
        try:
            said = json.loads(answer.stdout or b"{}")
        except ValueError:
            raise EngineError("the `docker` client's answer can't be read", evidence=answer.complaint) from None
        if {"host", "version"} <= set(said):
            raise EngineError(
                "the `docker` client is Podman's",
                why="Podman builds without BuildKit, on which this relies, and is not supported",
                do="Put Docker's own client first on PATH, and set DOCKER_HOST to a Docker engine that runs",
            )
        if said.get("ServerErrors") or not said.get("ServerVersion"):
            raise _refusal("\n".join(said.get("ServerErrors") or ["the engine gave no version"]))
        return parse_info(said)

    @property
    def platform(self) -> Platform:
        """Return the platform that the engine runs natively."""
        return self.info.platform

    @property
    def shares_kernel(self) -> bool:
        """Tell whether the engine's kernel is this process's: if not, what is seen here says nothing of it.

        Machines of a cloud are often equal but for their names, and a container beside the engine has another name
        than its machine: it is then asked as a machine elsewhere is, by containers, which is right in any case.
        """
        return self.info.machine == _this_machine() and not self.address

    def call(
        self,
        *args: str,
        timeout: float = PATIENCE,
        input: bytes | None = None,  # noqa: A002 - subprocess's own word
        check: bool = True,
        limit: int = process.OUTPUT_LIMIT,
        cwd: Path | None = None,
        until: Callable[[bytes], bool] | None = None,
    ) -> process.Finished:
        """Run `docker ARGS` and return what it left.

        Raises:
            EngineError: `check` is true and the exit code isn't 0.
            DeadlinePassed: `timeout` seconds were not enough.

        """
        finished = process.run(
            [*self.command, *args],
            timeout=timeout,
            input=input,
            env=self.env,
            cwd=cwd,
            limit=limit,
            until=until,
        )
        if check and not finished.ok:
            raise _refusal(finished.complaint, shown=process.shown(["docker", *args]))
        return finished

    @cached_property
    def endpoint(self) -> str:
        """Return the engine's address as the client has it: `unix://...`, `tcp://...`, `ssh://...`."""
        return (
            os.environ.get("DOCKER_HOST")
            or self.call("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").text
        )

    @property
    def address(self) -> str:
        """Return the host that the engine is reached at, "" where it has a socket on this machine."""
        scheme, _, rest = self.endpoint.partition("://")
        return (urlsplit(f"//{rest}").hostname or "") if scheme in ("tcp", "ssh", "http", "https") else ""

    @cached_property
    def reach(self) -> Reach:
        """Return how the published ports of its containers are reached."""
        if self.endpoint.startswith("ssh://"):
            alias = re.sub(r"^ssh://(?:[^/@]*@)?|(?::\d+)?(?:/.*)?$", "", self.endpoint)  # whose case counts
            return reach_of(ssh_host(alias.strip("[]")))
        if self.address:
            return reach_of(self.address)
        # In a container that was given the engine's socket, 127.0.0.1 is that container and not the engine's host.
        own = own_container(Path("/proc/self/mountinfo").read_text())
        gateway = gateway_of(self.inspect("container", own) or {}) if own else ""
        return Reach(gateway, gateway) if gateway else Reach()

    @property
    def clock(self) -> float:
        """Return the engine's time, in seconds since 1970: another machine's clock may be another's."""
        said = self.call("info", "--format", "{{.SystemTime}}").text
        return datetime.fromisoformat(re.sub(r"\.\d+", "", said).replace("Z", "+00:00")).timestamp()

    def need_buildx(self) -> None:
        """Make sure that there is a buildx that can do what the tool asks of it.

        Raises:
            EngineError: it is missing or too old; says what to install.

        """
        found = self.info.buildx
        if found < BUILDX and found != UNTOLD:
            version = ".".join(map(str, found))
            raise EngineError(
                "Docker's buildx is too old" if found else "the `docker` client has no buildx",
                why=f"it is {version}, and {'.'.join(map(str, BUILDX))} is needed" if found else "",
                do="Install Docker's buildx plugin: package docker-buildx-plugin from Docker's own repository,"
                " docker-buildx from Debian or Ubuntu; `docker buildx version` then prints its version",
            )

    def inspect(self, kind: str, reference: str) -> dict[str, Any] | None:
        """Return what `docker KIND inspect` says of one thing, None where the engine has no such thing."""
        finished = self.call(kind, "inspect", reference, check=False)
        if finished.ok:
            found: list[dict[str, Any]] = json.loads(finished.stdout or b"[]")
            return found[0] if found else None
        gone = r"no such (image|container|object)|not found"
        if re.search(gone, finished.complaint, re.IGNORECASE) and not _missing_context(finished.complaint):
            return None
        raise _refusal(finished.complaint, shown=process.shown(finished.argv))

    def tags(self, pattern: str) -> list[str]:
        """Return the tags that match a pattern, sorted.

        On the containerd store the whole listing fails when an image, anybody's, is removed meanwhile ("failed to
        read config content: NotFound"): so it is asked again.

        Raises:
            EngineError: the engine doesn't answer.

        """
        words = ("image", "ls", "--filter", f"reference={pattern}", "--format", "{{.Repository}}:{{.Tag}}")
        for last in (False, False, False, False, True):
            listed = self.call(*words, check=last)
            if listed.ok:
                break
        return sorted(set(listed.text.split()))

    def images(self, tags: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what `docker image inspect` says of those images that the engine has, by tag."""
        said = json.loads(self.call("image", "inspect", *tags, check=False).stdout or b"[]") if tags else []
        return {tag: found for found in said for tag in found.get("RepoTags") or [] if tag in tags}

    def remove(self, container: str) -> str:
        """Remove a container with its own volumes, running or not; return when the engine has none of that name.

        One that ended may be on its way out by itself (`--rm`): `docker rm` then refuses at once, and to believe
        it would leave the container behind for as long as that takes.

        Returns what the engine said where it refuses, "" where the container is gone.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            finished = self.call("rm", "--force", "--volumes", container, check=False)
            if finished.ok or "no such container" in finished.complaint.lower():
                return ""
            if "already in progress" not in finished.complaint or time.monotonic() > deadline:
                return finished.complaint
            time.sleep(0.05)  # `docker wait` waits for a container's end, not for its removal

    def running_id(self, container: str) -> str:
        """Return the id of a container that runs, "" where there is none of that name or it doesn't run."""
        found = self.inspect("container", container) or {}
        return str(found["Id"]) if found.get("State", {}).get("Running") else ""

    def runs(self, container: str) -> bool:
        """Tell whether there is such a container, and whether it runs."""
        return bool(self.running_id(container))

    def container(self, reference: str) -> ContainerInspectResult | None:
        """Return the container's description, None where the engine has no such container."""
        from python_on_whales.components.container.models import ContainerInspectResult

        found = self.inspect("container", reference)
        return ContainerInspectResult(**found) if found else None


def parse_info(said: Mapping[str, Any]) -> EngineInfo:
    """Return what `docker info --format '{{json .}}'` said."""
    client = said.get("ClientInfo") or {}
    plugins = {plugin["Name"]: plugin.get("Version", "") for plugin in client.get("Plugins") or []}
    driver = dict(pair[:2] for pair in said.get("DriverStatus") or [] if len(pair) >= 2)
    return EngineInfo(
        id=str(said.get("ID", "")),
        version=str(said.get("ServerVersion", "")),
        platform=Platform.parse(f"{said.get('OSType', 'linux')}/{said.get('Architecture', '')}"),
        containerd=driver.get("driver-type") == "io.containerd.snapshotter.v1",
        machine=(str(said.get("Name", "")), str(said.get("KernelVersion", "")), int(said.get("MemTotal") or 0)),
        context=str(client.get("Context") or "default"),
        buildx=version_of(plugins.get("buildx", "")),
    )


def version_of(text: str) -> tuple[int, ...]:
    """Return the first dotted number of a text, () where there is none."""
    match = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _missing_context(said: str) -> str:
    """Return the name of the context that the client doesn't find, "" where it found it."""
    found = re.search(r'context "([^"]*)"(?:: context)? (?:not found|does not exist)', said)
    return found[1] if found else ""


def _refusal(said: str, shown: str = "") -> MultiarchError:
    """Return the error for what the docker client said."""
    if context := _missing_context(said):
        return EngineError(
            f"there is no Docker context {context!r}",
            do="Name one that `docker context ls` lists (DOCKER_CONTEXT, `docker context use`)",
            evidence=said,
        )
    if re.search(r"permission denied.*(socket|daemon|docker\.sock)|docker\.sock.*permission denied", said, re.S):
        return EngineError(
            "the Docker engine's socket refuses this user",
            do="Run as a user who may use it (a member of the group docker, or root), or set DOCKER_HOST",
            evidence=said,
        )
    if re.search(
        r"cannot connect to the docker|is the docker daemon running|connection refused|no such host",
        said,
        re.IGNORECASE,
    ):
        return EngineError(
            "no Docker engine answers",
            do="Start it (`systemctl start docker`), or set DOCKER_HOST or `docker context use` to one that runs",
            evidence=said,
        )
    return EngineError(f"`{shown}` failed" if shown else "the Docker engine refused", evidence=said)


def _this_machine() -> tuple[str, str, int]:
    """Return what `EngineInfo.machine` is of an engine on this machine; a virtual machine's memory is another."""
    here = os.uname()
    return here.nodename, here.release, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
