"""Make OCI layouts of base images from Debian packages, for machines that reach no image registry.

Two images, one index over all platforms each: `alpine`, a few megabytes of busybox and libc that stand in
for Alpine, and `toolchain`, the same with gcc and make. Packages are only unpacked, so neither emulation nor
an engine is needed, and the same packages give the same digests.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

IMAGES = ("alpine", "toolchain")


@dataclass(frozen=True)
class Port:
    """Describe one Debian port: the releases that have it, in the order to try, and what it runs on."""

    debian: str
    suites: tuple[str, ...]
    platforms: tuple[str, ...]
    toolchain: bool


PORTS = {
    port.debian: port
    for port in (
        Port("amd64", ("bookworm",), ("amd64",), True),
        Port("i386", ("bookworm",), ("386",), True),
        Port("armel", ("bookworm",), ("arm/v5", "arm/v6"), True),
        Port("armhf", ("bookworm",), ("arm/v7",), True),
        Port("arm64", ("bookworm",), ("arm64",), True),
        Port("ppc64el", ("bookworm",), ("ppc64le",), True),
        Port("s390x", ("bookworm",), ("s390x",), True),
        Port("mips64el", ("bookworm",), ("mips64le",), False),
        Port("riscv64", ("trixie", "forky"), ("riscv64",), False),
        Port("loong64", ("forky",), ("loong64",), False),
    )
}

#: Of libc6, what a dynamically linked C program needs.
SMALL: tuple[str, ...] = (
    "*/ld-linux*.so.*",
    "*/ld64.so.*",
    "*/ld.so.1",
    "*/ld-*.so",
    "*/lib[cm].so.6",
    "*/lib[cm]-*.so",
)
SMALL += tuple(f"*/lib{name}[.-]*so*" for name in ("dl", "pthread", "rt", "resolv", "util"))

#: What a compiler for small C programs does without: megabytes that every builder would have to be sent.
UNNEEDED = (
    "usr/share/*",
    "dev/*",
    "etc/*",
    "var/*",
    "*/gconv/*",
    "*-lto-dump*",
    "*-gcov*",
    "*-dwp",
    "*ld.gold",
    "*gprofng*",
    "*bin/*gp-*",  # its programs
    "*/lib?san*",
    "*/libubsan*",
    "*/libhwasan*",
    "*/libstdc++*",
    "*/libgomp*",
    "*/lib[kg]*krb5*",
    "*/libssl*",
    "*/libcrypto*",
    "*/plugin/*",
)

USERS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"
GROUPS = "root:x:0:\nnogroup:x:65534:\n"


def main() -> None:
    """Make what is missing of the named ports, then print `NAME=oci-layout://...` of each image."""
    arguments = _parser().parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    wanted = [PORTS[name] for name in arguments.ports]
    missing = [port for port in wanted if not _part(arguments.folder, port).exists()]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        jobs = {port.debian: pool.submit(make_port, port, arguments.folder, arguments.mirror) for port in missing}
    failed = [f"{name}: {job.exception()}" for name, job in jobs.items() if job.exception()]
    for line in failed:
        sys.stderr.write(f"{line}\n")
    required = [line for line in failed if line.split(":")[0] not in arguments.optional]
    if required:
        sys.exit(1)
    for image, name in zip(IMAGES, ("alpine:3.22", "toolchain"), strict=True):
        digest = write_index(arguments.folder, image)
        sys.stdout.write(f"{name}=oci-layout://{arguments.folder / image}@{digest}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=lambda text: Path(text).resolve(), help="where the layouts go")
    parser.add_argument("ports", nargs="+", choices=PORTS, help="Debian's names of the ports to make")
    parser.add_argument("--mirror", required=True, help="the Debian mirror to take packages from")
    parser.add_argument("--optional", action="append", default=[], help="a port that may fail")
    parser.add_argument("--jobs", type=int, default=4, help="how many to make at once")
    return parser


def make_port(port: Port, folder: Path, mirror: str) -> None:
    """Unpack the port's packages and write one layer for each image, then the file that says so."""
    files = _Files.read(_unpack(port, mirror))
    layers = {"alpine": write_layer(folder / "alpine", files.small())}
    if port.toolchain:
        layers["toolchain"] = write_layer(folder / "toolchain", files.whole())
    _write(_part(folder, port), json.dumps(layers).encode())


def _part(folder: Path, port: Port) -> Path:
    return folder / f"{port.debian}.json"


def _unpack(port: Port, mirror: str) -> tarfile.TarFile:
    """Return the root file system of the port's packages, from the first release that its mirror can give."""
    messages = ""
    for suite in port.suites:
        done = subprocess.run(_mmdebstrap(port, suite, mirror), capture_output=True, timeout=600, check=False)
        if done.returncode == 0:
            return tarfile.open(fileobj=io.BytesIO(done.stdout))
        messages += done.stderr.decode(errors="replace")
    raise RuntimeError(f"no packages for {port.debian} from {mirror}:\n{messages}")


def _mmdebstrap(port: Port, suite: str, mirror: str) -> list[str]:
    include = ["busybox-static", "libc6", *(["gcc", "libc6-dev", "make"] if port.toolchain else [])]
    source = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main"
    options = ["--variant=extract", "--format=tar", f"--architectures={port.debian}"]
    options += [f'--aptopt={name} "{value}";' for name, value in _apt_settings().items()]
    return ["mmdebstrap", *options, f"--include={','.join(include)}", suite, "-", source]


def _apt_settings() -> dict[str, str]:
    """Return what this machine's apt says about old lists: a mirror frozen in time needs it here too."""
    names = ("Acquire::Check-Valid-Until", "Acquire::Check-Date")
    command = ["apt-config", "--format", "%f=%v%n", "dump", *names]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    settings = dict(line.partition("=")[::2] for line in lines)
    return {name: settings[name] for name in names if settings.get(name)}


@dataclass(frozen=True)
class _Entry:
    """Hold one file of a layer: its tar header under its final name, and its bytes."""

    header: tarfile.TarInfo
    data: bytes = b""


@dataclass(frozen=True)
class _Files:
    """Hold what the packages of one port contain, by path."""

    entries: dict[str, _Entry]

    @classmethod
    def read(cls, source: tarfile.TarFile) -> _Files:
        """Read the whole of a root file system's tar archive but for its folders and devices."""
        entries: dict[str, _Entry] = {}
        for member in source:
            member.name = member.name.removeprefix("./")
            if member.islnk():
                original = entries[member.linkname.removeprefix("./")]
                entries[member.name] = _Entry(_header(member.name, original.header), original.data)
            elif member.isfile() or member.issym():
                content = source.extractfile(member) if member.isfile() else None
                entries[member.name] = _Entry(member, content.read() if content else b"")
        return cls(entries)

    @property
    def merged(self) -> bool:
        """Is everything below /usr? Then /bin and its like are links, which maintainer scripts would make."""
        return "bin/busybox" not in self.entries

    def small(self) -> Iterator[_Entry]:
        """Give the entries of the small image."""
        return self._image({path for path in self.entries if _matches(f"/{path}", SMALL)})

    def whole(self) -> Iterator[_Entry]:
        """Give the entries of the image with a compiler."""
        chosen = {path for path in self.entries if not _matches(path, UNNEEDED)}
        yield from self._image(chosen)
        yield _link("usr/bin/cc", "gcc")

    def _image(self, paths: set[str]) -> Iterator[_Entry]:
        prefix = "usr/" if self.merged else ""
        busybox = f"{prefix}bin/busybox"
        chosen = {path: self.entries[path] for path in paths | {busybox}}
        for applet in _applets(self.entries[busybox].data):
            link = _link(f"{prefix}bin/{applet}", "busybox")
            chosen.setdefault(link.header.name, link)
        chosen.setdefault("usr/bin/env", _link("usr/bin/env", "../../bin/busybox"))
        for entry in (*_fixed(), *(_roots(chosen) if self.merged else ())):
            chosen[entry.header.name] = entry
        yield from (chosen[path] for path in sorted(chosen))


def _applets(busybox: bytes) -> list[str]:
    """Read the names of busybox's applets from its table of them, so that a foreign one need not run."""
    start = busybox.index(b"[\0[[\0")
    return busybox[start : busybox.index(b"\0\0", start)].decode("ascii").split("\0")


def _fixed() -> Iterator[_Entry]:
    yield _text("etc/passwd", USERS)
    yield _text("etc/group", GROUPS)
    for name, mode in (
        ("tmp", 0o1777),
        ("var/tmp", 0o1777),
        ("root", 0o700),
        ("proc", 0o755),
        ("sys", 0o755),
    ):
        header = tarfile.TarInfo(name)
        header.type, header.mode = tarfile.DIRTYPE, mode
        yield _Entry(header)


def _roots(paths: dict[str, _Entry]) -> Iterator[_Entry]:
    folders = {path.split("/")[1] for path in paths if path.startswith("usr/") and path.count("/") > 1}
    yield from (_link(name, f"usr/{name}") for name in sorted(folders) if name.startswith(("bin", "sbin", "lib")))


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _header(name: str, like: tarfile.TarInfo) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.mode, header.size, header.mtime = like.mode, like.size, like.mtime
    return header


def _link(name: str, target: str) -> _Entry:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.mode = tarfile.SYMTYPE, target, 0o777
    return _Entry(header)


def _text(name: str, text: str) -> _Entry:
    header = tarfile.TarInfo(name)
    header.size = len(text)
    return _Entry(header, text.encode())


def write_layer(layout: Path, entries: Iterator[_Entry]) -> dict[str, Any]:
    """Write the entries as an uncompressed layer of the layout and return its descriptor."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            entry.header.uid = entry.header.gid = 0
            entry.header.uname = entry.header.gname = ""
            archive.addfile(entry.header, io.BytesIO(entry.data))
    return write_blob(layout, LAYER, buffer.getvalue())


def write_index(folder: Path, image: str) -> str:
    """Write the image's index over every port that is there and return its digest."""
    layout = folder / image
    manifests = []
    for port in PORTS.values():
        part = _part(folder, port)
        layers = json.loads(part.read_bytes()) if part.exists() else {}
        if image in layers:
            manifests += [write_manifest(layout, platform, layers[image]) for platform in port.platforms]
    descriptor = write_json(layout, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    named = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
    _write(layout / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _write(layout / "index.json", json.dumps({"schemaVersion": 2, "manifests": [named]}).encode())
    return str(descriptor["digest"])


def write_manifest(layout: Path, platform: str, layer: dict[str, Any]) -> dict[str, Any]:
    """Write one platform's config and manifest and return the manifest's descriptor."""
    architecture, _, variant = platform.partition("/")
    words = {"architecture": architecture, "os": "linux", **({"variant": variant} if variant else {})}
    config = {
        **words,
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "Debian packages, unpacked"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": write_json(layout, CONFIG, config),
        "layers": [layer],
    }
    return {**write_json(layout, MANIFEST, manifest), "platform": words}


def write_json(layout: Path, media_type: str, value: object) -> dict[str, Any]:
    """Write a value as a JSON blob of the layout and return its descriptor."""
    return write_blob(layout, media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def write_blob(layout: Path, media_type: str, data: bytes) -> dict[str, Any]:
    """Write a blob of the layout and return its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    if not (blobs / digest).exists():
        _write(blobs / digest, data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _write(path: Path, data: bytes) -> None:
    """Write a file in one step, so that a reader or an interrupted run never meets half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


if __name__ == "__main__":
    main()
