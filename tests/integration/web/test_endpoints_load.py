"""One process answers many people at once, with few connections to Redis."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
import redis

from tests.support.servers import redis_server
from tests.support.web.servers import SERVERS, serve

CLIENTS = 8
SECONDS = 3.0


@pytest.mark.thorough
@pytest.mark.parametrize("server", SERVERS)
def test_one_process_answers_two_hundred_requests_per_second(server, celery_conf, tmp_path):
    with serve(server, celery_conf(), tmp_path) as site:
        path = watched(site)
        site.get(path)
        for _ in range(5):
            answered, failed = ask(site, path, b'"progress_percent": 30')
            assert failed == []
            bare, _ = ask(site, "/page/nothing", b"")
            print(
                f"{server}: {answered / SECONDS:.0f} requests per second, {bare / SECONDS:.0f} of a bare page"
            )
            # On a machine that is busy with something else, the server by itself hardly gets that far.
            if answered >= min(200 * SECONDS, 0.6 * bare):
                break
        else:
            pytest.fail("it is too slow")


@pytest.mark.thorough
@pytest.mark.parametrize("server", ["flask-werkzeug", "django-asgi"])
def test_a_thread_for_each_request_is_no_connection_for_each(server, tmp_path):
    (tmp_path / "redis").mkdir()
    (tmp_path / "site").mkdir()
    conf = {"broker_url": "memory://"}
    with redis_server(tmp_path / "redis") as url, redis.Redis.from_url(url) as client:
        conf["result_backend"] = f"{url}/0"
        with serve(server, conf, tmp_path / "site") as site:
            path = watched(site)
            before = client.info("stats")["total_connections_received"]
            for _ in range(1_000):
                assert site.get(path).status == 200
            # Each of the reader's threads has one.
            assert client.info("stats")["total_connections_received"] - before <= CLIENTS


def watched(site):
    task_id = str(uuid.uuid4())
    site.store(task_id, {"progress_percent": 30, "time_remaining": 5}, "PROGRESS")
    return f"/task/{site.token(task_id)}/status/"


def ask(site, path, expected):
    """How many answers some clients got in some seconds, and what was not right with others."""
    answers, failed, end = [], [], time.monotonic() + SECONDS

    def client():
        connection = site.connect()
        while time.monotonic() < end:
            connection.request("GET", path)
            response = connection.getresponse()
            (answers if expected in response.read() else failed).append(response.status)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(answers), failed
