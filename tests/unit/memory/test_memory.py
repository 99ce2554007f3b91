"""What a run adds to its process is measured, and logged in words that operators know."""

from __future__ import annotations

import logging

import pytest
from celery.exceptions import Ignore

from jobtastic_signals.memory import middleware as watch
from jobtastic_signals.memory.growth import WINDOW
from tests.support.memory import MB, SEEN, warm_up, warnings_in
from tests.support.unit_apps import deliver, entry_of, key_of, published, real, store_of, work_off


def test_the_warning_has_the_lines_that_operators_of_jobtastic_look_for(leaky, log):
    task = leaky(memleak_threshold=5)
    warm_up(task, 10)
    before = len(log())
    task.apply((), {"megabytes": 10})
    assert log()[before:][:4] == [
        ("WARNING", "Jobtastic:memleak memleak_detected. memory_increase=00010 unit=MB"),
        ("INFO", "Jobtastic:memleak memory_usage_start=00130 unit=MB"),
        ("INFO", "Jobtastic:memleak memory_usage_end=00140 unit=MB"),
        ("INFO", "Jobtastic:memleak task_kwargs={'megabytes': 10}"),
    ]
    kind, peak_bytes = log()[before:][4][1].rsplit("=", 1)
    assert kind == (
        "Jobtastic:memleak kind=leak growing_runs=4 of_runs=4 trend_bytes_per_run=10000000 peak_bytes"
    )
    assert int(peak_bytes) > 10 * MB
    assert len(log()) == before + 5


def test_it_is_logged_as_celerys_tasks_log(leaky, caplog):
    task = leaky()
    warm_up(task)
    task.apply()
    logging.getLogger("jobtastic_signals")
    loggers = {record.name for record in caplog.records if "memleak" in record.getMessage()}
    assert loggers == {watch.logger.name}
    assert watch.logger.parent.name == "celery.task"


def test_growth_below_a_megabyte_is_logged_in_bytes(leaky, log):
    task = leaky(memleak_threshold=0.25)
    warm_up(task, 0.5)
    task.apply((0.5,))
    assert warnings_in(log()) == [
        "Jobtastic:memleak memleak_detected. memory_increase=00000 unit=MB memory_increase_bytes=500000"
    ]


def test_a_warm_up_is_logged_as_information(leaky, log, heard):
    task = leaky()
    task.apply((30,))
    task.apply((0,))
    assert log() == [
        (
            "INFO",
            "Jobtastic:memleak warm_up. memory_increase=00030 unit=MB memory_increase_bytes=30000000 "
            "growing_runs=1",
        )
    ]
    assert heard == []


@pytest.mark.parametrize("threshold", [-1, -0.5])
def test_a_negative_threshold_measures_nothing(leaky, log, memory_of, threshold):
    task = leaky(memleak_threshold=threshold)
    for _ in range(10):
        task.apply((500,))
    assert (log(), memory_of.asked) == ([], 0)


def test_a_task_with_other_options_alone_is_not_measured(new_app, memory_of):
    app = new_app()

    def other():
        pass

    task = real(app.task(other, name="proj.other", shared=False, cache_duration=-1))
    task.apply()
    assert memory_of.asked == 0


def test_a_threshold_of_zero_warns_of_any_growth(leaky, log):
    task = leaky(memleak_threshold=0)
    warm_up(task, 0.001)
    task.apply((0.001,))
    task.apply((0,))
    assert len(warnings_in(log())) == 1


def test_a_failed_run_is_compared_too(leaky, log):
    task = leaky()
    warm_up(task, fails=True)
    task.apply((), {"fails": True})
    assert warnings_in(log()) == [f"Jobtastic:memleak memleak_detected. {SEEN}"]


def test_a_run_as_a_worker_makes_it_is_compared_in_postrun(leaky, log, heard):
    task = leaky()
    ids = []
    for _ in range(5):
        ids.append(task.delay().id)
        work_off(task.app)
    assert len(warnings_in(log())) == 2
    assert [info["task_id"] for _, info in heard] == ids[3:]


def test_a_served_run_is_not_measured(leaky, memory_of):
    task = leaky(cache_duration=60)
    task.delay()
    work_off(task.app)
    assert memory_of.asked == 2
    task.apply_async(task_id="served")
    work_off(task.app)
    assert memory_of.asked == 2


def test_a_run_that_waits_is_not_measured(leaky, memory_of):
    task = leaky(herd_avoidance_timeout=60)
    store, key = store_of(task.app), key_of(task)
    store.claim(key, "other", "a-worker/1", 60)
    task.apply_async(task_id="waits")
    [message] = published(task.app)
    deliver(task.app, message)
    assert memory_of.asked == 0
    store.release(key, "other", "a-worker/1")
    [again] = published(task.app)
    assert again.headers["id"] == "waits"
    deliver(task.app, again)
    assert memory_of.asked == 2


def test_a_run_that_is_ignored_is_measured(new_app, memory_of, log):
    app = new_app()

    def ignored():
        memory_of.resident += 2 * MB
        raise Ignore

    task = real(app.task(ignored, name="proj.ignored", shared=False, memleak_threshold=1))
    for _ in range(4):
        task.delay()
        work_off(app)
    assert len(warnings_in(log())) == 1


def test_a_threshold_alone_shares_nothing(leaky):
    task = leaky()
    first, second = task.delay(3), task.delay(3)
    assert first.id != second.id
    assert entry_of(task, 3) is None
    assert len(work_off(task.app)) == 2
    assert entry_of(task, 3) is None
    assert store_of(task.app) is not None


def test_garbage_is_no_leak(new_app, memory_of, log):
    """A failed run leaves a traceback that holds all its variables until the collector comes."""
    app = new_app()

    def litter():
        memory_of.garbage += 50 * MB
        raise ValueError("as asked")

    task = real(app.task(litter, name="proj.litter", shared=False, memleak_threshold=1))
    for _ in range(40):
        task.apply()
    assert warnings_in(log()) == []


def test_growth_is_reported_without_the_garbage(new_app, memory_of, heard):
    app = new_app()

    def leak():
        memory_of.garbage += 50 * MB
        memory_of.resident += 2 * MB

    task = real(app.task(leak, name="proj.leak", shared=False, memleak_threshold=1))
    for _ in range(20):
        task.apply()
    assert [info["growth"] for _, info in heard] == [2 * MB] * 17


def test_nothing_is_tidied_after_runs_that_do_not_grow(leaky, memory_of):
    task = leaky()
    for _ in range(50):
        task.apply((0.5,))
        memory_of.resident -= MB // 2
    assert memory_of.tidied == 0


def test_tidying_ends_when_a_task_has_settled(leaky, memory_of):
    task = leaky()
    task.apply((30,))
    for _ in range(WINDOW + 5):
        task.apply((0,))
    settled = memory_of.tidied
    for _ in range(50):
        task.apply((0,))
    assert memory_of.tidied == settled
