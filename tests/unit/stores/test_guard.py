"""A store that fails costs the sharing and never the task."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals import Claim, Result, SettingError, StoreError, events
from jobtastic_signals.stores import Entry, guard
from jobtastic_signals.stores.guard import GuardedStore, check_namespace
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.support.circuit_breaker import RETRY_AFTER
from jobtastic_signals.testing.conformance.base import complete, queue, renew, run

OPERATIONS = {
    "lookup": (lambda store: store.lookup("key"), None),
    "lookup_or_claim": (lambda store: store.lookup_or_claim("key", "owner", 60), None),
    "claim": (lambda store: run(store, "owner"), None),
    "renew": (lambda store: renew(store, "owner"), False),
    "complete": (lambda store: complete(store, "owner"), False),
    "release": (lambda store: store.release("key", "owner", ""), False),
    "forget": (lambda store: store.forget("key"), False),
    "forget_scope": (lambda store: store.forget_scope("scope", ttl=None), False),
    "leave": (lambda store: store.leave("key", "owner", "owner"), False),
    "entry": (lambda store: store.entry("key"), Entry()),
    "count": (lambda store: store.count("counts", {"calls": 1}, ttl=60), False),
    "counts": (lambda store: store.counts(), []),
    "identity": (lambda store: store.identity, None),
    "entries": (lambda store: store.entries(), []),
}

every_operation = pytest.mark.parametrize(("use", "neutral"), OPERATIONS.values(), ids=OPERATIONS)


class Unsteady(MemoryStore):
    """A memory store that raises :attr:`error`, if there is one, from each of :attr:`failing`."""

    error: Exception | None = None
    failing = tuple(OPERATIONS)
    asked = closed = 0

    def close(self):
        self.closed += 1


def _unsteady(name):
    def ask(self):
        self.asked += 1
        if self.error is not None and name in self.failing:
            raise self.error

    if name == "identity":
        return property(lambda self: ask(self) or MemoryStore.identity.fget(self))  # type: ignore[attr-defined]
    method = getattr(MemoryStore, name)
    return lambda self, *args, **options: ask(self) or method(self, *args, **options)


for _name in OPERATIONS:
    setattr(Unsteady, _name, _unsteady(_name))


@pytest.fixture
def store():
    return Unsteady()


@pytest.fixture
def guarded(store, clock):
    return GuardedStore(lambda: store, "memory://unsteady", clock=clock)


@pytest.fixture
def told():
    """The names of the store's events, in their order."""
    names = []

    def outage(sender, **_):
        names.append(f"unavailable {sender}")

    def recovery(sender, **_):
        names.append(f"recovered {sender}")

    with events.store_unavailable.connected_to(outage), events.store_recovered.connected_to(recovery):
        yield names


DOWN, UP = "unavailable memory://unsteady", "recovered memory://unsteady"


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# While all is well


def test_what_the_store_answers_is_passed_on(guarded, store):
    assert guarded.identity == store.identity
    queued = guarded.lookup_or_claim("key", "owner", 60, expires=7, goes_out=True)
    assert queued == store.lookup("key")
    assert queued.message_expires == pytest.approx(queued.at + 7)
    assert run(guarded, "other", lapsed=queued).previous == "owner"
    assert guarded.release("key", "owner", "") is False
    assert run(guarded, "waiter").awaited is True
    assert renew(guarded, "other", lease=1000, ran_for=7) is True
    assert guarded.release("key", "other", "", unless_awaited=True) is False
    assert complete(guarded, "other", ttl=0, state="FAILURE", kept_for=60, index="i", index_ttl=60) is True
    assert run(guarded, "waiter", waited_for="other").state == "FAILURE"
    assert guarded.lookup("key") is None
    assert dict(guarded.entries()) == dict(store.entries()) == {"i": store.entry("i")}
    assert guarded.forget("key") is False


@pytest.mark.parametrize("namespace", ["", "a"])
@pytest.mark.parametrize("key", ["key", "a/key", "ключ"])
def test_an_index_leads_to_its_key(store, clock, namespace, key):
    guarded = GuardedStore(lambda: store, "memory://", namespace=namespace, clock=clock)
    complete(guarded, "owner", key=key, index="of owner")  # type: ignore[arg-type]
    assert guarded.lookup_indexed("of owner") == guarded.lookup(key)
    run(guarded, "running", "other")  # type: ignore[arg-type]
    assert guarded.lookup_indexed("other") is None
    guarded.forget(key)
    assert guarded.lookup_indexed("of owner") is None


def test_the_store_is_opened_on_first_use_and_once(clock):
    opened = []
    guarded = GuardedStore(lambda: opened.append(MemoryStore()) or opened[-1], "memory://", clock=clock)
    assert opened == []
    guarded.lookup("key")
    guarded.lookup("key")
    assert len(opened) == 1


def test_closing_a_store_that_was_never_used_does_not_open_it(clock):
    GuardedStore(lambda: pytest.fail("opened"), "memory://", clock=clock).close()


def test_threads_that_open_the_store_at_once_share_one(clock):
    """Each would otherwise claim in a store of its own, where nobody finds it."""
    meet = threading.Barrier(8, timeout=60)

    def open_slowly():
        meet.wait()
        return MemoryStore()

    guarded = GuardedStore(open_slowly, "memory://", clock=clock)

    def claim(number):
        return run(guarded, f"owner-{number}").owner  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(claim, range(8)))) == 1


# An outage


@every_operation
def test_a_store_that_fails_gives_the_neutral_answer(guarded, store, use, neutral):
    store.error = OSError("gone")
    assert use(guarded) == neutral


@every_operation
def test_a_store_that_cannot_be_opened_gives_the_neutral_answer(caplog, clock, use, neutral):
    def refuse():
        raise PermissionError(13, "Permission denied", "/srv/store")

    assert use(GuardedStore(refuse, "disk:///srv/store", clock=clock)) == neutral
    (warning,) = warnings(caplog)
    assert "PermissionError" in warning
    assert "disk:///srv/store" in warning


def test_an_outage_is_told_once_with_the_store_and_the_reason(guarded, store, clock, caplog, told):
    store.error = OSError("gone")
    for _ in range(3):
        for use, _neutral in OPERATIONS.values():
            use(guarded)
        clock.advance(RETRY_AFTER)
    (warning,) = warnings(caplog)
    assert "memory://unsteady" in warning
    assert "OSError: gone" in warning
    assert told == [DOWN]


def test_the_event_carries_the_error(guarded, store):
    seen = []

    def remember(sender, error):
        seen.append((sender, error))

    store.error = OSError("gone")
    with events.store_unavailable.connected_to(remember):
        guarded.lookup("key")
    assert seen == [("memory://unsteady", store.error)]


def test_a_receiver_that_fails_harms_nobody(guarded, store):
    def fail(sender, **_):
        raise RuntimeError

    store.error = OSError("gone")
    with events.store_unavailable.connected_to(fail):
        assert guarded.lookup("key") is None


def test_a_store_that_failed_is_left_alone_and_then_asked_once(guarded, store, clock):
    store.error = OSError("gone")
    for _ in range(3):
        before = store.asked
        for use, neutral in OPERATIONS.values():
            assert use(guarded) == neutral
        assert store.asked == before + 1
        clock.advance(RETRY_AFTER - 0.001)
        guarded.lookup("key")
        assert store.asked == before + 1
        clock.advance(0.001)


def test_one_caller_tries_a_store_that_failed_while_the_others_go_on_without_it(clock):
    trying, answer = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        asked = 0

        def lookup(self, key, *, scopes=()):
            self.asked += 1
            trying.set()
            if self.asked > 1:
                answer.wait(60)
            raise OSError("gone")

    slow = Slow()
    guarded = GuardedStore(lambda: slow, "memory://unsteady", clock=clock)
    guarded.lookup("key")
    clock.advance(RETRY_AFTER)
    trying.clear()
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(guarded.lookup, "key")
        try:
            assert trying.wait(60)
            assert guarded.lookup("key") is None
            assert slow.asked == 2
        finally:
            answer.set()
        assert trial.result() is None


@pytest.mark.parametrize("retry_after", [0.5, 60.0])
def test_how_long_a_store_is_left_alone_can_be_chosen(store, clock, retry_after):
    guarded = GuardedStore(lambda: store, "memory://unsteady", retry_after=retry_after, clock=clock)
    store.error = OSError("gone")
    guarded.lookup("key")
    clock.advance(retry_after - 0.001)
    guarded.lookup("key")
    assert store.asked == 1
    clock.advance(0.001)
    guarded.lookup("key")
    assert store.asked == 2


@pytest.mark.parametrize("how", ["fails", "is left alone"])
@pytest.mark.parametrize("name", ["lookup", "lookup_or_claim", "claim"])
def test_an_answer_that_is_required_is_there_or_an_error(guarded, store, name, how):
    ask = {
        "lookup": lambda: guarded.lookup("key", required=True),
        "lookup_or_claim": lambda: queue(guarded, "owner", required=True),
        "claim": lambda: run(guarded, "owner", required=True),
    }[name]
    ask()
    store.error = OSError("gone")
    if how == "is left alone":
        guarded.lookup("key")
    with pytest.raises(StoreError, match="memory://unsteady cannot be asked"):
        ask()


# A claim that is given up later


@pytest.fixture
def timers(monkeypatch):
    """What is to be called later, and when."""
    asked = []
    monkeypatch.setattr(guard, "call_at", lambda when, function: asked.append((when, function)))
    return asked


def test_a_claim_is_given_up_at_once_if_the_store_answers(guarded, store, timers):
    run(store, "owner")
    guarded.release_later("key", "owner", "owner/1", 60)
    assert store.lookup("key") is None
    assert timers == []


def test_a_claim_is_given_up_when_the_store_answers_again(guarded, store, clock, timers):
    run(store, "owner")
    store.error = OSError("gone")
    guarded.release_later("key", "owner", "owner/1", 60)
    for _ in range(3):
        ((when, again),) = timers
        assert 0 < when - time.monotonic() <= 1
        timers.clear()
        again()
    store.error = None
    clock.advance(RETRY_AFTER)
    ((_, again),) = timers
    timers.clear()
    again()
    assert store.lookup("key") is None
    assert timers == []


def test_a_claim_of_which_the_store_knows_nothing_is_not_given_up_again(guarded, store, timers):
    guarded.release_later("key", "owner", "owner/1", 60)
    assert timers == []


def test_it_is_not_tried_any_more_when_the_time_is_over(guarded, store, timers, monkeypatch):
    store.error = OSError("gone")
    guarded.release_later("key", "owner", "owner/1", 60)
    ((_, again),) = timers
    timers.clear()
    ended = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: ended)
    again()
    assert timers == []


def test_it_is_given_up_by_a_thread_of_its_own(store):
    guarded = GuardedStore(lambda: store, "memory://unsteady", retry_after=0.0)
    run(store, "owner")
    store.error, released = OSError("gone"), threading.Event()
    guarded.release_later("key", "owner", "owner/1", 60)
    store.error = None
    release = store.release
    store.release = lambda *given, **options: release(*given, **options) and released.set()
    assert released.wait(60)
    assert store.lookup("key") is None


def test_a_store_that_failed_is_closed_so_that_it_opens_its_files_anew(guarded, store):
    store.error = OSError("gone")
    guarded.lookup("key")
    assert store.closed == 1


@every_operation
def test_a_soft_time_limit_that_strikes_meanwhile_is_the_tasks(guarded, store, caplog, use, neutral):
    store.error = SoftTimeLimitExceeded()
    with pytest.raises(SoftTimeLimitExceeded):
        use(guarded)
    store.error = None
    use(guarded)
    assert store.asked == 2
    assert caplog.records == []


@every_operation
def test_a_store_that_works_again_is_told_of_once_and_used(guarded, store, clock, told, use, neutral):
    store.error = OSError("gone")
    use(guarded)
    store.error = None
    clock.advance(RETRY_AFTER)
    use(guarded)
    assert isinstance(run(guarded, "owner"), Claim | Result)
    assert told == [DOWN, UP]


def test_a_second_outage_is_told_again(guarded, store, clock, caplog, told):
    for _ in range(2):
        store.error = OSError("gone")
        guarded.lookup("key")
        store.error = None
        clock.advance(RETRY_AFTER)
        guarded.lookup("key")
    assert len(warnings(caplog)) == 2
    assert told == [DOWN, UP] * 2


def test_a_store_that_still_reads_has_not_recovered_until_it_writes(guarded, store, clock, caplog, told):
    """A full disk, say: it would otherwise be reported as broken and as mended again and again."""
    store.failing, store.error = ("claim", "complete"), OSError("full")
    for _ in range(3):
        guarded.lookup("key")
        assert guarded.identity != "", "asked like a call does, before it claims"
        assert run(guarded, "owner") is None
        clock.advance(RETRY_AFTER)
    assert len(warnings(caplog)) == 1
    assert told == [DOWN]
    store.error = None
    guarded.lookup("key")
    assert run(guarded, "owner").owner == "owner"
    assert told == [DOWN, UP]


def test_threads_that_fail_at_once_warn_once(store, clock, caplog, told):
    meet = threading.Barrier(8, timeout=60)

    class Meeting(MemoryStore):
        def lookup(self, key, *, scopes=()):
            meet.wait()
            raise OSError("gone")

    guarded = GuardedStore(Meeting, "memory://unsteady", clock=clock)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(guarded.lookup, ["key"] * 8)) == [None] * 8
    assert len(warnings(caplog)) == 1
    assert told == [DOWN]


def test_threads_that_recover_at_once_tell_it_once(guarded, store, told):
    store.error = OSError("gone")
    guarded.lookup("key")
    store.error = None
    meet = threading.Barrier(8, timeout=60)

    class Seen:
        """All see the outage before any of them ends it."""

        outage = guarded._breaker._outage

        def locked(self):
            seen = self.outage.locked()
            meet.wait()
            return seen

        def release(self):
            self.outage.release()

    guarded._breaker._outage, guarded._breaker.lets_through = Seen(), lambda: True
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(guarded.lookup, ["key"] * 8)) == [None] * 8
    assert told == [DOWN, UP]


# What is no outage


@contextmanager
def nothing_told(told, caplog):
    yield
    assert told == []
    assert warnings(caplog) == []


@every_operation
@pytest.mark.parametrize("opening", [True, False], ids=["opening", "using"])
def test_a_wrong_setting_is_the_users_to_hear_of(clock, told, caplog, opening, use, neutral):
    store = Unsteady()
    store.error = SettingError("no such option")

    def open_store():
        if opening:
            raise store.error  # type: ignore[misc]
        return store

    guarded = GuardedStore(open_store, "memory://unsteady", clock=clock)
    with nothing_told(told, caplog):
        for _ in range(2):
            with pytest.raises(SettingError, match="no such option"):
                use(guarded)


# Namespaces


def test_a_namespace_separates_what_shares_a_store(store, clock):
    one, same, other, none = (
        GuardedStore(lambda: store, "memory://", namespace=name, clock=clock) for name in ("a", "a", "b", "")
    )
    complete(one, "owner", index="of owner")  # type: ignore[arg-type]
    run(other, "other")  # type: ignore[arg-type]
    assert same.lookup("key").payload == b"42"
    assert same.lookup_indexed("of owner") == same.lookup("key")
    assert other.lookup_indexed("of owner") is None
    assert run(same, "caller").payload == b"42"  # type: ignore[arg-type]
    assert other.lookup("key").owner == "other"
    assert none.lookup("key") is none.lookup("of owner") is other.lookup("of owner") is None
    assert {key for key, _ in one.entries()} == {"key", "of owner"}
    assert {key for key, _ in one.entries("of")} == {"of owner"}
    assert {key for key, _ in none.entries()} == {"a/key", "a/of owner", "b/key"}
    assert other.forget("key") is False
    assert one.release("key", "other", "") is False
    assert other.release("key", "other", "") is True
    assert same.forget("key") is True


def test_a_namespace_has_scopes_and_counts_of_its_own(store, clock):
    one, other = (
        GuardedStore(lambda: store, "memory://", namespace=name, clock=clock) for name in ("one", "other")
    )
    for guarded in (one, other):
        complete(guarded, "owner")  # type: ignore[arg-type]
        assert guarded.count("counts", {"calls": 1}, ttl=60) is True
    assert one.forget_scope("tag:a", ttl=None) is True
    assert one.lookup("key", scopes=["tag:a"]) is None
    assert not one.entry("key", scopes=["tag:a"])
    assert isinstance(run(one, "next", scopes=["tag:a"]), Claim)  # type: ignore[arg-type]
    assert other.lookup("key", scopes=["tag:a"]).payload == b"42"
    assert one.counts() == one.counts("cou") == other.counts() == [("counts", {"calls": 1})]
    assert one.leave("key", "next", "next") is True


@pytest.mark.parametrize("namespace", ["", "proj", "Release-1.2_3"])
def test_a_namespace_is_a_plain_word(namespace):
    assert check_namespace(namespace) == namespace


@pytest.mark.parametrize("namespace", ["a/b", "a b", "é", "a\n", "a:b", None, 3, b"a"])
def test_a_namespace_that_could_be_taken_for_a_key_is_refused(namespace):
    with pytest.raises(ValueError, match="letters, digits"):
        check_namespace(namespace)
