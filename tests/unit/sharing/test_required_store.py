"""What a store that fails costs, with ``jobtastic_store_required`` and without."""

from __future__ import annotations

import os
import threading

import pytest

from jobtastic_signals import StoreError
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.unit_apps import deliver, published, work_off


@pytest.fixture
def down(monkeypatch):
    """Lets the store fail."""
    failing = threading.Event()

    def fail(original):
        def operation(self, *arguments, **options):
            if failing.is_set():
                raise OSError("gone")
            return original(self, *arguments, **options)

        return operation

    for name in ("lookup", "lookup_or_claim", "claim", "renew", "complete", "release"):
        monkeypatch.setattr(MemoryStore, name, fail(getattr(MemoryStore, name)))
    monkeypatch.setattr("jobtastic_signals.settings.RETRY_AFTER", 0.0)
    return failing


@pytest.mark.parametrize("options", [{"cache_duration": 60}, {"herd_avoidance_timeout": 60}])
def test_where_the_store_is_required_a_call_fails_and_so_does_a_run(new_app, down, options):
    app = new_app(jobtastic_store_required=True)
    runs = []

    @app.task(**options)
    def double(n):
        runs.append(n)
        return n * 2

    queued = double.delay(1)
    down.set()
    for _ in range(2):
        with pytest.raises(StoreError, match="jobtastic_store_required"):
            double.delay(2)
    [message] = published(app)
    deliver(app, message)
    assert runs == []
    assert queued.state == "FAILURE"
    assert "cannot be asked" in str(queued.result)
    down.clear()
    assert double.delay(3).state == "PENDING"
    work_off(app)
    assert runs == [3]


def test_where_it_is_not_required_it_costs_the_sharing_alone(new_app, down):
    app = new_app()
    runs = []

    @app.task(herd_avoidance_timeout=60)
    def double(n):
        runs.append(n)

    down.set()
    double.delay(1)
    double.delay(1)
    work_off(app)
    assert runs == [1, 1]


# Its identity.


def test_the_identity_is_asked_for_once_in_a_minute():
    store, now = MemoryStore(), [0.0]
    guarded = GuardedStore(lambda: store, "memory://watched", clock=lambda: now[0])
    first = guarded.identity
    store._identity = "another"
    assert guarded.identity == first
    now[0] += 61
    assert "another" in (guarded.identity or "")
    store._identity = "a third"
    guarded.close()
    assert "a third" in (guarded.identity or "")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_childs_store_of_one_process_is_another_one():
    guarded = GuardedStore(MemoryStore, "memory://watched")
    parents = guarded.identity
    child = os.fork()
    if not child:
        os._exit(0 if guarded.identity != parents else 1)
    assert os.waitpid(child, 0)[1] == 0
