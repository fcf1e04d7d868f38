"""Debian roots made on the spot, from the packages that this machine's own mirror has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

import pytest


def need_mirror() -> str:
    """Return the mirror to take packages from; skip loudly where there is none, or nothing to unpack with."""
    address = _mirror()
    if shutil.which("mmdebstrap") is None or not address:
        pytest.skip("NOT CHECKED: Debian roots need mmdebstrap and a mirror of bookworm in apt's lists")
    return address


def unpack(variant: str, address: str, packages: Sequence[str], *options: str) -> list[str]:
    """Return the command that writes a root with these packages as a tar archive to its standard output."""
    source = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {address} bookworm main"
    words = ["mmdebstrap", f"--variant={variant}", "--format=tar", *options, *_settings()]
    return [*words, f"--include={','.join(packages)}", "bookworm", "-", source]


def _mirror() -> str:
    """Return the Debian mirror that this machine takes its packages from, "" for none."""
    if shutil.which("apt-get") is None:
        return ""
    words = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout
    return next((line.split()[1] for line in listed.splitlines() if line.startswith("bookworm ")), "")


def _settings() -> list[str]:
    """Return what this machine's apt says of lists of long ago."""
    names = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
    words = ["apt-config", "--format", "%f=%v%n", "dump", *names]
    said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    pairs = (line.partition("=") for line in said.splitlines())
    return [f'--aptopt={name} "{value}";' for name, _, value in pairs if value]
