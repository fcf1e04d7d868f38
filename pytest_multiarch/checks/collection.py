"""Where the built-in checks hang in the tree of items: below the Dockerfile, or the ini file."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest

from pytest_multiarch.errors import SettingsError
from pytest_multiarch.imagespec import ImageSpec
from pytest_multiarch.options import Settings
from pytest_multiarch.parametrization import CONFTEST, image_at

__tracebackhide__ = True


#: Stands for a published image where no ini file does: pytest collects only what is a file.
PUBLISHED = Path(__file__).with_name("image")


class Checks(pytest.Module):
    """The module of checks, collected under the file that makes the image: real test functions."""

    #: The checks to collect.
    wanted: tuple[str, ...] = ()

    def _getobj(self) -> ModuleType:
        from pytest_multiarch.checks import items

        return items

    def funcnamefilter(self, name: str) -> bool:
        """Collect the wanted checks, whatever `python_functions` says of the user's own tests."""
        return name in self.wanted

    def classnamefilter(self, name: str) -> bool:
        """Collect no class: the module imports some."""
        return False


def collect(path: Path, parent: pytest.Collector, settings: Settings) -> Checks | None:
    """Return the checks that belong under the file at `path`, None where none do.

    Those of an image that a folder's conftest names belong under that conftest where pytest doesn't come by the
    image's own file from there.
    """
    spec = image_at(parent, settings)
    file = home(spec, parent.config)
    if path != file and not _stands_for(path, parent, spec, file, settings):
        return None
    nodeid = PUBLISHED.name if path == PUBLISHED else None
    checks: Checks = Checks.from_parent(parent, path=path, nodeid=nodeid)
    checks.wanted = tuple(name for name in settings.checks if name != "index" or spec.reference)
    return checks


def _stands_for(path: Path, parent: pytest.Collector, spec: ImageSpec, file: Path, settings: Settings) -> bool:
    """Tell whether the conftest at `path` is where the checks of the image that it names belong."""
    above = parent.parent
    if path.name != CONFTEST or above is None or _comes_by(file, path.parent, parent.config):
        return False
    # The session hears the root's conftest, too. A file that it names is an argument: see `missing_argument`.
    root = isinstance(above, pytest.Session) and file == PUBLISHED
    return spec != (settings.image if root else image_at(above, settings))


def _comes_by(file: Path, folder: Path, config: pytest.Config) -> bool:
    """Tell whether pytest comes by a file when it collects a folder."""
    return folder in file.parents and _unvisited(file, folder, config) is None


def home(spec: ImageSpec, config: pytest.Config) -> Path:
    """Return the file under which the checks of an image are collected: what makes it, or the ini file."""
    return spec.recipe.resolve() if spec.recipe else config.inipath or PUBLISHED


def arguments(image: ImageSpec, settings: Settings, config: pytest.Config) -> list[str]:
    """Return what to collect: pytest's arguments, and what is missing among them.

    pytest takes a "[" in a path for a test's parameter, so the folder that it is in is named without its path.

    Raises:
        SettingsError: a path below it has one.

    """
    here = config.invocation_params.dir
    missing = missing_argument(image, settings, config)
    names = ["." if name == str(here) else name for name in config.args]
    names += [os.path.relpath(missing, here)] if missing else []
    odd = next((name for name in names if "[" in name.partition("::")[0]), None)
    if odd:
        raise SettingsError(
            f"pytest can't collect {odd}",
            why="in an argument's path it takes [ for a test's parameter",
            do="Rename the folder, or go into it and run pytest there",
        )
    return names


def missing_argument(image: ImageSpec, settings: Settings, config: pytest.Config) -> str | None:
    """Return what to collect besides, where the user named nothing and `testpaths` would leave the checks out.

    `PUBLISHED` lies outside of every folder whose conftest could name an image: it stands for the options' alone.
    """
    if config.args_source is config.ArgsSource.ARGS:
        return None
    path = home(image, config)
    if path == PUBLISHED and image != settings.image:
        path = config.rootpath / CONFTEST
    if not os.path.isfile(path):  # `Path.is_file` raises where it may not look
        return None
    here = config.invocation_params.dir
    starts = {(here / argument.partition("::")[0]).resolve() for argument in config.args}
    return None if starts & {path, *path.parents} else str(path)


def ignored(path: Path, image: ImageSpec, config: pytest.Config) -> bool | None:
    """Tell whether pytest shall pass by a path, None for as it likes.

    It goes into no folder of `norecursedirs` (`build/`, `.docker/`), so neither to a Dockerfile there: to that it
    must, and to nothing else there.
    """
    file = home(image, config)
    folder = _unvisited(file, config.rootpath, config)
    if folder is None:
        return None
    here = config.invocation_params.dir
    named = [(here / argument.partition("::")[0]).resolve() for argument in config.args]
    if any(folder in (start, *start.parents) for start in named) or folder not in (path, *path.parents):
        return None
    return path not in (file, *file.parents)


def _unvisited(file: Path, start: Path, config: pytest.Config) -> Path | None:
    """Return the outermost folder below `start` that has the file, and that pytest doesn't go into."""
    patterns = config.getini("norecursedirs")
    below = (folder for folder in reversed(file.parents) if start in folder.parents)
    return next((folder for folder in below if any(fnmatch(folder.name, each) for each in patterns)), None)
