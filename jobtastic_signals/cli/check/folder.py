"""The folder of a ``disk://`` store: who can write to it, and how much space is left."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from .base import Finding, fix, note, ok

__all__ = ["check_folder", "why_unusable"]

#: Less free space than this many bytes is little.
LITTLE_SPACE = 100_000_000


def why_unusable(folder: Path) -> Finding | None:
    """Return why this process cannot try *folder*, or ``None`` if it can.

    A folder that does not exist is not created. If the wrong user created it, others could not use it.
    """
    user = _name_of(os.geteuid())
    if folder.exists():
        if _is_writable(folder):
            return None
        return fix(
            "store",
            f"the user {user} cannot write to {folder}, which is {_about(folder)}",
            "Run callers, workers and this check as the same user",
        )
    parent = next(parent for parent in folder.parents if parent.exists())
    if _is_writable(parent):
        return note(
            "store",
            f"{folder} does not exist yet; the first process that uses it creates it, for its own user only",
        )
    return fix(
        "store",
        f"{folder} does not exist, and the user {user} cannot create it: {parent} is {_about(parent)}",
        "Create it as the user that callers and workers run as",
    )


def check_folder(folder: Path) -> Iterator[Finding]:
    """Yield findings about *folder*, which exists."""
    free = shutil.disk_usage(folder).free
    yield ok("store", f"the folder is {_about(folder)}, with {_size(free)} free")
    if free < LITTLE_SPACE:
        yield note(
            "store", "there is little space left; once the disk is full, nothing is shared", "Free some space"
        )
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH:
        yield fix(
            "store",
            "every user of this host can write to it, and so decide what tasks return",
            f"chmod o-w {shlex.quote(str(folder))}",
        )
    elif mode & stat.S_IWGRP:
        yield note("store", "its group can write to it, and so decide what tasks return")


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _about(path: Path) -> str:
    """Return the permissions and the owner, such as ``drwx------ of ada``."""
    status = path.stat()
    return f"{stat.filemode(status.st_mode)} of {_name_of(status.st_uid)}"


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # This host does not know the user, such as in a container.
        return str(user)


def _size(number: float) -> str:
    """Return *number* bytes as people write it.

    >>> _size(41_200_000_000), _size(99_999_999)
    ('41.2 GB', '100 MB')
    """
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
