"""Runs and calls that the store was away for get or give up their claims when it is back."""

from __future__ import annotations

import uuid

import pytest
from kombu.exceptions import OperationalError

from jobtastic_signals import Claim
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH, HERD, producer_of, refuse
from tests.support.servers import wait_until
from tests.support.unit_apps import elsewhere, entry_of, execute, key_of, published, real, receive, use_store

OPERATIONS = ("lookup", "lookup_or_claim", "claim", "renew", "complete", "release", "forget")


class Away(MemoryStore):
    """Raises while it is away."""

    away = False


def _unless_away(name):
    original = getattr(MemoryStore, name)

    def operation(self, *arguments, **options):
        if self.away:
            raise OSError("gone")
        return original(self, *arguments, **options)

    return operation


for _name in OPERATIONS:
    setattr(Away, _name, _unless_away(_name))


@pytest.fixture
def memory(clock):
    return Away(clock=clock)


@pytest.fixture
def app(new_app, memory):
    """Asks the store each time, also right after it has failed."""
    app = new_app()
    use_store(app, memory, always_tried=True)
    return app


def add_task(app, body, **options):
    return real(app.task(body, bind=True, name="proj.task", shared=False, **options))


def test_a_run_that_began_without_the_store_regains_the_claim_of_its_call(app, memory, schedule, clock):
    seen = []

    def body(self, n):
        memory.away = False
        schedule.advance(11)  # The first renewal.
        seen.append(entry_of(task, n))
        seen.append(elsewhere(task.delay, n).id)
        return n

    task = add_task(app, body, **BOTH)
    first = task.delay(1)
    began = clock.now
    (message,) = published(app)
    memory.away = True
    execute(receive(app, message))
    claim, joined = seen
    assert (claim.owner, claim.is_running, claim.since) == (first.id, True, began)
    assert joined == first.id
    assert entry_of(task, 1).owner == first.id
    assert first.get(timeout=1) == 1


def test_a_run_whose_claim_another_delivery_took_meanwhile_does_not_take_it_back(
    app, memory, schedule, clock
):
    seen = []

    def body(self, n):
        memory.away = False
        memory.claim(key_of(task, n), "other", "other/1", 600)
        schedule.advance(25)
        seen.append(entry_of(task, n).owner)
        return n

    task = add_task(app, body, **BOTH)
    first = task.delay(1)
    (message,) = published(app)
    memory.away = True
    execute(receive(app, message))
    assert seen == ["other"]
    assert entry_of(task, 1).owner == "other", "and it stores nothing"
    assert first.get(timeout=1) == 1


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("options", [HERD, BOTH], ids=["without a cache", "with a cache"])
def test_a_short_run_that_began_without_the_store_gives_up_the_claim_of_its_call(app, memory, options, fails):
    def body(self, n):
        memory.away = False
        if fails:
            raise KeyError(n)
        return n

    task = add_task(app, body, **options)
    task.delay(1)
    (message,) = published(app)
    memory.away = True
    execute(receive(app, message))
    assert not isinstance(entry_of(task, 1), Claim)


def test_the_claim_of_a_run_that_ended_without_the_store_is_released_later(app, memory):
    def body(self, n):
        memory.away = True
        raise KeyError(n)

    task = add_task(app, body, **HERD)
    task.delay(1)
    (message,) = published(app)
    execute(receive(app, message))
    memory.away = False
    assert memory.read(key_of(task, 1)).claim is not None
    wait_until(lambda: memory.read(key_of(task, 1)).claim is None, what="the release")


def test_the_claim_of_a_call_that_could_not_be_published_is_released_later(app, memory):
    task = add_task(app, lambda_body, **HERD)

    def fail(publish, *args, **options):
        memory.away = True
        refuse(publish)

    with producer_of(app, fail) as producer, pytest.raises(OperationalError):
        task.apply_async((1,), producer=producer)
    memory.away = False
    assert memory.read(key_of(task, 1)).claim is not None
    wait_until(lambda: memory.read(key_of(task, 1)).claim is None, what="the release")


def lambda_body(self, n):
    return n


def test_a_claim_that_is_released_later_is_that_of_its_owner_alone(app, memory):
    task = add_task(app, lambda_body, **HERD)

    def fail(publish, *args, **options):
        memory.away = True
        refuse(publish)

    with producer_of(app, fail) as producer, pytest.raises(OperationalError):
        task.apply_async((1,), producer=producer)
    with producer_of(app, fail) as producer, pytest.raises(OperationalError):
        task.apply_async((2,), producer=producer)
    memory.away = False
    first = memory.read(key_of(task, 1)).claim
    memory.release(key_of(task, 1), first.owner, None)
    other = task.apply_async((1,), task_id=uuid.uuid4().hex)
    wait_until(lambda: memory.read(key_of(task, 2)).claim is None, what="the release of another key")
    assert entry_of(task, 1).owner == other.id
