"""The ``jobtastic_...`` settings in the Celery configuration, in one table: :data:`SETTINGS`.

Django's ``CELERY_`` namespace works like for Celery's own settings: ``CELERY_JOBTASTIC_STORE``.
"""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from celery import Celery
from kombu.utils.functional import maybe_list

from .errors import SettingError
from .keys.context import ACCEPTS, ContextOfCall, parse_key_context
from .options import seconds
from .stores import check_url
from .stores.guard import check_namespace
from .support.circuit_breaker import RETRY_AFTER
from .support.redaction import place_of, redacted_arguments, redacted_repr
from .support.safe_text import safe_repr
from .support.shown import one_line, shown
from .support.time_limits import caught

__all__ = [
    "PROGRESS_INTERVAL",
    "SETTINGS",
    "Setting",
    "Settings",
    "near_setting",
    "settings_without_effect",
]

#: Seconds between two records of progress, where nothing else is set: nobody's eye is faster.
PROGRESS_INTERVAL = 0.1

_PREFIX = "jobtastic_"
_CACHE = "jobtastic_cache"
_RELATIVE_PATH = re.compile(r"sqlite:///(?![/\s]|$)", re.MULTILINE)
_CAPITALS = re.compile(r"(?:CELERY_)?(JOBTASTIC_\w+)")

# The least likeness of two names that are probably one with a slip: "stroe" and "store" have 0.8.
_LIKENESS = 0.75


class Setting(NamedTuple):
    """One setting.

    :param name: what stands in the configuration.
    :param default: its value where the configuration does not have it.
    :param accepts: the accepted values, in words that complete "it accepts ...".
    :param parse: turns what the configuration says into what the package reads. A :exc:`ValueError` or
        :exc:`TypeError` refuses it.
    """

    name: str
    default: Any
    accepts: str
    parse: Callable[[Any], Any]

    @property
    def field(self) -> str:
        """The name of the attribute of :class:`Settings`."""
        return self.name.removeprefix(_PREFIX)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("not a dict")
    return {
        name: seconds(each) if isinstance(each, datetime.timedelta) else each for name, each in value.items()
    }


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither True nor False")
    return value


def _duration(value: Any) -> float:
    duration = float(seconds(value))
    if not 0 <= duration < math.inf:
        raise ValueError("negative or without end")
    return duration


def _positive_duration(value: Any) -> float:
    duration = _duration(value)
    if not duration:
        raise ValueError("no time at all")
    return duration


def _names(value: Any) -> bool | frozenset[str]:
    if isinstance(value, bool):
        return value
    # A look at the names would use an iterator up.
    if isinstance(value, str) or not isinstance(value, Collection):
        raise TypeError("not a list of names")
    if not all(isinstance(name, str) for name in value):
        raise TypeError("neither a list of names nor True")
    return frozenset(value)


def _url(value: Any) -> str:
    check_url(value)
    return str.__str__(value)  # Of a subclass, only the characters count.


SETTINGS = (
    Setting("jobtastic_store", "disk://", "the URL of a store, such as disk:///var/cache/proj", _url),
    Setting("jobtastic_store_options", {}, "a dict of the store's keyword arguments", _mapping),
    Setting("jobtastic_store_required", False, "True or False", _boolean),
    Setting("jobtastic_namespace", "", "a text of letters, digits and . _ -", check_namespace),
    Setting("jobtastic_key_required", True, "True or False", _boolean),
    Setting("jobtastic_key_context", None, ACCEPTS, parse_key_context),
    Setting("jobtastic_observe", False, "True or False", _boolean),
    Setting("jobtastic_lease", 30.0, "a number of seconds above 0, such as 30", _positive_duration),
    Setting(
        "jobtastic_progress_interval",
        PROGRESS_INTERVAL,
        "a number of seconds, such as 0.1; 0 writes every update",
        _duration,
    ),
    Setting("jobtastic_progress_after", 0.5, "a number of seconds, such as 0.5", _duration),
    Setting(
        "jobtastic_memleak_redact",
        (),
        "a list of argument names beside the common ones, such as ['iban'], True for all, False for none",
        _names,
    ),
    Setting("jobtastic_broker_deadline", 2.0, "a number of seconds above 0, such as 2", _positive_duration),
)


class Settings(NamedTuple):
    """The settings of one app, checked.

    :ivar store: URL of the store. ``disk://`` alone is a folder of the user's cache directory, one for each
        pair of broker and result backend.
    :ivar store_options: keyword arguments of the store, such as ``{"size_limit": 2**28}``.
    :ivar store_required: whether a call or a run fails with :exc:`.StoreError` while the store does not
        answer, instead of going unshared.
    :ivar namespace: separates deployments that share a store. Another namespace is an empty cache.
    :ivar key_required: whether a call whose arguments have no canonical form raises :exc:`.UnkeyableError` at
        the caller. Otherwise it goes unshared, with one warning.
    :ivar key_context: the function that says what adds to the keys of all tasks, unless a task has its own.
    :ivar observe: whether nothing is shared, and what would be is counted.
    :ivar lease: seconds after which a claim lapses that nobody renews; never more than the task's
        ``herd_avoidance_timeout``.
    :ivar progress_interval: the least number of seconds between two records of a run's progress.
    :ivar progress_after: seconds after which a run that has reported nothing is shown to go on.
    :ivar memleak_redact: names of arguments whose values are left out of reports on memory, beside those that
        are common for secrets; ``True`` for all arguments, ``False`` for none.
    :ivar broker_deadline: seconds within which ``delay_or_fail`` and its variants answer while the broker is
        down.
    """

    store: str
    store_options: Mapping[str, Any]
    store_required: bool
    namespace: str
    key_required: bool
    key_context: ContextOfCall | None
    observe: bool
    lease: float
    progress_interval: float
    progress_after: float
    memleak_redact: bool | frozenset[str]
    broker_deadline: float

    def __repr__(self) -> str:
        # Without the URL and the options of the store, which may have passwords.
        return f"<Settings of the namespace {self.namespace!r}>"

    @classmethod
    def read(cls, app: Celery[Any]) -> Settings:
        """Read *app*'s configuration.

        :raises SettingError: for wrong and unknown settings, with their names and what is accepted. It
            reports all of them, each in a line.
        """
        settings, wrong = cls.read_what_is_right(app)
        if wrong:
            first = next(iter(wrong.values()))
            raise SettingError("\n".join(map(str, wrong.values()))) from first.__cause__
        return settings

    @classmethod
    def read_what_is_right(cls, app: Celery[Any]) -> tuple[Settings, Mapping[str, SettingError]]:
        """Return *app*'s settings, with defaults for the wrong ones, and what is wrong, by the names."""
        given = {name: app.conf[name] for name in _names_in(app)}
        if _PREFIX + "store" in given:
            given.pop(_CACHE, None)  # Read by ``compat``, which has set the store.
        wrong = _unknown_in(given)
        values = {}
        for each in SETTINGS:
            try:
                values[each.field] = _parse(each, given)
            except SettingError as error:
                wrong[each.name] = error
                values[each.field] = each.default
        if values["store"].partition("?")[0] == "disk://":
            folder = quote(_default_folder(app))
            values["store"] = values["store"].replace("disk://", f"disk://{folder}", 1)
        return cls(**values), wrong

    @property
    def store_retry_after(self) -> float:
        """Seconds for which a store that failed is left alone: a lease survives one failed renewal."""
        return min(RETRY_AFTER, self.lease / 6)


def _names_in(app: Celery[Any]) -> Iterator[str]:
    keys = [str(key) for key in app.conf]
    names = {key for key in keys if key.startswith(_PREFIX)}
    if app.conf.prefix:
        # In Django's settings ours stand as CELERY_JOBTASTIC_STORE.
        namespaced = app.conf.prefix + _PREFIX.upper()
        names |= {_PREFIX + key[len(namespaced) :].lower() for key in keys if key.startswith(namespaced)}
    return iter(names)


def settings_without_effect(app: Celery[Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of settings in capitals that Celery does not read, and the names to give them.

    In Django's settings, ``JOBTASTIC_STORE`` lacks the namespace that Celery's settings have there.
    """
    prefix = app.conf.prefix
    for key in map(str, app.conf):
        found = _CAPITALS.fullmatch(key)
        if found and not (prefix and key.startswith(prefix)) and near_setting(found[1].lower()):
            yield key, f"{prefix}{found[1]}" if prefix else found[1].lower()


def near_setting(name: str) -> str | None:
    """Return the setting that *name* is or probably means, or ``None`` if it is like none of them."""
    import difflib  # Few configurations have a wrong name.

    fields = [each.field for each in SETTINGS]
    # Without what all of them begin with, which would make any two alike.
    close = difflib.get_close_matches(name.removeprefix(_PREFIX), fields, n=1, cutoff=_LIKENESS)
    return _PREFIX + close[0] if close else None


def _unknown_in(given: Mapping[str, Any]) -> dict[str, SettingError]:
    known = [each.name for each in SETTINGS]
    wrong = {}
    for name, value in given.items():
        if name not in known:
            meant = near_setting(name)
            hint = f"did you mean {meant!r}?" if meant else f"the settings are {', '.join(known)}"
            wrong[name] = SettingError(f"unknown setting {shown(name)}={redacted_repr(value)}; {hint}")
    return wrong


def _parse(setting: Setting, given: Mapping[str, Any]) -> Any:
    value = given.get(setting.name, setting.default)
    try:
        return setting.parse(value)
    except SettingError:
        raise  # It says more.
    except (TypeError, ValueError) as error:
        wrong = f"setting {setting.name}={_shown_value(setting, value)}"
        raise SettingError(f"{wrong} is not accepted: it accepts {setting.accepts}") from error


def _shown_value(setting: Setting, value: Any) -> str:
    if setting.name.startswith("jobtastic_store"):
        return redacted_repr(value)
    # The others need to be seen, unless somebody took one for another.
    text = f"<{type(value).__name__}>"
    with caught(lambda error: None):
        text = safe_repr(redacted_arguments({"value": value}, ())["value"])
    return one_line(text)


def _default_folder(app: Celery[Any]) -> str:
    """Return one folder for each deployment of this user.

    Two projects, or staging and production, may have tasks of the same name on one host. They do not have the
    same broker and the same result backend. Passwords stay out of it. The same relative path of a database
    means another file in another folder.
    """
    urls = (*maybe_list(app.conf.broker_url or ""), app.conf.result_backend or "")
    texts = [_RELATIVE_PATH.sub(lambda found: f"{found[0]}{os.getcwd()}/", str(each)) for each in urls]
    places = "\n".join(map(place_of, texts))
    import hashlib  # Neither is needed where a setting names the store.

    import platformdirs

    name = hashlib.blake2b(places.encode(), digest_size=8).hexdigest()
    return f"{platformdirs.user_cache_dir('jobtastic-signals', appauthor=False)}/{name}"
