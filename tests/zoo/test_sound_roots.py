"""Whole Debian roots, with what is known to hold files for other machines or newer CPUs: no false alarm.

Nothing of them runs, so neither an engine nor emulators are needed; they are read while they are unpacked.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import debian
import pytest

from pytest_multiarch.audit import rules, tree
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity, Verdict
from pytest_multiarch.audit.tree import Tree
from pytest_multiarch.platforms import Platform

#: gcc with its static libraries; Go with its test data and objects for every machine; libraries that choose their
#: code at run time.
EVERYWHERE = ("gcc", "libc6-dev", "golang-go", "libdav1d6", "libatomic1", "python3-minimal")
NODE = ("nodejs", "libnode108")
#: Code for 32-bit and 64-bit machines that a boot loader is put together from.
BOOT = ("grub-pc-bin", "grub-efi-ia32-bin", "syslinux-common", "isolinux")


@dataclass(frozen=True)
class Root:
    """One Debian port: what it is for, and what is unpacked."""

    platforms: tuple[str, ...]
    packages: tuple[str, ...]


ROOTS: Mapping[str, Root] = {
    "amd64": Root(("linux/amd64",), (*EVERYWHERE, *NODE, *BOOT)),
    "i386": Root(("linux/386",), (*EVERYWHERE, *NODE)),
    "armel": Root(("linux/arm/v5", "linux/arm/v6"), EVERYWHERE),
    "armhf": Root(("linux/arm/v7",), (*EVERYWHERE, *NODE)),
    "arm64": Root(("linux/arm64",), (*EVERYWHERE, *NODE)),
    "ppc64el": Root(("linux/ppc64le",), (*EVERYWHERE, *NODE)),
    "s390x": Root(("linux/s390x",), (*EVERYWHERE, *NODE)),
}

CASES = [(port, platform) for port, root in ROOTS.items() for platform in root.platforms]


def unpacked(port: str, address: str, log: Path) -> Tree:
    """Unpack a port's packages and read them on the way."""
    words = debian.unpack("extract", address, ROOTS[port].packages, f"--architectures={port}")
    with log.open("wb") as said, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said) as client:
        assert client.stdout is not None
        try:
            return tree.read(client.stdout)  # type: ignore[arg-type] # a BufferedReader
        except Exception as error:
            raise AssertionError(f"{error}\n{log.read_text()[-3000:]}") from error


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Tree]]]:
    """Return the roots, two being unpacked at once."""
    address = debian.need_mirror()
    folder = tmp_path_factory.mktemp("roots")
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        yield {port: pool.submit(unpacked, port, address, folder / port) for port in ROOTS}
        pool.shutdown(cancel_futures=True)


def verdict(root: Tree, platform: str, *patterns: str) -> Verdict:
    config = Config("linux", "", argv=("/bin/bash",))
    return rules.judge(root, Platform.parse(platform), config, patterns)


@pytest.mark.parametrize(("port", "platform"), CASES, ids=[platform for _, platform in CASES])
def test_a_debian_root_is_sound_on_its_platform_and_on_no_other(
    port: str, platform: str, roots: Mapping[str, Future[Tree]]
) -> None:
    root = roots[port].result()
    assert root.files > 5000
    found = verdict(root, platform)
    assert found.passed, found.text(50)
    excused = {finding.found for finding in found.of(Severity.FOREIGN)}
    assert {"test data of the Go tools", "an object that Go links for another machine"} <= excused
    other = "linux/s390x" if port != "s390x" else "linux/arm64"
    assert not verdict(root, other).passed
    assert [each.found for each in verdict(root, platform, "/opt/nothing/**").of(Severity.WARNING)][-1:] == [
        "/opt/nothing/** matches no ELF file and no archive"
    ]
