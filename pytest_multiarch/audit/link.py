"""The `link` check: whether each program finds its libraries, and in them the versions that it was linked with."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_multiarch.audit import entrypoint, machines
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.elf import Elf
from pytest_multiarch.audit.findings import Finding, Severity, Verdict
from pytest_multiarch.audit.loader import Closure, Loader, Search
from pytest_multiarch.audit.tree import Tree, What
from pytest_multiarch.platforms import Platform

#: What a container runtime puts into a container that is given a GPU (nvidia-container-toolkit).
INJECTED = re.compile(r"lib(cuda|nvidia-[a-z0-9-]+|nvcuvid|nvoptix|cudadebugger|GLX_nvidia|EGL_nvidia)\.so(\.|$)")

#: Libraries of another system or C library: what is linked with them is a part of a package for several.
_OTHERS = re.compile(
    r"libc\.so(\.[57])?|libc\.musl-.*|ld-musl-.*|libc\+\+_shared\.so|liblog\.so|libandroid\.so|libthr\.so\.3"
    r"|libcxxrt\.so\.1|libdl\.so|libm\.so|libc\.so\.6|ld-linux.*|lib(m|dl|pthread)\.so\.\d"
)


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged: the platform's linked files, and what the image does with them.

    Attributes:
        tree: the image's file system.
        elves: real path -> the file, of the platform's machine.
        started: real paths of what the image starts.
        on_path: real paths of what is on the image's PATH.
        bearers: a library's name -> real paths of the files that bear it.
        searches: a program's interpreter -> how its loader searches.

    """

    tree: Tree
    elves: dict[str, Elf]
    started: frozenset[str]
    on_path: frozenset[str]
    bearers: dict[str, set[str]]
    searches: dict[str, Search]

    @classmethod
    def of(cls, tree: Tree, platform: Platform, config: Config) -> Case:
        """Look over the whole tree once."""
        ident = machines.of(platform)
        elves = tree.linked(ident)
        bearers = defaultdict[str, set[str]](set)
        for path, entry in tree.entries.items():
            if entry.what is What.LINK and ".so" in path and (real := tree.find(path)[0]) in elves:
                bearers[posixpath.basename(path)].add(real)
        for path, elf in elves.items():
            for name in {posixpath.basename(path), elf.soname} - {""}:
                bearers[name].add(path)
        names = {elf.interpreter for elf in elves.values() if elf.interpreter and elf.program}
        loaders = {name: Loader.of(tree, config, platform, name) for name in names}
        return cls(
            tree,
            elves,
            started=frozenset(entrypoint.programs(tree, config)),
            on_path=frozenset(entrypoint.on_path(tree, config).values()),
            bearers=dict(bearers),
            searches={name: Search(tree, loader, ident) for name, loader in loaders.items() if loader},
        )

    def search(self, elf: Elf) -> Search | None:
        """Return how the libraries of a file are searched: by its own loader, or by one for the same C library."""
        if elf.interpreter in self.searches:
            return self.searches[elf.interpreter]
        musl = any(name.startswith("libc.musl-") for name in elf.needed)
        return next((search for search in self.searches.values() if search.loader.musl == musl), None)

    def use(self, path: str) -> str:
        """Return how the image itself comes upon a file, "" for not at all that is known."""
        return "started by the image" if path in self.started else "on PATH" if path in self.on_path else ""


def judge(tree: Tree, platform: Platform, config: Config) -> Verdict:
    """Say whether what is linked with libraries finds them: a failure of what the image starts or has on PATH.

    Of any other file it is a warning: sound distributions have plug-ins whose libraries aren't installed.
    """
    case = Case.of(tree, platform, config)
    programs = [path for path, elf in case.elves.items() if _is_program(case, path, elf)]
    found = [finding for path in programs for finding in _program(case, path)]
    found += _libraries(case)
    unread = [path for path, elf in case.elves.items() if not elf.linked.whole]
    if unread:
        whole = "its tables of names could not be read"
        found.append(Finding(unread[0], whole, severity=Severity.UNVERIFIED, number=len(unread)))
    return Verdict(f"{len(programs)} programs with what they are linked with", tuple(found))


def _is_program(case: Case, path: str, elf: Elf) -> bool:
    return elf.program and elf.interpreter in case.searches and case.tree.entries[path].executable


def _program(case: Case, path: str) -> Iterator[Finding]:
    """Judge one program and all that is loaded with it."""
    search = case.search(case.elves[path])
    if search is None:
        return
    closure, use = search.closure(path), case.use(path)
    for asker, name in closure.missing:
        yield _missing(case, search, path, asker, name, use)
    for asker, library, version in _versions(case, search, closure):
        yield _version(case, path, asker, library, version, use)


def _missing(case: Case, search: Search, path: str, asker: str, name: str, use: str) -> Finding:
    what = f"needs {name}{_of(asker, path)}"
    if INJECTED.match(name):
        return Finding(path, f"{what}, which a GPU's runtime brings", severity=Severity.UNVERIFIED)
    there = sorted(case.bearers.get(name, ()))
    if there:
        # Its folder may be added by who starts it; that the image itself starts it with its ENV alone is certain.
        severity = Severity.FAILURE if path in case.started else Severity.WARNING if use else Severity.UNVERIFIED
        cause = _why_not_found(case, search, name, there[0])
        return Finding(path, f"{what}, which the loader doesn't find", severity=severity, cause=cause)
    severity = Severity.FAILURE if use else Severity.WARNING
    found = f"{what}, which is not in the image" + (f"; it is {use}" if use else "")
    return Finding(path, found, severity=severity, cause=_why_missing(case, name))


def _why_not_found(case: Case, search: Search, name: str, there: str) -> str:
    folder = posixpath.dirname(there)
    if folder not in {case.tree.find(each)[0] for each in search.loader.folders}:
        return f"{there} is there, but nothing names its folder: set a RUNPATH, or ENV LD_LIBRARY_PATH"
    if case.tree.find(f"{folder}/{name}")[0] != there:
        return f"{there} is there, but no file is called {name}: copy the links too, or run ldconfig"
    return f"{there} is there, but not for this loader: run ldconfig in the final stage"


def _why_missing(case: Case, name: str) -> str:
    for path, elf in case.tree.elves():
        if path not in case.elves and name in (posixpath.basename(path), elf.soname):
            return f"{path} is for another machine: a COPY from a folder with an architecture in its name"
    return (
        "its package is installed in the build stage only, or COPY names another machine's folder: install the"
        " package of the library in the final stage"
    )


def _versions(case: Case, search: Search, closure: Closure) -> Iterator[tuple[str, str, str]]:
    """Yield (who asks, the library, the version that it lacks); musl's loader knows no versions."""
    for asker in closure.loaded if not search.loader.musl else ():
        for name, versions in case.elves[asker].linked.wants:
            library = closure.taken.get((asker, name))
            offers = case.elves[library].linked.offers if library in case.elves else None
            if library and offers is not None:  # without any, glibc only warns
                yield from ((asker, library, version) for version in versions if version not in offers)


def _version(case: Case, path: str, asker: str, library: str, version: str, use: str) -> Finding:
    better = sorted(
        each
        for each in case.bearers.get(posixpath.basename(library), set())
        if version in (case.elves[each].linked.offers or ())
    )
    found = f"needs {version}{_of(asker, path)}, which {library} lacks"
    if better and path not in case.started:
        severity = Severity.WARNING if use else Severity.UNVERIFIED
        return Finding(path, f"{found}, and {better[0]} has", severity=severity)
    highest = _highest(case.elves[library].linked.offers or frozenset(), version)
    found += f" ({highest} is its highest)" if highest else ""
    cause = "built on a newer distribution than the final stage's: build on the final stage's own base"
    return Finding(path, found, severity=Severity.FAILURE if use else Severity.WARNING, cause=cause)


def _highest(offers: frozenset[str], version: str) -> str:
    family = re.match(r"[A-Za-z]+_", version)
    rows = [each for each in offers if family and re.match(family[0] + r"\d", each)]
    return max(rows, key=lambda each: [int(number) for number in re.findall(r"\d+", each)], default="")


def _libraries(case: Case) -> Iterator[Finding]:
    """Judge the libraries for themselves: each may be loaded later, by a program that brings what it needs."""
    missing, brought = defaultdict[str, list[str]](list), list[str]()
    for path, elf in case.elves.items():
        search = case.search(elf)
        if elf.program or search is None or not elf.needed:
            continue
        for asker, name in search.closure(path).missing:
            if asker != path or _OTHERS.fullmatch(name):
                continue
            if name in case.bearers or INJECTED.match(name):
                brought.append(path)
            else:
                missing[name].append(path)
    for name, paths in sorted(missing.items()):
        found = f"needs {name}, which is not in the image: it can't be loaded"
        yield Finding(
            paths[0], found, severity=Severity.WARNING, cause=_why_missing(case, name), number=len(paths)
        )
    if brought:
        found = "relies on what its program has loaded by then"
        yield Finding(brought[0], found, severity=Severity.UNVERIFIED, number=len(brought))


def _of(asker: str, path: str) -> str:
    return f" (for {asker})" if asker != path else ""
