"""Every option once: its two names, its words, and the frozen `Settings` that all of them become."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from pytest_multiarch.errors import MultiarchError, SettingsError
from pytest_multiarch.imagespec import ImageSpec, absolute, absolute_fields
from pytest_multiarch.pins import BINFMT_IMAGE, BUILDKIT_IMAGE

__tracebackhide__ = True

#: The built-in checks, in the order in which they run: what explains most comes first.
CHECKS = ("index", "config", "entrypoint", "elf", "link", "runs")

#: Words that stand for platforms until an engine or a list says which.
WORDS = ("all", "native")


class Option(NamedTuple):
    """One setting: `--multiarch-<name>` on the command line and `multiarch_<name>` in the ini file.

    Attributes:
        name: the option's name, with dashes.
        help: one sentence.
        metavar: what a value looks like.
        default: the value where nothing is said, shown in the help.
        parse: from one value's text and the folder that relative paths start at.
        many: whether it may be repeated; the ini twin is then a list.
        split: whether one text holds several values, between commas.
        ini: the ini name, where it is not the plain twin.
        flags: further spellings on the command line.
        ini_only: whether the command line has no such option.
        ini_type: pytest's, of the twin of one that may be repeated: "linelist", or "args" for words of a shell.

    """

    name: str
    help: str
    metavar: str = "VALUE"
    default: Any = None
    parse: Callable[[str, Path], Any] = lambda text, base: text
    many: bool = False
    split: bool = False
    ini: str = ""
    flags: tuple[str, ...] = ()
    ini_only: bool = False
    ini_type: Literal["linelist", "args"] = "linelist"

    @property
    def dest(self) -> str:
        """Return the attribute that holds the command line's values."""
        return "multiarch_" + self.name.replace("-", "_")

    @property
    def ini_name(self) -> str:
        """Return the name in the ini file."""
        return self.ini or self.dest


def _named(text: str, base: Path) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"{text!r} is not NAME=VALUE")
    return name, value


def _build_arg(text: str, base: Path) -> tuple[str, str | None]:
    """Return a build argument; named without a value, that is in the environment, as for `docker build`."""
    return _named(text, base) if "=" in text else (text, None)


def _named_path(text: str, base: Path) -> tuple[str, str]:
    name, value = _named(text, base)
    return name, absolute(value, base)


def _platform(text: str, base: Path) -> str:
    from pytest_multiarch.platforms import Platform  # a table that a suite without platforms does not owe

    word = text.strip()
    return word if word in WORDS else str(Platform.parse(word))


def _level(text: str, base: Path) -> tuple[str, str]:
    from pytest_multiarch.platforms import Platform

    name, level = _named(text, base)
    platform = Platform.parse(name)
    platform.at(level)
    return str(platform), level


def _one_of(*words: str) -> Callable[[str, Path], str]:
    def parse(text: str, base: Path) -> str:
        if text not in words:
            raise SettingsError(f"{text!r} is none of {', '.join(words)}")
        return text

    return parse


def _number(kind: type[int] | type[float]) -> Callable[[str, Path], float]:
    def parse(text: str, base: Path) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < float("inf"):
            raise SettingsError(f"{text!r} is not a number above 0")
        return value

    return parse


def _size(text: str, base: Path) -> int:
    match = re.fullmatch(r"(\d{1,18})\s*([kmg]?)i?b?", text.strip().lower())
    size = int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]] if match else 0
    if not size:
        raise SettingsError(f"{text!r} is not a size such as 1048576 or 128MiB")
    return size


OPTIONS: tuple[Option, ...] = (
    Option(
        "platforms",
        "platforms to build and test for: names, 'native' (the engine's);"
        " on the command line also 'all' (the ini list, or every Linux platform of a published image)",
        metavar="LIST",
        default=(),
        parse=_platform,
        many=True,
        split=True,
        flags=("--platforms",),
    ),
    Option("image", "test this image, published or local, and build nothing", metavar="REFERENCE"),
    Option("context", "the build's folder or address", metavar="PATH", parse=absolute),
    Option("dockerfile", "the Dockerfile, if not the one in the context", metavar="PATH", parse=absolute),
    Option("target", "the stage to build", metavar="STAGE"),
    Option(
        "build-arg",
        "as buildx's; NAME alone takes its value from the environment, and that is shown nowhere",
        "NAME[=VALUE]",
        parse=_build_arg,
        many=True,
        default=(),
        ini="multiarch_build_args",
    ),
    Option(
        "build-context",
        "as buildx's: replace a base image or a stage",
        "NAME=PATH",
        parse=_named_path,
        many=True,
        default=(),
        ini="multiarch_build_contexts",
    ),
    Option("secret", "as buildx's", "SPEC", parse=absolute_fields, many=True, default=(), ini="multiarch_secrets"),
    Option("cache-from", "as buildx's", "SPEC", parse=absolute_fields, many=True, default=()),
    Option("cache-to", "as buildx's", "SPEC", parse=absolute_fields, many=True, default=()),
    Option("builder", "'session', or the name of a builder that exists: used, never changed", default="session"),
    Option(
        "driver",
        "of the session builder: 'auto', 'docker-container' or 'docker'",
        "WORD",
        default="auto",
        parse=_one_of("auto", "docker-container", "docker"),
    ),
    Option(
        "binfmt",
        "emulators: 'auto' registers what is missing, 'require' fails, 'never' doesn't look",
        "WORD",
        default="auto",
        parse=_one_of("auto", "require", "never"),
    ),
    Option("binfmt-image", "the image that registers emulators", "REFERENCE", default=BINFMT_IMAGE),
    Option("buildkit-image", "the image of the session builder", "REFERENCE", default=BUILDKIT_IMAGE),
    Option(
        "cpu",
        "the emulated CPU: 'baseline' (the platform's oldest) or 'default' (the emulator's own)",
        "WORD",
        default="baseline",
        parse=_one_of("baseline", "default"),
    ),
    Option(
        "baseline",
        "raise a platform's oldest CPU: linux/amd64=v2, linux/ppc64le=power9, ...",
        "PLATFORM=LEVEL",
        default=(),
        parse=_level,
        many=True,
        split=True,
    ),
    Option("timeout", "seconds for one command in a container", "SECONDS", default=60.0, parse=_number(float)),
    Option("build-timeout", "seconds for one platform's build", "SECONDS", default=3600.0, parse=_number(float)),
    Option(
        "jobs",
        "emulated builds, and workers with emulated commands, in flight at once; if not said, as many as cores",
        "NUMBER",
        parse=_number(int),
    ),
    Option("output-limit", "bytes kept of one command's output", "SIZE", default=128 * 1024 * 1024, parse=_size),
    Option(
        "checks",
        "the built-in checks to run; if not said, all",
        "LIST",
        default=CHECKS,
        parse=_one_of(*CHECKS),
        many=True,
        split=True,
        ini_only=True,
    ),
    Option(
        "foreign-files",
        "patterns of files that are for another machine on purpose",
        many=True,
        split=True,
        default=(),
        ini_only=True,
    ),
    Option(
        "run-args",
        "words passed to `docker run`: limits, --read-only, ...",
        many=True,
        default=(),
        ini_only=True,
        ini_type="args",
    ),
)


class Settings(NamedTuple):
    """What the user asked for, checked and in one place.

    A tuple, as is `Option`: to make them dataclasses takes a millisecond of every pytest that never uses them.

    Attributes:
        platforms: canonical names, or the words 'native' and 'all', in the order asked for; empty where
            nothing was.
        listed: the ini file's platforms, which 'all' stands for.
        source: who asked: '--platforms', 'multiarch_platforms in NAME' or '' (nobody).
        image: what is tested where no conftest says otherwise.
        image_said: whether the image or its build was named by any option.
        timeout, build_timeout: seconds.
        output_limit: bytes.
        anew: whether nothing that was found out about an image before counts: pytest's `--cache-clear`.

    The others are as in the table of `OPTIONS`.
    """

    platforms: tuple[str, ...]
    listed: tuple[str, ...]
    source: str
    image: ImageSpec
    image_said: bool
    builder: str
    driver: str
    binfmt: str
    binfmt_image: str
    buildkit_image: str
    cpu: str
    baseline: Mapping[str, str]
    timeout: float
    build_timeout: float
    jobs: int
    output_limit: int
    checks: tuple[str, ...]
    foreign_files: tuple[str, ...]
    run_args: tuple[str, ...]
    anew: bool

    @property
    def active(self) -> bool:
        """Tell whether the user said a word to this plugin: without one it does nothing by itself."""
        return bool(self.platforms or self.image_said)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin to pytest."""
    group = parser.getgroup("multiarch", "multi-arch container images")
    for option in OPTIONS:
        if option.many:
            parser.addini(option.ini_name, option.help, type=option.ini_type, default=None)
        else:
            parser.addini(option.ini_name, option.help, type="string", default=None)
        if not option.ini_only:
            group.addoption(
                *option.flags,
                f"--multiarch-{option.name}",
                action="append" if option.many else "store",
                dest=option.dest,
                metavar=option.metavar,
                help=_help(option),
            )


def _help(option: Option) -> str:
    return f"{option.help} (default: {option.default})" if option.default else option.help


def settings(config: pytest.Config) -> Settings:
    """Return what the command line and the ini file say together.

    Raises:
        SettingsError: a value means nothing; the text names the option and where it stands.

    """
    values: dict[str, Any] = {}
    said: set[str] = set()
    for option in OPTIONS:
        spoken = _spoken(config, option)
        if spoken is not None:
            said.add(option.name)
        values[option.name.replace("-", "_")] = option.default if spoken is None else spoken
    listed = tuple(_from_ini(config, OPTIONS[0]) or ())
    platforms = _platforms(values.pop("platforms"), listed, bool(values["image"]), _flagged(config))
    return Settings(
        platforms=platforms,
        listed=listed,
        source=_source(config, platforms),
        image=_image(config, values),
        image_said=bool(said & _IMAGE_OPTIONS),
        baseline=dict(values.pop("baseline")),
        jobs=values.pop("jobs") or len(os.sched_getaffinity(0)),
        checks=tuple(values.pop("checks")),
        foreign_files=tuple(values.pop("foreign_files")),
        run_args=tuple(values.pop("run_args")),
        anew=bool(config.getoption("cacheclear", False)),
        **values,
    )


_IMAGE_OPTIONS = {"image", "context", "dockerfile", "target"}


def _image(config: pytest.Config, values: dict[str, Any]) -> ImageSpec:
    return ImageSpec(
        context=values.pop("context") or str(base_folder(config)),
        dockerfile=values.pop("dockerfile"),
        target=values.pop("target"),
        build_args=dict(values.pop("build_arg")),
        build_contexts=dict(values.pop("build_context")),
        secrets=tuple(values.pop("secret")),
        cache_from=tuple(values.pop("cache_from")),
        cache_to=tuple(values.pop("cache_to")),
        reference=values.pop("image"),
    )


def _platforms(asked: tuple[str, ...], listed: tuple[str, ...], published: bool, said: bool) -> tuple[str, ...]:
    if said and not asked:
        raise SettingsError(
            "--platforms is an empty list",
            do="Name at least one platform, such as linux/arm64, or one of the words native and all",
        )
    if "all" in listed:
        raise SettingsError("'all' in the ini file's multiarch_platforms stands for that list itself")
    if "all" in asked and not listed and not published:
        raise SettingsError(
            "--platforms=all needs a list to stand for",
            do="Put the platforms into the ini file: multiarch_platforms = linux/amd64, linux/arm64, ...",
        )
    if "all" in asked and listed:
        asked = tuple(name for word in asked for name in (listed if word == "all" else (word,)))
    return tuple(dict.fromkeys(asked))


def _source(config: pytest.Config, platforms: tuple[str, ...]) -> str:
    if _flagged(config):
        return "--platforms"
    return f"{OPTIONS[0].ini_name} in {config.inipath.name}" if platforms and config.inipath else ""


def _flagged(config: pytest.Config) -> bool:
    """Tell whether the command line names platforms."""
    return config.getoption(OPTIONS[0].dest) is not None


def _spoken(config: pytest.Config, option: Option) -> Any:
    given = None if option.ini_only else config.getoption(option.dest)
    if given is None:
        return _from_ini(config, option)
    return _parsed(option, given, config.invocation_params.dir, f"--multiarch-{option.name}")


def _from_ini(config: pytest.Config, option: Option) -> Any:
    given = config.getini(option.ini_name)
    where = f"{option.ini_name} in {config.inipath.name if config.inipath else 'the ini file'}"
    said = given is not None if option.many else given  # an empty list is one: of no checks, say
    return _parsed(option, given, base_folder(config), where) if said else None


def _parsed(option: Option, given: Any, base: Path, where: str) -> Any:
    texts = given if isinstance(given, list) else [given]
    if option.split:
        texts = [part for text in texts for part in text.split(",")]
    try:
        found = tuple(option.parse(text.strip(), base) for text in texts if text.strip())
    except MultiarchError as error:
        raise SettingsError(f"{where}: {error.what}", why=error.why, do=error.do) from None
    if option.many:
        return found
    return found[-1] if found else None


def base_folder(config: pytest.Config) -> Path:
    """Return the folder that the paths of the ini file and of conftests are relative to."""
    return config.inipath.parent if config.inipath else config.rootpath
