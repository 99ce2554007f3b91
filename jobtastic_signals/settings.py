"""The ``jobtastic_...`` settings in the Celery configuration.

``jobtastic_store``
    URL of the store, ``disk://`` by default: a folder of the user's cache directory, one for each pair
    of broker and result backend.
``jobtastic_store_options``
    A dict of keyword arguments of the store, as ``{"size_limit": 2**28}``.
``jobtastic_store_required``
    Whether a call or run fails with :exc:`~jobtastic_signals.errors.StoreError` while the store cannot be
    asked, in place of going unshared.
``jobtastic_namespace``
    Text that separates deployments which share a store; another one is an empty cache.
``jobtastic_key_required``
    Whether a call whose arguments have no canonical form raises
    :exc:`~jobtastic_signals.errors.UnkeyableError` at the caller, as it does by default, or goes unshared,
    with one warning.
``jobtastic_lease``
    Seconds for which a run that nobody hears of any more keeps its claim; never more than the task's
    ``herd_avoidance_timeout``.
``jobtastic_progress_interval``
    Seconds between two records of a run's progress at least.
``jobtastic_memleak_redact``
    Names of arguments whose values are left out of what is told of a memory leak, or ``True`` for all.
``jobtastic_broker_deadline``
    Seconds within which ``delay_or_fail`` and its kin answer while the broker is down.

Django's ``CELERY_`` namespace works as for Celery's own: ``CELERY_JOBTASTIC_STORE``.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import platformdirs
from celery import Celery

from .errors import SettingError
from .options import boolean_free_number
from .stores import check_url
from .stores.guard import check_namespace
from .support.redaction import told

__all__ = ["PROGRESS_INTERVAL", "Settings"]

#: Seconds between two records of progress, where nothing else is set: nobody's eye is faster.
PROGRESS_INTERVAL = 0.1

#: Seconds within which a call is answered while the broker is down.
BROKER_DEADLINE = 2.0

#: Seconds for which a claim lasts that its process does not renew.
LEASE = 30.0

_PREFIX = "jobtastic_"
_PASSWORDS = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True)
class Settings:
    """The settings of one app, checked."""

    store: str = field(repr=False)  # With its passwords.
    store_options: Mapping[str, Any] = field(repr=False)
    namespace: str
    key_required: bool
    progress_interval: float
    memleak_redact: bool | frozenset[str] = False
    broker_deadline: float = BROKER_DEADLINE
    lease: float = LEASE
    store_required: bool = False

    @classmethod
    def read(cls, app: Celery) -> Settings:
        """Read *app*'s configuration.

        :raises SettingError: for a wrong or unknown setting, by its name and what is accepted.
        """
        keys = [str(key) for key in app.conf]
        names = {key for key in keys if key.startswith(_PREFIX)}
        if app.conf.prefix:
            # In Django's settings ours stand as CELERY_JOBTASTIC_STORE.
            namespaced = app.conf.prefix + _PREFIX.upper()
            names |= {_PREFIX + key[len(namespaced) :].lower() for key in keys if key.startswith(namespaced)}
        given = {name: app.conf[name] for name in names}
        for name in given:
            if name not in _SETTINGS:
                meant = difflib.get_close_matches(name, _SETTINGS, n=1, cutoff=0.0)[0]
                raise SettingError(f"unknown setting {name}={told(given[name])}; did you mean {meant!r}?")
        for key, (accepts, check) in _SETTINGS.items():
            if key in given:
                try:
                    check(given[key])
                except (TypeError, ValueError) as error:
                    wrong = f"setting {key}={told(given[key])}"
                    raise SettingError(f"{wrong} is not accepted: {accepts}") from error
        store = given.get("jobtastic_store", "disk://")
        if store.partition("?")[0] == "disk://":
            store = store.replace("disk://", "disk://" + quote(_default_folder(app)), 1)
        return cls(
            store,
            given.get("jobtastic_store_options", {}),
            given.get("jobtastic_namespace", ""),
            given.get("jobtastic_key_required", True),
            given.get("jobtastic_progress_interval", PROGRESS_INTERVAL),
            _redacted(given.get("jobtastic_memleak_redact", False)),
            given.get("jobtastic_broker_deadline", BROKER_DEADLINE),
            given.get("jobtastic_lease", LEASE),
            given.get("jobtastic_store_required", False),
        )


def _is_mapping(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError("not a dict")


def _is_bool(value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError("neither True nor False")


def _is_duration(value: Any) -> None:
    if not 0 <= boolean_free_number(value) < math.inf:
        raise ValueError("negative or without end")


def _is_above_zero(value: Any) -> None:
    if not 0 < boolean_free_number(value) < math.inf:
        raise ValueError("no time at all, or without end")


def _redacted(value: Any) -> bool | frozenset[str]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise TypeError("neither a list of names nor True")
    return frozenset(value)


_SETTINGS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "jobtastic_store": ("it takes the URL of a store, as disk:///var/cache/proj", check_url),
    "jobtastic_store_options": ("it takes a dict of the store's keyword arguments", _is_mapping),
    "jobtastic_store_required": ("it takes True or False", _is_bool),
    "jobtastic_namespace": ("it takes a text of letters, digits and . _ -", check_namespace),
    "jobtastic_key_required": ("it takes True or False", _is_bool),
    "jobtastic_progress_interval": (
        "it takes a number of seconds, as 0.1; 0 writes every update",
        _is_duration,
    ),
    "jobtastic_broker_deadline": ("it takes a number of seconds above 0, as 2", _is_above_zero),
    "jobtastic_lease": ("it takes a number of seconds above 0, as 30", _is_above_zero),
    "jobtastic_memleak_redact": (
        "it takes a list of argument names, as ['password'], or True for all arguments",
        _redacted,
    ),
}


def _default_folder(app: Celery) -> str:
    """One folder for each deployment of this user.

    Two projects, or staging and production, may have tasks of the same name on one host; they do not have
    the same broker and the same result backend. Passwords stay out of it.
    """
    places = f"{app.conf.broker_url}\n{app.conf.result_backend}"
    name = hashlib.blake2b(_PASSWORDS.sub("//", places).encode(), digest_size=8).hexdigest()
    return f"{platformdirs.user_cache_dir('jobtastic-signals', appauthor=False)}/{name}"
