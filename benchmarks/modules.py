"""How often a call moves between modules of the package: what a reader of the code has to follow.

Prints the moves, and the modules in the order in which they are entered, for a first ``delay()`` of a task
with our options and for one of a task without. ``tests/unit/test_moves.py`` limits both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from celery import Celery

from jobtastic_signals import Jobtastic

PACKAGE = "jobtastic_signals"


def moves_of(function: Callable[[], Any]) -> list[str]:
    """Return the modules of the package that *function* enters, each time that it comes from another one."""
    entered: list[str] = []

    def see(frame: Any, event: str, _: Any) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.partition(".")[0] == PACKAGE and entered[-1:] != [module]:
            entered.append(module)

    sys.setprofile(see)
    try:
        function()
    finally:
        sys.setprofile(None)
    return entered


def double(n: int) -> int:
    return 2 * n


def prepared_app() -> Celery:
    """Return an app with both tasks, that has made its connections and read its settings."""
    app = Celery("modules", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.jobtastic_store = "memory://"
    Jobtastic(app)

    with_options = app.task(name="with_options", herd_avoidance_timeout=60, cache_duration=60)(double)
    without_options = app.task(name="without_options")(double)
    for task in (with_options, without_options):
        task.delay(0)
    return app


def main() -> None:
    """Print both counts."""
    app = prepared_app()
    for name in ("with_options", "without_options"):
        entered = moves_of(lambda task=app.tasks[name]: task.delay(1))  # type: ignore[misc]
        print(f"{name}: {len(entered)} moves across {len(set(entered))} modules")
        print("   " + " ".join(each.removeprefix(f"{PACKAGE}.") for each in entered))


if __name__ == "__main__":
    main()
