"""Hosts of their own: network namespaces, each with a cable to this one."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Host:
    """A namespace; ``command`` before a command runs it there, and at ``gateway`` it finds this host."""

    command: tuple[str, ...]
    gateway: str


@contextmanager
def host() -> Iterator[Host]:
    """A host of its own, or this one, where namespaces are not to be had: then only its disks are its own."""
    if not _may_make_namespaces():
        yield Host((), "127.0.0.1")
        return
    name = f"jt{os.getpid() % 100_000}-{next(_numbers)}"
    near, far = f"{name}n", f"{name}f"
    # From the block for tests of networks (RFC 2544).
    block = f"198.18.{os.getpid() % 250}.{next(_numbers) * 4 % 252}"
    prefix, last = block.rsplit(".", 1)
    gateway, own = f"{prefix}.{int(last) + 1}", f"{prefix}.{int(last) + 2}"
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        stack.callback(subprocess.run, ["ip", "link", "del", near], stderr=subprocess.DEVNULL)
        _ip("addr", "add", f"{gateway}/30", "dev", near)
        _ip("link", "set", near, "up")
        inside = ("netns", "exec", name, "ip")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "addr", "add", f"{own}/30", "dev", far)
        _ip(*inside, "link", "set", far, "up")
        yield Host(("ip", "netns", "exec", name), gateway)


def _may_make_namespaces() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"jt{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True)
    if tried.returncode:
        return False
    _ip("netns", "del", name)
    return True


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
