"""The probe programs: what the cross assemblers make of their source, and what they do when they run."""

import os
import shutil
import struct
import subprocess

import pytest

from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.programs import EXIT_CODE, NAME, PROGRAMS, probe
from pytest_multiarch.platforms import KNOWN

#: GNU as for each target, told the oldest instruction set, and the package that Debian has it in.
ASSEMBLERS = {
    "arm": ("arm-linux-gnueabi-as -march=armv5t", "binutils-arm-linux-gnueabi"),
    "aarch64": ("aarch64-linux-gnu-as", "binutils-aarch64-linux-gnu"),
    "i386": ("i686-linux-gnu-as -march=i386", "binutils-i686-linux-gnu"),
    "x86_64": ("x86_64-linux-gnu-as", "binutils-x86-64-linux-gnu"),
    "ppc64le": ("powerpc64le-linux-gnu-as -mpower8", "binutils-powerpc64le-linux-gnu"),
    "s390x": ("s390x-linux-gnu-as -march=z900", "binutils-s390x-linux-gnu"),
    "riscv64": ("riscv64-linux-gnu-as -march=rv64i -mabi=lp64", "binutils-riscv64-linux-gnu"),
    "loongarch64": ("loongarch64-linux-gnu-as", "binutils-loongarch64-linux-gnu"),
    "mips64el": ("mips64el-linux-gnuabi64-as -mips64r2", "binutils-mips64el-linux-gnuabi64"),
}

#: Debian 12 has no assembler for it; later releases do.
SOMETIMES_MISSING = {"loongarch64"}


def text_of(obj):
    """Return the `.text` section of an object file, of either class and byte order."""
    order, wide = "<" if obj[5] == 1 else ">", obj[4] == 2
    (start,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", obj, 40 if wide else 32)
    size, count, names = struct.unpack_from(f"{order}3H", obj, 58 if wide else 46)
    row = f"{order}IIQQQQ" if wide else f"{order}6I"
    rows = [struct.unpack_from(row, obj, start + size * number) for number in range(count)]
    strings = rows[names][4]
    for name, _, _, _, offset, length in rows:
        if obj[strings + name :].startswith(b".text\0"):
            return obj[offset : offset + length]
    raise AssertionError("no .text")


@pytest.mark.parametrize("target", PROGRAMS)
def test_the_bytes_are_what_the_assembler_makes_of_the_listed_source(target, tmp_path):
    (program, *flags), package = ASSEMBLERS[target][0].split(), ASSEMBLERS[target][1]
    if shutil.which(program) is None:
        if os.environ.get("CI") and target not in SOMETIMES_MISSING:
            pytest.fail(f"no {program}: apt install {package}")
        pytest.skip(f"NOT CHECKED: no {program} (Debian: apt install {package})")
    obj = tmp_path / "probe.o"
    source = PROGRAMS[target].source.encode()
    subprocess.run([program, *flags, "-o", obj, "-"], input=source, check=True)
    made, code = text_of(obj.read_bytes()), bytes.fromhex(PROGRAMS[target].code)
    assert made[: len(code)] == code
    assert len(made) - len(code) < 16, "more than the section's padding"


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_the_file_is_small_and_static(platform, tmp_path):
    program = tmp_path / NAME
    program.write_bytes(probe(platform))
    assert len(probe(platform)) < 180
    assert binfmt.is_static(program)


@pytest.mark.parametrize("platform", KNOWN, ids=str)
def test_it_says_the_machine_on_every_cpu_that_is_in_the_table(platform, tmp_path):
    emulator = shutil.which(f"qemu-{platform.qemu}") or shutil.which(f"qemu-{platform.qemu}-static")
    if emulator is None:
        if os.environ.get("CI"):
            pytest.fail(f"no qemu-{platform.qemu}: apt install qemu-user")
        pytest.skip(f"NOT CHECKED: no qemu-{platform.qemu}")
    program = tmp_path / NAME
    program.write_bytes(probe(platform))
    program.chmod(0o755)

    def run(*cpu):
        env = {key: value for key, value in os.environ.items() if not key.startswith("QEMU_")}
        left = subprocess.run([emulator, *cpu, "-0", NAME, program], capture_output=True, env=env, timeout=30)
        return left.returncode, left.stdout.split(b"\0")[0].decode(), left.stderr.decode()

    code, machine, _ = run()
    assert (code, machine in platform.default_machines) == (EXIT_CODE, True), machine
    runs = {cpu: run("-cpu", cpu) for cpu in platform.cpus}
    started = {cpu: said for cpu, said in runs.items() if said[0] == EXIT_CODE}
    assert started, runs
    # Silent: a warning on every program's standard error would make a mess of every test.
    assert set(started.values()) == {(EXIT_CODE, platform.baseline_machine, "")}


@pytest.mark.parametrize(
    ("platform", "level"), [(p, level) for p in KNOWN for level, cpus in p.levels.items() if cpus], ids=str
)
def test_a_raised_baseline_has_a_cpu_that_starts(platform, level, tmp_path):
    test_it_says_the_machine_on_every_cpu_that_is_in_the_table(platform.at(level), tmp_path)
