"""What one pytest process knows of its run: the settings, the platforms asked for, the session at the engine."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_multiarch import options
from pytest_multiarch.outcomes import Pair, Tally
from pytest_multiarch.parametrization import target_of

if TYPE_CHECKING:
    from pytest_multiarch.session import Session, Target

__tracebackhide__ = True

#: Where a process's suite is kept.
SUITE = pytest.StashKey["Suite"]()

Facts = dict[str, dict[str, str]]


class Suite:
    """One pytest process: plain, a controller, or a worker of xdist.

    Raises:
        SettingsError: an option or ini value means nothing.

    """

    def __init__(self, config: pytest.Config) -> None:
        self.settings = options.settings(config)
        #: What the tests of the root folder are about; a conftest there may say otherwise.
        self.image = self.settings.image
        self._config = config
        self._worker: Mapping[str, object] | None = getattr(config, "workerinput", None)
        self.tally = Tally()
        self._facts: Facts = {}
        self._waiting: Counter[Target] = Counter()
        self._pairs: dict[Target, Pair] = {}
        self.run_id = str(self._worker["testrunuid"]) if self._worker else uuid.uuid4().hex

    @property
    def is_worker(self) -> bool:
        """Tell whether this is one of xdist's workers."""
        return self._worker is not None

    @cached_property
    def checking(self) -> bool:
        """Tell whether the built-in checks are wanted: something was asked for, or the Dockerfile was named."""
        if not self.settings.checks:
            return False
        recipe = self.image.recipe
        if self.settings.active or recipe is None:
            return self.settings.active
        folder = self._config.invocation_params.dir
        named = ((folder / argument.partition("::")[0]).resolve() for argument in self._config.args)
        return recipe.resolve() in named

    @cached_property
    def session(self) -> Session:
        """Return this process's session at the engine; until something asks for it there is none."""
        from pytest_multiarch import interrupts
        from pytest_multiarch.session import Session

        interrupts.install(self._config)
        workers = int(str(self._worker["workercount"])) if self._worker else 1
        return Session(self.settings, self._config.rootpath, self.run_id, workers)

    @cached_property
    def platforms(self) -> tuple[str, ...]:
        """Return the canonical names of the platforms asked for; 'native' stays where no engine answers.

        The tests that need it then fail with what the engine said, and the others run.
        """
        if self._worker and self._worker.get("multiarch_platforms"):
            return tuple(str(self._worker["multiarch_platforms"]).split(","))
        return self.resolved(self.settings.platforms or ("native",))

    def resolved(self, asked: Iterable[str]) -> tuple[str, ...]:
        """Return the names with 'native' replaced by the engine's platform."""
        names = (name for word in asked for name in self._names(word))
        return tuple(dict.fromkeys(names))

    def _names(self, word: str) -> tuple[str, ...]:
        if word == "all":  # without a list of ours: the published image's own
            return self.session.offered(self.settings.image)
        return (self._native(),) if word == "native" else (word,)

    def _native(self) -> str:
        with contextlib.suppress(Exception):  # raised again to the test that needs it
            return str(self.session.native)
        return "native"

    def for_worker(self) -> str:
        """Return what a worker is told of the platforms: nothing where nothing was asked for."""
        return ",".join(self.platforms) if self.settings.platforms else ""

    def start_builds(self, items: Iterable[pytest.Item]) -> None:
        """Begin to build what these items need; a worker's share of them is known only as it comes."""
        needed = [(item, target) for item in items if needs_image(item) and (target := target_of(item))]
        if needed:
            self._waiting.update(target for _, target in needed)
            shells = {target for item, target in needed if not self._worker and uses(item, "container")}
            with contextlib.suppress(Exception):  # raised again to the test that needs it
                self.session.start_builds([target for _, target in needed], shells)

    def count_run(self, item: pytest.Item) -> None:
        """Count an item that has run."""
        target = target_of(item)
        if target and needs_image(item):
            self._waiting[target] -= 1

    def release(self, target: Target) -> None:
        """Let go of a container if all items that could need it have run; a worker hardly ever knows."""
        if self._waiting[target] <= 0:
            self.session.release(*target)

    def await_image(self, item: pytest.Item) -> None:
        """Wait for the image that an item needs: outside of the item, so that no test's time counts it."""
        target = target_of(item)
        if target and needs_image(item):
            # Whatever it is: a hook that raises ends the run. The fixture meets it again, where it is reported.
            with contextlib.suppress(Exception):
                self.session.renew_dead()
                self.session.image(*target)

    def count_collected(self, items: Iterable[pytest.Item]) -> None:
        """Count the images and platforms of what was collected."""
        self.tally.collected.update(pair for item in items if (pair := self._pair(item)))

    def count_deselected(self, items: Iterable[pytest.Item]) -> None:
        """Count the images and platforms of what the user left out."""
        self.tally.deselected.update(pair for item in items if (pair := self._pair(item)))

    def mark(self, report: pytest.TestReport, item: pytest.Item) -> None:
        """Write an item's image and platform on its report, which travels from a worker to the controller."""
        pair = self._pair(item)
        if pair:
            vars(report)["multiarch_pair"] = list(pair)

    def _pair(self, item: pytest.Item) -> Pair | None:
        target = target_of(item)
        if target and target not in self._pairs:  # a key takes its time, and every test asks several times
            spec, platform = target
            title = spec.title.removeprefix(f"{self._config.rootpath}/")
            self._pairs[target] = Pair(platform, title, spec.key)
        return self._pairs[target] if target else None

    @property
    def facts(self) -> Facts:
        """Return what there is to report, of this process and of the workers that reported to it."""
        own = self.session.facts() if "session" in self.__dict__ else {}
        return merged(self._facts, own)

    def add_facts(self, facts: Facts) -> None:
        """Take in more to report."""
        self._facts = merged(self._facts, facts)

    def told_by_worker(self) -> dict[str, Any]:
        """Return what the controller must hear of this worker, JSON-ready."""
        return {"facts": self.facts, "tally": self.tally.as_lists()}

    def hear_worker(self, told: Mapping[str, Any]) -> None:
        """Take in what `told_by_worker` of a worker said; one that crashed said nothing."""
        self.add_facts(told.get("facts", {}))
        self.tally.merge(told.get("tally", {}))

    def close(self) -> None:
        """End what this process started; the run's last process forgets what was shared."""
        if "session" in self.__dict__:
            self.session.close()
        if self._worker is None and ("session" in self.__dict__ or self._facts):
            from pytest_multiarch.state import forget

            forget(self.run_id)


def needs_image(item: pytest.Item) -> bool:
    """Tell whether an item uses the image under test."""
    return uses(item, "multiarch_image")


def uses(item: pytest.Item, fixture: str) -> bool:
    """Tell whether an item uses a fixture, directly or through another one."""
    return fixture in getattr(item, "fixturenames", ())


def merged(first: Facts, second: Facts) -> Facts:
    """Return the facts of both."""
    return {part: {**first.get(part, {}), **second.get(part, {})} for part in (*first, *second)}
