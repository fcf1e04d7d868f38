"""Everything of one pytest process, each part made when a test first needs it, all ended by `close`."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pytest_multiarch import process
from pytest_multiarch.builders.builder import Builder, Builders
from pytest_multiarch.containers.container import Container
from pytest_multiarch.containers.launch import Launch, Launcher
from pytest_multiarch.containers.pool import SharedContainers
from pytest_multiarch.containers.services import ContainerFactory
from pytest_multiarch.containers.shell_platform import check_shell
from pytest_multiarch.emulators.emulators import Emulator, Emulators
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import BuildError, EngineError, ImageError, MultiarchError
from pytest_multiarch.images import published, unchanged
from pytest_multiarch.images.build import build
from pytest_multiarch.images.stored import Image, Tags, wrong_platform
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.options import Settings
from pytest_multiarch.platforms import Platform
from pytest_multiarch.sharing import Run, Withdrawn
from pytest_multiarch.slots import ProcessSlot
from pytest_multiarch.state import Project, State
from pytest_multiarch.sweep import Orphans, watchdog

__tracebackhide__ = True

T = TypeVar("T")

#: Seconds for the builds that are under way when the session ends: their clients are ended at once.
ENDING = 5.0

#: One image for one platform, by its canonical name: what is built once per run.
Target = tuple[ImageSpec, str]


class Session:
    """What one process (plain, or an xdist worker) has at the engine.

    Args:
        settings: what the user asked for.
        root: pytest's root folder, which names the project.
        run: the run's id, the same in all workers.
        workers: their number, 1 in a plain run.

    """

    def __init__(self, settings: Settings, root: Path, run: str, workers: int = 1) -> None:
        self.settings = settings
        self.id = uuid.uuid4().hex[:12]
        self._root, self._run_id = root, run
        self._emulators_seen: dict[str, Emulator] = {}
        self._images_seen: dict[str, tuple[str, Image]] = {}
        self._targets: dict[str, Target] = {}
        self._builder_seen: Builder | None = None
        self._shared = SharedContainers(self._started_shell)
        crowded = workers > settings.jobs
        self._command_slot = (
            ProcessSlot(partial(self._slot, "commands")).take if crowded else contextlib.nullcontext
        )
        self._sweeping = threading.Lock()
        self._builds: list[threading.Thread] = []
        self._wanted: dict[str, unchanged.Wanted] = {}
        self._watchdog: process.Watchdog | None = None
        self._closed = self._swept = False

    @cached_property
    def engine(self) -> Engine:
        """Return the engine; asking for it costs nothing yet."""
        return Engine(self._state.id, f"{self._run.folder.name}.{self.id}", self._run.folder)

    @cached_property
    def native(self) -> Platform:
        """Return the engine's own platform."""
        return self.engine.platform

    def platform(self, name: str) -> Platform:
        """Return the platform of that name (or 'native'), its baseline raised where the user raised it."""
        platform = self.native if name == "native" else Platform.parse(name)
        level = self.settings.baseline.get(str(platform))
        return platform.at(level) if level else platform

    def emulator(self, name: str) -> Emulator:
        """Return how the platform runs here, probed (and registered where it must be) once per run.

        Raises:
            EmulatorError: it doesn't.

        """
        platform = self.platform(name)
        made = self.once(f"emulator-{_slug(str(platform))}", lambda: self._emulators.need(platform).as_dict())
        emulator = self._emulators_seen[str(platform)] = Emulator.from_dict(platform, made)
        return emulator

    def builder(self) -> Builder:
        """Return the builder of this session, chosen once per run.

        Raises:
            BuilderError: it can't be had.

        """
        builder = Builder(**self.once("builder", lambda: asdict(self._builders.choose())))
        self._builders.join(builder)
        self._builder_seen = builder
        return builder

    def image(self, spec: ImageSpec, name: str) -> Image:
        """Return the image for a platform, built once per run; wait where somebody builds it already.

        Raises:
            MultiarchError: it can't be built; the same error again whenever it is asked for.

        """
        made = self.once(self._image_key(spec, name), lambda: self._had(spec, name).as_dict())
        image = Image(**made, engine=self.engine)
        self._images_seen[self._image_key(spec, name)] = (f"{spec.title}, {name}", image)
        self._targets[image.tag] = (spec, name)
        return image

    def published(self, spec: ImageSpec) -> published.Published:
        """Return what the reference of a published image stands for, asked once per run: tags move.

        Raises:
            ImageError: nobody has it.

        """
        reference = spec.reference or ""
        found = self.once(f"published-{spec.key}", lambda: asdict(published.find(self.engine, reference)))
        return published.Published(**found)

    def offered(self, spec: ImageSpec) -> tuple[str, ...]:
        """Return the platforms that a published image has: its index's, or the one of a single image.

        Raises:
            ImageError: nobody has the image, or it has none of a platform that is known.

        """
        names = self.once(f"offered-{spec.key}", lambda: published.platforms(self.engine, self.published(spec)))
        return tuple(names)

    def start_builds(self, targets: Iterable[Target], shells: Collection[Target] = ()) -> None:
        """Begin to build in the background, and to start the containers that tests of `shells` share."""
        wanted = list(dict.fromkeys(targets))
        if not wanted:
            return
        self._prepare()
        self._wanted = self._known(wanted)
        tasks: SimpleQueue[Callable[[], object]] = SimpleQueue()
        if any(not spec.reference for spec, _ in wanted):
            tasks.put(self.builder)  # it boots while the emulators are probed
        tasks.put(self._sweep)
        for target in self.in_turn(wanted):
            tasks.put(partial(self._build_unless_busy, *target, shell=target in shells))
        for _ in range(min(self.settings.jobs + 1, tasks.qsize())):
            self._builds.append(threading.Thread(target=self._work, args=(tasks,), daemon=True))
            self._builds[-1].start()

    def in_turn(self, targets: Iterable[Target]) -> list[Target]:
        """Return targets in the order of their builds: the engine's own platform first, then what took longest."""

        def order(target: Target) -> tuple[bool, float]:
            with contextlib.suppress(MultiarchError):  # raised again to whoever needs it
                platform, project = self.platform(target[1]), self._state.project(self._project_of(target[0]))
                return platform != self.native, -project.took(str(platform))
            return True, 0.0

        return sorted(targets, key=order)

    def _work(self, tasks: SimpleQueue[Callable[[], object]]) -> None:
        """Take one task after the other: a thread that Python waits for at its end could hang there."""
        with contextlib.suppress(Empty):
            while not self._closed:
                _quietly(tasks.get_nowait())

    def _started_shell(self, image: Image, emulator: Emulator) -> Container:
        """Start a container to run commands in; once per image, look at what its shell really is."""
        container = self._started(image, emulator, Launch())
        project = self._state.project(image.project)
        if project.shell_of(image.platform) != image.id:
            try:
                self.once(f"shell-{image.tag.rpartition(':')[2]}", lambda: check_shell(self.engine, container))
            except MultiarchError:
                container.kill()
                raise
            project.knows_shell(image.platform, image.id)
        return container

    def container(self, spec: ImageSpec, name: str) -> Container:
        """Return the shared container of an image and platform, started on first use."""
        image, emulator = self.image(spec, name), self.emulator(name)
        return self._shared.get(image, emulator)

    def release(self, spec: ImageSpec, name: str) -> None:
        """End the shared container of an image and platform, which no test needs any more; don't wait for it."""
        _quietly(lambda: self._shared.release(self.image(spec, name), self.emulator(name)))

    def fresh_container(self, spec: ImageSpec, name: str) -> Container:
        """Return a container that nobody else uses; whoever asks ends it with `kill`."""
        return self._started_shell(self.image(spec, name), self.emulator(name))

    def factory(self, spec: ImageSpec, name: str) -> ContainerFactory:
        """Return a factory of services."""
        return ContainerFactory(lambda launch: self._started(self.image(spec, name), self.emulator(name), launch))

    def renew_dead(self) -> None:
        """Start the shared containers that died anew: called between two tests."""
        self._shared.renew_dead()

    def facts(self) -> dict[str, dict[str, str]]:
        """Return what the report says of this process, JSON-ready: by part, by name."""
        seen = self.__dict__
        engine = {"": str(self.engine.info)} if "engine" in seen and "info" in self.engine.__dict__ else {}
        builder = {"": self._builder_seen.why} if self._builder_seen else {}
        emulators = {name: described(emulator) for name, emulator in self._emulators_seen.items()}
        images = {name: f"{image.how} in {image.seconds:.1f} s" for name, image in self._images_seen.values()}
        return {"engine": engine, "builder": builder, "emulators": emulators, "images": images}

    def close(self) -> None:
        """End all that this process started; where an interrupt cuts this short, our watchdog does the rest."""
        self._closed = True
        with contextlib.ExitStack() as steps:
            if "_run" in self.__dict__:
                steps.callback(self._run.sessions.leave, self.id)
            if "_builders" in self.__dict__:
                steps.callback(_quietly, self._builders.leave)
            steps.callback(self._shared.end)  # what was started meanwhile
            steps.callback(self._end_builds)
            steps.callback(self._shared.end)
        if self._watchdog:
            self._watchdog.cancel()
            self._watchdog = None

    def _end_builds(self) -> None:
        deadline = time.monotonic() + ENDING
        process.end_all()
        for thread in self._builds:
            while thread.is_alive() and time.monotonic() < deadline:
                process.end_all()  # it may have started another client meanwhile
                thread.join(0.1)

    def _prepare(self) -> None:
        """Make what several threads will use, before there are several."""
        with contextlib.suppress(MultiarchError):  # raised again to whoever needs it
            _ = self._run, self._emulators, self._builders, self.engine.info

    @cached_property
    def _state(self) -> State:
        return State()

    @cached_property
    def _run(self) -> Run:
        run = self._state.enter(self._run_id, self.id)
        self._watchdog = watchdog()
        return run

    @cached_property
    def _builders(self) -> Builders:
        return Builders(self.engine, self.settings, self._state, self.id)

    @cached_property
    def _emulators(self) -> Emulators:
        return Emulators(
            self.engine,
            policy=self.settings.binfmt,
            binfmt_image=self.settings.binfmt_image,
            cpu_policy=self.settings.cpu,
        )

    def known_of(self, spec: ImageSpec) -> Project:
        """Return what earlier sessions found out about an image."""
        return self._state.project(self._project_of(spec))

    def _project_of(self, spec: ImageSpec) -> str:
        return f"{_slug(self._root.name)[:40] or 'project'}-{spec.identity}"

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Return what `make()` returned, JSON-ready, in whichever process of the run it was made first."""
        made: T = self._run.once(key, partial(self._attempt, make), timeout=self.settings.build_timeout + 600)
        return made

    def _attempt(self, make: Callable[[], T]) -> T:
        try:
            made = make()
        except MultiarchError:
            if not self._closed:
                raise
        else:
            if not self._closed:
                return made
        # We ended its clients, so whatever came of it (a second-best builder, say) is nothing to remember: another
        # worker that waits for it makes it.
        raise Withdrawn

    def _image_key(self, spec: ImageSpec, name: str) -> str:
        return f"image-{spec.key}-{_slug(str(self.platform(name)))}"

    def _had(self, spec: ImageSpec, name: str) -> Image:
        """Build the image, or fetch the published one; tell the next session what it needs to know of it."""
        self.emulator(name)
        platform, project = self.platform(name), self._project_of(spec)
        known = self._state.project(project)
        known.enter(self._root)
        image = self._made(spec, platform, project)
        if image.how == "built":
            known.built(str(platform), image.seconds)
        if image.how != "unchanged":
            Tags(self.engine, project, platform).drop_others(self._state.claimed())
        return image

    def _made(self, spec: ImageSpec, platform: Platform, project: str) -> Image:
        timeout, claim = self.settings.build_timeout, self._run.claim
        if spec.reference:
            found = self.published(spec)
            return published.fetch(self.engine, found, platform, project=project, timeout=timeout, claim=claim)
        builder, instance = self.builder(), self._builders.instance
        key = self._image_key(spec, str(platform))
        answer = self._unchanged(key)
        if key in answer.images:
            return answer.images[key]
        known = key not in answer.changed and bool(self._state.project(project).took(str(platform)))
        make = partial(build, project=project, timeout=timeout, known=known, claim=claim)
        with contextlib.nullcontext() if platform == self.native else self._slot("builds"):
            try:
                return make(self.engine, builder, spec, platform)
            except (BuildError, EngineError):
                if self._closed or not self._builders.lost(instance):
                    raise
            # The builder was killed, which is no fault of the image: once more, on a new one.
            return make(self.engine, self.builder(), spec, platform)

    def _known(self, targets: Iterable[Target]) -> dict[str, unchanged.Wanted]:
        """Return the images among `targets` that an earlier session built, if there are several, by their keys."""
        found = {}
        for spec, name in targets:
            with contextlib.suppress(MultiarchError):  # raised again to whoever needs it
                want = unchanged.Wanted(spec, self.platform(name), self._project_of(spec))
                if self._state.project(want.project).took(str(want.platform)):
                    found[self._image_key(spec, name)] = want
        return found if len(found) > 1 else {}

    def _unchanged(self, key: str) -> unchanged.Found:
        """Return which images are known to be unchanged or changed: asked once per run, for all of them."""
        if key in self._wanted:
            with contextlib.suppress(MultiarchError):  # where the question fails, a build is none the worse
                said = self.once("unchanged", self._found_unchanged)
                images = {name: Image(**image, engine=self.engine) for name, image in said["images"].items()}
                return unchanged.Found(images, frozenset(said["changed"]))
        return unchanged.Found({})

    def _found_unchanged(self) -> dict[str, Any]:
        found = unchanged.find(self.engine, self.builder(), self._wanted)
        for image in found.images.values():  # before what changed is built, and drops what nobody uses
            self._run.claim(image.tag)
        images = {key: image.as_dict() for key, image in found.images.items()}
        return {"images": images, "changed": sorted(found.changed)}

    def _build_unless_busy(self, spec: ImageSpec, name: str, *, shell: bool) -> None:
        if not self._closed and not self._run.busy(self._image_key(spec, name)):
            self.image(spec, name)
            if shell and not self._closed:
                self.container(spec, name)

    def _started(self, image: Image, emulator: Emulator, launch: Launch) -> Container:
        if image.says:
            raise wrong_platform(emulator.platform, image.says)
        self._sweep()
        slot = contextlib.nullcontext if emulator.version is None else self._command_slot
        launcher = Launcher(self.engine, image, emulator, self.settings.run_args)
        start = partial(Container, launcher, launch, self.settings, slot)
        try:
            return start()
        except ImageError:
            if self.engine.inspect("image", image.id):
                raise
        self._load_again(image)
        return start()

    def _load_again(self, image: Image) -> None:
        """Have an image that somebody removed in the engine again, at most once per run.

        Raises:
            ImageError: what is built now is another image.

        """
        spec, name = self._targets[image.tag]
        platform, project = self.platform(name), self._project_of(spec)
        self._wanted.pop(self._image_key(spec, name), None)  # what was known of it is over
        again = self.once(f"again-{image.tag.rpartition(':')[2]}", lambda: self._made(spec, platform, project).id)
        if again != image.id:
            raise ImageError(
                f"the image for {platform} was removed while it was tested, and a build now gives another one",
                do="Run again; `docker image prune` and its like take what is being tested, too",
            )

    def _slot(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Hold one of the `--multiarch-jobs` slots that there are for emulated `what` in all workers together."""
        return self._run.slot(what, self.settings.jobs, self.settings.build_timeout)

    def _sweep(self) -> None:
        """Remove what dead sessions left: once, before our first container."""
        with self._sweeping:
            if not self._swept and self._run.sessions.knows(self.id):
                Orphans(self.engine, self._state).sweep()
                self._swept = True


def _quietly(step: Callable[[], object]) -> None:
    """Take a step that is taken again where it fails: by whoever needs it, or by the next session's sweep.

    What nobody expected is no exception to that: in a thread it would end the tasks that wait behind it.
    """
    with contextlib.suppress(Exception):
        step()


def described(emulator: Emulator) -> str:
    """Return how a platform runs, in one line."""
    if emulator.version is None:
        return "; ".join(("natively", *emulator.notes))
    cpu = f"CPU {emulator.cpu}" if emulator.cpu else "the emulator's own CPU"
    return "; ".join((f"{emulator.version.partition(' (')[0]}, {cpu}", *emulator.notes))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
