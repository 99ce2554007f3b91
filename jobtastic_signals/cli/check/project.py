"""The app itself: the plugin, the settings, and what its callers need besides."""

from __future__ import annotations

from collections.abc import Iterator

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import ImproperlyConfigured

from ...errors import SettingError
from ...registry import installation_on
from ...settings import Settings
from ...support.redaction import without_passwords
from .base import Finding, mend, note, ok

__all__ = ["check_backend", "check_plugin", "check_settings", "read_settings"]


def check_plugin(app: Celery) -> Finding:
    """Whether the plugin is on."""
    if installation_on(app) is not None:
        return ok("plugin", "on")
    return mend(
        "plugin",
        "off, so the tasks of this app share nothing",
        "Write Jobtastic(app) where the app is made, or in its configuration "
        'task_annotations = ["jobtastic_signals:Jobtastic"]',
    )


def read_settings(app: Celery) -> tuple[Settings | None, Finding]:
    """The settings, if they are right."""
    try:
        return Settings.read(app), ok("settings", "valid")
    except SettingError as error:
        return None, mend("settings", str(error))


def check_settings(app: Celery, settings: Settings) -> Iterator[Finding]:
    """What settings that are right mean for sharing."""
    if app.conf.task_always_eager:
        yield note("settings", "task_always_eager: a task runs in its caller, and waits for nobody")
    elif settings.store.startswith("memory:"):
        yield mend(
            "settings",
            "jobtastic_store is memory://: each process has its own, so callers and workers share nothing",
            "On one host use disk://, on several redis:// or another store on a server",
        )


def check_backend(app: Celery) -> Finding:
    """Whether a caller can be answered by the run of another."""
    try:
        backend = app.backend
    except (ImportError, ImproperlyConfigured) as error:
        return mend("backend", f"the result backend cannot be used: {error}")
    if isinstance(backend, DisabledBackend):
        return note(
            "backend",
            "none: identical calls share a run, and nobody can read what it returns",
            "Set result_backend, if callers want results",
        )
    if isinstance(backend, RPCBackend):
        return note(
            "backend",
            "rpc:// lets only the caller read a result, so all calls are published, and share in the worker",
            "Set a result_backend that all can read, for calls to be answered at once",
        )
    return ok("backend", without_passwords(str(app.conf.result_backend)))
