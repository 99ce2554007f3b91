"""The sentences that users read: pages, and the docstrings of public names.

``python -m tests.support.prose`` lists the long ones.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from docs.extensions.public import MODULES
from tests.support.pages import PAGES, ROOT, name_of

#: More words than this are too many for a reader whose first language is another.
LONG = 30

_CODE = re.compile(r"^( *)```.*?^\1```$|<!--.*?-->|^\[[^]]+\]: \S+$|<[a-z][^>]*>", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^]]*)\]\([^)]*\)|\[([^]]*)\]\[[^]]*\]")
_WORD = re.compile(r"`+[^`]*`+|[\w'-]+(?:\.\w+)*")
_END = re.compile(r"(?<=[.!?:])[\"')*_]*\s+(?=[\"'(*_`]*[A-Z0-9`<{\[])")


@dataclass(frozen=True)
class Sentence:
    """One sentence, and where it stands."""

    place: str
    text: str

    @property
    def words(self) -> int:
        """How many words it has; code counts as one."""
        return len(_WORD.findall(self.text))


def sentences() -> Iterator[Sentence]:
    """Yield all sentences of the pages and of public docstrings."""
    for page in (*PAGES, ROOT / "CHANGELOG.md"):
        yield from sentences_of(name_of(page), _CODE.sub("", page.read_text()))
    for name, text in docstrings():
        yield from sentences_of(name, prose_of(text))


def sentences_of(place: str, text: str) -> Iterator[Sentence]:
    """Yield the sentences of *text*. A heading, an item of a list and a cell of a table end one."""
    text = _LINK.sub(lambda found: found[1] or found[2], text)
    text = re.sub(r"^#+ .*$|^\|[-| :]+\|$", "", text, flags=re.MULTILINE)
    text = re.sub(
        r"^\|(.*)\|$", lambda row: "\n\n" + row[1].replace(" | ", "\n\n") + "\n\n", text, flags=re.MULTILINE
    )
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in _END.split(" ".join(paragraph.split())):
            if _WORD.search(sentence):
                yield Sentence(place, sentence)


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the docstring of each public name and of its public methods."""
    for module in map(import_module, MODULES):
        yield module.__name__, module.__doc__ or ""
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.ismodule(found):
                continue
            yield f"{module.__name__}.{name}", found.__doc__ or ""
            for attribute, member in vars(found).items() if inspect.isclass(found) else ():
                if not attribute.startswith("_") and callable(member):
                    yield f"{module.__name__}.{name}.{attribute}", member.__doc__ or ""


def prose_of(docstring: str) -> str:
    """Return *docstring* without its examples, and with each field as a paragraph."""
    text = inspect.cleandoc(docstring)
    text = re.sub(r"^>>>.*?(?=\n\n|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"::\n\n(?: +.*\n?|\n)+", ".\n\n", text)
    return re.sub(r"^:(?:\w+ )?[\w, ]+: ", "\n\n", text, flags=re.MULTILINE)


def main() -> None:
    """Print the long sentences, the longest first."""
    found = list(sentences())
    long = sorted((each for each in found if each.words > LONG), key=lambda each: -each.words)
    for each in long:
        print(f"{each.words:3} {each.place}: {each.text}")
    print(f"{len(long)} of {len(found)} sentences have more than {LONG} words.")


if __name__ == "__main__":
    main()
