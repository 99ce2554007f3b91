"""The page for operators, without a web framework: what it shows, and who may do what."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from jobtastic_signals.errors import JobtasticError
from jobtastic_signals.results import payload
from jobtastic_signals.stores.memory import MemoryStore
from jobtastic_signals.web import asgi, django, flask
from jobtastic_signals.web.operate.page import OperatorPage, Visit
from jobtastic_signals.web.operate.view import MOST
from tests.support.unit_apps import key_of, use_store

WORKER = "celery@web1~0f/5a"
POST = {"X-Jobtastic": "release", "Host": "site.example"}


@pytest.fixture
def app(new_app):
    app = new_app()

    @app.task(name="proj.report", shared=False, herd_avoidance_timeout=60, cache_duration=60)
    def report(customer):
        return customer

    return app


@pytest.fixture
def store(app, clock):
    return use_store(app, MemoryStore("memory://", clock=clock))


@pytest.fixture
def key(app):
    return lambda n: key_of(app.tasks["proj.report"], n)


@pytest.fixture
def ask(app, store):
    """Asks a page that all may see, and that changes what it is asked to; the answer."""
    page = OperatorPage(app, authorize=lambda request: True, may_change=lambda request: True)

    def ask(path: str = "rows.json", *, method: str = "GET", **query: str) -> SimpleNamespace:
        request = SimpleNamespace(method=method, headers=POST)
        answer = page.answer(Visit(request, path, query))
        body = json.loads(answer.body) if answer.headers["Content-Type"] == "application/json" else None
        return SimpleNamespace(status=answer.status, text=answer.body.decode(), json=body)

    return ask


def cache(app, store, key, owner="one", **options):
    store.complete(key, owner, None, payload.dumps(app, [1, 2]), **{"ttl": 60, **options})


# Who makes one

PAGES = [flask.operator_page, django.operator_page, asgi.operator_page]


@pytest.mark.parametrize("operator_page", PAGES)
def test_it_needs_authorize(app, operator_page):
    with pytest.raises(TypeError, match="authorize"):
        operator_page(app)
    with pytest.raises(TypeError, match=r"needs authorize.*everybody could"):
        operator_page(app, authorize=None)


@pytest.mark.parametrize("operator_page", PAGES)
@pytest.mark.parametrize("name", ["authorize", "may_change"])
def test_what_decides_has_to_be_a_function(app, operator_page, name):
    hooks = {"authorize": lambda request: True, name: "everybody"}
    with pytest.raises(TypeError, match=f"{name} must be a function of a request, and 'everybody' is not"):
        operator_page(app, **hooks)


@pytest.mark.parametrize("operator_page", [flask.operator_page, django.operator_page])
@pytest.mark.parametrize("name", ["authorize", "may_change"])
def test_without_await_it_has_to_be_a_plain_function(app, operator_page, name):
    async def allowed(request):
        return True

    with pytest.raises(TypeError, match=f"{name} must be a plain function"):
        operator_page(app, **{"authorize": lambda request: True, name: allowed})


def test_another_first_argument_is_refused():
    with pytest.raises(TypeError, match="must be a Celery app"):
        flask.operator_page("proj", authorize=lambda request: True)


@pytest.mark.parametrize("name", ["authorize", "may_change"])
def test_a_coroutine_is_no_permission(app, name):
    async def allowed():
        return True

    hooks: dict[str, Any] = {"authorize": lambda request: True, name: lambda request: allowed()}
    page = OperatorPage(app, **{"may_change": None, **hooks})
    with pytest.raises(TypeError, match=f"{name} returned an awaitable"):
        page.answer(Visit(SimpleNamespace(method="GET", headers={}), "rows.json", {}))


def test_who_may_not_see_it_is_not_asked_for_more(app):
    def may_change(request):
        raise AssertionError("it was asked")

    page = OperatorPage(app, authorize=lambda request: False, may_change=may_change)
    answer = page.answer(Visit(SimpleNamespace(method="GET", headers={}), "", {}))
    assert (answer.status, answer.body) == (403, b"you may not see this page\n")


def test_without_the_plugin_it_says_so(new_app):
    page = OperatorPage(new_app(plugin=False), authorize=lambda request: True, may_change=None)
    with pytest.raises(JobtasticError, match=r"the plugin is not enabled.*call Jobtastic\(app\)"):
        page.answer(Visit(SimpleNamespace(method="GET", headers={}), "", {}))


# What it shows


def test_a_run_has_all_that_is_known_and_its_progress(app, store, key, ask, clock):
    store.claim(key("acme"), "one", WORKER, 30)
    store.lookup_or_claim(key("acme"), "two", 30)
    clock.advance(12)
    app.backend.store_result(
        "one", {"progress_percent": 42.4, "time_remaining": 130, "message": "Fetching"}, "PROGRESS"
    )
    (row,) = ask().json["in_flight"]["rows"]
    assert (row["task"], row["key"], row["state"], row["owner"]) == (
        "proj.report",
        key("acme"),
        "running",
        "one",
    )
    assert (row["age"], row["lease_left"], row["waiting"], row["worker"]) == (12.0, 18.0, 1, "celery@web1")
    assert row["progress"] == {"percent": 42.4, "time_remaining": 130, "message": "Fetching"}
    shown = row["shown"]
    assert (shown["progress"], shown["message"], shown["age"]) == ("42 %, 2 min left", "Fetching", "12 s")
    text = ask("").text
    assert '<progress max="100" value="42.4"' in text
    assert "42 %, 2 min left" in text


@pytest.mark.parametrize(
    ("meta", "progress"),
    [
        ({"progress_percent": float("nan"), "time_remaining": float("inf")}, (None, None, None)),
        ({"progress_percent": "<b>", "message": {"a": 1}}, (None, None, "{'a': 1}")),
        ({"progress_percent": 5e9, "time_remaining": -1}, (100.0, None, None)),
        ({"progress_percent": True}, (None, None, None)),
    ],
)
def test_whatever_a_task_writes_as_its_progress_is_shown(app, store, key, ask, meta, progress):
    store.claim(key("acme"), "one", WORKER, 30)
    app.backend.store_result("one", meta, "PROGRESS")
    (row,) = ask().json["in_flight"]["rows"]
    assert tuple(row["progress"].values()) == progress
    assert ask("").status == 200


@pytest.mark.parametrize("meta", ["text", [1, 2], None, 7])
def test_what_is_no_progress_is_none(app, store, key, ask, meta):
    store.claim(key("acme"), "one", WORKER, 30)
    app.backend.store_result("one", meta, "PROGRESS")
    assert [row["progress"] for row in ask().json["in_flight"]["rows"]] == [None]


def test_a_result_backend_that_fails_is_asked_once_and_costs_only_the_progress(
    app, store, key, ask, monkeypatch, caplog
):
    asked = []

    def fail(task_id, **options):
        asked.append(task_id)
        raise ConnectionError("down")

    monkeypatch.setattr(type(app.backend), "get_task_meta", lambda self, *args, **options: fail(*args))
    for n in range(3):
        store.claim(key(n), f"owner {n}", WORKER, 30)
    view = ask().json
    assert len(asked) == 1
    assert [row["progress"] for row in view["in_flight"]["rows"]] == [None] * 3
    assert view["notices"] == ["The result backend does not answer, so no progress is shown."]
    assert "progress cannot be read from the result backend" in caplog.text


def test_a_store_that_fails_leaves_a_notice(app, ask, monkeypatch):
    class Broken(MemoryStore):
        def entries(self, *args, **kwargs):
            raise ConnectionError("down")

    use_store(app, Broken("memory://"))
    view = ask().json
    assert view["notices"] == ["The store does not answer, so tasks run unshared, and nothing can be shown."]
    assert "The store does not answer" in ask("").text


def test_without_the_store_nothing_is_changed(app, ask, key):
    class Broken(MemoryStore):
        def forget(self, *args, **kwargs):
            raise ConnectionError("down")

    use_store(app, Broken("memory://"))
    answer = ask("forget", method="POST", key=key("acme"))
    assert (answer.status, answer.json["error"]["code"]) == (503, "store_unavailable")


def test_the_newest_come_first(app, store, key, ask, clock):
    for n in range(3):
        store.claim(key(n), f"run {n}", WORKER, 30)
        cache(app, store, key(n + 10), f"result {n}")
        clock.advance(1)
    view = ask().json
    assert [row["owner"] for row in view["in_flight"]["rows"]] == ["run 2", "run 1", "run 0"]
    assert [row["owner"] for row in view["results"]["rows"]] == ["result 2", "result 1", "result 0"]


def test_a_table_has_an_end_and_says_how_many_are_left_out(app, store, key, ask):
    for n in range(MOST + 7):
        cache(app, store, key(n))
    view = ask().json
    assert (len(view["results"]["rows"]), view["results"]["left_out"]) == (MOST, 7)
    assert view["states"]["cached"] == MOST + 7
    assert "and 7 more" in ask("").text


def test_filters_leave_rows_out_and_numbers_of_states_stay(app, store, key, ask):
    cache(app, store, key("acme"))
    store.claim(key("other"), "two", WORKER, 30)
    cache(app, store, f"v1:elsewhere:{'0' * 40}", "three")
    view = ask(task="proj.report", state="cached").json
    assert [row["owner"] for row in view["results"]["rows"]] == ["one"]
    assert view["in_flight"]["rows"] == []
    assert view["states"] == {"running": 1, "waiting": 0, "queued": 0, "stale": 0, "cached": 1, "failed": 0}
    assert [task["name"] for task in view["tasks"]] == ["elsewhere", "proj.report"]
    text = ask("", task="proj.report", state="cached").text
    assert 'href="?task=proj.report&amp;state=running"' in text
    assert '<option value="proj.report" selected>' in text
    assert "Nothing here matches the filter." in text


def test_a_chosen_task_is_in_the_list_however_many_there_are(app, store, ask):
    for n in range(MOST + 5):
        cache(app, store, f"v1:proj.{n:03}:{'0' * 40}")
    last = f"proj.{MOST + 4:03}"
    assert len(ask().json["tasks"]) == MOST
    assert ask(task=last).json["tasks"][-1]["name"] == last


def test_a_state_that_does_not_exist_is_refused(ask):
    answer = ask(state="<script>")
    assert (answer.status, answer.json["error"]["code"]) == (400, "malformed_state")
    assert "use one of running, waiting, queued, stale, cached, failed" in answer.text


def test_numbers_of_tasks_and_what_sharing_saved(app, store, ask):
    counts = {"calls": 2000, "hits": 900, "joins": 300, "served": 34, "runs": 800, "run_seconds": 8000}
    store.count("counts:proj.report", counts, ttl=60)
    store.count("counts:proj.idle", {"store_failures": 0}, ttl=60)
    stats = ask().json["stats"]
    assert [row["task"] for row in stats["rows"]] == ["proj.report"]
    assert stats["rows"][0]["saved_seconds"] == 12340.0
    assert stats["summary"] == (
        "Sharing saved 3 h of workers' time: 1,234 of 2,000 calls needed no run of their own."
    )
    assert stats["summary"].replace("'", "&#x27;") in ask("").text
    assert ask(task="proj.other").json["stats"] == {"rows": [], "left_out": 0, "summary": ""}
    assert ask().json["forecast"] == {"rows": [], "left_out": 0, "summary": ""}


def test_what_sharing_would_save_and_which_calls_have_no_key(app, store, ask):
    observed = {"observed_calls": 50, "observed_hits": 30, "observed_runs": 20, "observed_saved_seconds": 90}
    store.count("counts:proj.report", observed, ttl=60)
    store.count("counts:proj.unkeyable", {"no_key:<b>": 7, "no_key:**": 1}, ttl=60)
    view = ask().json
    (forecast,), (unkeyable,) = view["forecast"]["rows"], view["stats"]["rows"]
    assert (forecast["task"], forecast["calls"], forecast["runs"]) == ("proj.report", 50, 20)
    assert view["forecast"]["summary"] == (
        "Sharing would have saved 90 s of workers' time: "
        "30 of 50 calls would have needed no run of their own."
    )
    assert (unkeyable["task"], unkeyable["no_key"]) == ("proj.unkeyable", {"<b>": 7, "**": 1})
    assert unkeyable["shown"]["no_key"] == "**: 1, <b>: 7"
    assert view["stats"]["summary"] == "8 calls went unshared, for want of a key."
    page = ask("").text
    assert "**: 1, &lt;b&gt;: 7" in page
    assert view["forecast"]["summary"].replace("'", "&#x27;") in page


def test_all_who_ask_within_a_second_share_what_was_read(app, store, key, ask, monkeypatch):
    read = []
    entries = MemoryStore.entries
    monkeypatch.setattr(MemoryStore, "entries", lambda self, *args: read.append(args) or entries(self, *args))
    monkeypatch.setattr("jobtastic_signals.web.operate.snapshot.FRESH_FOR", 3600.0)
    for _ in range(5):
        ask()
    assert len(read) == 1
    assert ask("forget", method="POST", key=key("acme")).json == {"done": False}
    ask()
    assert len(read) == 2


# What it changes


def test_release_frees_the_claim_that_was_shown(store, key, ask):
    store.claim(key("acme"), "one", WORKER, 30)
    wanted = {"key": key("acme"), "owner": "one", "state": "running"}
    assert ask("release", method="POST", **wanted).json == {"done": True}
    assert store.lookup(key("acme")) is None
    assert ask("release", method="POST", **wanted).json == {"done": False}


def test_a_claim_that_runs_by_now_is_not_released_as_a_queued_one(store, key, ask):
    store.lookup_or_claim(key("acme"), "one", 30)
    store.claim(key("acme"), "one", WORKER, 30)
    wanted = {"key": key("acme"), "owner": "one", "state": "queued"}
    assert ask("release", method="POST", **wanted).json == {"done": False}
    assert store.lookup(key("acme")).owner == "one"


def test_the_claim_of_another_owner_stays(store, key, ask):
    store.claim(key("acme"), "two", WORKER, 30)
    wanted = {"key": key("acme"), "owner": "one", "state": "running"}
    assert ask("release", method="POST", **wanted).json == {"done": False}
    assert store.lookup(key("acme")).owner == "two"


def test_forget_drops_the_result_and_is_logged(app, store, key, ask, caplog):
    caplog.set_level("INFO", "jobtastic_signals.web")
    cache(app, store, key("acme"))
    assert ask("forget", method="POST", key=key("acme"), owner="one\nroot").json == {"done": True}
    assert store.lookup(key("acme")) is None
    assert caplog.messages == [f"by the operator page, forget of 'one\\nroot' on {key('acme')}"]


@pytest.mark.parametrize("path", ["release", "forget"])
@pytest.mark.parametrize("wrong", ["", "outcome:5", "v1:x", "x" * 5000])
def test_what_is_no_key_is_refused(store, ask, path, wrong):
    answer = ask(path, method="POST", key=wrong, owner="one")
    assert (answer.status, answer.json["error"]["code"]) == (400, "malformed_key")


@pytest.mark.parametrize("wrong", ["", "x" * 300])
def test_what_is_no_owner_is_refused(store, key, ask, wrong):
    answer = ask("release", method="POST", key=key("acme"), owner=wrong)
    assert (answer.status, answer.json["error"]["code"]) == (400, "malformed_owner")


# Text from outside

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u202egnp\x1b[31m"


def test_hostile_text_is_escaped_wherever_it_comes_from(app, store, ask):
    key = f"v1:{HOSTILE}:{'0' * 40}"
    store.claim(key, HOSTILE, "<img>\u202e~0f/5a", 30)
    cache(app, store, key, HOSTILE)
    store.count(f"counts:{HOSTILE}", {"calls": 1}, ttl=60)
    app.backend.store_result(HOSTILE, {"progress_percent": 1, "message": HOSTILE}, "PROGRESS")
    for query in ({}, {"task": HOSTILE}):
        text = ask("", **query).text
        assert "<img" not in text
        assert "</script><" not in text
        assert "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;\\u202egnp\\x1b[31m" in text
    view = ask().json
    assert view["in_flight"]["rows"][0]["task"] == HOSTILE
    assert view["in_flight"]["rows"][0]["shown"]["worker"] == "<img>\\u202e"


def test_half_a_character_does_not_break_the_page(app, store, ask):
    assert ask("", task="\ud800").status == 200
    assert ask(task="\ud800").json["task"] == "\ud800"
