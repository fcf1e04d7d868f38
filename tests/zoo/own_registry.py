"""A registry on the loopback address, and images and indexes written into it byte by byte."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image"
INDEX, MANIFEST, CONFIG, LAYER = (
    f"{OCI}.{kind}" for kind in ("index.v1+json", "manifest.v1+json", "config.v1+json", "layer.v1.tar")
)

Descriptor = Mapping[str, Any]

SETTINGS = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class Registry:
    """A registry that answers; `address` is how references to it begin."""

    address: str

    def image(
        self, name: str, files: Mapping[str, bytes], platform: str, says: str = "", start: str = "/start"
    ) -> Descriptor:
        """Write an image and return its entry for an index: for `platform`, its config saying `says`."""
        layer = _layer(files)
        config = {
            **_triple(says or platform),
            "config": {"Entrypoint": [start], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(name, CONFIG, json.dumps(config).encode()),
            "layers": [self._blob(name, LAYER, layer)],
        }
        return {**self.manifest(name, manifest), "platform": _triple(platform)}

    def index(self, name: str, tag: str, entries: Sequence[Descriptor]) -> str:
        """Write an index and return its reference."""
        self.manifest(name, index(entries), tag)
        return f"{self.address}/{name}:{tag}"

    def raw(self, name: str, digest: str) -> bytes:
        """Return a manifest as it was written."""
        url = f"http://{self.address}/v2/{name}/manifests/{digest}"
        request = urllib.request.Request(url, headers={"Accept": MANIFEST})
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return bytes(answer.read())

    def manifest(self, name: str, value: Mapping[str, Any], tag: str = "") -> Descriptor:
        """Write a manifest or index and return its descriptor."""
        data = json.dumps(value).encode()
        media_type = str(value["mediaType"])
        self._send("PUT", f"/v2/{name}/manifests/{tag or _digest(data)}", data, media_type)
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    def _blob(self, name: str, media_type: str, data: bytes) -> Descriptor:
        place = self._send("POST", f"/v2/{name}/blobs/uploads/", b"", media_type)
        join = "&" if "?" in place else "?"
        self._send("PUT", f"{place}{join}digest={_digest(data)}", data, "application/octet-stream")
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    def _send(self, method: str, path: str, data: bytes, media_type: str) -> str:
        url = path if "://" in path else f"http://{self.address}{path}"
        headers = {"Content-Type": media_type}
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 # our own http
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(answer.headers.get("Location", ""))


def index(entries: Sequence[Descriptor]) -> Mapping[str, Any]:
    """Return an index of these entries."""
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}


def attestation(entry: Descriptor) -> Descriptor:
    """Return an index's entry that BuildKit would add for what it says about another entry."""
    return {
        **{key: value for key, value in entry.items() if key != "platform"},
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": entry["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }


@contextmanager
def started(folder: Path) -> Iterator[Registry]:
    """Start a registry that keeps its images in `folder`, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = folder / "settings.yml"
    settings.write_text(SETTINGS.format(folder=folder / "blobs", port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while not _answers(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the registry doesn't answer"
            time.sleep(0.05)
        yield Registry(f"127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _triple(platform: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _layer(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, data in files.items():
            header = tarfile.TarInfo(path)
            header.size, header.mode = len(data), 0o755
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()
