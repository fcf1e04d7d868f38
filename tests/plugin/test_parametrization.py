"""Which tests run for which platforms, under which names, in which order. Nothing here needs an engine."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from projects import Project

TWO = "--platforms=linux/arm/v7,linux/arm64"


@pytest.fixture(autouse=True)
def _no_engine(told_nobody: Callable[[], bool]) -> None:
    """Prove that collecting for platforms that are named asks no engine."""


def test_ids_are_the_canonical_names(project: Project) -> None:
    project.tests("def test_it(platform): pass")
    assert project.ids("--platforms=armhf,aarch64") == [
        "test_it.py::test_it[linux/arm/v7]",
        "test_it.py::test_it[linux/arm64]",
    ]


@pytest.mark.parametrize("fixture", ["platform", "container", "fresh_container", "container_factory", "mine"])
def test_every_way_to_need_a_platform_counts(fixture: str, project: Project) -> None:
    project.tests(f"""
import pytest

@pytest.fixture
def mine(container): return container

def test_it({fixture}): pass
""")
    assert len(project.ids(TWO)) == 2


OF_A_SESSION = ("platform", "container", "multiarch_image", "multiarch_emulator")
OF_A_TEST = ("fresh_container", "container_factory")

NEEDS = """
import pytest
from pytest_multiarch.suite import needs_image

def pytest_collection_finish(session):
    for item in session.items:
        print("needs", item.name, needs_image(item))

@pytest.fixture{scope}
def {name}({name}): return {name}
"""


@pytest.mark.parametrize(
    ("fixture", "scope"),
    [
        *((name, "(scope='session')") for name in OF_A_SESSION),
        *((name, "") for name in (*OF_A_SESSION, *OF_A_TEST)),
    ],
)
def test_what_overrides_a_fixture_needs_what_that_needs(fixture: str, scope: str, project: Project) -> None:
    project.file("conftest.py", NEEDS.format(name=fixture, scope=scope))
    project.tests(f"def test_it({fixture}): pass")
    image = fixture not in ("platform", "multiarch_emulator")
    found = [line for line in project.look("--collect-only", "-q", TWO).outlines if line.startswith("needs")]
    assert found == [f"needs test_it[linux/{name}] {image}" for name in ("arm/v7", "arm64")]


def test_what_overrides_a_fixture_of_the_users_own_does_too(project: Project, mode: tuple[str, ...]) -> None:
    project.file(
        "conftest.py",
        """
import pytest

@pytest.fixture(scope="session")
def here(_multiarch_target): return _multiarch_target[1]

@pytest.fixture(scope="session")
def app(here): return here
""",
    )
    override = "import pytest\n@pytest.fixture(scope='session')\ndef app(app): return app\n"
    project.file("tests/conftest.py", override)
    project.file("tests/inner/conftest.py", override)
    project.tests("def test_it(app, request): assert app in request.node.name", "tests/inner/test_it.py")
    project.tests(
        "import pytest\n@pytest.fixture\ndef app(): return 'mine'\ndef test_other(app): assert app == 'mine'",
        "tests/test_other.py",
    )
    project.run(TWO, *mode).assert_outcomes(passed=3)


def test_an_autouse_fixture_that_needs_one_counts_too(project: Project) -> None:
    project.file("conftest.py", "import pytest\n@pytest.fixture(autouse=True)\ndef every(platform): pass\n")
    project.tests("def test_it(): pass")
    assert len(project.ids(TWO)) == 2


def test_other_tests_are_collected_once(project: Project) -> None:
    project.tests("def test_other(): pass\ndef test_it(platform): pass")
    assert [name for name in project.ids(TWO) if "other" in name] == ["test_it.py::test_other"]


def test_a_platform_under_two_names_runs_once(project: Project) -> None:
    project.tests("def test_it(platform): pass")
    assert project.ids("--platforms=arm64,linux/arm64/v8,aarch64") == ["test_it.py::test_it[linux/arm64]"]


def test_items_are_ordered_by_platform(project: Project) -> None:
    project.tests("""
import pytest

def test_one(platform): pass

@pytest.mark.platforms("arm64")
def test_two(platform): pass

@pytest.mark.parametrize("size", [1, 2])
def test_three(platform, size): pass
""")
    names = [name.partition("[")[2].split("-")[0].strip("]") for name in project.ids(TWO)]
    assert names == ["linux/arm/v7"] * 3 + ["linux/arm64"] * 4


def test_the_order_is_that_of_the_option(project: Project) -> None:
    project.tests("def test_it(platform): pass")
    ids = project.ids("--platforms=s390x,arm64,386")
    assert [name.removeprefix("test_it.py::test_it") for name in ids] == [
        "[linux/s390x]",
        "[linux/arm64]",
        "[linux/386]",
    ]


def test_other_parameters_and_classes_go_along(project: Project) -> None:
    project.tests("""
import pytest

class TestIt:
    @pytest.mark.parametrize("word", ["a", "b"])
    def test_it(self, word, platform): pass
""")
    assert sorted(project.ids(TWO)) == [
        "test_it.py::TestIt::test_it[linux/arm/v7-a]",
        "test_it.py::TestIt::test_it[linux/arm/v7-b]",
        "test_it.py::TestIt::test_it[linux/arm64-a]",
        "test_it.py::TestIt::test_it[linux/arm64-b]",
    ]


# --- the option and its ini twin


def test_the_command_line_replaces_the_ini_list(project: Project) -> None:
    project.ini("multiarch_platforms = s390x\n    ppc64le")
    project.tests("def test_it(platform): pass")
    assert len(project.ids()) == 2
    assert project.ids("--platforms=arm64") == ["test_it.py::test_it[linux/arm64]"]


def test_a_repeated_option_adds_to_the_list(project: Project) -> None:
    project.tests("def test_it(platform): pass")
    assert len(project.ids("--platforms=arm64", "--multiarch-platforms=s390x,ppc64le")) == 3


# --- markers


def test_the_marker_is_intersected_with_what_was_asked_for(project: Project) -> None:
    project.tests("""
import pytest

@pytest.mark.platforms("armhf", "s390x")
def test_it(platform): pass
""")
    assert project.ids(TWO) == ["test_it.py::test_it[linux/arm/v7]"]


def test_markers_of_class_and_function_are_both_intersected(project: Project) -> None:
    project.tests("""
import pytest

@pytest.mark.platforms("arm/v7", "arm64")
class TestIt:
    @pytest.mark.platforms("arm64", "s390x")
    def test_it(self, platform): pass
""")
    assert project.ids("--platforms=arm/v7,arm64,s390x") == ["test_it.py::TestIt::test_it[linux/arm64]"]


def test_an_empty_intersection_is_one_skipped_item_that_says_so(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("""
import pytest

@pytest.mark.platforms("s390x", "ppc64le")
def test_it(platform, container): pass
""")
    result = project.run(TWO, "-rs", *mode)
    assert result.parseoutcomes()["skipped"] == 1
    result.stdout.fnmatch_lines(["SKIPPED*for none of the platforms asked for (linux/arm/v7, linux/arm64)"])


def test_skip_platforms_skips_with_its_reason(project: Project, mode: tuple[str, ...]) -> None:
    project.tests("""
import pytest

@pytest.mark.skip_platforms("armv7", "arm64", reason="too slow there")
def test_it(container): pass
""")
    result = project.run(TWO, "-rs", *mode)
    assert result.parseoutcomes()["skipped"] == 2
    result.stdout.fnmatch_lines(["SKIPPED*too slow there"])


MISTAKES = {
    'platforms("arm46")': ["'arm46'", "arm64"],
    "platforms()": ["names no platform"],
    "platforms(7)": ["7 is not a platform's name"],
    'platforms(["arm64"])': ["['arm64'] is not a platform's name"],
    'platforms("arm64", why="x")': ["platforms() got an unexpected keyword argument 'why'"],
    'skip_platforms("arm46", reason="x")': ["'arm46'", "arm64"],
    'skip_platforms(reason="x")': ["names no platform"],
    'skip_platforms("arm64", reasons="x")': ["'reasons'"],
}


def test_a_marker_that_means_nothing_is_one_sentence_at_collection(
    project: Project, mode: tuple[str, ...]
) -> None:
    for number, marker in enumerate(MISTAKES):
        text = f"import pytest\n\n@pytest.mark.{marker}\ndef test_it(platform): pass\n"
        project.tests(text, f"test_{number}.py")
    result = project.run(TWO, *mode)
    assert result.ret != 0
    assert not re.search("Traceback|pytest_multiarch/|During handling|are hidden", result.stdout.str())
    for number, (marker, parts) in enumerate(MISTAKES.items()):
        start = f"test_{number}.py::test_it: marker {marker.partition('(')[0]}: "
        line = next(line for line in result.outlines if line.startswith(start))  # each worker says it
        assert [part for part in parts if part not in line] == []


def test_the_markers_are_known_to_pytest(project: Project) -> None:
    result = project.look("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.platforms(*", "@pytest.mark.skip_platforms(*"])


# --- the conftest hook


def test_the_image_of_the_nearest_conftest_is_taken(project: Project) -> None:
    hook = (
        "from pytest_multiarch import ImageSpec\n\ndef pytest_multiarch_image(): return ImageSpec(reference='{}')"
    )
    project.file("conftest.py", hook.format("outer") + "\n\n" + SHOW_IMAGES)
    project.file("inner/conftest.py", hook.format("inner"))
    project.file("silent/conftest.py", "def pytest_multiarch_image(): return None\n")
    for folder in ("outside", "inner", "silent"):
        project.tests("def test_it(platform): pass", f"{folder}/test_{folder}.py")
    result = project.look("--collect-only", "-q", "--platforms=arm64")
    images = dict(line.split()[1:] for line in result.outlines if line.startswith("image "))
    assert images == {
        "conftest.py": "outer",  # the checks of what it names
        "outside/test_outside.py": "outer",
        "inner/conftest.py": "inner",
        "inner/test_inner.py": "inner",
        "silent/test_silent.py": "outer",
    }


HOOK = """
from pytest_multiarch import ImageSpec

def pytest_multiarch_image():
    return ImageSpec(reference="{}")

"""

SHOW_IMAGES = """
def pytest_collection_finish(session):
    for item in session.items:
        path = item.path.relative_to(session.config.rootpath)
        print("image", path, item.callspec.params["_multiarch_target"][0])
"""


def test_paths_of_the_ini_file_start_there_and_those_of_options_here(project: Project) -> None:
    project.ini("multiarch_context = build\nmultiarch_build_contexts = source=src\n")
    project.file("conftest.py", SHOW_SPEC)
    project.tests("def test_it(platform): pass", "tests/test_it.py")
    here = project.path / "tests"
    project.pytester.chdir()
    by_ini = project.look("--platforms=arm64", "--collect-only", "-q", "--rootdir", str(project.path))
    by_ini.stdout.fnmatch_lines([f"spec {project.path}/build *'source': '{project.path}/src'*"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        by_option = project.look("--platforms=arm64", "--collect-only", "-q", "--multiarch-context=build")
    by_option.stdout.fnmatch_lines([f"spec {here}/build *"])


SHOW_SPEC = """
def pytest_collection_finish(session):
    for item in session.items:
        spec = item.callspec.params["_multiarch_target"][0]
        print("spec", spec.context, spec.build_contexts)
"""


def test_the_paths_of_a_conftests_image_are_relative_to_the_ini_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.ini("")
    project.file(
        "tests/conftest.py",
        """
from pytest_multiarch import ImageSpec

def pytest_multiarch_image(config):
    return ImageSpec("server", secrets=["id=x,src=secret"], cache_to=["type=local,dest=cache"])

def pytest_itemcollected(item):
    spec, _ = item.callspec.params["_multiarch_target"]
    print(spec.context, spec.secrets, spec.cache_to)
""",
    )
    project.tests("def test_it(platform): pass", name="tests/test_it.py")
    monkeypatch.chdir(project.path / "tests")
    found = project.look("--collect-only", "-q", "-s", "--platforms=linux/arm64", "test_it.py")
    here = project.path
    line = f"{here}/server ('id=x,src={here}/secret',) ('type=local,dest={here}/cache',)"
    assert line in found.outlines, found.outlines
