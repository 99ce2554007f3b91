"""The folder of a ``disk://`` store: who can write there, and how much."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .base import Finding, mend, note, ok

__all__ = ["check_folder", "why_unusable"]

#: Bytes free below which there is little room.
LITTLE_ROOM = 100_000_000


def why_unusable(folder: Path) -> Finding | None:
    """What keeps this process from trying *folder* out, if anything; it is not made to find that out.

    Made by the wrong user, it would be of no use to those who need it.
    """
    user = _name_of(os.geteuid())
    if folder.exists():
        if _is_writable(folder):
            return None
        return mend(
            "store",
            f"the user {user} cannot write in {folder}, which is {_about(folder)}",
            "Run callers, workers and this check as one user",
        )
    parent = next(parent for parent in folder.parents if parent.exists())
    if _is_writable(parent):
        return note("store", f"{folder} is not there yet: who needs it first makes it, for that user alone")
    return mend(
        "store",
        f"{folder} is not there, and the user {user} cannot make it: {parent} is {_about(parent)}",
        "Make it, for the user that callers and workers run as",
    )


def check_folder(folder: Path) -> Iterator[Finding]:
    """What there is to know of *folder*, which is there."""
    free = shutil.disk_usage(folder).free
    yield ok("store", f"the folder is {_about(folder)}, with {_size(free)} free")
    if free < LITTLE_ROOM:
        yield note("store", "there is little room: once the disk is full, nothing is shared")
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH:
        yield mend(
            "store",
            "everybody on this host can write there, and so tell what tasks return",
            f"chmod o-w {shlex.quote(str(folder))}",
        )
    elif mode & stat.S_IWGRP:
        yield note("store", "its group can write there, and so tell what tasks return")


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _about(path: Path) -> str:
    """Its permissions and its owner, as ``drwx------ of ada``."""
    status = path.stat()
    return f"{stat.filemode(status.st_mode)} of {_name_of(status.st_uid)}"


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # Nobody whom this host knows, as can be in a container.
        return str(user)


def _size(number: float) -> str:
    """*number* bytes, for people.

    >>> _size(41_200_000_000), _size(99_999_999)
    ('41.2 GB', '100 MB')
    """
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
