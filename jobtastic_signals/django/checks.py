"""What ``celery -A proj jobtastic check`` finds without a worker, as Django's system checks.

They are warnings and infos, never errors: a store that is down must not keep a site from being migrated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celery import Celery
from django.core import checks

from ..celery_internals import is_importing_for_django
from ..cli.check.base import SUBJECTS, Finding, Level, fix
from ..cli.check.check import check_project as findings_of_project
from ..cli.check.check import load_tasks, store_here
from ..support.shown import shown_error

__all__ = ["check_project", "check_store"]

#: The kinds of messages, and the first letters of their ids. What is well has none.
_KINDS = {Level.FIX: (checks.Warning, "W"), Level.NOTE: (checks.Info, "I")}

#: Celery makes an app of this name for a process that uses one before it has made one.
_FALLBACK = "default"


def check_project(
    celery_app: Celery[Any], app_configs: Any = None, **options: Any
) -> list[checks.CheckMessage]:
    """Return what is found about the plugin, the settings, the tasks and the result backend.

    It imports the tasks as a worker does, and connects to nothing. When Celery imports them itself, there is
    nothing to check yet, and Celery reports what is wrong.
    """
    if is_importing_for_django():
        return []
    if celery_app.main == _FALLBACK and not celery_app.set_as_current:
        return _messages([_not_imported()])
    try:
        wrong = load_tasks(celery_app)
    except Exception as error:
        return _messages([fix("task", f"the tasks cannot be loaded: {shown_error(error)}")])
    return _messages(findings_of_project(celery_app, wrong))


def check_store(
    celery_app: Celery[Any], app_configs: Any = None, **options: Any
) -> list[checks.CheckMessage]:
    """Return what is found about the store, which is tried with a claim. It waits up to 10 s for answers."""
    here = store_here(celery_app)
    return [] if here is None else _messages(here.check())


def _not_imported() -> Finding:
    return fix(
        "plugin",
        "no Celery app is there when Django is set up",
        "Import it in the __init__.py of the project: from .celery import app as celery_app",
    )


def _messages(findings: Iterable[Finding]) -> list[checks.CheckMessage]:
    return list(_translated(dict.fromkeys(findings)))


def _translated(findings: Iterable[Finding]) -> Iterator[checks.CheckMessage]:
    for finding in findings:
        if finding.level in _KINDS:
            kind, letter = _KINDS[finding.level]
            number = SUBJECTS.index(finding.subject) + 1
            yield kind(finding.text, hint=finding.remedy or None, id=f"jobtastic.{letter}{number:03}")
