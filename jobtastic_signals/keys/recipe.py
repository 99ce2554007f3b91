"""Cache keys: one text for all calls that are the same.

A key names the task's family and a digest of the call's significant arguments, bound to the task's
signature: ``f(1)``, ``f(x=1)`` and, with a default of 1, ``f()`` have one key.

Arguments count as the worker gets them (see :mod:`.delivery`), so that it makes the same key. Each becomes
bytes by the option's ``to_str``, or by the canonical encoding (see :mod:`.canonical`), and the digest is
BLAKE2b's of their names, with their lengths, and of these.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from celery import Task

from ..errors import OptionError, UnkeyableError
from ..options import Option, name_of
from .binding import OMITTED, binder_of, catch_all_in, parameters_of
from .canonical import MAX_DEPTH, chunks_of, encode
from .roundtrip import delivery_by, models_dumped, serializer_of

__all__ = ["CACHE_PREFIX", "SIGNIFICANT_KWARGS", "Argument", "KeyRecipe"]

SCHEME = "v1"

# Bytes. To join what is small is faster than to digest it piece by piece.
_WORTH_COPYING = 2**14

_MISSING = object()

ToStr = Callable[[Any], "str | bytes"]


def _parse_significant(value: Any) -> tuple[tuple[str, ToStr | None], ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError("not a list")
    parsed: dict[str, ToStr | None] = {}
    for entry in value:
        name, to_str = (entry, None) if isinstance(entry, str) else _pair(entry)
        if name in parsed:
            raise ValueError(f"{name!r} stands there twice")
        parsed[name] = to_str
    return tuple(sorted(parsed.items(), key=lambda item: item[0]))


def _pair(entry: Any) -> tuple[str, ToStr]:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise TypeError(f"{entry!r} is neither a name nor a pair of name and function")
    name, to_str = entry
    if not isinstance(name, str) or not callable(to_str):
        raise TypeError(f"{entry!r} is not a pair of name and function")
    return name, to_str


def _parse_prefix(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value):
        return value
    raise TypeError("not a text, or an empty one")


SIGNIFICANT_KWARGS = Option(
    "significant_kwargs",
    default=None,
    accepts="a list of argument names of the task, or of (name, to_str) pairs; an empty list makes all "
    "calls the same",
    parse=_parse_significant,
)

CACHE_PREFIX = Option(
    "cache_prefix",
    default=None,
    accepts="a text that names the family of calls which share results",
    parse=_parse_prefix,
)


class Argument(NamedTuple):
    """One argument of a call, as it goes into the key.

    :ivar name: of the parameter, or the keyword that ``**kwargs`` caught.
    :ivar form: the bytes that it adds to the key.
    :ivar given: as the caller wrote it.
    :ivar value: as the worker gets it.
    :ivar to_str: what the option makes text of it with; ``None`` for the canonical encoding.
    :ivar is_default: whether the call leaves it to its default.
    :ivar is_missing: whether it is significant, but neither given nor a parameter.
    """

    name: str
    form: bytes
    given: Any = None
    value: Any = None
    to_str: ToStr | None = None
    is_default: bool = False
    is_missing: bool = False


class _Part(NamedTuple):
    """One argument in the recipe: its name, also as bytes, and its place among what the binder returns."""

    name: str
    label: bytes
    to_str: ToStr | None
    place: int | None

    def value_in(self, values: tuple[Any, ...]) -> Any:
        """Its value among *values*, in the last of which are those that ``**kwargs`` caught."""
        return values[self.place] if self.place is not None else values[-1].get(self.name, _MISSING)


class KeyRecipe:
    """How to make the keys of one task; what can be done once for all its calls is done here.

    :param task: the task class, its annotations applied.
    :param options: its options, read.
    :raises OptionError: if ``significant_kwargs`` names what the task does not take.
    """

    def __init__(self, task: type[Task], options: Mapping[str, Any]) -> None:
        self._prefix: str | None = options["cache_prefix"]
        self._parameters = parameters_of(task)
        self._bind = binder_of(self._parameters.values(), getattr(task, "__name__", "run"))
        self._catch_all = catch_all_in(self._parameters)
        significant = options["significant_kwargs"]
        self._check_names(task, significant)
        if significant is None:
            significant = [(name, None) for name in sorted(self._parameters)]
        places = {name: index for index, name in enumerate(self._parameters)}
        self._parts = [_Part(name, _label(name), to_str, places.get(name)) for name, to_str in significant]
        self._default_forms: dict[str, list[bytes]] = {}

    def key(self, task: Task, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None) -> str:
        """The key of calling *task* with *args* and *kwargs*.

        :raises TypeError: if the task does not take such arguments.
        :raises UnkeyableError: for an argument that has no canonical form.
        """
        deliver = delivery_by(serializer_of(task))
        values = self._bound(task, args, kwargs)
        chunks: list[bytes] = []
        for part in self._parts:
            chunks.append(part.label)
            try:
                chunks += self._form_of(task, part, part.value_in(values), deliver)
            except RecursionError:
                reason = f"{part.name} nests deeper than {MAX_DEPTH} levels, or the call stack is nearly full"
                raise self._refusal(task, part.name, reason) from None
        digest = hashlib.blake2b(digest_size=20)
        if sum(map(len, chunks)) < _WORTH_COPYING:
            chunks = [b"".join(chunks)]
        for chunk in chunks:
            digest.update(chunk)
        return f"{SCHEME}:{self.prefix_of(task)}:{digest.hexdigest()}"

    def remember_defaults(self, task: Task) -> None:
        """Fix what defaults count as, before a body can change them."""
        deliver = delivery_by(serializer_of(task))
        for part in self._parts:
            if part.to_str is None and self._has_default(part.name):
                self._form_of_default(task, part, deliver)

    def prefix_of(self, task: Task) -> str:
        """The name of the family of calls that share with *task*."""
        return self._prefix or task.name

    def arguments(
        self, task: Task, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None
    ) -> Iterator[Argument]:
        """What goes into :meth:`key`, in the same order."""
        deliver = delivery_by(serializer_of(task))
        values = self._bound(task, args, kwargs)
        for part in self._parts:
            given = part.value_in(values)
            form = b"".join(self._form_of(task, part, given, deliver))
            if given is _MISSING:
                yield Argument(part.name, form, to_str=part.to_str, is_missing=True)
                continue
            value = self._default_of(task, part.name) if given is OMITTED else given
            delivered = deliver(value) if part.name != self._catch_all else _one_by_one(value, deliver)
            yield Argument(part.name, form, value, delivered, part.to_str, is_default=given is OMITTED)

    def insignificant(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What of a call does not count: the arguments that it gives and the key leaves out."""
        given = dict(zip(self._parameters, self._bind(*args, **kwargs), strict=True))
        names = {part.name for part in self._parts}
        if self._catch_all is not None and self._catch_all not in names:
            given.update(given.pop(self._catch_all))
        return {name: value for name, value in given.items() if value is not OMITTED and name not in names}

    def _bound(self, task: Task, args: Any, kwargs: Any) -> tuple[Any, ...]:
        args, kwargs = models_dumped(task, args or (), kwargs or {})
        return self._bind(*args, **kwargs)

    def _form_of(self, task: Task, part: _Part, value: Any, deliver: Callable[[Any], Any]) -> list[bytes]:
        if value is _MISSING:
            return [b"-"]
        if value is OMITTED:
            if part.to_str is None:
                return self._form_of_default(task, part, deliver)
            value = self._default_of(task, part.name)
        value = deliver(value) if part.name != self._catch_all else _one_by_one(value, deliver)
        if part.to_str is not None:
            text = text_of(task, part.name, value, part.to_str)
            return [b"t%d:" % len(text), text]
        try:
            return chunks_of(value, name=part.name)
        except TypeError as error:
            raise self._refusal(task, *self._caught_name(part.name, value, str(error))) from None

    def _form_of_default(self, task: Task, part: _Part, deliver: Callable[[Any], Any]) -> list[bytes]:
        if part.name not in self._default_forms:
            try:
                form = chunks_of(deliver(self._default_of(task, part.name)))
            except TypeError:
                # Such as a bare object(): no message carries it, so it is always this one.
                form = [b"="]
            self._default_forms[part.name] = form
        return self._default_forms[part.name]

    def _has_default(self, name: str) -> bool:
        parameter = self._parameters.get(name)
        return parameter is not None and parameter.default is not parameter.empty

    def _default_of(self, task: Task, name: str) -> Any:
        return models_dumped(task, (), {name: self._parameters[name].default})[1][name]

    def _caught_name(self, name: str, value: Any, reason: str) -> tuple[str, str]:
        """The name by which the caller knows what is refused, and why it is."""
        for caught, item in value.items() if name == self._catch_all else ():
            try:
                encode(item, name=caught)
            except TypeError as error:
                return caught, str(error)
        return name, reason

    def _refusal(self, task: Task, name: str, reason: str) -> UnkeyableError:
        return UnkeyableError(
            f"task {task.name!r}: argument {name!r} has no canonical form: {reason}. Give it a to_str in "
            f"significant_kwargs that makes a text of it, as ({name!r}, my_function); or leave it out there; "
            "or tell keys of its type with jobtastic_signals.register_type",
            argument=name,
        )

    def _check_names(self, task: type[Task], significant: Iterable[tuple[str, Any]] | None) -> None:
        for name, _ in significant or ():
            if name == self._catch_all:
                raise OptionError(
                    f"task {name_of(task)!r}: significant_kwargs names {name!r}, which catches all other "
                    "keywords; it takes the names of those that matter"
                )
            if name not in self._parameters and self._catch_all is None:
                raise OptionError(
                    f"task {name_of(task)!r}: significant_kwargs names {name!r}, which is no argument of "
                    f"the task; it takes {', '.join(self._parameters) or 'none'}"
                )


def _one_by_one(caught: Mapping[str, Any], deliver: Callable[[Any], Any]) -> dict[str, Any]:
    """What ``**kwargs`` caught, as delivered: in a message its items stand beside the other arguments."""
    return {name: deliver(value) for name, value in caught.items()}


def text_of(task: Task, name: str, value: Any, to_str: ToStr) -> bytes:
    """What *to_str* makes of *value*, the argument *name*.

    :raises UnkeyableError: if it fails, or makes what is no text, or an address in memory.
    """
    try:
        text = to_str(value)
    except Exception as error:
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} failed: {error!r}", argument=name
        ) from error
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} gave {type(text).__name__}; it has to give "
            "str or bytes",
            argument=name,
        )
    if text is not value and " at 0x" in text and _has_own_address(text, value):
        raise UnkeyableError(
            f"task {task.name!r}: the to_str of argument {name!r} gave {text[:200]!r}, which has an address "
            "in memory: no other process has the same, and another object can get it. Make the text of what "
            "tells one value from another, as its primary key",
            argument=name,
        )
    return text.encode("utf-8", "surrogatepass")


_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def _has_own_address(text: str, value: Any) -> bool:
    """Whether *text* has an address that is not in the data of *value*, which may well speak of addresses."""
    try:
        data = encode(value).lower()
    except TypeError:
        data = b""
    return any(address.lower().encode() not in data for address in _ADDRESS.findall(text))


def _label(name: str) -> bytes:
    raw = name.encode("utf-8", "surrogatepass")
    return b"n%d:%b" % (len(raw), raw)
