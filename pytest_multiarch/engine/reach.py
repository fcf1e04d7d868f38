"""Where the published ports of containers are reached from here, and on which address of the engine's host."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from pytest_multiarch import process
from pytest_multiarch.errors import MultiarchError

__tracebackhide__ = True

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reach:
    """How a published port is reached.

    Attributes:
        bind: the address of the engine's host that ports are published on, "" for all that it has.
        host: the name or address to connect to.

    """

    bind: str = LOOPBACK
    host: str = LOOPBACK


def reach_of(address: str) -> Reach:
    """Return how the ports of an engine at this address are reached.

    One that is spoken to over this machine's loopback publishes there, and on nothing that others reach.
    """
    if address == "localhost":
        return Reach(LOOPBACK, address)
    try:
        number = ip_address(address)
    except ValueError:
        return Reach("", address)
    if number.is_unspecified:
        return Reach()
    bind = f"[{number}]" if number.version == 6 else str(number)
    return Reach(bind if number.is_loopback else "", address)


def ssh_host(alias: str) -> str:
    """Return the host that ssh connects to for a name, which may be an alias of its own configuration."""
    ssh = shutil.which("ssh")
    if ssh is None or alias.startswith("-"):
        return alias
    try:
        said = process.run([ssh, "-G", alias], timeout=10.0).text
    except MultiarchError:
        return alias
    found = re.search(r"(?m)^hostname (\S+)$", said)
    return found[1] if found else alias


def own_container(mounts: str) -> str:
    """Return the id of the container that a process runs in, "" where it runs in none of Docker's.

    Args:
        mounts: its `/proc/self/mountinfo`: Docker mounts files of the container's own folder into it.

    """
    found = re.search(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf) ", mounts)
    return found[1] if found else ""


def gateway_of(container: dict[str, Any]) -> str:
    """Return where a container reaches the engine's host, "" where it shares the host's network or has none."""
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return next((str(each["Gateway"]) for each in networks.values() if each.get("Gateway")), "")
