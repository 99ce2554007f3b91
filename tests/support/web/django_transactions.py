"""A Django process that calls tasks in transactions: prints what a test has to see, as JSON.

Its arguments are the file of its database and the URL of a broker that is down.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any

import django
from celery import Celery
from django.conf import settings

DATABASE, DOWN = sys.argv[1:]

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}})
django.setup()

from django.db import connection, transaction  # noqa: E402 - they need the settings

from jobtastic_signals import (  # noqa: E402
    Jobtastic,
    adelay_or_eager,
    delay_or_fail_on_commit,
    events,
)
from tests.support.servers import wait_until  # noqa: E402
from tests.support.unit_apps import published  # noqa: E402

well = Celery("well", broker="memory://", backend="cache+memory://", set_as_current=False)
down = Celery("down", broker=DOWN, backend="cache+memory://", set_as_current=False)
for app in (well, down):
    app.conf.jobtastic_store = "memory://"
    Jobtastic(app)


def rows() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("select name from thing order by name")
        return [name for (name,) in cursor.fetchall()]


def insert(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("insert into thing values (%s)", [name])


@well.task
def told(name: str) -> None: ...


@down.task(name="seen", herd_avoidance_timeout=60)
def seen() -> list[str]:
    sightings.append(rows())
    return rows()


sightings: list[list[str]] = []
answers: list[str] = []
failures: list[str] = []


@events.broker_unavailable.connect
def note(task: Any, answer: str, **info: Any) -> None:
    answers.append(answer)


def arguments() -> list[Any]:
    return [message.payload[0] for message in published(well)]


def open_files() -> list[str]:
    return [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]


with connection.cursor() as cursor:
    cursor.execute("create table thing (name text)")

with transaction.atomic():
    insert("kept")
    assert delay_or_fail_on_commit(told, "kept") is None
    assert delay_or_fail_on_commit(told.s().set(priority=3), "kept, too") is None
    before = arguments()
    for wrong in ("told", well):
        with suppress(TypeError):
            failures.append(str(delay_or_fail_on_commit(wrong)))
after_commit = arguments()

with suppress(KeyError), transaction.atomic():
    insert("dropped")
    delay_or_fail_on_commit(told, "dropped")
    raise KeyError
after_rollback = arguments()

delay_or_fail_on_commit(told, "at once")
at_once = arguments()

with transaction.atomic():
    insert("another")
    delay_or_fail_on_commit(seen)
    seen.delay_or_eager_on_commit()

connection.close()
in_a_thread = asyncio.run(adelay_or_eager(seen)).get()
wait_until(lambda: DATABASE not in open_files(), what="the end of the connection")

print(
    json.dumps(
        {
            "before the commit": before,
            "after the commit": after_commit,
            "after a rollback": after_rollback,
            "outside of a transaction": at_once,
            "accepted by mistake": failures,
            "answers without the broker": answers,
            "rows seen by eager runs": [*sightings, in_a_thread],
        }
    )
)
