"""Whose fault it is, told by words that programs, loaders, engines and emulators really wrote (each seen)."""

from __future__ import annotations

import pytest

from pytest_multiarch.containers.faults import fault, start_error
from pytest_multiarch.errors import (
    CommandFailed,
    ContainerError,
    CpuTooOld,
    EmulatorCrash,
    EngineError,
    ExecFormatError,
    FaultError,
    IllegalInstruction,
    LoaderMissing,
    MultiarchError,
)
from pytest_multiarch.platforms import Platform

#: (exit code, last words) -> the type.
SEEN: dict[str, tuple[int, str, type[FaultError]]] = {
    "shell": (126, "sh: ./tool: Exec format error", ExecFormatError),
    "shell-cannot": (126, "sh: 1: ./tool: Exec format error", ExecFormatError),
    "busybox-runs-it-as-a-script": (
        2,
        "/tool: line 1: \x7fELF\x02\x02: not found\n/tool: syntax error",
        ExecFormatError,
    ),
    "dash-runs-it-as-a-script": (127, "/tool: 1: \x7fELF\x01: not found", ExecFormatError),
    "runc": (1, "exec /start: exec format error", ExecFormatError),
    "runc-old": (
        1,
        "standard_init_linux.go:228: exec user process caused: exec format error",
        ExecFormatError,
    ),
    "qemu-other-class": (
        255,
        "/.../qemu-binfmt/aarch64-binfmt-P: /start: Invalid ELF image for this architecture",
        ExecFormatError,
    ),
    "qemu-other-cpu": (1, "qemu-arm: unable to find CPU model 'cortex-a53'", ExecFormatError),
    "qemu-loader": (
        255,
        "aarch64-binfmt-P: Could not open '/lib/ld-linux-aarch64.so.1': No such file or directory",
        LoaderMissing,
    ),
    "qemu-musl-loader": (
        255,
        "s390x-binfmt-P: Could not open '/lib/ld-musl-s390x.so.1': No such file or directory",
        LoaderMissing,
    ),
    "glibc-library": (
        127,
        "tool: error while loading shared libraries: libssl.so.3: cannot open shared object file: No such file",
        LoaderMissing,
    ),
    "musl-library": (
        127,
        "Error loading shared library libssl.so.3: No such file (needed by tool)",
        LoaderMissing,
    ),
    "musl-symbol": (127, "Error relocating /usr/bin/tool: __sprintf_chk: symbol not found", LoaderMissing),
    "glibc-isa": (127, "Fatal glibc error: CPU does not support x86-64-v2", CpuTooOld),
    "library-isa": (
        127,
        "tool: error while loading shared libraries: libx.so: CPU ISA level is lower than required",
        CpuTooOld,
    ),
    "glibc-isa-s390x": (
        127,
        "Fatal glibc error: CPU lacks VXE support (z14 or later required)",
        CpuTooOld,
    ),
    "glibc-isa-ppc64le": (
        127,
        "Fatal glibc error: CPU lacks ISA 3.00 support (POWER9 or later required)",
        CpuTooOld,
    ),
    "glibc-too-old": (
        1,
        "/app: /lib/aarch64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by /app)",
        LoaderMissing,
    ),
    "python-extension-of-a-newer-glibc": (
        1,
        "ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /site-packages/x.so)",
        LoaderMissing,
    ),
    "go-isa": (
        1,
        "This program can only be run on AMD64 processors with v3 microarchitecture support.",
        CpuTooOld,
    ),
    "qemu-illegal": (
        132,
        "qemu: uncaught target signal 4 (Illegal instruction) - core dumped",
        IllegalInstruction,
    ),
    "native-illegal": (132, "Illegal instruction (core dumped)", IllegalInstruction),
    "illegal-in-silence": (132, "", IllegalInstruction),
    "qemu-crash": (139, "qemu: uncaught target signal 11 (Segmentation fault) - core dumped", EmulatorCrash),
    "qemu-abort": (134, "qemu: uncaught target signal 6 (Aborted) - core dumped", EmulatorCrash),
    "qemu-assertion": (
        134,
        "qemu-aarch64: ../../accel/tcg/cpu-exec.c:928: cpu_exec_setjmp: Assertion `cpu == current_cpu' failed.",
        EmulatorCrash,
    ),
}


@pytest.mark.parametrize("name", SEEN)
def test_each_kind_is_a_type_of_its_own_with_the_evidence(name: str) -> None:
    code, said, kind = SEEN[name]
    found = fault(code, said, cpu="arm1176", emulated=True)
    assert type(found) is kind
    assert found.evidence == said
    assert found.why


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (1, "usage: tool [OPTION]"),
        (2, "tool: /etc/tool.conf: No such file or directory"),
        (126, "sh: ./tool: Permission denied"),
        (127, "sh: tool: not found"),
        (137, ""),
        (139, ""),
        (139, "Segmentation fault"),
        (143, "Terminated"),
    ],
)
def test_a_program_that_fails_by_itself_is_no_fault(code: int, said: str) -> None:
    assert fault(code, said, cpu=None, emulated=True) is None


@pytest.mark.parametrize("code", [0, None])
@pytest.mark.parametrize("name", SEEN)
def test_words_without_a_failure_are_no_fault(name: str, code: int | None) -> None:
    assert fault(code, SEEN[name][1], cpu=None, emulated=True) is None


@pytest.mark.parametrize(
    ("cpu", "emulated", "said"),
    [
        ("arm1176", True, "(it ran on arm1176)"),
        (None, True, "(it ran on the emulator's own CPU)"),
        (None, False, "(it ran on this machine's CPU)"),
    ],
)
def test_an_illegal_instruction_names_the_cpu(cpu: str | None, emulated: bool, said: str) -> None:
    assert said in str(fault(132, "", cpu=cpu, emulated=emulated))


def test_without_an_emulator_a_crash_is_never_the_emulators() -> None:
    said = "qemu: uncaught target signal 11 (Segmentation fault) - core dumped"
    assert not isinstance(fault(139, said, cpu=None, emulated=False), EmulatorCrash)


def test_long_evidence_keeps_its_end() -> None:
    found = fault(1, "x" * 5000 + "\nexec format error", cpu=None, emulated=False)
    assert found is not None
    assert len(found.evidence) == 2000
    assert found.evidence.endswith("exec format error")


def test_all_of_them_are_failed_commands() -> None:
    assert all(issubclass(kind, CommandFailed) for _, _, kind in SEEN.values())


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("Fatal glibc error: CPU lacks VXE support (z14 or later required)", "linux/s390x=z14"),
        ("Fatal glibc error: CPU lacks ISA 3.00 support (POWER9 or later required)", "linux/ppc64le=power9"),
        ("Fatal glibc error: CPU does not support x86-64-v2", "linux/amd64=v2"),
        ("libx.so: CPU ISA level is lower than required", "PLATFORM=LEVEL"),
    ],
)
def test_a_program_that_wants_a_newer_cpu_gets_the_very_option(said: str, level: str) -> None:
    found = fault(127, said, cpu=None, emulated=True)
    assert isinstance(found, CpuTooOld)
    assert f"--multiarch-baseline={level}" in found.do


CREATE = "docker: Error response from daemon: failed to create task for container: failed to create shim task: "


@pytest.mark.parametrize(
    ("code", "said", "kind", "told"),
    [
        (
            125,
            "docker: Error response from daemon: failed to set up container networking: failed to create"
            " endpoint multiarch-1 on network bridge: adding interface veth664f328 to bridge docker0 failed:"
            " Device does not exist",
            EngineError,
            "could not give a container its network",
        ),
        (
            127,
            f"{CREATE}OCI runtime create failed: runc create failed: unable to start container process: error"
            ' during container init: error mounting "/usr/bin/docker-init" to rootfs at "/sbin/docker-init":'
            " stat /usr/bin/docker-init: no such file or directory",
            EngineError,
            "`docker-init` is missing",
        ),
        (
            127,
            'docker: Error response from daemon: exec: "docker-init": executable file not found in $PATH.',
            EngineError,
            "`docker-init` is missing",
        ),
        (125, f"{CREATE}mkdir /run/containerd/x: no space left on device", EngineError, "the disk is full"),
        (
            125,
            "docker: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            EngineError,
            "stopped or restarted",
        ),
        (125, 'time="x" level=error msg="error waiting for container: unexpected EOF"', EngineError, "restarted"),
        (
            125,
            "docker: Error response from daemon: failed to set up container networking: driver failed programming"
            " external connectivity on endpoint x: failed to bind host port for 127.0.0.1:1:"
            " address already in use",
            ContainerError,
            "a port of the host is taken",
        ),
        (
            127,
            f'{CREATE}OCI runtime create failed: exec: "/nothing": stat /nothing: no such file or directory',
            ContainerError,
            "its program is missing in the image",
        ),
        (
            125,
            "docker: Error response from daemon: failed to set up container networking: network nosuch not found",
            ContainerError,
            "exit code 125",
        ),
    ],
)
def test_a_container_that_does_not_start_is_whose_fault_it_is(
    code: int, said: str, kind: type[MultiarchError], told: str
) -> None:
    error = start_error(Platform.parse("linux/arm64"), code, said)
    assert type(error) is kind
    assert told in str(error)
    assert said in str(error)
