"""The element that follows a stream, and falls back to polling where there is none."""

from __future__ import annotations

import pytest

from tests.support.rare import rare
from tests.support.web.browser import ELEMENT, new_id, progress
from tests.support.web.servers import serve


@pytest.fixture(scope="module", params=["asgi", rare("flask")])
def site(request, open_site):
    return open_site(request.param, authorize="everybody", stream=True)


@pytest.fixture(scope="module", params=["asgi", rare("flask")])
def site_without(request, open_site):
    return open_site(request.param, authorize="everybody", stream=False)


def wait(page, seconds):
    page.driver.execute_async_script(f"setTimeout(arguments[0], {1000 * seconds})")


def test_it_follows_the_stream_and_polls_nothing(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?stream")
    page.shows(status="PENDING", state="waiting", moving=True)
    for percent in (0, 12, 42):
        site.store(task_id, progress(percent, message="Fetching"), "PROGRESS")
        page.shows(percent=f"{percent}%", width=percent, message="Fetching")
    site.app.backend.mark_as_done(task_id, {"rows": 3})
    page.shows(state="success", width=100)
    # A browser would open an ended stream again after the 3 seconds that the server names.
    wait(page, 4)
    assert [event["detail"]["result"] for event in page.told("success")] == [{"rows": 3}]
    assert not page.told("error")
    assert page.requests("/status/") == []
    assert len(page.requests("/events/")) <= 1
    assert not page.complaints()


def test_a_failure_ends_the_stream(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?stream")
    page.shows(status="PENDING")
    site.app.backend.mark_as_revoked(task_id, "revoked")
    page.shows(state="failure", message="It was cancelled.")


def test_without_a_stream_it_polls(site_without, page):
    site, task_id = site_without, new_id()
    page.open(f"{site.url}/page/{task_id}?stream&interval=100")
    page.shows(status="PENDING")
    site.store(task_id, progress(42), "PROGRESS")
    page.shows(percent="42%")
    site.app.backend.mark_as_done(task_id, None)
    page.shows(state="success")
    assert len(page.requests("/events/")) == 1
    assert len(page.requests("/status/")) >= 3
    assert not page.told("error")


def test_who_may_not_see_the_task_is_told_so(celery_conf, tmp_path, page):
    with serve("asgi", celery_conf(), tmp_path) as site:
        page.open(f"{site.url}/page/{new_id()}?stream")
        page.shows(state="error", message="The progress cannot be shown.")
        assert page.told("error")[0]["detail"] == {"status": 403, "retrying": False}


def test_a_server_that_is_gone_is_looked_for(celery_conf, tmp_path, page):
    task_id = new_id()
    with serve("flask-werkzeug", celery_conf(), tmp_path, authorize="everybody", stream=True) as site:
        site.store(task_id, progress(42), "PROGRESS")
        page.open(f"{site.url}/page/{task_id}?stream")
        page.shows(percent="42%", foot="")
    page.shows(percent="42%", foot="Connection lost, trying again")
    assert page.told("error")[0]["detail"] == {"status": 0, "retrying": True}


def test_a_hidden_tab_follows_nothing_and_is_up_to_date_when_it_is_seen_again(site, page):
    task_id = new_id()
    page.open(f"{site.url}/page/{task_id}?stream")
    page.shows(status="PENDING")
    page.driver.minimize_window()
    page.shows(hidden=True)
    site.store(task_id, progress(42), "PROGRESS")
    # The server looks every two seconds at least.
    wait(page, 3)
    assert page.look()["status"] == "PENDING"
    page.driver.set_window_rect(0, 0, 800, 600)
    page.shows(percent="42%")
    assert page.requests("/status/") == []


def test_another_source_ends_the_stream_of_the_first(site, page):
    first, second = new_id(), new_id()
    site.store(second, progress(42), "PROGRESS")
    page.open(f"{site.url}/page/{first}?stream")
    page.shows(status="PENDING")
    page.run(f"{ELEMENT}.setAttribute('src', '/task/{second}/status/'); told.length = 0")
    page.shows(percent="42%")
    site.store(first, progress(10), "PROGRESS")
    wait(page, 3)
    assert {event["detail"]["id"] for event in page.told()} == {second}
