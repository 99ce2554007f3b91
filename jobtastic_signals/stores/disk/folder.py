"""Which folder a URL names, whom it belongs to, and who else could change what is in it.

As ssh does for keys: whoever can write to a folder, or put another one in its place, decides what is in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...errors import SettingError, StoreError
from ...support.redaction import redacted_repr

__all__ = ["check_folder", "folder_of", "make_folders"]

_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH

#: The user that may own a folder above ours, beside our own.
_ROOT = 0


def folder_of(url: str) -> Path:
    """Return the folder that *url* names."""
    try:
        parts = urlsplit(url)
        folder = "" if parts.netloc else unquote(parts.path)
    except ValueError:
        folder = ""
    if not folder.startswith("/") or "\0" in folder:
        raise SettingError(
            f"jobtastic_store={redacted_repr(url)} names no folder; write disk:///absolute/path, or disk:// "
            "alone for the default folder of this user"
        )
    return Path(folder)


def make_folders(folder: Path) -> None:
    """Make *folder* and the missing folders above it, for their owner alone, whatever the umask is."""
    missing = [folder]
    while not missing[-1].exists() and not missing[-1].is_symlink():
        missing.append(missing[-1].parent)
    for path in reversed(missing[:-1]):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            path.chmod(0o700)


def check_folder(folder: Path, contents: tuple[str, ...] = ()) -> None:
    """Check that nobody but this user can change what is in *folder*.

    :param contents: paths below it that are checked too, if they are there.
    :raises StoreError: if somebody else could, with the remedy.
    """
    if not hasattr(os, "geteuid"):
        return  # Windows has neither owners nor modes like this.
    for path in (folder, *(folder / name for name in contents)):
        with suppress(FileNotFoundError):
            problem = _problem_of(path.lstat(), may_be_sticky=False, may_be_roots=False)
            _refuse(folder, path, problem)
    for path in _above(folder):
        _refuse(folder, path, _problem_above(path))


def _above(folder: Path) -> Iterator[Path]:
    """Yield each folder above *folder*, by its name and by where links lead."""
    yield from dict.fromkeys([*folder.parents, *folder.resolve().parents])


def _problem_above(path: Path) -> str | None:
    found = path.lstat()
    if not stat.S_ISLNK(found.st_mode):
        return _problem_of(found, may_be_sticky=True, may_be_roots=True)
    # What a link leads to is checked by its own name.
    return None if found.st_uid in (os.geteuid(), _ROOT) else "is a symbolic link of another user"


def _problem_of(found: os.stat_result, *, may_be_sticky: bool, may_be_roots: bool) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if found.st_uid != os.geteuid() and not (may_be_roots and found.st_uid == _ROOT):
        return f"belongs to another user ({found.st_uid}, and this process runs as {os.geteuid()})"
    # In a sticky folder, such as /tmp, others cannot rename what is ours.
    if found.st_mode & _OF_OTHERS and not (may_be_sticky and found.st_mode & stat.S_ISVTX):
        return f"can be written by others (its mode is {stat.S_IMODE(found.st_mode):04o})"
    return None


def _refuse(folder: Path, path: Path, problem: str | None) -> None:
    if problem is not None:
        raise StoreError(
            f"disk://{folder} is refused, because {path} {problem}: whoever can change it could put in other "
            "results. Name a folder that does not exist yet, in one that only this user can write to; it is "
            "made with mode 0700. Or, if you trust all who can write there, set "
            'jobtastic_store_options = {"trust_folder": True}'
        )
