"""What a key costs, compared with those of other libraries and with JSON and BLAKE2b.

A small call has a text, a number and a list of two numbers. ``unique_on`` makes celery-singleton bind its
arguments, as we do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import joblib
from celery import Celery
from celery_heimdall import HeimdallTask
from celery_heimdall.task import unique_key_for_task
from celery_once import QueueOnce
from celery_singleton import Singleton
from rich.console import Console
from rich.table import Table

from jobtastic_signals import Jobtastic
from jobtastic_signals.installation import required_sharing_of

from .rounds import medians

SMALL = {"customer": "acme", "year": 2026, "regions": [1, 2]}
MEGABYTE = 1_000_000
NUMBERS = list(range(10**6, 10**6 + 100_000))


def report(customer: str, year: int = 2026, regions: Any = ()) -> None: ...


def key_maker(task: Any) -> Callable[..., str]:
    """Return what makes the key of a call of *task* with keywords, as ``apply_async`` does."""
    task = task.app.tasks[task.name]
    _, policy = required_sharing_of(task)
    return lambda **kwargs: policy.keys.key(task, (), kwargs)


def tasks() -> tuple[Celery, dict[str, Any]]:
    app = Celery("keys", broker="memory://", set_as_current=False)
    app.conf.ONCE = {"backend": "celery_once.backends.Redis", "settings": {}}
    Jobtastic(app)

    def task(name: str, **options: Any) -> Any:
        return app.task(name=name, shared=False, **options)(report)

    made = {
        "canonical": task("canonical", herd_avoidance_timeout=60),
        "with str": task("texts", significant_kwargs=[(name, str) for name in SMALL]),
        "once": task("once", base=QueueOnce),
        "singleton": task("singleton", base=Singleton),
        "unique_on": task("unique_on", base=Singleton, unique_on=list(SMALL)),
        "heimdall": task("heimdall", base=HeimdallTask, heimdall={"unique": True}),
    }
    app.finalize()
    return app, {name: app.tasks[each.name] for name, each in made.items()}


def small_calls(tasks: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    canonical, texts = key_maker(tasks["canonical"]), key_maker(tasks["with str"])
    return {
        "ours, with str": lambda: texts(**SMALL),
        "ours, canonical": lambda: canonical(**SMALL),
        "celery-heimdall": lambda: unique_key_for_task(tasks["heimdall"], (), SMALL),
        "celery-once": lambda: tasks["once"].get_key((), SMALL),
        "celery-singleton": lambda: tasks["singleton"].generate_lock("singleton", (), SMALL),
        "celery-singleton, unique_on": lambda: tasks["unique_on"].generate_lock("unique_on", (), SMALL),
        "joblib.hash": lambda: joblib.hash(SMALL),
    }


def big_values(tasks: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    canonical, texts = key_maker(tasks["canonical"]), key_maker(tasks["with str"])
    raw, ascii_text, other_text = b"x" * MEGABYTE, "x" * MEGABYTE, "ü" * (MEGABYTE // 2)
    return {
        "BLAKE2b alone, 1 MB": lambda: hashlib.blake2b(raw, digest_size=20).hexdigest(),
        "1 MB of bytes": lambda: canonical(customer=raw),
        "1 MB of ASCII text": lambda: canonical(customer=ascii_text),
        "1 MB of other text": lambda: canonical(customer=other_text),
        "1 MB of ASCII text, with str": lambda: texts(customer=ascii_text),
        "json and BLAKE2b, 100,000 ints": lambda: digest_of_json(NUMBERS),
        "100,000 ints": lambda: canonical(customer=NUMBERS),
        "joblib.hash, 100,000 ints": lambda: joblib.hash(NUMBERS),
    }


def digest_of_json(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=20).hexdigest()


def main() -> None:
    console = Console()
    app, made = tasks()
    small = medians(small_calls(made), calls=200)
    table = Table("", "µs", "of celery-heimdall's", title="the key of a call with three small arguments")
    for name, median in small.items():
        table.add_row(name, f"{median:.1f}", f"{median / small['celery-heimdall']:.2f}")
    console.print(table)
    big = medians(big_values(made), calls=1, rounds=30)
    table = Table("", "ms", "MB/s", title="the key of a call with one big argument")
    for name, median in big.items():
        table.add_row(name, f"{median / 1e3:.2f}", f"{MEGABYTE / median:.0f}" if "1 MB" in name else "")
    console.print(table)
    app.close()


if __name__ == "__main__":
    main()
