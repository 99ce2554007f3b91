"""A network that fails at the worst moment: a proxy before a broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes everything on, until a client sends something that contains *marker*.

    From then on that client hears nothing any more. What it sent arrives at once if *delivers*; otherwise
    when :meth:`release` is called, also if the client is gone by then.
    """

    def __init__(self, server: str, marker: bytes, *, delivers: bool) -> None:
        address = urlsplit(server)
        self._server = (address.hostname, address.port)
        self._marker, self._delivers = marker, delivers
        self._released = threading.Event()
        self.marked = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = server.replace(f":{address.port}", f":{port}", 1)
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def release(self) -> None:
        """Let what was held back arrive."""
        self._released.set()

    def close(self) -> None:
        self._released.set()
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._server)
                self._sockets += client, server
                deaf = threading.Event()
                for work in (self._up, self._down):
                    threading.Thread(target=work, args=(client, server, deaf), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self._marker in data:
                    deaf.set()
                    self.marked.set()
                    if not self._delivers:
                        self._released.wait()
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not deaf.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_WR)


@contextmanager
def before(server: str, marker: bytes, *, delivers: bool) -> Iterator[Proxy]:
    with closing(Proxy(server, marker, delivers=delivers)) as proxy:
        yield proxy
