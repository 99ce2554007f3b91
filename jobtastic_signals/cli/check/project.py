"""The app itself: the plugin, the settings and the result backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from ...errors import SettingError
from ...installation import installation_on
from ...settings import Settings, settings_without_effect
from ...support.redaction import scrubbed, without_passwords
from ...support.shown import shown_error
from .base import Finding, fix, note, ok

__all__ = ["check_backend", "check_plugin", "check_settings"]


def check_plugin(app: Celery[Any]) -> Finding:
    """Check that the plugin is enabled."""
    if installation_on(app) is not None:
        return ok("plugin", "enabled")
    return fix(
        "plugin",
        "not enabled, so the tasks of this app share nothing",
        "Call Jobtastic(app) where the app is created, or put into its configuration "
        'task_annotations = ["jobtastic_signals:Jobtastic"]',
    )


def check_settings(
    app: Celery[Any], settings: Settings, wrong: Mapping[str, SettingError]
) -> Iterator[Finding]:
    """Yield what is wrong with the settings, and what the others mean for sharing."""
    for error in wrong.values():
        yield fix("settings", str(error))
    for name, right in settings_without_effect(app):
        yield fix("settings", f"{name} has no effect, because Celery does not read it", f"Name it {right}")
    if not wrong:
        yield ok("settings", "valid")
    if app.conf.task_always_eager:
        yield note("settings", "task_always_eager is on, so tasks run in their caller and never wait")
    elif settings.store.startswith("memory:"):
        yield fix(
            "settings",
            "jobtastic_store is memory://, which each process has of its own, so callers and workers share "
            "nothing",
            "On one host use disk://, on several hosts redis:// or another store on a server",
        )


def check_backend(app: Celery[Any]) -> Finding:
    """Check that a caller can be answered by the run of another caller."""
    try:
        backend = app.backend
    except Exception as error:
        reason = scrubbed(shown_error(error), str(app.conf.result_backend), {})
        return fix("backend", f"the result backend cannot be used: {reason}")
    if isinstance(backend, DisabledBackend):
        return note(
            "backend",
            "there is none: identical calls share a run, and nobody can read what it returns",
            "Set result_backend if callers need results",
        )
    if isinstance(backend, RPCBackend):
        return note(
            "backend",
            "rpc:// lets only the caller read a result, so all calls are published, and share in the worker",
            "Set a result_backend that all callers can read, so that calls are answered at once",
        )
    return ok("backend", without_passwords(str(app.conf.result_backend)))
