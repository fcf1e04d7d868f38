"""Build a container image for several CPU architectures and run its tests on each, with pytest."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_multiarch.containers.container import Container
    from pytest_multiarch.containers.results import Result
    from pytest_multiarch.containers.services import ContainerFactory
    from pytest_multiarch.errors import (
        BuilderError,
        BuildError,
        CommandFailed,
        ContainerDied,
        ContainerError,
        CpuTooOld,
        DeadlinePassed,
        EmulatorCrash,
        EmulatorError,
        EngineError,
        ExecFormatError,
        FaultError,
        IllegalInstruction,
        ImageError,
        LoaderMissing,
        MultiarchError,
        OutOfMemory,
        OutputTooLarge,
        SettingsError,
        StateError,
        UnexpectedError,
        UnknownPlatform,
        WrongMachine,
    )
    from pytest_multiarch.imagespec import ImageSpec
    from pytest_multiarch.platforms import Platform

__all__ = [
    "BuildError",
    "BuilderError",
    "CommandFailed",
    "Container",
    "ContainerDied",
    "ContainerError",
    "ContainerFactory",
    "CpuTooOld",
    "DeadlinePassed",
    "EmulatorCrash",
    "EmulatorError",
    "EngineError",
    "ExecFormatError",
    "FaultError",
    "IllegalInstruction",
    "ImageError",
    "ImageSpec",
    "LoaderMissing",
    "MultiarchError",
    "OutOfMemory",
    "OutputTooLarge",
    "Platform",
    "Result",
    "SettingsError",
    "StateError",
    "UnexpectedError",
    "UnknownPlatform",
    "WrongMachine",
]


#: Where the names are that aren't errors.
_HOMES = {
    "Container": "containers.container",
    "ContainerFactory": "containers.services",
    "ImageSpec": "imagespec",
    "Platform": "platforms",
    "Result": "containers.results",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: pytest loads this package at every start of every suite."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
