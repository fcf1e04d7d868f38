"""The rules of the `elf` check: one image with one defect each, and sound ones."""

from __future__ import annotations

import pytest
from audit_samples import CONFIG, REL, File, a_tree, ar, library, link, program, zipped

from pytest_multiarch.audit import baseline, machines, rules
from pytest_multiarch.audit.baseline import Fit
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity, Verdict
from pytest_multiarch.platforms import KNOWN, Platform

SOFT, HARD = 0x5000200, 0x5000400


def judge(members, platform="linux/amd64", patterns=(), config=CONFIG, level="") -> Verdict:
    known = Platform.parse(platform)
    return rules.judge(a_tree(members), known.at(level) if level else known, config, patterns)


def failures(*args, **kwargs) -> dict[str, str]:
    return {finding.where: finding.found for finding in judge(*args, **kwargs).of(Severity.FAILURE)}


def warnings(*args, **kwargs) -> dict[str, str]:
    return {finding.where: finding.found for finding in judge(*args, **kwargs).of(Severity.WARNING)}


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_a_platform_s_own_programs_pass(platform):
    members = {
        "bin/static": program(platform),
        "bin/dynamic": program(platform, interpreter="/lib/ld.so.1", needed=("libc.so.6",)),
        "lib/ld.so.1": library(platform, "ld.so.1"),
        "lib/libc.so.6": library(platform, "libc.so.6", interpreter="/lib/ld.so.1"),
        "lib/x.a": ar({"x.o/": program(platform, type=REL)}),
        "lib/modules/x.ko": program(platform, type=REL),
        "etc/passwd": File(b"root", 0o644),
    }
    verdict = judge(members, str(platform))
    assert verdict.passed, verdict.text()
    assert not verdict.of(Severity.WARNING)
    assert verdict.subject.startswith("5 ELF files among 7, ")


@pytest.mark.parametrize("platform", KNOWN, ids=str)
@pytest.mark.parametrize("other", KNOWN, ids=str)
def test_another_platform_s_program_is_red_wherever_it_is(platform, other):
    expected = set() if machines.of(platform) == machines.of(other) else {"/opt/a/b/c/x", "/opt/y.so", "/z.o"}
    members = {
        "opt/a/b/c/x": program(other),
        "opt/y.so": File(library(other), 0o644),
        "z.o": program(other, type=REL),
    }
    assert set(failures({"bin/own": program(platform), **members}, str(platform))) == expected


def test_32_bits_in_64_and_the_other_byte_order():
    assert failures({"x32": program(bits=32)}) == {"/x32": "32-bit little-endian EM_X86_64"}
    assert failures({"be": program("ppc64le", order="big", flags=1)}, "ppc64le") == {
        "/be": "64-bit big-endian EM_PPC64"
    }


def test_the_flags_of_another_abi():
    assert failures({"elfv1": program("ppc64le", flags=1)}, "ppc64le") == {"/elfv1": "e_flags 0x1"}
    assert failures({"oabi": program("arm/v7", flags=0x4000000)}, "arm/v7") == {"/oabi": "e_flags 0x4000000"}
    assert not failures({"unset": program("arm/v7", flags=0)}, "arm/v7")


class TestLikelyCause:
    def cause(self, members, platform="linux/arm64", path="/app/x"):
        return next(finding.cause for finding in judge(members, platform).findings if finding.where == path)

    def test_everything_is_of_the_build_machine(self):
        assert "final stage uses --platform=$BUILDPLATFORM" in self.cause(
            {"app/x": program(), "bin/sh": program()}
        )

    @pytest.mark.parametrize(("platform", "sibling"), [("linux/arm64", "arm/v7"), ("linux/amd64", "386")])
    def test_everything_is_of_the_32_bit_sibling(self, platform, sibling):
        members = {"app/x": program(sibling), "bin/sh": program(sibling)}
        assert f"index has no {platform}" in self.cause(members, platform)

    def test_a_go_program_among_the_right_ones(self):
        members = {"app/x": program(go=("GOARCH=amd64",)), "bin/sh": program("arm64")}
        assert "ARG TARGETARCH is not declared" in self.cause(members)

    def test_a_wheel_s_library(self):
        path = "usr/lib/python3/site-packages/x.so"
        assert "fetched" in self.cause({path: library(), "bin/sh": program("arm64")}, path=f"/{path}")

    def test_a_copied_program_and_a_copied_library(self):
        assert "$TARGETARCH" in self.cause({"app/x": program(), "bin/sh": program("arm64")})
        assert "a library copied" in self.cause(
            {"app/x.so": library(), "bin/sh": program("arm64")}, path="/app/x.so"
        )


class TestLoader:
    MUSL, GLIBC = "/lib/ld-musl-x86_64.so.1", "/lib64/ld-linux-x86-64.so.2"

    def test_missing(self):
        verdict = judge({"x": program(interpreter=self.GLIBC)})
        assert verdict.findings[0].found == f"its interpreter {self.GLIBC} is not in the image"
        assert "no C library" in verdict.findings[0].cause

    def test_the_other_libc(self):
        musl, libc = (
            {self.MUSL[1:]: library(soname="libc.musl-x86_64.so.1")},
            {"lib/libc.so.6": library(soname="libc.so.6")},
        )
        assert "image has musl" in judge({"x": program(interpreter=self.GLIBC), **musl}).findings[0].cause
        assert "image has glibc" in judge({"x": program(interpreter=self.MUSL), **libc}).findings[0].cause

    def test_found_through_links(self):
        usr = {
            "lib64": link("usr/lib64"),
            "usr/lib64/ld-linux-x86-64.so.2": link("../lib/ld.so"),
            "usr/lib/ld.so": library(),
        }
        assert not failures({"x": program(interpreter=self.GLIBC), **usr})

    def test_a_link_to_nowhere_and_a_text(self):
        assert failures({"x": program(interpreter="/ld"), "ld": link("/nowhere")})
        assert failures({"x": program(interpreter="/ld"), "ld": b"text"})
        assert failures({"x": program(interpreter="ld.so"), "ld.so": link("ld.so")})

    def test_a_library_s_is_for_starting_the_library(self):
        assert not failures({"libc.so.6": library(soname="libc.so.6", interpreter=self.GLIBC)})

    def test_a_root_below_the_root_has_its_own(self):
        members = {"srv/chroot/bin/sh": program(interpreter="/lib/ld.so"), "srv/chroot/lib/ld.so": library()}
        assert not failures(members)
        assert failures({**members, "bin/sh": program(interpreter="/lib/ld.so")}).keys() == {"/bin/sh"}


class TestConvention:
    def image(self, libc, **others):
        return {
            "lib/ld-linux.so.3": library("arm/v6", "ld-linux.so.3", flags=libc),
            "lib/libc.so.6": library("arm/v6", "libc.so.6", flags=libc),
            **{name: File(data) for name, data in others.items()},
        }

    @pytest.mark.parametrize("libc", [SOFT, HARD])
    def test_soft_and_hard_float_are_both_sound(self, libc):
        assert not failures(self.image(libc, x=library("arm/v6", flags=libc)), "arm/v6")

    def test_another_than_the_image_s_libc(self):
        found = judge(self.image(SOFT, x=library("arm/v6", flags=HARD)), "arm/v6").of(Severity.FAILURE)
        assert [(finding.where, finding.found) for finding in found] == [("/x", "hard float")]
        assert found[0].expected == "soft float, as the image's C library"

    def test_by_the_attribute_where_the_flags_say_nothing(self):
        assert failures(self.image(SOFT, x=library("arm/v6", flags=0x5000000, arm={28: 1})), "arm/v6")
        assert not failures(self.image(SOFT, x=library("arm/v6", flags=0x5000000, arm={6: 6})), "arm/v6")
        assert not failures(self.image(SOFT, x=library("arm/v6", flags=0x5000000, arm={28: 3})), "arm/v6")

    def test_static_programs_and_objects_are_their_own(self):
        others = {"x": program("arm/v6", flags=HARD), "o": program("arm/v6", flags=HARD, type=REL)}
        assert not failures(self.image(SOFT, **others), "arm/v6")

    def test_an_image_with_both(self):
        both = {
            **self.image(SOFT),
            "lib/ld-linux-armhf.so.3": library("arm/v6", "ld-linux-armhf.so.3", flags=HARD),
        }
        assert not failures({**both, "x": library("arm/v6", flags=HARD)}, "arm/v6")

    def test_an_image_without_a_libc(self):
        assert not failures({"x": library("arm/v6", flags=HARD)}, "arm/v6")

    def test_riscv(self):
        members = {"lib/libc.so.6": library("riscv64", "libc.so.6", flags=5), "x": library("riscv64", flags=3)}
        assert failures(members, "riscv64") == {"/x": "single float"}


def number(arch: str) -> int:
    return baseline.ARM_ARCH.index(arch)


class TestCpu:
    @pytest.mark.parametrize(
        ("platform", "runs", "dies"),
        [
            ("arm/v5", ["v4T", "v5TE", "v5TEJ"], ["v6", "v6K", "v6-M", "v7"]),
            ("arm/v6", ["v5TE", "v6", "v6K", "v6KZ", "v6-M", "v6S-M"], ["v6T2", "v7", "v7E-M", "v8-A"]),
            ("arm/v7", ["v6KZ", "v6T2", "v7", "v6-M"], ["v7E-M", "v8-A", "v9-A"]),
        ],
    )
    def test_arm_is_no_ladder(self, platform, runs, dies):
        for arch in runs:
            verdict = judge({"x": program(platform, arm={6: number(arch)})}, platform)
            assert verdict.passed, arch
            assert "; 1 built for" in verdict.subject
        for arch in dies:
            assert failures({"x": program(platform, arm={6: number(arch)})}, platform) == {
                "/x": f"Tag_CPU_arch {arch}"
            }

    def test_an_architecture_of_the_future_is_newer(self):
        assert failures({"x": program("arm/v7", arm={6: 60})}, "arm/v7") == {"/x": "Tag_CPU_arch 60"}

    def test_fp_and_simd_tags_say_nothing(self):
        assert not failures({"x": program("arm/v6", arm={6: 7, 10: 8, 12: 3, 44: 2})}, "arm/v6")

    def test_a_library_may_choose_at_run_time(self):
        v7 = library("arm/v6", arm={6: 10})
        assert warnings({"lib/x.so": v7}, "arm/v6") == {"/lib/x.so": "Tag_CPU_arch v7"}
        assert not failures({"lib/x.so": v7}, "arm/v6")

    @pytest.mark.parametrize("folder", ["lib/neon/vfp", "lib/vfp", "usr/lib/glibc-hwcaps/x86-64-v3"])
    def test_folders_chosen_by_the_loader_are_silent(self, folder):
        verdict = judge({f"{folder}/x.so": library("arm/v6", arm={6: 10})}, "arm/v6")
        assert verdict.findings == ()

    def test_objects_and_debug_files_are_not_run(self):
        v7 = {"x.o": program("arm/v6", arm={6: 10}, type=REL), "usr/lib/debug/x": program("arm/v6", arm={6: 10})}
        assert judge(v7, "arm/v6").findings == ()

    @pytest.mark.parametrize(
        ("level", "isa", "dies"),
        [("", 1, False), ("", 3, True), ("", 4, True), ("v2", 2, False), ("v2", 7, True), ("v4", 15, False)],
    )
    def test_the_x86_note(self, level, isa, dies):
        assert bool(failures({"x": program(isa=isa)}, level=level)) is dies

    def test_the_x86_note_of_a_library(self):
        members = {"lib/x.so": library(isa=4, soname="x.so")}
        assert warnings(members) == {"/lib/x.so": "x86 ISA needed: x86-64-v3"}
        assert failures({**members, "bin/user": program(needed=("x.so",))}) == {
            "/lib/x.so": "x86 ISA needed: x86-64-v3"
        }

    def test_the_note_proves_only_that_ld_so_lets_it_start(self):
        verdict = judge({"x": program(isa=1)})
        assert verdict.passed
        assert [finding.where for finding in verdict.of(Severity.UNVERIFIED)] == ["/x"]
        assert "none says for which CPU" in verdict.subject

    @pytest.mark.parametrize(
        ("platform", "level", "setting", "dies"),
        [
            ("arm/v5", "", "GOARM=5", False),
            ("arm/v5", "", "GOARM=6", True),
            ("arm/v6", "", "GOARM=6", False),
            ("arm/v6", "", "GOARM=6,softfloat", False),
            ("arm/v6", "", "GOARM=7", True),
            ("arm/v7", "", "GOARM=7", False),
            ("amd64", "", "GOAMD64=v1", False),
            ("amd64", "", "GOAMD64=v2", True),
            ("amd64", "v3", "GOAMD64=v3", False),
            ("amd64/v2", "", "GOAMD64=v2", False),
            ("amd64/v2", "", "GOAMD64=v3", True),
            ("386", "", "GO386=sse2", False),
            ("386", "", "GO386=softfloat", False),
            ("arm64", "", "GOARM64=v8.0", False),
            ("arm64", "", "GOARM64=v8.0,lse", True),
            ("arm64", "", "GOARM64=v8.2", True),
            ("ppc64le", "", "GOPPC64=power8", False),
            ("ppc64le", "", "GOPPC64=power9", True),
            ("ppc64le", "power9", "GOPPC64=power9", False),
            ("ppc64le", "power9", "GOPPC64=power10", True),
            ("riscv64", "", "GORISCV64=rva20u64", False),
            ("riscv64", "", "GORISCV64=rva22u64", True),
            ("riscv64", "rva22", "GORISCV64=rva22u64", False),
            ("mips64le", "", "GOMIPS64=hardfloat", False),
            ("amd64", "", "GOAMD64=v9", True),
        ],
    )
    def test_go_s_own_word(self, platform, level, setting, dies):
        verdict = judge({"x": program(platform, go=("CGO_ENABLED=0", setting))}, platform, level=level)
        assert verdict.passed is not dies
        if dies:
            assert verdict.findings[0].found == setting
        else:
            assert "; 1 built for" in verdict.subject

    def test_with_cgo_go_s_word_is_not_all(self):
        verdict = judge({"x": program(go=("CGO_ENABLED=1", "GOAMD64=v1"))})
        assert verdict.of(Severity.UNVERIFIED)
        assert failures({"x": program(go=("CGO_ENABLED=1", "GOAMD64=v3"))})

    @pytest.mark.parametrize(
        ("arch", "level", "says"),
        [
            ("rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0_zicsr2p0_zifencei2p0_zmmul1p0", "", ""),
            ("rv64i2p1_m2p0_ziccamoa1p0_ziccif1p0_ziccrse1p0", "", ""),
            ("rv64gc", "", ""),
            ("rv64i2p1_m2p0_zba1p0_v1p0", "", "Tag_RISCV_arch with v, zba"),
            ("rv64i2p1_m2p0_zba1p0", "rva22", ""),
            ("rv64i2p1_v1p0", "rva22", "Tag_RISCV_arch with v"),
            ("rv64i2p1_v1p0_zba1p0", "rva23", ""),
        ],
    )
    def test_riscv_s_extensions(self, arch, level, says):
        assert failures({"x": program("riscv64", riscv=arch)}, "riscv64", level=level).get("/x", "") == says

    def test_what_has_no_evidence_is_counted_never_verified(self):
        members = {f"bin/{index}": program("s390x") for index in range(30)}
        (finding,) = judge(members, "s390x").findings
        assert (finding.severity, finding.number, finding.where) == (Severity.UNVERIFIED, 30, "/bin/0")

    def test_newer_evidence_wins(self):
        found = elf_of(program("arm/v6", arm={6: 6}, go=("CGO_ENABLED=0", "GOARM=7")))
        assert baseline.fit(found, Platform.parse("arm/v6")).fit is Fit.NEWER


def elf_of(data):
    return next(elf for _, elf in a_tree({"x": data}).elves())


class TestArchives:
    def test_a_static_library_for_another_machine_is_a_warning(self):
        members = {"lib/x.a": ar({"a.o/": program(type=REL), "b.o/": program("arm64", type=REL)})}
        assert warnings(members) == {"/lib/x.a: b.o": "64-bit little-endian EM_AARCH64 (linux/arm64)"}
        assert judge(members).passed

    def test_a_wheel_for_another_machine_is_a_warning(self):
        assert set(warnings({"x.whl": zipped({"x.so": library("arm64"), "y.so": library("arm64")})})) == {
            "/x.whl: x.so"
        }

    def test_a_jar_for_every_machine_is_counted(self):
        verdict = judge({"x.jar": zipped({"x64/x.so": library(), "arm/x.so": library("arm64")})})
        assert not verdict.of(Severity.WARNING)
        assert verdict.of(Severity.FOREIGN)[0].number == 1

    def test_what_can_t_be_read_is_not_verified(self):
        assert judge({"x.whl": zipped({"x.so": library()}, 12)}).of(Severity.UNVERIFIED)


class TestPatterns:
    def test_what_the_user_names_is_foreign_on_purpose(self):
        members = {"opt/fw/a.elf": program("arm/v7"), "opt/fw/b.elf": program("arm/v7"), "bin/x": program()}
        verdict = judge(members, patterns=["/opt/fw/*.elf"])
        assert verdict.passed
        (finding,) = verdict.of(Severity.FOREIGN)
        assert (finding.where, finding.number) == ("/opt/fw/a.elf", 2)

    def test_the_user_s_word_holds_for_every_rule_and_on_path(self):
        newer = {"usr/bin/x": program(isa=4), "usr/bin/y": program("arm64"), "usr/bin/z": b"\x7fELF, not really"}
        assert len(failures(newer)) == 3
        assert judge(newer, patterns=["/usr/bin/?"]).passed

    def test_a_pattern_that_matches_nothing_is_reported(self):
        assert warnings({"x": program()}, patterns=["/x", "/typo/**"]) == {
            "multiarch_foreign_files": "/typo/** matches no ELF file and no archive"
        }


class TestDamage:
    def test_what_only_begins_like_elf(self):
        data = b"\x7fELF is the magic"
        assert failures({"bin/x": data}) == {"/bin/x": "begins like an ELF file and is none"}
        assert judge({"x.txt": File(data, 0o644)}).of(Severity.UNVERIFIED)[0].where == "/x.txt"

    def test_a_file_cut_off(self):
        cut = program(interpreter="/lib/ld.so", needed=("libc.so.6",))[:-10]
        assert "it ends at byte" in failures({"bin/x": cut, "lib/ld.so": library()})["/bin/x"]
        assert "it ends at byte" in warnings({"lib/x.so": File(library()[:-10], 0o644)})["/lib/x.so"]

    def test_an_image_without_files(self):
        assert failures({}) == {"/": "the image holds no file"}

    def test_an_image_of_one_file(self):
        assert judge({"app": program()}).passed
        assert (
            judge({"data": File(b"1", 0o644)}).of(Severity.UNVERIFIED)[0].found == "no ELF file: nothing to verify"
        )


def test_what_is_not_seen_is_said():
    last = judge({"bin/x": program()}).text().splitlines()[-1]
    assert last.startswith("  not seen, the engine's own hide them: /.dockerenv, /dev, /etc/hostname")


def test_what_the_image_starts_has_no_excuse():
    config = Config("linux", "amd64", argv=("/opt/probe",))
    found = failures({"opt/probe": program(machine=247)}, config=config)
    assert found["/opt/probe"].endswith(", started by the image")
