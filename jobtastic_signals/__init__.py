"""Cached results, herd avoidance and more for any existing Celery task, without a base class.

>>> from celery import Celery
>>> from jobtastic_signals import Jobtastic
>>> app = Celery("proj")
>>> jobtastic = Jobtastic(app)
>>> @app.task(herd_avoidance_timeout=60, cache_duration=3600)
... def report(customer, year=2026): ...
>>> jobtastic.uninstall(app)
"""

from . import events
from .canonical import register_type
from .errors import JobtasticError, OptionError, SettingError, StoreError, UnkeyableError
from .explanation import explain, explain_difference
from .middleware import Middleware
from .plugin import Jobtastic, forget
from .stores import Claim, Result, Store

__version__ = "0.1.0"

__all__ = [
    # Switching on, and using.
    "Jobtastic",
    "forget",
    "events",
    # Cache keys.
    "explain",
    "explain_difference",
    "register_type",
    # Errors.
    "UnkeyableError",
    "JobtasticError",
    "OptionError",
    "SettingError",
    "StoreError",
    # Extending.
    "Claim",
    "Middleware",
    "Result",
    "Store",
]
