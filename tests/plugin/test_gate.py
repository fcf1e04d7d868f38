"""No silent green: a platform that was asked for and proved nothing fails the run, by name; no engine needed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence

import pytest
from projects import WITHOUT, Project

TWO = "--platforms=linux/arm64,linux/s390x"

#: Runs once per platform, and asks no engine for anything.
HERE = """
import pytest

@pytest.fixture
def here(_multiarch_target): return _multiarch_target[1]
"""

SKIPPING = """
import pytest

def test_one(here): pass

def test_two(here):
    if "s390x" in here:
        pytest.skip("no board")
"""

ONE_SKIPPED = """
import pytest

@pytest.mark.skip_platforms("s390x", reason="no board")
def test_one(here): pass
"""


@pytest.fixture(autouse=True)
def _no_engine(told_nobody: Callable[[], bool]) -> None:
    """Prove that what is only counted asks no engine."""


@pytest.fixture(params=[(), ("-n", "2")], ids=["plain", "two-workers"])
def way(request: pytest.FixtureRequest) -> Sequence[str]:
    """Return the options of a run that counts, and of one whose workers do."""
    words: Sequence[str] = request.param
    return words


@pytest.fixture
def counted(project: Project) -> Project:
    """Return a project whose tests run without an engine."""
    project.file("conftest.py", HERE)
    return project


def verdicts(result: pytest.RunResult) -> set[str]:
    """Return the platforms that failed the run."""
    return {
        line.partition("verified[")[2].partition("]")[0]
        for line in result.outlines
        if line.startswith("FAILED multiarch::")
    }


def warnings(result: pytest.RunResult) -> set[str]:
    """Return the platforms that are told not to be verified."""
    text = ": not verified, its tests were deselected"
    return {line.removesuffix(text) for line in result.outlines if line.endswith(text)}


# --- what fails the run


def test_a_platform_whose_every_test_is_skipped_fails_with_the_reasons(
    counted: Project, way: Sequence[str]
) -> None:
    counted.tests(ONE_SKIPPED)
    result = counted.run(TWO, *way)
    assert (result.ret, verdicts(result), warnings(result)) == (1, {"linux/s390x"}, set())
    result.assert_outcomes(passed=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines(
        ["linux/s390x was asked for and nothing was verified on it: every test of it was skipped (1: no board)."]
    )


def test_one_outcome_is_enough(counted: Project, way: Sequence[str]) -> None:
    counted.tests(SKIPPING)
    result = counted.run(TWO, *way)
    assert (result.ret, verdicts(result)) == (0, set())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("assert False", 1),
        ("pytest.xfail('known')", 0),
        ("raise OSError", 1),
    ],
)
def test_a_failure_and_an_expected_one_are_outcomes(body: str, code: int, counted: Project) -> None:
    counted.tests(f"import pytest\ndef test_it(here):\n    {body}\n")
    result = counted.run("--platforms=arm64")
    assert (result.ret, verdicts(result)) == (code, set())


def test_a_setup_that_fails_is_an_outcome_it_is_red_already(counted: Project) -> None:
    counted.tests("import pytest\n@pytest.fixture\ndef bad(here): assert 0\ndef test_it(bad): pass\n")
    result = counted.run("--platforms=arm64")
    assert (result.ret, verdicts(result)) == (1, set())


@pytest.mark.parametrize("text", ["def test_other(): pass\n", ""], ids=["other-tests", "no-tests"])
def test_the_command_line_insists_even_where_no_test_runs_on_a_platform(
    text: str, counted: Project, way: Sequence[str]
) -> None:
    counted.tests(text)
    result = counted.run(TWO, *way)
    assert (result.ret, verdicts(result)) == (1, {"linux/arm64", "linux/s390x"})
    assert "no collected test runs on a platform" in result.stdout.str()


def test_a_marker_that_leaves_nothing_does_not_make_it_green(counted: Project, way: Sequence[str]) -> None:
    counted.tests("import pytest\n@pytest.mark.platforms('riscv64')\ndef test_it(here): pass\n")
    result = counted.run("--platforms=arm64", *way)
    assert (result.ret, verdicts(result)) == (1, {"linux/arm64"})


def test_the_ini_file_insists_once_an_item_was_collected(counted: Project, way: Sequence[str]) -> None:
    counted.ini("multiarch_platforms = arm64\n    s390x\n")
    counted.tests(ONE_SKIPPED)
    result = counted.run(*way)
    assert (result.ret, verdicts(result)) == (1, {"linux/s390x"})


def test_the_ini_file_leaves_a_folder_without_such_tests_alone(counted: Project, way: Sequence[str]) -> None:
    counted.ini("multiarch_platforms = arm64\n    s390x\n")
    counted.tests("def test_other(): pass\n")
    result = counted.run(*way)
    assert (result.ret, verdicts(result), warnings(result)) == (0, set(), set())


SECOND = """
from pytest_multiarch import ImageSpec

def pytest_multiarch_image():
    return ImageSpec({})
"""


def test_each_image_counts_by_itself(counted: Project, way: Sequence[str]) -> None:
    counted.tests("def test_it(here): pass\n")
    counted.file("alpine/conftest.py", SECOND.format("dockerfile='Dockerfile.alpine'"))
    counted.tests(ONE_SKIPPED, "alpine/test_second.py")
    result = counted.run(TWO, "--ignore=alpine/conftest.py", *way)
    assert (result.ret, warnings(result)) == (1, set())
    assert verdicts(result) == {"linux/s390x, Dockerfile.alpine"}
    result.stdout.fnmatch_lines(
        ["linux/s390x, Dockerfile.alpine was asked for and nothing was verified on it: *(1: no board)."]
    )
    result = counted.run(TWO, "-k", "test_it", *way)
    assert (result.ret, verdicts(result)) == (0, set())
    assert warnings(result) == {f"{name}, Dockerfile.alpine" for name in ("linux/arm64", "linux/s390x")}


def test_images_of_one_name_are_told_apart(counted: Project, way: Sequence[str]) -> None:
    for name in ("new", "old"):
        values = f"'.', build_contexts={{'base': 'docker-image://{name}'}}"
        counted.file(f"{name}/conftest.py", SECOND.format(values))
        counted.tests(
            f"import pytest\ndef test_it(here): {'pass' if name == 'new' else 'pytest.skip()'}\n",
            f"{name}/test_{name}.py",
        )
    result = counted.run("--platforms=arm64", "--ignore=new/conftest.py", "--ignore=old/conftest.py", *way)
    (failing,) = verdicts(result) or {""}
    assert failing.startswith("linux/arm64, Dockerfile, ")


# --- what the user left out himself


@pytest.mark.parametrize(
    "words",
    [
        ("-k", "arm64"),
        ("-m", "one"),
        ("--deselect=test_it.py::test_one[linux/s390x]", "--deselect=test_it.py::test_two[linux/s390x]"),
        ("test_it.py::test_one[linux/arm64]",),
    ],
    ids=["by-keyword", "by-marker", "by-deselect", "by-node-id"],
)
def test_what_the_user_deselected_is_a_line_and_no_failure(
    words: Sequence[str], counted: Project, way: Sequence[str]
) -> None:
    counted.ini("markers = one\n")
    counted.tests(
        "import pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def mark(here): pass\n"
        "@pytest.mark.one\n"
        "@pytest.mark.platforms('arm64', 's390x')\n"
        "def test_one(here): pass\n"
        "def test_two(here): pass\n"
    )
    result = counted.run(TWO, *words, *way)
    told = set() if words[0] == "-m" else {"linux/s390x"}
    assert (result.ret, verdicts(result), warnings(result)) == (0, set(), told)


def test_what_the_user_deselected_does_not_excuse_what_was_skipped(counted: Project, way: Sequence[str]) -> None:
    counted.tests(ONE_SKIPPED)
    result = counted.run("--platforms=s390x,arm64", "test_it.py::test_one[linux/s390x]", *way)
    assert (result.ret, verdicts(result), warnings(result)) == (1, {"linux/s390x"}, {"linux/arm64"})


def with_cache(project: Project, *args: str) -> pytest.RunResult:
    words = [word for word in WITHOUT if word != "no:cacheprovider"][1:]
    return project.pytester.runpytest_subprocess(*words, *args, timeout=300)


@pytest.mark.parametrize("option", ["--lf", "--sw"])
def test_the_last_failed_ones_alone_are_the_users_choice(
    option: str, counted: Project, way: Sequence[str]
) -> None:
    if option == "--sw" and way:
        pytest.skip("xdist has no stepwise")
    counted.tests("import os\ndef test_it(here): assert 's390x' not in here or os.path.exists('mended')\n")
    assert with_cache(counted, TWO, *way, *(["--sw"] if option == "--sw" else [])).ret != 0
    counted.file("mended", "")
    result = with_cache(counted, TWO, option, *way)
    assert (result.ret, verdicts(result), warnings(result)) == (0, set(), {"linux/arm64"})
    assert result.parseoutcomes()["passed"] == 1


def test_a_verdict_is_no_test_that_could_run_again(counted: Project, way: Sequence[str]) -> None:
    counted.tests(ONE_SKIPPED)
    assert with_cache(counted, TWO, *way).ret == 1
    cache = counted.path / ".pytest_cache/v/cache/lastfailed"
    assert not cache.exists() or json.loads(cache.read_text()) == {}


# --- what is exempt


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan"])
def test_a_run_that_runs_nothing_says_nothing(option: str, counted: Project, way: Sequence[str]) -> None:
    counted.tests(ONE_SKIPPED)
    result = counted.run(TWO, option, *way)
    assert (result.ret, verdicts(result), warnings(result)) == (0, set(), set())


def test_an_interrupted_run_says_nothing_of_what_it_did_not_reach(counted: Project, way: Sequence[str]) -> None:
    counted.tests("def test_it(here):\n    assert 0\n")
    result = counted.run(TWO, "-x", *way)
    assert result.ret != 0
    assert verdicts(result) == set()


def test_an_interrupt_says_nothing(counted: Project) -> None:
    counted.tests("def test_it(here):\n    raise KeyboardInterrupt\n")
    result = counted.run(TWO)
    assert (result.ret, verdicts(result)) == (2, set())


def test_without_a_word_from_the_user_nothing_is_said(counted: Project) -> None:
    counted.tests("import pytest\n@pytest.mark.skip\ndef test_it(here): pass\n")
    result = counted.run()
    assert (result.ret, verdicts(result)) == (0, set())


# --- how it is told


def test_terminal_junit_and_exit_code_agree(counted: Project, way: Sequence[str]) -> None:
    counted.tests(ONE_SKIPPED)
    result = counted.run(TWO, "--junitxml=junit.xml", "-ra", *way)
    (suite,) = ET.parse(counted.path / "junit.xml").getroot().iter("testsuite")  # noqa: S314 # our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "3",
        "1",
        "0",
        "1",
    )
    (case,) = (case for case in suite.iter("testcase") if case.find("failure") is not None)
    assert (case.get("classname"), case.get("name")) == ("multiarch", "verified[linux/s390x]")
    failure = case.find("failure")
    assert failure is not None
    assert "linux/s390x was asked for and nothing was verified on it" in str(failure.text)
    assert result.ret == 1
    assert "1 failed, 1 passed, 1 skipped" in result.stdout.str()


def test_a_crashed_worker_hides_nothing(counted: Project) -> None:
    counted.tests("import os\ndef test_it(here):\n    os._exit(1)\n")
    result = counted.run("--platforms=arm64", "-n", "2", "--max-worker-restart=0")
    assert result.ret == 1
    assert "crashed" in result.stdout.str()
