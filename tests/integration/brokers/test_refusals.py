"""A broker that does not accept the user is as good as none, and says so."""

from __future__ import annotations

import uuid
from urllib.parse import urlsplit

import pytest
import redis
from kombu import Queue
from kombu.exceptions import OperationalError

from jobtastic_signals import delay_or_eager, delay_or_fail
from jobtastic_signals.installation import installation_on
from tests.support.fallbacks import tasks_on
from tests.support.servers import run_in_rabbitmq
from tests.support.unit_apps import published
from tests.support.workers.project import close

_MAY_CONNECT_ONLY = """
    rabbit_auth_backend_internal:add_user(<<"USER">>, <<"secret">>, <<"tests">>),
    rabbit_auth_backend_internal:set_permissions(<<"USER">>, <<"/">>, <<"">>, <<"">>, <<"">>, <<"tests">>).
"""

#: The servers answer at once, however busy the machine is.
PATIENT = {"jobtastic_broker_deadline": 60}


def assert_answered(app, error):
    """By a failure with the error, or by a run here."""
    _, bare, runs = tasks_on(app)
    result = delay_or_fail(bare, 1)
    assert (result.state, type(result.result)) == ("FAILURE", OperationalError)
    assert error in str(result.result)
    assert "secret" not in str(result.result)
    assert delay_or_eager(bare, 2).get() == 4
    assert runs == [2]


@pytest.mark.parametrize(
    ("user", "vhost", "error"),
    [("guest:secret", "/", "ACCESS_REFUSED"), ("guest:guest", "/missing", "missing")],
    ids=["password", "vhost"],
)
def test_rabbitmq_refuses_to_connect(new_app, shared, user, vhost, error):
    address = urlsplit(shared.rabbitmq())
    app = new_app(broker_url=f"amqp://{user}@127.0.0.1:{address.port}/{vhost}", **PATIENT)
    assert_answered(app, error)
    assert installation_on(app).broker.is_open
    close(app)


def test_rabbitmq_refuses_to_publish_and_other_calls_still_try_the_broker(new_app, shared):
    port = urlsplit(shared.rabbitmq()).port
    user = uuid.uuid4().hex
    run_in_rabbitmq(shared.folder / "rabbitmq", _MAY_CONNECT_ONLY.replace("USER", user))
    app = new_app(broker_url=f"amqp://{user}:secret@127.0.0.1:{port}//", **PATIENT)
    assert_answered(app, "ACCESS_REFUSED")
    assert not installation_on(app).broker.is_open
    close(app)


def test_a_queue_that_was_declared_otherwise_is_raised_still(new_app, shared):
    conf = {"broker_url": shared.rabbitmq(), **PATIENT}
    app = new_app(**conf)
    _, bare, _ = tasks_on(app)
    assert delay_or_fail(bare, 1).state == "PENDING"
    name = app.conf.task_default_queue
    short = Queue(name, queue_arguments={"x-max-length": 5})
    other = new_app(**conf, task_default_queue=name, task_queues=[short])
    _, bare, runs = tasks_on(other)
    with pytest.raises(Exception, match="PRECONDITION_FAILED"):
        delay_or_eager(bare, 2)
    assert runs == []
    assert not installation_on(other).broker.is_open
    published(app)
    close(app)
    close(other)


def test_redis_refuses_to_connect_or_to_publish(new_app, redis_url):
    port = urlsplit(redis_url).port
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL SETUSER limited on >secret ~* &* +@all -lpush")
    for user, error, is_open in (
        ("limited:wrong", "invalid username-password", True),
        ("limited:secret", "lpush", False),
    ):
        app = new_app(broker_url=f"redis://{user}@127.0.0.1:{port}/0", **PATIENT)
        assert_answered(app, error)
        assert installation_on(app).broker.is_open == is_open
        close(app)
