"""The zoo: images with one defect each, what every check must say of them, and sound ones beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import programs

#: What stands in for Alpine, or Alpine itself where a registry is reached: it has a shell and `uname`.
ALPINE = "FROM alpine:3.22\nCOPY root/ /\n"
SCRATCH = "FROM scratch\nCOPY root/ /\n"

#: What `runs` says of a program, or its interpreter, that is missing: equal words are told in full only once.
MISSING = r"could not be started"

#: Writes 100 MB of zeros, then exits 0.
FLOOD = """
    mov $1600, %ebx
    1: mov $1, %eax
    mov $1, %edi
    mov $buffer, %esi
    mov $65536, %edx
    syscall
    dec %ebx
    jnz 1b
    mov $60, %eax
    xor %edi, %edi
    syscall
    .comm buffer, 65536
"""


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        platform: what is asked for.
        recipe: its Dockerfile.
        files: puts into a folder what the recipe copies from `root/`.
        red: check -> pattern of what it must say; every other check must pass.
        told: check -> pattern of what a check that passes must say it could not verify.

    """

    platform: str
    recipe: str = ALPINE
    files: Callable[[Path], object] = lambda root: None
    red: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


def script(path: str, text: str, mode: int = 0o755) -> Callable[[Path], object]:
    """Return what writes a script."""

    def write(root: Path) -> None:
        made = root / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        made.chmod(mode)

    return write


def static(
    name: str, path: str = "usr/bin/tool", *linker: str, code: str | None = None
) -> Callable[[Path], object]:
    """Return what writes a static program."""
    return lambda root: programs.static(root / path, name, *linker, code=code)


def says(path: str, words: bytes, status: int = 0) -> Callable[[Path], object]:
    """Return what writes a static program for amd64 that writes these words and ends with that exit code."""
    return static("amd64", path, code=programs.says(words, status))


def _unexecutable(root: Path) -> None:
    programs.static(root / "start", "arm64").chmod(0o644)


def _linked(root: Path, *kept: str, runpath: str = "") -> None:
    """Make /opt/bin/tool, which needs the library libneeded.so, and keep these libraries: paths in the image."""
    programs.library(root / "lib/ld-own.so.1", "arm64", "-soname=ld-linux-own.so.1")
    needed = programs.library(root / "opt/lib/libneeded.so", "arm64")
    words = ["--enable-new-dtags", f"-rpath={runpath}"] if runpath else []
    programs.dynamic(root / "usr/bin/tool", "arm64", "/lib/ld-own.so.1", "--no-as-needed", str(needed), *words)
    for path in kept:
        programs.library(root / path, "arm64")
    if "opt/lib/libneeded.so" not in kept:
        needed.unlink()


def _of_versions(root: Path, linked: str, kept: str) -> None:
    """Make a program that was linked with one version of libversions.so, where another is kept."""
    script = root.with_name("versions")
    programs.library(root / "lib/ld-own.so.1", "s390x", "-soname=ld-linux-own.so.1")

    def library(version: str) -> Path:
        script.write_text(f"{version} {{ global: f; }};\n")
        return programs.library(root / "usr/lib/libversions.so", "s390x", f"--version-script={script}")

    words = ("-rpath=/usr/lib", "--enable-new-dtags", str(library(linked)))
    programs.dynamic(root / "usr/bin/tool", "s390x", "/lib/ld-own.so.1", *words, head=".data\n.quad f\n.text")
    library(kept)


FOREIGN: Mapping[str, Case] = {
    "build-platforms-binary": Case(
        "linux/s390x",
        "FROM --platform=$BUILDPLATFORM alpine:3.22 AS build\n"
        "FROM alpine:3.22\nCOPY --from=build /bin/busybox /usr/local/bin/tool\n",
        red={"elf": r"(?s)failure: /usr/local/bin/tool: .*on PATH, expected code for linux/s390x.*BUILDPLATFORM"},
    ),
    "foreign-library-deep-in-the-tree": Case(
        "linux/arm64",
        files=lambda root: programs.library(
            root / "usr/lib/python3/site-packages/some/package/native.so", "s390x"
        ),
        red={"elf": r"(?s)1 failure.*/site-packages/some/package/native.so: 64-bit big-endian .*EM_S390.*wheel"},
    ),
    "v7-code-in-v6": Case(
        "linux/arm/v6", files=static("arm/v7"), red={"elf": r"/usr/bin/tool: Tag_CPU_arch v7, expected at most v6"}
    ),
    "x86-64-v3-with-the-note": Case(
        "linux/amd64",
        files=static("amd64", "usr/bin/tool", "-z", "x86-64-v3"),
        red={"elf": r"/usr/bin/tool: x86 ISA needed: x86-64-v3, expected at most x86-64-v1"},
    ),
    "x86-64-v3-without-the-note": Case(
        "linux/amd64",
        files=static("amd64", code="vpaddd %ymm0, %ymm0, %ymm0\njmp .\n"),
        told={"elf": r"none says for which CPU.*\d+ not verified"},
    ),
    "go-for-v7-in-v6": Case(
        "linux/arm/v6",
        files=lambda root: programs.go(root / "usr/bin/tool", GOARCH="arm", GOARM="7"),
        red={"elf": r"(?s)/usr/bin/tool: GOARM=7.*TARGETVARIANT"},
    ),
    "go-for-v6-in-v6": Case(
        "linux/arm/v6", files=lambda root: programs.go(root / "usr/bin/tool", GOARCH="arm", GOARM="6")
    ),
    "another-float-abi": Case(
        "linux/arm/v7",
        files=lambda root: programs.library(root / "usr/lib/libs.so", "arm/v7", head=".eabi_attribute 28, 0"),
        red={"elf": r"/usr/lib/libs.so: soft float, expected hard float, as the image's C library"},
    ),
    "32-bit-in-amd64": Case(
        "linux/amd64", files=static("386"), red={"elf": r"1 failure\b(?s:.*)/usr/bin/tool: 32-bit .*EM_386"}
    ),
    "32-bit-in-arm64": Case(
        "linux/arm64", files=static("arm/v7"), red={"elf": r"1 failure\b(?s:.*)/usr/bin/tool: 32-bit .*EM_ARM"}
    ),
    "big-endian-in-little": Case(
        "linux/ppc64le",
        files=static("ppc64"),
        red={"elf": r"/usr/bin/tool: 64-bit big-endian EM_PPC64, on PATH, expected code for linux/ppc64le"},
    ),
    "interpreter-missing": Case(
        "linux/arm64",
        files=lambda root: programs.dynamic(root / "usr/bin/tool", "arm64", "/lib/ld-nowhere.so.1"),
        red={"elf": r"/usr/bin/tool: its interpreter /lib/ld-nowhere.so.1 is not in the image"},
    ),
    "variable-of-another-machine": Case(
        "linux/arm64",
        ALPINE + "ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64\n",
        red={"elf": r"ENV JAVA_HOME: /usr/lib/jvm/java-17-openjdk-amd64, which .*: amd64 is another"},
    ),
    "small-pages": Case(
        "linux/ppc64le",
        files=static("ppc64le", "usr/bin/tool", "-z", "max-page-size=4096"),
        red={
            "elf": r"/usr/bin/tool: its segments are aligned to 4 KiB: kernels for ppc64le have no smaller pages"
        },
    ),
    "name-with-escapes": Case(
        "linux/amd64",
        ALPINE + "RUN mv /usr/bin/tool \"$(printf '/\\033[2Jevil-\\377')\"\n",
        static("s390x"),
        red={"elf": r"failure: /\\x1b\[2Jevil-\\xff: 64-bit big-endian"},
    ),
}

ENTRYPOINTS: Mapping[str, Case] = {
    "interpreter-of-script-missing": Case(
        "linux/arm64",
        ALPINE + 'ENTRYPOINT ["/start"]\n',
        script("start", "#!/usr/bin/nowhere\n"),
        red={"entrypoint": r"/start: its interpreter /usr/bin/nowhere is not in the image", "runs": MISSING},
    ),
    "windows-line-ends": Case(
        "linux/arm64",
        ALPINE + 'ENTRYPOINT ["/start"]\n',
        script("start", "#!/bin/sh\r\n"),
        red={"entrypoint": r"(?s)/bin/sh\\r is not in the image.*Windows line ends", "runs": MISSING},
    ),
    "script-without-interpreter": Case(
        "linux/arm64",
        ALPINE + 'ENTRYPOINT ["/start"]\n',
        script("start", "echo hi\n"),
        red={"entrypoint": r"/start is neither ELF nor begins with `#!`", "runs": "(?i)exec format error"},
    ),
    "not-executable": Case(
        "linux/arm64",
        ALPINE + 'ENTRYPOINT ["/start"]\n',
        _unexecutable,
        red={"entrypoint": r"/start is not executable", "runs": "permission denied"},
    ),
    "missing": Case(
        "linux/arm64",
        'FROM alpine:3.22\nCMD ["server"]\n',
        red={"entrypoint": r"server is not on PATH", "runs": MISSING},
    ),
    "escapes-in-its-name": Case(
        "linux/arm64",
        'FROM alpine:3.22\nENTRYPOINT ["/\\u001b[2Jstart"]\n',
        red={"entrypoint": r"/\\x1b\[2Jstart is not in the image", "runs": MISSING},
    ),
    "wrapped-and-missing": Case(
        "linux/arm64",
        'FROM alpine:3.22\nENTRYPOINT ["env", "MODE=x", "/app/server"]\n',
        red={"entrypoint": r"/app/server, which env starts, is not in the image", "runs": r"exit code 127"},
    ),
    "command-of-a-script-missing": Case(
        "linux/s390x",
        ALPINE + 'ENTRYPOINT ["/start"]\nCMD ["server"]\n',
        script("start", '#!/bin/sh\nset -e\nexec "$@"\n'),
        red={"entrypoint": r"server, which /start starts, is not on PATH", "runs": r"exit code 127"},
    ),
    # The shell says so and ends with 2, as programs do that miss their arguments.
    "script-of-an-interpreter-missing": Case(
        "linux/arm64",
        'FROM alpine:3.22\nENTRYPOINT ["sh", "/app/start.sh"]\n',
        red={"entrypoint": r"/app/start.sh, which sh reads, is not in the image"},
        told={"runs": r"ended by itself with exit code 2: .*start.sh"},
    ),
    "windows-line-ends-behind-an-option": Case(
        "linux/arm64",
        ALPINE + 'ENTRYPOINT ["/start"]\n',
        script("start", "#!/bin/sh -e\r\necho up\r\n"),
        red={"entrypoint": r"(?s)its first line is #!/bin/sh -e\\r.*Windows line ends"},
    ),
    "user-may-not-read-it": Case(
        "linux/arm64",
        ALPINE + 'USER 1000\nENTRYPOINT ["/start"]\n',
        script("start", "#!/bin/sh\necho up\n", 0o711),
        red={"entrypoint": r"/start: may not read it \(mode 711, owner 0:0\); the user is 1000"},
    ),
    "unknown-user": Case(
        "linux/arm64",
        ALPINE + 'USER nobody-here\nENTRYPOINT ["/bin/busybox"]\n',
        red={"entrypoint": r"USER: nobody-here is not in /etc/passwd", "runs": "unable to find user"},
    ),
}

LINKED: Mapping[str, Case] = {
    "library-missing": Case(
        "linux/arm64",
        files=_linked,
        red={"link": r"/usr/bin/tool: needs libneeded.so, which is not in the image; it is on PATH"},
    ),
    "library-where-nobody-looks": Case(
        "linux/arm64",
        files=lambda root: _linked(root, "opt/lib/libneeded.so"),
        told={"link": r"linked with.*; 1 warning"},
    ),
    "older-version-than-linked-with": Case(
        "linux/s390x",
        files=lambda root: _of_versions(root, "OWN_2", "OWN_1"),
        red={"link": r"/usr/bin/tool: needs OWN_2, which /usr/lib/libversions.so lacks \(OWN_1 is its highest\)"},
    ),
    "the-version-linked-with": Case("linux/s390x", files=lambda root: _of_versions(root, "OWN_1", "OWN_1")),
    "library-by-its-runpath": Case(
        "linux/arm64",
        files=lambda root: _linked(root, "opt/lib/libneeded.so", runpath="$ORIGIN/../../opt/lib"),
    ),
}

RUNNING: Mapping[str, Case] = {
    # Without a shell each command is a container of its own: a shell may have an `uname` built in.
    "uname-of-another-machine": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/bin/uname"]\n',
        says("bin/uname", b"armv7l\n"),
        red={"runs": r"`uname -m` says 'armv7l' on linux/amd64: it should say x86_64"},
    ),
    "uname-floods": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/bin/uname"]\n',
        static("amd64", "bin/uname", code=FLOOD),
        red={"runs": r"`uname -m` says '\\x00.{,200}'(?s:.{,300})\Z"},
    ),
    "uname-writes-escapes": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/bin/uname"]\n',
        says("bin/uname", b"\x1b[2J\xff\n"),
        red={"runs": r"`uname -m` says '\\x1b\[2J\\\\xff'"},
    ),
    "dies-at-once": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("amd64", "start", code="mov $60, %eax\nmov $3, %edi\nsyscall\n"),
        red={"runs": r"the image's own program ended with exit code 3 on linux/amd64"},
    ),
    "dies-at-once-emulated": Case(
        "linux/s390x",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("s390x", "start", code="lghi %r2, 3\nsvc 1\n"),
        red={"runs": r"the image's own program ended with exit code 3 on linux/s390x"},
    ),
    "dies-by-a-signal": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("amd64", "start", code="xor %eax, %eax\njmp *%rax\n"),
        red={"runs": r"exit code 139"},
    ),
    # QEMU raises the signal on itself, which the kernel ignores for process 1: the container lives for ever.
    "dies-by-a-signal-emulated": Case(
        "linux/s390x",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("s390x", "start", code="lghi %r1, 0\nl %r2, 0(%r1)\n"),
        red={"runs": r"(?s)under the emulator.*qemu: uncaught target signal 11"},
    ),
    "newer-cpu-at-once": Case(
        "linux/arm/v6",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("arm/v7", "start"),
        red={"elf": "Tag_CPU_arch v7", "runs": r"(?s)newer CPU than the platform's oldest \(it ran on arm1176\)"},
    ),
    "foreign-at-once": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("ppc64", "start"),
        red={"elf": "big-endian EM_PPC64, started by the image", "runs": r"(?i)exec format error"},
    ),
    "last-words-with-escapes": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        says("start", b"\x1b[2J\xff\n", 127),
        red={"runs": r"(?s)ended with exit code 127.*\\x1b\[2J\\xff"},
    ),
    "c-library-wants-a-newer-cpu": Case(
        "linux/amd64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        says("start", b"Fatal glibc error: CPU lacks VXE support (z14 or later required)\n", 127),
        red={"runs": r"(?s)wants a newer CPU than the platform's oldest.*--multiarch-baseline=linux/s390x=z14"},
    ),
    "empty": Case(
        "linux/amd64",
        "FROM scratch\nLABEL is=empty\n",
        red={"elf": "the image holds no file", "runs": r"could not be started"},
    ),
}

SOUND: Mapping[str, Case] = {
    "one-file": Case(
        "linux/arm64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("arm64", "start"),
        told={"runs": r"started \(.*\), machine not asked", "elf": "1 ELF files among 1, "},
    ),
    "one-file-natively": Case("linux/amd64", SCRATCH + 'ENTRYPOINT ["/start"]\n', static("amd64", "start")),
    "lives-for-ever-in-silence": Case(
        "linux/arm64",
        SCRATCH + 'ENTRYPOINT ["/start"]\n',
        static("arm64", "start", code="b ."),
        told={"runs": r"started \(it lives\), machine not asked"},
    ),
    "floods": Case("linux/amd64", SCRATCH + 'ENTRYPOINT ["/start"]\n', static("amd64", "start", code=FLOOD)),
    "script": Case("linux/arm64", ALPINE + 'ENTRYPOINT ["/start"]\n', script("start", "#!/bin/sh\necho hi\n")),
    "script-by-env": Case(
        "linux/arm64", ALPINE + 'ENTRYPOINT ["/start"]\n', script("start", "#!/usr/bin/env -S sh -e\necho hi\n")
    ),
    "shell-form": Case("linux/arm64", "FROM alpine:3.22\nCMD exec sleep 5\n"),
    "wants-arguments": Case(
        "linux/arm64",
        'FROM alpine:3.22\nENTRYPOINT ["env", "grep"]\n',
        told={"runs": r"started \(it ended by itself with exit code \d: .*\), `uname -m` says aarch64"},
    ),
    "script-of-its-owner": Case(
        "linux/arm64",
        ALPINE + 'RUN chown 1000 /start\nUSER 1000\nENTRYPOINT ["/start"]\nCMD ["echo", "up"]\n',
        script("start", '#!/bin/sh\nexec "$@"\n', 0o700),
    ),
    **{
        f"alpine-{name.replace('/', '-')}": Case(f"linux/{name}", "FROM alpine:3.22\n")
        for name in ("386", "amd64", "arm/v6", "arm/v7", "arm64", "ppc64le", "s390x")
    },
}

#: BuildKit takes the 32-bit sibling for a platform that the base image's index lacks, labels the result as it was
#: asked to, and says nothing. `REGISTRY` becomes the address of the registry that has these bases.
BASES: Mapping[str, Case] = {
    "without-arm64": Case(
        "linux/arm64",
        "FROM REGISTRY/base:only-arm-v7\n",
        red={
            "elf": r"(?s)/start: 32-bit little-endian EM_ARM.*no linux/arm64, and BuildKit silently took",
            "runs": r"(?s)another machine.*unable to find CPU model",
        },
    ),
    "without-amd64": Case(
        "linux/amd64",
        "FROM REGISTRY/base:only-386\n",
        red={"elf": r"(?s)/start: 32-bit little-endian EM_386.*no linux/amd64, and BuildKit silently took"},
    ),
    "pinned-to-another-platform": Case(
        "linux/s390x",
        "FROM --platform=linux/arm64 REGISTRY/base:arm64\n",
        red={
            "elf": r"(?s)/start: 64-bit little-endian EM_AARCH64.*BUILDPLATFORM",
            "runs": r"(?s)another machine.*unable to find CPU model",
        },
    ),
}

CASES: Mapping[str, Case] = {
    f"{group}-{name}": case
    for group, cases in {
        "foreign": FOREIGN,
        "entrypoint": ENTRYPOINTS,
        "linked": LINKED,
        "running": RUNNING,
        "base": BASES,
        "sound": SOUND,
    }.items()
    for name, case in cases.items()
}

CHECKS = ("config", "entrypoint", "elf", "link", "runs")
