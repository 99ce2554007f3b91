"""What the options and settings of tasks probably do not do as meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from celery import Celery, Task
from kombu.utils.functional import maybe_list

from ...calls import TaskPolicy
from ...errors import OptionError
from ...installation import Installation, installation_on
from ...options import misspelt, own_attributes
from .base import Finding, note

__all__ = ["check_options"]

#: The least likeness of an attribute's name and an option's that is worth a look.
_LIKENESS = 0.7

#: Seconds after which kombu delivers a message from Redis again, if nothing else is set.
_VISIBILITY_TIMEOUT = 3600


def check_options(app: Celery[Any]) -> Iterator[Finding]:
    """Yield notes about options of tasks, right ones and attributes that look like them."""
    installation = installation_on(app)
    if installation is None:
        return
    visibility = _visibility_timeout(app)
    for _, task in sorted(app.tasks.items()):
        yield from _near_misses(task, [option.name for option in installation.known_options])
        policy = _policy_of(installation, task)
        if policy is None:
            continue
        if policy.caches and policy.result_ttl is None:
            yield _cached_for_ever(task)
        if policy.shares and task.ignore_result:
            yield _ignored(task)
        longest = max(policy.join_timeout, task.time_limit or 0)
        if visibility is not None and policy.shares and visibility < longest:
            yield _delivered_again(task, visibility, longest)


def _near_misses(task: Task[Any, Any], known: list[str]) -> Iterator[Finding]:
    for name, value in own_attributes(type(task)):
        if name in known or misspelt(name, tuple(known)):
            continue  # A slip is an error, and reported as one.
        first_word, _, more = name.partition("_")
        relatives = [each for each in known if more and each.startswith(f"{first_word}_")]
        meant = relatives or difflib.get_close_matches(name, known, n=1, cutoff=_LIKENESS)
        if meant:
            yield note(
                "task",
                f"{task.name}: {name}={value!r} is none of our options, and has no effect here",
                f"If it is not your own, use {' or '.join(meant)}",
            )


def _cached_for_ever(task: Task[Any, Any]) -> Finding:
    return note(
        "task",
        f"{task.name}: cache_duration=0 lets results answer calls for ever",
        "If that is not intended, give it a number of seconds, or a negative number to cache nothing",
    )


def _ignored(task: Task[Any, Any]) -> Finding:
    by_setting = bool(task.app.conf.task_ignore_result)
    reason = "because of the setting task_ignore_result" if by_setting else "because of ignore_result"
    return note(
        "task",
        f"{task.name}: its results are ignored {reason}, so nobody can read what it returns or how far it is",
        "Set ignore_result=False on the task if callers, or a progress bar, need them",
    )


def _delivered_again(task: Task[Any, Any], visibility: float, longest: float) -> Finding:
    return note(
        "task",
        f"{task.name}: a run may take {longest:g} s, and Redis delivers its message again after "
        f"visibility_timeout={visibility:g} s if it is not acknowledged by then",
        f"Set visibility_timeout in broker_transport_options to more than {longest:g}",
    )


def _visibility_timeout(app: Celery[Any]) -> float | None:
    """Return the seconds after which the broker delivers a message again, or ``None`` without such a time."""
    urls = map(str, maybe_list(app.conf.broker_read_url) or ())
    if not any(url.startswith(("redis", "sentinel", "valkey")) for url in urls):
        return None
    timeout: Any = (app.conf.broker_transport_options or {}).get("visibility_timeout", _VISIBILITY_TIMEOUT)
    return timeout if isinstance(timeout, (int, float)) else None


def _policy_of(installation: Installation, task: Task[Any, Any]) -> TaskPolicy | None:
    try:
        return installation.policy_of(type(task))
    except OptionError:
        return None  # Reported elsewhere.
