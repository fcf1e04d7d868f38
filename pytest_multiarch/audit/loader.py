"""Which file a loader takes for a library's name: glibc's rules and musl's, on an image that nobody starts.

glibc's: ld.so(8). musl's: its ldso/dynlink.c, `load_library`.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_multiarch.audit import machines
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.dynamic import LOADERS
from pytest_multiarch.audit.elf import Elf, Ident, Type
from pytest_multiarch.audit.tree import Tree
from pytest_multiarch.platforms import Platform

#: Where ldconfig keeps what it found, and where musl's loader is told its folders.
CACHE, MUSL_FOLDERS = "/etc/ld.so.cache", "/lib:/usr/local/lib:/usr/lib"

#: The libraries that musl's loader is itself.
_MUSL_OWN = re.compile(r"lib(c|pthread|rt|m|dl|util|xnet)\.")

#: glibc's word for the machine in $PLATFORM, where it isn't the one of `uname -m`.
_PLATFORMS: Mapping[str, str] = MappingProxyType({"amd64": "x86_64", "arm64": "aarch64", "386": "i686"})

_CACHE_HEAD = b"glibc-ld.so.cache1.1"


@dataclass(frozen=True, slots=True)
class Loader:
    """One loader of an image: where it searches.

    Attributes:
        path: its real path.
        names: what a library's name may be so that the loader itself is meant.
        musl: whether it is musl's.
        environment: the folders of LD_LIBRARY_PATH.
        folders: those that it searches by itself.
        cache: a library's name -> paths, of /etc/ld.so.cache.
        platform: what $PLATFORM stands for.

    """

    path: str
    names: frozenset[str]
    musl: bool
    environment: tuple[str, ...]
    folders: tuple[str, ...]
    cache: Mapping[str, tuple[str, ...]]
    platform: str

    @classmethod
    def of(cls, tree: Tree, config: Config, platform: Platform, name: str) -> Loader | None:
        """Return the loader that `name`, a program's interpreter, is; None where there is no such file."""
        path, entry = tree.find(name)
        if entry is None or entry.elf is None or entry.elf.ident != machines.of(platform):
            return None
        linked = entry.elf.linked
        names = frozenset({posixpath.basename(name), linked.soname})
        musl = not LOADERS.fullmatch(linked.soname) and "musl" in name + linked.soname
        environment = dict(config.env).get("LD_LIBRARY_PATH", "")
        folders = _musl_folders(tree, name) if musl else tuple(folder.rstrip("/") for folder in linked.folders)
        return cls(
            path,
            names,
            musl,
            tuple(re.split("[:;]" if not musl else ":", environment)) if environment else (),
            folders,
            {} if musl else _cache(tree),
            _PLATFORMS.get(platform.architecture, platform.architecture),
        )


@dataclass(frozen=True)
class Closure:
    """A file and everything that its loader loads with it.

    Attributes:
        loaded: real paths, the file itself first, in the loader's order.
        missing: (real path of who asks, the library's name).
        taken: (real path of who asks, the library's name) -> real path.

    """

    loaded: list[str]
    missing: list[tuple[str, str]] = field(default_factory=list)
    taken: dict[tuple[str, str], str] = field(default_factory=dict)


class Search:
    """Finds libraries for one loader; remembers what it has found where."""

    def __init__(self, tree: Tree, loader: Loader, ident: Ident) -> None:
        self.tree, self.loader, self.ident = tree, loader, ident
        self._seen: dict[str, str | None] = {}

    def closure(self, path: str) -> Closure:
        """Return what is loaded with the file at a real path, breadth first, as both loaders do it."""
        elf = self._elf(path)
        closure, chains = Closure([path]), dict[str, tuple[str, ...]]({path: (path,)})
        names = {} if self.loader.musl else dict.fromkeys({elf.soname, posixpath.basename(path)}, path)
        for asker in closure.loaded:  # which grows
            for name in self._elf(asker).needed:
                found = names.get(name) or self._find(name, chains[asker])
                if found is None:
                    closure.missing.append((asker, name))
                    continue
                names[name] = found
                closure.taken[asker, name] = found
                if not self.loader.musl and (soname := self._elf(found).soname):
                    names.setdefault(soname, found)
                if found not in chains:
                    chains[found] = (found, *chains[asker])
                    closure.loaded.append(found)
        return closure

    def _find(self, name: str, chain: Sequence[str]) -> str | None:
        """Return the real path of the file that is taken, by `chain`: who asks, who loaded that, and so on."""
        if name in self.loader.names or (self.loader.musl and _MUSL_OWN.match(name)):
            return self.loader.path
        if "/" in name:
            return next((self._library(each) for each in self._expanded(name, chain[0])), None)
        ways = self._musl(name, chain) if self.loader.musl else self._glibc(name, chain)
        return next((found for way in ways if (found := self._library(way))), None)

    def _glibc(self, name: str, chain: Sequence[str]) -> Iterator[str]:
        linked = self._elf(chain[0]).linked
        if linked.runpath is None:
            for path in chain:
                above = self._elf(path).linked
                if above.rpath and above.runpath is None:
                    yield from self._below(above.rpath, path, name)
        yield from (f"{folder}/{name}" for folder in self.loader.environment)
        if linked.runpath:
            yield from self._below(linked.runpath, chain[0], name)
        for cached in self.loader.cache.get(name, ()):
            if not (linked.no_default and posixpath.dirname(cached) in self.loader.folders):
                yield cached
        if not linked.no_default:
            yield from (f"{folder}/{name}" for folder in self.loader.folders)

    def _musl(self, name: str, chain: Sequence[str]) -> Iterator[str]:
        yield from (f"{folder}/{name}" for folder in self.loader.environment)
        for path in chain:
            linked = self._elf(path).linked
            yield from self._below(linked.runpath or linked.rpath or "", path, name)
        yield from (f"{folder}/{name}" for folder in self.loader.folders)

    def _below(self, folders: str, path: str, name: str) -> Iterator[str]:
        return (f"{folder}/{name}" for folder in self._expanded(folders, path))

    def _expanded(self, text: str, path: str) -> Iterator[str]:
        """Yield the folders of an RPATH with their $ORIGIN, $LIB and $PLATFORM; $LIB may be one of two."""
        libs = {"lib", *(folder.removeprefix("/usr").lstrip("/") for folder in self.loader.folders)}
        for each in text.split(":"):
            said = re.sub(r"\$(ORIGIN\b|\{ORIGIN\})", lambda _: posixpath.dirname(path), each)
            said = re.sub(r"\$(PLATFORM\b|\{PLATFORM\})", self.loader.platform, said)
            for lib in sorted(libs) if "LIB" in said else ("lib",):
                yield re.sub(r"\$(LIB\b|\{LIB\})", lib, said)

    def _library(self, path: str) -> str | None:
        """Return the real path of a library of the platform, None for anything else: the loader passes it over."""
        if not path.startswith("/"):
            return None
        if path not in self._seen:
            real, entry = self.tree.find(path)
            elf = entry.elf if entry else None
            self._seen[path] = real if elf and elf.ident == self.ident and elf.type is Type.DYN else None
        return self._seen[path]

    def _elf(self, path: str) -> Elf:
        elf = self.tree.entries[path].elf
        assert elf is not None  # noqa: S101  # only such paths are handed around
        return elf


def _musl_folders(tree: Tree, name: str) -> tuple[str, ...]:
    """Return where musl's loader searches: its path file is beside it, in `etc` instead of `lib`."""
    found = re.fullmatch(r"(.*)/lib/ld-musl-(.+)\.so\.1", name)
    _, entry = tree.find(f"{found[1]}/etc/ld-musl-{found[2]}.path") if found else ("", None)
    text = entry.text if entry and entry.text is not None else MUSL_FOLDERS
    return tuple(folder for folder in re.split("[:\n]", text) if folder)


def _cache(tree: Tree) -> Mapping[str, tuple[str, ...]]:
    """Return what /etc/ld.so.cache lists (glibc's sysdeps/generic/dl-cache.h); nothing where it can't be read."""
    _, entry = tree.find(CACHE)
    data = (entry.text or "").encode("utf-8", "surrogateescape") if entry else b""
    at = data.find(_CACHE_HEAD)
    if at < 0 or len(data) < at + 48:
        return {}
    end = "<" if int.from_bytes(data[at + 20 : at + 24], "little") < 1 << 20 else ">"
    (number,) = struct.unpack_from(end + "I", data, at + 20)
    row, found = struct.Struct(end + "iIIIQ"), dict[str, tuple[str, ...]]()
    for index in range(min(number, (len(data) - at - 48) // row.size)):
        _, key, value, _, capabilities = row.unpack_from(data, at + 48 + index * row.size)
        if not capabilities:  # the others are for newer CPUs, beside one for all
            name = _text(data, at + key)
            found[name] = (*found.get(name, ()), _text(data, at + value))
    return found


def _text(data: bytes, at: int) -> str:
    return data[at : at + 4096].partition(b"\0")[0].decode("utf-8", "surrogateescape")
