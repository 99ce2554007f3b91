"""Each event is told with what its documentation names, and no receiver can harm a task."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import blinker
import pytest
from celery import Celery, Task, states

from jobtastic_signals import events
from jobtastic_signals.events import emit
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.unit_apps import (
    deliver,
    entry_of,
    installed_on,
    key_of,
    published,
    real,
    store_of,
    use_store,
    work_off,
)

Told = list[tuple[str, Any, dict[str, Any]]]

SIGNALS = {name: getattr(events, name) for name in events.__all__}


@pytest.fixture
def told() -> Iterator[Told]:
    """Everything that is told, in order: the event, the sender, the keywords."""
    heard: Told = []
    receivers = {
        name: lambda sender, _name=name, **info: heard.append((_name, sender, info)) for name in SIGNALS
    }
    for name, signal in SIGNALS.items():
        signal.connect(receivers[name])
    yield heard
    for name, signal in SIGNALS.items():
        signal.disconnect(receivers[name])


def add_task(app: Celery, **options: Any) -> Task:
    @app.task(name="proj.double", shared=False, **options)
    def double(n):
        return 2 * n

    return real(double)


BOTH = {"herd_avoidance_timeout": 60, "cache_duration": 60}


def test_the_life_of_a_call_is_told_from_miss_to_hit(new_app, told):
    app = new_app()
    double = add_task(app, **BOTH)
    key = key_of(double, 21)
    first = double.delay(21)
    about = {"key": key, "task_id": first.id}
    assert told == [("cache_missed", double, {"key": key}), ("run_claimed", double, about)]
    told.clear()
    double.delay(21)
    assert told == [("herd_joined", double, about)]
    told.clear()
    work_off(app)
    size = len(entry_of(double, 21).payload)
    assert told == [
        ("run_claimed", double, about),
        ("result_stored", double, {**about, "size": size}),
    ]
    told.clear()
    double.delay(21)
    ((*hit, seen),) = told
    assert hit == ["cache_hit", double]
    assert seen.pop("age") >= 0
    assert seen == {**about, "is_stale": False}
    told.clear()
    served = double.apply((21,))
    assert told == [("run_served", double, {"key": key, "task_id": served.id, "owner": first.id})]


def test_a_run_that_waits_is_told(new_app, told):
    app = new_app()
    double = add_task(app, **BOTH)
    key = key_of(double, 21)
    store_of(app).claim(key, "first", "first/1", 60)
    double.apply_async((21,), task_id="second")
    told.clear()
    deliver(app, published(app)[0])
    about = {"key": key, "task_id": "second", "owner": "first"}
    assert told == [("run_waited", double, {**about, "countdown": 1})]


@pytest.mark.parametrize("how", ["its owner failed", "its lease ended"])
def test_a_claim_that_is_taken_over_is_told(new_app, told, clock, how):
    app = new_app()
    use_store(app, MemoryStore(clock=clock))
    double = add_task(app, herd_avoidance_timeout=60)
    clock.now = time.time() - 1  # The result backend has the time of this host.
    first = double.delay(21)
    if how == "its owner failed":
        double.backend.store_result(first.id, KeyError("x"), states.FAILURE)
    else:
        clock.advance(31)
    told.clear()
    second = double.delay(21)
    about = {"key": key_of(double, 21), "task_id": second.id}
    assert [event for event in told if event[0] != "cache_missed"] == [
        ("claim_taken_over", double, {**about, "previous": first.id}),
        ("run_claimed", double, about),
    ]


def test_a_delivery_that_takes_the_key_from_a_queued_claim_is_told_as_well(new_app, told):
    app = new_app()
    double = add_task(app, **BOTH)
    first = double.delay(21)
    double.apply_async((21,), task_id="second")
    told.clear()
    deliver(app, published(app)[1])
    about = {"key": key_of(double, 21), "task_id": "second"}
    assert told[:2] == [
        ("claim_taken_over", double, {**about, "previous": first.id}),
        ("run_claimed", double, about),
    ]


def test_a_claim_that_is_given_up_is_told_once(new_app, told):
    app = new_app()

    @app.task(shared=False, **BOTH)
    def fail(n):
        raise KeyError(n)

    result = fail.delay(1)
    work_off(app)
    about = {"key": key_of(fail, 1), "task_id": result.id}
    assert ("run_claimed", real(fail), about) in told
    assert told[-1] == ("claim_released", real(fail), about)
    assert [name for name, *_ in told].count("claim_released") == 1


def test_a_store_that_fails_and_recovers_is_told_once_each(new_app, told, tmp_path, monkeypatch):
    monkeypatch.setattr("jobtastic_signals.settings.RETRY_AFTER", 0.0)
    obstacle = tmp_path / "store"
    obstacle.write_text("")
    app = new_app(jobtastic_store=f"disk://{obstacle}")
    double = add_task(app, **BOTH)
    double.apply((1,))
    double.apply((1,))
    (name, sender, info), *more = told
    assert (name, sender, more) == ("store_unavailable", f"disk://{obstacle}", [])
    assert isinstance(info.pop("error"), OSError)
    assert info == {}
    told.clear()
    obstacle.unlink()
    double.apply((1,))
    assert told[0] == ("store_recovered", f"disk://{obstacle}", {})
    assert [name for name, *_ in told] == ["store_recovered", "result_stored"]


def test_a_task_without_our_options_has_nothing_told(new_app, told):
    app = new_app()
    double = add_task(app)
    double.delay(1)
    double.apply((1,))
    work_off(app)
    assert told == []


def test_each_event_is_documented_and_can_be_imported():
    assert all(signal.__doc__ for signal in SIGNALS.values())
    assert {signal.name for signal in SIGNALS.values()} == set(SIGNALS)


def test_a_receiver_that_raises_is_logged_and_harms_nothing(new_app, told, caplog):
    app = new_app()
    double = add_task(app, **BOTH)

    def broken(sender, **info):
        raise RuntimeError("a broken receiver")

    for signal in SIGNALS.values():
        signal.connect(broken)
    first = double.delay(21)
    with caplog.at_level(logging.ERROR):
        assert double.delay(21).id == first.id
    assert "a receiver of herd_joined failed" in caplog.text
    assert "a broken receiver" in caplog.text
    work_off(app)
    assert double.delay(21).get(timeout=1) == 42
    assert double.apply((21,)).get() == 42
    expected = "cache_missed run_claimed herd_joined run_claimed result_stored cache_hit run_served"
    assert " ".join(name for name, *_ in told) == expected
    for signal in SIGNALS.values():
        signal.disconnect(broken)


def test_an_event_is_told_once_where_our_methods_stand_in_two_classes(new_app, told):
    class Base(Task):
        name = "proj.base"
        herd_avoidance_timeout = 60

        def run(self, n):
            return n

    app = new_app()
    app.register_task(Base())
    derived = app.register_task(type("Derived", (Base,), {"name": "proj.derived"})())
    installed_on(app).sweep()
    derived.delay(1)
    assert sorted(name for name, *_ in told) == ["cache_missed", "run_claimed"]


def test_a_receiver_may_listen_to_one_task_alone(new_app):
    app = new_app()
    double = add_task(app, **BOTH)
    other = real(app.task(only, name="proj.other", shared=False, **BOTH))
    heard = []
    receiver = lambda sender, **info: heard.append(sender)  # noqa: E731
    with events.result_stored.connected_to(receiver, sender=double):
        double.apply((1,))
        other.apply((1,))
    assert heard == [double]


def only(n):
    return n


def test_an_event_goes_to_all_receivers_though_some_raise(caplog):
    signal = blinker.NamedSignal("example")
    emit(signal, "me", key="k")
    heard = []

    def broken(sender, **info):
        heard.append(info)
        raise RuntimeError

    receivers = [broken, lambda sender, **info: heard.append(info)]
    for receiver in receivers:
        signal.connect(receiver)
    emit(signal, "me", key="k")
    assert heard == [{"key": "k"}] * 2
    assert "a receiver of example failed" in caplog.text
