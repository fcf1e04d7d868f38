"""The shipped list of files for other machines that sound images contain, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_multiarch.audit.elf import Ident
from pytest_multiarch.audit.patterns import matches
from pytest_multiarch.audit.tree import Tree

#: What other projects call the machines in folder names -> e_machine.
WORDS: Mapping[str, int] = MappingProxyType(
    # Node's process.arch
    {"ia32": 3, "x64": 62, "arm": 40, "arm64": 183, "ppc64": 21, "s390x": 22, "riscv64": 243, "loong64": 258}
    | {"mips": 8, "mipsel": 8}
    # koffi's
    | {"armhf": 40, "riscv64d": 243}
    # GRUB's targets, which begin like these
    | {"i386": 3, "x86_64": 62, "sparc64": 43, "ia64": 50, "powerpc": 20, "loongarch64": 258, "riscv32": 243}
)

EM_CUDA, EM_AMDGPU, EM_INTELGT, EM_BPF = 190, 224, 205, 247


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of file that is foreign on purpose.

    Attributes:
        pattern: where such files are, for `audit.patterns`.
        reason: what they are, for the reader.
        word: finds in the path what the folder says of the machine (a word of `WORDS`): it has to be the
            file's, so that another machine's file in the folder of this platform is still an alarm.
        machines: the machines (e_machine) that such files are for; empty: any.
        below: the pattern counts below folders F only for which F + this path is a file of the image.

    """

    pattern: str
    reason: str
    word: str = ""
    machines: frozenset[int] = frozenset()
    below: str = ""

    @property
    def whatever(self) -> bool:
        """Tell whether a file there may be anything, of the platform's own machine too (FreeBSD's, for one)."""
        return not self.word and not self.machines


#: Each row has a test that the same file outside the pattern is an alarm (test_audit_foreign.py).
ROWS: tuple[Row, ...] = (
    # https://github.com/prebuild/prebuildify: prebuilds/<platform>-<arch>[+<arch>]/<name>.node
    Row(
        "**/prebuilds/{linux,android,freebsd,openbsd,sunos}*-*/**",
        "an npm package's prebuilt add-on for another machine",
        word=r"/prebuilds/[a-z]+-([a-z0-9+]+)/",
    ),
    # debug/elf, debug/dwarf, cmd/nm ... read programs of every machine in their tests
    Row("**/src/**/testdata/**", "test data of the Go tools", below="/src/runtime/runtime.go"),
    # race detector and boringcrypto, one for each machine: src/runtime/race, src/crypto/internal/boring/syso
    Row("**/src/**/*.syso", "an object that Go links for another machine", below="/src/runtime/runtime.go"),
    Row("**", "an eBPF program, run by the kernel", machines=frozenset({EM_BPF})),
    Row("**", "a program for a GPU", machines=frozenset({EM_CUDA, EM_AMDGPU, EM_INTELGT})),
    # https://www.gnu.org/software/grub: <cpu>-<firmware>/*.mod, and the images that they are put into
    Row(
        "**/grub*/{i386,x86_64,arm,arm64,riscv32,riscv64,loongarch64,ia64,sparc64,powerpc,mips,mipsel}-*/"
        "*.{mod,module,img,exec,o}",
        "a module of the boot loader GRUB",
        word=r"/grub[^/]*/([a-z0-9_]+)-[a-z0-9_]+/[^/]+$",
    ),
    # ... and in i386-pc the part that starts 64-bit EFI kernels
    Row("**/grub*/i386-pc/efiemu64.o", "a module of the boot loader GRUB", machines=frozenset({62})),
    # Syslinux's modules: 32-bit, and 64-bit for EFI, on every machine that can prepare a disk
    Row(
        "**/{syslinux,isolinux,extlinux}/**/*.{c32,e32,e64}",
        "a module of the boot loader SYSLINUX",
        machines=frozenset({3, 62}),
    ),
    # https://pypi.org/project/debugpy: its wheel for any platform carries this one
    Row(
        "**/pydevd_attach_to_process/attach_linux_amd64.so",
        "what debugpy attaches to a process with, on amd64 only",
        machines=frozenset({62}),
    ),
    # https://www.npmjs.com/package/onnxruntime-node: bin/napi-v<number>/<system>/<Node's process.arch>
    Row(
        "**/onnxruntime-node/bin/napi-v*/linux/*/**",
        "an npm package's prebuilt add-on for another machine",
        word=r"/napi-v\d+/linux/([a-z0-9]+)/[^/]+$",
    ),
    # https://koffi.dev: build/koffi/<system>_<machine>, up to its version 2
    Row(
        "**/koffi/{linux,musl,freebsd,openbsd}_*/koffi.node",
        "an npm package's prebuilt add-on for another machine",
        word=r"/[a-z]+_([a-z0-9]+)/koffi\.node$",
    ),
    # https://packages.debian.org/bookworm/amd64/valgrind/filelist: tools for each kind of program, and a library
    Row("**/valgrind/*-x86-linux*", "valgrind's part for 32-bit programs", machines=frozenset({3})),
)


def row(path: str, ident: Ident, tree: Tree, rows: tuple[Row, ...] = ROWS) -> Row | None:
    """Return why the file may be foreign, None where nothing on the list says so."""
    return next((row for row in rows if _fits(row, path, ident, tree)), None)


def _fits(row: Row, path: str, ident: Ident, tree: Tree) -> bool:
    if row.machines and ident.machine not in row.machines:
        return False
    if not matches(row.pattern, path):
        return False
    if row.word and ident.machine not in _said(row.word, path):
        return False
    return not row.below or any(tree.at(path[: at.start()] + row.below) for at in re.finditer("/src/", path))


def _said(word: str, path: str) -> set[int | None]:
    found = re.search(word, path)
    return {WORDS.get(part) for part in found[1].split("+")} if found else set()
