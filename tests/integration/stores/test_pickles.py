"""A pickle that makes a file, in each place that this package reads. With JSON it never runs."""

from __future__ import annotations

import base64
import json
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import redis
from celery import Celery
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from jobtastic_signals import Jobtastic, SettingError, task_status
from jobtastic_signals.results import index, payload
from jobtastic_signals.stores import open_store
from jobtastic_signals.stores.disk import DiskStore
from jobtastic_signals.stores.django.buckets import _BUCKET, _number
from jobtastic_signals.stores.entry import Result
from jobtastic_signals.stores.guard import GuardedStore
from jobtastic_signals.stores.memory import MemoryStore
from tests.support.calls import BOTH
from tests.support.servers import memcached
from tests.support.stores.operations import PATIENT
from tests.support.stores.planting import in_a_disk, in_a_memcached, in_a_redis
from tests.support.unit_apps import execute, installed_on, key_of, published, receive, store_of


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "was unpickled"


@pytest.fixture
def pickled(marker):
    """A pickle that does harm, as this shows."""
    harm = pickle.dumps(Touches(marker))
    pickle.loads(harm)
    assert marker.exists()
    marker.unlink()
    return harm


@pytest.fixture
def project(new_app):
    """An app that reads pickles in its messages and writes its results in JSON, and a task of it."""
    app = new_app(accept_content=["json", "pickle"], result_serializer="json")

    @app.task(name="proj.double", shared=False, **BOTH)
    def double(n):
        return 2 * n

    return app.tasks["proj.double"]


def open_somewhere(place, tmp_path, redis_url, open_django, stack):
    if place == "memory":
        return MemoryStore()
    if place == "disk":
        return open_store(f"disk://{tmp_path}/store", timeout=PATIENT)
    if place == "redis":
        return open_store(f"{redis_url}/7", timeout=PATIENT)
    if place == "memcached":
        return open_store(stack(memcached(tmp_path))[0], timeout=PATIENT)
    return open_django(alias=place)


PLACES = ("memory", "disk", "redis", "memcached", "locmem", "database")


@pytest.fixture(params=PLACES)
def store(request, tmp_path, redis_url, open_django):
    from contextlib import ExitStack

    with ExitStack() as stack:
        store = open_somewhere(request.param, tmp_path, redis_url, open_django, stack.enter_context)
        yield store
        store.close()


def test_a_stored_payload_that_says_it_is_a_pickle_is_not_read(project, store, pickled, marker, caplog):
    """In every store, for the call, for the run, and for whoever asks by the id."""
    task_id = "7d0f9b0e-0000-4000-8000-000000000000"
    evil = b'["application/x-python-serialize", "binary"]\n' + pickled
    installed_on(project.app).use_store(GuardedStore(lambda: store, store.url))
    key = key_of(project, 21)
    for _ in range(2):
        store_of(project.app).forget(key)
        assert store.complete(key, task_id, None, evil, ttl=60, index=index.key_for(task_id))
        assert index.find(store_of(project.app), project.app, task_id) is None
        assert project.apply((21,)).get() == 42
    store_of(project.app).forget(key)
    assert store.complete(key, task_id, None, evil, ttl=60)
    project.delay(21)
    assert len(published(project.app)) == 1
    assert not marker.exists()
    assert not store_of(project.app).is_down
    assert [record for record in caplog.records if "cannot be read" in record.getMessage()]


@pytest.mark.parametrize("accept", [["json", "pickle"], ["json"]])
def test_a_pickle_is_read_where_it_is_the_result_serializer_and_accepted(accept, new_app):
    app = new_app(accept_content=accept, result_serializer="pickle")
    written = payload.dumps(app, {1, 2})
    if "pickle" in accept:
        assert payload.loads(app, written) == {1, 2}
    else:
        with pytest.raises(Exception, match="pickle"):
            payload.loads(app, written)


@pytest.mark.parametrize(
    "head", ['["application/data", "binary"]', '["", ""]', '[["a"], 1]', "{}", "[" * 10_000]
)
def test_a_payload_of_no_serializer_of_the_app_is_dropped(project, head):
    key = key_of(project, 21)
    assert store_of(project.app).complete(key, "o", None, head.encode() + b'\n"wrong"', ttl=60)
    assert project.apply((21,)).get() == 42


# The storage itself


def test_a_row_of_the_disk_store_is_not_unpickled(tmp_path, pickled, marker):
    store = DiskStore(f"disk://{tmp_path}/store", timeout=PATIENT)
    in_a_disk(store)("key", pickled)
    for cache in ("claims", "results"):
        with closing(sqlite3.connect(store.folder / cache / "cache.db")) as database, database:
            database.execute("UPDATE Cache SET mode = 4")
    assert store.lookup("key") is None
    assert store.identity
    assert not marker.exists()
    store.close()


def test_a_value_in_redis_is_not_unpickled(redis_url, pickled, marker):
    store = open_store(f"{redis_url}/7", timeout=PATIENT)
    in_a_redis(f"{redis_url}/7")("key", pickled)
    redis.Redis.from_url(f"{redis_url}/7").set("jobtastic-identity", pickled)
    assert store.lookup("key") is None
    assert len(store.identity) == len("redis:") + 32
    assert not marker.exists()
    store.close()


def test_an_item_in_memcached_is_not_unpickled(tmp_path, pickled, marker):
    with memcached(tmp_path) as (url, _):
        store = open_store(url, timeout=PATIENT)
        in_a_memcached(url)("key", pickled)
        assert store.lookup("key") is None
        assert not marker.exists()
        store.close()


@pytest.mark.parametrize("alias", ["redis", "memcached", "database"])
@pytest.mark.parametrize("what", ["bucket", "mutex", "identity"])
def test_what_is_in_a_cache_of_django_is_not_unpickled(open_django, marker, alias, what):
    """Django by itself would do it, as the last lines show."""
    store = open_django(alias=alias)
    number = _number("key")
    name = {"bucket": _BUCKET.format(number), "mutex": f"jobtastic-mutex-{number:03x}"}.get(
        what, "jobtastic-identity"
    )
    timeout = 2 if what == "mutex" else None
    caches[alias].set(name, Touches(marker), timeout=timeout)
    assert store.lookup("key") is None
    assert len(store.identity) == len("django:") + 32
    if what != "mutex":
        assert store.complete("key", "o", None, b"42", ttl=60)
        assert store.lookup("key").payload == b"42"
    assert not marker.exists()
    caches[alias].set("by-itself", Touches(marker))
    caches[alias].get("by-itself")
    assert marker.exists()


def test_a_backend_that_unpickles_is_refused_unless_it_is_trusted(add_cache):
    alias = add_cache(BACKEND=f"{__name__}.Foreign", LOCATION="foreign")
    with pytest.raises(SettingError, match=r"Foreign may unpickle.*may_unpickle"):
        open_store(f"django://{alias}")
    open_store(f"django://{alias}", may_unpickle=True).close()


class Foreign(BaseCache):
    """A backend of somebody else."""

    def __init__(self, location, params):
        super().__init__(params)


# Messages and the result backend


def test_no_header_of_a_message_is_unpickled(project, pickled, marker):
    text = base64.b64encode(pickled).decode()
    for stamp in (text, {"id": text}, {"key": text, "store": text}, {"waiting_for": text, "called": text}):
        project.delay(21)
        (message,) = published(project.app)
        own = {"id": message.headers["id"]}
        message.headers["jobtastic"] = {**own, **stamp} if isinstance(stamp, dict) else stamp
        message.headers["jobtastic_replaces"] = [{"id": text, "proof": text}, text]
        message.headers["jobtastic_delivery"] = {
            "token": text,
            "content_type": "application/x-python-serialize",
        }
        request = receive(project.app, message)
        assert request.request_dict["jobtastic_delivery"]["content_type"] == "application/json"
        assert execute(request).retval == 42
        store_of(project.app).forget(key_of(project, 21))
    assert not marker.exists()


def test_a_pickle_in_the_result_backend_is_not_read(redis_url, pickled, marker):
    app = Celery("proj", broker="memory://", backend=f"{redis_url}/8", set_as_current=False)
    app.conf.update(jobtastic_store="memory://", accept_content=["json", "pickle"], result_serializer="json")
    Jobtastic(app)

    @app.task(name="proj.double", shared=False, **BOTH)
    def double(n):
        return 2 * n

    first = double.delay(21)
    for value in (pickled, json.dumps({"status": "SUCCESS", "result": None}).encode() + pickled):
        app.backend.client.set(app.backend.get_key_for_task(first.id), value)
        with pytest.raises(Exception, match=r"."):
            task_status(app, first.id)
        double.delay(21)
    assert not marker.exists()
    Jobtastic().uninstall(app)
    app.close()


def test_a_stored_failure_names_no_function_that_runs(project, marker):
    """Celery makes exceptions from the name of their class."""
    task_id = "7d0f9b0e-0000-4000-8000-000000000001"
    evil = {"exc_type": "system", "exc_message": [f"touch '{marker}'"], "exc_module": "os"}
    store_of(project.app).complete(
        f"outcome:{task_id}", task_id, None, payload.dumps(project.app, evil), ttl=60, state="FAILURE"
    )
    assert index.find(store_of(project.app), project.app, task_id) is None or not marker.exists()
    assert not marker.exists()
    assert isinstance(store_of(project.app).lookup(f"outcome:{task_id}"), Result)
