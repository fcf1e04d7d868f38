"""Whether a platform runs here, by which emulator and on which CPU: asked of a probe, never of a list."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.binfmt_image import BinfmtImage
from pytest_multiarch.emulators.programs import probe
from pytest_multiarch.emulators.runners import Answer, NoRoot, Run, in_chroot, in_container
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import EmulatorError, MultiarchError
from pytest_multiarch.platforms import Platform

__tracebackhide__ = True

#: What an emulator that doesn't heed QEMU_VERSION is called (Rosetta, FEX, box64).
NOT_QEMU = "an emulator that is not QEMU"

_ADVICE = (
    "As root, install QEMU's (Debian: `apt install qemu-user-static`), or run `docker run --privileged --rm "
    "tonistiigi/binfmt --install {}`"
)


@dataclass(frozen=True, slots=True)
class Emulator:
    """How one platform runs here."""

    #: Its `machines` are narrowed to what `uname -m` says when it runs so.
    platform: Platform
    #: The emulator's own word ("qemu-aarch64 version 10.0.2 ..."), None where the CPU runs it natively.
    version: str | None
    #: The QEMU_CPU that containers get, None natively or where the emulator's own default is used.
    cpu: str | None = None
    #: What was registered, and what this emulator can't enforce or do: one sentence each.
    notes: tuple[str, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that every container of the platform needs."""
        return {"QEMU_CPU": self.cpu} if self.cpu else {}

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-ready, without the platform's constants; `from_dict` is the way back."""
        machines = sorted(self.platform.machines)
        return {"machines": machines, "version": self.version, "cpu": self.cpu, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, platform: Platform, data: Mapping[str, Any]) -> Emulator:
        """Return what `as_dict` described, of the same platform."""
        narrowed = replace(platform, machines=frozenset(data["machines"]))
        return cls(narrowed, data["version"], data["cpu"], tuple(data["notes"]))


@dataclass(frozen=True, slots=True)
class Sight:
    """What the probe showed of a platform.

    `answer` is the last run's, on the CPU `cpu`; `refused` are the CPUs before it that did not start.
    """

    answer: Answer
    version: str | None = None
    cpu: str | None = None
    refused: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether programs run as on the real machine: they start, and see their argv[0]."""
        return self.answer.runs and self.answer.keeps_name


def look(run: Run, platform: Platform, *, cpus: tuple[str, ...]) -> Sight:
    """Ask the emulator for its version, then find the first of `cpus` that it starts, else its default.

    QEMU says its version and exits with 0 where QEMU_VERSION is set; whatever else runs the probe then is the
    CPU itself, or no QEMU, which has no CPUs to choose from.
    """
    asked = run({"QEMU_VERSION": "1"})
    if asked.version is None:
        return Sight(asked)
    refused: list[str] = []
    for cpu in cpus:
        answer = run({"QEMU_CPU": cpu})
        if answer.runs and answer.machine == platform.baseline_machine:
            return Sight(answer, asked.version, cpu, tuple(refused))
        refused.append(cpu)
    return Sight(run({}), asked.version, None, tuple(refused))


class Emulators:
    """The emulators of one engine: each platform is probed once, whoever asks, and a failure is remembered.

    Args:
        engine: where the containers will run.
        policy: "auto" registers what is missing, "require" makes it an error, "never" doesn't look.
        binfmt_image: what registers where this machine's own QEMU can't.
        cpu_policy: "baseline" for the platform's oldest CPU, "default" for the emulator's own.
        folder: the kernel's binfmt_misc.
        search: folders to find QEMU in, None for PATH and the usual ones.

    """

    def __init__(
        self,
        engine: Engine,
        policy: str = "auto",
        binfmt_image: str = "",
        cpu_policy: str = "baseline",
        *,
        folder: Path = binfmt.FOLDER,
        search: tuple[str, ...] | None = None,
    ) -> None:
        self._engine, self._policy, self._cpu_policy = engine, policy, cpu_policy
        self._image = BinfmtImage(engine, binfmt_image)
        self._folder, self._search = folder, search
        self._found: dict[tuple[str, str], Future[Emulator]] = {}
        self._lock, self._registering = threading.Lock(), threading.Lock()

    def need(self, platform: Platform) -> Emulator:
        """Return how the platform runs here; under the policy "auto", make it run.

        Raises:
            EmulatorError: it doesn't run; says what was seen and what to do.
            EngineError: the engine had to be asked and doesn't answer.

        """
        key = (str(platform), platform.level)
        with self._lock:
            mine = key not in self._found
            found = self._found.setdefault(key, Future())
        if mine:
            try:
                found.set_result(self._find(platform))
            except BaseException as error:
                found.set_exception(error)
        return found.result()

    def unregister(self) -> list[str]:
        """Remove the entries that are ours, and return their names; nobody else's are touched.

        Raises:
            EmulatorError: the kernel, or the engine, refuses.

        """
        if not self._engine.shares_kernel:
            return self._image.unregister()
        try:
            return binfmt.unregister(self._folder)
        except OSError as error:
            raise EmulatorError("the binfmt entries can't be removed", why=str(error), do="Run as root") from None

    def _find(self, platform: Platform) -> Emulator:
        if self._policy == "never":
            return self._assumed(platform)
        seen = self._look(platform)
        if seen.complete:
            return self._emulator(platform, seen)
        if self._policy == "auto":
            with self._registering:  # one at a time: the entry of linux/arm serves three platforms
                return self._made_to_run(platform, self._look(platform))
        if seen.answer.runs:
            return self._emulator(platform, seen)
        raise EmulatorError(
            f"{platform} does not run here",
            why="no working emulator is registered, and --multiarch-binfmt=require registers none",
            do=f"{_ADVICE.format(platform.architecture)}, or use --multiarch-binfmt=auto",
            evidence=self._evidence(platform, seen),
        )

    def _assumed(self, platform: Platform) -> Emulator:
        # Without a look nobody knows a CPU that starts: one that doesn't would break every container.
        return Emulator(platform, None, notes=("not looked at (--multiarch-binfmt=never)",))

    def _made_to_run(self, platform: Platform, seen: Sight) -> Emulator:
        """Register what is missing, look again, and take back what did not help."""
        if seen.complete:
            return self._emulator(platform, seen)
        failures = []
        # For a lost argv[0] alone nothing privileged is run and nothing pulled.
        ways = (self._by_host,) if seen.answer.runs else (self._by_host, self._by_image)
        for way in ways:
            try:
                name, note = way(platform)
            except EmulatorError as error:
                failures.append(str(error))
                continue
            again = self._look(platform)
            if again.complete or (again.answer.runs and not seen.answer.runs):
                return self._emulator(platform, again, note)
            failures.append(f"{note}, but then: {again.answer.said}")
            self._take_back(name)
        if seen.answer.runs:
            return self._emulator(platform, seen)
        raise EmulatorError(
            f"{platform} does not run here, and no emulator could be registered",
            do=f"{_ADVICE.format(platform.architecture)}; another binfmt image is named by "
            "--multiarch-binfmt-image",
            evidence="\n".join([*failures, self._evidence(platform, seen)]),
        )

    def _by_host(self, platform: Platform) -> tuple[str, str]:
        if not self._engine.shares_kernel:
            raise EmulatorError("this machine's QEMU can't be used", why="the engine runs on another kernel")
        emulator = next(binfmt.emulators(platform, self._search), None)
        if emulator is None:
            raise EmulatorError(f"this machine has no static qemu-{platform.qemu}")
        try:
            if not binfmt.mount(self._folder):
                raise EmulatorError(f"{emulator} can't be registered", why=f"{self._folder} is not writable")
            name = binfmt.register(platform, emulator, self._folder)
        except (OSError, MultiarchError) as error:
            raise EmulatorError(f"{emulator} can't be registered", why=str(error)) from None
        return name, f"registered {emulator} as {name}"

    def _by_image(self, platform: Platform) -> tuple[str, str]:
        name = self._image.register(platform)
        return name, f"registered by {self._image.reference} as {name}"

    def _take_back(self, name: str) -> None:
        with contextlib.suppress(OSError, EmulatorError):
            if self._engine.shares_kernel:
                binfmt.unregister(self._folder, name)
            elif name.startswith(binfmt.PREFIX):
                self._image.unregister(name)

    def _look(self, platform: Platform) -> Sight:
        cpus = platform.cpus if self._cpu_policy == "baseline" else ()
        program = probe(platform)
        if self._engine.shares_kernel:
            with contextlib.suppress(NoRoot), in_chroot(program, self._engine.scratch) as run:
                return look(run, platform, cpus=cpus)
        with in_container(self._engine, program) as run:
            return look(run, platform, cpus=cpus)

    def _emulator(self, platform: Platform, seen: Sight, *notes: str) -> Emulator:
        """Say in values what was seen: the facts are all there, nothing is asked any more."""
        if seen.version is None and platform.may_run_natively_on(self._engine.platform):
            newer = f"code for a newer CPU than {platform.level or 'the oldest'} runs here too"
            limits = (newer,) if self._cpu_policy == "baseline" else ()
            return Emulator(platform.running(emulated=False, baseline=False), None, None, (*notes, *limits))
        return Emulator(
            platform.running(emulated=True, baseline=seen.cpu is not None),
            seen.version or NOT_QEMU,
            seen.cpu,
            (*notes, *self._limits(platform, seen)),
        )

    def _limits(self, platform: Platform, seen: Sight) -> Iterator[str]:
        """Yield what is not as on the real machine."""
        if self._cpu_policy == "baseline" and seen.cpu is None:
            oldest = " or ".join(platform.cpus) or platform.level
            yield f"runs on the emulator's default CPU, since it has no {oldest}"
        elif seen.refused:
            yield f"runs on {seen.cpu}, since this emulator has no {seen.refused[0]}"
        if seen.cpu is not None and platform.unenforced:
            yield platform.unenforced
        if not seen.answer.keeps_name:
            yield "its binfmt entry lacks P: programs that look at argv[0] fail (busybox: applet not found)"
        entries = [entry for entry in self._entries(platform) if entry.enabled]
        if entries and not any("C" in entry.flags for entry in entries):
            yield "its binfmt entry lacks C: setuid programs (sudo) run without their rights"

    def _entries(self, platform: Platform) -> list[binfmt.Entry]:
        if not self._engine.shares_kernel:
            return []
        return [entry for entry in binfmt.entries(self._folder) if entry.takes(probe(platform))]

    def _evidence(self, platform: Platform, seen: Sight) -> str:
        lines = [f"the probe: {seen.answer.said}"]
        if self._engine.shares_kernel:
            if not binfmt.enabled(self._folder):
                lines.append(f"{self._folder} is not mounted, or disabled (`echo 1 > {self._folder}/status`)")
            lines += [f"binfmt entry {entry}{_fault(entry)}" for entry in self._entries(platform)]
        return "\n".join(lines)


def _fault(entry: binfmt.Entry) -> str:
    """Return what keeps an entry from serving containers, "" where nothing is to be seen."""
    path = Path(entry.interpreter)
    faults: dict[str, Callable[[], bool]] = {
        "it is switched off": lambda: not entry.enabled,
        "without F containers don't find the emulator": lambda: "F" not in entry.flags,
        "the emulator is gone": lambda: not path.exists(),
        "the emulator is dynamically linked": lambda: not binfmt.is_static(path),
    }
    return next((f" ({words})" for words, holds in faults.items() if holds()), "")
