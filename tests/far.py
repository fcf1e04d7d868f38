"""The machine's own engine as one that is reached over TCP, through a proxy that can cut connections."""

from __future__ import annotations

import contextlib
import socket
import threading


class FarEngine:
    """A proxy before the engine's socket, for whoever's `DOCKER_HOST` is its `address`."""

    def __init__(self, host: str) -> None:
        self._server = socket.create_server((host, 0))
        self.address = f"tcp://{host}:{self._server.getsockname()[1]}"
        self._open: list[tuple[bytes, socket.socket, socket.socket]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self, word: str = "") -> None:
        """Cut the connections whose first request has this word in it."""
        for first, *ends in self._open:
            if word.encode() in first:
                for end in ends:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections, and cut those that are there."""
        self._server.close()
        self.cut()
        for _, *ends in self._open:
            for end in ends:
                end.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        first, engine = b"", socket.socket(socket.AF_UNIX)
        engine.connect("/var/run/docker.sock")
        with contextlib.suppress(OSError):
            first = client.recv(65536)
            engine.sendall(first)
        self._open.append((first, client, engine))
        for ends in ((client, engine), (engine, client)):
            threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
