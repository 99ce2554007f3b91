"""All that is known about one key, as lines with a label each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from celery import Celery, states

from ...results import payload
from ...results.status import task_status
from ...sharing.inventory import Row
from ...stores import Result
from ...support.shown import shown_error
from ..watch.base import Sight, clean, sight_of
from ..watch.plain import facts
from .site import Site
from .tables import bytes_text, time_text

__all__ = ["details_of", "sight_of_owner", "value_of"]

#: The longest value that is shown.
_LONGEST = 1000


def details_of(site: Site, key: str, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines about *key*, whose rows these are."""
    yield from _aligned([("task", rows[0].task if rows else ""), ("key", key)])
    for row in rows:
        yield ""
        yield from _aligned(_of_claim(site, row) if row.is_in_flight else _of_result(site, row))


def sight_of_owner(app: Celery[Any], row: Row) -> Sight | None:
    """Return the status of a run, or ``None`` if the result backend does not know it."""
    with suppress(Exception):
        return sight_of(task_status(app, row.owner))
    return None


def value_of(site: Site, key: str) -> str | None:
    """Return the value or the exception that is stored under *key*, as text; ``None`` if there is none."""
    found = site.installation.store.entry(key).result
    if not isinstance(found, Result):
        return None
    try:
        value = payload.loads(site.app, found.payload)
        if found.state in states.EXCEPTION_STATES:
            value = site.app.backend.exception_to_python(value)
    except Exception as error:
        return f"cannot be read here: {shown_error(error)}"
    status = {"task": {"id": "", "status": states.SUCCESS, "result": value}}
    return clean(sight_of(status).outcome, _LONGEST)


def _of_claim(site: Site, row: Row) -> Iterator[tuple[str, str]]:
    yield "state", f"{row.state}, for {time_text(row.age)}"
    yield "owner", row.owner
    yield "worker", row.worker
    yield "lease", f"{time_text(row.lease_left)} left"
    yield "waiting", _who_waits(row)
    if row.next is not None:
        yield "next", f"{row.next} is queued behind it"
    if row.is_forgotten:
        yield "result", "was forgotten in advance, so it answers no call that is made now"
    if row.state == "running":
        sight = sight_of_owner(site.app, row)
        if sight is not None and sight.state != states.PENDING:
            yield "progress", facts(sight)


def _of_result(site: Site, row: Row) -> Iterator[tuple[str, str]]:
    yield "state", f"{row.state}, for {time_text(row.age)}"
    yield "owner", row.owner
    left = time_text(row.expires_in)
    yield ("expires", f"in {left}" if left else "never")
    yield "size", bytes_text(row.size)
    yield "value", value_of(site, row.key) or ""


def _who_waits(row: Row) -> str:
    calls = f"{row.waiting} call{'s' * (row.waiting != 1)}" if row.waiting else ""
    return " and ".join(
        filter(None, (calls, "messages, whose number is not known" if row.is_awaited else ""))
    )


def _aligned(lines: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> Iterator[str]:
    for label, text in lines:
        if text:
            yield f"{label:<8}  {clean(text, _LONGEST)}"
