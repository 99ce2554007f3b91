"""The plugin comes on in every way and order, leaves what users had, and goes without a trace."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task, shared_task, signals

from jobtastic_signals import Jobtastic, Middleware
from jobtastic_signals.installation import installation_on
from jobtastic_signals.settings import Settings
from tests.support.unit_apps import entry_of, is_changed, key_of, published, real, store_of

PLUGIN = "jobtastic_signals:Jobtastic"
HERD: dict[str, Any] = {"herd_avoidance_timeout": 60}


def add_task(app: Celery, name: str = "proj.double", **options: Any) -> Task:
    @app.task(name=name, shared=False, **options)
    def double(n):
        return 2 * n

    return double


def joins(task: Task) -> bool:
    return task.delay(1).id == task.delay(1).id


def receivers() -> int:
    """How many receivers of ours are connected, to any signal of Celery."""
    every = [signal for signal in vars(signals).values() if hasattr(signal, "receivers")]
    found = [receiver for signal in every for _, receiver in signal.receivers or ()]
    return sum(getattr(receiver, "__module__", "").startswith("jobtastic_signals") for receiver in found)


# Switching on.


WAYS = {
    "Jobtastic(app)": Jobtastic,
    "init_app": lambda app: Jobtastic().init_app(app),
    "a setting with a list": lambda app: app.conf.update(task_annotations=[PLUGIN, {}]),
    "a setting with the name alone": lambda app: app.conf.update(task_annotations=PLUGIN),
    "a setting with an object": lambda app: app.conf.update(task_annotations=[Jobtastic()]),
    "a configuration object": lambda app: app.config_from_object(SimpleNamespace(task_annotations=[PLUGIN])),
    "Django's settings": lambda app: app.config_from_object(
        SimpleNamespace(CELERY_TASK_ANNOTATIONS=[PLUGIN], DEBUG=True), namespace="CELERY"
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_each_way_switches_it_on(new_app, way):
    app = new_app(plugin=False)
    way(app)
    double, plain = add_task(app, **HERD), add_task(app, "proj.plain")
    app.finalize()
    assert joins(double)
    assert not joins(plain)


@pytest.mark.parametrize("other", [object(), "proj", None, Celery])
def test_what_is_no_celery_app_is_refused(other):
    with pytest.raises(TypeError, match=r"the plugin is enabled on a Celery app, and .* is of type"):
        Jobtastic().init_app(other)


def test_without_it_nothing_changes(new_app):
    app = new_app(plugin=False)
    double = add_task(app, **HERD)
    assert not joins(double)
    assert not is_changed(double)


def test_one_object_serves_two_apps(new_app):
    one, two = new_app(plugin=False), new_app(plugin=False)
    jobtastic = Jobtastic(one)
    jobtastic.init_app(two)
    first, second = add_task(one, **HERD), add_task(two, **HERD)
    assert joins(first)
    assert joins(second)
    assert store_of(one) is not store_of(two)


def test_settings_in_the_namespace_of_django_are_read(new_app):
    app = new_app(plugin=False)
    app._preconf.pop("jobtastic_store")
    app.config_from_object(
        SimpleNamespace(
            CELERY_TASK_ANNOTATIONS=[PLUGIN, {"proj.double": HERD}],
            CELERY_JOBTASTIC_STORE="memory://",
            CELERY_JOBTASTIC_NAMESPACE="release-7",
        ),
        namespace="CELERY",
    )
    double = add_task(app)
    app.finalize()
    assert is_changed(double)
    assert store_of(app).url == "memory://"
    assert Settings.read(app).namespace == "release-7"


def install(app: Celery, done: dict[str, Any]) -> None:
    Jobtastic(app)


def configure(app: Celery, done: dict[str, Any]) -> None:
    annotations = {"proj.double": {"rate_limit": "7/s"}}
    app.config_from_object(SimpleNamespace(jobtastic_namespace="late", task_annotations=annotations))


def define(app: Celery, done: dict[str, Any]) -> None:
    done["task"] = add_task(app, **HERD)


def bind(app: Celery, done: dict[str, Any]) -> None:
    """As any look at an attribute of the task does; it needs the task."""
    if "task" in done:
        assert done["task"].name


def finalize(app: Celery, done: dict[str, Any]) -> None:
    app.finalize()


@pytest.mark.parametrize(
    "steps",
    list(permutations([install, configure, define, bind, finalize])),
    ids=lambda steps: "-".join(step.__name__ for step in steps),
)
def test_the_order_of_installing_configuring_defining_and_finalizing_does_not_matter(new_app, steps):
    """What Celery itself makes of annotations that come late is no worse with the plugin."""
    app, without = new_app(plugin=False), new_app(plugin=False)
    done, as_celery = {}, {}
    for step in steps:
        step(app, done)
        if step is not install:
            step(without, as_celery)
    assert joins(done["task"])
    assert Settings.read(app).namespace == "late"
    if as_celery["task"].rate_limit is not None:
        assert done["task"].rate_limit == "7/s"


@pytest.mark.parametrize(
    "steps",
    list(permutations([define, finalize, bind])),
    ids=lambda steps: "-".join(s.__name__ for s in steps),
)
@pytest.mark.parametrize(
    "annotations",
    [
        [PLUGIN, {"proj.double": HERD}],
        [{"proj.double": HERD}, PLUGIN],
        [PLUGIN, {"*": HERD}],
        [{"*": HERD}, PLUGIN],
        [PLUGIN, {"proj.double": {"rate_limit": "1/s"}}, {"*": HERD}],
        [{"proj.double": {"rate_limit": "1/s"}}, PLUGIN, {"*": HERD}],
        [{"proj.double": HERD}, PLUGIN, {"*": {"rate_limit": "1/s"}}],
        [{"proj.double": HERD, "*": {"rate_limit": "1/s"}}, PLUGIN],
    ],
    ids=str,
)
def test_named_in_the_setting_it_reads_the_users_annotations_before_and_after_it(new_app, annotations, steps):
    app = new_app(plugin=False, task_annotations=annotations)
    done = {}
    for step in steps:
        step(app, done)
    assert joins(done["task"])
    if "rate_limit" in str(annotations):
        assert done["task"].rate_limit == "1/s"


@pytest.mark.parametrize("again", [Jobtastic, lambda app: Jobtastic().init_app(app), Celery.finalize])
def test_switching_it_on_twice_is_switching_it_on_once(new_app, again):
    app = new_app(task_annotations=[PLUGIN])
    double = real(add_task(app, **HERD))
    before, connected, installation = dict(vars(type(double))), receivers(), installation_on(app)
    again(app)
    assert dict(vars(type(double))) == before
    assert receivers() == connected
    assert installation_on(app) is installation


# Switching off.


class ReadyMade(Task):
    name = "proj.ready_made"
    herd_avoidance_timeout = 60

    def run(self, n):
        return n

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)

    def apply_async(self, *args, **kwargs):
        return super().apply_async(*args, **kwargs)


def test_switched_off_it_leaves_each_class_exactly_as_it_was(new_app):
    app = new_app(plugin=False)
    tasks = [real(add_task(app, **HERD)), real(add_task(app, "proj.plain")), app.register_task(ReadyMade())]
    before = [dict(vars(type(task))) for task in tasks]
    jobtastic = Jobtastic(app)
    assert [is_changed(task) for task in tasks] == [True, False, True]
    jobtastic.uninstall(app)
    assert [dict(vars(type(task))) for task in tasks] == before
    assert installation_on(app) is None
    assert not joins(tasks[0])


def test_the_last_app_takes_the_receivers_with_it(new_app):
    assert receivers() == 0
    one, two = new_app(), new_app()
    connected = receivers()
    assert connected > 0
    Jobtastic().uninstall(one)
    assert receivers() == connected
    Jobtastic().uninstall(two)
    assert receivers() == 0


@pytest.mark.parametrize(
    "annotations",
    [[PLUGIN, {"*": HERD}], [PLUGIN, {"proj.double": HERD}], [{"proj.double": {}}, PLUGIN, {"*": HERD}]],
    ids=str,
)
@pytest.mark.parametrize("before", [True, False], ids=["was on", "never came on"])
def test_switched_off_it_stays_off_whatever_the_configuration_names(new_app, annotations, before):
    """The user's own annotations go on working, also those that stand after it."""
    app = new_app(plugin=before, task_annotations=annotations)
    jobtastic = Jobtastic()
    jobtastic.uninstall(app)
    double = add_task(app)
    app.finalize()
    assert double.herd_avoidance_timeout == 60
    assert not is_changed(double)
    assert not joins(double)
    assert installation_on(app) is None
    jobtastic.init_app(app)
    assert joins(double)


def test_switching_off_what_is_not_on_does_nothing(new_app):
    app, other = new_app(plugin=False), new_app()
    Jobtastic().uninstall(app)
    assert joins(add_task(other, **HERD))


def test_it_can_be_switched_on_again(new_app):
    app = new_app()
    double = add_task(app, **HERD)
    assert joins(double)
    Jobtastic().uninstall(app)
    assert not joins(double)
    Jobtastic(app)
    assert joins(double)


def test_a_middleware_of_the_user_comes_with_the_setting_too(new_app):
    class Mine(Middleware):
        pass

    mine = Mine()
    app = new_app(plugin=False, task_annotations=[Jobtastic(middleware=[mine])])
    app.finalize()
    assert mine in installation_on(app).stack


# What users had before.


def counting(calls: list[str]) -> Any:
    """For the setting's ``@`` annotations: wraps a method."""

    def around(method):
        def wrapper(*args, **kwargs):
            calls.append(method.__name__)
            return method(*args, **kwargs)

        return wrapper

    return around


class ByObject:
    def annotate(self, task):
        return {"rate_limit": "1/s"} if task.name == "proj.double" else None

    def annotate_any(self):
        return {"acks_late": True}


class ForAll:
    def annotate_any(self):
        return {"rate_limit": "2/s"}


@pytest.mark.parametrize("options", [{"cache_duration": 60}, {}], ids=["with our options", "without"])
@pytest.mark.parametrize(
    "annotations",
    [
        lambda calls: {"proj.double": {"rate_limit": "1/s"}},
        lambda calls: {"*": {"rate_limit": "1/s", "acks_late": True}},
        lambda calls: {"proj.double": {"rate_limit": "1/s"}, "*": {"rate_limit": "2/s"}},
        lambda calls: [{"proj.double": {"rate_limit": "1/s"}}, {"proj.double": {"acks_late": True}}],
        lambda calls: {"proj.double": {"@__call__": counting(calls)}},
        lambda calls: {"*": {"@__call__": counting(calls)}},
        lambda calls: {"proj.double": {"@apply_async": counting(calls)}},
        lambda calls: {"*": {"@on_success": counting(calls)}},
        lambda calls: {name: {"@on_success": counting(calls)} for name in ("proj.double", "*")},
        lambda calls: [ByObject()],
        lambda calls: [ForAll(), {"proj.double": {"acks_late": True}}],
        lambda calls: [{"*": {"rate_limit": "3/s"}}, ForAll()],
    ],
)
@pytest.mark.parametrize("place", [None, 0, 1], ids=["Jobtastic(app)", "named first", "named last"])
@pytest.mark.parametrize("bound_first", [True, False])
def test_annotations_of_the_user_do_what_they_did(new_app, options, annotations, place, bound_first):
    def observe(with_plugin: bool) -> list[Any]:
        calls: list[str] = []
        setting = annotations(calls)
        if with_plugin and place is not None:
            setting = setting if isinstance(setting, list) else [setting]
            setting = [PLUGIN, *setting] if place == 0 else [*setting, PLUGIN]
        app = new_app(plugin=with_plugin and place is None, task_annotations=setting)
        double = add_task(app, **options)
        assert not bound_first or double.name
        app.finalize()
        assert is_changed(double) is bool(with_plugin and options)
        ended = double.apply((21,)).get()
        double.delay(22)
        return [ended, double.rate_limit, double.acks_late, calls, len(published(app))]

    assert observe(with_plugin=True) == observe(with_plugin=False)


def test_options_for_tasks_of_others_come_from_annotations_alone(new_app):
    @shared_task(name="library.fetch")
    def fetch(n):
        return n

    app = new_app(task_annotations={"library.fetch": HERD})
    assert joins(app.tasks["library.fetch"])


def test_a_deployment_overrides_an_option(new_app):
    app = new_app(task_annotations={"proj.double": {"cache_prefix": "here"}})
    double = add_task(app, cache_prefix="everywhere", **HERD)
    assert key_of(double, 1).startswith("v1:here:")


def test_a_served_value_does_not_pass_what_users_put_around_the_body(new_app):
    calls = []
    app = new_app(task_annotations={"proj.double": {"@__call__": counting(calls)}})
    double = add_task(app, cache_duration=60)
    assert [double.apply((1,)).get(), double.apply((1,)).get()] == [2, 2]
    assert calls == ["__call__"]


# More than one app in a process.


def test_apps_with_and_without_it_do_not_mix(new_app):
    on, off = new_app(), new_app(plugin=False)
    ours, theirs = add_task(on, **HERD), add_task(off, **HERD)
    assert joins(ours)
    assert not joins(theirs)
    theirs.apply((1,))
    assert not is_changed(theirs)
    assert entry_of(ours, 1).owner in {message.headers["id"] for message in published(on)}
    assert all("jobtastic" not in message.headers for message in published(off))


def test_apps_with_it_have_each_their_own_store_and_options(new_app):
    one, two = new_app(), new_app(task_annotations={"proj.double": {"cache_prefix": "two"}})
    first, second = add_task(one, **HERD), add_task(two, **HERD)
    assert first.delay(1).id != second.delay(1).id
    assert joins(first)
    assert joins(second)
    assert (key_of(first, 1)[:15], key_of(second, 1)[:7]) == ("v1:proj.double:", "v1:two:")
    Jobtastic().uninstall(one)
    assert not joins(first)
    assert joins(second)


def test_a_shared_task_is_shared_by_each_app_for_itself(new_app):
    @shared_task(name="library.fetch", **HERD)
    def fetch(n):
        return n

    one, two, off = new_app(), new_app(), new_app(plugin=False)
    tasks = [app.tasks["library.fetch"] for app in (one, two, off)]
    assert [joins(task) for task in tasks] == [True, True, False]
    assert tasks[0].delay(1).id != tasks[1].delay(1).id


def test_a_class_registered_with_two_apps_keeps_it_until_both_have_switched_off(new_app):
    """Celery lets the class, and so all of its tasks, be of the app that came last."""

    class Both(Task):
        name = "proj.both"
        herd_avoidance_timeout = 60

        def run(self, n):
            return n

    before = set(vars(Both))
    one, two = new_app(), new_app()
    one.register_task(Both())
    task = two.register_task(Both())
    assert joins(task)
    Jobtastic().uninstall(one)
    assert joins(task)
    Jobtastic().uninstall(two)
    assert not joins(task)
    assert not ({"apply_async", "__call__"} - before) & set(vars(Both))
