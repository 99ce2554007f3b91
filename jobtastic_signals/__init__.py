"""Cached results, herd avoidance, progress and more for any existing Celery task, without a base class.

>>> from celery import Celery
>>> from jobtastic_signals import Jobtastic
>>> app = Celery("proj")
>>> jobtastic = Jobtastic(app)
>>> @app.task(herd_avoidance_timeout=60, cache_duration=3600)
... def report(customer, year=2026): ...
>>> jobtastic.uninstall(app)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import events
from .calls import Call, Run, Served
from .errors import (
    BrokerUnavailableError,
    DuplicateCallError,
    JobtasticError,
    OptionError,
    SettingError,
    StoreError,
    UnkeyableError,
    UserFacingError,
)
from .fallback import FUNCTIONS
from .keys.canonical import register_type
from .middleware import Middleware
from .options import Option
from .plugin import Jobtastic
from .sharing.origin import Origin
from .stores import Claim, Result, Store

if TYPE_CHECKING:
    from .explanation import explain, explain_difference
    from .fallback.api import (
        adelay_or_eager,
        adelay_or_fail,
        async_or_eager,
        async_or_fail,
        delay_or_eager,
        delay_or_eager_on_commit,
        delay_or_fail,
        delay_or_fail_on_commit,
    )
    from .progress.api import current_progress, phase, track, update_progress
    from .progress.groups import group_progress, status_id
    from .progress.handle import ProgressHandle
    from .results.status import task_status
    from .sharing.api import forget, forget_all, forget_tag, release
    from .sharing.asking import Cached, InFlight, cached, in_flight
    from .sharing.calling import bypass, refresh
    from .sharing.leaving import leave, sharing_of
    from .sharing.stats import TaskStats, stats
    from .stores.cas import CompareAndSwapStore

__version__ = "0.1.0"

__all__ = [
    # Switching on, and using.
    "Jobtastic",
    "refresh",
    "bypass",
    "sharing_of",
    "Origin",
    "leave",
    "events",
    # What is stored and what goes on, and dropping it.
    "cached",
    "Cached",
    "in_flight",
    "InFlight",
    "forget",
    "forget_all",
    "forget_tag",
    "release",
    "stats",
    "TaskStats",
    # When the broker is down.
    "delay_or_eager",
    "delay_or_fail",
    "async_or_eager",
    "async_or_fail",
    "adelay_or_eager",
    "adelay_or_fail",
    "delay_or_eager_on_commit",
    "delay_or_fail_on_commit",
    # Progress, in a running task and for those who wait.
    "update_progress",
    "track",
    "phase",
    "current_progress",
    "ProgressHandle",
    "group_progress",
    "status_id",
    "task_status",
    "UserFacingError",
    # Cache keys.
    "explain",
    "explain_difference",
    "register_type",
    # Errors.
    "BrokerUnavailableError",
    "DuplicateCallError",
    "UnkeyableError",
    "JobtasticError",
    "OptionError",
    "SettingError",
    "StoreError",
    # Extending: a middleware, and a store.
    "Middleware",
    "Call",
    "Run",
    "Served",
    "Option",
    "Store",
    "CompareAndSwapStore",
    "Claim",
    "Result",
]

#: Where the names above are that most processes never use. They are imported when they are first used, which
#: leaves out a third of the time that the import of this package took.
_LATER = {
    "explanation": ("explain", "explain_difference"),
    "fallback.api": FUNCTIONS,
    "progress.api": ("current_progress", "phase", "track", "update_progress"),
    "progress.groups": ("group_progress", "status_id"),
    "progress.handle": ("ProgressHandle",),
    "results.status": ("task_status",),
    "sharing.api": ("forget", "forget_all", "forget_tag", "release"),
    "sharing.asking": ("Cached", "InFlight", "cached", "in_flight"),
    "sharing.calling": ("bypass", "refresh"),
    "sharing.leaving": ("leave", "sharing_of"),
    "sharing.stats": ("TaskStats", "stats"),
    "stores.cas": ("CompareAndSwapStore",),
}

_MODULES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
