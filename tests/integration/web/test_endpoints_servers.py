"""The endpoints under real servers: after a fork, under gevent, behind Nginx, and when they shut down."""

from __future__ import annotations

import http.client
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import redis

from tests.support.rare import mainly
from tests.support.servers import wait_until
from tests.support.web.events import Events
from tests.support.web.nginx import nginx
from tests.support.web.servers import PRELOADED, SERVERS, WORKERS, serve

#: The number of statuses that a process reads at a time.
READERS = 8


@pytest.fixture(
    scope="module",
    params=mainly("flask-gthread", of=PRELOADED),
)
def preloaded(request, celery_conf, redis_url, tmp_path_factory):
    """A site that has answered requests of its own before it forked, with two workers."""
    conf = celery_conf()
    # The deadline is long, since a process imports much of what it needs with its first call.
    url = conf["result_backend"]
    conf.update(broker_url=url, jobtastic_store=url, jobtastic_broker_deadline=60)
    with serve(request.param, conf, tmp_path_factory.mktemp("site"), stream=True) as site:
        yield site


@pytest.fixture
def task_id():
    return str(uuid.uuid4())


def test_a_forked_process_tells_the_status(preloaded, task_id):
    preloaded.store(task_id, {"progress_percent": 30}, "PROGRESS")
    path = f"/task/{preloaded.token(task_id)}/status/"
    for _ in range(10 * WORKERS):  # Whichever process answers.
        assert preloaded.get(path).json()["task"]["result"] == {"progress_percent": 30}


def test_a_forked_process_publishes_calls(preloaded):
    for number in range(5 * WORKERS):
        reply = preloaded.get(f"/start/{number}")
        assert (reply.status, len(reply.body.split())) == (200, 2), reply.body


def test_requests_share_a_few_connections(preloaded, task_id):
    preloaded.store(task_id, {"progress_percent": 30}, "PROGRESS")
    path = f"/task/{preloaded.token(task_id)}/status/"
    with redis.Redis.from_url(preloaded.app.conf.result_backend) as client:
        before = client.info("stats")["total_connections_received"]
        with ThreadPoolExecutor(READERS) as pool:
            replies = list(pool.map(preloaded.get, [path] * 200))
        opened = client.info("stats")["total_connections_received"] - before
    assert {reply.status for reply in replies} == {200}
    # Each reader asks the result backend, and the store for what the backend does not know.
    assert opened <= 2 * READERS * WORKERS


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with nginx(tmp_path_factory.mktemp("nginx")) as url:
        yield url


@pytest.mark.parametrize("server", mainly("flask", "asgi", of=["flask", "django", "django-asgi", "asgi"]))
def test_each_event_passes_nginx_at_once(server, open_site, proxy, task_id):
    site = open_site(server, stream=True)
    path = f"{urlsplit(proxy).path}{urlsplit(site.url).port}/task/{site.token(task_id)}/events/"
    with Events(proxy, path) as events:
        assert events.next()["status"] == "PENDING"
        site.store(task_id, {"progress_percent": 30}, "PROGRESS")
        assert events.next()["status"] == "PROGRESS"
        assert events.response.headers["Content-Encoding"] != "gzip"


def test_nginx_compresses_what_is_no_stream(open_site, proxy):
    site = open_site("asgi", stream=True)
    with Events(proxy, f"{urlsplit(proxy).path}{urlsplit(site.url).port}/task/progress.js") as events:
        assert events.response.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    "server",
    mainly("flask-gthread", "asgi", of=[*SERVERS, *PRELOADED]),
)
def test_an_open_stream_keeps_no_server_from_shutting_down(server, celery_conf, tmp_path, task_id):
    with serve(server, celery_conf(), tmp_path, stream=True) as site:
        with Events(site.url, f"/task/{site.token(task_id)}/events/") as events:
            assert events.next()["status"] == "PENDING"
            site.process.send_signal(signal.SIGTERM)
            with suppress(ConnectionError, http.client.IncompleteRead):  # Where the process just dies.
                assert events.next() is None
        wait_until(lambda: site.process.poll() is not None, what="the end of the server")
        assert "Traceback" not in site.log.read_text()
