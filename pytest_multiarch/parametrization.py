"""Which test runs for which platforms: markers, the image of the nearest conftest, the order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_multiarch.errors import MultiarchError
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.options import Settings, base_folder

__tracebackhide__ = True

#: The private fixture's name: a public one could not be parametrised without breaking suites that have their own.
TARGET = "_multiarch_target"

#: The file in which a folder's tests name their image.
CONFTEST = "conftest.py"

#: What pytest shows of the markers (`pytest --markers`).
MARKERS = (
    "platforms(name, ...): run only for these of the platforms asked for; for none of them, the test is skipped",
    "skip_platforms(name, ..., reason=...): skip for these platforms",
)


def parametrize(metafunc: pytest.Metafunc, settings: Settings, asked: Sequence[str]) -> None:
    """Parametrise a test that needs a platform, directly or through another fixture.

    Args:
        asked: canonical names, or 'native' where the engine could not be asked; in the order asked for.

    """
    if TARGET not in metafunc.fixturenames:
        return
    spec = image_at(metafunc.definition, settings)
    params = choose(metafunc.definition, spec, asked)
    metafunc.parametrize(TARGET, params, indirect=True, scope="session")


def complete(item: pytest.Function) -> None:
    """Add to an item's fixtures what those that it overrides ask for: pytest forgets them.

    8.4 never looks for them (https://github.com/pytest-dev/pytest/issues/13773), and what 9.0 finds is lost again
    where a test is parametrised.
    """
    known = dict(item._fixtureinfo.name2fixturedefs)
    if pytest.version_tuple >= (9, 1) or all(len(found) == 1 for found in known.values()):
        return
    names, manager = item.fixturenames, item.session._fixturemanager
    todo = list(known)
    for name in todo:
        for definition in reversed(known[name]):
            new = [each for each in definition.argnames if each not in names]
            names += new
            known |= {each: found for each in new if (found := manager.getfixturedefs(each, item))}
            todo += [each for each in new if each in known]
            if name not in definition.argnames:
                break  # it asks for none that it overrides


def image_at(node: pytest.Collector | pytest.Item, settings: Settings) -> ImageSpec:
    """Return the image that the tests of a node are about: the nearest conftest's, or the options'."""
    spec: ImageSpec | None = node.ihook.pytest_multiarch_image(config=node.config)
    return spec.at(base_folder(node.config)) if spec else settings.image


def image_of_root(config: pytest.Config, settings: Settings) -> ImageSpec:
    """Return the image that the tests of the root folder are about, before pytest has collected any folder."""
    outer = (config.rootpath, *config.rootpath.parents)
    plugins = config.pluginmanager.get_plugins()
    files = {plugin: Path(getattr(plugin, "__file__", None) or "") for plugin in plugins}
    inner = [each for each, file in files.items() if file.name == CONFTEST and file.parent not in outer]
    caller = config.pluginmanager.subset_hook_caller("pytest_multiarch_image", inner)
    with contextlib.suppress(Exception):  # raised again where the folder is collected, and reported there
        spec: ImageSpec | None = caller(config=config)
        return spec.at(base_folder(config)) if spec else settings.image
    return settings.image


def choose(item: pytest.Item | pytest.Function, spec: ImageSpec, asked: Sequence[str]) -> list[object]:
    """Return the parameters of one test: a platform asked for each, or one that says why there is none."""
    wanted = [name for marker in item.iter_markers("platforms") for name in (_names(marker, item),)]
    chosen = [name for name in asked if all(name in names for names in wanted)]
    if not chosen:
        reason = f"for none of the platforms asked for ({', '.join(asked)})"
        return [pytest.param((spec, ""), id="none", marks=pytest.mark.skip(reason=reason))]
    skips = (pair for marker in item.iter_markers("skip_platforms") for pair in _skips(marker, item))
    skipped = dict(skips)
    return [
        pytest.param(
            (spec, name), id=name, marks=[pytest.mark.skip(reason=skipped[name])] if name in skipped else []
        )
        for name in chosen
    ]


def by_platform(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the items with those of one platform side by side: one container after the other.

    pytest groups by a parameter's index, which means another platform in a test with a marker.
    """
    order: dict[str, int] = {}
    for item in items:
        order.setdefault(_platform_of(item), len(order))
    return sorted(items, key=lambda item: order[_platform_of(item)])


def target_of(item: pytest.Item) -> tuple[ImageSpec, str] | None:
    """Return the image and platform that an item was parametrised with, None where it was not."""
    callspec = getattr(item, "callspec", None)
    found: tuple[ImageSpec, str] | None = callspec.params.get(TARGET) if callspec else None
    return found if found and found[1] else None


def _platform_of(item: pytest.Item) -> str:
    target = target_of(item)
    return target[1] if target else ""


def platforms(*names: str) -> tuple[str, ...]:
    """Return the marker's arguments: its signature is what a marker of that name takes."""
    return names


def skip_platforms(*names: str, reason: str = "") -> tuple[str, ...]:
    """Return the marker's arguments: its signature is what a marker of that name takes."""
    return names


def _names(marker: pytest.Mark, item: pytest.Item) -> list[str]:
    return _parsed(platforms, marker, item)


def _skips(marker: pytest.Mark, item: pytest.Item) -> list[tuple[str, str]]:
    names = _parsed(skip_platforms, marker, item)
    reason = marker.kwargs.get("reason") or "marked with skip_platforms"
    return [(name, str(reason)) for name in names]


def _parsed(signature: Callable[..., tuple[str, ...]], marker: pytest.Mark, item: pytest.Item) -> list[str]:
    """Return the platforms that a marker names; calling its signature makes a typo an error."""
    from pytest_multiarch.platforms import Platform  # only who names a platform needs the table

    try:
        names = signature(*marker.args, **marker.kwargs)
        if not names:
            raise TypeError("it names no platform")
        odd = [name for name in names if not isinstance(name, str)]
        if odd:
            raise TypeError(f"{odd[0]!r} is not a platform's name")
        return [str(Platform.parse(name)) for name in names]
    except (MultiarchError, TypeError) as error:
        said = str(error)
    # Outside of the `except`: what is raised inside shows the cause's traceback, too.
    pytest.fail(f"{item.nodeid}: marker {marker.name}: {said}", pytrace=False)
