"""What is made of a probe's answers: pure decisions, no process is run."""

import pytest

from pytest_multiarch.emulators.emulators import Emulator, look
from pytest_multiarch.emulators.programs import EXIT_CODE, EXIT_CODE_PATH
from pytest_multiarch.emulators.runners import Answer
from pytest_multiarch.platforms import Platform
from pytest_multiarch.process import Finished


def left(code, out=b"", err=b""):
    return Finished(("probe",), code, out, err, 0.01)


def test_the_exit_code_says_whether_it_ran_and_saw_its_name():
    ran = Answer.of(left(EXIT_CODE, b"armv6l\x00rest of the buffer"))
    assert (ran.runs, ran.keeps_name, ran.machine) == (True, True, "armv6l")
    assert not Answer.of(left(EXIT_CODE_PATH, b"armv6l\0")).keeps_name


@pytest.mark.parametrize(
    ("code", "out", "err", "said"),
    [
        (126, b"", b"Exec format error\n", "Exec format error"),
        (0, b"", b"", "exit code 0"),
        (-9, b"", b"", "exit code -9"),
        (1, b"", b"qemu-arm: unable to find CPU model 'x'\n", "unable to find CPU model"),
    ],
)
def test_anything_else_did_not_run(code, out, err, said):
    answer = Answer.of(left(code, out, err))
    assert not answer.runs
    assert said in answer.said


class Qemu:
    """An emulator that knows some CPUs, by what each lets `uname -m` say."""

    def __init__(self, cpus):
        self.cpus, self.asked = cpus, []

    def __call__(self, env):
        self.asked.append(dict(env))
        if "QEMU_VERSION" in env:
            return Answer.of(left(0, b"qemu-arm version 10.0.2\nCopyright\n"))
        cpu = env.get("QEMU_CPU", "max")
        if cpu not in self.cpus:
            return Answer.of(left(1, err=b"unable to find CPU model"))
        return Answer.of(left(EXIT_CODE, self.cpus[cpu].encode() + b"\0"))


def test_the_first_cpu_that_starts_is_taken():
    qemu = Qemu({"b": "armv6l", "c": "armv6l"})
    seen = look(qemu, Platform.parse("arm/v6"), cpus=("a", "b", "c"))
    assert (seen.cpu, seen.refused, seen.version) == ("b", ("a",), "qemu-arm version 10.0.2")
    assert seen.complete
    assert qemu.asked == [{"QEMU_VERSION": "1"}, {"QEMU_CPU": "a"}, {"QEMU_CPU": "b"}]


def test_a_cpu_that_says_another_word_is_not_the_one():
    seen = look(Qemu({"a": "armv7l", "b": "armv6l"}), Platform.parse("arm/v6"), cpus=("a", "b"))
    assert seen.cpu == "b"


def test_without_any_of_them_it_is_the_emulators_default_and_never_an_empty_variable():
    qemu = Qemu({"max": "armv7l"})
    seen = look(qemu, Platform.parse("arm/v6"), cpus=("a", "b"))
    assert (seen.cpu, seen.refused, seen.answer.machine) == (None, ("a", "b"), "armv7l")
    assert qemu.asked[-1] == {}


def test_where_the_version_is_not_heeded_no_cpu_is_chosen():
    asked = []

    def native(env):
        asked.append(env)
        return Answer.of(left(EXIT_CODE, b"x86_64\0"))

    seen = look(native, Platform.parse("386"), cpus=("qemu32",))
    assert (seen.version, seen.cpu, seen.complete, len(asked)) == (None, None, True, 1)


def test_an_emulator_travels_as_json_without_the_constants():
    platform = Platform.parse("arm/v6")
    emulator = Emulator(
        platform.running(emulated=True, baseline=True), "qemu-arm version 10", "arm1176", ("a", "b")
    )
    again = Emulator.from_dict(platform, emulator.as_dict())
    assert again == emulator
    assert again.platform.machines == {"armv6l"}
    assert again.environment == {"QEMU_CPU": "arm1176"}
    assert Emulator(platform, None).environment == {}
