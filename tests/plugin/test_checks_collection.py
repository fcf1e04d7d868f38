"""Where the built-in checks are collected, under which names, and when not at all; no engine needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from projects import WITHOUT, Project, one_paragraph

CHECKS = ("config", "entrypoint", "elf", "link", "runs")
S390X = "--platforms=linux/s390x"


@pytest.fixture(autouse=True)
def _no_engine(told_nobody: Callable[[], bool]) -> None:
    """Give collecting an engine that doesn't answer."""


@pytest.fixture
def image(project: Project) -> Project:
    """Return a project with an image, and a folder of tests beside it."""
    project.file("Dockerfile", "FROM scratch\n")
    project.file("tests/test_it.py", "def test_it(): pass\n")
    return project


def checks(ids: Sequence[str]) -> list[str]:
    return [name for name in ids if not name.endswith("test_it")]


def all_of(home: str, platform: str = "linux/s390x", names: Sequence[str] = CHECKS) -> set[str]:
    return {f"{home}::{name}[{platform}]" for name in names}


# --- which


def test_without_a_word_from_the_user_there_are_none(image: Project, told_nobody: Callable[[], bool]) -> None:
    assert image.ids() == ["tests/test_it.py::test_it"]
    assert image.ids(".") == ["tests/test_it.py::test_it"]
    assert told_nobody()


def test_each_platform_gets_each_check_without_one_test_written(project: Project) -> None:
    project.file("Dockerfile", "FROM scratch\n")
    ids = project.ids("--platforms=s390x,arm64")
    assert set(ids) == all_of("Dockerfile") | all_of("Dockerfile", "linux/arm64")
    assert len(ids) == 2 * len(CHECKS)


def test_the_ini_files_platforms_are_a_word_too(image: Project) -> None:
    image.ini("multiarch_platforms = s390x\n")
    assert set(checks(image.ids())) == all_of("Dockerfile")


def test_a_published_images_are_under_the_ini_file_with_one_more(image: Project) -> None:
    image.ini("")
    ids = image.ids(S390X, "--multiarch-image=registry.invalid/image:1")
    assert set(checks(ids)) == all_of("tox.ini", names=(*CHECKS, "index"))


def test_without_an_ini_file_a_published_images_are_under_a_name_of_their_own(image: Project) -> None:
    ids = image.ids(S390X, "--multiarch-image=registry.invalid/image:1")
    assert set(checks(ids)) == all_of("image", names=(*CHECKS, "index"))


def test_the_list_of_checks_is_an_ini_value(image: Project) -> None:
    image.ini("multiarch_checks = elf, runs\n")
    assert set(checks(image.ids(S390X))) == all_of("Dockerfile", names=("elf", "runs"))


def test_an_empty_list_is_one_of_no_checks(image: Project) -> None:
    image.ini("multiarch_checks =\nmultiarch_platforms =\n")
    assert image.ids(S390X) == ["tests/test_it.py::test_it"]
    assert image.ids() == ["tests/test_it.py::test_it"]


@pytest.mark.parametrize("option", ["--multiarch-dockerfile", "--multiarch-context"])
def test_what_is_made_at_an_address_has_checks_below_the_ini_file(option: str, image: Project) -> None:
    image.ini("")
    assert set(checks(image.ids(S390X, f"{option}=https://host.invalid/file"))) == all_of("tox.ini")


def test_a_folder_with_a_bracket_is_collected_from_within(
    image: Project, monkeypatch: pytest.MonkeyPatch, mode: Sequence[str]
) -> None:
    image.file("[x]/Dockerfile", "FROM scratch\n")
    image.file("[x]/tests/test_it.py", "def test_it(): pass\n")
    image.file("[x]/pytest.ini", "[pytest]\n")
    by_name = image.look(S390X, "[x]")
    assert "pytest can't collect [x]: in an argument's path it takes [ for a test's parameter" in one_paragraph(
        by_name
    )
    monkeypatch.chdir(image.path / "[x]")
    for ini in ("", "testpaths = tests\n"):
        image.file("[x]/pytest.ini", f"[pytest]\n{ini}")
        command = [sys.executable, "-m", "pytest", *WITHOUT, "-v", S390X, *mode]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert f"{len(CHECKS)} errors" in done.stdout, done.stdout + done.stderr  # no engine answers
        assert "1 passed" in done.stdout


def test_a_check_that_nobody_knows_is_one_sentence(image: Project) -> None:
    image.ini("multiarch_checks = elf, runns\n")
    result = image.look(S390X)
    assert result.ret == 4
    assert "'runns'" in "".join(result.errlines)
    assert "runs" in "".join(result.errlines)


@pytest.mark.parametrize(
    "setting", ["python_functions = check_*", "python_files = check_*.py", "python_classes = X"]
)
def test_what_the_users_own_tests_are_called_is_no_matter(setting: str, image: Project) -> None:
    image.ini(setting + "\n")
    assert set(checks(image.ids(S390X))) == all_of("Dockerfile")


# --- where


@pytest.mark.parametrize("argument", [".", "tests/..", "Dockerfile", "./Dockerfile"])
def test_they_are_collected_when_the_dockerfile_lies_under_an_argument(argument: str, image: Project) -> None:
    assert set(checks(image.ids(S390X, argument))) == all_of("Dockerfile")


def test_they_are_not_when_it_lies_outside_of_the_arguments(image: Project) -> None:
    assert image.ids(S390X, "tests") == ["tests/test_it.py::test_it"]
    assert image.ids(S390X, "tests/test_it.py::test_it") == ["tests/test_it.py::test_it"]


def test_they_are_when_nothing_was_named_and_testpaths_leave_it_out(image: Project) -> None:
    image.ini("testpaths = tests\n")
    ids = image.ids(S390X)
    assert set(checks(ids)) == all_of("Dockerfile")
    assert "tests/test_it.py::test_it" in ids
    assert checks(image.ids(S390X, "tests")) == []


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 8.4 collects nothing but `tests` of `. tests`")
def test_testpaths_that_hold_it_collect_them_once(image: Project) -> None:
    image.ini("testpaths = . tests\n")
    assert sorted(checks(image.ids(S390X))) == sorted(all_of("Dockerfile"))


@pytest.mark.parametrize("folder", ["images", "build", ".docker"])  # pytest goes into the first one only
def test_a_dockerfile_by_option_wherever_it_is(folder: str, image: Project) -> None:
    image.file(f"{folder}/inner/Containerfile", "FROM scratch\n")
    if folder != "images":
        image.file(f"{folder}/test_not_mine.py", "def test_not_mine(): pass\n")
        image.file(f"{folder}/inner/test_not_mine.py", "def test_not_mine(): pass\n")
    ids = image.ids(S390X, f"--multiarch-dockerfile={folder}/inner/Containerfile")
    assert sorted(checks(ids)) == sorted(all_of(f"{folder}/inner/Containerfile"))
    assert "tests/test_it.py::test_it" in ids


def test_naming_the_dockerfile_is_a_word_from_the_user(image: Project) -> None:
    # native, as nobody named a platform; there is no engine here that could say which that is
    assert set(image.ids("Dockerfile")) == all_of("Dockerfile", "native")


def test_from_a_folder_below_the_dockerfile_is_found_by_the_rule(image: Project) -> None:
    image.ini("")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(image.path / "tests")
        ids = image.ids(S390X, "--rootdir", str(image.path))
    assert {Path(name.partition("::")[0]).name for name in checks(ids)} <= {"Dockerfile"}


HOOK = """
from pathlib import Path
from pytest_multiarch import ImageSpec

def pytest_multiarch_image():
    return ImageSpec(context=Path(__file__).parent)
"""


def test_a_second_image_by_conftest_has_checks_of_its_own(image: Project) -> None:
    image.file("second/Dockerfile", "FROM scratch\n")
    image.file("second/conftest.py", HOOK)
    assert set(checks(image.ids(S390X))) == all_of("Dockerfile") | all_of("second/Dockerfile")
    assert set(checks(image.ids(S390X, "second"))) == all_of("second/Dockerfile")


NAMES = """
from pytest_multiarch import ImageSpec

def pytest_multiarch_image():
    return ImageSpec({})
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["plain", "two-workers"])
def test_an_image_that_the_root_conftest_names_is_the_one(image: Project, workers: Sequence[str]) -> None:
    image.ini("testpaths = tests\n")
    image.file("docker/Dockerfile.alpine", "FROM scratch\n")
    image.file("conftest.py", NAMES.format("dockerfile='docker/Dockerfile.alpine'"))
    ids = image.ids(S390X)
    assert set(checks(ids)) == all_of("docker/Dockerfile.alpine")
    assert "tests/test_it.py::test_it" in ids
    result = image.run(S390X, *workers)
    assert "not found" not in result.stdout.str() + result.stderr.str()
    result.assert_outcomes(passed=1, errors=5)  # no engine answers


def test_a_hook_that_raises_is_told_where_its_folder_is_collected(image: Project) -> None:
    image.file("conftest.py", "def pytest_multiarch_image(): return 1 / 0\n")
    result = image.run(S390X)
    assert "INTERNALERROR" not in result.stdout.str()
    assert "1 / 0" in result.stdout.str()
    assert result.ret == 2


def test_the_file_that_the_root_conftest_names_may_be_where_pytest_does_not_go(image: Project) -> None:
    image.ini("")
    image.file("build/Containerfile", "FROM scratch\n")
    image.file("conftest.py", NAMES.format("dockerfile='build/Containerfile'"))
    assert sorted(checks(image.ids(S390X))) == sorted(all_of("build/Containerfile"))
    assert set(image.ids("build/Containerfile")) == all_of("build/Containerfile", "native")


@pytest.mark.parametrize(
    "values",
    [
        "dockerfile='Dockerfile.alpine'",
        "context='https://git.invalid/app.git'",
        "dockerfile='tests/alpine/build/Dockerfile'",
        "target='small'",
        "reference='registry.invalid/image:1'",
    ],
    ids=["outside", "remote", "unvisited", "stage", "published"],
)
def test_what_a_folders_conftest_names_has_checks_below_it_where_pytest_misses_its_file(
    values: str, image: Project
) -> None:
    for name in ("Dockerfile.alpine", "tests/alpine/build/Dockerfile"):
        image.file(name, "FROM scratch\n")
    image.ini("")
    image.file("tests/alpine/conftest.py", NAMES.format(values))
    image.file("tests/alpine/inner/test_more.py", "def test_it(): pass\n")
    names = (*CHECKS, "index") if "reference" in values else CHECKS
    second = all_of("tests/alpine/conftest.py", names=names)
    assert sorted(checks(image.ids(S390X))) == sorted(all_of("Dockerfile") | second)
    assert sorted(checks(image.ids(S390X, "tests/alpine"))) == sorted(second)
    assert checks(image.ids(S390X, "tests/alpine/inner")) == []
    elf = "tests/alpine/conftest.py::elf[linux/s390x]"
    assert image.ids(S390X, elf) == [elf]


def test_a_dockerfile_that_nobody_is_about_is_no_image(image: Project) -> None:
    image.file("other/Dockerfile", "FROM scratch\n")
    assert set(checks(image.ids(S390X))) == all_of("Dockerfile")


# --- how they are chosen


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-k", "elf"], {"Dockerfile::elf[linux/s390x]", "Dockerfile::elf[linux/arm64]"}),
        (["-k", "elf and s390x"], {"Dockerfile::elf[linux/s390x]"}),
        (["Dockerfile::elf[linux/s390x]"], {"Dockerfile::elf[linux/s390x]"}),
        (["Dockerfile::elf"], {"Dockerfile::elf[linux/s390x]", "Dockerfile::elf[linux/arm64]"}),
        (
            ["--deselect=Dockerfile::elf", "--deselect=Dockerfile::runs", "-k", "s390x"],
            {f"Dockerfile::{check}[linux/s390x]" for check in ("config", "entrypoint", "link")},
        ),
    ],
    ids=["keyword", "keywords", "node-id", "node-id-of-all-platforms", "deselect"],
)
def test_they_are_chosen_like_any_test(words: list[str], expected: set[str], image: Project) -> None:
    assert set(image.ids("--platforms=s390x,arm64", *words)) == expected


def test_by_a_marker_that_a_conftest_gives_them(image: Project) -> None:
    image.ini("markers = slow\n")
    image.file(
        "conftest.py",
        "import pytest\n"
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        if item.name.startswith('runs'): item.add_marker('slow')\n",
    )
    assert image.ids(S390X, "-m", "slow") == ["Dockerfile::runs[linux/s390x]"]
    assert "Dockerfile::runs[linux/s390x]" not in image.ids(S390X, "-m", "not slow")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["plain", "two-workers"])
def test_the_last_failed_ones_run_again(workers: Sequence[str], image: Project) -> None:
    image.ini("multiarch_checks = elf, runs\n")
    words = [word for word in WITHOUT if word != "no:cacheprovider"][1:]
    first = image.pytester.runpytest_subprocess(*words, S390X, *workers, "Dockerfile::elf[linux/s390x]")
    first.assert_outcomes(errors=1)
    again = image.pytester.runpytest_subprocess(*words, S390X, "--lf", "--collect-only", "-q")
    assert [line for line in again.outlines if "::" in line] == ["Dockerfile::elf[linux/s390x]"]


def test_other_tests_and_checks_of_one_platform_lie_side_by_side(image: Project) -> None:
    image.file("tests/test_more.py", "def test_more(platform): pass\n")
    ids = [name for name in image.ids("--platforms=s390x,arm64") if "[" in name]
    platforms = [name.partition("[")[2] for name in ids]
    assert platforms == sorted(platforms, key=platforms.index)
    assert len(ids) == 2 * (len(CHECKS) + 1)


def test_hooks_see_real_functions(image: Project) -> None:
    image.file(
        "conftest.py",
        "import pytest\n"
        "def pytest_collection_finish(session):\n"
        "    print('kinds', sorted({type(item).__name__ for item in session.items}))\n",
    )
    result = image.look(S390X, "--collect-only")
    assert "kinds ['Function']" in result.outlines
