"""The commands that change what is shared: forget, release and purge."""

from __future__ import annotations

import pytest

from jobtastic_signals.keys.tags import scope_of_prefix, scope_of_tag
from tests.support.unit_apps import key_of, published

from .conftest import WORKER

# forget


def test_a_result_is_forgotten_by_its_call_by_its_key_and_by_the_start_of_that(run, store, key):
    for words in (("proj.report", "acme"), ("--key", key), ("--key", key[-40:-30])):
        store.complete(key, "one", None, b"", ttl=60)
        answer = run("forget", *words)
        assert (answer.status, answer.printed) == (0, f"Forgot the result of {key}.\n")
        assert store.lookup(key) is None
    answer = run("forget", "proj.report", "acme")
    assert (answer.status, answer.errors) == (1, f"There is no result of {key}.\n")


def test_all_results_of_a_task_are_forgotten(app, run, store, key, clock):
    total = key_of(app.tasks["proj.total"], [1])
    for each in (key, total):
        store.complete(each, "one", None, b"", ttl=60)
    clock.advance(1)
    answer = run("forget", "--all", "proj.report")
    assert (answer.status, answer.printed) == (0, "Forgot all results of proj.report.\n")
    assert [row["key"] for row in run("list", "--json").json] == [total]
    assert store.lookup(key, scopes=[scope_of_prefix("proj.report")]) is None


def test_a_task_that_this_app_does_not_have_has_no_results(run, store):
    answer = run("forget", "--all", "proj.reprot")
    assert (answer.status, answer.printed, answer.errors.count("\n")) == (1, "", 1)
    assert "'proj.reprot'" in answer.errors


def test_all_results_with_a_tag_are_forgotten(run, store, key, clock):
    store.complete(key, "one", None, b"", ttl=60)
    clock.advance(1)
    answer = run("forget", "--tag", "customer:7", "--json")
    assert (answer.status, answer.json) == (0, {"tag": "customer:7", "forgotten": True})
    assert store.lookup(key, scopes=[scope_of_tag("customer:7")]) is None


# release


def test_a_claim_is_released_by_its_call_by_its_key_and_by_its_owner(run, store, key):
    for words in (
        ("proj.report", "acme"),
        ("--key", key[-40:-30]),
        ("--owner", "owner-1"),
        ("--owner", "owne"),
    ):
        store.claim(key, "owner-1", WORKER, 30)
        answer = run("release", *words)
        assert (answer.status, answer.errors) == (0, "")
        assert answer.printed == f"Released the running claim of owner-1 on {key}.\n"
        assert store.lookup(key) is None
    answer = run("release", "proj.report", "acme")
    assert (answer.status, answer.printed, answer.errors) == (1, "", f"There is no claim on {key}.\n")


def test_the_claim_behind_a_running_one_is_released_by_its_owner_alone(run, store, key):
    store.claim(key, "first", WORKER, 30)
    store.lookup_or_claim(key, "second", 30, rerun=True)
    released = {"key": key, "owner": "second", "state": "waiting"}
    assert run("release", "--owner", "second", "--json").json == {"released": [released]}
    assert [row["owner"] for row in run("list", "--json").json] == ["first"]


def test_an_owner_that_stands_for_several_is_refused(app, run, store, key):
    store.claim(key, "owner-1", WORKER, 30)
    store.claim(key_of(app.tasks["proj.report"], "umbrella"), "owner-12", WORKER, 30)
    answer = run("release", "--owner", "owner")
    assert (answer.status, answer.errors) == (2, "2 task ids begin with owner. Give more of it.\n")
    # Too little of it is nobody's.
    assert run("release", "--owner", "own").status == 1
    assert len(run("list", "--json").json) == 2
    # The whole of one may be the start of another.
    assert run("release", "--owner", "owner-1").status == 0
    assert [row["owner"] for row in run("list", "--json").json] == ["owner-12"]


# purge


def test_messages_are_deleted_and_their_claims_freed(app, run, store):
    report = app.tasks["proj.report"]
    report.delay("acme")
    report.delay("umbrella")
    app.tasks["proj.plain"].delay()
    store.claim(key_of(report, "initech"), "one", WORKER, 30)
    elsewhere = f"v1:other.report:{'0' * 40}"
    store.lookup_or_claim(elsewhere, "two", 30)
    answer = run("purge", "--force")
    queue = app.conf.task_default_queue
    assert (answer.status, answer.errors) == (0, "")
    assert answer.printed == f"Deleted 3 messages of {queue}, and freed 2 claims.\n"
    assert published(app) == []
    # The claim of a run stays, and so does that of a task of another app.
    assert {row["owner"] for row in run("list", "--json").json} == {"one", "two"}


def test_only_the_queues_that_are_named_are_purged(app, run, store):
    app.tasks["proj.report"].apply_async(("acme",), queue="other")
    answer = run("purge", "--force", "--json", app.conf.task_default_queue)
    assert answer.json["messages"] == 0
    assert run("purge", "-f", "other", "--json").json == {"queues": ["other"], "messages": 1, "freed": 0}


def test_a_claim_that_is_made_during_the_purge_stays(app, run, store, key, monkeypatch):
    from jobtastic_signals.cli.operate import dropping

    def purge(site, queues):
        store.lookup_or_claim(key, "late", 30)
        return 0

    monkeypatch.setattr(dropping, "_purge", purge)
    assert run("purge", "--force", "--json").json["freed"] == 0
    assert store.lookup(key).owner == "late"


def test_without_a_broker_nothing_is_freed(app, run, store, key, down):
    app.conf.broker_url = down.replace("//", "//:hunter2@")
    store.lookup_or_claim(key, "one", 30)
    answer = run("purge", "--force")
    assert (answer.status, answer.printed, answer.errors.count("\n")) == (1, "", 1)
    assert answer.errors.startswith("The broker redis://**@127.0.0.1:")
    assert "hunter2" not in answer.errors
    assert store.lookup(key).owner == "one"


# Wrong usage


@pytest.mark.parametrize(
    "words",
    [
        ("forget",),
        ("forget", "proj.report", "acme", "--tag", "x"),
        ("forget", "--all", "x", "--tag", "x"),
        ("release",),
        ("release", "proj.report", "--owner", "x"),
        ("release", "--key", "no key"),
    ],
    ids=" ".join,
)
def test_what_is_meant_has_to_be_clear(run, store, words):
    answer = run(*words)
    assert (answer.status, answer.printed, answer.errors.count("\n")) == (2, "", 1)
