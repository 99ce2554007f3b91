"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from celery import Celery

from ...celery_internals import steps_of_finalizing
from ...errors import JobtasticError
from ...settings import Settings, near_setting
from .advice import check_options
from .base import Finding, Level, View, fix
from .project import check_backend, check_plugin, check_settings
from .store import StoreHere
from .tasks import check_tasks, options_of_tasks
from .workers import ask_workers, check_worker

__all__ = ["check_app", "check_project", "load_tasks", "store_here"]

#: The settings without which it is not known which store to check.
_ABOUT_STORE = {"jobtastic_store", "jobtastic_store_options"}


def load_tasks(app: Celery[Any]) -> list[Finding]:
    """Import and bind the tasks of *app*, like a worker does. Return what is wrong with their options.

    :raises Exception: what the project's modules raise.
    """
    wrong = []
    for load in chain([app.loader.import_default_modules], steps_of_finalizing(app)):
        try:
            load()
        except JobtasticError as error:
            wrong += [fix("task", line) for line in str(error).splitlines()]
    return wrong


def check_app(
    app: Celery[Any], view: View, *, timeout: float, wrong: Sequence[Finding], require_workers: bool = False
) -> int:
    """Check *app*, whose tasks are loaded, and show the findings on *view*.

    :param timeout: seconds within which workers have to answer.
    :param wrong: the findings of :func:`load_tasks`.
    :param require_workers: whether it is a thing to fix if no worker answers.
    :returns: the number of things to fix.
    """
    tasks = options_of_tasks(app)
    if tasks:
        view.show_tasks(tasks)
    to_fix = 0
    shown = set()
    for finding in _findings(app, timeout, wrong, tasks, require_workers):
        if finding in shown:
            continue  # A wrong option can be met when its task is loaded, and again when it is checked.
        shown.add(finding)
        view.show(finding)
        to_fix += finding.level is Level.FIX
    view.conclude(to_fix)
    return to_fix


def check_project(app: Celery[Any], wrong: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what is found without the store and without a worker. A finding may come twice.

    :param wrong: the findings of :func:`load_tasks`.
    """
    yield check_plugin(app)
    settings, wrong_settings = Settings.read_what_is_right(app)
    yield from check_settings(app, settings, wrong_settings)
    yield from wrong
    yield from check_tasks(app)
    yield from check_options(app)
    yield check_backend(app)


def store_here(app: Celery[Any]) -> StoreHere | None:
    """Return the store that the settings of *app* name; ``None`` if they are wrong."""
    settings, wrong = Settings.read_what_is_right(app)
    if not _ABOUT_STORE.isdisjoint(map(near_setting, wrong)):
        return None
    return StoreHere(settings, shared=not app.conf.task_always_eager)


def _findings(
    app: Celery[Any],
    timeout: float,
    wrong: Sequence[Finding],
    tasks: Collection[str],
    require_workers: bool,
) -> Iterator[Finding]:
    yield from check_project(app, wrong)
    # Before the store is checked: a worker creates the folder, and a check does not.
    answers, silence = ask_workers(app, timeout)
    here = store_here(app)
    if here is not None:
        yield from here.check()
    if silence is not None:
        yield replace(silence, level=Level.FIX) if require_workers else silence
    for name, answer in answers:
        yield check_worker(name, answer, here, tasks)
