"""What is known of another library, and a place where it is used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

__all__ = ["Advice", "Entries", "Finding", "Library", "Use", "uses_of"]


#: In a URL.
_PASSWORD = re.compile(r"://[^\s'\"]*@")

#: A line, what is there, and what to write instead.
Use: TypeAlias = tuple[int, str, str]


@dataclass(frozen=True)
class Entries:
    """What to write instead of a dict.

    :ivar known: the same for each of its keys.
    :ivar absent: what to write where a key is missing, by the key.
    """

    known: Mapping[str, Advice]
    absent: Mapping[str, str] = field(default_factory=dict)

    def uses(self, name: str, value: ast.expr) -> Iterator[Use]:
        """Yield what to write instead of each entry of the dict *value*, which is called *name*."""
        if not isinstance(value, ast.Dict):
            yield value.lineno, f"{name} = {ast.unparse(value)}", f"one for each of {', '.join(self.known)}"
            return
        pairs = zip(value.keys, value.values, strict=True)
        given = {key.value: item for key, item in pairs if isinstance(key, ast.Constant)}
        for key, item in given.items():
            advice = self.known.get(str(key), "nothing; it has no counterpart")
            yield from uses_of(f"{name}[{key!r}]", item, advice)
        for key, instead in self.absent.items():
            if key not in given:
                yield value.lineno, f"{name} without {key!r}", instead


#: What to write instead, where ``{value}`` is the value that was there.
Advice: TypeAlias = "str | Entries"


def uses_of(name: str, value: ast.expr, advice: Advice) -> Iterator[Use]:
    """Yield what to write instead of a name and its value."""
    if isinstance(advice, Entries):
        yield from advice.uses(name, value)
    else:
        shown = ast.unparse(value)
        yield value.lineno, f"{name} = {shown}", advice.replace("{value}", shown)


@dataclass(frozen=True)
class Library:
    """What to write instead of each name of a library.

    :ivar name: its name on PyPI.
    :ivar module: its top-level module.
    :ivar imports: what is imported from it.
    :ivar bases: the classes that tasks are derived from.
    :ivar options: keyword arguments of calls and decorators, and attributes of classes.
    :ivar settings: names in the configuration of Celery, or of Django.
    :ivar methods: what is called on an object, or overridden.
    :ivar texts: words in templates, scripts and other strings.
    """

    name: str
    module: str
    imports: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Advice] = field(default_factory=dict)
    settings: Mapping[str, Advice] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Finding:
    """A place where a library is used.

    :ivar found: what is there.
    :ivar instead: what to write.
    """

    path: Path
    line: int
    library: str
    found: str
    instead: str

    def __str__(self) -> str:
        text = f"{self.path}:{self.line}: {self.library}: {self.found}\n    {self.instead}"
        return _PASSWORD.sub("://**@", text)
