"""What a Memcached server holds, looked at past the store."""

import re
import socket
from contextlib import closing, contextmanager

from pymemcache.client.base import Client

__all__ = ["client_of", "flush", "items_of"]


@contextmanager
def client_of(url):
    place = url.removeprefix("memcached://")
    with closing(Client(place, timeout=5, connect_timeout=5, default_noreply=False)) as client:
        yield client


def flush(url):
    with client_of(url) as client:
        client.flush_all()


def items_of(url):
    """All that a server holds: name, and when it goes, as a Unix time or -1."""
    with client_of(url) as client, socket.create_connection(client.server, 5) as connection:
        connection.sendall(b"lru_crawler metadump hash\r\n")
        lines = iter(connection.makefile().readline, "END\n")
        listed = {name: int(end) for name, end in (re.findall(r"=(\S+)", line)[:2] for line in lines)}
        return {name: end for name, end in listed.items() if client.get(name) is not None}
