"""Calls whose message never reaches a worker: their key is free after a lease, and not after the timeout."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

from jobtastic_signals.stores import Claim
from tests.support.rare import rare
from tests.support.servers import wait_until
from tests.support.sockets import silent
from tests.support.workers.project import create_app

#: Seconds. The timeout of the tasks is 300.
LEASE = 2.0


def call(made: dict[str, Any], token: str) -> None:
    """What a client process does."""
    create_app(**made).double.delay(token)


def assert_later_calls_run(rig, token):
    """A call that joins the lost one gets no answer; one that is made when its claim has lapsed does."""
    rig.start()
    wait_until(
        lambda: rig.client.double.delay(token) and rig.client.runs("double", token),
        every=0.25,
        timeout=30,
        what="a run",
    )


@pytest.mark.parametrize("store", ["disk", rare("redis")])
def test_a_caller_that_is_killed_while_its_broker_hangs_blocks_the_key_for_a_lease(
    open_rig, redis_database, token, store
):
    own = {"jobtastic_store": redis_database()} if store == "redis" else {}
    rig = open_rig(jobtastic_lease=LEASE, **own)
    with silent() as address:
        conf = {**rig.made["conf"], "broker_url": f"redis://127.0.0.1:{address.port}/0"}
        caller = multiprocessing.get_context("spawn").Process(
            target=call, args=({**rig.made, "conf": conf}, token)
        )
        caller.start()
        key = rig.client.key("double", token)
        claim = wait_until(lambda: rig.store.lookup(key), timeout=60, what="the claim")
        wait_until(lambda: address.accepted, what="the connection")
        caller.kill()
        caller.join()
    assert isinstance(claim, Claim)
    assert not claim.is_running
    assert_later_calls_run(rig, token)


def test_a_purged_queue_blocks_its_keys_for_a_lease(open_rig, token):
    rig = open_rig(jobtastic_lease=LEASE)
    first = rig.client.double.delay(token)
    assert rig.client.double.delay(token).id == first.id
    assert rig.client.app.control.purge() == 1
    assert_later_calls_run(rig, token)
    assert first.id not in {run["id"] for run in rig.client.runs("double", token)}
