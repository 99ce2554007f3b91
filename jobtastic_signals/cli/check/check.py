"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from celery import Celery

from ...errors import JobtasticError
from .base import Finding, Level, View, fix
from .project import check_backend, check_plugin, check_settings, read_settings
from .store import StoreHere
from .tasks import check_tasks, options_of_tasks
from .workers import ask_workers, check_worker

__all__ = ["check_app", "load_tasks"]


def load_tasks(app: Celery) -> list[Finding]:
    """Import and bind the tasks of *app*, like a worker does. Return what is wrong with their options.

    :raises Exception: what the project's modules raise.
    """
    wrong = []
    for load in (app.loader.import_default_modules, app.finalize):
        try:
            load()
        except JobtasticError as error:
            wrong.append(fix("task", str(error)))
    return wrong


def check_app(app: Celery, view: View, *, timeout: float, wrong: Sequence[Finding]) -> int:
    """Check *app*, whose tasks are loaded, and show the findings on *view*.

    :param timeout: seconds within which workers have to answer.
    :param wrong: the findings of :func:`load_tasks`.
    :returns: the number of things to fix.
    """
    tasks = options_of_tasks(app)
    if tasks:
        view.show_tasks(tasks)
    to_fix = 0
    for finding in _findings(app, timeout, wrong, tasks):
        view.show(finding)
        to_fix += finding.level is Level.FIX
    view.conclude(to_fix)
    return to_fix


def _findings(
    app: Celery, timeout: float, wrong: Sequence[Finding], tasks: Collection[str]
) -> Iterator[Finding]:
    yield check_plugin(app)
    settings, finding = read_settings(app)
    yield finding
    if settings is not None:
        yield from check_settings(app, settings)
    yield from wrong
    yield from check_tasks(app)
    yield check_backend(app)
    # Before the store is checked: a worker creates the folder, and a check does not.
    answers, silence = ask_workers(app, timeout)
    here = None if settings is None else StoreHere(settings)
    if here is not None:
        yield from here.check()
    if silence is not None:
        yield silence
    for name, answer in answers:
        yield check_worker(name, answer, here, tasks)
