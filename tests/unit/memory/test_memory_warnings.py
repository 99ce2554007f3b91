"""What a warning about a leak says, and about which run if runs overlap."""

from __future__ import annotations

import threading

import pytest

from jobtastic_signals import SettingError, events
from jobtastic_signals.memory import middleware as watch
from jobtastic_signals.memory.growth import WINDOW
from tests.support import unit_apps
from tests.support.memory import MB, SEEN, Secret, warm_up, warnings_in
from tests.support.unit_apps import real

# What was asked for.


def test_arguments_are_shown_by_name_however_they_were_given(leaky, log):
    task = leaky()
    warm_up(task)
    task.apply((2,), {"user": "ada"})
    assert ("INFO", "Jobtastic:memleak task_kwargs={'megabytes': 2, 'user': 'ada'}") in log()


@pytest.mark.parametrize(
    ("redact", "shown"),
    [
        (["password"], "{'megabytes': 2, 'password': '[redacted]', 'user': 'ada'}"),
        (
            ("megabytes", "user"),
            "{'megabytes': '[redacted]', 'password': '[redacted]', 'user': '[redacted]'}",
        ),
        (["more"], "{'megabytes': 2, 'password': '[redacted]', 'user': '[redacted]'}"),
        (True, "{'megabytes': '[redacted]', 'password': '[redacted]', 'user': '[redacted]'}"),
        (False, "{'megabytes': 2, 'password': 'x', 'user': 'ada'}"),
        ([], "{'megabytes': 2, 'password': '[redacted]', 'user': 'ada'}"),
        (None, "{'megabytes': 2, 'password': '[redacted]', 'user': 'ada'}"),
    ],
)
def test_values_can_be_redacted(leaky, log, heard, redact, shown):
    task = leaky(conf={} if redact is None else {"jobtastic_memleak_redact": redact})
    warm_up(task)
    task.apply((2,), {"password": "x", "user": "ada"})
    assert ("INFO", f"Jobtastic:memleak task_kwargs={shown}") in log()
    assert repr(heard[0][1]["task_kwargs"]) == shown


def test_arguments_that_do_not_fit_are_redacted_too(leaky, log, memory_of):
    """Nobody can say which value is the password."""
    task = leaky(conf={"jobtastic_memleak_redact": ["megabytes"]})
    run = watch.Run(task, None, "some-id", (1, 2, "secret"), {"megabytes": "secret"})  # type: ignore[arg-type, attr-defined]
    assert watch._arguments(run, frozenset(["megabytes"])) == {"megabytes": "[redacted]"}


@pytest.mark.parametrize("value", ["password", 1, [1], 1.5])
def test_a_wrong_setting_is_an_error(new_app, value):
    with pytest.raises(SettingError, match=r"jobtastic_memleak_redact=.*\['iban'\], True"):
        assert unit_apps.installation_on(new_app(jobtastic_memleak_redact=value)).settings


def test_an_argument_that_cannot_be_shown_harms_nothing(leaky, log):
    task = leaky()
    warm_up(task)
    assert task.apply((2,), {"key": Secret()}).get() == 2
    assert len(warnings_in(log())) == 1
    shown = next(text for _, text in log() if "task_kwargs" in text)
    assert "key" in shown
    assert "Secret" in shown


def test_large_arguments_are_cut(leaky, log):
    task = leaky()
    warm_up(task)
    task.apply((2,), {"text": "x" * 100_000, "numbers": list(range(100_000))})
    assert len(next(text for _, text in log() if "task_kwargs" in text)) < 2000


# The event.


def test_the_event_has_all_that_is_known(leaky, heard):
    task = leaky()
    warm_up(task)
    result = task.apply((3,))
    [(sender, info)] = heard
    assert sender is task
    assert info.pop("peak") > 10 * MB
    assert info == {
        "key": None,  # It shares nothing.
        "task_id": result.id,
        "task_kwargs": {"megabytes": 3},
        "growth": 3 * MB,
        "start": 106 * MB,
        "end": 109 * MB,
        "leak": True,
        "trend": pytest.approx(2 * MB, abs=MB),
        "growing": 4,
        "runs": 4,
        "attributed": True,
    }


def test_a_single_jump_of_a_settled_task_is_warned_about_as_no_leak(leaky, log, heard):
    task = leaky()
    for _ in range(WINDOW):
        task.apply((0,))
    task.apply((500,))
    assert warnings_in(log()) == ["Jobtastic:memleak memleak_detected. memory_increase=00500 unit=MB"]
    assert [(info["leak"], info["growing"], info["trend"]) for _, info in heard] == [(False, 1, 0)]


def test_a_receiver_that_raises_harms_nothing(leaky, log):
    def fail(task, **info):
        raise RuntimeError("in a receiver")

    task = leaky()
    warm_up(task)
    with events.memory_leak_detected.connected_to(fail):
        assert task.apply().get() == 2
    assert len(warnings_in(log())) == 1


# Runs side by side.


def test_growth_is_not_attributed_where_runs_overlap(new_app, memory_of, heard, log):
    app = new_app()
    both, go = threading.Barrier(2), threading.Event()

    def long():
        both.wait(10)
        go.wait(10)
        memory_of.resident += 2 * MB

    def short():
        both.wait(10)
        memory_of.resident += 2 * MB

    slow = real(app.task(long, name="proj.long", shared=False, memleak_threshold=1))
    fast = real(app.task(short, name="proj.short", shared=False, memleak_threshold=1))
    for _ in range(4):
        go.clear()
        thread = threading.Thread(target=lambda: (fast.apply(), go.set()))
        thread.start()
        slow.apply()
        thread.join(10)
    assert {task.name: info["attributed"] for task, info in heard} == {
        "proj.long": False,
        "proj.short": False,
    }
    assert warnings_in(log()) == [
        f"Jobtastic:memleak memleak_detected. {SEEN}. {watch.UNATTRIBUTED}",
        f"Jobtastic:memleak memleak_detected. memory_increase=00004 unit=MB. {watch.UNATTRIBUTED}",
    ]


def test_growth_in_another_thread_than_the_main_one_is_not_attributed(leaky, heard):
    """What else goes on there cannot be seen: runs of tasks without the option, requests to a web server."""
    task = leaky()
    warm_up(task)
    thread = threading.Thread(target=task.apply)
    thread.start()
    thread.join(10)
    task.apply()
    assert [info["attributed"] for _, info in heard] == [False, True]


def test_a_run_within_a_run_is_a_part_of_it(leaky, heard):
    inner = leaky()
    app = inner.app

    def around():
        inner.apply()

    outer = real(app.task(around, name="proj.outer", shared=False, memleak_threshold=1))
    for _ in range(4):
        outer.apply()
    assert [(task.name, info["growth"], info["attributed"]) for task, info in heard] == [
        ("proj.leak", 2 * MB, True),
        ("proj.outer", 2 * MB, True),
    ]


def test_each_task_counts_by_itself(new_app, memory_of, heard):
    app = new_app()

    def grow():
        memory_of.resident += 2 * MB

    def stay():
        pass

    tasks = [
        real(app.task(body, name=f"proj.{body.__name__}s", shared=False, memleak_threshold=1))
        for body in (grow, stay)
    ]
    for _ in range(10):
        for task in tasks:
            task.apply()
    assert {task.name for task, _ in heard} == {"proj.grows"}
    assert len(heard) == 7


def test_a_large_result_that_is_given_back_is_no_leak_though_another_task_leaks(new_app, memory_of, heard):
    """The memory never falls back, but what is left at the start of the next run is not the former's."""
    app = new_app()

    def returns():
        memory_of.resident += 50 * MB

    def grow():
        memory_of.resident += 2 * MB

    large = real(app.task(returns, name="proj.large", shared=False, memleak_threshold=1))
    grows = real(app.task(grow, name="proj.grows", shared=False, memleak_threshold=1))
    for _ in range(20):
        large.apply()
        memory_of.resident -= 50 * MB
        grows.apply()
    assert {task.name for task, _ in heard} == {"proj.grows"}


def test_a_forked_process_begins_anew(leaky, monkeypatch):
    task = leaky()
    warm_up(task)
    [middleware] = [
        each for each in unit_apps.installation_on(task.app).stack if isinstance(each, watch.MemoryWatch)
    ]
    before = middleware._process
    before.lock.acquire()
    monkeypatch.setattr(watch.os, "getpid", lambda: -1)  # type: ignore[attr-defined]
    try:
        task.apply()
    finally:
        before.lock.release()
    assert middleware._process is not before
    assert middleware._process.tasks.keys() == {"proj.leak"}
    assert middleware._process.tasks["proj.leak"].growth._runs == 1
