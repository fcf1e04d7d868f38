"""Serve OCI layouts as a read-only image registry on the loopback address.

The engine's own builder on the classic image store knows no `oci-layout://` (moby registers that source with the
containerd store only), so there the base images come from `docker-image://127.0.0.1:PORT/NAME@sha256:...`.
The server ends by itself when its folder goes away.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path

REQUEST = re.compile(r"/v2/(?P<name>[a-z]+)/(?:manifests|blobs)/(?P<reference>[A-Za-z0-9:._-]+)")
SECONDS_BETWEEN_LOOKS = 5
TLS_HANDSHAKE = b"\x16"


class Registry(ThreadingHTTPServer):
    """Hold the folder of layouts, one below it per image name."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder

    def find(self, path: str) -> Path | None:
        """Return the file of the manifest or blob that the request's path names, if there is one."""
        matched = REQUEST.fullmatch(path)
        if matched is None:
            return None
        layout = self.folder / matched["name"]
        algorithm, _, digest = matched["reference"].partition(":")
        if not digest and (layout / "index.json").exists():
            only = json.loads((layout / "index.json").read_bytes())["manifests"][0]
            algorithm, _, digest = only["digest"].partition(":")
        blob = layout / "blobs" / algorithm / digest
        return blob if blob.is_file() else None

    def serve(self) -> None:
        """Answer requests for as long as the folder is there."""
        self.timeout = SECONDS_BETWEEN_LOOKS
        while self.folder.is_dir():
            self.handle_request()


class Handler(BaseHTTPRequestHandler):
    """Answer what a client that pulls asks for."""

    protocol_version = "HTTP/1.1"
    server: Registry

    def handle_one_request(self) -> None:
        """Answer a client that tries TLS first in the way that makes it fall back to plain HTTP."""
        if isinstance(self.rfile, BufferedReader) and self.rfile.peek(1)[:1] == TLS_HANDSHAKE:
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.close_connection = True
        else:
            super().handle_one_request()

    def do_HEAD(self) -> None:
        """Say what a manifest or blob is, and return nothing of it."""
        self._answer()

    def do_GET(self) -> None:
        """Send a manifest or blob."""
        blob = self._answer()
        if blob is not None:
            with blob.open("rb") as content:
                shutil.copyfileobj(content, self.wfile, 1 << 20)

    def _answer(self) -> Path | None:
        blob = self.server.find(self.path)
        self.send_response(200 if blob or self.path == "/v2/" else 404)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Length", str(blob.stat().st_size if blob else 0))
        if blob is not None:
            self.send_header(
                "Content-Type", _media_type(blob) if "/manifests/" in self.path else "application/octet-stream"
            )
            self.send_header("Docker-Content-Digest", f"sha256:{blob.name}")
        self.end_headers()
        return blob

    def log_message(self, *_: object) -> None:
        """Say nothing: the client reports what goes wrong."""


def _media_type(manifest: Path) -> str:
    return str(json.loads(manifest.read_bytes())["mediaType"])


def main() -> None:
    """Serve the folder named as the argument and print the address once it answers."""
    registry = Registry(Path(sys.argv[1]).resolve(strict=True))
    host, port = registry.server_address[:2]
    sys.stdout.write(f"{host!s}:{port}\n")
    sys.stdout.flush()
    registry.serve()


if __name__ == "__main__":
    main()
