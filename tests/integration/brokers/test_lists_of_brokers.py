"""A broker with several addresses: one of them answers, and the others do not."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import pytest
import redis

from jobtastic_signals import delay_or_fail
from jobtastic_signals.installation import installation_on
from tests.support.fallbacks import tasks_on, timed
from tests.support.rare import mainly
from tests.support.servers import redis_server
from tests.support.sockets import DEAD, refusing, silent
from tests.support.unit_apps import published
from tests.support.workers.project import close


@contextmanager
def client_of(new_app, *urls, **conf):
    app = new_app(broker_url=list(urls), **conf)
    _, bare, _ = tasks_on(app)
    yield app, bare
    close(app)


@pytest.mark.parametrize(
    ("protocol", "how"),
    mainly(
        ("redis", "refused"), ("amqp", "refused"), ("redis", "silent"),
        of=itertools.product(["redis", "amqp"], DEAD),
    ),
)  # fmt: skip
def test_calls_go_through_the_address_that_answers(new_app, redis_url, shared, protocol, how):
    alive = f"{redis_url}/2" if protocol == "redis" else shared.rabbitmq()
    with (
        DEAD[how]() as dead,
        client_of(new_app, f"{protocol}://127.0.0.1:{dead.port}/", alive, jobtastic_broker_deadline=5) as (
            app,
            bare,
        ),
    ):
        results = [timed(delay_or_fail, bare, 1)]
        tried = dead.count()
        results += [timed(delay_or_fail, bare, n) for n in (2, 3)]
        assert [result.state for result in results] == ["PENDING"] * 3
        # It is remembered which one answered, also on a new connection.
        assert dead.count() == tried
        app.conf.broker_url = alive
        assert [message.payload[0] for message in published(app)] == [[1], [2], [3]]


def test_a_kept_connection_that_falls_silent_is_left_for_another_address(new_app, redis_url, tmp_path):
    with (
        redis_server(tmp_path) as first,
        client_of(new_app, f"{first}/0", f"{redis_url}/3", jobtastic_broker_deadline=5) as (app, bare),
    ):
        assert timed(delay_or_fail, bare, 1).state == "PENDING"
        with redis.Redis.from_url(first) as client:
            client.client_pause(60_000, all=True)
        assert timed(delay_or_fail, bare, 2).state == "PENDING"
        app.conf.broker_url = f"{redis_url}/3"
        assert [message.payload[0] for message in published(app)] == [[2]]


def test_another_address_is_used_when_the_one_that_answered_is_gone(new_app, redis_url, tmp_path):
    with redis_server(tmp_path) as first:
        app = new_app(broker_url=[f"{first}/0", f"{redis_url}/4"])
        _, bare, _ = tasks_on(app)
        assert timed(delay_or_fail, bare, 1).state == "PENDING"
    assert [timed(delay_or_fail, bare, n).state for n in (2, 3)] == ["PENDING"] * 2
    app.conf.broker_url = f"{redis_url}/4"
    assert [message.payload[0] for message in published(app)] == [[2], [3]]
    close(app)


def test_where_no_address_answers_all_are_named_without_passwords(new_app):
    with (
        silent() as one,
        refusing() as other,
        client_of(
            new_app, f"redis://:secret@127.0.0.1:{one.port}/0", f"redis://:secret@127.0.0.1:{other.port}/0"
        ) as (app, bare),
    ):
        error = timed(delay_or_fail, bare, 1).result
        assert installation_on(app).broker.is_open
    assert all(f"127.0.0.1:{address.port}" in str(error) for address in (one, other))
    assert "secret" not in str(error)
    assert "refused" in str(error)
