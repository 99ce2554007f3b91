"""What a key costs, compared with those of other libraries and with JSON and BLAKE2b.

A small call has a text, a number and a list of two numbers. ``unique_on`` makes celery-singleton bind its
arguments, as we do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import joblib
from celery import Celery
from celery_heimdall import HeimdallTask
from celery_heimdall.task import unique_key_for_task
from celery_once import QueueOnce
from celery_singleton import Singleton

from jobtastic_signals import Jobtastic

from .report import Findings, Line, Table
from .rounds import calls_timed, medians, ratios
from .runs import key_maker

SMALL = {"customer": "acme", "year": 2026, "regions": [1, 2]}
MEGABYTE = 1_000_000
CANONICAL, HEIMDALL = "ours, canonical", "celery-heimdall"
BLAKE2B, ENCODED = "BLAKE2b alone, 1 MB", "encode() and BLAKE2b, 1 MB of ASCII text"
BYTES, TEXT = "1 MB of bytes", "1 MB of ASCII text"
NUMBERS = list(range(10**6, 10**6 + 100_000))


def report(customer: str, year: int = 2026, regions: Any = ()) -> None: ...


def tasks() -> dict[str, Any]:
    app = Celery("keys", broker="memory://", set_as_current=False)
    # Singleton has a method with the name of one of our options, so the others have an app of their own.
    theirs = Celery("their keys", broker="memory://", set_as_current=False)
    theirs.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {}}
    Jobtastic(app)

    def task(name: str, **options: Any) -> Any:
        return (theirs if "base" in options else app).task(name=name, shared=False, **options)(report)

    made = {
        "canonical": task("canonical", herd_avoidance_timeout=60),
        "with str": task("texts", significant_kwargs=[(name, str) for name in SMALL]),
        "once": task("once", base=QueueOnce),
        "singleton": task("singleton", base=Singleton),
        "unique_on": task("unique_on", base=Singleton, unique_on=list(SMALL)),
        "heimdall": task("heimdall", base=HeimdallTask, heimdall={"unique": True}),
    }
    tasks = {**app.tasks, **theirs.tasks}
    return {name: tasks[each.name] for name, each in made.items()}


def small_calls(tasks: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    canonical, texts = key_maker(tasks["canonical"]), key_maker(tasks["with str"])
    return {
        "ours, with str": lambda: texts(**SMALL),
        CANONICAL: lambda: canonical(**SMALL),
        HEIMDALL: lambda: unique_key_for_task(tasks["heimdall"], (), SMALL),
        "celery-once": lambda: tasks["once"].get_key((), SMALL),
        "celery-singleton": lambda: tasks["singleton"].generate_lock("singleton", (), SMALL),
        "celery-singleton, unique_on": lambda: tasks["unique_on"].generate_lock("unique_on", (), SMALL),
        "joblib.hash": lambda: joblib.hash(SMALL),
    }


def big_values(tasks: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    canonical, texts = key_maker(tasks["canonical"]), key_maker(tasks["with str"])
    raw, ascii_text, other_text = b"x" * MEGABYTE, "x" * MEGABYTE, "ü" * (MEGABYTE // 2)
    return {
        BLAKE2B: lambda: hashlib.blake2b(raw, digest_size=20).hexdigest(),
        ENCODED: lambda: hashlib.blake2b(ascii_text.encode(), digest_size=20).hexdigest(),
        BYTES: lambda: canonical(customer=raw),
        TEXT: lambda: canonical(customer=ascii_text),
        "1 MB of other text": lambda: canonical(customer=other_text),
        "1 MB of ASCII text, with str": lambda: texts(customer=ascii_text),
        "json and BLAKE2b, 100,000 ints": lambda: digest_of_json(NUMBERS),
        "100,000 ints": lambda: canonical(customer=NUMBERS),
        "joblib.hash, 100,000 ints": lambda: joblib.hash(NUMBERS),
    }


def digest_of_json(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=20).hexdigest()


def measure() -> Findings:
    made = tasks()
    small_ones, big_ones = small_calls(made), big_values(made)
    small = medians(small_ones, calls=200)
    big = medians(big_ones, calls=1, rounds=30)
    of_heimdall = ratios(
        {name: calls_timed(small_ones[name], 20) for name in (CANONICAL, HEIMDALL)}, HEIMDALL, rounds=3000
    )
    of_blake2b = ratios(
        {name: calls_timed(big_ones[name], 1) for name in (BLAKE2B, ENCODED, BYTES, TEXT)},
        BLAKE2B,
        rounds=1000,
    )
    return Findings(
        list(lines(of_heimdall, of_blake2b)),
        {
            "keys": Table("the key of a call with three small arguments", "µs", small, HEIMDALL),
            "big keys": Table("the key of a call with one big argument", "µs", big, BLAKE2B),
        },
    )


def lines(of_heimdall: dict[str, float], of_blake2b: dict[str, float]) -> Iterator[Line]:
    yield Line("key of three small arguments", "", of_heimdall[CANONICAL], 0.8, "× celery-heimdall's")
    group, unit = "key of 1 MB", "× BLAKE2b alone"
    yield Line(group, "bytes", of_blake2b[BYTES], 1.1, unit, 1.0, "BLAKE2b alone")
    yield Line(group, "ASCII text", of_blake2b[TEXT], 1.1, unit, of_blake2b[ENCODED], "encode() and BLAKE2b")
