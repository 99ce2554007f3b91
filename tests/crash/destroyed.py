"""What a fault destroys for ever, so that nobody can be answered by it. Each function journals it."""

from __future__ import annotations

from .leftovers import ids_in
from .servers import RabbitMQ, Redis
from .site import Site

__all__ = ["in_transit", "messages", "results", "running", "unpublished"]


def unpublished(site: Site) -> None:
    """Journal the calls whose caller is about to die before their message has left."""
    if site.row.moment != "publishing":
        return
    claims = [site.claim_of(task, key) for task, key in site.subjects]
    ids = [claim.owner for claim in claims if claim is not None]
    known = [call.result for call in site.journal.read().calls.values() if call.result is not None]
    # All other callers have joined them. Whoever did not join has a message that leaves.
    site.journal.write("destroyed", why="the caller died while publishing", ids=[*{*ids, *known}])


def running(site: Site) -> None:
    """Journal the runs that are about to die, whose messages were acknowledged."""
    running = [run.id for run in site.journal.read().runs if run.stored is None]
    site.journal.write("destroyed", why="the run died, its message was acknowledged", ids=running)


def in_transit(site: Site) -> None:
    """Journal the messages that the death of a worker on Redis has lost.

    kombu takes a message from its queue before it notes that it has it.
    """
    if isinstance(site.broker, Redis):
        events, there = site.journal.read(), ids_in(site.broker, site.setup.queue)
        published = {call.result for call in events.calls.values() if call.result and call.state is None}
        ended = {run.id for run in events.runs}
        lost = sorted(published - ended - set(there))
        site.journal.write("destroyed", why="the message was on its way to the worker", ids=lost)


def messages(site: Site) -> None:
    """Drop all messages, and journal them.

    Those that workers have taken and not acknowledged go too, if the broker has them.
    """
    if isinstance(site.broker, RabbitMQ):
        with site.project.app.connection_for_write() as connection:
            connection.default_channel.queue_purge(site.setup.queue)
        lost = _unstarted(site)
    else:
        lost = ids_in(site.broker, site.setup.queue)
        with site.broker.client() as client:
            client.delete(site.setup.queue, "unacked", "unacked_index")
    site.journal.write("destroyed", why="the broker lost its messages", ids=lost)


def _unstarted(site: Site) -> list[str]:
    events = site.journal.read()
    started = {run.id for run in events.runs}
    return [call.result for call in events.calls.values() if call.result and call.result not in started]


def results(site: Site) -> None:
    """Journal all that the result backend has."""
    with site.backend.client() as client:
        names = [key.decode() for key in client.scan_iter("celery-task-meta-*")]
    ids = [name.removeprefix("celery-task-meta-") for name in names]
    site.journal.write("destroyed", why="the backend lost its results", ids=ids)
