"""Whatever way a task is made, it joins and serves with our options, and is let alone without."""

from __future__ import annotations

import pytest
from celery import Task, shared_task

from jobtastic_signals import Jobtastic, JobtasticError, forget
from tests.support.unit_apps import deliver, is_changed, published, real, work_off


def make_plain(app, options):
    @app.task(name="proj.made", shared=False, **options)
    def made(n):
        return 2 * n

    return made


def make_bound(app, options):
    @app.task(bind=True, name="proj.made", shared=False, **options)
    def made(self, n):
        assert isinstance(self, Task)
        return 2 * n

    return made


def make_shared(app, options):
    @shared_task(name="proj.made", **options)
    def made(n):
        return 2 * n

    return app.tasks["proj.made"]


def make_untyped(app, options):
    @app.task(typing=False, name="proj.made", shared=False, **options)
    def made(n):
        return 2 * n

    return made


def make_autoretrying(app, options):
    @app.task(autoretry_for=(KeyError,), name="proj.made", shared=False, **options)
    def made(n):
        return 2 * n

    return made


def make_unwrapped(app, options):
    """As with a decorator that forgot ``functools.wraps``."""

    def wrapper(*args):
        assert isinstance(args[0], Task)
        return 2 * args[1]

    return app.task(bind=True, name="proj.made", shared=False, **options)(wrapper)


def make_class(app, options):
    class Made(Task):
        name = "proj.made"

        def run(self, n):
            return 2 * n

    vars_of = {**options, "__module__": __name__}
    return app.register_task(type("Made", (Made,), vars_of))


def make_nameless_instance(app, options):
    def run(self, n):
        return 2 * n

    made = type("Made", (Task,), {"run": run, **options})
    return app.register_task(made())


def make_autoretrying_class(app, options):
    def run(self, n):
        return 2 * n

    made = type("Made", (Task,), {"run": run, "name": "proj.made", "autoretry_for": (KeyError,), **options})
    return app.register_task(made())


def make_static(app, options):
    made = type("Made", (Task,), {"run": staticmethod(lambda n: 2 * n), "name": "proj.made", **options})
    return app.register_task(made())


def make_class_method(app, options):
    made = type("Made", (Task,), {"run": classmethod(lambda cls, n: 2 * n), "name": "proj.made", **options})
    return app.register_task(made())


def make_calling(app, options):
    class Made(Task):
        name = "proj.made"

        def run(self, n):
            return n

        def __call__(self, *args, **kwargs):
            return 2 * super().__call__(*args, **kwargs)

    for name, value in options.items():
        setattr(Made, name, value)
    return app.register_task(Made())


def make_applying(app, options):
    class Made(Task):
        name = "proj.made"

        def run(self, n):
            return 2 * n

        def apply_async(self, args=None, kwargs=None, **options):
            options.setdefault("shadow", "mine")
            return super().apply_async(args, kwargs, **options)

    for name, value in options.items():
        setattr(Made, name, value)
    return app.register_task(Made())


class CallMixin:
    def __call__(self, *args, **kwargs):
        return 2 * super().__call__(*args, **kwargs)  # type: ignore[misc]

    def apply_async(self, args=None, kwargs=None, countdown=None):
        return super().apply_async(args, kwargs, countdown=countdown)  # type: ignore[misc]


def make_mixed(app, options):
    def run(self, n):
        return n

    made = type("Made", (CallMixin, Task), {"run": run, "name": "proj.made", **options})
    return app.register_task(made())


def make_with_flask_context(app, options):
    """The base that Flask's documentation gives to all tasks of an app."""

    class ContextTask(app.Task):  # type: ignore[name-defined]
        def __call__(self, *args, **kwargs):
            return 2 * super().__call__(*args, **kwargs)

    app.Task = ContextTask

    @app.task(name="proj.made", shared=False, **options)
    def made(n):
        return n

    return made


def make_with_options_in_its_base(app, options):
    """Of a class task that is registered and has options of its own."""

    class Base(Task):
        name = "proj.base"
        herd_avoidance_timeout = 1

        def run(self, n):
            return 2 * n

    app.register_task(Base())
    return app.register_task(type("Made", (Base,), {"name": "proj.made", **options})())


MAKES = [value for name, value in list(globals().items()) if name.startswith("make_")]


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__.removeprefix("make_"))
@pytest.mark.parametrize("late", [False, True], ids=["switched on first", "switched on last"])
def test_a_task_of_any_make_joins_serves_and_is_left_alone_again(new_app, make, late):
    app = new_app(plugin=not late)
    made = make(app, {"herd_avoidance_timeout": 60, "cache_duration": 60})
    if late:
        app.finalize()
        Jobtastic(app)
    first, second = made.delay(4), made.delay(4)
    assert first.id == second.id
    assert len(work_off(app)) == 1
    assert (first.get(), made.delay(4).get(), made.apply((4,)).get()) == (8, 8, 8)
    assert made(5) == 10
    assert made.apply((5,)).get() == 10
    assert published(app) == []
    Jobtastic().uninstall(app)
    assert not is_changed(made)
    assert made.apply((6,)).get() == 12


@pytest.mark.parametrize("make", MAKES[:-1], ids=lambda make: make.__name__.removeprefix("make_"))
def test_a_task_of_any_make_without_our_options_is_not_touched(new_app, make, monkeypatch):
    opened = []
    monkeypatch.setattr("jobtastic_signals.installation.open_store", lambda *_, **__: opened.append(1))
    app = new_app()
    made = make(app, {})
    assert not is_changed(made)
    made.delay(4)
    (message,) = published(app)
    assert "jobtastic" not in message.headers
    assert deliver(app, message).retval == 8
    assert made.apply((4,)).get() == 8
    assert opened == []
    with pytest.raises(JobtasticError, match="none of our options"):
        forget(made, 4)


def test_a_pydantic_task_shares_by_what_its_models_say(new_app):
    pydantic = pytest.importorskip("pydantic")
    app = new_app()

    class Order(pydantic.BaseModel):  # type: ignore[name-defined]
        number: int

    def made(order: Order):
        return order.number

    made.__annotations__ = {"order": Order}
    task = app.task(made, pydantic=True, name="proj.made", shared=False, herd_avoidance_timeout=60)
    if not hasattr(real(task).run, "__wrapped__"):
        pytest.skip("this Celery knows no pydantic")
    ids = {task.delay({"number": 1}).id, task.delay(order={"number": 1}).id}
    if getattr(task, "_dump_pydantic_arguments", None) is not None:
        ids.add(task.delay(Order(number=1)).id)
    assert len(ids) == 1
    assert task.delay({"number": 2}).id not in ids
    work_off(app)
    assert app.AsyncResult(ids.pop()).get() == 1


def test_options_on_a_task_whose_base_was_bound_are_found_when_the_app_is_finalized(new_app):
    """Celery annotates no class whose base was bound."""

    class Base(Task):
        name = "proj.base"

    new_app(plugin=False).register_task(Base())
    app = new_app()

    @app.task(base=Base, name="proj.made", shared=False, herd_avoidance_timeout=60)
    def made(n):
        return n

    app.finalize()
    assert made.delay(1).id == made.delay(1).id


def test_a_subclass_of_a_registered_class_without_options_is_shared_from_its_second_call_on(new_app):
    """Celery announces no class whose base it knows; the first call is the first that we see of it."""

    class Base(Task):
        name = "proj.base"

        def run(self, n):
            return n

    class Derived(Base):
        name = "proj.derived"
        herd_avoidance_timeout = 60

    app = new_app()
    app.register_task(Base())
    derived = app.register_task(Derived())
    first, second, third = (derived.delay(1) for _ in range(3))
    assert first.id != second.id == third.id
