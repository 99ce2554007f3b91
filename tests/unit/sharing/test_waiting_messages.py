"""The message of a delivery that waits keeps everything that it came with, but for ``expires``."""

from __future__ import annotations

import uuid

import pytest
from celery import chord, group, states

from tests.support.calls import HERD
from tests.support.unit_apps import execute, key_of, published, real, receive, store_of, use_store

#: What Celery writes anew into each message.
OF_EACH_MESSAGE = {"eta", "expires", "origin", "jobtastic", "parent_id"}


@pytest.fixture
def runs():
    return []


@pytest.fixture
def task(app, runs):
    return add_task(app, runs)


def add_task(app, runs, **options):
    @app.task(bind=True, name="proj.waits", shared=False, **{**HERD, **options})
    def waits(self, n):
        runs.append(n)
        return n

    @app.task(name="proj.follows", shared=False)
    def follows(n):
        return ["followed", n]

    return real(waits)


def wait_once(task, *args, **options):
    """Return the message of a call, and the one that is sent when its delivery waits."""
    app = task.app
    claim = store_of(app).claim(key_of(task, *args), "owner", "owner/1", 6000)
    result = task.apply_async(args, **{"task_id": uuid.uuid4().hex, **options})
    (message,) = published(app)
    assert execute(receive(app, message)).info.state == states.IGNORED
    (again,) = published(app)
    assert id_of(again) == id_of(message) == result.id
    store_of(app).release(key_of(task, *args), "owner", claim.delivery)
    return message, again


def id_of(message):
    return message.headers.get("id") or message.payload["id"]


def kept(message):
    return {name: value for name, value in message.headers.items() if name not in OF_EACH_MESSAGE}


def test_it_keeps_the_headers_of_the_caller_and_of_celery(task):
    message, again = wait_once(
        task,
        1,
        headers={"trace": "00-abc", "tenant": {"id": 7}},
        shadow="proj.shadow",
        argsrepr="(<secret>,)",
        time_limit=100,
        soft_time_limit=90,
    )
    assert kept(again) == kept(message)
    assert again.headers["trace"] == "00-abc"
    assert again.headers["argsrepr"] == "(<secret>,)"
    assert again.headers["timelimit"] == [100, 90]


def test_it_keeps_stamps(task, app):
    signature = task.s(1).set(task_id=uuid.uuid4().hex)
    signature.stamp(customer="acme")
    store_of(app).claim(key_of(task, 1), "owner", "owner/1", 6000)
    signature.apply_async()
    (message,) = published(app)
    execute(receive(app, message))
    (again,) = published(app)
    assert message.headers["stamped_headers"] == ["customer"]
    assert kept(again) == kept(message)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_it_keeps_the_serializer_that_was_chosen_for_the_call(app, task, runs, serializer):
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    app.conf.accept_content = ["json", serializer]
    message, again = wait_once(task, (1, 2), serializer=serializer)
    assert again.content_type == message.content_type
    assert again.content_encoding == message.content_encoding
    assert again.payload[0] == message.payload[0]
    execute(receive(app, again))
    assert runs == [(1, 2) if serializer == "pickle" else [1, 2]]


def test_it_keeps_the_priority(task):
    message, again = wait_once(task, 1, priority=7)
    assert again.properties["priority"] == message.properties["priority"] == 7


def test_it_keeps_the_queue(app, task):
    message, again = wait_once(task, 1)
    assert again.delivery_info["routing_key"] == message.delivery_info["routing_key"]


def test_it_keeps_what_follows(app, task, runs):
    follows = app.tasks["proj.follows"]
    message, again = wait_once(task, 1, link=follows.s(), chain=[follows.s()])
    assert again.payload == message.payload
    execute(receive(app, again))
    after = [each.headers["task"] for each in published(app)]
    assert after == ["proj.follows", "proj.follows"]


def test_it_keeps_its_place_in_a_group_and_a_chord(app, task, runs):
    follows = app.tasks["proj.follows"]
    store_of(app).claim(key_of(task, 1), "owner", "owner/1", 6000)
    chord(group([task.s(1), task.s(2)], app=app), follows.s(), app=app).apply_async()
    message = next(each for each in published(app) if each.payload[0] == [1])
    execute(receive(app, message))
    (again,) = published(app)
    assert kept(again) == kept(message)
    assert again.headers["group"] is not None
    assert again.payload[2]["chord"] == message.payload[2]["chord"]


def test_it_keeps_the_count_of_retries(app, task):
    _, again = wait_once(task, 1, retries=2)
    assert again.headers["retries"] == 2


def test_it_drops_expires_since_it_arrived_in_time(task):
    message, again = wait_once(task, 1, expires=60)
    assert message.headers["expires"] is not None
    assert again.headers["expires"] is None


def test_it_drops_the_expires_of_the_task_too(app, runs):
    task = add_task(app, runs, expires=60)
    message, again = wait_once(task, 1)
    assert message.headers["expires"] is not None
    assert again.headers["expires"] is None


def test_it_says_when_it_was_called_whom_it_waits_for_and_how_often(app, task):
    message, again = wait_once(task, 1)
    stamp, first = again.headers["jobtastic"], message.headers["jobtastic"]
    assert stamp == {**first, "waits": 1, "waiting_for": "owner", "expected": None}
    store_of(app).claim(key_of(task, 1), "another", "another/1", 6000)
    execute(receive(app, again))
    (third,) = published(app)
    assert third.headers["jobtastic"] == {
        **first,
        "waits": 2,
        "waiting_for": "another",
        "expected": None,
    }


def test_one_that_did_not_say_when_it_was_called_says_when_it_arrived(app, task, clock):
    store_of(app).claim(key_of(task, 1), "owner", "owner/1", 6000)
    app.send_task(task.name, (1,))
    clock.advance(3)
    arrived = clock.now
    execute(receive(app, published(app)[0]))
    clock.advance(3)
    execute(receive(app, published(app)[0]))
    (again,) = published(app)
    assert again.headers["jobtastic"]["called"] == arrived
    assert again.headers["jobtastic"]["waits"] == 2


def test_the_name_of_the_delivery_does_not_travel_with_it(task):
    _, again = wait_once(task, 1)
    assert "jobtastic_delivery" not in again.headers


# Task protocol 1.


@pytest.fixture
def old(new_app, memory):
    app = new_app(task_protocol=1)
    use_store(app, memory)
    return app


def test_a_message_of_protocol_1_keeps_its_stamp_and_its_headers(old, runs):
    task = add_task(old, runs)
    message, again = wait_once(task, 1, headers={"trace": "00-abc"}, expires=60)
    first, stamp = message.headers["jobtastic"], again.headers["jobtastic"]
    assert stamp == {**first, "waits": 1, "waiting_for": "owner", "expected": None}
    assert again.headers["trace"] == "00-abc"
    changed = {"eta", "expires"}
    changed |= {"argsrepr", "kwargsrepr", "headers"}  # Celery adds them to what it has read.
    ours, theirs = (
        {name: value for name, value in each.payload.items() if name not in changed}
        for each in (again, message)
    )
    assert ours == theirs
    assert again.payload["expires"] is None
    execute(receive(old, again))
    assert runs == [1]


def test_an_earlier_call_by_protocol_1_is_answered_by_a_run_that_began_after_it(old, runs, clock):
    task = add_task(old, runs)
    task.delay(1)
    task.apply_async((1,), task_id=uuid.uuid4().hex)
    clock.advance(1)
    for message in published(old):
        execute(receive(old, message))
    assert runs == [1]
    assert published(old) == []
