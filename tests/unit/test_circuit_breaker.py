"""When a server is left alone, and when it is tried again."""

from __future__ import annotations

from jobtastic_signals.support.circuit_breaker import RETRY_AFTER, CircuitBreaker


def test_during_an_outage_one_caller_tries_after_each_pause(clock):
    breaker = CircuitBreaker(clock=clock)
    error = OSError("gone")
    assert (breaker.failed(error), breaker.failed(error)) == (True, False)
    assert (breaker.is_open, breaker.error, breaker.lets_through()) == (True, error, False)
    clock.advance(RETRY_AFTER)
    assert (breaker.lets_through(), breaker.lets_through()) == (True, False)
    breaker.retry()
    assert breaker.lets_through()
    assert (breaker.answered(), breaker.answered(), breaker.lets_through()) == (True, False, True)


def test_only_a_later_request_confirms_a_suspicion(clock):
    breaker = CircuitBreaker(clock=clock)
    began = clock()
    clock.advance(1)
    assert [breaker.suspect(began), breaker.suspect(began)] == [False, False]
    assert breaker.suspect(clock())
    assert not breaker.is_open


def test_an_answer_ends_a_suspicion(clock):
    breaker = CircuitBreaker(clock=clock)
    breaker.suspect(clock())
    assert not breaker.answered()
    assert not breaker.suspect(clock())
