"""Whether a build's context is there and can be read, told in words of our own before BuildKit is asked."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_multiarch.errors import BuildError
from pytest_multiarch.imagespec import ImageSpec

__tracebackhide__ = True


def check_context(spec: ImageSpec) -> None:
    """Make sure that what is on this machine is there and can be read.

    Raises:
        BuildError: the context, the Dockerfile or a file of the context is missing or can't be read.

    """
    if spec.folder is not None:
        _check_folder(spec.folder)
    if spec.recipe is not None:
        _check_recipe(spec.recipe)
    if spec.folder is not None:
        _check_files(spec.folder)


def _check_folder(folder: Path) -> None:
    if os.path.isdir(folder):
        fault = "" if os.access(folder, os.R_OK | os.X_OK) else "can't be read"
    else:  # `os.path`, for `Path.is_dir` raises where a folder above can't be read
        fault = "is not a folder" if os.path.exists(folder) else "is missing"
    if fault:
        raise BuildError(
            f"the build context {folder} {fault}",
            do="Name the folder of the Dockerfile with --multiarch-context (ini: multiarch_context)",
        )


def _check_recipe(recipe: Path) -> None:
    if not os.path.isfile(recipe) and os.access(recipe.parent, os.X_OK):
        raise BuildError(
            f"there is no {recipe}",
            do="Name the Dockerfile with --multiarch-dockerfile, its folder with --multiarch-context,"
            " or test a finished image: --multiarch-image=REFERENCE",
        )
    if not os.access(recipe, os.R_OK):
        raise BuildError(f"{recipe} can't be read", do="Give its reader the right: `chmod +r`, or another owner")


def _check_files(folder: Path) -> None:
    """Refuse what buildx sends as an empty file, without a word: one that it can't read.

    With a `.dockerignore` nobody but buildx knows what is sent, so nothing is said.
    """
    if (folder / ".dockerignore").exists():
        return
    closed = list(itertools.islice(_unreadable(folder), 4))
    if closed:
        raise BuildError(
            f"a file of the build context can't be read: {closed[0]}",
            why="buildx would send it as an empty one",
            do="Give its reader the right (`chmod +r`), or leave it out by a .dockerignore",
            evidence="\n".join(closed[1:3] + ["..."] * (len(closed) > 3)),
        )


def _unreadable(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        for name in files:
            path = os.path.join(place, name)
            if not os.access(path, os.R_OK) and os.path.exists(path):  # a dangling link is sent as a link
                yield path
        for name in folders:
            path = os.path.join(place, name)
            if not os.access(path, os.R_OK | os.X_OK):
                yield path
