"""Objects whose own methods raise, or lie, as results and exceptions of tasks can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NoText:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class WrongText:
    """An object whose text is no text."""

    def __repr__(self) -> Any:
        return 7

    __str__ = __repr__


class Liar:
    """An object that raises whatever it is asked for, its class included."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Pretender:
    """An object that says it is a mapping."""

    def __getattribute__(self, name: str) -> Any:
        return dict if name == "__class__" else super().__getattribute__(name)


class _Hidden(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)

    def __subclasscheck__(cls, other: type) -> bool:
        raise RuntimeError("no answer")

    def __repr__(cls) -> str:
        raise RuntimeError("no text")


class Nameless(metaclass=_Hidden):
    """An object whose class cannot be shown either."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class BrokenMapping(dict[Any, Any]):
    """A mapping that cannot be read."""

    def items(self) -> Any:
        yield "first", 1
        raise RuntimeError("no more")

    def __repr__(self) -> str:
        return "BrokenMapping"


#: Objects that cannot be shown, or only in part.
OBJECTS: dict[str, Callable[[], Any]] = {
    "no text": NoText,
    "wrong text": WrongText,
    "liar": Liar,
    "pretender": Pretender,
    # pytest cannot show this class.
    "nameless": lambda: Nameless(),
    "broken mapping": BrokenMapping,
}
