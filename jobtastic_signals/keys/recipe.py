"""Cache keys: one text for all identical calls.

A key consists of a prefix and a digest of the call's significant arguments. They are bound to the task's
signature, so ``f(1)``, ``f(x=1)`` and, if 1 is the default, ``f()`` have the same key.

An argument counts as the worker receives it (see :mod:`.roundtrip`), so that the worker makes the same key.
It is turned into bytes by the option's ``to_str``, or by the canonical encoding (see :mod:`.canonical`). The
digest is BLAKE2b of these bytes and of the names of the arguments, with their lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import Task

from ..errors import OptionError
from ..options import name_of
from .binding import OMITTED, binder_of, catch_all_in, parameters_of
from .canonical import MAX_DEPTH, WRITERS, chunks_of, encode
from .context import KEY_CONTEXT, ContextOfCall, KeyContext, form_of
from .refusal import refusal
from .roundtrip import arrival_of, delivery_by, models_dumped, serializer_of
from .texts import ToStr, text_of

if TYPE_CHECKING:
    from hashlib import blake2b

__all__ = ["Argument", "KeyRecipe"]

SCHEME = "v1"

# Bytes. It is faster to join small chunks than to hash them one by one.
_WORTH_COPYING = 2**14

_MISSING = object()

#: The context of whoever calls now, without headers.
HERE = KeyContext()


class Argument(NamedTuple):
    """One argument of a call and what it adds to the key.

    :ivar name: the name of the parameter, or of the keyword that ``**kwargs`` caught.
    :ivar form: the bytes that it adds to the key.
    :ivar given: its value at the caller.
    :ivar value: its value at the worker.
    :ivar to_str: the function that turns it into text; ``None`` for the canonical encoding.
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
    """One argument in the recipe: its name, its name as bytes, and its place in what the binder returns."""

    name: str
    label: bytes
    to_str: ToStr | None
    place: int | None

    def value_in(self, values: tuple[Any, ...]) -> Any:
        """Return its value among *values*. The last of them contains what ``**kwargs`` caught."""
        return values[self.place] if self.place is not None else values[-1].get(self.name, _MISSING)


class KeyRecipe:
    """How to make the keys of one task. The work that is the same for all calls is done once, here.

    :ivar prefix: the option ``cache_prefix``; ``None`` for the name of the task.
    :param task: the task class, its annotations applied.
    :param options: its options, read.
    :param app_context: returns the ``key_context`` of the app, for a task without its own.
    :raises OptionError: if ``significant_kwargs`` names an argument that the task does not take.
    """

    def __init__(
        self,
        task: type[Task[Any, Any]],
        options: Mapping[str, Any],
        app_context: Callable[[], ContextOfCall | None] = lambda: None,
    ) -> None:
        from hashlib import blake2b  # It takes as long as a tenth of this package, and only tasks need it.

        self._blake2b = blake2b
        self._context, self._app_context = options.get(KEY_CONTEXT.name), app_context
        self.prefix: str | None = options["cache_prefix"]
        self._parameters = parameters_of(task)
        self._bind = binder_of(self._parameters.values(), getattr(task, "__name__", "run"))
        self._catch_all = catch_all_in(self._parameters)
        significant = options["significant_kwargs"]
        self._check_names(task, significant)
        if significant is None:
            significant = [(name, None) for name in sorted(self._parameters)]
        places = {name: index for index, name in enumerate(self._parameters)}
        self._parts = [_Part(name, _label(name), to_str, places.get(name)) for name, to_str in significant]
        self._names = frozenset(part.name for part in self._parts)
        self._default_forms: dict[str, list[bytes]] = {}
        self._has_remembered = False

    @property
    def significant(self) -> list[tuple[str, ToStr | None]]:
        """The names of the arguments that count, each with its ``to_str``."""
        return [(part.name, part.to_str) for part in self._parts]

    @property
    def counts_any_keyword(self) -> bool:
        """Whether there is a ``**kwargs``, and all that it catches counts."""
        return self._catch_all in self._names

    @cached_property
    def context(self) -> ContextOfCall | None:
        """The function that says what adds to the keys beside the arguments, if there is one."""
        return self._context or self._app_context()

    def key(
        self,
        task: Task[Any, Any],
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        context: KeyContext = HERE,
    ) -> str:
        """Return the key of calling *task* with *args* and *kwargs* in *context*.

        :raises TypeError: if the task does not take such arguments.
        :raises UnkeyableError: for an argument or a context that has no canonical form.
        """
        deliver, args, kwargs = arrival_of(task, args or (), kwargs or {})
        values = self._bind(*args, **kwargs)
        chunks: list[bytes] = []
        is_large, unchanged = False, deliver.unchanged
        for part in self._parts:
            name, label, to_str, place = part
            value = values[place] if place is not None else values[-1].get(name, _MISSING)
            chunks.append(label)
            kind = type(value)
            if to_str is None and kind in unchanged and (kind is not str or value.isascii()):
                WRITERS[kind](value, chunks, 1)
            elif value is OMITTED and name in self._default_forms:
                chunks += self._default_forms[name]
            else:
                try:
                    chunks += self._form_of(task, part, value, deliver)
                except RecursionError:
                    reason = f"{name} nests deeper than {MAX_DEPTH} levels, or the call stack is nearly full"
                    raise refusal(task, name, reason) from None
            # A large text, or many numbers, come last in their form.
            is_large = is_large or len(chunks[-1]) > _WORTH_COPYING
        if self.context is not None:
            chunks.append(form_of(task, self.context, context)[1])
        digest = self._digest_of(chunks) if is_large else self._blake2b(b"".join(chunks), digest_size=20)
        return f"{SCHEME}:{self.prefix or task.name}:{digest.hexdigest()}"

    def _digest_of(self, chunks: Iterable[bytes]) -> blake2b:
        """Return the digest of *chunks* without a copy of them."""
        digest = self._blake2b(digest_size=20)
        for chunk in chunks:
            digest.update(chunk)
        return digest

    def remember_defaults(self, task: Task[Any, Any]) -> None:
        """Record the forms of the defaults before a body can change the defaults."""
        if self._has_remembered:
            return
        deliver = delivery_by(serializer_of(task))
        for part in self._parts:
            if part.to_str is None and self._has_default(part.name):
                self._form_of_default(task, part, deliver)
        self._has_remembered = True

    def makes(self, task: Task[Any, Any], key: str) -> bool:
        """Return whether *key* has the prefix of *task*."""
        return key.startswith(f"{SCHEME}:{self.prefix_of(task)}:")

    def known_name(self, argument: str | None) -> str | None:
        """Return *argument* if the task or an option names it; ``None`` for any other keyword."""
        return argument if argument in {*self._parameters, *self._names, KEY_CONTEXT.name} else None

    def prefix_of(self, task: Task[Any, Any]) -> str:
        """Return the prefix of *task*'s keys. Tasks with the same prefix share."""
        return self.prefix or task.name

    def arguments(
        self, task: Task[Any, Any], args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None
    ) -> Iterator[Argument]:
        """Yield the arguments that go into :meth:`key`, in the same order."""
        deliver, args, kwargs = arrival_of(task, args or (), kwargs or {})
        values = self._bind(*args, **kwargs)
        for part in self._parts:
            given = part.value_in(values)
            form = b"".join(self._form_of(task, part, given, deliver))
            if given is _MISSING:
                yield Argument(part.name, form, to_str=part.to_str, is_missing=True)
                continue
            value = self._default_of(task, part.name) if given is OMITTED else given
            delivered = deliver(value) if part.name != self._catch_all else _one_by_one(value, deliver)
            yield Argument(part.name, form, value, delivered, part.to_str, is_default=given is OMITTED)
        if self.context is not None:
            value, form = form_of(task, self.context, HERE)
            yield Argument(KEY_CONTEXT.name, form, value, value)

    def values(
        self, task: Task[Any, Any], args: Any, kwargs: Any, wanted: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Return arguments by name, defaults included, as the worker receives them.

        :param wanted: the names; ``None`` for all.
        """
        deliver, args, kwargs = arrival_of(task, args or (), kwargs or {})
        return {
            name: deliver(self._default_of(task, name) if value is OMITTED else value)
            for name, value in self._given(args, kwargs).items()
            if wanted is None or name in wanted
        }

    def insignificant(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call that do not count for the key."""
        if self.counts_any_keyword:
            return {}
        given = self._given(args, kwargs).items()
        return {name: value for name, value in given if value is not OMITTED and name not in self._names}

    def _given(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name, those that ``**kwargs`` catches among them."""
        given = dict(zip(self._parameters, self._bind(*args, **kwargs), strict=True))
        if self._catch_all is not None:
            given.update(given.pop(self._catch_all))
        return given

    def _form_of(
        self, task: Task[Any, Any], part: _Part, value: Any, deliver: Callable[[Any], Any]
    ) -> list[bytes]:
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
            name, reason = self._caught_name(part.name, value, str(error))
            raise refusal(task, name, reason, value) from None

    def _form_of_default(
        self, task: Task[Any, Any], part: _Part, deliver: Callable[[Any], Any]
    ) -> list[bytes]:
        if part.name not in self._default_forms:
            try:
                form = chunks_of(deliver(self._default_of(task, part.name)))
            except TypeError:
                # Such as a plain object(). No message can carry it, so it is always the same one.
                form = [b"="]
            self._default_forms[part.name] = form
        return self._default_forms[part.name]

    def _has_default(self, name: str) -> bool:
        parameter = self._parameters.get(name)
        return parameter is not None and parameter.default is not parameter.empty

    def _default_of(self, task: Task[Any, Any], name: str) -> Any:
        return models_dumped(task, (), {name: self._parameters[name].default})[1][name]

    def _caught_name(self, name: str, value: Any, reason: str) -> tuple[str, str]:
        """Return the name that the caller used for the refused argument, and the reason."""
        for caught, item in value.items() if name == self._catch_all else ():
            try:
                encode(item, name=caught)
            except TypeError as error:
                return caught, str(error)
        return name, reason

    def _check_names(self, task: type[Task[Any, Any]], significant: Iterable[tuple[str, Any]] | None) -> None:
        for name, _ in significant or ():
            if name == self._catch_all:
                raise OptionError(
                    f"task {name_of(task)!r}: significant_kwargs names {name!r}, which catches all other "
                    "keywords; name the keywords that matter instead"
                )
            if name not in self._parameters and self._catch_all is None:
                raise OptionError(
                    f"task {name_of(task)!r}: significant_kwargs names {name!r}, which is not an argument of "
                    f"the task; its arguments are {', '.join(self._parameters) or 'none'}"
                )


def _one_by_one(caught: Mapping[str, Any], deliver: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what arrives of the keywords that ``**kwargs`` caught. A message carries each by itself."""
    return {name: deliver(value) for name, value in caught.items()}


def _label(name: str) -> bytes:
    raw = name.encode("utf-8", "surrogatepass")
    return b"n%d:%b" % (len(raw), raw)
