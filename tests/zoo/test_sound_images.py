"""Images with a toolchain and with files that are foreign on purpose: green, and told; and one that hangs."""

from __future__ import annotations

import time

import programs
import pytest
import runs
from cases import CHECKS, SCRATCH, static
from engines import TestEngine
from runs import Run

PLATFORMS = ("386", "amd64", "arm/v6", "arm/v7", "arm64", "ppc64le", "s390x")


@pytest.fixture(scope="module")
def toolchains(containerd: TestEngine, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what the checks say of an image with gcc, and with firmware, on each platform."""
    if "toolchain" not in containerd.base_images:
        pytest.skip("NOT CHECKED: the toolchain's image is made where no registry is reached")
    folder = tmp_path_factory.mktemp("toolchains") / "toolchains"
    runs.lay_out(folder, {}, {}, "")
    (folder / "Dockerfile").write_text("FROM toolchain\nCOPY root/ /\n")
    for machine in ("s390x", "ppc64"):
        programs.static(folder / f"root/opt/firmware/{machine}/boot.elf", machine)
    runs.ini(
        folder,
        f"multiarch_build_contexts = toolchain={containerd.base_images['toolchain']}",
        "multiarch_foreign_files = /opt/firmware/**/*.elf",
        "    /opt/nothing/**",
    )
    return runs.run(folder, containerd, *runs.options(f"--platforms={','.join(PLATFORMS)}", "-n", "2"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_toolchain_is_sound_and_what_is_foreign_on_purpose_is_told(platform: str, toolchains: Run) -> None:
    found = {check: toolchains.outcomes.get(f"Dockerfile::{check}[linux/{platform}]") for check in CHECKS}
    assert {check: each and each.outcome for check, each in found.items()} == dict.fromkeys(CHECKS, "passed"), (
        found
    )
    told = toolchains.told(f"Dockerfile::elf[linux/{platform}]")
    assert f"{1 if platform == 's390x' else 2} foreign on purpose" in told
    assert "/opt/nothing/** matches no ELF file and no archive" in toolchains.terminal


def test_an_image_that_hangs_costs_its_deadline_and_leaves_nothing(
    containerd: TestEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("hangs") / "hangs"
    runs.lay_out(folder, {}, {}, "")
    (folder / "Dockerfile").write_text(SCRATCH + 'ENTRYPOINT ["/bin/uname"]\n')
    static("s390x", "bin/uname", code="j .")(folder / "root")
    runs.ini(folder, "multiarch_checks = runs, elf")
    before = containerd.containers
    began = time.monotonic()
    done = runs.run(folder, containerd, *runs.options("--platforms=s390x", "--multiarch-timeout=3"))
    assert time.monotonic() - began < 90
    assert done.outcomes["Dockerfile::elf[linux/s390x]"].outcome == "passed"
    hung = done.outcomes["Dockerfile::runs[linux/s390x]"]
    assert hung.outcome == "failed"
    assert "`uname -m` on linux/s390x" in hung.text
    assert "3 s" in hung.text
    assert containerd.containers <= before
