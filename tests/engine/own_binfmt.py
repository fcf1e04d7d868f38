"""What is done about entries that are missing or lie; test_emulators.py runs this in a binfmt_misc of its own.

Alone it would change the machine's: it refuses to.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.emulators import NOT_QEMU, Emulators
from pytest_multiarch.emulators.programs import probe
from pytest_multiarch.emulators.runners import in_chroot
from pytest_multiarch.errors import EmulatorError
from pytest_multiarch.platforms import KNOWN, Platform

if os.readlink("/proc/self/ns/user") == os.environ.get(
    "MULTIARCH_TEST_OUTER_NS", os.readlink("/proc/self/ns/user")
):
    pytest.skip("not in a user namespace of its own", allow_module_level=True)

ARM64 = Platform.parse("arm64")
MIPS = Platform.parse("mips64le")


class ThisKernel:
    """An engine that would run containers on this kernel, and has none to offer for anything else."""

    shares_kernel, platform, labels, scratch = True, Platform.parse("amd64"), (), None

    def call(self, *args, **_):
        raise EmulatorError("no container is started here", why=" ".join(args[:2]))


@pytest.fixture(autouse=True)
def _empty():
    for entry in binfmt.entries():
        binfmt._write(binfmt.FOLDER / entry.name, b"-1")
    binfmt._write(binfmt.FOLDER / "status", b"1")


@pytest.fixture
def engine():
    return ThisKernel()


def qemu(platform):
    return next(binfmt.emulators(platform))


def write(name, platform, interpreter, flags):
    """Register what somebody else would."""
    line = binfmt.line(name, platform.elf, str(interpreter)).decode()
    binfmt._write(binfmt.FOLDER / "register", f"{line.rpartition(':')[0]}:{flags}".encode())


def names():
    return {entry.name for entry in binfmt.entries()}


def registered(platform, engine):
    """Let `auto` do its work, and return what it found and left."""
    emulator = Emulators(engine, "auto", "x").need(platform)
    return emulator, {entry.name: entry for entry in binfmt.entries()}


def test_a_missing_entry_is_registered_from_the_hosts_qemu(engine):
    emulator, left = registered(ARM64, engine)
    assert left["multiarch-arm64"].flags == "POCF"
    assert emulator.version.startswith("qemu-aarch64 version")
    assert emulator.cpu == "cortex-a53"
    assert emulator.environment == {"QEMU_CPU": "cortex-a53"}
    assert emulator.platform.machines == {"aarch64"}
    assert emulator.notes[0] == f"registered {qemu(ARM64)} as multiarch-arm64"


def test_binfmt_misc_is_mounted_where_it_is_not(engine, tmp_path):
    assert not binfmt.enabled(tmp_path)
    assert Emulators(engine, "auto", "x", folder=tmp_path).need(ARM64).cpu == "cortex-a53"
    assert binfmt.enabled(tmp_path)
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_every_platform_can_be_made_to_run_on_its_oldest_cpu(platform, engine):
    emulator, _ = registered(platform, engine)
    if platform.may_run_natively_on(engine.platform):
        assert (emulator.version, emulator.cpu, emulator.environment) == (None, None, {})
        assert "x86_64" in emulator.platform.machines
    else:
        assert emulator.cpu == platform.cpus[0]
        assert emulator.platform.machines == {platform.baseline_machine}


def test_the_platforms_of_one_architecture_share_an_entry(engine):
    emulators = Emulators(engine, "auto", "x")
    found = [emulators.need(Platform.parse(f"arm/{v}")) for v in ("v5", "v6", "v7")]
    assert names() == {"multiarch-arm"}
    assert [set(e.platform.machines) for e in found] == [{"armv5tel"}, {"armv6l"}, {"armv7l"}]


def test_an_entry_that_works_is_left_alone(engine):
    write("qemu-aarch64", ARM64, qemu(ARM64), "POCF")
    emulator, left = registered(ARM64, engine)
    assert set(left) == {"qemu-aarch64"}
    assert not any("registered" in note for note in emulator.notes)


def dynamic(folder):
    """Return a dynamically linked program, which is what a distribution's plain qemu-user often is."""
    program = shutil.copy(shutil.which("env"), folder / "qemu-aarch64")
    assert not binfmt.is_static(Path(program))
    return program


@pytest.mark.parametrize("flags", ["", "P", "OC"])
def test_an_entry_without_f_lies(engine, flags):
    write("qemu-aarch64", ARM64, qemu(ARM64), flags)
    emulator, left = registered(ARM64, engine)
    assert left["qemu-aarch64"].flags.replace("O", "") == flags.replace("O", "")
    assert left["multiarch-arm64"].flags == "POCF"
    assert emulator.cpu == "cortex-a53"


def test_an_entry_whose_emulator_is_gone_lies(engine, tmp_path):
    write("qemu-aarch64", ARM64, tmp_path / "gone", "")
    assert set(registered(ARM64, engine)[1]) == {"qemu-aarch64", "multiarch-arm64"}


def test_a_dynamically_linked_emulator_lies_even_with_f(engine, tmp_path):
    write("qemu-aarch64", ARM64, dynamic(tmp_path), "F")
    assert set(registered(ARM64, engine)[1]) == {"qemu-aarch64", "multiarch-arm64"}


def test_a_switched_off_entry_is_as_good_as_none_and_stays_off(engine):
    write("qemu-aarch64", ARM64, qemu(ARM64), "POCF")
    binfmt._write(binfmt.FOLDER / "qemu-aarch64", b"0")
    _, left = registered(ARM64, engine)
    assert not left["qemu-aarch64"].enabled
    assert left["multiarch-arm64"].enabled


def test_an_entry_without_p_loses_argv0_and_gets_a_better_one(engine):
    write("qemu-aarch64", ARM64, qemu(ARM64), "F")
    _, left = registered(ARM64, engine)
    assert left["qemu-aarch64"].flags == "F"
    assert set(left) == {"qemu-aarch64", "multiarch-arm64"}


@pytest.mark.parametrize(
    ("flags", "says"), [("F", ["lacks P", "lacks C"]), ("POF", ["lacks C"]), ("OCF", ["lacks P"]), ("POCF", [])]
)
def test_what_a_foreign_entry_lacks_is_noted_where_nothing_may_be_registered(engine, flags, says):
    write("qemu-mips64el", MIPS, qemu(MIPS), flags)
    notes = Emulators(engine, "require", "x").need(MIPS).notes
    assert [any(word in note for note in notes) for word in says] == [True] * len(says)
    assert len(notes) == len(says)
    assert names() == {"qemu-mips64el"}


@pytest.mark.parametrize(
    ("flags", "gone", "says"),
    [
        ("", False, "without F containers don't find the emulator"),
        ("", True, "the emulator is gone"),
        ("F", None, "the emulator is dynamically linked"),
        ("POCF", "off", "it is switched off"),
    ],
)
def test_require_says_what_is_wrong_with_the_entry(engine, tmp_path, flags, gone, says):
    interpreter = {True: tmp_path / "gone", None: dynamic(tmp_path)}.get(gone, qemu(ARM64))
    write("qemu-aarch64", ARM64, interpreter, flags)
    if gone == "off":
        binfmt._write(binfmt.FOLDER / "qemu-aarch64", b"0")
    if gone is True:
        says = "without F"  # the first fault is enough
    with pytest.raises(EmulatorError, match="linux/arm64 does not run here") as caught:
        Emulators(engine, "require", "x").need(ARM64)
    assert says in caught.value.evidence
    assert "--multiarch-binfmt=auto" in caught.value.do
    assert names() == {"qemu-aarch64"}


def test_require_registers_nothing(engine):
    with pytest.raises(EmulatorError, match="registers none") as caught:
        Emulators(engine, "require", "x").need(ARM64)
    assert "Exec format error" in caught.value.evidence
    assert names() == set()


def test_never_does_not_look(engine):
    emulator = Emulators(engine, "never", "x").need(ARM64)
    assert (emulator.version, emulator.cpu, names()) == (None, None, set())
    assert "not looked at" in emulator.notes[0]


def test_binfmt_misc_that_is_switched_off_whole_is_said(engine):
    write("qemu-aarch64", ARM64, qemu(ARM64), "POCF")
    binfmt._write(binfmt.FOLDER / "status", b"0")
    with pytest.raises(EmulatorError) as caught:
        Emulators(engine, "auto", "x").need(ARM64)
    assert "echo 1 >" in caught.value.evidence
    assert names() == {"qemu-aarch64"}, "what did not help is taken back"


def test_without_a_static_emulator_the_image_is_tried_and_both_are_told(engine):
    with pytest.raises(EmulatorError) as caught:
        Emulators(engine, "auto", "x", search=()).need(ARM64)
    assert "no static qemu-aarch64" in caught.value.evidence
    assert "no container is started here" in caught.value.evidence
    assert "--multiarch-binfmt-image" in caught.value.do


def test_a_failure_is_remembered(engine):
    emulators = Emulators(engine, "require", "x")
    for _ in range(2):
        with pytest.raises(EmulatorError):
            emulators.need(ARM64)
        write("late", ARM64, qemu(ARM64), "POCF") if not names() else None


def test_an_entry_that_goes_during_the_run_is_registered_by_the_next(engine):
    emulators = Emulators(engine, "auto", "x")
    emulators.need(ARM64)
    binfmt.unregister(name="multiarch-arm64")
    assert emulators.need(ARM64).cpu == "cortex-a53", "what was seen holds for a run; containers say `exec format`"
    with in_chroot(probe(ARM64)) as run:
        assert run({}).said == "Exec format error"
    assert Emulators(engine, "auto", "x").need(ARM64).notes[0].startswith("registered ")
    assert names() == {"multiarch-arm64"}


def test_undo_removes_ours_alone(engine):
    write("qemu-aarch64", ARM64, qemu(ARM64), "F")
    write("somebody-multiarch-arm", Platform.parse("arm"), qemu(Platform.parse("arm")), "POCF")
    emulators = Emulators(engine, "auto", "x")
    emulators.need(ARM64)
    emulators.need(MIPS)
    assert emulators.unregister() == ["multiarch-arm64", "multiarch-mips64le"]
    assert names() == {"qemu-aarch64", "somebody-multiarch-arm"}
    assert emulators.unregister() == []


def test_an_older_entry_of_ours_that_broke_is_replaced(engine, tmp_path):
    write("multiarch-arm64", ARM64, tmp_path / "gone", "")
    assert registered(ARM64, engine)[1]["multiarch-arm64"].interpreter == str(qemu(ARM64))


def test_the_default_cpu_is_the_emulators_own(engine):
    found = Emulators(engine, "auto", "x", cpu_policy="default").need(Platform.parse("arm/v6"))
    assert (found.cpu, found.environment) == (None, {})
    assert found.platform.machines == {"armv7l", "armv8l"}
    assert not any("default CPU" in note for note in found.notes)


def test_a_raised_baseline_is_probed_on_its_own(engine):
    platform = Platform.parse("ppc64le")
    emulators = Emulators(engine, "auto", "x")
    assert [emulators.need(p).cpu for p in (platform, platform.at("power9"))] == ["power8", "power9"]


def test_a_baseline_that_the_emulator_lacks_is_noted(engine):
    raised = replace(MIPS, cpus=("no-such-cpu", "5KEf"))
    assert (
        "runs on 5KEf, since this emulator has no no-such-cpu" in Emulators(engine, "auto", "x").need(raised).notes
    )
    none = replace(MIPS, cpus=("no-such-cpu",))
    assert any(
        "default CPU, since it has no no-such" in note for note in Emulators(engine, "auto", "x").need(none).notes
    )


def test_an_inherited_cpu_is_not_taken_for_the_probes(engine, monkeypatch):
    monkeypatch.setenv("QEMU_CPU", "nonsense")
    monkeypatch.setenv("QEMU_VERSION", "1")
    assert registered(ARM64, engine)[0].cpu == "cortex-a53"


def test_an_emulator_that_is_not_qemu_has_no_cpus_to_choose_from(engine):
    # On a machine that can't run it itself, whatever runs it without heeding QEMU_VERSION is no QEMU.
    engine.platform = Platform.parse("riscv64")
    emulator = Emulators(engine, "auto", "x").need(Platform.parse("386"))
    assert (emulator.version, emulator.cpu) == (NOT_QEMU, None)


def test_a_user_without_rights_probes_by_a_user_namespace(engine, monkeypatch):
    write("qemu-aarch64", ARM64, qemu(ARM64), "POCF")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Emulators(engine, "require", "x").need(ARM64).cpu == "cortex-a53"


def test_prune_removes_our_entries_and_nobody_elses(tmp_path):
    binfmt.register(ARM64, qemu(ARM64))
    write("qemu-mips64el", MIPS, qemu(MIPS), "POCF")
    done = subprocess.run(
        [Path(sys.executable).with_name("pytest-multiarch"), "prune", "--binfmt"],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "removed binfmt entry multiarch-arm64\n" in done.stdout
    assert names() == {"qemu-mips64el"}
