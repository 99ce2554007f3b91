"""Server-sent events: what a stream sends, in every framework, and when it ends."""

from __future__ import annotations

import itertools
import json
import time
import uuid

import pytest

from jobtastic_signals.testing import Clock
from jobtastic_signals.web.sse import Feed
from tests.support.rare import mainly, rare
from tests.support.servers import redis_server, wait_until
from tests.support.web.events import Events
from tests.support.web.servers import SERVERS

#: The streams of a task that a process serves at a time.
STREAMS = 4


@pytest.fixture(params=mainly("flask", "django", "asgi", of=SERVERS))
def server(request):
    return request.param


@pytest.fixture
def site(server, open_site):
    return open_site(server, stream=True)


@pytest.fixture
def task_id():
    return str(uuid.uuid4())


def events_of(site, task_id):
    return Events(site.url, f"/task/{site.token(task_id)}/events/")


@pytest.fixture
def open_events(site):
    opened = []

    def open_events(task_id):
        opened.append(events_of(site, task_id))
        return opened[-1]

    yield open_events
    for events in opened:
        events.close()


@pytest.mark.parametrize("server", mainly("flask", "asgi", of=SERVERS))
def test_every_change_is_sent_until_the_final_one_and_then_nothing(site, open_events, task_id):
    events = open_events(task_id)
    assert events.next()["status"] == "PENDING"
    for percent in (0, 50, 100):
        site.store(task_id, {"progress_percent": percent}, "PROGRESS")
        assert events.next() == {"id": task_id, "status": "PROGRESS", "result": {"progress_percent": percent}}
    site.store(task_id, "done", "SUCCESS")
    assert events.next()["result"] == "done"
    assert events.next() is None


def test_a_stream_of_an_ended_task_has_one_event(site, open_events, task_id):
    site.store(task_id, ValueError("no"), "FAILURE")
    events = open_events(task_id)
    assert events.line() == "retry: 3000"
    assert events.next()["status"] == "FAILURE"
    assert events.next() is None


def test_a_stream_is_kept_and_collected_by_nobody(site, open_events, task_id):
    site.store(task_id, 1, "SUCCESS")
    response = open_events(task_id).response
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store, no-transform"
    assert response.headers["Content-Encoding"] == "identity"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_who_had_the_final_event_is_told_not_to_come_again(site, task_id):
    site.store(task_id, 1, "SUCCESS")
    path = f"/task/{site.token(task_id)}/events/"
    assert b"id: final\n" in site.get(path).body
    reply = site.get(path, headers={"Last-Event-ID": "final"})
    assert (reply.status, reply.body) == (204, b"")


def test_head_opens_no_stream(site, task_id):
    sent = site.head(f"/task/{site.token(task_id)}/events/")
    assert b" 200 OK\r\n" in sent
    assert b"text/event-stream; charset=utf-8\r\n" in sent
    assert sent.endswith((b"\r\n\r\n", b"\r\n\r\n0\r\n\r\n"))
    assert b"retry:" not in sent


def test_a_stream_is_for_those_who_may_see_the_status(site, task_id):
    for reference, status in ((task_id, 403), (f"{site.token(task_id)}x", 403), ("a%20b", 400)):
        reply = site.get(f"/task/{reference}/events/")
        assert (reply.status, reply.headers["Content-Type"]) == (status, "application/json")


@pytest.mark.parametrize("server", mainly("asgi", of=SERVERS))
def test_a_stream_that_is_off_is_not_found(server, open_site, task_id):
    site = open_site(server, stream=False)
    reply = site.get(f"/task/{site.token(task_id)}/events/")
    assert (reply.status, reply.json()["error"]["code"]) == (404, "no_stream")


@pytest.mark.parametrize("server", mainly("flask", "asgi", of=SERVERS))
def test_streams_are_off_where_they_occupy_threads_unless_the_site_says_so(server, open_site, task_id):
    site = open_site(server)
    site.store(task_id, 1, "SUCCESS")
    reply = site.get(f"/task/{site.token(task_id)}/events/")
    assert reply.status == (200 if server == "asgi" else 404)


def test_a_task_with_as_many_streams_as_it_may_have_is_polled_by_others(site, open_events, task_id):
    path = f"/task/{site.token(task_id)}/events/"
    streams = [open_events(task_id) for _ in range(STREAMS)]
    assert [events.next()["status"] for events in streams] == ["PENDING"] * STREAMS
    reply = site.get(path)
    assert (reply.status, reply.json()["error"]["code"]) == (429, "too_many_streams")
    assert reply.headers["Retry-After"] == "30"
    assert site.get(path.replace("events", "status")).status == 200
    with events_of(site, f"another-{task_id}") as another:
        assert another.next()["status"] == "PENDING"
    site.store(task_id, "done", "SUCCESS")
    for events in streams:
        assert [events.next()["result"], events.next()] == ["done", None]
    assert site.get(path).status == 200


@pytest.mark.parametrize("server", ["flask-werkzeug", rare("django-asgi"), "asgi"])
def test_a_stream_that_nobody_reads_any_more_gives_its_place_to_another(site, open_events, task_id):
    path = f"/task/{site.token(task_id)}/events/"
    for events in [open_events(task_id) for _ in range(STREAMS)]:
        assert events.next()["status"] == "PENDING"
        events.close()
    numbers = itertools.count()

    def has_a_place():
        # A WSGI server notices when it has something to send.
        site.store(task_id, next(numbers), "PROGRESS")
        return b" 200 OK" in site.head(path)

    wait_until(has_a_place, what="a free place")


@pytest.mark.parametrize("server", ["flask", rare("django-asgi"), "asgi"])
def test_a_stream_ends_when_the_backend_fails(server, open_site, tmp_path, task_id):
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as url:
        site = open_site(server, stream=True, conf={"result_backend": f"{url}/0"})
        site.store(task_id, {"progress_percent": 1}, "PROGRESS")
        events = events_of(site, task_id)
        assert events.next()["status"] == "PROGRESS"
    assert events.next() is None
    assert site.get(f"/task/{site.token(task_id)}/events/").status == 503
    events.close()
    assert "Traceback" not in site.log.read_text()


@pytest.mark.parametrize("server", [rare("flask"), rare("django-asgi"), "asgi"])
def test_a_client_that_goes_away_is_not_served_any_more(server, open_site, redis_commands, tmp_path, task_id):
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as url:
        site = open_site(server, stream=True, conf={"result_backend": f"{url}/0"})
        events = events_of(site, task_id)
        assert events.next()["status"] == "PENDING"
        readings = redis_commands(site)
        wait_until(lambda: redis_commands(site) > readings, what="a reading")
        events.close()
        # A WSGI server notices when it has something to send.
        wait_until(lambda: unread(site, task_id, redis_commands), what="the end of the readings")


def unread(site, task_id, redis_commands):
    """Whether nobody reads a status in two seconds, in which it changes all the time."""
    backend = site.app.backend
    readings, start = redis_commands(site), time.monotonic()
    while redis_commands(site) == readings:
        if time.monotonic() > start + 2:
            return True
        meta = {"status": "PROGRESS", "result": {"completed": time.monotonic()}}
        backend.client.set(backend.get_key_for_task(task_id), json.dumps(meta))
        time.sleep(0.1)
    return False


# The timing, by a clock that goes only when told


PENDING = {"task": {"id": "a", "status": "PENDING", "result": None}}
PROGRESS = {"task": {"id": "a", "status": "PROGRESS", "result": {"progress_percent": 1}}}
SUCCESS = {"task": {"id": "a", "status": "SUCCESS", "result": 1}}


@pytest.fixture
def clock():
    return Clock()


def test_readings_become_rarer_while_nothing_changes_and_frequent_again_with_a_change(clock):
    feed = Feed("a", PENDING, clock=clock)
    feed.opening()
    pauses = []
    for _ in range(6):
        pauses.append(feed.pause)
        feed.take(PENDING)
    assert pauses == [0.5, 0.75, 1.125, 1.6875, 2.0, 2.0]
    feed.take(PROGRESS)
    assert feed.pause == 0.5


def test_a_stream_without_news_shows_that_it_lives_every_fifteen_seconds(clock):
    feed = Feed("a", PENDING, clock=clock)
    feed.opening()
    sent = []
    for _ in range(60):
        clock.advance(1)
        if chunk := feed.take(PENDING):
            sent.append((clock.now, chunk))
    assert [chunk for _, chunk in sent] == [b": still there\n\n"] * 4
    assert sent[1][0] - sent[0][0] == 15


def test_news_postpone_the_sign_of_life(clock):
    feed = Feed("a", PENDING, clock=clock)
    feed.opening()
    clock.advance(14)
    assert feed.take(PROGRESS).startswith(b"data: ")
    clock.advance(14)
    assert feed.take(PROGRESS) == b""


def test_a_stream_of_a_task_that_never_ends_is_over_after_ten_minutes(clock):
    feed = Feed("a", PENDING, clock=clock)
    clock.advance(599)
    assert not feed.over
    clock.advance(1)
    assert feed.over


def test_a_feed_is_over_with_the_final_status(clock):
    feed = Feed("a", PENDING, clock=clock)
    feed.opening()
    assert feed.take(SUCCESS).endswith(b"\n\n")
    assert feed.over


def test_a_text_with_line_breaks_stays_in_one_line(clock):
    status = {"task": {"id": "a", "status": "SUCCESS", "result": "a\n\ndata: b\r\u2028\ud800"}}
    event = Feed("a", status, clock=clock).opening()
    assert event.count(b"\n") == 5
    assert event.isascii()
    assert json.loads(event.split(b"data: ", 1)[1]) == status
