"""The running workers: each is asked how it shares. Its answer is compared with the store of this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from celery import Celery
from kombu.utils.functional import maybe_list

from ...control import COMMAND
from ...fallback.broker import open_connection
from ...support.redaction import without_passwords
from ...support.threads import call_within
from .base import Finding, fix, note, ok
from .store import StoreHere

__all__ = ["Answers", "ask_workers", "check_worker"]

#: Seconds within which the broker has to answer.
BROKER_ANSWERS_WITHIN = 2.0

_SAME = "Give both the same jobtastic_store"

#: The names of workers with their answers.
Answers = list[tuple[str, Mapping[str, Any]]]


def ask_workers(app: Celery[Any], timeout: float) -> tuple[Answers, Finding | None]:
    """Return what workers answer within *timeout* seconds, or why there is no answer."""
    if not app.conf.worker_enable_remote_control:
        return [], note("worker", "worker_enable_remote_control is off, so workers cannot be asked")
    broker = without_passwords(";".join(maybe_list(app.conf.broker_write_url or "amqp://")))
    try:
        if not app.connection_for_write().supports_exchange_type("fanout"):
            return [], note("worker", f"the broker {broker} has no control bus, so workers cannot be asked")
        # Celery starts to wait anew after each answer.
        patience = 2 * (BROKER_ANSWERS_WITHIN + timeout)
        answers = call_within(patience, partial(_ask, app, timeout))
    except Exception as error:
        return [], fix("worker", f"the broker {broker} cannot be reached: {type(error).__name__}: {error}")
    if answers:
        return answers, None
    return [], note(
        "worker",
        f"no worker answered within {timeout:g} s: none is running, or all are busy, like one with "
        "--pool=solo that runs a task",
    )


def _ask(app: Celery[Any], timeout: float) -> Answers:
    with open_connection(app, BROKER_ANSWERS_WITHIN) as connection:
        replies = app.control.broadcast(COMMAND, reply=True, timeout=timeout, connection=connection)
    return sorted((pair for reply in replies for pair in reply.items()), key=itemgetter(0))


def check_worker(
    name: str, answer: Mapping[str, Any], here: StoreHere | None, tasks: Collection[str]
) -> Finding:
    """Return what the *answer* of a worker means for sharing with this process.

    :param here: the store of this process, if it is known.
    :param tasks: the names of this process's tasks with our options.
    """
    if not answer.get("plugin"):
        # A worker without the plugin does not know the command.
        return fix(
            "worker",
            f"{name}: the plugin is not enabled, so its runs are not shared",
            "Enable it there and restart the worker, unless it belongs to another project",
        )
    if "wrong" in answer:
        return fix("worker", f"{name} has wrong settings: {answer['wrong']}")
    if tasks and not set(tasks) & set(answer["tasks"]):
        return note("worker", f"{name} runs no task that shares here: it is another project's")
    url, identity = answer["url"], answer["identity"]
    if identity is None:
        return fix("worker", f"{name}: its store {url} does not answer, so it shares nothing")
    if here is None or here.identity is None:
        return note("worker", f"{name} uses the store {url} ({identity})")
    if identity != here.identity:
        remedy = _way_to_one_store(url, here.url)
        return fix("worker", f"{name} uses another store, {url} ({identity})", remedy)
    if answer["namespace"] != here.namespace:
        theirs, ours = answer["namespace"], here.namespace
        text = f"{name} uses this store with jobtastic_namespace={theirs!r}, and this process with {ours!r}"
        return fix("worker", text, "Give both the same jobtastic_namespace")
    return ok("worker", f"{name} uses this store" + f", as {url}" * (url != here.url))


def _way_to_one_store(there: str, here: str) -> str:
    if "memory" in (_scheme(there), _scheme(here)):
        return f"{_SAME}; each process has its own memory://"
    if there == here:
        return "The same URL leads to two stores, for example on two hosts; use a URL that leads to one"
    if _scheme(there) == _scheme(here) == "disk":
        return f"{_SAME}; disk:// alone means one folder for each user, broker and result backend"
    return _SAME


def _scheme(url: str) -> str:
    return url.partition(":")[0]
