"""When the result backend says that the owner of a claim has nothing more to give."""

from __future__ import annotations

import datetime
import time
import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery import states
from celery.exceptions import TaskRevokedError
from celery.utils.time import maybe_iso8601

from jobtastic_signals.sharing import claims
from jobtastic_signals.sharing.claims import has_ended
from jobtastic_signals.stores import Claim
from tests.support.calls import BOTH, CACHE, HERD, add_tasks, publishes
from tests.support.unit_apps import entry_of, execute, key_of, published, receive, store_of

NOW = 1_700_000_000.0

#: A claim that was made ten seconds ago.
CLAIM = Claim("owner", expires=NOW + 20, since=NOW - 10)


def set_time(monkeypatch, now):
    monkeypatch.setattr(claims, "time", SimpleNamespace(time=lambda: now))


@pytest.fixture
def frozen(monkeypatch):
    """The clock of this host stands still."""
    set_time(monkeypatch, NOW)


def meta(status, ago, *, zone=datetime.timezone.utc, as_text=True):
    """Return what a result backend says of a task that got its status so many seconds *ago*."""
    when = datetime.datetime.fromtimestamp(NOW - ago, zone)
    return {"status": status, "result": None, "date_done": when.isoformat() if as_text else when}


ENDS = [states.FAILURE, states.REVOKED]


@pytest.mark.parametrize("status", [states.PENDING, states.STARTED, states.RETRY, "PROGRESS", "MINE"])
def test_a_state_that_is_no_end_says_nothing(frozen, status):
    assert not has_ended(CLAIM, meta(status, 5), success_counts_after=0)


def test_without_a_result_backend_nothing_is_known(frozen):
    assert not has_ended(CLAIM, None, success_counts_after=0)


RUNNING = replace(CLAIM, delivery="w/1")

VIOLENT = [TaskRevokedError("revoked"), Terminated(15), TimeLimitExceeded(5), WorkerLostError("lost")]


@pytest.mark.parametrize("error", VIOLENT, ids=lambda error: type(error).__name__)
def test_the_violent_end_of_a_run_does_not_count(frozen, error):
    """Its body may go on: Celery stores the end first, or that of an earlier delivery of the same id."""
    violent = {**meta(states.FAILURE, 5), "result": error}
    assert not has_ended(RUNNING, violent, success_counts_after=0)
    assert not has_ended(RUNNING, meta(states.REVOKED, 5), success_counts_after=0)
    # A queued message that was revoked has no body.
    assert has_ended(CLAIM, violent, success_counts_after=0)


def test_the_end_that_a_run_stored_itself_counts(frozen):
    assert has_ended(RUNNING, {**meta(states.FAILURE, 5), "result": ValueError("no")}, success_counts_after=0)


@pytest.mark.parametrize("after", [None, 0, 2, 60])
@pytest.mark.parametrize("status", ENDS)
def test_an_end_without_a_success_counts_at_once(frozen, status, after):
    assert has_ended(CLAIM, meta(status, 0), success_counts_after=after)


@pytest.mark.parametrize("status", [*ENDS, states.SUCCESS])
def test_an_end_before_the_claim_was_made_does_not_count(frozen, status):
    """A task id can run again."""
    assert not has_ended(CLAIM, meta(status, 10), success_counts_after=0)
    assert not has_ended(CLAIM, meta(status, 11), success_counts_after=0)
    assert has_ended(CLAIM, meta(status, 9), success_counts_after=0)


@pytest.mark.parametrize("status", [*ENDS, states.SUCCESS])
def test_an_end_of_an_unknown_time_does_not_count(frozen, status):
    assert not has_ended(CLAIM, {"status": status, "result": None}, success_counts_after=0)
    assert not has_ended(CLAIM, {"status": status, "result": None, "date_done": None}, success_counts_after=0)


@pytest.mark.parametrize(
    ("ago", "after", "ended"),
    [
        (0, 0, True),
        (0, 2, False),
        (1.9, 2, False),
        (2, 2, True),
        (9, 2, True),
        (5, None, False),
        (5, 60, False),
    ],
)
def test_a_success_counts_after_so_many_seconds(frozen, ago, after, ended):
    assert has_ended(CLAIM, meta(states.SUCCESS, ago), success_counts_after=after) is ended


EAST = datetime.timezone(datetime.timedelta(hours=9))


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("zone", [datetime.timezone.utc, EAST])
def test_the_time_of_an_end_can_be_in_any_zone_and_form(frozen, zone, as_text):
    assert has_ended(CLAIM, meta(states.FAILURE, 9, zone=zone, as_text=as_text), success_counts_after=0)
    assert not has_ended(CLAIM, meta(states.FAILURE, 11, zone=zone, as_text=as_text), success_counts_after=0)


@pytest.fixture
def far_east(monkeypatch):
    """Put this host into Tokyo."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


def test_a_time_without_a_zone_is_utc(frozen, far_east):
    known = meta(states.FAILURE, 9)
    naive = {**known, "date_done": known["date_done"].partition("+")[0]}
    assert has_ended(CLAIM, naive, success_counts_after=0)
    early = meta(states.FAILURE, 11)
    assert not has_ended(
        CLAIM, {**early, "date_done": early["date_done"].partition("+")[0]}, success_counts_after=0
    )


# What calls and deliveries make of it. The store's clock is that of this host, a second ago.


@pytest.fixture
def recent(clock):
    clock.now = time.time() - 1


def ended_owner(task, state, value=None):
    """Let another delivery have the claim, and the result backend say that it has ended."""
    owner = uuid.uuid4().hex
    store_of(task.app).claim(key_of(task, 1), owner, f"{owner}/1", 600)
    task.backend.store_result(owner, value, state)
    return owner


@pytest.fixture
def later(monkeypatch):
    """Sets the clock of this host to so many seconds after the end of an owner."""

    def later(task, owner, seconds):
        ended = maybe_iso8601(task.backend.get_task_meta(owner)["date_done"])
        ended = ended if ended.tzinfo else ended.replace(tzinfo=datetime.timezone.utc)
        set_time(monkeypatch, ended.timestamp() + seconds)

    return later


LASTING = {"a minute": {**HERD, "cache_duration": 60}, "for ever": {**HERD, "cache_duration": 0}}


@pytest.mark.parametrize("options", LASTING.values(), ids=LASTING)
def test_a_caller_joins_a_success_that_would_be_a_cached_result(app, recent, later, options):
    double = add_tasks(app, **options)
    owner = ended_owner(double, states.SUCCESS, 42)
    later(double, owner, 59)
    result = double.delay(1)
    assert (result.id, result.get(timeout=1)) == (owner, 42)
    assert published(app) == []


@pytest.mark.parametrize(("options", "seconds"), [(HERD, 0), (LASTING["a minute"], 61)], ids=["no", "past"])
def test_a_caller_does_not_join_a_success_that_would_not_be_cached(app, recent, later, options, seconds):
    double = add_tasks(app, **options)
    owner = ended_owner(double, states.SUCCESS, 42)
    later(double, owner, seconds)
    result = double.delay(1)
    assert entry_of(double, 1).owner == result.id != owner


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("options", [HERD, BOTH], ids=["without a cache", "with a cache"])
def test_a_caller_does_not_join_what_ended_without_a_success(app, recent, options, state):
    double = add_tasks(app, **options)
    owner = ended_owner(double, state, KeyError("x"))
    assert double.delay(1).id != owner


def test_a_caller_does_not_join_an_id_that_still_shows_an_earlier_outcome(app, clock):
    """It would be taken for the outcome of the run that goes on. That run keeps its claim."""
    double = add_tasks(app, **HERD)
    clock.now = time.time() + 60
    owner = ended_owner(double, states.FAILURE, KeyError("x"))
    assert double.delay(1).id != owner
    assert entry_of(double, 1).owner == owner


def waits(task):
    """Deliver a call, and return whether it was sent again."""
    call = task.apply_async((1,), task_id=uuid.uuid4().hex)
    (message,) = published(task.app)
    execute(receive(task.app, message))
    return [each.headers["id"] for each in published(task.app)] == [call.id]


@pytest.mark.parametrize("options", [HERD, BOTH], ids=["without a cache", "with a cache"])
@pytest.mark.parametrize(("seconds", "expected"), [(0, True), (1.9, True), (2.1, False)])
def test_a_delivery_waits_two_seconds_for_the_result_of_a_success(
    app, recent, later, options, seconds, expected
):
    double = add_tasks(app, **options)
    owner = ended_owner(double, states.SUCCESS, 42)
    later(double, owner, seconds)
    assert waits(double) is expected


def test_a_delivery_takes_the_key_at_once_from_what_ended_without_a_success(app, recent):
    double = add_tasks(app, **HERD)
    ended_owner(double, states.FAILURE, KeyError("x"))
    assert not waits(double)
    assert entry_of(double, 1) is None, "it ran, and gave the key up"


def test_a_delivery_waits_for_a_run_that_was_revoked_and_may_go_on(app, recent):
    double = add_tasks(app, **HERD)
    owner = ended_owner(double, states.REVOKED, TaskRevokedError("revoked"))
    assert waits(double)
    assert entry_of(double, 1).owner == owner


def test_a_delivery_waits_for_an_id_that_runs_again(app, clock):
    double = add_tasks(app, **HERD)
    clock.now = time.time() + 60
    owner = ended_owner(double, states.FAILURE, KeyError("x"))
    assert waits(double)
    assert entry_of(double, 1).owner == owner


def test_a_call_that_only_caches_asks_nothing_of_owners(app, recent, monkeypatch):
    double = add_tasks(app, **CACHE)
    monkeypatch.setattr(double.backend, "get_task_meta", lambda *_, **__: pytest.fail("was asked"))
    assert publishes(lambda: double.delay(1))
