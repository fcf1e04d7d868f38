"""The shipped list: each row excuses its files, and the same file elsewhere is an alarm."""

from __future__ import annotations

import pytest
from audit_samples import CONFIG, REL, File, a_tree, library, link, program

from pytest_multiarch.audit import foreign, rules
from pytest_multiarch.audit.findings import Severity
from pytest_multiarch.audit.foreign import EM_AMDGPU, EM_BPF, EM_CUDA
from pytest_multiarch.audit.patterns import matches
from pytest_multiarch.platforms import Platform

AMD64 = Platform.parse("linux/amd64")
ADDON = library("linux/arm64", soname="")
GO = {"usr/share/go-1.19/src/runtime/runtime.go": File(b"package runtime", 0o644)}


def severities(members, platform=AMD64):
    verdict = rules.judge(a_tree(members), platform, CONFIG)
    return {
        finding.where: finding.severity
        for finding in verdict.findings
        if finding.severity is not Severity.UNVERIFIED
    }


#: (the row's number, where such a file is, the file, what else is in the image, where the same file is an alarm)
ROWS = [
    (
        0,
        "app/node_modules/x/prebuilds/linux-arm64/node.napi.node",
        ADDON,
        {},
        "app/node_modules/x/build/node.napi.node",
    ),
    (
        0,
        "app/node_modules/x/prebuilds/linux-x64+arm64/a.node",
        ADDON,
        {},
        "app/node_modules/x/prebuilds/linux-s390x/a.node",
    ),
    (0, "x/prebuilds/android-arm/a.node", library("arm/v7"), {}, "x/prebuilds/android-arm64/a.node"),
    (
        1,
        "usr/share/go-1.19/src/debug/elf/testdata/x",
        program("s390x"),
        GO,
        "usr/share/other/src/debug/elf/testdata/x",
    ),
    (1, "usr/share/go-1.19/src/testdata/x", program("s390x"), GO, "srv/testdata/x"),
    (
        2,
        "usr/share/go-1.19/src/runtime/race/r.syso",
        program("arm64", type=REL),
        GO,
        "usr/share/go-1.19/race/r.syso",
    ),
    (
        9,
        "app/node_modules/onnxruntime-node/bin/napi-v6/linux/arm64/libonnxruntime.so.1",
        ADDON,
        {},
        "app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1",
    ),
    (
        10,
        "app/node_modules/koffi/build/koffi/linux_armhf/koffi.node",
        library("arm/v7"),
        {},
        "app/node_modules/koffi/build/koffi/linux_arm64/koffi.node",
    ),
    (
        11,
        "usr/libexec/valgrind/memcheck-x86-linux",
        program("386"),
        {},
        "usr/libexec/valgrind/memcheck-amd64-linux",
    ),
    (3, "opt/agent/probe.bpf.o", program(machine=EM_BPF, type=REL), {}, None),
    (4, "opt/cuda/kernel.cubin", program(machine=EM_CUDA), {}, None),
    (4, "opt/rocm/kernel.hsaco", library(machine=EM_AMDGPU), {}, None),
    (5, "usr/lib/grub/i386-pc/ext2.mod", program("386", type=REL), {}, "usr/lib/grub/x86_64-efi/ext2.mod"),
    (5, "boot/grub2/arm64-efi/kernel.img", program("arm64"), {}, "boot/grub2/arm64-efi/tool"),
    (7, "usr/lib/syslinux/modules/efi32/ldlinux.e32", library("386"), {}, "usr/lib/modules/efi32/ldlinux.e32"),
]


@pytest.mark.parametrize(("row", "path", "data", "others", "elsewhere"), ROWS, ids=[row[1] for row in ROWS])
def test_a_row(row, path, data, others, elsewhere):
    found = rules.judge(a_tree({path: data, "bin/own": program(), **others}), AMD64, CONFIG)
    (finding,) = found.of(Severity.FOREIGN)
    assert (finding.where, finding.found) == (f"/{path}", foreign.ROWS[row].reason)
    assert found.passed
    if elsewhere:
        assert severities({elsewhere: data, **others})[f"/{elsewhere}"] is Severity.FAILURE


def test_the_64_bit_part_of_a_32_bit_boot_loader():
    i386 = Platform.parse("linux/386")
    path = "usr/lib/grub/i386-pc/efiemu64.o"
    assert severities({path: program(type=REL)}, i386) == {f"/{path}": Severity.FOREIGN}
    assert severities({"x/efiemu64.o": program(type=REL)}, i386) == {"/x/efiemu64.o": Severity.FAILURE}


def test_go_s_test_data_may_be_anything():
    freebsd = program(interpreter="/libexec/ld-elf.so.1")
    path = "usr/share/go-1.19/src/debug/elf/testdata/gcc-amd64-freebsd-exec"
    assert severities({path: freebsd, **GO}) == {f"/{path}": Severity.FOREIGN}
    assert severities({path: freebsd}) == {f"/{path}": Severity.FAILURE}
    own = "x/prebuilds/linux-x64/tool"
    assert severities({own: freebsd}) == {f"/{own}": Severity.FAILURE}, (
        "what is for this platform has to run on it"
    )


def test_the_library_that_debugpy_carries_wherever_there_is_no_wheel_of_the_platform():
    arm64 = Platform.parse("linux/arm64")
    folder = "usr/lib/python3/site-packages/debugpy/_vendored/pydevd/pydevd_attach_to_process"
    path, other = f"{folder}/attach_linux_amd64.so", "opt/attach_linux_amd64.so"
    assert severities({path: library(soname="")}, arm64) == {f"/{path}": Severity.FOREIGN}
    assert severities({path: library("s390x", soname="")}, arm64) == {f"/{path}": Severity.FAILURE}
    assert severities({other: library(soname="")}, arm64) == {f"/{other}": Severity.FAILURE}


def test_every_row_has_a_test():
    assert {row for row, *_ in ROWS} | {6, 8} == set(range(len(foreign.ROWS)))


def test_a_machine_that_only_another_kernel_part_runs_is_an_alarm_for_others():
    assert severities({"opt/x.o": program("s390x")}) == {"/opt/x.o": Severity.FAILURE}


BPF = program(machine=EM_BPF, type=REL)


def test_on_path_nothing_is_excused():
    assert severities({"usr/bin/tool": BPF}) == {"/usr/bin/tool": Severity.FAILURE}
    assert severities({"opt/tool": BPF, "bin/tool": link("/opt/tool")})["/opt/tool"] is Severity.FAILURE
    assert (
        severities({"opt/tool": BPF, "usr/bin": link("../sbin"), "sbin/tool": BPF})["/sbin/tool"]
        is Severity.FAILURE
    )


def test_what_the_platform_s_files_are_linked_with_is_not_excused():
    addon = {"x/prebuilds/linux-arm64/libx.so": library("arm64", soname="libx.so")}
    user = {"bin/user": program(needed=("libx.so",))}
    assert severities({**addon, **user}) == {"/x/prebuilds/linux-arm64/libx.so": Severity.FAILURE}
    own = {"x/prebuilds/linux-x64/libx.so": library(soname="libx.so")}
    assert severities({**addon, **user, **own}) == {"/x/prebuilds/linux-arm64/libx.so": Severity.FOREIGN}


@pytest.mark.parametrize(
    ("pattern", "path", "is_named"),
    [
        ("/opt/fw/*.elf", "/opt/fw/a.elf", True),
        ("opt/fw/*.elf", "/opt/fw/a.elf", True),
        ("/opt/fw/*.elf", "/opt/fw/b/a.elf", False),
        ("/opt/fw", "/opt/fw/b/a.elf", True),
        ("/opt/fw/", "/opt/fw/b/a.elf", True),
        ("/opt/fw", "/opt/fwx", False),
        ("**/*.elf", "/a.elf", True),
        ("**/*.elf", "/x/y/a.elf", True),
        ("*.elf", "/x/a.elf", False),
        ("/usr/share/qemu/**", "/usr/share/qemu/x/y", True),
        ("/a?c/[xy]/[!z]", "/abc/x/w", True),
        ("/a?c/[xy]/[!z]", "/abc/x/z", False),
        ("/lib/{a,b*}.so", "/lib/bc.so", True),
        ("/lib/{a,b*}.so", "/lib/c.so", False),
        ("/lib/a.so", "/lib/axso", False),
        ("/lib/[", "/lib/[", True),
        ("/lib/(x|y)+", "/lib/(x|y)+", True),
        ("/x\ny", "/x\ny", True),
        ("**", "/anything/at all", True),
    ],
)
def test_patterns(pattern, path, is_named):
    assert matches(pattern, path) is is_named
