"""Registering by a privileged run of a binfmt image, of either known kind, where the host's QEMU can't serve."""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
from collections.abc import Iterator

from pytest_multiarch.emulators.binfmt import PREFIX
from pytest_multiarch.engine.client import Engine
from pytest_multiarch.errors import EmulatorError
from pytest_multiarch.platforms import Platform
from pytest_multiarch.process import Finished

__tracebackhide__ = True

#: Seconds to pull and to run it.
PULL, RUN = 600.0, 60.0

#: Repositories whose image takes no arguments and registers whatever it has; all others are taken for
#: tonistiigi/binfmt and its copies, which take `--install ARCH` and `--uninstall NAME`.
WITHOUT_ARGUMENTS = ("docker/binfmt", "linuxkit/binfmt")

_REFUSED = re.compile(r"privileged|operation not permitted|EPERM|cannot mount|authorization denied", re.IGNORECASE)


class BinfmtImage:
    """An image that registers emulators with the kernel of the engine's machine."""

    def __init__(self, engine: Engine, reference: str) -> None:
        self._engine, self.reference = engine, reference

    @property
    def takes_arguments(self) -> bool:
        """Tell the kind by the repository's name."""
        repository = re.sub(r"(:[^:/@]*)?(@.*)?$", "", self.reference)
        return not f"/{repository}".endswith(tuple(f"/{name}" for name in WITHOUT_ARGUMENTS))

    def register(self, platform: Platform) -> str:
        """Register the image's emulator for the platform and return the entry's name.

        tonistiigi/binfmt names its entry like the emulator's file, refuses a name that there is ("already
        registered", though that one may be broken) and always exits with 0 (its main.go): so it gets a copy of
        the file under a name of ours, and whether it worked only a probe tells. Its container needs no shell.

        Raises:
            EmulatorError: the image can't be had, or the engine refuses a privileged container.

        """
        binary = f"qemu-{platform.qemu}"
        if not self.takes_arguments:
            with self._container() as container:
                self._start(container)
            return binary
        name = f"{PREFIX}{binary}"
        install = ("--install", platform.architecture, "--uninstall", name)
        with self._container(*install, env={"QEMU_BINARY_PREFIX": PREFIX}) as container:
            packed = self._engine.call("cp", f"{container}:/usr/bin/{binary}", "-", timeout=RUN, check=False)
            if packed.ok:
                renamed = _renamed(packed.stdout, name)
                self._engine.call("cp", "-", f"{container}:/usr/bin/", timeout=RUN, input=renamed)
                self._start(container)
                return name
        with self._container("--install", platform.architecture) as container:  # its files lie elsewhere
            self._start(container)
        return binary

    def unregister(self, name: str = f"{PREFIX}*") -> list[str]:
        """Remove the entries that are ours, or the one of that name, and return their names.

        Raises:
            EmulatorError: the image can't be had or takes no arguments, or privileged containers are refused.

        """
        if not self.takes_arguments:
            raise EmulatorError(f"{self.reference} removes no entries", do="Name a tonistiigi/binfmt")
        with self._container("--uninstall", name) as container:
            said = self._start(container)
        return re.findall(r"^uninstalling: (\S+) OK$", (said.stdout + said.stderr).decode(), re.MULTILINE)

    @contextlib.contextmanager
    def _container(self, *args: str, env: dict[str, str] | None = None) -> Iterator[str]:
        variables = {"QEMU_PRESERVE_ARGV0": "1", **(env or {})}
        words = [word for pair in variables.items() for word in ("--env", "=".join(pair))]
        labels = self._engine.labels
        created = self._engine.call(
            "create", "--privileged", *labels, *words, self.reference, *args, timeout=PULL, check=False
        )
        if not created.ok:
            raise self._refusal(created)
        container = created.text.splitlines()[-1]
        try:
            yield container
        finally:
            self._engine.remove(container)

    def _start(self, container: str) -> Finished:
        finished = self._engine.call("start", "--attach", container, timeout=RUN, check=False)
        if not finished.ok or _REFUSED.search(finished.complaint):
            raise self._refusal(finished)
        return finished

    def _refusal(self, finished: Finished) -> EmulatorError:
        if _REFUSED.search(finished.complaint):
            return EmulatorError(
                "the engine refuses a privileged container, which registering an emulator needs",
                do="Register on that machine itself, once, and use --multiarch-binfmt=require",
                evidence=finished.complaint,
            )
        return EmulatorError(
            f"the binfmt image {self.reference} can't be had",
            do="Name one that can by --multiarch-binfmt-image",
            evidence=finished.complaint,
        )


def _renamed(packed: bytes, name: str) -> bytes:
    """Return a tar of one file with that file under another name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(packed)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            member.name = name
            new.addfile(member, old.extractfile(member))
    return out.getvalue()
