"""`pytest-multiarch` at an engine: prune takes what is ours and only that, doctor and audit leave nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from engines import TestEngine
from grounds import QUICK, Ground, make_ground

from pytest_multiarch.engine.client import OWNER, SESSION, Engine
from pytest_multiarch.state import State
from pytest_multiarch.sweep import Orphans


@pytest.fixture
def ground(tmp_path: Path, containerd: TestEngine, buildkit_image: str) -> Ground:
    """Return a project with a state folder that this test may have removed."""
    engine = replace(containerd, state=State(tmp_path / "state" / "pytest-multiarch"))
    made = make_ground(tmp_path / "ground", engine, buildkit_image)
    made.tests("def test_a(container): pass")
    return made


def command(ground: Ground, *words: str) -> tuple[int, list[str]]:
    program = Path(sys.executable).with_name("pytest-multiarch")
    done = subprocess.run(
        [program, *words], env=ground.env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_prune_takes_what_is_ours_and_only_that(ground: Ground) -> None:
    engine = ground.engine
    assert ground.run("--platforms=native", "test_it.py").process.returncode == 0
    (image,), (cache,) = engine.images(), engine.volumes
    labels = ["--label", f"{SESSION}=dead.session"]
    dead = engine.docker("create", "--label", f"{OWNER}={engine.state.id}", *labels, image, "true")
    foreign = engine.docker("create", "--name", f"{cache}-not", "--label", f"{OWNER}=somebody", *labels, image)
    volume = engine.docker("volume", "create", "--label", f"{OWNER}=somebody")
    engine.docker("tag", image, "multiarch.local/somebody/project:tag")
    try:
        code, said = command(ground, "prune", "--dry-run")
        assert code == 0
        assert {line.split()[2] for line in said} == {"container", "cache", "image"}
        assert engine.containers
        assert engine.images() == {image}
        assert engine.volumes == {cache}

        engine.docker("rm", foreign)
        foreign = engine.docker(
            "create", "--label", f"{OWNER}=somebody", *labels, "multiarch.local/somebody/project:tag"
        )
        code, said = command(ground, "prune")
        assert code == 0, said
        assert [line.replace("would remove", "removed") for line in said] == said
        assert (engine.containers, engine.images(), engine.volumes) == (set(), set(), set())
        assert dead[:12] not in engine.docker("ps", "--all", "--quiet")
        assert State(ground.state.folder).id == engine.state.id, "what is at another engine is still ours"

        assert foreign[:12] in engine.docker("ps", "--all", "--quiet")
        assert volume in engine.docker("volume", "ls", "--quiet")
        assert engine.docker("image", "ls", "--quiet", "multiarch.local/somebody/project")
    finally:
        engine.docker("rm", foreign, check=False)
        engine.docker("volume", "rm", volume)
        engine.docker("rmi", "multiarch.local/somebody/project:tag")
    assert command(ground, "prune") == (0, []), "where there is nothing there is nothing to do"


def test_what_is_at_another_engine_is_found_after_a_prune(ground: Ground, classic: TestEngine) -> None:
    other = replace(ground, engine=replace(classic, state=ground.state))
    for each in (ground, other):
        assert each.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    assert command(ground, "prune")[0] == 0
    assert (len(ground.engine.images()), len(other.engine.images())) == (0, 1)
    assert command(other, "prune")[0] == 0
    assert other.engine.images() == set()


def test_images_of_a_project_whose_folder_is_gone_go_with_the_next_run(ground: Ground) -> None:
    other = replace(ground, path=ground.path.with_name("other"))
    shutil.copytree(ground.path, other.path)
    assert ground.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    (first,) = ground.engine.images()
    assert other.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    (second,) = ground.engine.images() - {first}
    shutil.rmtree(ground.path)
    assert other.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    assert ground.engine.images() == {second}
    assert len(list((ground.state.folder / "projects").iterdir())) == 1
    command(other, "prune")


def test_an_image_of_a_living_run_stays_where_its_projects_folder_is_not_to_be_seen(ground: Ground) -> None:
    ground.tests(
        "import pathlib, time\n"
        "def test_a(multiarch_image, here, request):\n"
        "    here('here')\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
        "    assert request.getfixturevalue('fresh_container').run('true').returncode == 0\n"
    )
    run = ground.start("--platforms=native", "test_it.py", QUICK)
    run.reach("here")
    images = ground.engine.images()
    moved = ground.path.rename(ground.path.with_name("elsewhere"))
    Orphans(Engine(ground.state.id), ground.state).sweep()
    assert ground.engine.images() == images != set()
    moved.rename(ground.path)
    ground.file("go", "")
    assert run.end() == 0, run.text
    ground.settled()
    shutil.rmtree(ground.path)
    Orphans(Engine(ground.state.id), ground.state).sweep()
    assert ground.engine.images() == set()


def test_a_dead_sessions_image_takes_no_other_of_its_project_with_it(ground: Ground) -> None:
    assert ground.run("--platforms=native", "test_it.py", QUICK).process.returncode == 0
    (image,) = ground.engine.images()
    ground.engine.docker("tag", image, f"{image.rpartition(':')[0]}:of-dead.session-1")
    for _ in range(2):
        Orphans(Engine(ground.state.id), ground.state).sweep()
    assert ground.engine.images() == {image}
    command(ground, "prune")


def test_prune_leaves_a_running_session_alone(ground: Ground) -> None:
    ground.tests(
        "import pathlib, time\n"
        "def test_a(container, here):\n"
        "    here('here')\n"
        "    while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
        "    assert container.run('true').returncode == 0\n"
    )
    run = ground.start("--platforms=native", "test_it.py")
    run.reach("here")
    assert command(ground, "prune") == (
        0,
        ["1 session is running: the builder, its cache and the images stay"],
    )
    assert len(ground.engine.containers) == 2
    ground.file("go", "")
    assert run.end() == 0, run.text
    ground.settled()
    command(ground, "prune")


def test_binfmt_entries_go_only_when_asked(ground: Ground) -> None:
    assert not any("binfmt entry" in line for line in command(ground, "prune", "--dry-run")[1])
    code, said = command(ground, "prune", "--dry-run", "--binfmt")
    assert code == 0
    assert all(line.split()[4].startswith("multiarch-") for line in said if "binfmt entry" in line)


def test_doctor_tells_what_runs_here_and_leaves_nothing(ground: Ground) -> None:
    code, said = command(ground, "doctor")
    assert code == 0
    for words in ("pytest-multiarch: ", "engine: Docker", "buildx: ", "builder: multiarch-", "  linux/arm64: "):
        assert any(line.startswith(words) for line in said), (words, said)
    ground.settled()


def test_audit_tells_by_its_exit_code(ground: Ground, tmp_path: Path) -> None:
    engine = ground.engine
    archive = tmp_path / "root.tar"
    (tmp_path / "foreign").write_bytes(Path("/bin/true").read_bytes())
    subprocess.run(["tar", "-C", tmp_path, "-cf", archive, "foreign"], check=True)
    tag = "multiarch.local/test-of-audit:latest"
    engine.docker("import", "--platform=linux/s390x", "--change", 'CMD ["/foreign"]', str(archive), tag)
    try:
        code, said = command(ground, "audit", tag)
        assert code == 1
        assert any(line.startswith("elf: FAILED: ") for line in said), said
        assert any(line.startswith("config: passed: ") for line in said), said
        assert command(ground, "audit", "multiarch.local/there-is-none:1") == (
            2,
            [
                "pytest-multiarch: the engine has no image multiarch.local/there-is-none:1."
                " Fetch it: docker pull multiarch.local/there-is-none:1."
            ],
        )
    finally:
        engine.docker("rmi", "--force", tag)
    ground.settled()
