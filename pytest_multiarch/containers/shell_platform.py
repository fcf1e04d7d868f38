"""Whether a container's shell is a program of its platform, or of a sibling that runs here as well."""

from __future__ import annotations

import io
import tarfile

from pytest_multiarch.audit import machines
from pytest_multiarch.audit.elf import Ident
from pytest_multiarch.containers.container import Container
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import ImageError

__tracebackhide__ = True


def check_shell(engine: Engine, container: Container) -> None:
    """Make sure that the container's `/bin/sh` is a program of the container's platform.

    Where a base image lacks arm64 or amd64, BuildKit takes arm/v7 or 386 and labels the result as asked; an amd64
    machine runs that without a word, and `uname -m` is right. An image whose shell is
    elsewhere is the `elf` check's alone.

    Raises:
        ImageError: it is a program of another machine.

    """
    copied = engine.call("cp", "--follow-link", f"{container.name}:/bin/sh", "-", check=False)
    if not copied.ok:
        return
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member else None
        ident = Ident.of(file.read(64)) if file else None
    if ident is None or ident == machines.of(container.platform):
        return
    why, do = "", "Look for a final stage with --platform=$BUILDPLATFORM"
    if machines.is_sibling(ident, container.platform):
        why = "its base image's index lacks the platform, and BuildKit took a sibling without a word"
        do = "`docker buildx imagetools inspect BASE` lists the platforms of a base image"
    raise ImageError(
        f"the image for {container.platform} holds another machine's programs: /bin/sh is {machines.name(ident)}",
        why=why,
        do=do,
    )
