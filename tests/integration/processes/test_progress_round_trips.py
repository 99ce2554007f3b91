"""What progress asks of Redis: nothing for a short silent run, and little of the body if Redis hangs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context

from jobtastic_signals import update_progress
from jobtastic_signals.progress.reporter import Progress
from jobtastic_signals.progress.writer import BackendWriter
from tests.support.progress import run
from tests.support.servers import wait_until
from tests.support.sockets import DEAD


def commands_of(app: Celery, body: Any, **options: Any) -> list[str]:
    """Return what Redis is asked from the begin of a run to its end, but for the result of the run itself."""
    client = app.backend.client
    client.delete("over")
    with client.monitor() as monitor:
        result = run(app, body, **options)
        client.set("over", 1)
        seen = []
        for command in monitor.listen():
            if command["command"].startswith("SET over"):
                break
            if result.id in command["command"] and command["client_type"] != "lua":
                seen.append(command["command"].split()[0])
    return seen


@pytest.mark.parametrize(
    "options",
    [
        {"cache_duration": -1},
        {"herd_avoidance_timeout": 60},
        {"memleak_threshold": 1000},
        {"herd_avoidance_timeout": 60, "memleak_threshold": 1000},
    ],
    ids=repr,
)
def test_a_run_that_ends_soon_costs_as_many_round_trips_as_in_plain_celery(new_app, redis_url, options):
    def body(self: Any) -> int:
        return 7

    plain = new_app(result_backend=f"{redis_url}/7", plugin=False)
    ours = new_app(result_backend=f"{redis_url}/7", jobtastic_progress_after=60)
    assert commands_of(ours, body, **options) == commands_of(plain, body, **options)


@pytest.fixture(params=["never accepts", "silent"])
def hanging(request) -> Any:
    with DEAD[request.param]() as address:
        yield address


def test_a_backend_that_hangs_costs_the_body_no_more_than_an_interval(hanging, monkeypatch):
    """The body goes on while the record is still being written, and the end does not wait for it."""
    monkeypatch.setattr("jobtastic_signals.progress.turns.PATIENCE", 0.05)
    app = Celery(
        set_as_current=False,
        result_backend=f"redis://127.0.0.1:{hanging.port}/0",
        redis_socket_timeout=20,
        redis_socket_connect_timeout=20,
        redis_retry_on_timeout=False,
    )
    progress = Progress("task", BackendWriter(app, Context(id="x"), began=time.time()), interval=0.01)
    progress._waits_at_end = False
    for n in range(100_000):
        progress.update(n, 100_000)
    assert progress._turns.is_taken, "it is still being written"
    progress.close()
    app.close()


def test_the_body_waits_again_when_the_backend_is_fast_again(new_app, redis_url):
    app = new_app(result_backend=f"{redis_url}/7", jobtastic_progress_interval=0)
    seen = []

    def body(self: Any) -> None:
        progress = current()
        progress._turns._is_slow = True
        update_progress(1, 4)
        wait_until(lambda: not progress._turns._is_slow, what="a record that was written soon")
        update_progress(2, 4)
        seen.append(app.AsyncResult(self.request.id).result["completed"])

    def current() -> Progress:
        from jobtastic_signals.progress.current import progress_here

        progress = progress_here()
        assert progress is not None
        return progress

    run(app, body)
    assert seen == [2]
