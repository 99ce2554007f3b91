"""Carries out one row: what is there, the fault, the recovery, and what is left behind."""

from __future__ import annotations

import contextlib
import gc
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from .faults import strike
from .leftovers import await_nothing_left, messages_in
from .rows import Row
from .servers import RabbitMQ, wait_until
from .site import Site
from .workers import CONCURRENCY

__all__ = ["perform"]


def perform(folder: Path, row: Row, rabbitmq: RabbitMQ | None = None) -> None:
    """Carry out a row. Its journal is in *folder* afterwards, for the checks.

    :raises AssertionError: if something is stuck, or left in the store.
    """
    with ExitStack() as stack:
        site = Site(folder, row, stack, rabbitmq)
        # A result that is collected after its backend has stopped tries for long to unsubscribe from it.
        stack.callback(gc.collect)
        options = ["--max-memory-per-child=1"] if row.fault == "memory_limit" else []
        site.start_worker(*options)
        _BEFORE[row.moment](site)
        _await_received(site)
        strike(site)
        _await_recovery(site)
        _await_answers(site)
        await_nothing_left(site.project, site.store, folder / "store")


# What is there when the fault strikes.


def _queued(site: Site) -> None:
    for number in range(CONCURRENCY):
        site.points.arm("body", f"filler-{number}")
        site.project.app.tasks["fill"].delay(f"filler-{number}")
    for number in range(CONCURRENCY):
        site.await_point("body", f"filler-{number}")
    for task, key in site.subjects:
        site.project.call(task, key, kwargs=_kwargs(site))
        site.project.call(task, key)
        site.project.call(task, key, "own id", kwargs=_kwargs(site))


def _publishing(site: Site) -> None:
    for task, key in site.subjects:
        site.points.arm("publishing", key)
        site.project.app.tasks["relay"].delay(task, key)
        site.await_point("publishing", key)
        site.project.call(task, key)


def _body(site: Site) -> None:
    for task, key in site.subjects:
        site.points.arm("body", key)
        site.project.call(task, key, kwargs=_kwargs(site))
        site.await_point("body", key)
        site.project.call(task, key)


def _result(site: Site) -> None:
    for task, key in site.subjects:
        site.points.arm("result", key)
        site.project.call(task, key)
        site.await_point("result", key)


def _waiting(site: Site) -> None:
    _body(site)
    for task, key in site.subjects:
        for _ in range(2):
            site.project.call(task, key, "own id")
        site.project.call(task, key, "later", countdown=2)

    def all_wait() -> bool:
        waiting = site.journal.read().of("waits")
        return all(
            len({each["id"] for each in waiting if each["key"] == key}) >= 2 for _, key in site.subjects
        )

    wait_until(all_wait, "calls waiting for the run")


_BEFORE = {
    "queued": _queued,
    "publishing": _publishing,
    "body": _body,
    "result": _result,
    "waiting": _waiting,
}


def _kwargs(site: Site) -> dict[str, str]:
    return {"how": "hoards"} if site.row.fault == "memory_error" else {}


def _has_logged(site: Site, text: bytes, times: int) -> bool:
    return site.first.log.read_bytes().count(text) >= times


def _await_received(site: Site) -> None:
    """Return when the worker has all messages, as far as that can be known."""
    own = {call.result for call in site.journal.read().calls.values() if call.result is not None}
    if site.row.moment != "publishing":
        for task_id in own:
            # What waits has been sent again.
            times = 2 if site.row.moment == "waiting" and task_id.startswith("own-") else 1
            text = f"[{task_id}] received".encode()
            wait_until(partial(_has_logged, site, text, times), f"{task_id} being received")


# What has to be true afterwards.


def _await_recovery(site: Site) -> None:
    """Make identical calls, as a user would, until each key gives a value that a run has made since."""
    since = site.journal.write("recovery")
    calls = {subject: [site.project.call(*subject)[0]] for subject in site.subjects}

    def has_recovered(subject: tuple[str, str]) -> bool:
        site.supervise()
        site.claim_of(*subject)  # It checks that no claim lasts longer than a lease.
        events = site.journal.read()
        if any(events.calls[name].state == "SUCCESS" for name in calls[subject]):
            return True
        if time.clock_gettime(time.CLOCK_MONOTONIC) > events.calls[calls[subject][-1]].made + 1.0:
            calls[subject].append(site.project.call(*subject)[0])
        return False

    for subject in site.subjects:
        wait_until(partial(has_recovered, subject), f"{subject} being answered", every=0.1)
    site.journal.write("recovered", after=round(time.clock_gettime(time.CLOCK_MONOTONIC) - since, 1))


def _await_answers(site: Site) -> None:
    """Return when all calls have ended that can, and all messages are dealt with."""

    def all_ended() -> bool:
        site.supervise()
        events = site.journal.read()
        destroyed = {task_id for record in events.of("destroyed") for task_id in record["ids"]}
        waiting = [call for call in events.calls.values() if call.result and call.state is None]
        return all(call.result in destroyed for call in waiting) and not events.open_runs

    # Those that cannot are found by the checks, with all the journal has on them.
    with contextlib.suppress(AssertionError):
        wait_until(all_ended, "all answers", every=0.1)
    wait_until(lambda: _messages(site) == 0, "the broker having no messages any more", every=0.1)
    # One that was delivered again may have made calls meanwhile.
    with contextlib.suppress(AssertionError):
        wait_until(all_ended, "all answers", every=0.1)


def _messages(site: Site) -> int:
    if isinstance(site.broker, RabbitMQ):
        with site.project.app.connection_for_read() as connection:
            queue = connection.default_channel.queue_declare(site.setup.queue, passive=True)
            return int(queue.message_count)
    return messages_in(site.broker, site.setup.queue)
