"""Stores, brokers and processes that fail while runs go on and calls wait."""

from __future__ import annotations

import time

import pytest
from celery import group

from jobtastic_signals.stores import Claim
from tests.support.redis_servers import redis_server
from tests.support.servers import wait_until
from tests.support.workers.rigs import go_on, most_at_once, waits

# Longer than the longest wait, which is 30 s.
TIMEOUT = 90
LEASE = 2.0


def outlast(seconds):
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, timeout=seconds + 5, what="the time")


def test_a_run_that_begins_while_the_store_is_away_frees_its_key_and_answers_those_who_wait(
    open_rig, store_server, token
):
    """Fire-and-forget calls were swallowed from then on, until the timeout."""
    rig = open_rig(jobtastic_store=f"{store_server.url}/0", jobtastic_lease=LEASE)
    client, silent = rig.client, f"{token}-silent"
    client.held_silent.delay(silent)
    first = client.held.delay(token)
    waiting = client.held.apply_async((token,), task_id=f"own-{token}")
    store_server.pause()
    rig.start(concurrency=3)
    wait_until(lambda: client.runs("held", token, "begins"), what="the run")
    wait_until(lambda: client.runs("held_silent", silent, "begins"), what="the silent run")
    store_server.resume()
    go_on(client, token)
    go_on(client, silent)
    assert first.get(timeout=TIMEOUT) == [token, first.id]
    assert waiting.get(timeout=TIMEOUT)[0] == token
    wait_until(lambda: len(client.runs("held_silent", silent, "ends")) == 1, what="the end")

    def calls_again():
        client.held_silent.delay(silent)
        return len(client.runs("held_silent", silent, "begins")) > 1

    wait_until(calls_again, timeout=TIMEOUT, every=0.25, what="the next run")


@pytest.mark.thorough
def test_a_claim_that_lapsed_while_the_store_was_away_is_regained(open_rig, store_server, token):
    """Nobody took it, so no identical call runs beside the one that goes on."""
    rig = open_rig(jobtastic_store=f"{store_server.url}/0", jobtastic_lease=LEASE)
    rig.start()
    client = rig.client
    first = client.held.delay(token)
    wait_until(lambda: client.runs("held", token), what="the run")
    assert client.held.delay(token).id == first.id
    store_server.pause()
    outlast(1.5 * LEASE)
    store_server.resume()

    def regained():
        claim = rig.store.lookup(client.key("held", token))
        return isinstance(claim, Claim) and claim.is_running

    wait_until(regained, timeout=15, what="the claim")
    outlast(LEASE)
    assert client.held.delay(token).id == first.id
    go_on(client, token)
    assert first.get(timeout=TIMEOUT) == [token, first.id]
    assert most_at_once(client.runs("held", token)) == 1


@pytest.mark.thorough
def test_calls_that_wait_survive_a_restart_of_the_broker(open_rig, tmp_path, token):
    """Redis keeps its data, and ``visibility_timeout`` is an hour, as Celery has it."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with redis_server(folder, "--appendonly", "yes", "--appendfsync", "always") as broker:
        rig = open_rig(broker_url=f"{broker.url}/0", broker_connection_retry_on_startup=True)
        for _ in range(2):
            rig.start(concurrency=4)
        client = rig.client
        first = client.held.delay(token)
        wait_until(lambda: client.runs("held", token), what="the run")
        members = group(client.held.s(token) for _ in range(4)).apply_async()
        wait_until(lambda: waits(rig.log(), *(each.id for each in members)), what="the waiting members")
        # What is between the queue and the hash of messages that a worker holds, kombu loses.
        wait_until(lambda: broker.ask("HLEN", "unacked") == len(members), what="the held messages")
        broker.kill()
        broker.start()
        go_on(client, token)
        assert first.get(timeout=TIMEOUT) == [token, first.id]
        assert members.get(timeout=40) == [[token, first.id]] * 4
        assert most_at_once(client.runs("held", token)) == 1


def test_a_process_that_is_killed_after_its_success_frees_its_key_and_answers_those_who_wait(open_rig, token):
    """Celery 5.7 logs that the task succeeded before the worker was lost, and sends no ``task_failure``."""
    rig = open_rig()
    rig.start(module="dying")
    client = rig.client
    first = client.cached_briefly.apply_async((token,), headers={"dies": "after its success"})
    assert first.get(timeout=TIMEOUT) == [token, first.id]
    waiting = client.cached_briefly.apply_async((token,), task_id=f"own-{token}")
    # The lease is 30 s.
    assert waiting.get(timeout=10)[0] == token
    wait_until(lambda: client.cached_briefly.delay(token).id != first.id, timeout=10, what="a new run")
