"""The running workers: each is asked how it shares, and that is held against the store of this process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from operator import itemgetter
from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.utils.functional import maybe_list

from ...control import COMMAND
from ...fallback.broker import connect, impatient_connection
from ...settings import BROKER_DEADLINE
from ...support.redaction import without_passwords
from ...support.threads import call_within
from .base import Finding, mend, note, ok
from .store import StoreHere

__all__ = ["Answers", "ask_workers", "check_worker"]

_SAME = "Give both the same jobtastic_store"

#: What each worker answered, by its name.
Answers = list[tuple[str, Mapping[str, Any]]]


def ask_workers(app: Celery, timeout: float) -> tuple[Answers, Finding | None]:
    """What workers answer within *timeout* seconds, or why there is no answer."""
    if not app.conf.worker_enable_remote_control:
        return [], note("worker", "worker_enable_remote_control is off, so workers cannot be asked")
    broker = without_passwords(";".join(maybe_list(app.conf.broker_write_url or "amqp://")))
    try:
        connection = impatient_connection(app, BROKER_DEADLINE)
        if not connection.supports_exchange_type("fanout"):
            return [], note("worker", f"the broker {broker} has no control bus, so workers cannot be asked")
        # Celery waits for so long after each answer.
        patience = 2 * (BROKER_DEADLINE + timeout)
        answers = call_within(patience, partial(_ask, app, connection, timeout))
    except Exception as error:
        return [], mend("worker", f"the broker {broker} cannot be reached: {type(error).__name__}: {error}")
    if answers:
        return answers, None
    return [], note(
        "worker",
        f"none answered within {timeout:g} s: none runs, or all are busy as --pool=solo is during a task",
    )


def _ask(app: Celery, connection: Connection, timeout: float) -> Answers:
    with connection:
        connect(connection, BROKER_DEADLINE)
        replies = app.control.broadcast(COMMAND, reply=True, timeout=timeout, connection=connection)
    return sorted((pair for reply in replies for pair in reply.items()), key=itemgetter(0))


def check_worker(
    name: str, answer: Mapping[str, Any], here: StoreHere | None, tasks: Collection[str]
) -> Finding:
    """What a worker's *answer* means for sharing with this process.

    :param here: the store of this process, if it is known.
    :param tasks: the names of its tasks with options of ours.
    """
    if not answer.get("plugin"):
        # One without the plugin knows no such command.
        return mend(
            "worker",
            f"{name} has not the plugin: what it runs is not shared",
            "Switch it on there and restart the worker, unless it is another project's",
        )
    if "wrong" in answer:
        return mend("worker", f"{name} has wrong settings: {answer['wrong']}")
    if tasks and not set(tasks) & set(answer["tasks"]):
        return note("worker", f"{name} runs no task that shares here: it is another project's")
    url, identity = answer["url"], answer["identity"]
    if identity is None:
        return mend("worker", f"{name} gets no answer of its store {url}, so it shares nothing")
    if here is None or here.identity is None:
        return note("worker", f"{name} has the store {url} ({identity})")
    if identity != here.identity:
        remedy = _way_to_one_store(url, here.url)
        return mend("worker", f"{name} has another store, {url} ({identity})", remedy)
    if answer["namespace"] != here.namespace:
        theirs, ours = answer["namespace"], here.namespace
        text = f"{name} has this store with jobtastic_namespace={theirs!r}, and this process has {ours!r}"
        return mend("worker", text, "Give both the same jobtastic_namespace")
    return ok("worker", f"{name} shares this store" + f", as {url}" * (url != here.url))


def _way_to_one_store(there: str, here: str) -> str:
    if "memory" in (_scheme(there), _scheme(here)):
        return f"{_SAME}; each process has a memory:// of its own"
    if there == here:
        return "The same URL leads to two stores, as from two hosts or containers: let it lead to one"
    if _scheme(there) == _scheme(here) == "disk":
        return f"{_SAME}; disk:// alone is one folder for each user, broker and result backend"
    return _SAME


def _scheme(url: str) -> str:
    return url.partition(":")[0]
