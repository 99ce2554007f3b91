"""Whoever is in the gate of forks keeps a fork waiting, and a fork keeps others out, until it is over."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from jobtastic_signals.support.forks import ForkGate, fork_gate

T = TypeVar("T")


class _NoWaiting(threading.Condition):
    """A condition for which nobody may wait."""

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        found = predicate()
        assert found, "it waits"
        return found


class _Interrupted(_NoWaiting):
    """A condition in which a soft time limit strikes before anything is done."""

    def __enter__(self) -> bool:
        raise SoftTimeLimitExceeded


@pytest.fixture
def gate() -> ForkGate:
    gate = ForkGate()
    gate._changed = _NoWaiting()
    return gate


def _in_thread(function: Callable[[], Any]) -> BaseException | None:
    """Call *function* in another thread, and return what it raised."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            function()
        except AssertionError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def _pass(gate: ForkGate) -> None:
    with gate:
        pass


def test_a_fork_and_another_thread_wait_for_each_other(gate: ForkGate) -> None:
    with gate:
        assert _in_thread(gate.close) is not None
    gate.close()
    assert _in_thread(lambda: _pass(gate)) is not None


def test_a_thread_that_forks_waits_neither_outside_nor_inside_for_itself(gate: ForkGate) -> None:
    """A hook of somebody else may use the store right before the fork."""
    with gate, gate:
        gate.close()
        gate.open()
    gate.close()
    _pass(gate)
    gate.open()
    assert _in_thread(lambda: _pass(gate)) is None


def test_a_time_limit_that_cuts_the_closing_short_leaves_the_gate_open(gate: ForkGate) -> None:
    gate._changed = _Interrupted()
    with pytest.raises(SoftTimeLimitExceeded):  # Python prints it, and forks.
        gate.close()
    gate._changed = _NoWaiting()
    gate.open()
    assert _in_thread(lambda: _pass(gate)) is None


def test_there_is_a_gate_where_there_are_no_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "register_at_fork")
    _pass(fork_gate.__wrapped__())
