"""The pages of the documentation, and the blocks of code that they show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: All pages that people read, in the repository and on the site.
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]

_BLOCK = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"# ([\w./-]+\.\w+|Dockerfile)\n")


@dataclass(frozen=True)
class Block:
    """A block of code on a page."""

    page: Path
    language: str
    code: str

    @property
    def file(self) -> str | None:
        """The name of the file that it shows, which its first line says."""
        named = _NAME.match(self.code)
        return named[1] if named else None


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of *page* in order."""
    for found in _BLOCK.finditer(page.read_text()):
        yield Block(page, found[2], re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE))


def all_blocks(*languages: str) -> list[Block]:
    """All blocks in one of *languages*."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def write_files(page: Path, folder: Path) -> None:
    """Write the modules that *page* shows, by the names in their first lines. One without is ``proj.py``."""
    for block in reversed(list(blocks_of(page))):
        if block.language == "python":
            (folder / (block.file or "proj.py")).write_text(block.code)


def name_of(page: Path) -> str:
    """A short name for the output of a test."""
    return str(page.relative_to(ROOT))
