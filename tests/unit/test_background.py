"""The timers call what is due, whatever happens."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from jobtastic_signals.support.timers import Timers, call_at
from tests.support.servers import wait_until


def test_what_is_due_is_called_in_the_order_of_time_and_not_before():
    called: list[tuple[str, float]] = []
    go_on = threading.Event()
    call_at(0, lambda: go_on.wait(20))  # type: ignore[arg-type]
    now = time.monotonic()
    for name, wait in [("c", 0.3), ("a", 0.1), ("b", 0.2), ("at once", -1.0)]:
        call_at(now + wait, lambda name=name: called.append((name, time.monotonic() - now)))  # type: ignore[misc]
    go_on.set()
    wait_until(lambda: len(called) == 4, what="all of them")
    assert [name for name, _ in called] == ["at once", "a", "b", "c"]
    assert all(at >= wait for (_, at), wait in zip(called, [0, 0.1, 0.2, 0.3], strict=True))


def test_an_error_is_logged_and_the_next_is_called(caplog):
    done = threading.Event()
    call_at(0, lambda: 1 / 0)  # type: ignore[arg-type]
    call_at(0, done.set)
    assert done.wait(10)
    assert "ZeroDivisionError" in caplog.text


def test_what_is_never_due_keeps_nobody_from_being_called():
    done = threading.Event()
    call_at(float("inf"), lambda: None)
    call_at(time.monotonic() + 0.05, done.set)
    assert done.wait(10)


def test_a_cancelled_timer_calls_nothing_and_keeps_nothing():
    called, done = [], threading.Event()
    timer = call_at(time.monotonic() + 0.05, lambda: called.append(1))
    timer.cancel()
    call_at(time.monotonic() + 0.1, done.set)
    assert done.wait(10)
    assert called == []
    assert timer.is_cancelled


def test_short_runs_that_cancel_their_timers_do_not_wake_the_thread_one_after_the_other():
    timers = Timers("jobtastic-resting")
    timers.call_at(time.monotonic() + 60, lambda: None).cancel()
    loop = timers._loops[os.getpid()]
    wait_until(lambda: not loop._added and time.monotonic() < loop._wakes_at < float("inf"), what="its rest")
    for _ in range(100):
        timers.call_at(time.monotonic() + 60, lambda: None).cancel()
    assert len(loop._added) == 100
    done = threading.Event()
    timers.call_at(time.monotonic() + 0.05, done.set)
    assert done.wait(10), "what is due sooner has to wake it"


def test_what_is_due_later_does_not_wake_the_thread():
    """So a short run costs no switch of threads."""
    timers, woken = Timers("jobtastic-asleep"), threading.Event()
    timers.call_at(time.monotonic() + 60, woken.set)
    loop = timers._loops[os.getpid()]
    wait_until(lambda: loop._wakes_at > time.monotonic() and loop._wake.empty(), what="its sleep")
    for _ in range(100):
        timers.call_at(time.monotonic() + 120, woken.set).cancel()
    assert loop._wake.empty()
    timers.call_at(0, woken.set)
    assert woken.wait(10)


def test_one_thread_serves_all():
    seen: list[int] = []
    for _ in range(3):
        call_at(0, lambda: seen.append(threading.get_ident()))
    wait_until(lambda: len(seen) == 3, what="all of them")
    assert len(set(seen)) == 1


def test_it_takes_no_signals_which_are_for_the_main_thread():
    taken: list[set[int]] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    call_at(0, lambda: taken.append(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    wait_until(lambda: taken, what="the call")
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1} <= taken[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.mark.filterwarnings("ignore:Exception in thread jobtastic")
def test_a_thread_that_ended_is_made_anew():
    """A function that is called in the background should not exit, but may."""

    def leave() -> None:
        raise SystemExit

    background = Timers("jobtastic-of-this-test")
    background.call_at(0, leave)
    wait_until(lambda: all(t.name != "jobtastic-of-this-test" for t in threading.enumerate()), what="its end")
    done = threading.Event()
    background.call_at(0, done.set)
    assert done.wait(10)


def test_it_works_in_a_forked_child():
    done = threading.Event()
    call_at(0, done.set)
    assert done.wait(10)
    child = os.fork()
    if child == 0:
        again = threading.Event()
        call_at(0, again.set)
        os._exit(0 if again.wait(10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
