"""Watching runs that are found in the store, instead of ids that are given."""

from __future__ import annotations

import pytest

from jobtastic_signals.cli.common import CommandError
from jobtastic_signals.cli.operate.site import Site
from jobtastic_signals.cli.watch import loop
from jobtastic_signals.cli.watch.base import Sight, View
from tests.support.unit_apps import key_of

from .conftest import WORKER


class Record(View):
    """Keeps what it is to show, without repetitions."""

    def __init__(self):
        self.seen = []

    def _note(self, *what):
        if what not in self.seen:
            self.seen.append(what)

    def add(self, sight):
        self._note("add", sight.name)

    def show(self, sight):
        self._note("show", sight.task_id, sight.state)

    def drop(self, sight):
        self._note("drop", sight.task_id, sight.state)

    def give_up(self, sight, seconds):
        self._note("give up", sight.task_id)

    def say(self, notice):
        self._note("say", notice)


class Steps:
    """What is found at each search, after something has happened; the last one is the end."""

    def __init__(self, monkeypatch, *steps):
        self._steps = list(steps)
        self.is_over = False
        monkeypatch.setattr(loop, "_until", lambda start, timeout: 0 if self.is_over else 1)
        monkeypatch.setattr(loop, "_LEAST_BETWEEN_SEARCHES", 0)

    def __call__(self):
        happens, found = self._steps.pop(0)
        self.is_over = not self._steps
        happens()
        if isinstance(found, Exception):
            raise found
        return found


def nothing():
    pass


@pytest.fixture
def store_result(app):
    return lambda task_id, value, state: lambda: app.backend.store_result(task_id, value, state)


def watch(app, steps, *ids):
    view = Record()
    return loop.watch_tasks(app, ids, view, interval=0, timeout=1, found=steps), view.seen


def test_runs_appear_by_themselves_and_end(app, store_result, monkeypatch):
    steps = Steps(
        monkeypatch,
        (nothing, {}),
        (nothing, {"one": "proj.report"}),
        (
            store_result("one", {"progress_percent": 1}, "PROGRESS"),
            {"one": "proj.report", "two": "proj.total"},
        ),
        # The end is known before the claim is gone.
        (store_result("one", 1, "SUCCESS"), {"one": "proj.report", "two": "proj.total"}),
        (store_result("two", 1, "SUCCESS"), {}),
        (nothing, {}),
    )
    assert watch(app, steps) == (
        0,
        [
            ("add", "proj.report  one"),
            ("show", "one", "PENDING"),
            ("add", "proj.total  two"),
            ("show", "one", "PROGRESS"),
            ("show", "two", "PENDING"),
            ("show", "one", "SUCCESS"),
            ("show", "two", "SUCCESS"),
        ],
    )


def test_a_run_whose_end_is_not_known_is_dropped_and_may_come_again(app, store_result, monkeypatch):
    steps = Steps(
        monkeypatch,
        (nothing, {"one": "proj.report"}),
        (store_result("one", ValueError(), "RETRY"), {}),
        (nothing, {"one": "proj.report"}),
        (store_result("one", ValueError(), "FAILURE"), {}),
    )
    status, seen = watch(app, steps)
    assert status == 1
    assert seen[1:] == [
        ("show", "one", "PENDING"),
        ("drop", "one", "RETRY"),
        ("show", "one", "RETRY"),
        ("show", "one", "FAILURE"),
    ]


def test_a_run_that_goes_on_in_the_end_is_no_failure_and_an_id_that_was_given_is(app, monkeypatch):
    assert watch(app, Steps(monkeypatch, (nothing, {"one": "proj.report"})))[0] == 0
    status, seen = watch(app, Steps(monkeypatch, (nothing, {"one": "proj.report"})), "two")
    assert (status, seen[-1]) == (2, ("give up", "two"))


def test_a_store_that_does_not_answer_is_mentioned_once_and_asked_again(app, monkeypatch):
    failed = CommandError("The store does not answer.")
    known = {"one": "proj.report"}
    steps = Steps(monkeypatch, (nothing, known), (nothing, failed), (nothing, failed), (nothing, known))
    assert watch(app, steps)[1][2:] == [
        ("say", "The store does not answer."),
        ("say", "The store answers again."),
    ]


def test_the_runs_of_an_app_are_found_all_or_those_of_some_tasks(app, store, key):
    store.claim(key, "one", WORKER, 30)
    store.claim(key_of(app.tasks["proj.total"], [1]), "two", WORKER, 30)
    store.lookup_or_claim(key_of(app.tasks["proj.total"], [2]), "three", 30)
    site = Site(app)
    assert site.runs() == {"one": "proj.report", "two": "proj.total"}
    assert site.runs(["proj.total"]) == {"two": "proj.total"}


def test_bars_of_runs_come_and_go_with_names_that_tell_them_apart():
    pytest.importorskip("rich", reason="it needs the extra 'cli'")
    from jobtastic_signals.cli.watch.live import LiveView

    ids = ["7c9e6679-7425-40de-944b-e07fc1f90ae7", "7c9e6679-8888-40de-944b-e07fc1f90ae7"]
    with LiveView(no_color=True) as view:

        def names():
            return [task.description for task in view._progress.tasks]

        view.add(Sight(ids[0], "", task="proj.report"))
        assert names() == ["proj.report  7c9e6679"]
        view.add(Sight(ids[1], "", task="proj.tasks.reports.yearly_summary"))
        first, second = names()
        assert first == "proj.report  7c9e6679-7"
        assert second.startswith("…")
        assert second.endswith("summary  7c9e6679-8")
        view.drop(Sight(ids[0], "RETRY", task="proj.report"))
        view.show(Sight(ids[1], "SUCCESS", outcome="1", final=True, task="proj.report"))
        assert names() == []
        view.add(Sight(ids[0], "", task="proj.report"))
        assert names() == ["proj.report  7c9e6679"]
