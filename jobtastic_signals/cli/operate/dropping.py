"""Dropping results, freeing claims, and purging queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kombu import Connection
from kombu.utils.functional import maybe_list

from ...errors import StoreError
from ...fallback.broker import open_connection
from ...sharing import api
from ...sharing.inventory import Row, prefix_in, prefixes, release_claim
from ...support.redaction import scrubbed, without_passwords
from ...support.shown import shown_error
from ..common import EXIT_UNKNOWN, CommandError
from ..watch.base import clean
from .site import Site

__all__ = ["Answer", "forget", "forget_all", "forget_tag", "purge", "release", "release_owner"]

#: Seconds within which the broker has to answer.
BROKER_ANSWERS_WITHIN = 5.0

#: The fewest characters of a task id that stand for it.
_FEWEST = 4


@dataclass(frozen=True)
class Answer:
    """What a command has done.

    :ivar is_done: whether there was something to do.
    :ivar facts: the same as JSON.
    """

    is_done: bool
    text: str
    facts: Mapping[str, Any]


def forget(site: Site, key: str) -> Answer:
    """Drop the result of one key."""
    with site.asking():
        is_done = site.installation.store.forget(key)
    text = f"Forgot the result of {key}." if is_done else f"There is no result of {key}."
    return Answer(is_done, text, {"key": key, "forgotten": is_done})


def forget_all(site: Site, task: str) -> Answer:
    """Drop all results of a task, or of a prefix of keys.

    :raises JobtasticError: if no task of the app has that name or prefix.
    """
    with site.asking(), suppress(StoreError):
        api.forget_all(task, app=site.app)
    return Answer(True, f"Forgot all results of {clean(task)}.", {"task": task, "forgotten": True})


def forget_tag(site: Site, tag: str) -> Answer:
    """Drop all results with a tag.

    :raises JobtasticError: if no task of the app has tags.
    """
    with site.asking(), suppress(StoreError):
        api.forget_tag(tag, app=site.app)
    return Answer(True, f"Forgot all results with the tag {clean(tag)}.", {"tag": tag, "forgotten": True})


def release(site: Site, key: str) -> Answer:
    """Free the claims on one key."""
    return _released(site, [row for row in site.rows_of(key) if row.is_in_flight], f"on {key}")


def release_owner(site: Site, owner: str) -> Answer:
    """Free the claims of a task id.

    :raises CommandError: if *owner* stands for several.
    """
    found = [row for row in site.rows(only_in_flight=True) if _stands_for(owner, row.owner)]
    owners = {row.owner for row in found}
    if len(owners) > 1 and owner not in owners:
        raise CommandError(f"{len(owners)} task ids begin with {owner}. Give more of it.", EXIT_UNKNOWN)
    if owner in owners:
        found = [row for row in found if row.owner == owner]
    return _released(site, found, f"of {clean(owner)}")


def purge(site: Site, queues: Sequence[str]) -> Answer:
    """Purge *queues*, and free the queued claims that were there before.

    A claim that is made meanwhile belongs to a message that may have come after the purge.

    :raises CommandError: if the broker does not answer, or a queue does not exist.
    """
    known = prefixes(site.installation)
    queued = [
        row
        for row in site.rows(only_in_flight=True)
        if row.state != "running" and prefix_in(row.key) in known
    ]
    messages = _purge(site, queues)
    with site.asking():
        freed = sum(_release(site, row) for row in queued)
    text = (
        f"Deleted {_number(messages, 'message')} of {', '.join(queues)}, and freed {_number(freed, 'claim')}."
    )
    return Answer(True, clean(text), {"queues": list(queues), "messages": messages, "freed": freed})


def _purge(site: Site, queues: Sequence[str]) -> int:
    """Return how many messages were in *queues*."""
    try:
        with open_connection(site.app, BROKER_ANSWERS_WITHIN) as connection:
            return sum(_purge_queue(connection, queue) for queue in queues)
    except CommandError:
        raise
    except Exception as error:
        url = ";".join(maybe_list(site.app.conf.broker_write_url or "amqp://"))
        reason = scrubbed(shown_error(error), url, {})
        raise CommandError(
            f"The broker {without_passwords(url)} cannot be reached: {reason}. Nothing is freed."
        ) from error


def _purge_queue(connection: Connection, queue: str) -> int:
    try:
        # A channel of its own, since an error closes it.
        with connection.channel() as channel:
            return channel.queue_purge(queue) or 0
    except connection.channel_errors as error:
        raise CommandError(f"The queue {queue!r} cannot be purged: {shown_error(error)}.") from error


def _stands_for(start: str, owner: str) -> bool:
    return start == owner or (len(start) >= _FEWEST and owner.startswith(start))


def _released(site: Site, found: Sequence[Row], which: str) -> Answer:
    with site.asking():
        freed = [row for row in found if _release(site, row)]
    claims = [{"key": row.key, "owner": row.owner, "state": row.state} for row in freed]
    if not freed:
        return Answer(False, f"There is no claim {which}.", {"released": claims})
    text = "; ".join(f"Released the {row.state} claim of {clean(row.owner)} on {row.key}" for row in freed)
    return Answer(True, f"{text}.", {"released": claims})


def _release(site: Site, row: Row) -> bool:
    return release_claim(site.installation, row.key, row.owner, also_running=row.state == "running")


def _number(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"
