"""The ``jobtastic_...`` settings in the Celery configuration, in one table: :data:`SETTINGS`.

Django's ``CELERY_`` namespace works like for Celery's own settings: ``CELERY_JOBTASTIC_STORE``.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import platformdirs
from celery import Celery

from .errors import SettingError
from .options import finite_number
from .stores import check_url
from .stores.guard import check_namespace
from .support.circuit_breaker import RETRY_AFTER
from .support.redaction import redacted_repr

__all__ = ["PROGRESS_INTERVAL", "SETTINGS", "Setting", "Settings"]

#: Seconds between two records of progress, where nothing else is set: nobody's eye is faster.
PROGRESS_INTERVAL = 0.1

_PREFIX = "jobtastic_"
_PASSWORDS = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True)
class Setting:
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
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither True nor False")
    return value


def _duration(value: Any) -> float:
    if not 0 <= finite_number(value) < math.inf:
        raise ValueError("negative or without end")
    return float(value)


def _positive_duration(value: Any) -> float:
    if not 0 < finite_number(value) < math.inf:
        raise ValueError("no time at all, or without end")
    return float(value)


def _names(value: Any) -> bool | frozenset[str]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise TypeError("neither a list of names nor True")
    return frozenset(value)


def _url(value: Any) -> str:
    check_url(value)
    return str(value)


SETTINGS = (
    Setting("jobtastic_store", "disk://", "the URL of a store, such as disk:///var/cache/proj", _url),
    Setting("jobtastic_store_options", {}, "a dict of the store's keyword arguments", _mapping),
    Setting("jobtastic_store_required", False, "True or False", _boolean),
    Setting("jobtastic_namespace", "", "a text of letters, digits and . _ -", check_namespace),
    Setting("jobtastic_key_required", True, "True or False", _boolean),
    Setting("jobtastic_lease", 30.0, "a number of seconds above 0, such as 30", _positive_duration),
    Setting(
        "jobtastic_progress_interval",
        PROGRESS_INTERVAL,
        "a number of seconds, such as 0.1; 0 writes every update",
        _duration,
    ),
    Setting(
        "jobtastic_memleak_redact",
        False,
        "a list of argument names, such as ['password'], or True for all arguments",
        _names,
    ),
    Setting("jobtastic_broker_deadline", 2.0, "a number of seconds above 0, such as 2", _positive_duration),
)


@dataclass(frozen=True)
class Settings:
    """The settings of one app, checked.

    :ivar store: URL of the store. ``disk://`` alone is a folder of the user's cache directory, one for each
        pair of broker and result backend.
    :ivar store_options: keyword arguments of the store, such as ``{"size_limit": 2**28}``.
    :ivar store_required: whether a call or a run fails with :exc:`.StoreError` while the store does not
        answer, instead of going unshared.
    :ivar namespace: separates deployments that share a store. Another namespace is an empty cache.
    :ivar key_required: whether a call whose arguments have no canonical form raises :exc:`.UnkeyableError` at
        the caller. Otherwise it goes unshared, with one warning.
    :ivar lease: seconds after which a claim lapses that nobody renews; never more than the task's
        ``herd_avoidance_timeout``.
    :ivar progress_interval: the least number of seconds between two records of a run's progress.
    :ivar memleak_redact: names of arguments whose values are left out of reports on memory, or ``True`` for
        all.
    :ivar broker_deadline: seconds within which ``delay_or_fail`` and its variants answer while the broker is
        down.
    """

    store: str = field(repr=False)  # With its passwords.
    store_options: Mapping[str, Any] = field(repr=False)
    store_required: bool
    namespace: str
    key_required: bool
    lease: float
    progress_interval: float
    memleak_redact: bool | frozenset[str]
    broker_deadline: float

    @classmethod
    def read(cls, app: Celery) -> Settings:
        """Read *app*'s configuration.

        :raises SettingError: for a wrong or unknown setting, with its name and what is accepted.
        """
        given = {name: app.conf[name] for name in _names_in(app)}
        _refuse_unknown(given)
        values = {each.field: _parse(each, given) for each in SETTINGS}
        if values["store"].partition("?")[0] == "disk://":
            folder = quote(_default_folder(app))
            values["store"] = values["store"].replace("disk://", f"disk://{folder}", 1)
        return cls(**values)

    @property
    def store_retry_after(self) -> float:
        """Seconds for which a store that failed is left alone: a lease survives one failed renewal."""
        return min(RETRY_AFTER, self.lease / 6)


def _names_in(app: Celery) -> Iterator[str]:
    keys = [str(key) for key in app.conf]
    names = {key for key in keys if key.startswith(_PREFIX)}
    if app.conf.prefix:
        # In Django's settings ours stand as CELERY_JOBTASTIC_STORE.
        namespaced = app.conf.prefix + _PREFIX.upper()
        names |= {_PREFIX + key[len(namespaced) :].lower() for key in keys if key.startswith(namespaced)}
    return iter(names)


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    known = [each.name for each in SETTINGS]
    for name, value in given.items():
        if name not in known:
            meant = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SettingError(f"unknown setting {name}={redacted_repr(value)}; did you mean {meant!r}?")


def _parse(setting: Setting, given: Mapping[str, Any]) -> Any:
    value = given.get(setting.name, setting.default)
    try:
        return setting.parse(value)
    except (TypeError, ValueError) as error:
        wrong = f"setting {setting.name}={redacted_repr(value)}"
        raise SettingError(f"{wrong} is not accepted: it accepts {setting.accepts}") from error


def _default_folder(app: Celery) -> str:
    """Return one folder for each deployment of this user.

    Two projects, or staging and production, may have tasks of the same name on one host. They do not have the
    same broker and the same result backend. Passwords stay out of it.
    """
    places = f"{app.conf.broker_url}\n{app.conf.result_backend}"
    name = hashlib.blake2b(_PASSWORDS.sub("//", places).encode(), digest_size=8).hexdigest()
    return f"{platformdirs.user_cache_dir('jobtastic-signals', appauthor=False)}/{name}"
