"""Canaries: each private part of Celery and kombu that we use does what we use it for.

When one of these fails after an upgrade, ``jobtastic_signals/celery_internals.py`` needs another way.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, _state, shared_task, states
from celery.app.task import Context
from celery.fixups import django as fixups
from celery.utils.saferepr import saferepr
from celery.worker import strategy
from celery.worker.request import Request
from django.core import checks
from kombu import Exchange, Queue
from kombu.utils.limits import TokenBucket

from jobtastic_signals import celery_internals as internals

from ..support.unit_apps import nothing_shared


@pytest.fixture
def app() -> Iterator[Celery]:
    with nothing_shared():
        yield Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)


def test_celery_looks_through_the_annotations_that_were_set(app: Celery) -> None:
    seen = []

    class Annotations:
        def annotate(self, task: type) -> dict[str, Any]:
            seen.append(task.name)  # type: ignore[attr-defined]
            return {}

    internals.set_annotations(app, [Annotations()])

    @app.task(name="late")
    def late() -> None: ...

    assert app.tasks["late"].name == "late"
    assert "late" in seen, "Celery no longer looks through app.annotations when a task class binds"


def test_dropped_annotations_are_read_from_the_setting_again(app: Celery) -> None:
    internals.set_annotations(app, [])
    internals.drop_annotations(app)
    app.conf.task_annotations = {"one": {"rate_limit": "1/s"}}
    assert len(internals.annotations_of(app)) == 1, "app.annotations is no longer a cached property"


def test_registered_tasks_are_seen_without_finalizing(app: Celery) -> None:
    assert "celery.accumulate" not in internals.tasks_without_finalizing(app)
    assert not app.finalized, "app._tasks now finalizes the app"


def test_an_app_is_finalized_though_tasks_cannot_bind(app: Celery) -> None:
    class Refusing:
        def annotate(self, task: type) -> None:
            if task.name.startswith("wrong"):  # type: ignore[attr-defined]
                raise ValueError(task.name)  # type: ignore[attr-defined]

    internals.set_annotations(app, [Refusing()])
    for name in ("wrong-1", "right-1", "wrong-2"):
        app.task(_nothing, name=name, shared=False)
    for name in ("wrong-3", "right-2", "wrong-4"):
        shared_task(_nothing, name=name)
    refused = set()
    for step in internals.steps_of_finalizing(app):
        try:
            step()
        except ValueError as error:
            refused.add(str(error))
    assert refused >= {"wrong-1", "wrong-2"}, "tasks that wait to be finalized are no longer in app._pending"
    assert refused >= {"wrong-3", "wrong-4"}, "shared tasks are no longer made by celery._state's finalizers"
    assert {"right-1", "right-2"} <= app.tasks.keys()


def _nothing() -> None: ...


def test_each_app_is_seen_when_it_is_finalized(app: Celery) -> None:
    seen: list[Celery] = []
    internals.for_each_app(seen.append)
    app.finalize()
    assert seen == [app], "celery._state.connect_on_app_finalize no longer calls back for each app"


def test_the_app_of_a_thread_is_the_one_that_was_made_last_there(app: Celery) -> None:
    before = internals.app_of_thread()
    _state._set_current_app(app)
    try:
        assert internals.app_of_thread() is app, "celery._state._tls no longer has the current app"
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(internals.app_of_thread).result() is None
    finally:
        _state._set_current_app(before)


def test_the_task_behind_a_proxy_is_found(app: Celery) -> None:
    @app.task(name="double")
    def double(n: int) -> int:
        return 2 * n

    assert internals.real_task(double) is app.tasks["double"]
    assert internals.real_task(app.tasks["double"]) is app.tasks["double"]


def test_the_stack_of_running_tasks_has_the_innermost_last(app: Celery) -> None:
    seen: list[list[str]] = []

    @app.task(name="inner")
    def inner() -> None:
        seen.append([task.name for task in internals.running_tasks()])

    @app.task(name="outer")
    def outer() -> None:
        inner.apply()

    outer.apply()
    assert seen == [["outer", "inner"]], "celery._state._task_stack is no longer the stack of running tasks"
    assert list(internals.running_tasks()) == []


def test_a_thread_can_publish_as_part_of_a_run(app: Celery) -> None:
    @app.task(name="outer")
    def outer() -> None: ...

    request = Context(id="the-id", called_directly=False)
    with internals.running_as(app.tasks["outer"], request):
        assert app.current_worker_task is app.tasks["outer"]
        assert app.current_worker_task.request.id == "the-id"
    assert app.current_worker_task is None
    with internals.running_as(None, None):
        assert app.current_worker_task is None


def test_the_reply_queue_of_a_thread_can_be_set(app: Celery) -> None:
    internals.use_thread_oid(app, "mine")
    assert internals.thread_oid(app) == "mine", "app.thread_oid no longer comes from app._local.oid"


def test_what_a_result_knows_is_seen_and_set(app: Celery) -> None:
    result = app.AsyncResult("the-id")
    assert internals.known_meta(result) is None
    internals.know_meta(result, {"status": states.PENDING, "result": None})
    assert internals.known_meta(result) is None, "a state that is not final is now kept"
    internals.know_meta(result, {"status": states.SUCCESS, "result": 42, "task_id": "the-id", "children": []})
    app.backend.get_task_meta = lambda *_, **__: pytest.fail("the backend was asked")
    assert (result.state, result.result) == (states.SUCCESS, 42)


def worker_request(app: Celery) -> Request:
    @app.task(name="double")
    def double(n: int) -> int:
        return 2 * n

    message = SimpleNamespace(
        headers={"id": "the-id", "task": "double", "lang": "py"},
        properties={},
        delivery_info={},
        content_type="application/json",
        content_encoding="utf-8",
        body="[[21], {}, {}]",
        payload=[[21], {}, {}],
    )
    return Request(message, app=app, task=app.tasks["double"])


def test_a_request_that_is_marked_as_revoked_is_left_alone(app: Celery) -> None:
    request = worker_request(app)
    assert request.revoked() is False
    internals.mark_as_revoked(request)
    assert request.revoked() is True, "Request.revoked() no longer looks at _already_revoked first"


def test_what_is_merged_into_a_request_reaches_the_process_of_the_pool(app: Celery) -> None:
    request = worker_request(app)
    internals.merge_into_request(request, extra={"token": "mine"})
    sent: list[Any] = []

    class Pool:
        def apply_async(self, target: Any, args: Any, **_: Any) -> Any:
            sent.extend(args)
            return self

    request.execute_using_pool(Pool())
    contexts = [Context(each) for each in sent if isinstance(each, dict)]
    assert {"token": "mine"} in [getattr(context, "extra", None) for context in contexts]


def test_a_token_of_a_rate_limit_is_given_back(app: Celery) -> None:
    bucket = TokenBucket(1, capacity=1)
    consumer = SimpleNamespace(task_buckets={"limited": bucket, "unlimited": None})
    assert bucket.can_consume(1)
    assert not bucket.can_consume(1)
    internals.refund_rate_limit(consumer, "limited")
    assert bucket.can_consume(1), "TokenBucket no longer counts in _tokens"
    internals.refund_rate_limit(consumer, "unlimited")
    internals.refund_rate_limit(consumer, "unknown")
    assert "consumer.task_buckets" in inspect.getsource(strategy.default), "buckets are kept elsewhere"


def test_a_fanout_exchange_is_known_by_its_queue(app: Celery) -> None:
    app.conf.task_queues = [
        Queue("all", Exchange("all", type="fanout")),
        Queue("one", Exchange("one", type="direct")),
    ]
    assert internals.is_fanout(app, "all")
    assert not any(internals.is_fanout(app, name) for name in ("one", "unknown", "", None))


@pytest.mark.parametrize("name", ["json", "pickle", "yaml"])
def test_a_serializer_is_found_by_its_content_type(name: str) -> None:
    from kombu import serialization

    content_type, _, _ = serialization.dumps([1], name)
    assert internals.serializer_named_by(content_type) == name, "kombu's registry no longer has type_to_name"
    assert internals.serializer_named_by("application/x-unknown") is None
    assert internals.serializer_named_by(None) is None


def test_pydantic_models_are_dumped_as_celery_does(app: Celery) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):  # type: ignore[name-defined]
        number: int

    def order(order: Any) -> None: ...

    order.__annotations__["order"] = Order
    app.task(name="order", pydantic=True)(order)
    args, kwargs = internals.dump_pydantic_arguments(app.tasks["order"], (Order(number=1),), {})
    if hasattr(app.tasks["order"], "_dump_pydantic_arguments"):
        assert (list(args), kwargs) == ([{"number": 1}], {})
    else:
        assert saferepr(args) == saferepr((Order(number=1),)), "only Celery 5.7 and later dump models"


def test_a_producer_is_asked_right_before_a_message_leaves(app: Celery) -> None:
    class GateError(Exception): ...

    class Closed(internals.GatedProducer):
        def before_sending(self) -> None:
            raise GateError

    with app.connection_for_write() as connection:
        producer = Closed(connection, auto_declare=False)
        with pytest.raises(GateError):
            producer.publish({}, routing_key="gated", serializer="json")
        queue = connection.SimpleQueue("gated")
        assert queue.qsize() == 0, "kombu no longer sends through Producer._publish"


def test_the_finalizers_of_shared_tasks_are_where_tests_clear_them() -> None:
    assert isinstance(_state._on_app_finalizers, set)


def test_the_result_backend_of_a_thread_is_found_and_its_connections_are_closed(app: Celery) -> None:
    closed = []
    pool = SimpleNamespace(disconnect=lambda: closed.append(True))
    vars(app.backend)["client"] = SimpleNamespace(connection_pool=pool)
    backend = app.backend
    internals.close_backend_of_thread(app)
    assert closed, "Celery no longer keeps the backend of a thread in app._local, or its client elsewhere"
    internals.close_backend_of_thread(app)
    assert app.backend is not backend


def test_checks_that_celery_lets_django_run_are_recognised(monkeypatch) -> None:
    asked: list[bool] = []
    fixup = fixups.DjangoWorkerFixup.__new__(fixups.DjangoWorkerFixup)
    monkeypatch.delenv("CELERY_SKIP_CHECKS", raising=False)
    monkeypatch.setattr(fixup, "django_setup", lambda: None, raising=False)
    monkeypatch.setattr(checks, "run_checks", lambda: asked.append(internals.is_importing_for_django()))
    fixup.validate_models()
    assert asked == [True]
    assert not internals.is_importing_for_django()
