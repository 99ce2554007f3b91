"""A Redis store and a Redis result backend on one server: a call that is answered asks both in one step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from celery import Celery, Task, states
from celery.backends.redis import RedisBackend

from jobtastic_signals.handlers.workers import worker_init
from jobtastic_signals.sharing.origin import origin_of
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.unit_apps import deliver, published, real, work_off
from tests.support.workers.project import close

#: What is in one entry of a result backend, however it is read.
FIELDS = ("status", "result", "traceback", "children", "date_done", "task_id")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "redis.sock"
    with redis_server(folder, "--unixsocket", str(socket)) as first, redis_server(folder) as second:
        yield [first, second]


@pytest.fixture
def make_app(servers: list[RedisServer], new_app: Callable[..., Celery]) -> Iterator[Callable[..., Celery]]:
    """Makes an app whose store is database 0 of the first server; servers are empty."""
    apps: list[Celery] = []
    for server in servers:
        server.flush()

    def make_app(backend: str, **conf: Any) -> Celery:
        conf = {"jobtastic_store": f"{servers[0].url}/0?timeout=10", **conf}
        apps.append(new_app(result_backend=backend, **conf))
        return apps[-1]

    yield make_app
    for app in apps:
        close(app)


@pytest.fixture(params=["one database", "two databases", "by a socket"])
def app(
    request: pytest.FixtureRequest, servers: list[RedisServer], make_app: Callable[..., Celery]
) -> Celery:
    if request.param == "by a socket":
        path = servers[0].folder / "redis.sock"
        return make_app(f"redis+socket://{path}", jobtastic_store=f"unix://{path}?timeout=10")
    return make_app(f"{servers[0].url}/{0 if request.param == 'one database' else 5}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What backends are asked from now on, ``get`` or ``set``."""
    commands: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        method = getattr(RedisBackend, name)

        def ask(backend: RedisBackend, *args: Any, **kwargs: Any) -> Any:
            commands.append(name)
            return method(backend, *args, **kwargs)

        return ask

    for name in ("get", "set"):
        monkeypatch.setattr(RedisBackend, name, counted(name))
    return commands


def add_task(app: Celery, **options: Any) -> Task:
    @app.task(
        shared=False, name="proj.double", **{"cache_duration": 600, "herd_avoidance_timeout": 60, **options}
    )
    def double(n: int) -> int:
        return 2 * n

    return real(double)


def stored(app: Celery, task_id: str) -> dict[str, Any]:
    meta = app.backend.get_task_meta(task_id, cache=False)
    return {name: meta.get(name) for name in FIELDS}


# A call that is answered


@pytest.mark.parametrize("herd_avoidance_timeout", [60, 0], ids=["herd avoidance", "only a cache"])
def test_a_cached_call_knows_all_that_the_backend_has_without_reading_it(app, asked, herd_avoidance_timeout):
    task = add_task(app, herd_avoidance_timeout=herd_avoidance_timeout)
    first = task.delay(21)
    work_off(app)
    before = stored(app, first.id)
    asked.clear()
    result = task.delay(21)
    assert (origin_of(result).kind, result.id) == ("cached", first.id)
    assert (result.state, result.get(), result.date_done.isoformat()) == ("SUCCESS", 42, before["date_done"])
    assert asked == []


def test_a_call_that_joins_asks_only_once(app, asked):
    task = add_task(app)
    first = task.delay(21)
    assert task.delay(21).id == first.id
    app.backend.store_result(first.id, None, states.STARTED)
    asked.clear()
    joined = task.delay(21)
    assert (origin_of(joined).kind, joined.id, asked) == ("joined", first.id, [])
    assert joined.state == "STARTED"
    assert len(published(app)) == 1


def test_a_claim_whose_run_has_failed_is_not_joined(app, asked):
    task = add_task(app)
    first = task.delay(21)
    app.backend.store_result(first.id, ValueError("no"), states.FAILURE)
    asked.clear()
    second = task.delay(21)
    assert (origin_of(second).kind, second.id != first.id, asked) == ("own", True, [])


def test_a_result_that_the_backend_has_lost_is_written_back(app):
    task = add_task(app)
    first = task.delay(21)
    work_off(app)
    first.forget()
    assert stored(app, first.id)["status"] == "PENDING"
    assert task.delay(21).id == first.id
    assert (stored(app, first.id)["status"], stored(app, first.id)["result"]) == ("SUCCESS", 42)


def test_callbacks_of_a_cached_result_are_called_at_once(app):
    task = add_task(app)
    task.delay(21)
    work_off(app)
    seen: list[Any] = []
    task.delay(21).then(lambda result: seen.append(result.get()))
    assert seen == [42]


def test_a_prefix_of_the_backend_counts(servers, make_app, asked):
    options = {"global_keyprefix": "results-of-proj:"}
    app = make_app(f"{servers[0].url}/0", result_backend_transport_options=options)
    task = add_task(app)
    first = task.delay(21)
    work_off(app)
    asked.clear()
    assert (task.delay(21).id, asked) == (first.id, [])
    first.forget()
    assert task.delay(21).id == first.id
    assert stored(app, first.id)["status"] == "SUCCESS"


class Connecting(RedisBackend):
    """Stands for a backend that connects when it is made, and cannot be shared by processes."""

    made: ClassVar[list[RedisBackend]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made.append(self)


def test_a_worker_that_is_about_to_fork_makes_no_result_backend(servers, make_app):
    app = make_app(f"{__name__}:Connecting+{servers[0].url}/0")
    add_task(app)
    worker_init(SimpleNamespace(app=app))
    assert Connecting.made == []
    assert app.backend in Connecting.made


# Where the store cannot say


class OfAnotherKind(RedisBackend):
    """Keeps its results where Celery's own does not."""

    def get_key_for_task(self, task_id: Any, key: Any = "") -> bytes:
        return b"of-another-kind-" + super().get_key_for_task(task_id, key)


def _of_another_kind(servers: list[RedisServer]) -> str:
    return f"{__name__}:OfAnotherKind+{servers[0].url}/0"


@pytest.mark.parametrize(
    "backend",
    [
        lambda servers: f"{servers[1].url}/0",
        _of_another_kind,
        lambda servers: f"redis+socket://{servers[0].folder}/redis.sock",
    ],
    ids=["another server", "a subclass", "the same server by another way"],
)
def test_a_backend_that_is_elsewhere_is_asked(servers, make_app, asked, backend):
    app = make_app(backend(servers))
    task = add_task(app)
    first = task.delay(21)
    work_off(app)
    asked.clear()
    assert task.delay(21).id == first.id
    assert asked == ["get"]
    first.forget()
    assert task.delay(21).id == first.id
    assert stored(app, first.id)["status"] == "SUCCESS"


def test_a_task_with_a_backend_of_its_own_asks_that(servers, make_app, asked):
    app = make_app(f"{servers[0].url}/0")
    task = add_task(app, backend=RedisBackend(app=app, url=f"{servers[1].url}/0"))
    first = task.delay(21)
    deliver(app, *published(app))
    asked.clear()
    result = task.delay(21)
    assert (result.id, result.state, asked) == (first.id, "SUCCESS", ["get"])
    first.forget()
    assert task.delay(21).id == first.id
    assert task.backend.get_task_meta(first.id, cache=False)["status"] == "SUCCESS"
    failed = task.delay(22)
    task.backend.store_result(failed.id, ValueError("no"), states.FAILURE)
    assert task.delay(22).id != failed.id


@pytest.mark.parametrize(
    "rights",
    [("+@all", "-select", "~*"), ("+@all", "~jobtastic*")],
    ids=["not that database", "not those keys"],
)
def test_where_the_server_refuses_the_store_the_backend_is_asked(servers, make_app, asked, caplog, rights):
    server = servers[0]
    server.ask("ACL", "SETUSER", "store", "on", ">secret", "resetkeys", *rights)
    url = server.url.replace("//", "//store:secret@")
    app = make_app(f"{server.url}/5", jobtastic_store=f"{url}/0?timeout=10")
    task = add_task(app)
    first = task.delay(21)
    work_off(app)
    asked.clear()
    assert (task.delay(21).id, asked) == (first.id, ["get"])
    failed = task.delay(22)
    app.backend.store_result(failed.id, ValueError("no"), states.FAILURE)
    assert task.delay(22).id != failed.id
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize("plant", ["a list", "no record"])
def test_what_is_no_record_of_the_backend_is_left_to_the_backend(servers, app, caplog, plant):
    task = add_task(app)
    first = task.delay(21)
    work_off(app)
    client, key = app.backend.client, app.backend.get_key_for_task(first.id)
    client.delete(key)
    if plant == "a list":
        client.lpush(key, "x")
    else:
        client.set(key, "{no record")
    result = task.delay(21)
    assert result.id == first.id
    assert result.get() == 42
    assert "result backend" in caplog.text
