"""The `elf` check: whether every program of a file system is for the platform, by values alone."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_multiarch.audit import abi, baseline, causes, entrypoint, foreign, machines, memory, names
from pytest_multiarch.audit.baseline import Fit
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.elf import Elf, Ident
from pytest_multiarch.audit.findings import Finding, Severity, Verdict
from pytest_multiarch.audit.patterns import matches
from pytest_multiarch.audit.tree import UNSEEN, Entry, Tree, What, is_linked
from pytest_multiarch.platforms import Platform

#: Folders from which ld.so takes a library only where the CPU has what the folder is named after (ld.so(8), and
#: glibc's sysdeps before 2.37).
CAPABILITIES = frozenset(
    {
        *("glibc-hwcaps", "neon", "vfp", "vfpv3", "haswell", "xeon_phi", "avx512_1", "avx2"),
        *("power7", "power8", "power9", "power10", "z10", "z13", "z14", "z15", "z16", "z196", "zEC12"),
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged, and what the rules need to know of it as a whole.

    Attributes:
        tree: the image's file system.
        platform: the platform that was asked for, raised to its baseline.
        patterns: `multiarch_foreign_files`.
        idents: how many ELF files there are of each kind.
        started: real paths of what the image starts.
        on_path: real paths of what is on the image's PATH.
        needed: names of the libraries that the platform's own files are linked with.
        present: names of the platform's own files.
        conventions: those of the image's own loaders and C libraries.
        libcs: which C libraries the image has, of "musl" and "glibc".

    """

    tree: Tree
    platform: Platform
    patterns: tuple[str, ...]
    idents: Counter[Ident]
    started: frozenset[str]
    on_path: frozenset[str]
    needed: frozenset[str]
    present: frozenset[str]
    conventions: frozenset[str]
    libcs: frozenset[str]

    @classmethod
    def of(cls, tree: Tree, platform: Platform, config: Config, patterns: Sequence[str] = ()) -> Case:
        """Look over the whole tree once."""
        own = [(path, elf) for path, elf in tree.elves() if elf.ident == machines.of(platform)]
        loaders = {tree.find(elf.interpreter)[0] for _, elf in own if elf.interpreter}
        libcs = [elf for path, elf in own if path in loaders or _is_libc(elf)]
        return cls(
            tree,
            platform,
            tuple(patterns),
            Counter(elf.ident for _, elf in tree.elves()),
            started=frozenset(entrypoint.programs(tree, config)),
            on_path=frozenset(entrypoint.on_path(tree, config).values()),
            needed=frozenset(name for _, elf in own for name in elf.needed),
            present=frozenset(posixpath.basename(path) for path, _ in own) | {elf.soname for _, elf in own},
            conventions=frozenset(said for said in map(abi.of, libcs) if said),
            libcs=frozenset("musl" if "musl" in libc.soname else "glibc" for libc in libcs if _is_libc(libc)),
        )

    def excepts(self, path: str) -> bool:
        """Tell whether the user named the file as foreign on purpose."""
        return any(matches(pattern, path) for pattern in self.patterns)


def judge(tree: Tree, platform: Platform, config: Config, patterns: Sequence[str] = ()) -> Verdict:
    """Say whether every ELF file of an image is for `platform`, and for its oldest CPU.

    Args:
        tree: the image's file system.
        platform: the one that was asked for; `platform.level` is the CPU that it was raised to.
        config: the image's: what is on PATH or started has no excuse for being foreign.
        patterns: `multiarch_foreign_files`, see `audit.patterns`.

    """
    case = Case.of(tree, platform, config, patterns)
    findings = [finding for path in _paths(case) for finding in _findings(case, path, tree.entries[path])]
    fits = Counter(_fit(case, path, elf) for path, elf in tree.elves())
    findings = [
        *_merged(findings),
        *_memory(case),
        *_names(case, config),
        *_unverified(case),
        *_unused(case),
        *_empty(case),
    ]
    return Verdict(
        _subject(case, fits), tuple(findings), f"not seen, the engine's own hide them: {', '.join(UNSEEN)}"
    )


def _subject(case: Case, fits: Counter[Fit | None]) -> str:
    """Return what was looked at, and what is certain of it."""
    total, own = sum(case.idents.values()), case.idents[machines.of(case.platform)]
    if not total:
        return f"no ELF file among {case.tree.files}"
    machine = f"{'all' if own == total else own} for {case.platform}"
    if not fits[Fit.FITS]:
        cpu = "none says for which CPU"
    elif fits[Fit.UNKNOWN]:
        cpu = f"{fits[Fit.FITS]} built for {baseline.oldest(case.platform)}, the others don't say for which"
    else:
        cpu = f"{fits[Fit.FITS]} built for {baseline.oldest(case.platform)}"
    return f"{total} ELF files among {case.tree.files}, {machine}; {cpu}"


def _paths(case: Case) -> list[str]:
    judged = (What.ELF, What.LIBRARY, What.ZIP)
    return [path for path, entry in case.tree.entries.items() if entry.what in judged]


def _findings(case: Case, path: str, entry: Entry) -> list[Finding]:
    found = list(_file(case, path, entry) if entry.what is What.ELF else _archive(case, path, entry))
    if found and case.excepts(path):
        return [Finding(path, "named by multiarch_foreign_files", severity=Severity.FOREIGN)]
    return found


def _merged(findings: list[Finding]) -> Iterator[Finding]:
    """Yield the findings, those foreign on purpose for one reason as one: Go's test data alone are fifty."""
    merged: dict[str, Finding] = {}
    for finding in findings:
        if finding.severity is Severity.FOREIGN:
            first = merged.setdefault(finding.found, replace(finding, number=0))
            merged[finding.found] = replace(first, number=first.number + finding.number)
        else:
            yield finding
    yield from merged.values()


def _file(case: Case, path: str, entry: Entry) -> Iterator[Finding]:
    elf = entry.elf
    if elf is None:
        severity = Severity.FAILURE if entry.executable else Severity.UNVERIFIED
        yield Finding(path, "begins like an ELF file and is none", severity=severity)
    elif elf.ident != machines.of(case.platform):
        yield _foreign(case, path, elf)
    elif is_linked(path, elf) and (found := list(_own(case, path, entry, elf))):
        row = foreign.row(path, elf.ident, case.tree)
        excused = row and row.whatever and not _use(case, path, elf)
        yield from [Finding(path, row.reason, severity=Severity.FOREIGN)] if row and excused else found


def _foreign(case: Case, path: str, elf: Elf) -> Finding:
    row = foreign.row(path, elf.ident, case.tree)
    used = _use(case, path, elf)
    found = machines.name(elf.ident)
    if row and not used:
        return Finding(path, row.reason, severity=Severity.FOREIGN)
    cause = causes.foreign(path, elf, case.platform, case.idents)
    return Finding(path, found + used, f"code for {case.platform}", cause=cause)


def _use(case: Case, path: str, elf: Elf) -> str:
    """Return how the platform's own programs would come upon a foreign file, "" for not at all."""
    if path in case.started:
        return ", started by the image"
    if path in case.on_path:
        return ", on PATH"
    names = {posixpath.basename(path), elf.soname} - {""}
    return ", needed by a file of the platform" if names & case.needed - case.present else ""


def _own(case: Case, path: str, entry: Entry, elf: Elf) -> Iterator[Finding]:
    """Judge one linked file of the platform's machine."""
    if not case.platform.elf.allows(elf.flags):
        yield Finding(path, f"e_flags {elf.flags:#x}", "the flags of " + str(case.platform), cause=causes.FLAGS)
    if elf.flaw:
        severity = Severity.FAILURE if entry.executable else Severity.WARNING
        yield Finding(
            path, elf.flaw, severity=severity, cause="the file was cut off when it was copied or fetched"
        )
    yield from _loader(case, path, elf)
    yield from _convention(case, path, elf)
    yield from _cpu(case, path, elf)


def _loader(case: Case, path: str, elf: Elf) -> Iterator[Finding]:
    if elf.interpreter is None or not elf.program:  # a library's loader counts only when one starts the library
        return
    folders = path.split("/")[1:-1]  # a root below the root (a chroot, an SDK) has a loader of its own
    roots = ["/" + "/".join(folders[:depth]) for depth in range(len(folders) + 1)]
    if not any(_is_program(case.tree, root.rstrip("/") + elf.interpreter) for root in roots):
        yield Finding(
            path,
            f"its interpreter {elf.interpreter} is not in the image",
            cause=causes.loader(elf.interpreter, case.libcs),
        )


def _convention(case: Case, path: str, elf: Elf) -> Iterator[Finding]:
    said = abi.of(elf)
    static = elf.interpreter is None and elf.program
    if said and not static and case.conventions and said not in case.conventions:
        expected = f"{' or '.join(sorted(case.conventions))}, as the image's C library"
        yield Finding(path, said, expected, cause="a library or program of another distribution's port")


def _cpu(case: Case, path: str, elf: Elf) -> Iterator[Finding]:
    need = baseline.fit(elf, case.platform)
    if need.fit is not Fit.NEWER or _by_capability(path):
        return
    # ld.so refuses a library whose x86 note asks for more than the CPU has; ARM's tag is a maximum at link time.
    strict = elf.program or (elf.isa > 1 and bool({posixpath.basename(path), elf.soname} & case.needed))
    severity = Severity.FAILURE if strict else Severity.WARNING
    expected = f"{need.allowed}, for {baseline.oldest(case.platform)}"
    yield Finding(
        path, need.says, expected, severity, causes.cpu(elf, case.platform) if strict else causes.DISPATCH
    )


def _archive(case: Case, path: str, entry: Entry) -> Iterator[Finding]:
    """Judge what an archive holds: beside the platform's own library a zip file may hold everybody's."""
    mine = any(inner.ident == machines.of(case.platform) for inner in entry.inner)
    for inner in entry.inner:
        where = f"{path}: {inner.name}"
        if inner.ident is None:
            yield Finding(where, "could not be read", severity=Severity.UNVERIFIED, number=inner.number)
        elif inner.ident != machines.of(case.platform):
            row = foreign.row(path, inner.ident, case.tree)
            reason = (
                row.reason
                if row
                else "a library beside the platform's own"
                if mine and entry.what is What.ZIP
                else ""
            )
            severity = Severity.FOREIGN if reason else Severity.WARNING
            yield Finding(where, reason or machines.name(inner.ident), severity=severity, number=inner.number)


def _fit(case: Case, path: str, elf: Elf) -> Fit | None:
    """Return whether one of the platform's linked files can run on its oldest CPU, None for any other file."""
    if elf.ident != machines.of(case.platform) or not is_linked(path, elf) or _by_capability(path):
        return None
    return baseline.fit(elf, case.platform).fit


def _names(case: Case, config: Config) -> Iterator[Finding]:
    return names.judge(case.tree, case.platform, config, entrypoint.on_path(case.tree, config))


def _memory(case: Case) -> Iterator[Finding]:
    linked = case.tree.linked(machines.of(case.platform))
    own = {path: elf for path, elf in linked.items() if not case.excepts(path)}
    yield from memory.judge(own, case.platform, lambda path: path in case.started or path in case.on_path)


def _unverified(case: Case) -> Iterator[Finding]:
    paths = [path for path, elf in case.tree.elves() if _fit(case, path, elf) is Fit.UNKNOWN]
    if paths:
        found = (
            f"nothing in it says for which CPU: only starting it on {baseline.oldest(case.platform)} shows that"
        )
        yield Finding(paths[0], found, severity=Severity.UNVERIFIED, number=len(paths))


def _unused(case: Case) -> Iterator[Finding]:
    named = _paths(case)
    for pattern in case.patterns:
        if not any(matches(pattern, path) for path in named):
            found = f"{pattern} matches no ELF file and no archive"
            yield Finding("multiarch_foreign_files", found, severity=Severity.WARNING)


def _empty(case: Case) -> Iterator[Finding]:
    if not case.tree.files:
        yield Finding("/", "the image holds no file", cause="the build made nothing for this platform")
    elif not case.idents:
        yield Finding("/", "no ELF file: nothing to verify", severity=Severity.UNVERIFIED)


def _is_program(tree: Tree, path: str) -> bool:
    _, entry = tree.find(path)
    return entry is not None and entry.what is What.ELF


def _by_capability(path: str) -> bool:
    return not CAPABILITIES.isdisjoint(path.split("/")[:-1])


def _is_libc(elf: Elf) -> bool:
    return elf.soname.startswith(("libc.so.", "ld-linux", "ld.so.", "ld64.so.", "libc.musl-", "ld-musl-"))
