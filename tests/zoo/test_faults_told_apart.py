"""A program that can't run raises an error whose type says whose fault it is, on the real engine."""

from __future__ import annotations

from pathlib import Path

import programs
import pytest
import runs
from engines import TestEngine
from runs import Run

#: The note of a program that wants a CPU which doesn't exist yet (x86-64 psABI, GNU_PROPERTY_X86_ISA_1_NEEDED).
FUTURE = """
.section .note.gnu.property, "a"
.balign 8
.long 4, 16, 5
.asciz "GNU"
.long 0xc0008002, 4, 0x20, 0
.text
"""

DOCKERFILE = "FROM alpine:3.22\nCOPY root/ /\n"

TESTS = """
import pathlib
import pytest
from pytest_multiarch import errors

emulated = pytest.mark.platforms("linux/arm/v6")
native = pytest.mark.platforms("linux/amd64")


def fault_of(container, command, **options):
    with pytest.raises(errors.MultiarchError) as caught:
        container.run(command, check=True, **options)
    return caught.value


@emulated
def test_illegal_instruction(container):
    fault = fault_of(container, ["/v7"])
    assert type(fault) is errors.IllegalInstruction
    assert "arm1176" in str(fault)
    assert "uncaught target signal 4" in fault.evidence


@emulated
def test_loader_missing(container):
    fault = fault_of(container, "/dynamic; exit $?")
    assert type(fault) is errors.LoaderMissing
    assert "/lib/ld-nowhere.so.1" in fault.evidence


@emulated
def test_emulator_crash(container):
    fault = fault_of(container, ["/crash"])
    assert type(fault) is errors.EmulatorCrash
    assert "uncaught target signal 11" in fault.evidence


@emulated
def test_foreign_program_by_the_shell(container):
    assert type(fault_of(container, ["/foreign"])) is errors.ExecFormatError


@native
def test_library_missing(container):
    fault = fault_of(container, ["/needs"])
    assert type(fault) is errors.LoaderMissing
    assert "libmissing.so" in fault.evidence


@native
@pytest.mark.skipif({musl}, reason="musl's loader doesn't look at the note")
def test_cpu_too_old(container):
    fault = fault_of(container, ["/future"])
    assert type(fault) is errors.CpuTooOld
    assert "CPU ISA level is lower than required" in fault.evidence


@native
def test_foreign_program_as_the_images_own(container_factory):
    with pytest.raises(errors.ContainerDied) as caught:
        container_factory.start(["/foreign"], ready="never", timeout=30)
    assert "exec format error" in caught.value.evidence


@native
def test_out_of_memory(fresh_container):
    fault = fault_of(fresh_container, ["sh", "-c", "x=$(yes | head -c 200000000); echo $?"])
    assert type(fault) is errors.OutOfMemory


def test_container_died(fresh_container):
    fault = fault_of(fresh_container, "kill -9 -1; kill -9 1; sleep 5")
    assert type(fault) is errors.ContainerDied


def test_a_corpse_is_no_false(fresh_container):
    file = fresh_container.host.file("/etc/passwd")
    assert file.exists
    fault_of(fresh_container, "kill -9 -1; kill -9 1; sleep 5")
    with pytest.raises(errors.ContainerDied):
        assert not file.exists
    with pytest.raises(errors.ContainerDied):
        assert not fresh_container.host.file("/nowhere").exists


def test_deadline_passed(fresh_container):
    fault = fault_of(fresh_container, "while :; do :; done", timeout=1)
    assert type(fault) is errors.DeadlinePassed
    assert "while :; do :; done" in str(fault)


@emulated
def test_crashes_once(container):
    mark = pathlib.Path("crashed")
    if not mark.exists():
        mark.touch()
        container.run(["/crash"], check=True)


@emulated
def test_always_illegal(container):
    with pathlib.Path("tries").open("a") as tries:
        tries.write("x")
    container.run(["/v7"], check=True)
"""

#: Test -> what becomes of it.
NATIVE = ("library_missing", "cpu_too_old", "foreign_program_as_the_images_own", "out_of_memory")
EMULATED = ("illegal_instruction", "loader_missing", "emulator_crash", "foreign_program_by_the_shell")
BOTH = ("container_died", "a_corpse_is_no_false", "deadline_passed")


@pytest.fixture(scope="module")
def told(engine: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what became of every fault on one engine."""
    folder = tmp_path_factory.mktemp(f"faults-{engine.store}") / "faults"
    runs.lay_out(folder, {}, {}, "")
    root = folder / "root"
    programs.static(root / "v7", "arm/v7")
    programs.static(root / "crash", "arm/v6", code="mov r0, #0\nldr r0, [r0]\n")
    programs.dynamic(root / "dynamic", "arm/v6", "/lib/ld-nowhere.so.1")
    programs.static(root / "foreign", "ppc64")
    musl = not engine.base_images
    loader = "/lib/ld-musl-x86_64.so.1" if musl else "/lib64/ld-linux-x86-64.so.2"
    missing = programs.library(folder / "libmissing.so", "amd64")
    programs.dynamic(root / "needs", "amd64", loader, "--no-as-needed", str(missing))
    programs.dynamic(root / "future", "amd64", loader, head=FUTURE)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "test_it.py").write_text(TESTS.replace("{musl}", str(musl)))
    contexts = [f"multiarch_build_contexts = {name}={place}" for name, place in _alpine(engine)]
    runs.ini(folder, *contexts, "multiarch_run_args = --memory=100m", "    --memory-swap=100m")
    words = ("--platforms=linux/amd64,linux/arm/v6", "test_it.py")
    return runs.run(folder, engine, *runs.options(*words, "--reruns=1", "--only-rerun=EmulatorCrash"))


def _alpine(engine: TestEngine) -> list[tuple[str, str]]:
    return [pair for pair in engine.base_images.items() if pair[0].startswith("alpine")]


@pytest.mark.parametrize(
    "node",
    [
        *(f"{name}[linux/amd64]" for name in (*NATIVE, *BOTH)),
        *(f"{name}[linux/arm/v6]" for name in (*EMULATED, *BOTH)),
    ],
)
def test_each_raises_a_type_of_its_own(node: str, told: Run) -> None:
    assert f"test_it.py::test_{node}" in told.outcomes, told.terminal + told.errors
    outcome = told.outcomes[f"test_it.py::test_{node}"]
    if outcome.outcome == "skipped":
        pytest.skip(outcome.text)
    assert outcome.outcome == "passed", outcome.text


def test_a_retry_takes_the_types_name(told: Run) -> None:
    assert told.outcomes["test_it.py::test_crashes_once[linux/arm/v6]"].outcome == "passed"
    assert (told.folder / "crashed").exists()


def test_no_other_type_is_tried_again(told: Run) -> None:
    assert told.outcomes["test_it.py::test_always_illegal[linux/arm/v6]"].outcome == "failed"
    assert (Path(told.folder) / "tries").read_text() == "x"
