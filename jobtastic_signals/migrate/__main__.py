"""``python -m jobtastic_signals.migrate PATH...``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .libraries import LIBRARIES
from .search import search

NAMES = ", ".join(library.name for library in LIBRARIES)


def main(arguments: list[str] | None = None) -> int:
    """Print all findings; return 0, 1 if a file cannot be read, or 2 if there is no such path."""
    parser = argparse.ArgumentParser(
        prog="python -m jobtastic_signals.migrate",
        description=f"Find what a project uses of {NAMES}, and what to write instead.",
        epilog="Exit status: 0 all read, 1 a file cannot be read, 2 wrong usage.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder or a file")
    paths: list[Path] = parser.parse_args(arguments).paths
    for path in paths:
        if not path.exists():
            parser.error(f"there is no {path}")
    found = search(paths)
    for finding in found.findings:
        print(finding)
    for path, reason in found.unreadable:
        print(f"{path}: cannot be read: {reason}", file=sys.stderr)
    if not found.findings:
        print(f"Nothing of {NAMES} was found.")
    return 1 if found.unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
