"""Whoever is in the gate of forks keeps a fork waiting, and a fork keeps others out, until it is over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals.support import forks
from jobtastic_signals.support.forks import ForkGate, fork_gate

#: Seconds that a fork is given in these tests, and after which whoever gets nowhere is known to wait.
SHORT = 0.05

Other = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> ForkGate:
    monkeypatch.setattr(forks, "PATIENCE", SHORT)
    return ForkGate()


@pytest.fixture
def in_other() -> Any:
    """Calls a function in another thread, always the same one."""
    with ThreadPoolExecutor(1) as other:
        yield lambda function: other.submit(function).result()


def _may_enter(gate: ForkGate) -> bool:
    lock = gate.lock()
    enters = lock.acquire(timeout=SHORT)
    if enters:
        lock.release()
    return enters


def _waits(function: Callable[[], Any]) -> bool:
    """Return whether *function* takes all the time that a fork has."""
    start = time.monotonic()
    function()
    return time.monotonic() - start >= SHORT


def test_a_fork_and_another_thread_wait_for_each_other(gate: ForkGate, in_other: Other) -> None:
    with gate.lock():
        assert in_other(lambda: _waits(gate.close))
        in_other(gate.open)
        assert not in_other(lambda: _waits(lambda: _may_enter(gate)))
    in_other(lambda: _may_enter(gate))
    gate.close()
    assert not in_other(lambda: _may_enter(gate))
    gate.open()
    assert in_other(lambda: _may_enter(gate))


def test_a_thread_that_was_never_inside_waits_for_a_fork_as_well(gate: ForkGate, in_other: Other) -> None:
    entered = threading.Event()

    def enter() -> None:
        with gate.lock():
            entered.set()

    gate.close()
    late = threading.Thread(target=enter)
    late.start()
    assert not entered.wait(SHORT)
    gate.open()
    late.join()
    assert entered.is_set()


def test_a_thread_that_forks_waits_neither_outside_nor_inside_for_itself(
    gate: ForkGate, in_other: Other
) -> None:
    """A hook of somebody else may use the store right before the fork."""
    with gate.lock(), gate.lock():
        assert not _waits(gate.close)
        gate.open()
    gate.close()
    assert _may_enter(gate)
    gate.open()
    assert in_other(lambda: _may_enter(gate))


def test_threads_that_fork_at_once_take_turns(gate: ForkGate, in_other: Other) -> None:
    gate.close()
    assert in_other(lambda: _waits(gate.close))
    in_other(gate.open)
    gate.open()
    assert not in_other(lambda: _waits(gate.close))
    in_other(gate.open)


def test_a_time_limit_that_cuts_the_closing_short_leaves_the_gate_open(
    gate: ForkGate, in_other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(gate: ForkGate) -> Any:
        raise SoftTimeLimitExceeded

    in_other(lambda: _may_enter(gate))
    with monkeypatch.context() as patched:
        patched.setattr(ForkGate, "_others", strike)
        with pytest.raises(SoftTimeLimitExceeded):  # Python prints it, and forks.
            gate.close()
    gate.open()
    assert in_other(lambda: _may_enter(gate))
    assert not in_other(lambda: _waits(gate.close))


def test_a_gate_that_is_opened_twice_is_open_once(gate: ForkGate, in_other: Other) -> None:
    """A time limit can strike before the first time has begun."""
    in_other(lambda: _may_enter(gate))
    for _ in range(2):
        gate.close()
        gate.open()
        gate.open()
        assert in_other(lambda: _may_enter(gate))
    with gate.lock():
        gate.close()
        gate.open()
        gate.open()
        assert in_other(lambda: _waits(gate.close)), "it let go of what others had"
        in_other(gate.open)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    gate = fork_gate()
    with ThreadPoolExecutor(1) as other:
        other.submit(lambda: _may_enter(gate)).result()
        child = os.fork()
        if child == 0:
            entered: list[bool] = []
            thread = threading.Thread(target=lambda: entered.append(_may_enter(gate)))
            thread.start()
            thread.join()
            os._exit(0 if entered == [True] and _may_enter(gate) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert other.submit(lambda: _may_enter(gate)).result()


def test_there_is_a_gate_where_there_are_no_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "register_at_fork")
    assert _may_enter(fork_gate.__wrapped__())
