"""What travels beside the arguments: a tenant in a header, or in a context variable."""

from __future__ import annotations

from contextvars import ContextVar
from itertools import combinations

import pytest
from celery import Task
from celery.app.task import Context
from hypothesis import given, settings
from hypothesis import strategies as st

from jobtastic_signals import OptionError, Result, SettingError, UnkeyableError, explain, forget
from jobtastic_signals.keys.context import KeyContext, context_of
from tests.support.calls import BOTH, publishes
from tests.support.keys import keys_of
from tests.support.unit_apps import deliver, execute, published, real, receive, store_of, work_off

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


def tenant_of(context):
    return context.headers.get("_schema_name") if context.is_received else tenant.get()


class TenantTask(Task):
    """As tenant-schemas-celery has it: the header in ``apply_async``, the switch in ``__call__``."""

    abstract = True

    def apply_async(self, args=None, kwargs=None, *more, **options):
        options["headers"] = {**(options.get("headers") or {}), "_schema_name": tenant.get()}
        return super().apply_async(args, kwargs, *more, **options)

    def __call__(self, *args, **kwargs):
        header = (self.request.headers or {}).get("_schema_name")
        tenant.set(header or getattr(self.request, "_schema_name", None) or tenant.get())
        return super().__call__(*args, **kwargs)


@pytest.fixture(autouse=True)
def no_tenant():
    token = tenant.set(None)
    yield
    tenant.reset(token)


@pytest.fixture(params=["the task", "the app", "the app, by name"])
def invoices(request, new_app):
    where = request.param
    option = {"key_context": tenant_of} if where == "the task" else {}
    name = f"{__name__}:tenant_of" if where == "the app, by name" else tenant_of
    app = new_app(**({} if option else {"jobtastic_key_context": name}))

    @app.task(base=TenantTask, name="proj.invoices", shared=False, **BOTH, **option)
    def invoices(customer):
        return f"invoices of {tenant.get()}"

    return real(invoices)


def call_as(who, task, *args):
    tenant.set(who)
    return task.delay(*args)


def test_equal_calls_of_two_tenants_never_share(invoices):
    acme, globex = call_as("acme", invoices, 1), call_as("globex", invoices, 1)
    assert acme.id != globex.id
    tenant.set("somebody else, in the worker")
    assert len(work_off(invoices.app)) == 2
    assert (acme.get(timeout=1), globex.get(timeout=1)) == ("invoices of acme", "invoices of globex")
    assert call_as("globex", invoices, 1).get(timeout=1) == "invoices of globex"


def test_equal_calls_of_one_tenant_share(invoices):
    first = call_as("acme", invoices, 1)
    assert call_as("acme", invoices, 1).id == first.id
    tenant.set(None)
    work_off(invoices.app)
    tenant.set("acme")
    assert not publishes(lambda: invoices.delay(1))


def test_the_worker_makes_the_key_of_the_caller(invoices, caplog):
    call_as("acme", invoices, 1)
    (message,) = published(invoices.app)
    tenant.set("globex")
    execute(receive(invoices.app, message))
    assert caplog.records == []
    key = message.headers["jobtastic"]["key"]
    assert isinstance(store_of(invoices.app).lookup(key), Result)


def test_a_message_of_another_tenant_cannot_pass_for_this_one(invoices):
    """It says the one tenant where the key looks, and the other where the body looks."""
    call_as("acme", invoices, 1)
    (message,) = published(invoices.app)
    key = message.headers["jobtastic"]["key"]
    store_of(invoices.app).release(key, message.headers["id"], "")
    message.headers.update(_schema_name="globex", headers={"_schema_name": "acme"})
    deliver(invoices.app, message)
    assert store_of(invoices.app).lookup(key) is None


def test_a_stamp_of_another_tenant_does_not_count(invoices):
    call_as("globex", invoices, 1)
    call_as("acme", invoices, 1)
    theirs, ours = published(invoices.app)
    store_of(invoices.app).release(theirs.headers["jobtastic"]["key"], theirs.headers["id"], "")
    ours.headers["jobtastic"]["key"] = theirs.headers["jobtastic"]["key"]
    deliver(invoices.app, ours)
    assert store_of(invoices.app).lookup(theirs.headers["jobtastic"]["key"]) is None


def test_a_context_that_cannot_be_made_is_refused_at_the_call(new_app):
    app = new_app()

    @app.task(name="proj.wrong", shared=False, key_context=lambda context: context.headers["tenant"], **BOTH)
    def wrong():
        pass

    with pytest.raises(UnkeyableError, match=r"proj.wrong.*key_context.*the call.*KeyError"):
        wrong.delay()
    assert published(app) == []
    wrong.apply_async(headers={"tenant": "acme"})
    assert len(published(app)) == 1


def test_a_context_that_the_worker_cannot_make_costs_the_sharing_and_frees_the_claim(new_app, caplog):
    app = new_app()
    runs = []

    def only_at_the_caller(context):
        if context.is_received:
            raise LookupError("no tenant")
        return "acme"

    @app.task(name="proj.half", shared=False, key_context=only_at_the_caller, **BOTH)
    def half():
        runs.append(1)

    half.delay()
    (message,) = published(app)
    execute(receive(app, message))
    assert runs == [1]
    assert store_of(app).entries() == []
    assert any("no tenant" in record.getMessage() for record in caplog.records)


def test_a_run_that_is_lost_frees_its_claim_though_only_headers_say_whose_it_is(invoices):
    from celery import signals

    call_as("acme", invoices, 1)
    (message,) = published(invoices.app)
    key = message.headers["jobtastic"]["key"]
    tenant.set(None)
    request = receive(invoices.app, message)
    token = request.request_dict["jobtastic_delivery"]["token"]
    store_of(invoices.app).claim(key, request.id, token, 60)
    signals.task_failure.send(
        sender=invoices, task_id=request.id, exception=TimeoutError(), args=(1,), kwargs={}, einfo=None
    )
    assert store_of(invoices.app).lookup(key) is None


def test_forget_and_explain_count_the_context_of_whoever_asks(invoices):
    call_as("acme", invoices, 1)
    work_off(invoices.app)
    tenant.set("globex")
    assert forget(invoices, 1) is False
    tenant.set("acme")
    assert "key_context  'acme'" in str(explain(invoices, 1))
    assert forget(invoices, 1) is True


def test_a_task_has_its_own_context_before_that_of_the_app(new_app):
    app = new_app(jobtastic_key_context=lambda context: "the app")

    @app.task(name="proj.own", shared=False, key_context=lambda context: "the task", **BOTH)
    def own():
        pass

    assert "'the task'" in str(explain(own))


@pytest.mark.parametrize("wrong", [7, "no.such.module:tenant", "tests.support.calls:HERD"])
def test_what_is_no_function_is_refused(new_app, wrong):
    def body(): ...

    task = new_app(jobtastic_key_context=wrong).task(name="proj.x", shared=False, **BOTH)(body)
    with pytest.raises(SettingError, match="key_context"):
        task.delay()
    option = {"key_context": wrong, **BOTH}
    app = new_app()
    with pytest.raises(OptionError, match="key_context"):
        app.task(name="proj.y", shared=False, **option)(body).delay()


def test_a_task_without_a_context_has_the_key_that_it_had():
    def body(self, n): ...

    assert keys_of(body)(1) == keys_of(body, key_context=None)(1)
    assert keys_of(body)(1) != keys_of(body, key_context=lambda context: None)(1)


def test_headers_of_a_message_are_those_that_both_places_have():
    request = Context({"id": "1", "tenant": "acme", "task": "t"})
    assert context_of(request).headers["tenant"] == "acme"
    assert context_of(Context({"id": "1", "tenant": "acme", "headers": {"tenant": "globex"}})) is None
    assert context_of(Context({"id": "1", "headers": {"tenant": "acme"}})).headers == {"tenant": "acme"}
    assert context_of(None) == KeyContext(is_received=True)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(plain, min_size=2, max_size=4, unique_by=repr), plain)
def test_equal_arguments_share_exactly_if_the_contexts_are_equal(contexts, argument):
    current: list = []

    def body(self, n, other=None): ...

    key = keys_of(body, key_context=lambda context: current[0])

    def made_in(context, *args):
        current[:] = [context]
        return key(*args)

    for context in contexts:
        assert made_in(context, argument) == made_in(context, argument)
    for one, other in combinations(contexts, 2):
        if repr(one) not in ("0.0", "-0.0") or repr(other) not in ("0.0", "-0.0"):
            assert made_in(one, argument) != made_in(other, argument)
    assert made_in(contexts[0], argument, contexts[1]) != made_in(contexts[1], argument, contexts[0])
