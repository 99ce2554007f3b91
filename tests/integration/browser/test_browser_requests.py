"""When the element asks, how often, and what it does when there is no answer."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from tests.support.rare import mainly, rare
from tests.support.servers import wait_until
from tests.support.web.browser import ELEMENT, new_id, progress
from tests.support.web.servers import serve


@pytest.fixture(scope="module", params=[rare("flask"), "asgi"])
def each_site(request, open_site):
    return open_site(request.param, authorize="everybody")


@pytest.fixture(scope="module")
def site(open_site):
    return open_site("asgi", authorize="everybody")


def quiet(page, *, seconds=1.0):
    """Whether no request is made for *seconds*, which are many intervals."""
    before = len(page.requests("/task/"))
    page.driver.execute_async_script(f"setTimeout(arguments[0], {1000 * seconds})")
    return len(page.requests("/task/")) == before


def slow_down(page, *, milliseconds):
    """Make each request of the tab take so long."""
    conditions = {"latency": milliseconds, "downloadThroughput": -1, "uploadThroughput": -1}
    page.cdp("Network.enable")
    page.cdp("Network.emulateNetworkConditions", offline=False, **conditions)


def pauses(page):
    return [later - earlier for earlier, later in itertools.pairwise(page.requests())]


def test_a_server_that_fails_three_times_is_asked_again_until_it_recovers(each_site, page):
    site, task_id = each_site, new_id()
    site.store(task_id, progress(42, message="Fetching"), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(percent="42%")
    site.fail(f"{task_id}/status", times=3)
    # It still shows what it knows.
    page.shows(state="progress", percent="42%", message="Fetching", foot="Connection lost, trying again")
    page.shows(state="progress", percent="42%", foot="")
    lost = page.told("error")
    assert [event["detail"] for event in lost] == [{"status": 500, "retrying": True}] * 3
    site.app.backend.mark_as_done(task_id, None)
    page.shows(state="success")
    assert len(page.told("error")) == 3


@pytest.mark.thorough
def test_it_waits_longer_after_each_failed_request(site, page):
    task_id = new_id()
    site.fail(f"{task_id}/status", times=3)
    page.open(f"{site.url}/page/{task_id}")
    page.shows(state="waiting", foot="Connection lost, trying again")
    page.shows(status="PENDING", foot="")
    # 1, 2 and 4 seconds, from which each element departs by up to a quarter.
    first, second, third = pauses(page)[:3]
    assert first >= 750
    assert second >= 1500
    assert third >= 3000


def test_a_server_that_is_gone_is_looked_for(celery_conf, tmp_path, page):
    task_id = new_id()
    with serve("flask", celery_conf(), tmp_path, authorize="everybody") as site:
        site.store(task_id, progress(42), "PROGRESS")
        page.open(f"{site.url}/page/{task_id}?interval=100")
        page.shows(percent="42%")
    page.shows(percent="42%", foot="Connection lost, trying again")
    wait_until(lambda: len(page.told("error")) == 2, what="another try")
    assert page.told("error")[1]["detail"] == {"status": 0, "retrying": True}


@pytest.mark.thorough
def test_a_server_that_does_not_answer_is_asked_again(celery_conf, tmp_path, page):
    task_id = new_id()
    with serve("asgi", celery_conf(), tmp_path, authorize="everybody") as site:
        page.open(f"{site.url}/page/{task_id}?interval=100")
        page.shows(status="PENDING")
        os.kill(site.pid, signal.SIGSTOP)
        try:
            # It gives a request 15 seconds.
            page.shows(status="PENDING", foot="Connection lost, trying again")
        finally:
            os.kill(site.pid, signal.SIGCONT)
        site.store(task_id, progress(42), "PROGRESS")
        page.shows(percent="42%", foot="")


@pytest.mark.thorough
def test_it_asks_no_sooner_than_a_server_says(celery_conf, tmp_path, page):
    nowhere = {**celery_conf(), "result_backend": "redis://127.0.0.1:1/0"}
    with serve("asgi", nowhere, tmp_path, authorize="everybody") as site:
        page.open(f"{site.url}/page/{new_id()}")
        wait_until(lambda: len(page.told("error")) == 2, what="two failed requests")
    assert page.told("error")[0]["detail"] == {"status": 503, "retrying": True}
    assert pauses(page)[0] >= 5000


@pytest.mark.parametrize("status", mainly(503, of=[429, 502, 503]))
def test_a_busy_server_is_asked_again(site, page, status):
    task_id = new_id()
    site.fail(f"{task_id}/status", times=1, status=status)
    page.open(f"{site.url}/page/{task_id}")
    page.shows(status="PENDING", foot="")
    assert [event["detail"] for event in page.told("error")] == [{"status": status, "retrying": True}]


@pytest.mark.parametrize("status", mainly(403, of=[403, 404]))
def test_a_refusal_is_final(site, page, status):
    task_id = new_id()
    site.fail(f"{task_id}/status", times=100, status=status)
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(
        state="error", message="The progress cannot be shown.", percent="", now=None, moving=False, width=0
    )
    assert quiet(page)
    assert [event["detail"] for event in page.told("error")] == [{"status": status, "retrying": False}]


def test_an_id_without_permission_is_not_asked_for_twice(celery_conf, tmp_path, page):
    with serve("flask", celery_conf(), tmp_path) as site:
        task_id = new_id()
        page.open(f"{site.url}/page/{task_id}?interval=100")
        page.shows(state="error", message="The progress cannot be shown.")
        assert quiet(page)
        assert page.told("error")[0]["detail"] == {"status": 403, "retrying": False}
        page.open(f"{site.url}/page/{site.token(task_id)}?interval=100")
        page.shows(status="PENDING", state="waiting")


@pytest.mark.parametrize("end", ["mark_as_done", rare("mark_as_failure"), rare("mark_as_revoked")])
def test_it_asks_no_more_when_the_task_has_ended(site, page, end):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(status="PENDING")
    getattr(site.app.backend, end)(task_id, "end" if end == "mark_as_done" else ValueError("end"))
    wait_until(lambda: page.look()["state"] in ("success", "failure"))
    assert quiet(page)
    # Nor when the element is moved.
    page.run(f"document.body.append({ELEMENT})")
    assert quiet(page)
    assert len(page.told("success", "failure")) == 1


def test_it_asks_less_often_while_nothing_changes(site, page):
    task_id = new_id()
    site.store(task_id, progress(42), "PROGRESS")
    page.open(f"{site.url}/page/{task_id}?interval=100")
    wait_until(lambda: len(page.requests()) >= 11, what="ten pauses")
    assert all(pause >= 100 * 1.2**turn for turn, pause in enumerate(pauses(page)))
    # Nor does it tell what it has told.
    assert len(page.told("progress")) == 1
    slow = max(pauses(page))
    turn = len(page.requests())
    percents = itertools.cycle(range(100))

    def faster():
        site.store(task_id, progress(next(percents)), "PROGRESS")
        return any(pause < slow / 2 for pause in pauses(page)[turn:])

    wait_until(faster, what="shorter pauses while something changes")


def test_requests_never_overlap(site, page):
    page.open(f"{site.url}/page/{new_id()}?interval=100")
    page.shows(status="PENDING")
    slow_down(page, milliseconds=400)
    turn = len(page.requests())
    wait_until(lambda: len(page.requests()) >= turn + 4, what="four slow requests")
    entries = page.run(
        "return performance.getEntriesByType('resource').filter(({name}) => name.includes('/status/'))"
        ".map(({startTime, responseEnd}) => [startTime, responseEnd])"
    )
    assert entries[-1][1] - entries[-1][0] >= 400
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(entries))


def test_an_element_out_of_the_page_asks_nothing_until_it_is_back(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(status="PENDING")
    page.run(f"window.element = {ELEMENT}; element.remove()")
    assert quiet(page)
    site.store(task_id, progress(42), "PROGRESS")
    page.run("document.body.append(element)")
    page.shows(percent="42%")


def test_an_element_that_is_back_and_finds_nothing_new_keeps_its_pace(site, page):
    page.open(f"{site.url}/page/{new_id()}?interval=300")
    page.shows(status="PENDING")
    page.run(f"document.body.append({ELEMENT})")
    turn = len(page.requests())
    wait_until(lambda: len(page.requests()) >= turn + 3, what="three more requests")
    # The first of them is the one for its return.
    assert min(pauses(page)[turn:]) >= 300


def test_another_source_starts_anew(site, page):
    first, second = new_id(), new_id()
    site.app.backend.mark_as_done(first, "first")
    site.store(second, progress(42), "PROGRESS")
    page.open(f"{site.url}/page/{first}?interval=100")
    page.shows(state="success")
    page.run(f"{ELEMENT}.setAttribute('src', '/task/{second}/status/')")
    assert page.shows(state="progress", percent="42%", width=42)["spoken"] == "42%"
    turn = len(page.requests(first))
    site.app.backend.mark_as_done(second, "second")
    page.shows(state="success")
    assert [event["detail"]["result"] for event in page.told("success")] == ["first", "second"]
    assert len(page.requests(first)) == turn


def test_a_late_answer_about_another_task_is_not_shown(site, page):
    first, second = new_id(), new_id()
    site.store(first, progress(10), "PROGRESS")
    site.store(second, progress(42), "PROGRESS")
    page.open(f"{site.url}/page/{first}?interval=100")
    page.shows(percent="10%")
    slow_down(page, milliseconds=300)
    for task_id in (first, second):
        page.run(f"{ELEMENT}.setAttribute('src', '/task/{task_id}/status/'); told.length = 0")
        # The request is under way, and its answer is not there.
        page.driver.execute_async_script("setTimeout(arguments[0], 50)")
    page.shows(percent="42%")
    assert {event["detail"]["id"] for event in page.told()} == {second}


def test_an_element_without_a_source_waits_for_one(site, page):
    task_id = new_id()
    site.store(task_id, progress(42), "PROGRESS")
    url = site.put(
        "empty.html",
        "<!doctype html><script type=module src=/task/progress.js></script>"
        "<jobtastic-progress></jobtastic-progress>",
    )
    page.open(url)
    page.shows(state="waiting", message="Waiting to start", task=None)
    page.run(f"{ELEMENT}.setAttribute('src', '/task/{task_id}/status/')")
    page.shows(state="progress", percent="42%")


def test_a_hidden_tab_asks_nothing_and_is_up_to_date_when_it_is_seen_again(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=100")
    page.shows(status="PENDING")
    page.driver.minimize_window()
    wait_until(lambda: page.run("return document.hidden"), what="a hidden tab")
    assert quiet(page)
    site.store(task_id, progress(42), "PROGRESS")
    page.driver.set_window_rect(0, 0, 800, 600)
    page.shows(percent="42%")


def test_a_tab_that_is_seen_again_does_not_wait_for_its_next_turn(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?interval=3600000")
    page.shows(status="PENDING")
    site.store(task_id, progress(42), "PROGRESS")
    page.driver.minimize_window()
    wait_until(lambda: page.run("return document.hidden"), what="a hidden tab")
    page.driver.set_window_rect(0, 0, 800, 600)
    page.shows(percent="42%")


def test_a_module_that_is_loaded_twice_defines_the_element_once(site, page):
    page.open(f"{site.url}/page/{new_id()}")
    page.shows(status="PENDING")
    page.run("return import('/task/progress.js?again').then(() => null)")
    assert not page.complaints()
