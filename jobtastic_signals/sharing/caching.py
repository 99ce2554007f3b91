"""The options that say which results and failures are kept, and what of them contradicts each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celery import Task
from celery.exceptions import TaskPredicate

from ..calls import TaskPolicy
from ..errors import OptionError
from ..options import Option, name_of, seconds

__all__ = [
    "CACHE_DURATION",
    "CACHE_FAILURES_FOR",
    "CACHE_MAX_BYTES",
    "CACHE_STALE_FOR",
    "CACHE_WHEN",
    "check_options",
]


def _parse_stale_for(value: Any) -> float:
    stale_for = float(seconds(value))
    if stale_for < 0:
        raise ValueError("negative")
    return stale_for


def _parse_failures(value: Any) -> Mapping[type[Exception], float | None]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError("not a dict")
    return {_failure(kind): _kept_for(kind, duration) for kind, duration in value.items()}


def _failure(kind: Any) -> type[Exception]:
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise TypeError(f"{kind!r} is not a class of exceptions")
    if issubclass(kind, TaskPredicate):
        raise TypeError(f"{kind.__name__} is no failure")
    return kind


def _kept_for(kind: type[Exception], duration: Any) -> float | None:
    if duration is None:
        return None
    kept_for = float(seconds(duration))
    if kept_for <= 0:
        raise ValueError(f"{duration!r} for {kind.__name__} is not positive")
    return kept_for


def _parse_condition(value: Any) -> Callable[[Any], Any] | None:
    if value is not None and not callable(value):
        raise TypeError("not a function")
    return value  # type: ignore[no-any-return]


def _parse_size(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    if value <= 0:
        raise ValueError("not positive")
    return value


CACHE_DURATION = Option(
    "cache_duration",
    default=-1.0,
    accepts="the seconds for which a result answers later calls, such as 3600; 0 for ever, negative for "
    "never",
    parse=seconds,
)

CACHE_STALE_FOR = Option(
    "cache_stale_for",
    default=0.0,
    accepts="the seconds for which a result is handed out after its cache_duration, while one run renews it, "
    "such as 600; 0 for not at all",
    parse=_parse_stale_for,
)

CACHE_FAILURES_FOR = Option(
    "cache_failures_for",
    default={},
    accepts="a dict of classes of exceptions and the seconds for which such a failure answers later calls, "
    "such as {LookupError: 60}; the class nearest to the exception's own counts, and None is for not at all",
    parse=_parse_failures,
)

CACHE_WHEN = Option(
    "cache_when",
    default=None,
    accepts="a function that gets a result and returns whether it answers later calls",
    parse=_parse_condition,
)

CACHE_MAX_BYTES = Option(
    "cache_max_bytes",
    default=None,
    accepts="the bytes of the largest result that answers later calls, such as 1_000_000, as the result "
    "serializer writes it",
    parse=_parse_size,
)


def check_options(task: type[Task[Any, Any]], policy: TaskPolicy) -> None:
    """Check that no option of *task* is without effect.

    :raises OptionError: for all that are, each in a line with what it needs.
    """
    wrong = [f"task {name_of(task)!r}: {problem}" for problem in _contradictions(policy)]
    if wrong:
        raise OptionError("\n".join(wrong))


def _contradictions(policy: TaskPolicy) -> Iterator[str]:
    herd = "herd_avoidance_timeout, such as herd_avoidance_timeout=60"
    cache = "cache_duration, such as cache_duration=3600"
    if policy["on_duplicate"] != "join" and not policy.avoids_herds:
        yield f"on_duplicate={policy['on_duplicate']!r} needs {herd}"
    if policy["cache_stale_for"] and not policy.result_ttl:
        yield f"cache_stale_for needs a positive {cache}: other results never become stale"
    if policy["cache_stale_for"] and not policy.avoids_herds:
        yield f"cache_stale_for needs {herd}, so that one run at a time renews a stale result"
    for name in ("cache_when", "cache_max_bytes"):
        if policy[name] is not None and not policy.caches:
            yield f"{name} needs {cache}: without it no result is kept"
    if policy["cache_failures_for"] and not policy.shares:
        yield f"cache_failures_for needs {herd}, or {cache}"
    if policy["cache_tags"] is not None and not (policy.caches or policy["cache_failures_for"]):
        yield f"cache_tags needs {cache}, or cache_failures_for: otherwise there is nothing to forget"
