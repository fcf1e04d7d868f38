"""The builder: a BuildKit container of ours that sessions share, a builder that exists, or the engine's own."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import BuilderError, DeadlinePassed, MultiarchError
from pytest_multiarch.options import Settings
from pytest_multiarch.sharing import Users
from pytest_multiarch.state import State

__tracebackhide__ = True

#: Seconds for the pull of BuildKit's image (100 MB).
PULL = 300.0

#: Seconds for anything else here; a boot takes 0.5.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Builder:
    """A builder to give to `buildx build --builder`.

    Attributes:
        name: its name.
        apart: whether it keeps its images away from the engine, so that they must be loaded.
        why: one clause that says which one it is and why it was chosen, for the report.

    """

    name: str
    apart: bool
    why: str


class Builders:
    """The builder of this session, made or found when it is first needed.

    Args:
        engine: the engine that it works for.
        settings: which builder is wanted.
        state: the folder that the sessions share.
        session: this session's id.

    """

    def __init__(self, engine: Engine, settings: Settings, state: State, session: str) -> None:
        self._engine, self._settings, self._state, self._session = engine, settings, state, session
        self._joined = False
        self._joining = threading.Lock()
        #: The id of our builder's container, as far as this process knows; "" where it is not ours.
        self.instance = ""

    @property
    def own_name(self) -> str:
        """Return the name of the builder, its container and its volume that this user has on this engine."""
        return name_of(self._engine, self._state)

    def choose(self) -> Builder:
        """Return the builder to use; ours is booted by then.

        Raises:
            BuilderError: there is no such builder, or ours can't be had.
            EngineError: there is no engine, or no buildx.

        """
        self._engine.need_buildx()
        if self._settings.builder != "session":
            return self._existing(self._settings.builder)
        if self._settings.driver == "docker":
            return self._engines_own("--multiarch-driver=docker")
        ours = Builder(
            self.own_name, apart=True, why=f"session builder, {self._settings.buildkit_image.partition('@')[0]}"
        )
        try:
            self._need_image()
            self.join(ours)
        except BuilderError as error:
            if self._settings.driver != "auto":
                raise
            last = error.evidence.strip().rpartition("\n")[2]
            return self._engines_own(f"there is no session builder: {error.what}{f': {last}' if last else ''}")
        return ours

    def join(self, builder: Builder) -> None:
        """Count this session in as a user of our builder, and boot it where nobody did; others need neither.

        Raises:
            BuilderError: it can't be booted.

        """
        if builder.name != self.own_name:
            return
        with self._joining:
            if not self._joined:
                with self._mutex():
                    self._users.join(self._session)
                    self._joined = True
                    self._boot()

    def leave(self) -> None:
        """Count this session out, and remove the builder where it was the last: its cache is kept."""
        if not self._joined:
            return
        self._joined = False
        self._users.leave(self._session)
        remove_if_idle(self._engine, self._state, self.own_name)

    def lost(self, instance: str) -> bool:
        """Tell whether our builder's container `instance` went away; the next `join` then boots a new one.

        Builds fail side by side, and whoever comes first may have a new one booted before the others ask.
        """
        with self._joining:
            if not instance or self._engine.running_id(self.own_name) == instance:
                return False
            if self.instance == instance:
                self._joined = False
            return True

    @cached_property
    def _users(self) -> Users:
        return self._state.users(self.own_name)

    def _mutex(self) -> AbstractContextManager[None]:
        return self._state.mutex(self.own_name, timeout=PULL)

    def _engines_own(self, why: str) -> Builder:
        return Builder(self._engine.info.context, apart=False, why=f"the engine's own ({why})")

    def _existing(self, name: str) -> Builder:
        found = self._engine.call("buildx", "inspect", name, check=False, timeout=PATIENCE)
        if not found.ok:
            names = listed(self._engine.call("buildx", "ls", check=False, timeout=PATIENCE).text)
            raise BuilderError(
                f"there is no builder {name!r}",
                do=f"Create it (`docker buildx create --name {name}`), or name one that exists:"
                f" {', '.join(names)}; or leave --multiarch-builder out",
                evidence=found.complaint,
            )
        kind = _field("Driver", found.text) or "unknown"
        context = self._engine.info.context
        if kind == "docker" and _field("Endpoint", found.text) not in ("", context):
            raise BuilderError(
                f"the builder {name!r} is the own one of another engine than context {context!r} names",
                do=f"Choose that engine (DOCKER_CONTEXT={name}), or a builder of another driver",
                evidence=found.text,
            )
        return Builder(name, apart=kind != "docker", why=f"builder {name} ({kind} driver), as asked for")

    def _need_image(self) -> None:
        image = self._settings.buildkit_image
        if self._engine.inspect("image", image):
            return
        try:
            pulled = self._engine.call("pull", "--quiet", image, check=False, timeout=PULL)
            said = "" if pulled.ok else pulled.complaint
        except DeadlinePassed as error:
            said = str(error)
        if said:
            raise BuilderError(
                f"BuildKit's image {image} can't be pulled",
                do="Name one that can be had with --multiarch-buildkit-image, load it beforehand,"
                " or use the engine's own builder: --multiarch-driver=docker",
                evidence=said,
            )

    def _boot(self) -> None:
        name = self.own_name
        usable = self._users.others(self._session) and self._engine.runs(name)
        if not usable:  # or a dead session's, with builds that still run
            if self._engine.inspect("container", name):
                _remove(self._engine, name)
            self._start(name)
        made = self._engine.call(
            "buildx",
            "create",
            "--name",
            name,
            "--driver",
            "remote",
            f"docker-container://{name}",
            check=False,
        )
        if not made.ok and "existing instance" not in made.complaint:
            raise BuilderError("the session builder can't be created", evidence=made.complaint)
        said = self._bootstrap(name)
        if said:
            log = self._engine.call("logs", "--tail", "10", name, check=False)
            raise BuilderError(
                "the session builder does not answer",
                do="Use the engine's own (--multiarch-driver=docker) or one that works (--multiarch-builder)",
                evidence=f"{said}\n{log.complaint}",
            )
        self.instance = self._engine.running_id(name)

    def _bootstrap(self, name: str) -> str:
        """Wait until the builder answers; return what was said where it doesn't."""
        try:
            booted = self._engine.call("buildx", "inspect", "--bootstrap", name, check=False, timeout=PATIENCE)
        except DeadlinePassed as error:
            return str(error)
        return "" if booted.ok else booted.complaint or "buildx gave no reason"

    def _start(self, name: str) -> None:
        # Privileged, as BuildKit's own documentation starts it: it mounts, and runs containers itself.
        # No restart policy: nothing of ours may come back after a reboot.
        label = self._engine.lasting_labels[1]
        cache = f"type=volume,source={name},target=/var/lib/buildkit,volume-label={label}"
        run = ["run", "--detach", "--privileged", "--name", name, "--pull=never", "--label", label]
        run += ["--mount", cache, self._settings.buildkit_image]
        try:
            self._engine.call(*run, timeout=PATIENCE)
        except MultiarchError as error:
            self._engine.remove(name)
            raise BuilderError(
                "the session builder's container can't be started",
                why="BuildKit needs a privileged container",
                do="Where that is refused, use the engine's own builder: --multiarch-driver=docker",
                evidence=error.evidence,
            ) from None


def name_of(engine: Engine, state: State) -> str:
    """Return the name of the builder, its container and its volume that a user has on an engine.

    It holds the engine's id and the state folder's: two users of one socket must not meet, for
    `buildx create` silently adopts the other's builder and `rm` breaks its builds.
    """
    who = f"{engine.info.id} {state.id}"
    return f"multiarch-{hashlib.sha256(who.encode()).hexdigest()[:12]}"


def listed(said: str) -> list[str]:
    """Return the names that `buildx ls` prints, sorted: its nodes are indented, and `--format` came with 0.13."""
    return sorted(set(re.findall(r"^([^\s*]+)", said, re.MULTILINE)) - {"NAME/NODE"})


def _field(name: str, inspected: str) -> str:
    """Return the first value of that name that `buildx inspect` says, "" where it says none."""
    found = re.search(rf"^{name}:\s*(\S+)", inspected, re.MULTILINE)
    return found[1] if found else ""


def is_idle(state: State, name: str) -> bool:
    """Tell whether no living session uses the builder `name` of this user."""
    return not state.users(name).others("")


def remove_if_idle(engine: Engine, state: State, name: str) -> str:
    """Remove the builder `name` of this user where it is idle, and keep its cache.

    Returns what the engine said where it refused, "" where it is gone or in use.
    """
    with state.mutex(name, timeout=PULL):
        return _remove(engine, name) if is_idle(state, name) else ""


def _remove(engine: Engine, name: str) -> str:
    engine.call("buildx", "rm", name, check=False)
    return engine.remove(name)
