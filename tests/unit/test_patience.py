"""Time that this process lost is not time that somebody else took."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from itertools import count

import pytest

from jobtastic_signals.support import patience as module
from jobtastic_signals.support.patience import TICK, Patience
from jobtastic_signals.support.threads import call_within, in_thread


class Machine:
    """Says what time it is, and for how long the other thread was busy."""

    def __init__(self, monkeypatch, ticks):
        self._now, self._busy, self.ticks = 0.0, 0.0, 0
        self._coming = iter(ticks)
        monkeypatch.setattr(module, "wait", self.wait)
        monkeypatch.setattr(module, "_busy", lambda thread: self._busy)
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def wait(self, futures, seconds):
        took, busy = next(self._coming)
        self._now, self._busy, self.ticks = self._now + took, self._busy + busy, self.ticks + 1
        return type("Result", (), {"done": {each for each in futures if each.done()}})


def waited(machine, seconds=1.0):
    patience = Patience()
    assert not patience.wait(Future(), seconds)
    return machine.ticks


def test_time_counts_while_all_wait(monkeypatch):
    assert waited(Machine(monkeypatch, ((TICK, 0.0) for _ in count()))) == pytest.approx(1 / TICK, abs=1)


def test_time_does_not_count_while_the_process_stands_still(monkeypatch):
    """Throttled to a twentieth, or stopped for an hour: each look at the clock counts as two ticks."""
    for stopped in (20 * TICK, 3600.0):
        machine = Machine(monkeypatch, ((stopped, 0.0) for _ in count()))
        assert waited(machine) == pytest.approx(0.5 / TICK, abs=1)


def test_time_does_not_count_while_the_other_thread_works(monkeypatch):
    working = [(TICK, TICK)] * 1000
    machine = Machine(monkeypatch, (*working, *[(TICK, 0.0)] * 100))
    assert waited(machine) == pytest.approx(1000 + 1 / TICK, abs=2)


def test_a_thread_that_has_ended_takes_no_time_back(monkeypatch):
    machine = Machine(monkeypatch, [(TICK, 50.0), (TICK, -50.0), *[(TICK, 0.0)] * 100])
    assert waited(machine) == pytest.approx(1 / TICK, abs=3)


def test_waits_add_up(monkeypatch):
    machine = Machine(monkeypatch, ((TICK, 0.0) for _ in count()))
    patience, future = Patience(), Future()
    assert not patience.wait(future, 0.4)
    assert not patience.wait(future, 0.6)
    assert patience.spent == pytest.approx(1.0, abs=2 * TICK)
    assert machine.ticks == pytest.approx(1 / TICK, abs=2)


def test_the_system_says_how_busy_a_thread_is():
    """A new thread of a process that has worked for a second has not."""
    busy = in_thread(lambda: module._busy(threading.get_native_id())).outcome.result(60)
    assert busy > 0
    assert module._busy(None) == module._busy(2**30) == 0.0


def test_work_that_ends_in_time_is_waited_for_no_longer():
    assert call_within(60, lambda: 42) == 42
    go_on = threading.Event()
    work = in_thread(lambda: go_on.wait(60))
    assert not work.wait(0.05)
    assert work.waited >= 0.05
    go_on.set()
    assert work.wait(60)
    with pytest.raises(ZeroDivisionError):
        call_within(60, lambda: 1 // 0)
