"""A store that fails costs the sharing and never the task."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals import Claim, Result, SettingError, events
from jobtastic_signals.stores.guard import GuardedStore, check_namespace
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.support.circuit_breaker import RETRY_AFTER

OPERATIONS = {
    "lookup": (lambda store: store.lookup("key"), None),
    "admit": (lambda store: store.admit("key", "owner", 60), None),
    "settle": (lambda store: store.settle("key", "owner", b"42", None), False),
    "release": (lambda store: store.release("key", "owner"), False),
    "forget": (lambda store: store.forget("key"), False),
    "identity": (lambda store: store.identity, None),
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
        return property(lambda self: ask(self) or MemoryStore.identity.fget(self))
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
    assert guarded.admit("key", "owner", 60) == store.lookup("key")
    assert guarded.admit("key", "other", 60, stale="owner").previous == "owner"
    assert guarded.release("key", "owner") is False
    assert guarded.admit("key", "waiter", 60).waited is True
    assert guarded.release("key", "other", unless_waited=True) is False
    assert guarded.settle("key", "other", b"42", 0, handover=60) is True
    assert guarded.admit("key", "waiter", 60, waited_for="other").payload == b"42"
    assert guarded.lookup("key") is None
    assert guarded.forget("key") is False


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
        return guarded.admit("key", f"owner-{number}", 60).owner

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(claim, range(8)))) == 1


# An outage


@every_operation
def test_a_store_that_fails_gives_the_neutral_answer(guarded, store, use, neutral):
    store.error = OSError("gone")
    assert use(guarded) is neutral


@every_operation
def test_a_store_that_cannot_be_opened_gives_the_neutral_answer(caplog, clock, use, neutral):
    def refuse():
        raise PermissionError(13, "Permission denied", "/srv/store")

    assert use(GuardedStore(refuse, "disk:///srv/store", clock=clock)) is neutral
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
            assert use(guarded) is neutral
        assert store.asked == before + 1
        clock.advance(RETRY_AFTER - 0.001)
        guarded.lookup("key")
        assert store.asked == before + 1
        clock.advance(0.001)


def test_one_caller_tries_a_store_that_failed_while_the_others_go_on_without_it(clock):
    trying, answer = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        asked = 0

        def lookup(self, key):
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
    assert isinstance(guarded.admit("key", "owner", 60), Claim | Result)
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
    store.failing, store.error = ("admit", "settle"), OSError("full")
    for _ in range(3):
        guarded.lookup("key")
        assert guarded.identity != "", "asked like a call does, before it claims"
        assert guarded.admit("key", "owner", 60) is None
        clock.advance(RETRY_AFTER)
    assert len(warnings(caplog)) == 1
    assert told == [DOWN]
    store.error = None
    guarded.lookup("key")
    assert guarded.admit("key", "owner", 60).owner == "owner"
    assert told == [DOWN, UP]


def test_threads_that_fail_at_once_warn_once(store, clock, caplog, told):
    meet = threading.Barrier(8, timeout=60)

    class Meeting(MemoryStore):
        def lookup(self, key):
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
            raise store.error
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
    one.settle("key", "owner", b"42", None)
    other.admit("key", "other", 60)
    assert same.lookup("key").payload == b"42"
    assert same.admit("key", "caller", 60).payload == b"42"
    assert other.lookup("key").owner == "other"
    assert none.lookup("key") is None
    assert other.forget("key") is False
    assert one.release("key", "other") is False
    assert other.release("key", "other") is True
    assert same.forget("key") is True


@pytest.mark.parametrize("namespace", ["", "proj", "Release-1.2_3"])
def test_a_namespace_is_a_plain_word(namespace):
    assert check_namespace(namespace) == namespace


@pytest.mark.parametrize("namespace", ["a/b", "a b", "é", "a\n", "a:b", None, 3, b"a"])
def test_a_namespace_that_could_be_taken_for_a_key_is_refused(namespace):
    with pytest.raises(ValueError, match="letters, digits"):
        check_namespace(namespace)
